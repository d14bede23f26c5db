"""Access rules read as a policy, every node against every DDS topic; the keystore's files; and the refusal to run open."""

import subprocess
from pathlib import Path

import pytest

from lumper_bringup.access import ENCLAVES, access_of, wire_topics
from lumper_bringup.launch_plan import Plan
from lumper_bringup.launch_source import LaunchError
from lumper_bringup.security import (
    ENCLAVE_FILES,
    PLUGIN_MARK,
    SecurityError,
    check,
    create,
    libraries,
    permissions_xml,
    read_permissions,
)
from lumper_ros import interfaces
from lumper_ros.interfaces import BROKER, DEMO, PANEL, PLANNER, SAFETY, SIM

LAUNCH = Path(__file__).resolve().parents[3] / "launch" / "unload.launch.xml"
ARM = "arm_controller/follow_joint_trajectory/_action"


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("security") / "keystore"
    create(folder, domain=7)
    return folder


def writers(topic: str) -> set[str]:
    return {node for node in ENCLAVES if access_of(node).may_publish(topic)}


def test_only_who_must_may_do_what_is_dangerous() -> None:
    assert writers("rt/safety/state") == {SAFETY}
    assert writers(f"rq/{ARM}/send_goalRequest") == {BROKER}
    assert writers(f"rq/{ARM}/cancel_goalRequest") == {BROKER}
    assert writers("rq/gripper/setRequest") == {BROKER}
    assert writers("rq/base/advance/_action/send_goalRequest") == {PLANNER}
    assert writers("rq/safety/resetRequest") == {PANEL, DEMO}
    assert writers("rq/safety/stopRequest") == {PANEL}
    assert writers("rt/estop") == writers("rt/scan/front") == {SIM}
    assert not writers("rq/sim/faultRequest")


@pytest.mark.parametrize("node", ENCLAVES)
def test_signed_permissions_say_of_every_topic_what_the_table_says(keystore: Path, node: str) -> None:
    policy = read_permissions((keystore / "enclaves" / node / "permissions.xml").read_text())
    for topic in wire_topics():
        assert policy.may_publish(topic) == access_of(node).may_publish(topic), topic
        assert policy.may_subscribe(topic) == access_of(node).may_subscribe(topic), topic
    for topic in interfaces.TOPICS.values():
        wire = f"rt/{topic.name.strip('/')}"
        assert policy.may_publish(wire) == (node in topic.publishers), topic.name
    assert not policy.may_publish("rt/anything_else") and not policy.may_subscribe("rt/anything_else")


def test_a_namespace_is_part_of_every_name_but_the_shared_ones() -> None:
    access = access_of(SAFETY, "dock_3")
    assert access.may_publish("rt/dock_3/safety/state") and not access.may_publish("rt/safety/state")
    assert access.may_subscribe("rt/tf") and access.may_publish("rq/x") is False


def test_a_wildcard_or_a_second_grant_is_no_policy() -> None:
    import datetime

    access = access_of(SAFETY)
    text = permissions_xml("/s", access, 0, datetime.datetime(2026, 1, 1), 10)
    assert read_permissions(text) == access
    for bad in (text.replace("rt/safety/state", "rt/*"), text.replace("DENY", "ALLOW")):
        with pytest.raises(SecurityError):
            read_permissions(bad)


def test_every_file_is_there_and_keys_are_for_their_owner_only(keystore: Path) -> None:
    for node in ENCLAVES:
        for name in ENCLAVE_FILES:
            assert (keystore / "enclaves" / node / name).stat().st_size > 100
        assert (keystore / "enclaves" / node / "key.pem").stat().st_mode & 0o077 == 0
    for key in (keystore / "private").iterdir():
        assert key.stat().st_mode & 0o077 == 0
    with pytest.raises(SecurityError, match="not empty"):
        create(keystore)


@pytest.mark.parametrize("node", [SAFETY, BROKER])
def test_signatures_and_certificates_verify_and_a_changed_document_does_not(
    keystore: Path, tmp_path: Path, node: str
) -> None:
    folder = keystore / "enclaves" / node
    authority = str(keystore / "public" / "permissions_ca.cert.pem")

    def verify(document: Path) -> int:
        command = [
            "openssl",
            "smime",
            "-verify",
            "-text",
            "-in",
            str(document),
            "-CAfile",
            authority,
            "-out",
            "/dev/null",
        ]
        return subprocess.run(command, capture_output=True).returncode

    for name in ("governance.p7s", "permissions.p7s"):
        assert verify(folder / name) == 0
    changed = tmp_path / "changed.p7s"
    changed.write_bytes((folder / "permissions.p7s").read_bytes().replace(b"DENY", b"ALOW"))
    assert verify(changed) != 0
    identity = ["openssl", "verify", "-CAfile", str(folder / "identity_ca.cert.pem"), str(folder / "cert.pem")]
    assert subprocess.run(identity, capture_output=True).returncode == 0


def test_without_plugins_secure_mode_is_refused_with_the_reason(
    keystore: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib").mkdir()
    library = tmp_path / "lib" / "libfastdds.so"
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", "")
    monkeypatch.setattr("sys.prefix", str(tmp_path / "none"))
    monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
    with pytest.raises(SecurityError, match="no Fast DDS library"):
        check(keystore)
    library.write_bytes(b"nothing of it")
    with pytest.raises(SecurityError, match="built without its security plugins"):
        check(keystore)
    library.write_bytes(b"..." + PLUGIN_MARK + b":1.0")
    check(keystore)
    (keystore / "enclaves" / BROKER / "key.pem").rename(tmp_path / "key.pem")
    with pytest.raises(SecurityError, match=r"lacks motion_broker/key\.pem"):
        check(keystore)
    (tmp_path / "key.pem").rename(keystore / "enclaves" / BROKER / "key.pem")


def test_the_launch_file_starts_nothing_where_it_cannot_be_secure(keystore: Path) -> None:
    import os

    if any(PLUGIN_MARK in path.read_bytes() for path in libraries()):
        pytest.skip("this Fast DDS has its security plugins")
    plan = Plan(dict(os.environ), Path("/logs"))
    with pytest.raises(LaunchError, match="built without its security plugins"):
        plan.build(LAUNCH, {"secure": "true", "keystore": str(keystore)})


def test_every_node_of_the_launch_file_names_its_enclave() -> None:
    import os

    for process in Plan(dict(os.environ), Path("/logs")).build(LAUNCH, {}):
        words = list(process.command)
        assert words[words.index("--enclave") + 1].strip("/") in ENCLAVES
