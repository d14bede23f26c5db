"""Parameters of motion_broker."""

from dataclasses import dataclass

from lumper_ros.parameters import parameter


@dataclass(frozen=True, slots=True)
class MotionParameters:
    """Each is explained by its `doc`."""

    robot_folder: str = parameter(doc="folder with arm.yaml and the URDF")
    trailer_file: str = parameter(doc="YAML with the trailer's inside measures")
    authentication: bool = parameter(True, doc="permits must carry a code made with key_file's key")
    key_file: str = parameter("", doc="file with the shared key; needed while authentication is on")

    # the permit
    permit_max_age_s: float = parameter(
        0.1, low=0.02, high=1.0, doc="longest a permit is believed after its stamp or receipt"
    )
    permit_clock_tolerance_s: float = parameter(
        0.02, low=0.0, high=0.5, doc="a permit stamped further in the future is refused"
    )
    permit_distrust_s: float = parameter(
        1.0, low=0.1, high=60.0, doc="no permit so long after a second monitor or a false code was seen"
    )

    # requests
    queue_size: int = parameter(16, low=1, high=1000, doc="requests waiting at most; more are refused")
    journal_size: int = parameter(2000, low=10, high=100000, doc="outcomes of executed requests kept on disk")
    refusals_size: int = parameter(5000, low=10, high=100000, doc="outcomes of refused requests kept")
    wall_max_age_s: float = parameter(60.0, low=1.0, high=3600.0, doc="a wall version superseded longer ago is refused")
    carton_moved_m: float = parameter(
        0.04, low=0.005, high=0.5, doc="a target carton that moved further since the named wall is not picked"
    )

    # planning
    planning_deadline_s: float = parameter(
        2.5, low=0.02, high=60.0, doc="a motion not planned by then fails with PLANNING_TIMEOUT"
    )
    search_checks: int = parameter(120000, low=50, high=1000000, doc="collision checks that the path search may spend")
    search_seed: int = parameter(1, low=1, high=2147483647, doc="seed of the path search")
    clearance_m: float = parameter(0.02, low=0.0, high=0.2, doc="distance kept from everything in free motion")
    limit_fraction: float = parameter(
        0.98, low=0.05, high=1.0, doc="share of the joints' speed and acceleration limits that is used"
    )
    smoothing_s: float = parameter(0.048, low=0.004, high=0.5, doc="time over which acceleration changes")

    # stages
    approach_m: float = parameter(0.10, low=0.02, high=0.5, doc="straight way to the face before the contact stretch")
    approach_speed_mps: float = parameter(1.0, low=0.02, high=3.0, doc="tool speed on the straight way to the face")
    contact_m: float = parameter(0.03, low=0.005, high=0.2, doc="slow stretch before the face")
    contact_speed_mps: float = parameter(0.25, low=0.01, high=1.0, doc="tool speed on the slow stretch")
    press_m: float = parameter(
        -0.005,
        low=-0.03,
        high=0.03,
        doc="how far past the face the cups go; negative = short of it: their stroke bridges it",
    )
    press_again_m: float = parameter(0.012, low=0.0, high=0.05, doc="how much deeper the second try presses")
    vacuum_wait_s: float = parameter(
        0.6, low=0.05, high=10.0, doc="a grasp that does not hold by then is tried again, then given up"
    )
    release_wait_s: float = parameter(0.8, low=0.05, high=10.0, doc="a load that does not let go by then is a fault")
    lost_after_s: float = parameter(
        0.08, low=0.01, high=1.0, doc="no part held for so long while carrying = carton lost"
    )
    above_belt_m: float = parameter(
        0.12, low=0.02, high=0.6, doc="height over the laying-down pose from which the load is lowered"
    )
    lower_speed_mps: float = parameter(0.8, low=0.02, high=2.0, doc="tool speed while lowering")
    lay_speed_mps: float = parameter(0.35, low=0.01, high=1.0, doc="tool speed on the last stretch onto the belt")
    max_drop_m: float = parameter(
        0.10, low=0.0, high=0.3, doc="largest height from which a load is let go when the gripper would touch the belt"
    )
    retreat_m: float = parameter(0.10, low=0.02, high=0.5, doc="way back from a released load or a failed grasp")
    probe_m: float = parameter(
        0.08,
        low=0.02,
        high=0.15,
        doc="a PROBE pulls so far: more than the step at which a camera parts two faces, less than half of a carton's depth",
    )
    retreat_speed_mps: float = parameter(0.25, low=0.01, high=1.0, doc="tool speed of the RETREAT request and of JOG")
    conveyor_wait_s: float = parameter(
        30.0, low=0.1, high=3600.0, doc="longest wait over the belt for the conveyor to be ready"
    )
    jog_max_m: float = parameter(0.2, low=0.01, high=1.0, doc="largest tool displacement of one JOG")
    jog_max_rad: float = parameter(0.35, low=0.01, high=2.0, doc="largest joint displacement or tool turn of one JOG")
    hold_share: float = parameter(
        0.9, low=0.1, high=1.0, doc="share of the vacuum's holding force that a motion may use"
    )

    # execution
    joints_max_age_s: float = parameter(0.25, low=0.02, high=2.0, doc="joint_states older than this stop the arm")
    gripper_max_age_s: float = parameter(0.5, low=0.05, high=5.0, doc="gripper/state older than this counts as missing")
    following_rad: float = parameter(0.2, low=0.01, high=1.0, doc="largest deviation of a joint from the trajectory")
    goal_rad: float = parameter(0.02, low=0.001, high=0.2, doc="largest deviation of a joint at the trajectory's end")
    goal_time_s: float = parameter(0.5, low=0.05, high=10.0, doc="time after the trajectory's end to get there")
    overdue_s: float = parameter(
        3.0, low=0.2, high=60.0, doc="a controller that has not answered so long after the end is at fault"
    )
    standstill_radps: float = parameter(0.01, low=0.0001, high=0.1, doc="joint speed below which the arm stands")
    standstill_s: float = parameter(0.03, low=0.0, high=2.0, doc="it must be that slow for so long")
    retime_lead_s: float = parameter(0.06, low=0.01, high=0.5, doc="how far ahead of now a changed speed begins")
    point_period_s: float = parameter(0.02, low=0.004, high=0.1, doc="time between the points sent to the controller")
    state_hz: float = parameter(20.0, low=5.0, high=100.0, doc="rate of motion/state while executing")
