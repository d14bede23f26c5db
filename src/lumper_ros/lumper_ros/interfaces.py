"""Every name on the graph, as data: type, QoS, age limit, and which node is at which end.

The live nodes are wired from this table, a test compares each running node with it, and access rules are generated
from it. Names are relative: the node's namespace is put in front (except /tf, /tf_static, /clock, /diagnostics).
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Profile(Enum):
    """Quality of service, by use. Durations in s; None = not set."""

    SENSOR = "best effort, volatile, keep last 1"
    # Several cameras share a topic. Fast DDS 3.2 never frees a sample that came late, older than all of a full history, which
    # with a history of 1 happens whenever two cameras send while the reader is busy.
    CLOUD = "best effort, volatile, keep last 5"
    RELIABLE = "reliable, volatile, keep last 5"
    RELIABLE_1 = "reliable, volatile, keep last 1"
    LATCHED = "reliable, transient local, keep last 1"
    EVENTS = "reliable, transient local, keep last 1000"
    PERMIT = "reliable, volatile, keep last 1, deadline 40 ms, lifespan 100 ms, liveliness automatic 100 ms"
    TF = "reliable, volatile, keep last 100"
    TF_STATIC = "reliable, transient local, keep last 100"
    JOURNAL = "reliable, transient local, keep last 200"
    CLOCK = "best effort, volatile, keep last 1"
    STANDARD = "reliable, volatile, keep last 10"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `max_age_s`: an input older than this counts as missing; None = no limit by age."""

    name: str
    type: str
    profile: Profile
    publishers: tuple[str, ...]
    subscribers: tuple[str, ...]
    max_age_s: float | None = None
    rate_hz: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    type: str
    server: str
    clients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Action:
    name: str
    type: str
    server: str
    clients: tuple[str, ...]


PERCEPTION = "perception_intake"
PLANNER = "unload_planner"
BROKER = "motion_broker"
SAFETY = "safety_monitor"
SIM = "trailer_sim"
MARKERS = "scene_markers"
PANEL = "operator_panel"
MANAGER = "lifecycle_manager"
STATE = "robot_state_publisher"
DEMO = "demo_client"
RECORDER = "lumper_recorder"

NODES = (SAFETY, PERCEPTION, BROKER, PLANNER, MARKERS, PANEL, MANAGER, STATE, SIM)
# Brought up in this order by the lifecycle manager.
LIFECYCLE_NODES = (PERCEPTION, BROKER, PLANNER)
ALL_CORES = (PERCEPTION, PLANNER, BROKER, SAFETY, MARKERS, PANEL)

_MSG = "lumper_msgs/msg/"
_SRV = "lumper_msgs/srv/"

TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic("points", "sensor_msgs/msg/PointCloud2", Profile.CLOUD, (SIM,), (PERCEPTION, PANEL), 0.5, "5-15"),
        Topic("detections", _MSG + "CartonDetections", Profile.RELIABLE, (SIM,), (PERCEPTION,), 1.0, "<= 15"),
        Topic(
            "wall",
            _MSG + "Wall",
            Profile.LATCHED,
            (PERCEPTION,),
            (PLANNER, BROKER, SAFETY, MARKERS, PANEL),
            2.0,
            ">= 1",
        ),
        Topic("plan", _MSG + "UnloadPlan", Profile.LATCHED, (PLANNER,), (MARKERS, PANEL), None, "on change"),
        Topic(
            "job/state",
            _MSG + "JobState",
            Profile.LATCHED,
            (PLANNER,),
            (SAFETY, MARKERS, PANEL, PERCEPTION),
            2.5,
            ">= 1",
        ),
        Topic(
            "safety/state",
            _MSG + "SafetyState",
            Profile.PERMIT,
            (SAFETY,),
            (BROKER, PLANNER, MARKERS, PANEL),
            0.1,
            "50",
        ),
        Topic("scan/front", "sensor_msgs/msg/LaserScan", Profile.SENSOR, (SIM,), (SAFETY, PANEL), 0.25, "15-40"),
        Topic("scan/rear", "sensor_msgs/msg/LaserScan", Profile.SENSOR, (SIM,), (SAFETY, PANEL), 0.25, "15-40"),
        Topic("estop", "std_msgs/msg/Bool", Profile.LATCHED, (SIM,), (SAFETY, PANEL), 0.3, ">= 10"),
        Topic(
            "joint_states",
            "sensor_msgs/msg/JointState",
            Profile.SENSOR,
            (SIM,),
            (BROKER, SAFETY, PERCEPTION, STATE, MARKERS, PANEL),
            0.1,
            ">= 100",
        ),
        Topic(
            "gripper/state",
            _MSG + "GripperState",
            Profile.RELIABLE_1,
            (SIM,),
            (BROKER, SAFETY, PANEL),
            0.25,
            ">= 20",
        ),
        Topic(
            "conveyor/state",
            _MSG + "ConveyorState",
            Profile.LATCHED,
            (SIM,),
            (BROKER, PLANNER, PANEL, MARKERS),
            1.0,
            ">= 5",
        ),
        Topic(
            "motion/state",
            _MSG + "BrokerState",
            Profile.LATCHED,
            (BROKER,),
            (SAFETY, PLANNER, PERCEPTION, MARKERS, PANEL),
            0.6,
            "on change, >= 5",
        ),
        Topic(
            "assist/request", _MSG + "AssistRequest", Profile.LATCHED, (PLANNER,), (MARKERS, PANEL), None, "on change"
        ),
        Topic(
            "events",
            _MSG + "Event",
            Profile.EVENTS,
            (PERCEPTION, PLANNER, BROKER, SAFETY, PANEL, MANAGER, SIM, RECORDER),
            (PANEL,),
            None,
            "-",
        ),
        Topic("markers", "visualization_msgs/msg/MarkerArray", Profile.LATCHED, (MARKERS,), (), None, "<= 5"),
        Topic("sim/report", _MSG + "SimReport", Profile.LATCHED, (SIM,), (), None, "1"),
        Topic("robot_description", "std_msgs/msg/String", Profile.LATCHED, (STATE,), (), None, "once"),
        Topic(
            "/tf",
            "tf2_msgs/msg/TFMessage",
            Profile.TF,
            (STATE, SIM),
            (PERCEPTION, PLANNER, SAFETY, BROKER, MARKERS, PANEL),
            None,
            "50",
        ),
        Topic(
            "/tf_static",
            "tf2_msgs/msg/TFMessage",
            Profile.TF_STATIC,
            (STATE,),
            (PERCEPTION, SAFETY, BROKER, MARKERS, PANEL),
        ),
        Topic(
            "/diagnostics",
            "diagnostic_msgs/msg/DiagnosticArray",
            Profile.STANDARD,
            (PERCEPTION, PLANNER, BROKER, SAFETY, MARKERS, PANEL, MANAGER),
            (PANEL,),
            None,
            "1",
        ),
        Topic(
            "decisions",
            _MSG + "CoreSteps",
            Profile.JOURNAL,
            (PERCEPTION, PLANNER, BROKER, SAFETY),
            (RECORDER,),
            None,
            "<= 20 each, while a run is recorded",
        ),
        Topic("/clock", "rosgraph_msgs/msg/Clock", Profile.CLOCK, (SIM,), (), None, "<= 50"),
    )
}

SERVICES: dict[str, Service] = {
    service.name: service
    for service in (
        Service("gripper/set", _SRV + "SetGripper", SIM, (BROKER,)),
        Service("safety/reset", _SRV + "ResetSafety", SAFETY, (PANEL, DEMO)),
        Service("safety/stop", "std_srvs/srv/Trigger", SAFETY, (PANEL,)),
        Service("safety/speed_limit", _SRV + "SetSpeedLimit", SAFETY, (PANEL,)),
        Service("assist/answer", _SRV + "AnswerAssist", PLANNER, (PANEL,)),
        Service("job/command", _SRV + "JobCommand", PLANNER, (PANEL, DEMO)),
        Service("sim/fault", _SRV + "InjectFault", SIM, ()),
    )
}

ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action("unload", "lumper_msgs/action/Unload", PLANNER, (DEMO,)),
        Action("motion/execute", "lumper_msgs/action/ExecuteMotion", BROKER, (PLANNER, PANEL)),
        Action(
            "arm_controller/follow_joint_trajectory",
            "control_msgs/action/FollowJointTrajectory",
            SIM,
            (BROKER,),
        ),
        Action("base/advance", "lumper_msgs/action/AdvanceBase", SIM, (PLANNER,)),
    )
}


def resolve_type(type_name: str) -> Any:
    """Class of `package/msg|srv|action/Name`.

    Raises:
        ModuleNotFoundError, AttributeError: the interface package is not installed or lacks the name.
    """
    package, kind, name = type_name.split("/")
    module = __import__(f"{package}.{kind}", fromlist=[name])
    return getattr(module, name)


def published_by(node: str) -> list[Topic]:
    return [topic for topic in TOPICS.values() if node in topic.publishers]


def subscribed_by(node: str) -> list[Topic]:
    return [topic for topic in TOPICS.values() if node in topic.subscribers]
