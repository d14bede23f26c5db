"""Quality-of-service profiles of the interface table as rclpy objects."""

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

from lumper_ros.interfaces import Profile

_RELIABLE, _BEST = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
_VOLATILE, _LATCHED = DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL
_ROWS: dict[Profile, tuple[ReliabilityPolicy, DurabilityPolicy, int]] = {
    Profile.SENSOR: (_BEST, _VOLATILE, 1),
    Profile.CLOUD: (_BEST, _VOLATILE, 5),
    Profile.RELIABLE: (_RELIABLE, _VOLATILE, 5),
    Profile.RELIABLE_1: (_RELIABLE, _VOLATILE, 1),
    Profile.LATCHED: (_RELIABLE, _LATCHED, 1),
    Profile.EVENTS: (_RELIABLE, _LATCHED, 1000),
    Profile.PERMIT: (_RELIABLE, _VOLATILE, 1),
    Profile.TF: (_RELIABLE, _VOLATILE, 100),
    Profile.TF_STATIC: (_RELIABLE, _LATCHED, 100),
    Profile.JOURNAL: (_RELIABLE, _LATCHED, 200),
    Profile.CLOCK: (_BEST, _VOLATILE, 1),
    Profile.STANDARD: (_RELIABLE, _VOLATILE, 10),
}


def qos(profile: Profile) -> QoSProfile:
    """QoSProfile of a row of the interface table."""
    reliability, durability, depth = _ROWS[profile]
    result = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=durability)
    if profile is Profile.PERMIT:
        result.deadline = Duration(nanoseconds=40_000_000)
        result.lifespan = Duration(nanoseconds=100_000_000)
        result.liveliness = LivelinessPolicy.AUTOMATIC
        result.liveliness_lease_duration = Duration(nanoseconds=100_000_000)
    return result
