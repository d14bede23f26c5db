"""Parameters of the recorder."""

from dataclasses import dataclass

from lumper_ros.parameters import parameter


@dataclass(frozen=True, slots=True)
class RecorderParameters:
    """Parameters of lumper_recorder."""

    folder: str = parameter(
        "",
        doc="bag folder to make; empty = $ROS_HOME/lumper/bags/<date and time>; an existing one is never written over",
    )
    max_file_mb: float = parameter(2048.0, doc="a new file is begun above this size, MB", low=0.1, high=1e6)
    max_file_s: float = parameter(600.0, doc="a new file is begun after this time, s", low=1.0, high=1e6)
    compression: str = parameter("none", doc="of chunks", choices=("none", "lz4"))
    flush_s: float = parameter(0.5, doc="what is older than this survives a kill, s", low=0.05, high=60.0)
    queue_mb: float = parameter(
        256.0, doc="memory for messages that the disk has not taken yet, MB; above it messages are counted as lost",
        low=8.0, high=65536.0,
    )  # fmt: skip
    min_free_mb: float = parameter(200.0, doc="recording ends cleanly when less disk is free, MB", low=1.0, high=1e6)
    other_topics: bool = parameter(False, doc="also record topics that are not in the interface table")
    without: tuple[str, ...] = parameter((), doc="topics of the interface table that are not recorded, such as points")
