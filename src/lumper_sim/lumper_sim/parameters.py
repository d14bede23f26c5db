"""Parameters of trailer_sim."""

from dataclasses import dataclass

from lumper_ros.parameters import parameter
from lumper_sim.loads import COUNT_MAX, COUNT_MIN, GENERATORS


@dataclass(frozen=True, slots=True)
class SimParameters:
    """Each is explained by its `doc`."""

    robot_folder: str = parameter(doc="folder with arm.yaml and the URDF")
    trailer_file: str = parameter(doc="path of trailer.yaml")

    # the load
    load: str = parameter("mixed", choices=tuple(GENERATORS), doc="how the trailer is loaded")
    cartons: int = parameter(60, low=COUNT_MIN, high=COUNT_MAX, doc="cartons in the trailer")
    seed: int = parameter(1, low=0, high=2**31 - 1, doc="of the load, of sensor noise and of grasps")
    load_height_m: float = parameter(2.3, low=0.5, high=2.6, doc="highest top of the load")
    stand_off_m: float = parameter(1.9, low=1.0, high=5.0, doc="from the arm's axis to the load's front at the start")

    # time
    rate: float = parameter(
        1.0, low=0.1, high=20.0, doc="simulated seconds per second; slower where the machine cannot follow"
    )

    # camera and detector
    camera_width_px: int = parameter(320, low=64, high=1280, doc="columns of the cloud and of the detector's picture")
    camera_height_px: int = parameter(240, low=48, high=960, doc="rows")
    camera_rate_hz: float = parameter(5.0, low=0.2, high=15.0, doc="pictures per simulated second")
    camera_rgb: bool = parameter(False, doc="add a colour field to the cloud")
    camera_noise_per_m2: float = parameter(
        0.001, low=0.0, high=0.1, doc="standard deviation of depth over depth squared, 1/m"
    )
    detector_position_sigma_m: float = parameter(0.004, low=0.0, high=0.5, doc="noise of a face's centre, each axis")
    detector_rotation_sigma_rad: float = parameter(
        0.008, low=0.0, high=0.5, doc="noise of a face's orientation, each axis"
    )
    detector_size_sigma_m: float = parameter(0.003, low=0.0, high=0.5, doc="noise of a face's width and height")
    detector_miss_probability: float = parameter(0.03, low=0.0, high=1.0, doc="that a visible face is not reported")
    detector_false_per_picture: float = parameter(
        0.02, low=0.0, high=1.0, doc="probability of an invented face in a picture"
    )
    detector_min_side_m: float = parameter(
        0.08, low=0.01, high=1.0, doc="a visible part narrower than this is not found"
    )
    scan_noise_m: float = parameter(0.008, low=0.0, high=0.5, doc="standard deviation of the laser scanners' ranges")

    # trajectory server: ros2_control's constraints
    path_tolerance_rad: float = parameter(0.2, low=0.001, high=3.0, doc="path tolerance where a goal states none")
    goal_tolerance_rad: float = parameter(0.01, low=0.0005, high=1.0, doc="goal tolerance where a goal states none")
    goal_time_s: float = parameter(
        1.0, low=0.05, high=60.0, doc="time to reach the goal after its end, where a goal states none"
    )
    stopped_velocity_radps: float = parameter(
        0.01, low=0.001, high=0.1, doc="below this on every joint the arm stands still"
    )
