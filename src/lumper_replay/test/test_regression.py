"""Behaviour asserted on recordings: of generated jobs (the generators are here), and of incidents put into `incidents/`.

An incident is a folder with a bag and `expect.yaml`; docs/replay.md tells how one is made from a field recording.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from lumper_msgs.msg import SafetyCause, SafetyState
from lumper_msgs.srv import InjectFault
from virtual_jobs import record_job

from lumper_replay.behaviour import Behaviour, behaviour
from lumper_replay.check import check, has_journal
from lumper_replay.cut import cut
from lumper_replay.differ import Verdict
from lumper_replay.drive import drive
from lumper_replay.reader import open_bag
from lumper_ros.interfaces import PERCEPTION, SAFETY

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "config"
INCIDENTS = Path(__file__).parent / "incidents"
FOREVER = float("nan")


def at(name: str, args: list[float], times_s: list[float]) -> Callable[[Any, float], None]:
    """A fault of the simulated world at each of some virtual times."""
    left = list(times_s)

    def disturb(robot: Any, now_s: float) -> None:
        if left and now_s >= left[0]:
            left.pop(0)
            answer = robot.graph.call_service(
                "sim/fault", InjectFault.Request(name=name, args=args, duration_s=FOREVER)
            )
            assert answer.ok, answer.text

    return disturb


def test_an_undisturbed_job_picks_without_a_stop(job: Path) -> None:
    seen = behaviour(job)
    assert seen.delivered >= 1 and seen.dropped == 0 and seen.plans >= 1
    assert seen.dispatched > 0 and seen.dispatched_without_permit == 0
    assert seen.stops_while_moving() == [], "a false stop"


def test_an_open_estop_stops_the_arm(tmp_path: Path) -> None:
    record_job(tmp_path / "estop", cartons=20, seed=3, limit_s=9.0, disturb=at("estop", [0.0], [6.0]))
    seen = behaviour(tmp_path / "estop")
    assert [stop.mode for stop in seen.stops] == [SafetyState.EMERGENCY_STOP]
    assert SafetyCause.ESTOP_OPEN in seen.stops[0].codes
    assert 6.0 <= seen.stops[0].at_s < 6.3
    assert seen.stops[0].to_standstill_s is not None and seen.stops[0].to_standstill_s < 1.0
    assert seen.dispatched_without_permit == 0
    assert check(tmp_path / "estop", processes=1).count(Verdict.DIFFERENT) == 0


def test_a_person_walking_in_stops_the_arm_before_it_is_reached(tmp_path: Path) -> None:
    # From beside the conveyor towards the arm, at a walking pace.
    walk = at("person", [2.4, 0.7, 1.6, 0.0, 1.4], [6.0])
    record_job(tmp_path / "person", cartons=20, seed=3, limit_s=10.0, disturb=walk)
    seen = behaviour(tmp_path / "person")
    near = [stop for stop in seen.stops if SafetyCause.PERSON_NEAR in stop.codes and stop.at_s >= 6.0]
    assert near, seen.modes
    assert near[0].at_s < 8.0
    assert near[0].to_standstill_s is not None and near[0].to_standstill_s < 1.0
    assert seen.dispatched_without_permit == 0
    small = tmp_path / "small"
    cut(tmp_path / "person", small, 9.0, [SAFETY])
    result = check(small, processes=1)
    assert result.count(Verdict.DIFFERENT) == 0 and result.total() > 300
    assert sum(file.stat().st_size for file in small.iterdir()) < 4_000_000


def test_the_same_seed_gives_the_same_decisions(tmp_path: Path) -> None:
    hashes = []
    for name in ("one", "two"):
        record_job(tmp_path / name, cartons=20, seed=5, limit_s=6.0)
        hashes.append(check(tmp_path / name, processes=1).hash)
    assert hashes[0] == hashes[1]


def test_real_scans_are_taken_where_the_scanner_is_described(data: Callable[[str], Path]) -> None:
    bag = open_bag(data("scans/leg_demo"))
    assert not has_journal(bag)
    remap = {"/scan": "scan/front"}
    refused = drive(bag, SAFETY, CONFIG, {}, remap)
    assert refused.fed["scan/front"] == 1265
    assert any(
        "scan/front: header.frame_id: 'laser', must be 'scanner_front'" in text for text in refused.said.values()
    )
    geometry = {
        "scan_front_frame": "laser",
        "scan_front_angle_min_rad": -1.5707963705062866,
        "scan_front_step_rad": 0.006135923322290182,
        "scan_front_beams": 512,
    }
    taken = drive(bag, SAFETY, CONFIG, geometry, remap)
    assert not any("scan/front: " in text and "must be" in text for text in taken.said.values()), taken.said
    assert taken.published["safety/state"] >= 50 * 120


def test_joint_states_of_another_robot_are_named(data: Callable[[str], Path]) -> None:
    made = drive(open_bag(data("joints/kuka_lbr_rosbag2")), SAFETY, CONFIG)
    assert made.fed["joint_states"] == 2839
    assert any("missing ['joint_1'" in text and "lbr_joint_1" in text for text in made.said.values())
    assert "RUN" not in made.mode_s


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("clouds/moveit_cloud", "/camera/depth_registered/points"),
        ("clouds/realsense_sample", "/device_0/sensor_0/Depth_0/image/data"),
    ],
)
def test_foreign_clouds_and_pictures_make_no_cartons(data: Callable[[str], Path], name: str, topic: str) -> None:
    made = drive(open_bag(data(name)), PERCEPTION, CONFIG, {"detector": "cloud"}, {topic: "points"})
    assert all(cartons == 0 for _, _, cartons in made.walls)
    if "realsense" in name:
        assert made.fed["points"] == 0
        assert any("sensor_msgs/msg/Image, not sensor_msgs/msg/PointCloud2" in what for what in made.refused)


def incidents() -> list[Path]:
    return sorted(path.parent for path in INCIDENTS.glob("*/expect.yaml"))


def held_against(seen: Behaviour, expect: dict[str, Any]) -> list[str]:
    """What of a behaviour is not as expected. Keys: at_least, at_most, equal -> figure -> value."""
    figures = {
        "delivered": seen.delivered,
        "dropped": seen.dropped,
        "plans": seen.plans,
        "stops": len(seen.stops),
        "stops_while_moving": len(seen.stops_while_moving()),
        "dispatched_without_permit": seen.dispatched_without_permit,
        "slowest_stop_s": max((stop.to_standstill_s or 0.0 for stop in seen.stops), default=0.0),
    }
    judge = {"at_least": float.__ge__, "at_most": float.__le__, "equal": float.__eq__}
    return [
        f"{figure} is {figures[figure]}, expected {how} {value}"
        for how, wanted in expect.items()
        if how in judge
        for figure, value in wanted.items()
        if not judge[how](float(figures[figure]), float(value))
    ]


def test_expectations_are_judged() -> None:
    seen = Behaviour(delivered=3)
    assert held_against(seen, {"at_least": {"delivered": 3}, "equal": {"stops": 0}}) == []
    assert held_against(seen, {"at_most": {"delivered": 2}}) == ["delivered is 3, expected at_most 2"]


@pytest.mark.parametrize("folder", incidents(), ids=lambda path: path.name)
def test_incident(folder: Path) -> None:
    expect = yaml.safe_load((folder / "expect.yaml").read_text())
    bag = next(path for path in folder.iterdir() if path.is_dir())
    result = check(bag, processes=1)
    allowed = int(expect.get("different_decisions", 0))
    assert result.undecided == 0 and result.count(Verdict.DIFFERENT) <= allowed, result.first()
    assert held_against(behaviour(bag), expect) == []
