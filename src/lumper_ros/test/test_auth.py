"""Permits and commands: what was made with the key passes once, anything else does not."""

import copy
import math
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lumper_msgs.msg import CommandAuth, SafetyCause, SafetyState
from rclpy.serialization import deserialize_message, serialize_message

from lumper_ros.auth import (
    CommandVerifier,
    KeyFileError,
    create_key,
    load_key,
    permit_genuine,
    permit_mac,
    sign_command,
)

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))


def a_permit() -> SafetyState:
    state = SafetyState(monitor_id=2**63 + 5, sequence=77, mode=SafetyState.REDUCED, speed_scale=0.3)
    state.stamp.sec, state.stamp.nanosec = 1_700_000_000, 123_456_789
    state.permit_until.sec, state.permit_until.nanosec = 1_700_000_000, 223_456_789
    state.separation_m, state.required_separation_m, state.reaction_time_s = math.inf, 1.24, 0.1
    state.last_reset_by = "Ada"
    state.causes = [
        SafetyCause(
            code=SafetyCause.PERSON_NEAR, effect=1, source="scan/front", text="é", value=1.1, limit=1.24, present=True
        )
    ]
    state.mac = list(permit_mac(KEY, state))
    return state


def test_permit_survives_the_wire() -> None:
    received = deserialize_message(serialize_message(a_permit()), SafetyState)
    assert permit_genuine(KEY, received)
    assert not permit_genuine(OTHER, received)
    assert permit_genuine(None, received)


def test_no_key_makes_an_empty_mac_that_no_key_holder_accepts() -> None:
    state = a_permit()
    state.mac = list(permit_mac(None, state))
    assert len(state.mac) == 0
    assert not permit_genuine(KEY, state)


def _changed(state: SafetyState, path: str, value: object) -> SafetyState:
    *parents, name = path.split(".")
    target: object = state
    for parent in parents:
        target = target[int(parent)] if parent.isdigit() else getattr(target, parent)  # type: ignore[index]
    setattr(target, name, value)
    return state


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("stamp.sec", 1),
        ("stamp.nanosec", 1),
        ("permit_until.sec", 2_000_000_000),
        ("permit_until.nanosec", 999_999_999),
        ("monitor_id", 1),
        ("sequence", 78),
        ("mode", SafetyState.RUN),
        ("speed_scale", 1.0),
        ("causes", []),
        ("causes.0.code", 1),
        ("causes.0.effect", 2),
        ("causes.0.source", "scan/rear"),
        ("causes.0.text", "e"),
        ("causes.0.value", math.nan),
        ("causes.0.limit", 0.0),
        ("causes.0.present", False),
        ("causes.0.latched", True),
        ("separation_m", 2.0),
        ("required_separation_m", 0.0),
        ("reaction_time_s", 0.0),
        ("last_reset_by", "Eve"),
    ],
)
def test_every_field_of_a_permit_is_covered(path: str, value: object) -> None:
    assert not permit_genuine(KEY, _changed(a_permit(), path, value))


def test_the_list_above_names_every_field() -> None:
    assert set(SafetyState.get_fields_and_field_types()) == {
        "stamp", "permit_until", "monitor_id", "sequence", "mode", "speed_scale", "causes", "separation_m",
        "required_separation_m", "reaction_time_s", "last_reset_by", "mac",
    }  # fmt: skip
    assert set(SafetyCause.get_fields_and_field_types()) == {
        "code", "effect", "source", "text", "value", "limit", "present", "latched",
    }  # fmt: skip


def test_none_of_100000_forged_permits_is_accepted() -> None:
    state = a_permit()
    accepted = 0
    for round_ in range(100_000):
        if round_ % 2:
            state.mac = list(secrets.token_bytes(32))
        else:
            state.sequence = 100 + round_  # an old mac under a new number
        accepted += permit_genuine(KEY, state)
    assert accepted == 0


ARGUMENTS = {"reason": "cleared", "speed_scale": 0.3, "command": 2, "carton_ids": [1, 2]}


def test_command_passes_once() -> None:
    verifier = CommandVerifier(KEY, 5.0)
    auth = sign_command(KEY, "safety/reset", ARGUMENTS, "Ada", 1000.0, 9)
    received = deserialize_message(serialize_message(auth), CommandAuth)
    assert verifier.check("safety/reset", ARGUMENTS, received, 1001.0) == ""
    assert "replayed" in verifier.check("safety/reset", ARGUMENTS, received, 1002.0)


def test_float32_argument_is_the_same_on_both_sides() -> None:
    import numpy as np

    auth = sign_command(KEY, "safety/speed_limit", {"speed_scale": 0.3}, "Ada", 0.0, 1)
    assert (
        CommandVerifier(KEY, 5.0).check("safety/speed_limit", {"speed_scale": float(np.float32(0.3))}, auth, 0.0) == ""
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda a: setattr(a, "operator_name", "Eve"), "mac"),
        (lambda a: setattr(a, "operator_name", " "), "operator_name"),
        (lambda a: setattr(a, "nonce", 10), "mac"),
        (lambda a: setattr(a.stamp, "sec", 1003), "mac"),
        (lambda a: setattr(a, "mac", []), "mac"),
        (lambda a: setattr(a, "mac", [0] * 32), "mac"),
    ],
)
def test_altered_command_is_refused_by_name(change: object, named: str) -> None:
    auth = sign_command(KEY, "safety/reset", ARGUMENTS, "Ada", 1000.0, 9)
    change(auth)  # type: ignore[operator]
    assert named in CommandVerifier(KEY, 5.0).check("safety/reset", ARGUMENTS, auth, 1001.0)


@pytest.mark.parametrize("name", list(ARGUMENTS))
def test_altered_argument_is_refused(name: str) -> None:
    auth = sign_command(KEY, "safety/reset", ARGUMENTS, "Ada", 1000.0, 9)
    other = copy.deepcopy(ARGUMENTS)
    del other[name]
    assert "mac" in CommandVerifier(KEY, 5.0).check("safety/reset", other, auth, 1001.0)


def test_command_for_another_service_is_refused() -> None:
    auth = sign_command(KEY, "safety/reset", ARGUMENTS, "Ada", 1000.0, 9)
    assert "mac" in CommandVerifier(KEY, 5.0).check("job/command", ARGUMENTS, auth, 1001.0)


@pytest.mark.parametrize("now_s", [994.9, 1005.1, 5000.0])
def test_late_and_early_commands_are_refused(now_s: float) -> None:
    auth = sign_command(KEY, "safety/reset", ARGUMENTS, "Ada", 1000.0, 9)
    assert "stamp" in CommandVerifier(KEY, 5.0).check("safety/reset", ARGUMENTS, auth, now_s)


def test_restarted_verifier_refuses_what_was_signed_before_its_start() -> None:
    auth = sign_command(KEY, "safety/reset", ARGUMENTS, "Ada", 1000.0, 9)
    assert "start" in CommandVerifier(KEY, 5.0, not_before_system_s=1000.5).check(
        "safety/reset", ARGUMENTS, auth, 1001.0
    )


@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(-20, 20, allow_nan=False)), max_size=40),
)
@settings(deadline=None, max_examples=300)
def test_no_command_passes_twice_whatever_the_clock_does(steps: list[tuple[int, float]]) -> None:
    verifier = CommandVerifier(KEY, 5.0)
    commands = [sign_command(KEY, "safety/reset", {}, "Ada", 1000.0 + 3 * n, n) for n in range(6)]
    passed: list[int] = []
    now_s = 1000.0
    for index, step_s in steps:
        now_s += step_s
        if verifier.check("safety/reset", {}, commands[index], now_s) == "":
            passed.append(index)
    assert len(passed) == len(set(passed))


def test_memory_of_nonces_is_bounded_by_the_window() -> None:
    verifier = CommandVerifier(KEY, 5.0)
    for n in range(1000):
        assert (
            verifier.check("safety/reset", {}, sign_command(KEY, "safety/reset", {}, "Ada", float(n), n), float(n))
            == ""
        )
    assert len(verifier._seen) <= 7


def test_without_key_a_name_is_still_needed() -> None:
    verifier = CommandVerifier(None, 5.0)
    assert verifier.check("safety/reset", {}, CommandAuth(operator_name="Ada"), 0.0) == ""
    assert "operator_name" in verifier.check("safety/reset", {}, CommandAuth(), 0.0)
    with pytest.raises(ValueError, match="operator"):
        sign_command(None, "safety/reset", {}, "", 0.0, 0)


def test_key_file(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "lumper.key"
    key = create_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(True, str(path)) == key and len(key) == 32
    assert load_key(False, "") is None
    with pytest.raises(FileExistsError):
        create_key(path)
    with pytest.raises(KeyFileError, match=r"is not there; make one with"):
        load_key(True, str(tmp_path / "none.key"))
    with pytest.raises(KeyFileError, match=r"is not there"):
        load_key(True, "")
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match=r"0640.*chmod 600"):
        load_key(True, str(path))
    path.chmod(0o600)
    path.write_text("abcd")
    with pytest.raises(KeyFileError, match=r"holds 2 bytes"):
        load_key(True, str(path))
    path.write_text("not hex")
    with pytest.raises(KeyFileError, match=r"hexadecimal"):
        load_key(True, str(path))


def test_key_is_made_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "lumper.key"
    command = [sys.executable, "-m", "lumper_ros.auth", str(path)]
    assert subprocess.run(command, check=False).returncode == 0
    assert load_key(True, str(path)) is not None
    again = subprocess.run(command, check=False, capture_output=True, text=True)
    assert again.returncode != 0 and "no key was made" in again.stderr
