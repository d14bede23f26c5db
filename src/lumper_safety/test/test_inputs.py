"""Bad input: named, counted, dropped; and nothing moves. Fuzzed messages never raise and never widen the permit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lumper_msgs.msg import SafetyCause
from robot_bench import Bench, a_carton

from lumper_ros.convert import to_time

NAN, INF = float("nan"), float("inf")


def _set(path: str, value: Any) -> Callable[[Any, Bench], None]:
    def change(message: Any, bench: Bench) -> None:
        *parents, name = path.split(".")
        for parent in parents:
            message = message[int(parent)] if parent.isdigit() else getattr(message, parent)
        if name.isdigit():
            message[int(name)] = value
        else:
            setattr(message, name, value)

    return change


def _future(message: Any, bench: Bench) -> None:
    (message.header if hasattr(message, "header") else message).stamp = to_time(bench.ros_s + 0.5)


def _invalid_run(message: Any, bench: Bench) -> None:
    message.ranges[100:112] = type(message.ranges)("f", [NAN] * 12)


def _many_invalid(message: Any, bench: Bench) -> None:
    for i in range(0, len(message.ranges), 3):
        message.ranges[i] = NAN


def _short(message: Any, bench: Bench) -> None:
    message.ranges = message.ranges[:-1]


def _drop(field: str) -> Callable[[Any, Bench], None]:
    return lambda message, bench: setattr(message, field, getattr(message, field)[:-1])


def _reorder(message: Any, bench: Bench) -> None:
    message.name = [message.name[1], message.name[0], *message.name[2:]]


def _extra(message: Any, bench: Bench) -> None:
    message.name = [*message.name, "joint_7"]


def _missing(message: Any, bench: Bench) -> None:
    message.name = message.name[:5]
    message.position = message.position[:5]
    message.velocity = message.velocity[:5]


def _bad_carton(message: Any, bench: Bench) -> None:
    carton = a_carton(4, 4.0, 0.0)
    carton.pose.orientation.w = 0.2
    message.cartons = [carton]


BAD = [
    ("scan/front", _set("angle_increment", 0.0), "angle_increment"),
    ("scan/front", _set("angle_increment", NAN), "angle_increment"),
    ("scan/front", _set("angle_increment", -0.0087), "angle_increment"),
    ("scan/front", _set("angle_min", NAN), "angle_min"),
    ("scan/front", _set("angle_min", 0.0), "angle_min"),
    ("scan/front", _set("header.frame_id", "laser"), "frame_id"),
    ("scan/front", _set("header.frame_id", "scanner_rear"), "frame_id"),
    ("scan/front", _short, "ranges"),
    ("scan/front", _set("ranges", []), "ranges"),
    ("scan/front", _invalid_run, "ranges"),
    ("scan/front", _many_invalid, "ranges"),
    ("scan/front", _set("range_max", NAN), "range_max"),
    ("scan/front", _set("range_max", INF), "range_max"),
    ("scan/front", _set("range_min", 20.0), "range_min"),
    ("scan/rear", _future, "stamp"),
    ("joint_states", _missing, "missing ['joint_6']"),
    ("joint_states", _extra, "unknown ['joint_7']"),
    ("joint_states", _reorder, "order"),
    ("joint_states", _set("name", []), "name"),
    ("joint_states", _set("position.2", NAN), "joint_3"),
    ("joint_states", _set("position.2", INF), "position"),
    ("joint_states", _set("velocity.0", NAN), "velocity"),
    ("joint_states", _set("velocity", []), "velocity"),
    ("joint_states", _drop("position"), "position"),
    ("joint_states", _future, "stamp"),
    ("gripper/state", _set("vacuum_kpa", NAN), "vacuum_kpa"),
    ("gripper/state", _set("vacuum_kpa", 500.0), "vacuum_kpa"),
    ("gripper/state", _set("zone_kpa", [1.0, NAN]), "zone_kpa"),
    ("gripper/state", _future, "stamp"),
    ("motion/state", _set("state", 77), "state"),
    ("motion/state", _set("permit_latency_s", NAN), "permit_latency_s"),
    ("motion/state", _set("permit_latency_s", -1.0), "permit_latency_s"),
    ("motion/state", _set("commanded_position_rad", [0.0] * 6), "joint_names"),
    ("motion/state", _future, "stamp"),
    ("job/state", _set("phase", 200), "phase"),
    ("job/state", _future, "stamp"),
    ("wall", _set("header.frame_id", "base_link"), "frame_id"),
    ("wall", _bad_carton, "id 4"),
    ("wall", _future, "stamp"),
    ("/tf", _set("transforms.0.transform.rotation.w", NAN), "base_link"),
    ("/tf", _set("transforms.0.transform.rotation.w", 0.3), "unit quaternion"),
    ("/tf", _set("transforms.0.transform.translation.x", INF), "base_link"),
]


@pytest.mark.parametrize(("topic", "change", "named"), BAD, ids=[f"{t} {n} {i}" for i, (t, _, n) in enumerate(BAD)])
def test_bad_message_is_named_counted_dropped_and_stops(topic: str, change: Any, named: str) -> None:
    bench = Bench()
    bench.run(0.14)
    assert bench.permitted
    message = bench.make(topic)
    change(message, bench)
    bench.send(topic, message)
    assert not bench.permitted, "withdrawn by the message itself"
    cause = bench.cause(SafetyCause.MALFORMED_INPUT)
    assert cause.source == topic and named in cause.text
    if topic in bench.core._inputs:
        assert bench.core._inputs[topic].malformed == 1
    diagnosis = [e for e in bench.core.tick(bench.now) if getattr(e, "name", "") == "cause MALFORMED_INPUT"]
    assert diagnosis and named in diagnosis[0].text and diagnosis[0].level == 2


def test_few_scattered_invalid_beams_are_counted_out_not_a_stop() -> None:
    """As REP-117 scanners do: a NaN here and there (real recordings have 3 in 512 at the median, 9 at most)."""
    bench = Bench()
    bench.run(0.14)
    scan = bench.make("scan/front")
    for i in (3, 90, 200, 201, 400):
        scan.ranges[i] = NAN
    scan.ranges[300] = -INF
    bench.send("scan/front", scan)
    bench.run(0.1)
    assert bench.permitted and bench.core._inputs["scan/front"].invalid_beams == 6


def test_zero_range_is_no_return_only_where_the_parameter_says_so() -> None:
    for said in (False, True):
        bench = Bench(scan_front_below_min_is_no_return=said)
        bench.run(0.14)
        scan = bench.make("scan/front")
        for i in range(100, 200):
            scan.ranges[i] = 0.0
        bench.send("scan/front", scan)
        assert bench.permitted == said


def test_old_order_of_stamps_is_dropped_and_counted() -> None:
    bench = Bench()
    bench.run(0.14)
    older = bench.make("joint_states")
    bench.run(0.05)
    good = bench.core._inputs["joint_states"].good
    bench.send("joint_states", older)
    state = bench.core._inputs["joint_states"]
    assert (state.out_of_order, state.good) == (1, good) and bench.permitted


any_float = st.floats(width=32) | st.sampled_from([NAN, INF, -INF, 0.0, -0.0, 1e38])


@settings(max_examples=300, deadline=None)
@given(
    st.data(),
    st.sampled_from(
        ["scan/front", "joint_states", "gripper/state", "motion/state", "job/state", "wall", "/tf", "estop"]
    ),
)
def test_fuzzed_messages_never_raise(data: st.DataObject, topic: str) -> None:
    """Structure-aware: any fields of a real message replaced by any values of their type."""
    bench = _FUZZED
    message = bench.make(topic)
    _fuzz(message, data)
    bench.send(topic, message)
    state = bench.state
    assert 0.0 <= state.speed_scale <= 1.0
    assert bench.permitted == (state.mode in (state.RUN, state.REDUCED))
    bench.t += 0.001


_FUZZED = Bench()


def _fuzz(message: Any, data: st.DataObject) -> None:
    for name, kind in message.get_fields_and_field_types().items():
        value = getattr(message, name)
        if hasattr(value, "get_fields_and_field_types"):
            _fuzz(value, data)
        elif data.draw(st.integers(0, 3), label=name) == 0:
            if kind in ("double", "float"):
                setattr(message, name, data.draw(any_float))
            elif kind.startswith(("sequence<double", "sequence<float")):
                setattr(message, name, data.draw(st.lists(any_float, max_size=8)))
            elif kind == "sequence<string>":
                setattr(message, name, data.draw(st.lists(st.text(max_size=5), max_size=8)))
            elif kind == "string":
                setattr(message, name, data.draw(st.text(max_size=12)))
            elif kind == "uint8":
                setattr(message, name, data.draw(st.integers(0, 255)))
            elif kind in ("uint32", "uint64"):
                setattr(message, name, data.draw(st.integers(0, 2**32 - 1)))
            elif kind == "int32":
                setattr(message, name, data.draw(st.integers(-(2**31), 2**31 - 1)))
            elif kind == "boolean":
                setattr(message, name, data.draw(st.booleans()))


def test_nan_free_ranges_of_the_bench() -> None:
    assert not np.isnan(np.array(Bench().make("scan/front").ranges)).any()
