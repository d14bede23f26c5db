"""Parameters of perception_intake: each declared once, here."""

from dataclasses import dataclass

from lumper_ros.parameters import parameter


@dataclass(frozen=True)
class PerceptionParameters:
    """What a deployment may set. The arm's shape and the trailer's size are in their own files."""

    robot_folder: str = parameter(doc="folder with arm.yaml and the URDF")
    trailer_file: str = parameter(doc="path of trailer.yaml")
    detector: str = parameter(
        "detections",
        choices=("detections", "cloud", "both"),
        doc="where cartons come from: an upstream detector's messages, faces found in clouds, or both",
    )
    max_future_s: float = parameter(0.05, low=0.0, high=1.0, doc="stamps may lie so far ahead of this node's clock")
    detections_max_age_s: float = parameter(1.0, low=0.05, high=10.0, doc="older detections are dropped")
    points_max_age_s: float = parameter(0.5, low=0.05, high=10.0, doc="older clouds are dropped")
    max_rate_hz: float = parameter(16.0, low=1.0, high=100.0, doc="inputs of one source beyond this rate are dropped")
    max_faces: int = parameter(400, low=10, high=5000, doc="detections of one message beyond this number are dropped")
    source_silent_s: float = parameter(2.0, low=0.2, high=60.0, doc="a source silent for so long is reported as lost")
    transform_wait_s: float = parameter(
        0.25, low=0.0, high=2.0, doc="a picture waits so long for its transform, then is dropped"
    )
    max_camera_speed_mps: float = parameter(
        0.5, low=0.0, high=5.0, doc="pictures taken by a camera moving faster are blurred: dropped"
    )
    min_view_coverage: float = parameter(0.5, low=0.0, high=1.0, doc="a picture must show so much to prove absence")

    evidence_period_s: float = parameter(
        0.5, low=0.05, high=10.0, doc="clouds are looked at for free space this often (detections)"
    )
    evidence_columns: int = parameter(
        160, low=16, high=1280, doc="a cloud is thinned to so many columns as evidence of free space"
    )
    min_valid_fraction: float = parameter(0.02, low=0.0, high=1.0, doc="a cloud with fewer valid points is dropped")

    wall_max_age_s: float = parameter(2.0, low=0.2, high=60.0, doc="older evidence makes the wall STALE")
    publish_period_s: float = parameter(0.4, low=0.02, high=1.0, doc="an unchanged wall is published this often")
    pose_change_m: float = parameter(0.010, low=0.001, high=0.2, doc="a carton moved by more raises the wall's version")
    pose_change_rad: float = parameter(
        0.03, low=0.001, high=0.5, doc="a carton turned by more raises the wall's version"
    )
    size_change_m: float = parameter(
        0.010, low=0.001, high=0.2, doc="a size that changed by more raises the wall's version"
    )

    confirm_hits: int = parameter(2, low=1, high=20, doc="pictures that must show a carton before it counts")
    gone_misses: int = parameter(
        4, low=1, high=50, doc="pictures that must not show it, though they should, before it is gone"
    )
    moved_m: float = parameter(0.05, low=0.005, high=0.5, doc="an untouched carton that moved by more is a collapse")
    moved_rad: float = parameter(0.12, low=0.01, high=1.0, doc="an untouched carton that turned by more is a collapse")
    touched_reach_m: float = parameter(
        0.25, low=0.0, high=1.0, doc="cartons this near to the tool count as touched while a pick runs"
    )
    touched_neighbour_m: float = parameter(
        0.12, low=0.0, high=1.0, doc="neighbours of a touched carton may shift so far"
    )
    touched_memory_s: float = parameter(1.5, low=0.0, high=10.0, doc="how long a touch explains movement")

    assumed_size_m: float = parameter(
        0.35, low=0.1, high=1.0, doc="depth assumed while fewer than three depths are known"
    )
    min_size_m: float = parameter(0.12, low=0.02, high=1.0, doc="boxes with a smaller known side are no cartons")
    max_size_m: float = parameter(0.75, low=0.2, high=3.0, doc="boxes with a larger side are no cartons")
    density_kgpm3: float = parameter(150.0, low=10.0, high=2000.0, doc="mass of a carton nobody weighed, per volume")
    density_sigma: float = parameter(0.35, low=0.0, high=2.0, doc="its standard deviation, as a fraction")
    friction: float = parameter(0.45, low=0.05, high=1.5, doc="Coulomb coefficient assumed")
    trailer_margin_m: float = parameter(
        0.10, low=0.0, high=1.0, doc="cartons centred further outside the trailer are dropped"
    )
    floor_view_from_m: float = parameter(
        1.35, low=0.0, high=5.0, doc="base_link x from which the camera sees the floor"
    )

    def validate(self) -> list[str]:
        """Faults between values."""
        if self.min_size_m >= self.max_size_m:
            return [f"min_size_m={self.min_size_m} must be less than max_size_m={self.max_size_m}"]
        return []
