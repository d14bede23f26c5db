"""The module as its users see it: answers against an independent solver, certificates, bad input, threads, files."""

import json
import os
import subprocess
import threading
from pathlib import Path

import numpy as np
import peers
import physics
import pytest
import walls
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import lumper_core
from lumper_core import __main__ as command


def boxes_of(*rows: tuple[tuple[float, float, float], tuple[float, float, float]]) -> NDArray[np.void]:
    boxes = np.zeros(len(rows), lumper_core.BOX_DTYPE)
    boxes["id"] = np.arange(1, len(rows) + 1)
    for i, (position, size) in enumerate(rows):
        boxes["position"][i], boxes["size"][i] = position, size
    boxes["orientation"][:, 3] = 1.0
    boxes["mass"] = 8.0
    boxes["friction"] = 0.5
    boxes["confidence"] = 1.0
    return boxes


def wall() -> NDArray[np.void]:
    return boxes_of(
        *[((5.0, -0.8 + 0.41 * k, 0.2 + 0.4 * level), (0.4, 0.4, 0.4)) for level in range(3) for k in range(4)]
    )


@settings(deadline=None)
@given(
    width_m=st.floats(0.17, 0.61),
    height_m=st.floats(0.15, 0.45),
    gap_m=st.floats(0.0, 0.05),
    low_m=st.floats(0.0, 1.2),
    side=st.sampled_from((-1.0, 1.0)),
)
def test_a_carton_at_the_wall_can_be_held(
    width_m: float, height_m: float, gap_m: float, low_m: float, side: float
) -> None:
    """However narrow: the pad then stands out beside it on the free side, as far as one zone stays on the face."""
    planner = lumper_core.Planner(trailer=lumper_core.Trailer(width_m=2.5, height_m=2.7, length_m=7.0))
    at = (6.7, side * (1.25 - gap_m - width_m / 2.0), low_m + height_m / 2.0)
    assert len(planner.grasps(boxes_of((at, (0.4, width_m, height_m)))))


@pytest.mark.parametrize("kind", walls.KINDS)
def test_agrees_with_a_linear_program_and_every_proof_verifies(kind: str) -> None:
    boxes = walls.generate(kind, 30, 3)
    pile = lumper_core.Pile(boxes)
    full = peers.problem(pile)
    records = pile.analyse()
    for row, record in enumerate(records):
        feasible, _ = peers.balanced_scipy(peers.without(full, row))
        assert feasible == (record["verdict"] == lumper_core.Verdict.STABLE), (kind, row)
        certificate = pile.certificate([int(record["id"])])
        assert certificate.hash == record["certificate"]
        assert lumper_core.check(pile, certificate) == ""


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(walls.KINDS), st.integers(0, 29))
def test_adding_back_what_was_removed_changes_no_answer(seed: int, kind: str, row: int) -> None:
    boxes = walls.generate(kind, 30, seed)
    pile = lumper_core.Pile(boxes)
    before = pile.analyse()
    pile.remove([int(boxes["id"][row])])
    assert len(pile) == 29
    pile.add(boxes[row : row + 1])
    order = {int(r["id"]): int(r["verdict"]) for r in pile.analyse()}
    # Answers that hang on the last digits may differ; nothing else.
    assert sum(order[int(r["id"])] != r["verdict"] for r in before) <= 1


def test_moving_a_box_moves_its_contacts() -> None:
    pile = lumper_core.Pile(boxes_of(((5, 0, 0.2), (0.4, 0.4, 0.4)), ((5, 0, 0.6), (0.4, 0.4, 0.4))))
    assert pile.analyse([1])["verdict"][0] == lumper_core.Verdict.COLLAPSES
    moved = pile.boxes()[1:]
    moved["position"] = (5.0, 0.8, 0.2)
    pile.move(moved)
    assert pile.analyse([1])["verdict"][0] == lumper_core.Verdict.STABLE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("position", np.nan),
        ("size", 0.0),
        ("size", -0.3),
        ("size", np.inf),
        ("orientation", 0.7),
        ("orientation", np.nan),
        ("mass", -1.0),
        ("mass", np.nan),
        ("friction", -0.1),
        ("confidence", 2.0),
        ("pose_sigma", -0.01),
        ("size_sigma", np.nan),
        ("mass_sigma", -1.0),
    ],
)
def test_bad_input_is_named(field: str, value: float) -> None:
    boxes = wall()
    boxes[field][4] = value
    for use in (lumper_core.Pile, lumper_core.Planner().plan):
        with pytest.raises(lumper_core.InputError) as caught:
            use(boxes)
        assert (caught.value.box_id, caught.value.index, caught.value.field) == (5, 4, field)
        assert "box 5" in str(caught.value)


def test_ten_thousand_boxes_and_twins_are_refused_by_name() -> None:
    many = np.repeat(wall()[:1], 10_000)
    many["id"] = np.arange(10_000)
    with pytest.raises(lumper_core.InputError) as caught:
        lumper_core.Pile(many)
    assert caught.value.field == "max_boxes"
    twins = wall()
    twins["id"][3] = 1
    with pytest.raises(lumper_core.InputError) as caught:
        lumper_core.Pile(twins)
    assert (caught.value.box_id, caught.value.index, caught.value.field) == (1, 3, "id")
    with pytest.raises(lumper_core.InputError):
        lumper_core.Pile(wall()).remove([99])


def test_overlapping_and_floating_boxes_are_told() -> None:
    pile = lumper_core.Pile(
        boxes_of(((5, 0, 0.2), (0.4, 0.4, 0.4)), ((5, 0.1, 0.3), (0.4, 0.4, 0.4)), ((5, 1, 2), (0.3, 0.3, 0.3)))
    )
    assert any("interpenetrate" in text for text in pile.warnings())
    assert any("box 3 has nothing seen under it" in text for text in pile.warnings())


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(TypeError, match="wdith_m"):
        lumper_core.Trailer(wdith_m=2.0)


def test_an_empty_wall_is_done() -> None:
    plan = lumper_core.Planner().plan(wall()[:0])
    assert (plan.outcome, plan.picks, plan.rejected) == (lumper_core.Outcome.NONE, [], [])


def test_every_carton_is_picked_or_explained_and_the_plan_repeats() -> None:
    planner = lumper_core.Planner()
    first, second = (planner.plan(wall(), base=(3.0, 0.0, 0.0), budget_s=5.0) for _ in range(2))
    named = [i for pick in first.picks for i in pick.carton_ids] + [r.carton_id for r in first.rejected]
    assert sorted(named) == list(range(1, 13))
    assert [p.certificate for p in first.picks] == [p.certificate for p in second.picks]
    assert all(r.text for r in first.rejected)


def test_the_reach_callback_decides_what_is_reachable() -> None:
    asked: list[int] = []

    def reach(grasps: NDArray[np.void]) -> NDArray[np.float64]:
        asked.append(len(grasps))
        seconds = np.full(len(grasps), 3.0)
        seconds[grasps["ids"][:, 0] != 12] = np.nan
        return seconds

    plan = lumper_core.Planner(parameters=lumper_core.PlanParameters(max_advance_m=0.0)).plan(
        wall(), base=(3.0, 0.0, 0.0), reach=reach, budget_s=5.0
    )
    assert asked and plan.picks[0].carton_ids == [12]
    assert lumper_core.Reason.UNREACHABLE in {r.reason for r in plan.rejected}


def test_an_error_in_the_reach_callback_reaches_the_caller() -> None:
    def reach(grasps: NDArray[np.void]) -> NDArray[np.float64]:
        raise RuntimeError("no kinematics")

    with pytest.raises(RuntimeError, match="no kinematics"):
        lumper_core.Planner().plan(wall(), base=(3.0, 0.0, 0.0), reach=reach)


def test_unseen_space_on_top_or_in_front_keeps_a_carton_where_it_is() -> None:
    lone = boxes_of(((5.0, 0.0, 0.2), (0.4, 0.4, 0.4)))
    planner = lumper_core.Planner()
    assert planner.plan(lone, base=(3.0, 0.0, 0.0), budget_s=5.0).picks
    above = np.array([[4.8, -0.2, 0.4, 5.2, 0.2, 1.0]])
    plan = planner.plan(lone, base=(3.0, 0.0, 0.0), unknown=above, budget_s=5.0)
    assert [r.reason for r in plan.rejected] == [lumper_core.Reason.UNCERTAIN]


def test_nothing_safe_offers_the_least_bad() -> None:
    # The lower one carries the upper one, which is too heavy to hold.
    boxes = boxes_of(((5.0, 0.0, 0.2), (0.4, 0.4, 0.4)), ((5.0, 0.0, 0.6), (0.4, 0.4, 0.4)))
    boxes["mass"][1] = 300.0
    plan = lumper_core.Planner().plan(boxes, base=(3.0, 0.0, 0.0), budget_s=5.0)
    assert plan.outcome == lumper_core.Outcome.NO_REMOVABLE_CARTON
    assert plan.least_bad[0].rejection.reason == lumper_core.Reason.UNSTABLE
    assert plan.least_bad[0].rejection.because_of == [2]
    assert {r.reason for r in plan.rejected} == {lumper_core.Reason.BLOCKED, lumper_core.Reason.TOO_HEAVY}


def test_a_spent_budget_is_said() -> None:
    plan = lumper_core.Planner().plan(walls.generate("mixed", 200, 1), base=(3.5, 0.0, 0.0), budget_s=1e-6)
    assert not plan.complete


def numbers_of(boxes: NDArray[np.void]) -> str:
    """As plan_text.cpp reads them; doubles to the last bit."""
    words = [str(len(boxes))]
    for row in boxes:
        for name in ("id", "position", "orientation", "size", "size_unknown", "pose_sigma", "size_sigma"):
            words += [float(value).hex() for value in np.atleast_1d(row[name])]
        for name in ("mass", "mass_sigma", "friction", "confidence", "visible_faces"):
            words.append(float(row[name]).hex())
    return " ".join(words)


def text_of(plan: lumper_core.Plan) -> list[str]:
    """As plan_text.cpp prints it."""
    lines = [f"plan {int(plan.outcome)} {plan.expected_s!r} {plan.advance_base_m!r} {len(plan.picks)}"]
    for pick in plan.picks:
        x, y, z = map(float, pick.grasp_position)
        ids = list(pick.carton_ids)
        lines.append(f"pick {len(ids)} {ids[0]} {x!r} {y!r} {z!r} {pick.predicted_accel_mps2!r} {pick.certificate}")
    return lines + [f"not {item.carton_id} {int(item.reason)} {item.figure!r}" for item in plan.rejected]


def in_decimals(line: str) -> str:
    return " ".join(repr(float.fromhex(word)) if "0x" in word else word for word in line.split())


@pytest.mark.skipif("LUMPER_CORE_BUILD" not in os.environ, reason="the C++ program is where ctest builds")
def test_a_user_of_the_library_and_one_of_the_module_get_the_same_plans() -> None:
    given = [walls.generate(kind, 40, seed) for kind in walls.KINDS for seed in range(4)]
    program = Path(os.environ["LUMPER_CORE_BUILD"]) / "plan_text"
    words = " ".join([str(len(given)), *map(numbers_of, given)])
    said = subprocess.run([program], input=words, capture_output=True, text=True, check=True).stdout.splitlines()
    planner = lumper_core.Planner()
    expected = [line for boxes in given for line in text_of(planner.plan(boxes, base=(4.0, 0.0, 0.0), budget_s=60.0))]
    assert sum(line.startswith("pick") for line in expected) >= len(given)
    assert [in_decimals(line) for line in said] == expected


def beam(
    left: tuple[float, float], right: float, mass: float, pivot: tuple[float, float], at: float
) -> NDArray[np.void]:
    """A beam on a pivot with two cartons (3, 4) on its left arm and one (5) on its right; masses in kg, places in m."""
    rows = [
        ((4.0, (pivot[1] - pivot[0]) / 2, 0.25), (0.4, sum(pivot), 0.5)),
        ((4.0, 0.0, 0.6), (0.4, 1.5, 0.2)),
        *[((4.0, y, 0.8), (0.4, 0.28, 0.2)) for y in (-0.6, -0.25, at)],
    ]
    boxes = boxes_of(*rows)
    boxes["mass"] = 20.0, mass, *left, right
    boxes["pose_sigma"], boxes["size_sigma"] = 1e-5, 1e-5
    return boxes


@pytest.mark.parametrize(
    ("boxes", "dead"),
    [
        (beam((3.8, 1.76), 4.94, 3.86, (0.29, 0.07), 0.55), 4),
        (beam((1.21, 5.79), 2.96, 5.44, (0.12, 0.17), 0.53), 3),
        (beam((1.04, 4.22), 7.11, 7.42, (0.08, 0.11), 0.27), 3),
        (beam((2.93, 2.88), 5.97, 2.94, (0.29, 0.07), 0.29), 4),
    ],
)
def test_a_first_pick_that_leads_to_a_dead_end_is_not_the_one(boxes: NDArray[np.void], dead: int) -> None:
    def planned(lookahead: int) -> lumper_core.Plan:
        parameters = lumper_core.PlanParameters(max_group=1, max_advance_m=0.0, lookahead=lookahead)
        return lumper_core.Planner(parameters=parameters).plan(boxes, base=(2.0, 0.0, 0.0), budget_s=60.0)

    greedy, ahead = planned(0), planned(2)
    assert [list(pick.carton_ids) for pick in greedy.picks] == [[dead]] and greedy.dead_end
    assert "nothing more can be taken" in greedy.text
    assert len(ahead.picks) == 5 and not ahead.dead_end
    assert list(ahead.picks[0].carton_ids) != [dead]


def test_a_dead_end_is_explained_and_better_than_nothing() -> None:
    boxes = beam((3.8, 1.76), 4.94, 3.86, (0.29, 0.07), 0.55)
    planner = lumper_core.Planner(parameters=lumper_core.PlanParameters(max_group=1, max_advance_m=0.0, max_picks=2))
    plan = planner.plan(boxes, base=(2.0, 0.0, 0.0), budget_s=60.0)
    assert len(plan.picks) == 2
    told = {item.carton_id: item for item in plan.rejected}
    assert told[4].reason == lumper_core.Reason.DEAD_END and told[4].figure == 1.0 and "after 1 cartons" in told[4].text
    only = planner.plan(boxes, base=(2.0, 0.0, 0.0), budget_s=60.0, failed={5: 9, 3: 9}, max_failed=2)
    assert [list(pick.carton_ids) for pick in only.picks] == [[4]]


def askew(turn_rad: float, width_m: float, count: int) -> NDArray[np.void]:
    """A row of cartons that all stand turned by as much; on all but the middle one stands another, so that they stay in place."""
    side = np.arange(count) - (count - 1) / 2
    places = [(4.0, y, 0.175) for y in side * (width_m + 0.001) / np.cos(turn_rad)]
    places += [(x, y, 0.525) for k, (x, y, _) in enumerate(places) if k != count // 2]
    boxes = boxes_of(*[(place, (0.4, width_m, 0.35)) for place in places])
    boxes["orientation"] = 0.0, 0.0, np.sin(turn_rad / 2), np.cos(turn_rad / 2)
    boxes["pose_sigma"], boxes["size_sigma"] = 1e-5, 1e-5
    return boxes


@pytest.mark.parametrize("turn_deg", [-12.0, -7.0, 0.0, 2.0, 7.0, 12.0])
def test_a_carton_that_stands_askew_among_others_is_drawn_square_to_its_front_or_jams(turn_deg: float) -> None:
    """Told by the prediction, and done by the physics."""
    boxes = askew(np.radians(turn_deg), 0.55, 3)
    planner, world = lumper_core.Planner(), physics.World(boxes)
    grasps = planner.grasps(boxes)
    pulls = (grasps["ids"][:, 0] == 2) & (grasps["count"] == 1) & (grasps["stroke"] == lumper_core.Stroke.FRONT_PULL)
    ours = grasps[pulls][:1]
    along = ours.copy()
    along["extract"] = -np.linalg.norm(ours["extract"]), 0.0, 0.0
    moved = [
        world.stroke(1, float(one["lift"][0]), one["extract"][0], float(one["speed_limit"][0])) for one in (ours, along)
    ]
    safe = [bool(planner.strokes(boxes, one)["safe"][0]) for one in (ours, along)]
    assert safe[0] and moved[0] < 0.01
    assert safe[1] == (abs(turn_deg) < 6.0)
    assert (moved[1] > 0.9 * physics.MOVED_M) == (abs(turn_deg) > 6.0)


def test_where_nothing_can_give_way_less_jams() -> None:
    """A row from wall to wall: what is drawn 4 degrees askew past it would have to move it by 28 mm."""
    free, between_walls = askew(np.radians(4.0), 0.49, 3), askew(np.radians(4.0), 0.49, 5)
    for boxes, safe in ((free, True), (between_walls, False)):
        planner = lumper_core.Planner()
        middle = (len(boxes) + 1) // 4 + 1
        grasps = planner.grasps(boxes)
        pulls = grasps[(grasps["ids"][:, 0] == middle) & (grasps["stroke"] == lumper_core.Stroke.FRONT_PULL)][:1]
        pulls["extract"] = -0.5, 0.0, 0.0
        assert bool(planner.strokes(boxes, pulls)["safe"][0]) == safe


def test_three_small_neighbours_are_taken_at_once() -> None:
    boxes = boxes_of(*[((4.0, 0.132 * (k - 1), 0.2), (0.3, 0.13, 0.3)) for k in range(3)])
    boxes["mass"] = 2.0

    def most(group: int) -> int:
        parameters = lumper_core.PlanParameters(max_group=group)
        grasps = lumper_core.Planner(parameters=parameters).grasps(boxes)
        assert len({(tuple(row["ids"][: row["count"]]), row["stroke"]) for row in grasps}) == len(grasps)
        return int(grasps["count"].max())

    assert [most(group) for group in (1, 2, 3, 4)] == [1, 2, 3, 3]
    # A corner of the common outline that stays out belongs to somebody else.
    corner = boxes.copy()
    corner["size"][2][2], corner["position"][2][2] = 0.12, 0.06
    planner = lumper_core.Planner(parameters=lumper_core.PlanParameters(max_group=4))
    assert int(planner.grasps(corner)["count"].max()) == 2


def test_separate_objects_in_separate_threads_give_the_same_answers() -> None:
    boxes = walls.generate("interlocked", 60, 2)
    expected = lumper_core.Pile(boxes).analyse()["certificate"]
    results: dict[int, NDArray[np.uint64]] = {}

    def work(k: int) -> None:
        results[k] = lumper_core.Pile(boxes).analyse()["certificate"]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for answer in results.values():
        assert (answer == expected).all()


def test_the_command_plans_a_file_and_draws_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = {
        "boxes": [
            {"id": int(b["id"]), "position": b["position"].tolist(), "size": b["size"].tolist(), "mass": 8.0}
            for b in wall()
        ]
    }
    path = tmp_path / "wall.json"
    path.write_text(json.dumps(document))
    picture = tmp_path / "plan.png"
    assert command.main([str(path), "--draw", str(picture)]) == 0
    assert "take [" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    document["boxes"][2]["size"] = [0.4, -1.0, 0.4]
    path.write_text(json.dumps(document))
    assert command.main([str(path)]) == 2
    assert "size" in capsys.readouterr().err
    path.write_text("not json")
    assert command.main([str(path)]) == 2


def test_the_command_reads_a_bag(tmp_path: Path) -> None:
    from mcap.writer import Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    folder = Path(__file__).resolve().parents[3] / "msg" / "lumper_msgs" / "msg"
    if not folder.exists():
        pytest.skip("the message definitions are not beside this package")
    store = get_typestore(Stores.ROS2_JAZZY)
    for name in ("Box", "Carton", "Wall"):
        store.register(get_types_from_msg((folder / f"{name}.msg").read_text(), f"lumper_msgs/msg/{name}"))
    types = store.types
    zero = types["builtin_interfaces/msg/Time"](0, 0)
    carton = types["lumper_msgs/msg/Carton"](
        id=7,
        state=0,
        pose=types["geometry_msgs/msg/Pose"](
            types["geometry_msgs/msg/Point"](5.0, 0.0, 0.2), types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
        ),
        size_m=types["geometry_msgs/msg/Vector3"](0.4, 0.4, 0.4),
        size_unknown=1,
        pose_sigma=np.zeros(6, np.float32),
        size_sigma_m=np.zeros(3, np.float32),
        mass_kg=8.0,
        mass_sigma_kg=1.0,
        friction=0.4,
        confidence=0.9,
        visible_faces=1,
        supported_by=np.zeros(0, np.uint32),
        supports=np.zeros(0, np.uint32),
        neighbours=np.zeros(0, np.uint32),
        last_seen=zero,
        times_seen=1,
        **({"faces_seen": 0} if "faces_seen" in types["lumper_msgs/msg/Carton"].__dataclass_fields__ else {}),
    )
    message = types["lumper_msgs/msg/Wall"](
        header=types["std_msgs/msg/Header"](zero, "trailer"),
        version=3,
        status=1,
        text="",
        cartons=[carton],
        removed_ids=np.zeros(0, np.uint32),
        moved_ids=np.zeros(0, np.uint32),
        unknown_space=[],
        coverage=1.0,
        age_s=0.0,
        back_wall_x_m=6.5,
    )
    definition, _ = store.generate_msgdef("lumper_msgs/msg/Wall")
    path = tmp_path / "wall.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        schema = writer.register_schema("lumper_msgs/msg/Wall", "ros2msg", definition.encode())
        channel = writer.register_channel("/wall", "cdr", schema)
        writer.add_message(channel, 1, bytes(store.serialize_cdr(message, "lumper_msgs/msg/Wall")), 1)
        writer.finish()
    boxes, trailer = lumper_core.read_wall(str(path))
    assert boxes["id"].tolist() == [7] and trailer.length_m == pytest.approx(6.5)
    assert boxes["size_unknown"][0] == 1
    assert command.main([str(path)]) == 0
