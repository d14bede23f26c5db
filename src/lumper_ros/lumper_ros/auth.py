"""Proof of origin for the permit and for operators' commands: HMAC-SHA256 (FIPS 198-1, RFC 2104) with a shared key.

Independent of the transport: a participant without the key can be heard, and can forbid motion by being in the way, but
can neither grant motion nor reset a stop. Everything but the two key-file functions at the end is pure: key and time
are arguments. A key of `None` means that authentication is turned off by the node's `authentication` parameter; it is
never the consequence of a missing file.
"""

import hashlib
import hmac
import os
import secrets
import stat
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lumper_msgs.msg import CommandAuth

KEY_BYTES = 32
# Different first bytes for permits and commands, so that the MAC of one can never be taken for the other's.
_PERMIT_DOMAIN = b"lumper.permit.1\0"
_COMMAND_DOMAIN = b"lumper.command.1\0"
_NAN32 = b"\x00\x00\xc0\x7f"
_PERMIT_HEAD, _UINT32, _FLOAT32 = struct.Struct("<iIiIQQB"), struct.Struct("<I"), struct.Struct("<f")

Argument = bool | int | float | str | bytes | Sequence[Any]


class KeyFileError(ValueError):
    """The key file is missing, readable by others, or too short; the text names the remedy."""


def _text(value: str) -> bytes:
    data = value.encode("utf-8")
    return _UINT32.pack(len(data)) + data


def _float32(value: float) -> bytes:
    """Little-endian bytes of the float32 that travels, whatever precision the sender's object still holds."""
    return _NAN32 if value != value else _FLOAT32.pack(value)


def _permit_bytes(state: Any) -> bytes:
    """Every field of a SafetyState but `mac`, in order of declaration, without ambiguity."""
    stamp, until, causes = state.stamp, state.permit_until, state.causes
    parts = [
        _PERMIT_DOMAIN,
        _PERMIT_HEAD.pack(
            stamp.sec,
            stamp.nanosec,
            until.sec,
            until.nanosec,
            state.monitor_id,
            state.sequence,
            state.mode,
        ),
        _float32(state.speed_scale),
        _UINT32.pack(len(causes)),
    ]
    for cause in causes:
        parts += (
            struct.pack("<BB??", cause.code, cause.effect, cause.present, cause.latched),
            _text(cause.source),
            _text(cause.text),
            _float32(cause.value),
            _float32(cause.limit),
        )
    parts += (
        _float32(state.separation_m),
        _float32(state.required_separation_m),
        _float32(state.reaction_time_s),
        _text(state.last_reset_by),
    )
    return b"".join(parts)


def permit_mac(key: bytes | None, state: Any) -> bytes:
    """MAC of a lumper_msgs/SafetyState over all of its fields but `mac`.

    Args:
        key: shared secret; None = authentication is off, the MAC is empty.
        state: the message; its floats are taken as the float32 that travel.

    Returns:
        32 bytes, or none.

    Raises:
        struct.error, OverflowError: a field is out of the range of its type.
    """
    if key is None:
        return b""
    return hmac.digest(key, _permit_bytes(state), hashlib.sha256)


def permit_genuine(key: bytes | None, state: Any) -> bool:
    """Whether `state.mac` was made with `key` for exactly these fields. True when authentication is off (key None).

    Says nothing about age or order: a replayed permit is genuine. The broker judges stamp, sequence and monitor id.
    """
    if key is None:
        return True
    try:
        return hmac.compare_digest(permit_mac(key, state), bytes(state.mac))
    except (struct.error, OverflowError, ValueError, TypeError, AttributeError):
        return False


class MonitorFeed:
    """Which messages on safety/state a node that waits or shows may heed: the robot's monitor's own, each once and in order.

    A stranger's word, or an old permit repeated, would otherwise look as if the stop were over. Whether the arm may move is
    judged by the broker alone, more strictly.
    """

    def __init__(self, key: bytes | None) -> None:
        self._key = key
        self._monitor_id = -1
        self._sequence = -1
        self._former: set[int] = set()

    def takes(self, state: Any) -> bool:
        """Whether to heed this lumper_msgs/SafetyState; it is then remembered as the newest."""
        if not permit_genuine(self._key, state):
            return False
        if state.monitor_id != self._monitor_id:
            if state.monitor_id in self._former:
                return False
            self._former.add(self._monitor_id)
            self._monitor_id, self._sequence = state.monitor_id, -1
        if state.sequence <= self._sequence:
            return False
        self._sequence = state.sequence
        return True


def _argument_bytes(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"b\1" if value else b"b\0"
    if isinstance(value, int):
        return b"i" + _text(str(value))
    if isinstance(value, float):
        return b"f" + _float32(value)
    if isinstance(value, str):
        return b"s" + _text(value)
    if isinstance(value, bytes | bytearray):
        return b"y" + struct.pack("<I", len(value)) + bytes(value)
    items = [_argument_bytes(item.item() if hasattr(item, "item") else item) for item in value]
    return b"l" + struct.pack("<I", len(items)) + b"".join(items)


def _command_bytes(name: str, arguments: Mapping[str, Argument], auth: Any) -> bytes:
    parts = [_COMMAND_DOMAIN, _text(name), struct.pack("<I", len(arguments))]
    for key in sorted(arguments):
        parts += (_text(key), _argument_bytes(arguments[key]))
    parts += (_text(auth.operator_name), struct.pack("<iIQ", auth.stamp.sec, auth.stamp.nanosec, auth.nonce))
    return b"".join(parts)


def sign_command(
    key: bytes | None,
    name: str,
    arguments: Mapping[str, Argument],
    operator: str,
    now_system_s: float,
    nonce: int,
) -> CommandAuth:
    """Who commands, and proof of it.

    Args:
        key: shared secret; None = authentication is off, the MAC stays empty.
        name: the service's name in the interface table, e.g. "safety/reset".
        arguments: the request's other fields by name, of the types they have in the message (a float field as float);
            floats count as the float32 that travel.
        operator: name of the person.
        now_system_s: system clock.
        nonce: drawn at random by the caller, 0 .. 2**64 - 1.

    Raises:
        ValueError: no operator named.
    """
    if not operator.strip():
        raise ValueError("operator: a command needs the name of the person who gives it")
    nanoseconds = round(now_system_s * 1e9)
    auth = CommandAuth(operator_name=operator, nonce=nonce)
    auth.stamp.sec, auth.stamp.nanosec = divmod(nanoseconds, 1_000_000_000)
    if key is not None:
        auth.mac = list(hmac.digest(key, _command_bytes(name, arguments, auth), hashlib.sha256))
    return auth


class CommandVerifier:
    """Tells genuine commands from forged, altered, late and repeated ones. Remembers nonces for the replay window."""

    def __init__(self, key: bytes | None, window_s: float, not_before_system_s: float = float("-inf")) -> None:
        """
        Args:
            key: shared secret; None = authentication is off: only an operator's name is asked for.
            window_s: largest difference between a command's stamp and the time of its arrival, either way.
            not_before_system_s: commands stamped earlier are refused. A node gives the time of its start, because the
                nonces it had seen in an earlier life are gone.
        """
        if not window_s > 0:
            raise ValueError(f"window_s: {window_s} is not above 0")
        self._key = key
        self._window_s = window_s
        self._not_before_system_s = not_before_system_s
        self._seen: dict[int, float] = {}  # nonce -> stamp of the genuine command that carried it

    def check(self, name: str, arguments: Mapping[str, Argument], auth: Any, now_system_s: float) -> str:
        """Empty = genuine and new; it is then remembered, so that the same call again is refused. Else the reason."""
        if not auth.operator_name.strip():
            return "auth.operator_name: empty; say who gives this command"
        if self._key is None:
            return ""
        try:
            expected = hmac.digest(self._key, _command_bytes(name, arguments, auth), hashlib.sha256)
        except (struct.error, OverflowError, ValueError, TypeError) as error:
            return f"auth: not a well-formed command ({error})"
        if not hmac.compare_digest(expected, bytes(auth.mac)):
            return (
                f"auth.mac: not made with this robot's key for {name} with these arguments; sign it with the key file"
            )
        stamp_s = auth.stamp.sec + auth.stamp.nanosec * 1e-9
        age_s = now_system_s - stamp_s
        if not -self._window_s <= age_s <= self._window_s:
            return f"auth.stamp: {age_s:+.1f} s old, allowed is +-{self._window_s:g} s; set the clocks, send it again"
        if stamp_s <= self._not_before_system_s:
            return (
                f"auth.stamp: {self._not_before_system_s - stamp_s:.1f} s before this node's start, or before a command it has forgotten; "
                "send it again, and if the system clock was set back, restart this node"
            )
        # A nonce is forgotten once its stamp is too old to pass; never again a stamp as old as a forgotten one, so that
        # a system clock that is set back does not open the door to what was seen before.
        for nonce, seen_s in list(self._seen.items()):
            if now_system_s - seen_s > self._window_s:
                del self._seen[nonce]
                self._not_before_system_s = max(self._not_before_system_s, seen_s)
        if auth.nonce in self._seen:
            return "auth.nonce: used before: a replayed command; sign a new one"
        self._seen[auth.nonce] = stamp_s
        return ""


def create_key(path: Path) -> bytes:
    """Draw a key and write it to a new file with mode 0600. For set-up; nodes use `load_key`.

    Raises:
        FileExistsError: there is a file already; it is left alone.
    """
    key = secrets.token_bytes(KEY_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(key.hex().encode() + b"\n")
    return key


def open_to_others(secret: Path) -> bool:
    """Whether a file's mode lets its group or others at it."""
    return bool(stat.S_IMODE(secret.stat().st_mode) & 0o077)


def load_key(authentication: bool, key_file: str) -> bytes | None:
    """The key for a node's parameters: None only when `authentication` is off.

    Raises:
        KeyFileError: authentication is on and the file is missing, open to others, or holds no key of 32 bytes.
    """
    if not authentication:
        return None
    path = Path(key_file).expanduser()
    remedy = f"make one with `python -m lumper_ros.auth {key_file or 'KEY_FILE'}`, or set authentication:=false"
    if not key_file or not path.is_file():
        raise KeyFileError(f"key_file: {key_file!r} is not there; {remedy}")
    if open_to_others(path):
        mode = stat.S_IMODE(path.stat().st_mode)
        raise KeyFileError(f"key_file: {key_file} has mode {mode:04o}, others may read it; chmod 600 and renew the key")
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except (ValueError, OSError) as error:
        raise KeyFileError(f"key_file: {key_file} cannot be read as hexadecimal ({error}); {remedy}") from None
    if len(key) < KEY_BYTES:
        raise KeyFileError(f"key_file: {key_file} holds {len(key)} bytes, at least {KEY_BYTES} are needed; {remedy}")
    return key


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m lumper_ros.auth KEY_FILE")
    try:
        create_key(Path(sys.argv[1]).expanduser())
    except OSError as exception:
        sys.exit(f"no key was made: {exception}")
