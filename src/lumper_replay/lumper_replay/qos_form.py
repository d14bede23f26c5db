"""Quality of service in the form of rosbag2's metadata, and back."""

from collections.abc import Mapping
from typing import Any

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

_INFINITE = {"sec": 9223372036, "nsec": 854775807}
# Longer than a year is rosbag2's "not set".
_UNSET_S = 3.2e7


def _time(duration: Duration | None) -> dict[str, int]:
    nanoseconds = 0 if duration is None else duration.nanoseconds
    if nanoseconds <= 0:
        return dict(_INFINITE)
    return {"sec": nanoseconds // 10**9, "nsec": nanoseconds % 10**9}


def described(profile: QoSProfile) -> dict[str, Any]:
    """A profile as rosbag2 writes it."""
    return {
        "history": profile.history.name.lower(),
        "depth": profile.depth,
        "reliability": profile.reliability.name.lower(),
        "durability": profile.durability.name.lower(),
        "deadline": _time(profile.deadline),
        "lifespan": _time(profile.lifespan),
        "liveliness": "automatic" if profile.liveliness.name == "SYSTEM_DEFAULT" else profile.liveliness.name.lower(),
        "liveliness_lease_duration": _time(profile.liveliness_lease_duration),
        "avoid_ros_namespace_conventions": False,
    }


def _policy(kind: Any, value: Any, default: Any) -> Any:
    """A policy by name, or by number as older bags have it."""
    try:
        made = kind[value.upper()] if isinstance(value, str) else kind(int(value))
    except (KeyError, ValueError, TypeError):
        return default
    return default if made.name in ("UNKNOWN", "SYSTEM_DEFAULT", "BEST_AVAILABLE") else made


def _duration(value: Any) -> Duration | None:
    if not isinstance(value, Mapping):
        return None
    seconds, rest = int(value.get("sec", 0)), int(value.get("nsec", 0))
    return None if seconds > _UNSET_S or (seconds, rest) == (0, 0) else Duration(nanoseconds=seconds * 10**9 + rest)


def profile_of(offered: list[dict[str, Any]]) -> QoSProfile:
    """The profile that a recorded topic is published with: the first one that was offered; reliable, 10, without one."""
    if not offered:
        return QoSProfile(depth=10)
    raw = offered[0]
    made = QoSProfile(
        history=_policy(HistoryPolicy, raw.get("history"), HistoryPolicy.KEEP_LAST),
        depth=max(1, int(raw.get("depth") or 10)),
        reliability=_policy(ReliabilityPolicy, raw.get("reliability"), ReliabilityPolicy.RELIABLE),
        durability=_policy(DurabilityPolicy, raw.get("durability"), DurabilityPolicy.VOLATILE),
    )
    deadline, lifespan = _duration(raw.get("deadline")), _duration(raw.get("lifespan"))
    if deadline is not None:
        made.deadline = deadline
    if lifespan is not None:
        made.lifespan = lifespan
    lease = _duration(raw.get("liveliness_lease_duration"))
    if lease is not None:
        made.liveliness = _policy(LivelinessPolicy, raw.get("liveliness"), LivelinessPolicy.AUTOMATIC)
        made.liveliness_lease_duration = lease
    return made
