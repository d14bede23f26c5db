"""The page beyond loopback: encrypted, or not at all."""

import datetime
import http.client
import ipaddress
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from view_stage import Stage
from viser_wire import WireClient

from lumper_ros.parameters import ParameterError
from lumper_view.tls import MOST_CONNECTIONS, load_context

pytestmark = pytest.mark.timeout(200)


def make_pair(folder: Path, name: str = "page") -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lumper")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    key_file.chmod(0o600)
    return certificate_file, key_file


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, ssl.SSLContext]]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = make_pair(folder)
    stage = Stage(folder, 8530, tls_certificate=str(certificate), tls_key=str(key))
    yield stage, ssl.create_default_context(cafile=str(certificate))
    stage.end()


def test_a_browser_that_trusts_the_certificate_sees_and_commands(encrypted: tuple[Stage, ssl.SSLContext]) -> None:
    stage, trust = encrypted
    assert stage.url.startswith("https://")
    with urllib.request.urlopen(stage.url, context=trust, timeout=20.0) as page:
        assert b"<!doctype html" in page.read().lower()
    client = WireClient(stage.url, trust)
    client.update(client.find("STOP"), value=True)
    assert stage.served("safety/stop")["fault"] == ""
    client.find("Stop: done")
    client.close()


def test_who_speaks_no_tls_or_does_not_trust_it_gets_nothing(encrypted: tuple[Stage, ssl.SSLContext]) -> None:
    stage, trust = encrypted
    plain = http.client.HTTPConnection("127.0.0.1", int(re.sub(r".*:", "", stage.url)), timeout=20.0)
    plain.request("GET", "/")
    with pytest.raises((http.client.HTTPException, OSError)):
        plain.getresponse()
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(stage.url, context=ssl.create_default_context(), timeout=20.0)
    old = ssl.create_default_context()
    old.check_hostname, old.verify_mode, old.maximum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_1
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(stage.url, context=old, timeout=20.0)
    WireClient(stage.url, trust).find("STOP")


def test_silent_and_many_connections_keep_nobody_out_for_long(encrypted: tuple[Stage, ssl.SSLContext]) -> None:
    stage, trust = encrypted
    port = int(re.sub(r".*:", "", stage.url))
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(MOST_CONNECTIONS + 50)]
    client = WireClient(stage.url, trust)
    client.update(client.find("STOP"), value=True)
    stage.served("safety/stop")
    for one in silent:
        one.close()
    client.close()


def test_bad_files_are_named(tmp_path: Path) -> None:
    certificate, key = make_pair(tmp_path)
    other, _ = make_pair(tmp_path, "other")
    assert load_context("", "") is None
    assert load_context(str(certificate), str(key)) is not None
    with pytest.raises(ParameterError, match=r"tls_certificate: .* is not there"):
        load_context(str(tmp_path / "no"), str(key))
    with pytest.raises(ParameterError, match=r"tls_key: .* is not there"):
        load_context(str(certificate), str(tmp_path / "no"))
    with pytest.raises(ParameterError, match="not a certificate and its key"):
        load_context(str(other), str(key))
    with pytest.raises(ParameterError, match="not a certificate and its key"):
        load_context(str(key), str(key))
    key.chmod(0o640)
    with pytest.raises(ParameterError, match="can be read by others"):
        load_context(str(certificate), str(key))
