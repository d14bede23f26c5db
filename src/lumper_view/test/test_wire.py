"""What no browser would send: the page takes it, nobody else is harmed, and nothing is commanded."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from view_stage import ROOT, TOKEN, Stage
from viser_wire import WireClient

from lumper_ros.parameters import ParameterError, from_mapping
from lumper_view.node import load_token
from lumper_view.parameters import PanelParameters

pytestmark = pytest.mark.timeout(200)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("wire"), 8430)
    yield made
    made.end()


def _sign_in(client: WireClient, name: str = "Anna") -> None:
    client.update(client.field("Your name"), value=name)
    client.update(client.field("Token"), value=TOKEN)
    client.update(client.find("Sign in"), value=True)


def _alive(stage: Stage) -> None:
    """Another browser can open the page and stop the robot."""
    other = WireClient(stage.url)
    other.update(other.find("STOP"), value=True)
    stage.served("safety/stop")
    other.find("Stop: done")
    other.close()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00" * 100,
        b"not msgpack at all",
        {"type": "NoSuchMessage"},
        {"type": "GuiUpdateMessage"},
        {"type": "GuiUpdateMessage", "uuid": "x", "updates": {"value": True}},
        {"type": "RunJavascriptMessage", "source": "alert(1)"},
        {"type": "ResetGuiMessage"},
        {"type": "ShareUrlRequest"},
        [1, 2, 3],
    ],
    ids=range(10),
)
def test_garbage(stage: Stage, message: object) -> None:
    client = WireClient(stage.url)
    client.find("STOP")
    client.send(message)
    _alive(stage)
    assert not any(item["type"] == "ShareUrlUpdated" for item in client.received), "nothing may leave the machine"
    client.close()


def test_one_browser_cannot_press_or_break_the_buttons_of_another(stage: Stage) -> None:
    victim, attacker = WireClient(stage.url), WireClient(stage.url)
    victim.find("STOP")
    attacker.find("STOP")
    _sign_in(victim)
    victim.find("Signed in as Anna.")
    before = stage.calls()
    pause = victim.find("Pause")
    for uuid in list(victim.elements):
        for updates in ({"value": True}, {"update_cb": []}, {"removed": True}, {"is_button": False}):
            attacker.update(uuid, **updates)
    time.sleep(1.0)
    assert stage.calls() == before
    victim.update(pause, value=True)
    call = stage.served("job/command")
    assert (call["operator"], call["fault"]) == ("Anna", "")
    victim.close()
    attacker.close()


def test_wrong_types_and_huge_values_in_fields(stage: Stage) -> None:
    client = WireClient(stage.url)
    client.find("STOP")
    before = stage.calls()
    for value in (None, 7, 1.5, [1] * 1000, {"a": 1}, "x" * 5_000_000, "\u202e\x00"):
        client.update(client.field("Your name"), value=value)
        client.update(client.field("Token"), value=value)
        client.update(client.find("Sign in"), value=True)
    for button in ("Start", "End job", "100 %"):
        client.update(client.find(button), value=True)
    client.find("read-only")
    assert stage.calls() == before
    client.close()
    _alive(stage)


def test_a_flood_of_presses(stage: Stage) -> None:
    client = WireClient(stage.url)
    client.find("STOP")
    _sign_in(client, "Flo")
    client.find("Signed in as Flo.")
    before = stage.calls()
    speed = client.find("50 %")
    for _ in range(2000):
        client.update(speed, value=True)
    client.find("Too many commands", 30.0)
    _alive(stage)
    assert stage.calls() - before < 60
    client.close()


def test_host_open_to_others_needs_a_token_file_and_tls() -> None:
    given = {"robot_folder": "r", "trailer_file": "t", "host": "0.0.0.0"}
    with pytest.raises(ParameterError, match="set token_file"):
        from_mapping(PanelParameters, given)
    with pytest.raises(ParameterError, match="set tls_certificate and tls_key"):
        from_mapping(PanelParameters, {**given, "token_file": "/x"})
    with pytest.raises(ParameterError, match="belong together"):
        from_mapping(PanelParameters, {**given, "token_file": "/x", "tls_certificate": "/c"})
    from_mapping(PanelParameters, {**given, "token_file": "/x", "tls_certificate": "/c", "tls_key": "/k"})
    from_mapping(PanelParameters, {**given, "host": "localhost"})
    with pytest.raises(ParameterError, match="IP address"):
        from_mapping(PanelParameters, {**given, "host": "my.host"})


def test_token_files(tmp_path: Path) -> None:
    assert load_token("")[0] != load_token("")[0]
    path = tmp_path / "token"
    with pytest.raises(ParameterError, match="is not there"):
        load_token(str(path))
    path.write_text("short")
    path.chmod(0o600)
    with pytest.raises(ParameterError, match="at least 8"):
        load_token(str(path))
    path.write_text(" long-enough-1 \n")
    assert load_token(str(path)) == ("long-enough-1", False)
    path.chmod(0o644)
    with pytest.raises(ParameterError, match="can be read by others"):
        load_token(str(path))


def test_the_node_refuses_to_start_with_a_sentence(stage: Stage) -> None:
    command = [sys.executable, "-m", "lumper_view.main", "operator_panel", "--ros-args"]
    for name, value in {
        "robot_folder": str(ROOT / "config" / "robot"),
        "trailer_file": str(ROOT / "config" / "trailer.yaml"),
        "key_file": "/nowhere/key",
    }.items():
        command += ["-p", f"{name}:={value}"]
    done = subprocess.run(
        command, env={**os.environ, **stage.env}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "key_file: '/nowhere/key' is not there" in done.stderr + done.stdout


def test_many_browsers_at_once(stage: Stage) -> None:
    """viser's buffer breaks when it is filled from a foreign thread while several browsers wait on it."""
    clients = [WireClient(stage.url) for _ in range(8)]
    for client in clients:
        client.find("STOP")
    before = [client.bytes for client in clients]
    time.sleep(6.0)
    assert stage.panel.popen.poll() is None, "".join(stage.panel.lines[-30:])
    assert all(client.bytes > received for client, received in zip(clients, before, strict=True))
    for client in clients:
        client.close()
    _alive(stage)
