"""A keystore for DDS Security, in SROS 2's layout, made from the interface table; and whether this machine can use one.

python3 -m lumper_bringup.security create KEYSTORE [--namespace NS] [--domain N] [--days N]
python3 -m lumper_bringup.security check KEYSTORE

`create` makes two authorities, an enclave for every node, governance and permissions, all signed (OMG DDS Security 1.1).
`check` ends with an error and the reason where Fast DDS was built without security, or the keystore is not whole.
"""

import argparse
import contextlib
import datetime
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from lumper_bringup.access import ENCLAVES, Access, access_of

DAYS = 3650
# Of the class ids of the built-in plugins; absent from a library built without them.
PLUGIN_MARK = b"DDS:Auth:PKI-DH"
ENCLAVE_FILES = (
    "cert.pem",
    "key.pem",
    "identity_ca.cert.pem",
    "permissions_ca.cert.pem",
    "governance.p7s",
    "permissions.xml",
    "permissions.p7s",
)


class SecurityError(RuntimeError):
    """Security cannot be turned on; the text says why and what to do."""


# --- documents ---


def governance_xml(domain: int) -> str:
    """Nobody unauthenticated, everything checked, everything encrypted but the discovery of participants."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_governance.xsd">
  <domain_access_rules>
    <domain_rule>
      <domains><id>{domain}</id></domains>
      <allow_unauthenticated_participants>false</allow_unauthenticated_participants>
      <enable_join_access_control>true</enable_join_access_control>
      <discovery_protection_kind>ENCRYPT</discovery_protection_kind>
      <liveliness_protection_kind>ENCRYPT</liveliness_protection_kind>
      <rtps_protection_kind>SIGN</rtps_protection_kind>
      <topic_access_rules>
        <topic_rule>
          <topic_expression>*</topic_expression>
          <enable_discovery_protection>true</enable_discovery_protection>
          <enable_liveliness_protection>true</enable_liveliness_protection>
          <enable_read_access_control>true</enable_read_access_control>
          <enable_write_access_control>true</enable_write_access_control>
          <metadata_protection_kind>ENCRYPT</metadata_protection_kind>
          <data_protection_kind>ENCRYPT</data_protection_kind>
        </topic_rule>
      </topic_access_rules>
    </domain_rule>
  </domain_access_rules>
</dds>
"""


def _topics(topics: tuple[str, ...]) -> str:
    return "".join(f"\n            <topic>{escape(topic)}</topic>" for topic in topics)


def permissions_xml(enclave: str, access: Access, domain: int, begin: datetime.datetime, days: int) -> str:
    """What an enclave may do; all else is denied."""
    end = begin + datetime.timedelta(days=days)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_permissions.xsd">
  <permissions>
    <grant name="{escape(enclave)}">
      <subject_name>CN={escape(enclave)}</subject_name>
      <validity>
        <not_before>{begin:%Y-%m-%dT%H:%M:%S}</not_before>
        <not_after>{end:%Y-%m-%dT%H:%M:%S}</not_after>
      </validity>
      <allow_rule>
        <domains><id>{domain}</id></domains>
        <publish>
          <topics>{_topics(access.publish)}
          </topics>
        </publish>
        <subscribe>
          <topics>{_topics(access.subscribe)}
          </topics>
        </subscribe>
      </allow_rule>
      <default>DENY</default>
    </grant>
  </permissions>
</dds>
"""


def read_permissions(text: str) -> Access:
    """The permissions document as a policy: what its one grant allows, by exact names.

    Raises:
        SecurityError: more than one grant, another default than DENY, or a wildcard.
    """
    grants = ElementTree.fromstring(text).findall("permissions/grant")
    if len(grants) != 1 or grants[0].findtext("default") != "DENY":
        raise SecurityError("permissions: exactly one grant with default DENY is wanted")
    names = [
        tuple(item.text or "" for item in grants[0].findall(f"allow_rule/{way}/topics/topic"))
        for way in ("publish", "subscribe")
    ]
    if any(re.search(r"[*?\[]", name) for part in names for name in part):
        raise SecurityError("permissions: a wildcard grants more than the table says")
    return Access(*names)


# --- keys and signatures ---


def _authority(name: str, begin: datetime.datetime, days: int) -> tuple[Any, Any]:
    return _certified(name, None, None, begin, days)


def _certified(name: str, issuer: Any, issuer_key: Any, begin: datetime.datetime, days: int) -> tuple[Any, Any]:
    """A certificate and its key on curve P-256; signed by itself when there is no issuer."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(key if issuer is None else issuer_key, hashes.SHA256())
    )
    return made, key


def _signed(text: str, certificate: Any, key: Any) -> bytes:
    """S/MIME with the text in the clear, as DDS Security wants it."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

    builder = pkcs7.PKCS7SignatureBuilder().set_data(text.encode()).add_signer(certificate, key, hashes.SHA256())
    options = [pkcs7.PKCS7Options.Text, pkcs7.PKCS7Options.DetachedSignature]
    return builder.sign(Encoding.SMIME, options)


def _write(path: Path, data: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)


def _pem(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    data: bytes = certificate.public_bytes(Encoding.PEM)
    return data


def _key_pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    data: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return data


def create(keystore: Path, namespace: str = "", domain: int = 0, days: int = DAYS) -> list[str]:
    """Make a keystore; returns the enclaves.

    Raises:
        SecurityError: something is there already, or `cryptography` is not installed.
    """
    if keystore.exists() and any(keystore.iterdir()):
        raise SecurityError(f"{keystore} is not empty; a keystore is never overwritten")
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError:
        raise SecurityError("the Python package cryptography is not installed: pip install cryptography") from None
    begin = datetime.datetime.now(datetime.UTC).replace(microsecond=0, tzinfo=None)
    identity, identity_key = _authority("lumper identity authority", begin, days)
    granting, granting_key = _authority("lumper permissions authority", begin, days)
    for name, certificate, key in (
        ("identity_ca", identity, identity_key),
        ("permissions_ca", granting, granting_key),
    ):
        _write(keystore / "public" / f"{name}.cert.pem", _pem(certificate))
        _write(keystore / "private" / f"{name}.key.pem", _key_pem(key), 0o600)
    governance = governance_xml(domain)
    governed = _signed(governance, granting, granting_key)
    _write(keystore / "enclaves" / "governance.xml", governance.encode())
    _write(keystore / "enclaves" / "governance.p7s", governed)
    enclaves = []
    for node in ENCLAVES:
        enclave = f"/{namespace.strip('/')}/{node}".replace("//", "/")
        folder = keystore / "enclaves" / enclave.strip("/")
        certificate, key = _certified(enclave, identity, identity_key, begin, days)
        permissions = permissions_xml(enclave, access_of(node, namespace), domain, begin, days)
        _write(folder / "cert.pem", _pem(certificate))
        _write(folder / "key.pem", _key_pem(key), 0o600)
        _write(folder / "identity_ca.cert.pem", _pem(identity))
        _write(folder / "permissions_ca.cert.pem", _pem(granting))
        _write(folder / "governance.p7s", governed)
        _write(folder / "permissions.xml", permissions.encode())
        _write(folder / "permissions.p7s", _signed(permissions, granting, granting_key))
        enclaves.append(enclave)
    return enclaves


# --- check ---


def libraries() -> Iterator[Path]:
    """Fast DDS libraries that a node started here would load."""
    folders = [*os.environ.get("LD_LIBRARY_PATH", "").split(":"), str(Path(sys.prefix) / "lib")]
    folders += [str(Path(prefix) / "lib") for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(":") if prefix]
    seen = set()
    for folder in folders:
        for pattern in ("libfastdds.so*", "libfastrtps.so*"):
            for path in sorted(Path(folder).glob(pattern)) if folder else ():
                with contextlib.suppress(OSError):
                    real = path.resolve(strict=True)
                    if real not in seen:
                        seen.add(real)
                        yield real


def check(keystore: Path) -> None:
    """Whether secure mode can be had here.

    Raises:
        SecurityError: it cannot; the text is the reason.
    """
    middleware = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    if "fastrtps" not in middleware:
        raise SecurityError(
            f"secure:=true is known to work with rmw_fastrtps_cpp only, RMW_IMPLEMENTATION is {middleware}"
        )
    found = list(libraries())
    if not found:
        raise SecurityError("secure:=true: no Fast DDS library was found in AMENT_PREFIX_PATH")
    if not any(PLUGIN_MARK in path.read_bytes() for path in found):
        raise SecurityError(
            f"secure:=true refused: Fast DDS at {found[0].name} was built without its security plugins, so nothing would be "
            "authenticated or encrypted; use a build with -DSECURITY=ON (the packages of ros.org are)"
        )
    absent = [
        f"{node}/{name}"
        for node in ENCLAVES
        for name in ENCLAVE_FILES
        if not list((keystore / "enclaves").glob(f"**/{node}/{name}"))
    ]
    if absent:
        raise SecurityError(
            f"secure:=true refused: {keystore} lacks {absent[0]} and {len(absent) - 1} more; make it with "
            f"`python3 -m lumper_bringup.security create {keystore}`"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("create")
    making.add_argument("keystore", type=Path)
    making.add_argument("--namespace", default="", help="of the robot, as given to the launch file")
    making.add_argument("--domain", type=int, default=int(os.environ.get("ROS_DOMAIN_ID", "0")))
    making.add_argument("--days", type=int, default=DAYS, help="how long certificates and permissions hold")
    checking = commands.add_parser("check")
    checking.add_argument("keystore", type=Path)
    options = parser.parse_args()
    try:
        if options.command == "create":
            enclaves = create(options.keystore, options.namespace, options.domain, options.days)
            print(f"{options.keystore}: {len(enclaves)} enclaves: {', '.join(enclaves)}")
        else:
            check(options.keystore)
            print("enforce")
    except SecurityError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
