"""Parameters of lifecycle_manager and robot_state_publisher: each declared once, here."""

from dataclasses import dataclass

from lumper_ros.interfaces import LIFECYCLE_NODES
from lumper_ros.parameters import parameter


@dataclass(frozen=True, slots=True)
class ManagerParameters:
    """Node lifecycle_manager."""

    nodes: tuple[str, ...] = parameter(
        LIFECYCLE_NODES, doc="lifecycle nodes of this namespace, in the order of bring-up"
    )
    watch_period_s: float = parameter(1.0, low=0.5, high=10.0, doc="an active node is asked for its state this often")
    answer_timeout_s: float = parameter(0.8, low=0.2, high=5.0, doc="a question for the state is lost after this")
    misses_allowed: int = parameter(
        2, low=1, high=10, doc="a node is lost when so many questions in a row stay unanswered"
    )
    transition_timeout_s: float = parameter(30.0, low=1.0, high=300.0, doc="a transition that takes longer has failed")
    retry_first_s: float = parameter(
        0.5, low=0.1, high=10.0, doc="wait before a failed transition is tried again; doubles each time"
    )
    retry_max_s: float = parameter(10.0, low=0.1, high=300.0, doc="longest wait between two tries")
    late_s: float = parameter(
        30.0, low=1.0, high=600.0, doc="a node that is not active for this long is reported as an error"
    )

    def validate(self) -> list[str]:
        """Faults of values that do not fit together."""
        faults = []
        if not self.nodes:
            faults.append("nodes is empty: name the lifecycle nodes")
        if len(set(self.nodes)) != len(self.nodes):
            faults.append(f"nodes={list(self.nodes)} names one twice")
        if self.retry_max_s < self.retry_first_s:
            faults.append(f"retry_max_s={self.retry_max_s} is less than retry_first_s={self.retry_first_s}")
        return faults


@dataclass(frozen=True, slots=True)
class StatePublisherParameters:
    """Node robot_state_publisher; the names are those of the standard node."""

    robot_description: str = parameter(doc="the robot's URDF, as text")
    publish_frequency: float = parameter(20.0, low=1.0, high=200.0, doc="largest rate of tf in Hz")
    frame_prefix: str = parameter("", doc="put in front of every frame's name")
    ignore_timestamp: bool = parameter(False, doc="publish also when joint_states carries no newer stamp")
