"""metadata.yaml of a rosbag2 folder, version 9."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

VERSION = 9
FILE = "metadata.yaml"


class MetadataError(ValueError):
    """metadata.yaml is damaged; the text names the file and what is wrong."""


@dataclass(slots=True)
class TopicEntry:
    """One topic of a bag. `qos`: offered profiles in rosbag2's own form."""

    name: str
    type: str
    type_hash: str = ""
    qos: list[dict[str, Any]] = field(default_factory=list)
    count: int = 0


@dataclass(slots=True)
class FileEntry:
    """One file of a bag; times in ns of the receive stamps."""

    path: str
    start_ns: int = 0
    end_ns: int = 0
    count: int = 0


@dataclass(slots=True)
class Metadata:
    """What metadata.yaml says."""

    storage: str
    topics: list[TopicEntry] = field(default_factory=list)
    files: list[FileEntry] = field(default_factory=list)
    custom: dict[str, str] = field(default_factory=dict)
    distro: str = ""
    compression_format: str = ""
    compression_mode: str = ""

    def information(self) -> dict[str, Any]:
        """The content of `rosbag2_bagfile_information`."""
        used = [entry for entry in self.files if entry.count]
        start_ns = min((entry.start_ns for entry in used), default=0)
        end_ns = max((entry.end_ns for entry in used), default=0)
        return {
            "version": VERSION,
            "storage_identifier": self.storage,
            "relative_file_paths": [entry.path for entry in self.files],
            "duration": {"nanoseconds": end_ns - start_ns},
            "starting_time": {"nanoseconds_since_epoch": start_ns},
            "message_count": sum(entry.count for entry in self.files),
            "topics_with_message_count": [
                {
                    "topic_metadata": {
                        "name": topic.name,
                        "type": topic.type,
                        "serialization_format": "cdr",
                        "offered_qos_profiles": topic.qos,
                        "type_description_hash": topic.type_hash,
                    },
                    "message_count": topic.count,
                }
                for topic in self.topics
            ],
            "compression_format": self.compression_format,
            "compression_mode": self.compression_mode,
            "files": [
                {
                    "path": entry.path,
                    "starting_time": {"nanoseconds_since_epoch": entry.start_ns},
                    "duration": {"nanoseconds": entry.end_ns - entry.start_ns},
                    "message_count": entry.count,
                }
                for entry in self.files
            ],
            "custom_data": self.custom or None,
            "ros_distro": self.distro,
        }

    def text(self) -> str:
        """metadata.yaml."""
        return yaml.safe_dump({"rosbag2_bagfile_information": self.information()}, sort_keys=False)


def load(folder: Path) -> Metadata:
    """Read a folder's metadata.yaml of any version.

    Raises:
        MetadataError: it is not there, or not what rosbag2 writes.
    """
    path = folder / FILE
    if not path.is_file():
        raise MetadataError(f"{path} is not there")
    try:
        raw = yaml.safe_load(path.read_text())["rosbag2_bagfile_information"]
        return _parse(raw)
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise MetadataError(f"{path} is not what rosbag2 writes: {type(error).__name__} {error}") from error


def _parse(raw: Mapping[str, Any]) -> Metadata:
    topics = []
    for row in raw.get("topics_with_message_count") or ():
        about = row["topic_metadata"]
        topics.append(
            TopicEntry(
                str(about["name"]),
                str(about["type"]),
                str(about.get("type_description_hash") or ""),
                parse_qos(about.get("offered_qos_profiles")),
                int(row["message_count"]),
            )
        )
    files = [
        FileEntry(
            str(row["path"]),
            int(row["starting_time"]["nanoseconds_since_epoch"]),
            int(row["starting_time"]["nanoseconds_since_epoch"]) + int(row["duration"]["nanoseconds"]),
            int(row["message_count"]),
        )
        for row in raw.get("files") or ()
    ]
    named = {entry.path for entry in files}
    files += [FileEntry(str(path)) for path in raw["relative_file_paths"] if str(path) not in named]
    return Metadata(
        storage=str(raw["storage_identifier"]),
        topics=topics,
        files=files,
        custom={str(key): str(value) for key, value in (raw.get("custom_data") or {}).items()},
        distro=str(raw.get("ros_distro") or ""),
        compression_format=str(raw.get("compression_format") or ""),
        compression_mode=str(raw.get("compression_mode") or "").lower(),
    )


def parse_qos(raw: Any) -> list[dict[str, Any]]:
    """Offered profiles, which older versions keep as YAML inside a string."""
    if isinstance(raw, str):
        try:
            raw = yaml.safe_load(raw) if raw.strip() else []
        except yaml.YAMLError:
            return []
    return [dict(entry) for entry in raw or () if isinstance(entry, Mapping)]
