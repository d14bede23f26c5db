"""Parameters of the safety monitor. Max ages, limits and latches are in the table that `causes_file` names."""

from dataclasses import dataclass

from lumper_ros.parameters import parameter

_FOV = "as in the robot description"


@dataclass(frozen=True)
class Parameters:
    """See docs/safety.md."""

    robot_folder: str = parameter(doc="folder with arm.yaml and the URDF")
    trailer_file: str = parameter(doc="path of trailer.yaml")
    causes_file: str = parameter(
        "", doc="path of safety_causes.yaml: max ages, limits, latch policy; empty = the one beside trailer_file"
    )
    authentication: bool = parameter(True, doc="sign permits and accept only signed resets (key_file)")
    key_file: str = parameter("", doc="file with the robot's key, mode 0600; needed while authentication is on")
    command_window_s: float = parameter(5.0, low=0.1, high=60.0, doc="largest age of an operator's command on arrival")
    permit_s: float = parameter(0.1, low=0.03, high=0.1, doc="length of the lease that one permit gives")

    human_speed_mps: float = parameter(
        1.6, low=1.6, high=5.0, doc="vh: speed of a person who is not measured to be faster"
    )
    intrusion_m: float = parameter(
        0.20, low=0.0, high=2.0, doc="C: a body part may be so far before what the scanner sees"
    )
    person_uncertainty_m: float = parameter(0.10, low=0.0, high=1.0, doc="Zd: uncertainty of a person's position")
    robot_uncertainty_m: float = parameter(0.05, low=0.0, high=1.0, doc="Zr: uncertainty of the arm's position")
    reaction_floor_s: float = parameter(0.05, low=0.02, high=1.0, doc="Tr is the largest measured, and at least this")
    reaction_window_s: float = parameter(600.0, low=10.0, high=86400.0, doc="Tr is the largest of this time")
    arm_speed_max_mps: float = parameter(
        4.0, low=0.1, high=20.0, doc="no point of the arm is planned faster than this at speed scale 1"
    )
    scan_period_s: float = parameter(0.05, low=0.01, high=0.2, doc="longest time between two scans of a scanner")
    speed_scale_min: float = parameter(0.05, low=0.01, high=0.5, doc="where less than this is left, the arm stops")
    separation_hold_s: float = parameter(
        0.5, low=0.5, high=10.0, doc="the speed rises once separation was back for so long"
    )
    unknown_load_kg: float = parameter(30.0, low=0.0, high=107.0, doc="mass assumed of a load that no wall describes")

    scan_front_frame: str = parameter("scanner_front", doc="frame_id of scan/front")
    scan_front_angle_min_rad: float = parameter(-2.356194490192345, low=-3.15, high=3.15, doc=_FOV)
    scan_front_step_rad: float = parameter(0.008726646259971648, low=0.0005, high=0.1, doc=_FOV)
    scan_front_beams: int = parameter(541, low=16, high=10000, doc=_FOV)
    scan_front_below_min_is_no_return: bool = parameter(
        False, doc="the driver writes 0 or an error number below range_min where nothing came back (may hide dirt)"
    )
    scan_front_contour_m: tuple[float, ...] = parameter(
        (), low=0.0, doc="taught range of each beam in a place that is not a trailer: as far or farther is explained"
    )
    scan_rear_frame: str = parameter("scanner_rear", doc="frame_id of scan/rear")
    scan_rear_angle_min_rad: float = parameter(-2.356194490192345, low=-3.15, high=3.15, doc=_FOV)
    scan_rear_step_rad: float = parameter(0.008726646259971648, low=0.0005, high=0.1, doc=_FOV)
    scan_rear_beams: int = parameter(541, low=16, high=10000, doc=_FOV)
    scan_rear_below_min_is_no_return: bool = parameter(
        False, doc="the driver writes 0 or an error number below range_min where nothing came back (may hide dirt)"
    )
    scan_rear_contour_m: tuple[float, ...] = parameter(
        (), low=0.0, doc="taught range of each beam in a place that is not a trailer: as far or farther is explained"
    )
    wall_margin_m: float = parameter(0.08, low=0.0, high=0.3, doc="points so near a trailer wall are the wall")
    carton_margin_m: float = parameter(0.12, low=0.0, high=0.5, doc="points so near the pile or a carton are cartons")
    robot_margin_m: float = parameter(0.10, low=0.0, high=0.3, doc="points so near the robot are the robot")
    load_half_width_m: float = parameter(0.40, low=0.05, high=1.0, doc="half of the widest load, with margin")
    load_depth_m: float = parameter(0.75, low=0.05, high=1.5, doc="deepest load before the suction face, with margin")
    pile_memory_s: float = parameter(10.0, low=0.0, high=60.0, doc="the pile recedes so long after a carton was taken")
    base_pose_max_age_s: float = parameter(1.0, low=0.1, high=10.0, doc="an older place of the base explains nothing")
    cluster_gap_m: float = parameter(0.15, low=0.02, high=1.0, doc="points farther apart belong to different things")
    track_gate_m: float = parameter(0.30, low=0.05, high=2.0, doc="somebody seen again is within this distance")
    confirm_m: float = parameter(0.40, low=0.05, high=5.0, doc="what moved so far is a person, remembered when hidden")
    hidden_s: float = parameter(30.0, low=0.0, high=600.0, doc="how long a person is remembered where nobody can look")

    def validate(self) -> list[str]:
        faults = []
        for side in ("front", "rear"):
            contour, beams = getattr(self, f"scan_{side}_contour_m"), getattr(self, f"scan_{side}_beams")
            if contour and len(contour) != beams:
                faults.append(
                    f"scan_{side}_contour_m: {len(contour)} values, must be none or scan_{side}_beams = {beams}"
                )
        return faults
