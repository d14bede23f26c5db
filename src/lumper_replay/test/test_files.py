"""Bags as files: written, split, read by others, cut, damaged, foreign."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.highlevel import AnyReader
from std_msgs.msg import Bool, String

from lumper_replay import definitions
from lumper_replay.cli import main
from lumper_replay.info import text as info
from lumper_replay.reader import open_bag
from lumper_replay.writer import BagError, BagWriter, Limits

START_NS = 1_700_000_000_000_000_000
STRING = "std_msgs/msg/String"


def filled(folder: Path, count: int = 100, size: int = 100, flush_every: int = 10, **options: object) -> BagWriter:
    """A writer with messages on /a and /b, a millisecond apart, not closed yet."""
    writer = BagWriter(folder, **options)  # type: ignore[arg-type]
    writer.add_topic("/a", STRING, [])
    writer.add_topic("/b", "std_msgs/msg/Bool", [])
    for i in range(count):
        writer.write("/a", START_NS + i * 1_000_000, serialize_message(String(data=f"{i}" + "x" * size)))
        writer.write("/b", START_NS + i * 1_000_000, serialize_message(Bool(data=i % 2 == 0)))
        if i % flush_every == flush_every - 1:
            writer.flush()
    return writer


def numbers(folder: Path) -> list[int]:
    return [
        int(deserialize_message(message.data, String).data.rstrip("x")) for message in open_bag(folder).messages({"/a"})
    ]


def test_other_software_reads_what_is_written(tmp_path: Path) -> None:
    writer = filled(tmp_path / "bag", custom={"lumper.namespace": "/robot"})
    writer.close()
    with AnyReader([tmp_path / "bag"]) as reader:
        assert {c.topic: c.msgtype for c in reader.connections} == {"/a": STRING, "/b": "std_msgs/msg/Bool"}
        read = [(c.topic, stamp, reader.deserialize(raw, c.msgtype)) for c, stamp, raw in reader.messages()]
        assert reader.message_count == 200
    assert [m.data.rstrip("x") for topic, _, m in read if topic == "/a"] == [str(i) for i in range(100)]
    about = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert about["version"] == 9 and about["custom_data"] == {"lumper.namespace": "/robot"}
    assert about["topics_with_message_count"][0]["topic_metadata"]["type_description_hash"].startswith("RIHS01_")


def test_definitions_hold_all_nested_types() -> None:
    text = definitions.definition("lumper_msgs/msg/CoreSteps")
    assert "MSG: lumper_msgs/CoreStep" in text and "MSG: lumper_msgs/CoreEffect" in text
    with pytest.raises(definitions.UnknownTypeError, match="nobody_msgs/msg/None_"):
        definitions.definition("nobody_msgs/msg/None_")


@pytest.mark.parametrize("limits", [Limits(file_bytes=4000), Limits(file_s=0.02)], ids=["size", "time"])
def test_splits(tmp_path: Path, limits: Limits) -> None:
    filled(tmp_path / "bag", limits=limits).close()
    files = sorted((tmp_path / "bag").glob("*.mcap"))
    assert len(files) >= 4
    assert numbers(tmp_path / "bag") == list(range(100))
    about = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert [entry["path"] for entry in about["files"]] == [f"bag_{i}.mcap" for i in range(len(files))]
    assert sum(entry["message_count"] for entry in about["files"]) == about["message_count"] == 200
    with AnyReader([tmp_path / "bag"]) as reader:
        assert sum(1 for _ in reader.messages()) == 200


def test_an_existing_bag_is_never_written_over(tmp_path: Path) -> None:
    filled(tmp_path / "bag").close()
    with pytest.raises(BagError, match="exists already"):
        BagWriter(tmp_path / "bag")


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_cut_anywhere_all_flushed_is_read(tmp_path: Path, compression: str) -> None:
    writer = filled(tmp_path / "bag", compression=compression)
    writer.flush()
    file = tmp_path / "bag" / "bag_0.mcap"
    whole = file.read_bytes()
    writer.close()
    (tmp_path / "bag" / "metadata.yaml").unlink()
    last = -1
    for size in range(0, len(whole) + 1, max(1, len(whole) // 60)):
        file.write_bytes(whole[:size])
        bag = open_bag(tmp_path / "bag")
        found = list(bag.messages({"/a"}))
        assert len(found) % 10 == 0 and len(found) >= last
        assert any("bag_0.mcap" in fault for fault in bag.faults_now())
        last = len(found)
    assert last == 100


def test_a_chunk_with_a_wrong_crc_is_left_out_and_named(tmp_path: Path) -> None:
    filled(tmp_path / "bag").close()
    file = tmp_path / "bag" / "bag_0.mcap"
    data = bytearray(file.read_bytes())
    at = data.index(b"42xxxx")
    data[at + 3] ^= 0xFF
    file.write_bytes(data)
    bag = open_bag(tmp_path / "bag")
    kept = [int(deserialize_message(m.data, String).data.rstrip("x")) for m in bag.messages({"/a"})]
    assert kept == [*range(40), *range(50, 100)]
    assert any("wrong CRC" in fault and "bag_0.mcap" in fault for fault in bag.faults_now())


def test_missing_and_damaged_metadata_are_named_and_not_needed(tmp_path: Path) -> None:
    filled(tmp_path / "bag").close()
    meta = tmp_path / "bag" / "metadata.yaml"
    meta.write_text("rosbag2_bagfile_information: [1, 2")
    assert any("not what rosbag2 writes" in fault for fault in open_bag(tmp_path / "bag").faults_now())
    meta.unlink()
    assert any("metadata.yaml is not there" in fault for fault in open_bag(tmp_path / "bag").faults_now())
    assert numbers(tmp_path / "bag") == list(range(100))


def test_unknown_types_are_counted_by_name(tmp_path: Path) -> None:
    writer = filled(tmp_path / "bag")
    writer.add_topic("/alien", "alien_msgs/msg/Probe", [], text="uint8 x\n", type_hash="RIHS01_0")
    for i in range(7):
        writer.write("/alien", START_NS + i, b"\0\1\0\0\5")
    writer.close()
    told = info(tmp_path / "bag")
    assert "7  /alien  alien_msgs/msg/Probe  (type not installed: skipped)" in told


def test_stamps_running_backwards_are_named_and_equal_ones_keep_file_order(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/a", STRING, [])
    for i, stamp in enumerate((5, 5, 5, 2, 2, 9, 9, 1)):
        writer.write("/a", START_NS + stamp, serialize_message(String(data=str(i))))
        writer.flush()
    writer.close()
    bag = open_bag(tmp_path / "bag")
    assert [deserialize_message(m.data, String).data for m in bag.messages()] == list("01234567")
    assert any("3 receive stamps run backwards" in fault for fault in bag.faults_now())
    assert [deserialize_message(m.data, String).data for m in bag.by_stamp()] == list("73401256")


def test_what_is_no_bag_is_refused_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    for path, text in (
        ("nowhere", "is not there"),
        ("empty", "holds no .mcap"),
        ("notes.txt", "neither .mcap nor .db3"),
    ):
        for command in ("check", "info", "play", "view"):
            assert main([command, str(tmp_path / path)]) == 2
            assert text in capsys.readouterr().err


def test_garbage_with_the_right_name_is_named(tmp_path: Path) -> None:
    for name in ("x.mcap", "x.db3"):
        (tmp_path / name).write_bytes(os.urandom(5000))
        bag = open_bag(tmp_path / name)
        assert list(bag.messages()) == []
        assert any(name in fault for fault in bag.faults_now())


def test_random_damage_never_raises(tmp_path: Path) -> None:
    import random

    filled(tmp_path / "bag", compression="lz4").close()
    file = tmp_path / "bag" / "bag_0.mcap"
    whole = file.read_bytes()
    draw = random.Random(7)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 30)):
            data[draw.randrange(8, len(data))] = draw.randrange(256)
        file.write_bytes(data)
        bag = open_bag(tmp_path / "bag")
        list(bag.messages())
        list(bag.by_stamp())
        bag.faults_now()


_FILL = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {here!r})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
from test_files import filled
try:
    filled(Path(sys.argv[1]), 5000).close()
except OSError as error:
    print("told:", error)
"""


def test_disk_full_leaves_a_readable_bag(tmp_path: Path) -> None:
    code = _FILL.format(here=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "bag")], capture_output=True, text=True)
    assert "told: " in done.stdout, done.stderr
    kept = numbers(tmp_path / "bag")
    assert len(kept) > 500 and kept == list(range(len(kept)))


def test_sqlite_of_ros2_bag_record(data: Callable[[str], Path], tmp_path: Path) -> None:
    bag = open_bag(data("joints/kuka_lbr_rosbag2"))
    assert bag.counts() == {"/joint_states": 2839, "/link_transform_publisher_node/link_transform": 2844}
    assert bag.faults_now() == []
    source = next(data("joints/kuka_lbr_rosbag2").glob("*.db3")).read_bytes()
    (tmp_path / "cut.db3").write_bytes(source[: len(source) // 2])
    cut = open_bag(tmp_path / "cut.db3")
    assert sum(1 for _ in cut.messages()) < 5683
    assert any("cut.db3" in fault for fault in cut.faults_now())


def test_compressed_sqlite_file(tmp_path: Path) -> None:
    from backports import zstd

    plain = tmp_path / "x_0.db3"
    with sqlite3.connect(plain) as db:
        db.execute(
            "CREATE TABLE topics(id INTEGER, name TEXT, type TEXT, serialization_format TEXT, offered_qos_profiles TEXT)"
        )
        db.execute("CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)")
        db.execute("INSERT INTO topics VALUES(1, '/a', 'std_msgs/msg/String', 'cdr', '')")
        rows = [(1, START_NS + i, serialize_message(String(data=str(i)))) for i in range(20)]
        db.executemany("INSERT INTO messages(topic_id, timestamp, data) VALUES(?, ?, ?)", rows)
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "x_0.db3.zstd").write_bytes(zstd.compress(plain.read_bytes()))
    assert numbers(tmp_path / "bag") == list(range(20))


def test_a_bag_of_today_says_what_it_holds(job: Path) -> None:
    told = info(job)
    assert "can be decided again exactly" in told
    assert "/wall  lumper_msgs/msg/Wall" in told
