"""Markers for RViz: updated by id, deleted when gone, silent when nothing changes."""

from typing import Any

import numpy as np
import pytest
import view_scenario as scenario
from lumper_msgs.msg import SafetyState
from visualization_msgs.msg import Marker, MarkerArray

from lumper_ros.core import Diagnose, Now, Publish
from lumper_ros.robot import Robot, Trailer
from lumper_view.core import MarkersCore
from lumper_view.markers import DELETE_REPEATS
from lumper_view.parameters import MarkersParameters


@pytest.fixture
def core(robot: Robot, trailer: Trailer) -> MarkersCore:
    return MarkersCore(MarkersParameters("", ""), robot, trailer)


def _feed(core: MarkersCore, messages: dict[str, Any], at_s: float = 1.0) -> None:
    for name, message in messages.items():
        core.message(name, message, Now(at_s, at_s, at_s))


def _tick(core: MarkersCore, at_s: float = 1.0) -> MarkerArray | None:
    effects = core.tick(Now(at_s, at_s, at_s))
    assert len(effects) <= 1
    if not effects:
        return None
    assert isinstance(effects[0], Publish) and effects[0].name == "markers"
    return effects[0].message


def _shown(array: MarkerArray) -> dict[tuple[str, int], Marker]:
    """What a viewer shows that has seen only this message."""
    shown: dict[tuple[str, int], Marker] = {}
    for marker in array.markers:
        if marker.action == Marker.DELETEALL:
            shown.clear()
        elif marker.action == Marker.DELETE:
            shown.pop((marker.ns, marker.id), None)
        else:
            shown[marker.ns, marker.id] = marker
    return shown


def test_cartons_that_an_answer_may_name_bear_their_ids_while_it_is_wanted(core: MarkersCore, robot: Robot) -> None:
    _feed(core, scenario.everything(robot, 20, 1.0) | {"assist/request": scenario.question()})
    array = _tick(core)
    assert array is not None
    assert {key: m.text for key, m in _shown(array).items() if key[0] == "asked"} == {
        ("asked", i): f"#{i}" for i in (12, 13, 14)
    }
    _feed(core, {"assist/request": scenario.question(opened=False)})
    array = _tick(core, 1.5)
    assert array is not None
    assert {(m.ns, m.id) for m in array.markers if m.action == Marker.DELETE} >= {("asked", i) for i in (12, 13, 14)}


def test_shows_everything_there_is(core: MarkersCore, robot: Robot) -> None:
    messages = scenario.everything(robot, 60, 1.0)
    _feed(core, messages)
    array = _tick(core)
    assert array is not None and array.markers[0].action == Marker.DELETEALL
    shown = _shown(array)
    assert {ns for ns, _ in shown} == {
        "cartons",
        "order",
        "reasons",
        "grasp",
        "extraction",
        "unknown",
        "robot",
        "people",
        "safety",
    }
    assert len([1 for ns, _ in shown if ns == "cartons"]) == 60
    assert shown["order", messages["plan"].picks[1].carton_ids[0]].text == "2"
    assert "1.9 m" in shown["safety", 1].text
    reason = shown["reasons", messages["plan"].rejected[0].carton_id].text
    assert reason.startswith("others would fall")
    assert all(marker.header.frame_id == "trailer" for marker in array.markers)


def test_quiet_when_nothing_changes(core: MarkersCore, robot: Robot) -> None:
    messages = scenario.everything(robot, 40, 1.0)
    _feed(core, messages)
    assert _tick(core) is not None
    assert _tick(core) is None
    _feed(core, {"wall": messages["wall"], "joint_states": messages["joint_states"]})
    assert _tick(core) is None, "the same wall again is no change"


def test_gone_cartons_are_deleted_and_said_more_than_once(core: MarkersCore, robot: Robot) -> None:
    messages = scenario.everything(robot, 40, 1.0)
    _feed(core, messages)
    _tick(core)
    load = scenario.wall(40)
    gone = load.cartons.pop(0).id
    _feed(core, {"wall": load})
    for _ in range(DELETE_REPEATS):
        array = _tick(core, 1.5)
        assert array is not None
        deleted = {(m.ns, m.id) for m in array.markers if m.action == Marker.DELETE}
        assert ("cartons", gone) in deleted
        assert ("cartons", gone) not in _shown(array)
    assert _tick(core, 1.5) is None
    _feed(core, {"wall": scenario.wall(40)})
    again = _tick(core)
    assert again is not None and ("cartons", gone) in _shown(again)


def test_in_between_only_what_changed_and_then_the_whole_for_late_viewers(core: MarkersCore, robot: Robot) -> None:
    messages = scenario.everything(robot, 40, 1.0)
    del messages["scan/front"]
    _feed(core, messages)
    _tick(core)
    load = scenario.wall(40)
    load.cartons[3].pose.position.x += 0.1
    _feed(core, {"wall": load}, 1.25)
    part = _tick(core, 1.25)
    assert part is not None
    moved = _shown(part)
    assert {key for key in moved if key[0] == "cartons"} == {("cartons", load.cartons[3].id)}
    assert _tick(core, 1.5) is None
    whole = _tick(core, 2.0)
    assert whole is not None
    shown = _shown(whole)
    assert len([1 for ns, _ in shown if ns == "cartons"]) == 40
    assert shown["cartons", load.cartons[3].id].pose.position.x == pytest.approx(load.cartons[3].pose.position.x)
    assert shown["cartons", 1].header.stamp.sec == 2
    assert _tick(core, 9.0) is None


def test_stop_changes_the_field(core: MarkersCore, robot: Robot) -> None:
    messages = scenario.everything(robot, 5, 1.0)
    _feed(core, messages)
    first = _tick(core)
    assert first is not None
    before = _shown(first)["safety", 0].color.r
    _feed(core, {"safety/state": scenario.safety(SafetyState.PROTECTIVE_STOP, 0.0, 0.9)})
    second = _tick(core)
    assert second is not None and _shown(second)["safety", 0].color.r != before


def test_bad_carton_is_diagnosed_and_the_rest_drawn(core: MarkersCore, robot: Robot) -> None:
    load = scenario.wall(10)
    load.cartons[2].pose.position.x = float("nan")
    effects = core.message("wall", load, Now(1.0, 1.0, 1.0))
    assert isinstance(effects[0], Diagnose) and effects[0].level == 1 and "wall.cartons[2]" in effects[0].text
    array = _tick(core)
    assert array is not None and len([m for m in array.markers if m.ns == "cartons"]) == 9
    cleared = core.message("wall", scenario.wall(10), Now(1.0, 1.0, 1.0))
    assert isinstance(cleared[0], Diagnose) and cleared[0].level == 0


def test_nothing_seen_yet_draws_nothing_but_the_wipe(core: MarkersCore) -> None:
    array = _tick(core)
    assert array is not None and [m.action for m in array.markers] == [Marker.DELETEALL]


def test_ids_fit_and_numbers_are_finite(core: MarkersCore, robot: Robot) -> None:
    load = scenario.wall(20)
    load.cartons[0].id = 2**32 - 1
    _feed(core, {**scenario.everything(robot, 20, 1.0), "wall": load})
    array = _tick(core)
    assert array is not None
    for marker in array.markers:
        assert 0 <= marker.id < 2**31
        p, s = marker.pose.position, marker.scale
        assert np.isfinite([p.x, p.y, p.z, s.x, s.y, s.z]).all()
