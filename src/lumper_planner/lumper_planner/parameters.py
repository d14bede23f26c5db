"""Parameters of unload_planner: each declared once, here."""

from dataclasses import dataclass

from lumper_ros.parameters import parameter


@dataclass(frozen=True)
class PlannerParameters:
    """What a deployment may set. Limits that belong to the arm or the trailer are in their own files."""

    robot_folder: str = parameter(doc="folder with arm.yaml and the URDF")
    trailer_file: str = parameter(doc="path of trailer.yaml")
    authentication: bool = parameter(True, doc="accept only commands signed with the robot's key (key_file)")
    key_file: str = parameter("", doc="file with the robot's key, mode 0600; needed while authentication is on")
    command_window_s: float = parameter(5.0, low=0.1, high=60.0, doc="largest age of an operator's command on arrival")

    wall_max_age_s: float = parameter(
        2.0, low=0.2, high=10.0, doc="an older picture of the wall is not acted on (ROS time)"
    )
    safety_max_age_s: float = parameter(0.5, low=0.1, high=2.0, doc="safety/state older than this counts as no permit")
    broker_max_age_s: float = parameter(1.5, low=0.3, high=10.0, doc="motion/state older than this counts as no broker")
    conveyor_max_age_s: float = parameter(
        2.0, low=0.3, high=10.0, doc="conveyor/state older than this counts as not ready"
    )
    look_grace_s: float = parameter(
        0.8, low=0.0, high=10.0, doc="wait so long for a fresh picture before clearing the view by SCAN"
    )
    look_timeout_s: float = parameter(
        15.0,
        low=1.0,
        high=600.0,
        doc="after a SCAN a fresh picture must come within this time, else the job ends as WALL_STALE",
    )
    settle_s: float = parameter(2.0, low=0.0, high=60.0, doc="the wall must stand still so long after a collapse")

    plan_budget_s: float = parameter(0.2, low=0.005, high=5.0, doc="CPU time of one run of the planning core")
    picks_per_plan: int = parameter(3, low=1, high=20, doc="picks listed in a plan; only the first is carried out")
    cartons_at_once: int = parameter(1, low=1, high=4, doc="most cartons taken by one pick")
    lookahead: int = parameter(
        2, low=0, high=20, doc="other first cartons that are tried where the best one leads to a dead end"
    )
    picture_tolerance_m: float = parameter(
        0.008,
        low=0.0,
        high=0.05,
        doc="a plan stays good for a newer wall whose cartons differ by less in place and size",
    )

    motion_limit_s: float = parameter(90.0, low=5.0, high=600.0, doc="deadline given with each arm-motion request")
    answer_limit_s: float = parameter(
        10.0, low=1.0, high=120.0, doc="a result this long past its deadline is reported missing"
    )
    grasp_attempts: int = parameter(2, low=1, high=5, doc="failed attempts on one carton before a person is asked")
    fault_retries: int = parameter(
        3, low=0, high=20, doc="faults in a row, of motion or its planning, before a person is asked"
    )
    retry_pause_s: float = parameter(1.0, low=0.0, high=30.0, doc="wait before trying again after a fault")
    cancel_limit_s: float = parameter(
        45.0, low=1.0, high=300.0, doc="a cancelled job lays down what it holds within this time"
    )

    working_distance_m: float = parameter(
        1.9, low=0.5, high=4.0, doc="wanted distance from the arm's axis to the front of the pile, along x"
    )
    advance_step_m: float = parameter(0.25, low=0.05, high=1.0, doc="step by which base positions are tried")
    advance_max_m: float = parameter(1.5, low=0.1, high=5.0, doc="longest single move of the base")
    retreat_max_m: float = parameter(
        0.75, low=0.0, high=5.0, doc="farthest that the base goes back by itself to reach what is near"
    )
    base_clearance_m: float = parameter(
        0.15, low=0.02, high=1.0, doc="kept between base or conveyor and cartons or back wall"
    )
    base_speed_mps: float = parameter(0.3, low=0.02, high=2.0, doc="speed asked of the drive base")
    base_retries: int = parameter(
        2, low=0, high=10, doc="failed base moves in a row before the job ends as BASE_FAILED"
    )
    base_still_s: float = parameter(
        2.5, low=0.2, high=30.0, doc="after a restart in a base move the base must stand still so long"
    )
    drive_back_m: float = parameter(
        0.4,
        low=0.05,
        high=2.0,
        doc="how far the base goes back: on a person's word, or with a load that cannot be laid down",
    )

    hold_question_s: float = parameter(
        20.0,
        low=1.0,
        high=3600.0,
        doc="a person is asked when somebody or something unknown has kept the arm from moving for so long",
    )
    question_limit_s: float = parameter(
        300.0, low=1.0, high=86400.0, doc="an open question takes its safe default after this (ROS time)"
    )
    collapses_before_end: int = parameter(
        5,
        low=1,
        high=100,
        doc="the job ends as WALL_CHANGED_UNTOUCHED at this many collapses, each before ten more were delivered",
    )
