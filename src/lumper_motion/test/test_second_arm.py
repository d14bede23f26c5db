"""Another arm is another configuration: a KR-class arm (KUKA KR 210 R2700 proportions, own primitives) drives the same broker."""

import copy
from typing import Any

import numpy as np
from harness import CONFIG, World, pick_of, wall_of
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import OutcomeCode

from lumper_motion.kinematics import LIMIT_MARGIN_RAD, ArmKinematics
from lumper_ros.robot import Robot, load_robot, make_robot

G, C = ExecuteMotion.Goal, OutcomeCode
# Lengths of the KR 210 R2700 class, m: shoulder forward and up, upper arm, elbow offset, forearm, wrist to flange.
A1, C1, C2, A2, C3, C4 = 0.33, 0.645, 1.15, -0.041, 1.22, 0.215
# Joint 1 turns the other way round, joint 2 counts from the horizontal: as that maker counts.
SIGNS = (-1, 1, 1, -1, 1, -1)
OFFSETS = (0.0, -np.pi / 2, 0.0, 0.0, 0.0, 0.0)


def urdf() -> str:
    mounts = (
        ("base_to_arm_base", "base_link", "arm_base", "0 0.55 0", "0 0 0"),
        ("base_to_infeed", "base_link", "infeed", "0.45 -0.7 0.55", "0 0 0"),
        ("tool", "link_6", "tool0", "0 0 0.22", f"0 0 {np.pi / 2}"),
    )
    # Joint 2's zero is the upper arm lying forward: its frame is turned by a quarter about y.
    chain = (
        ("joint_1", "arm_base", "link_1", "0 0 0", "0 0 0", "0 0 -1"),
        ("joint_2", "link_1", "link_2", f"{A1} 0 {C1}", f"0 {np.pi / 2} 0", "0 1 0"),
        ("joint_3", "link_2", "link_3", f"0 0 {C2}", "0 0 0", "0 1 0"),
        ("joint_4", "link_3", "link_4", f"{A2} 0 0", "0 0 0", "0 0 -1"),
        ("joint_5", "link_4", "link_5", f"0 0 {C3}", "0 0 0", "0 1 0"),
        ("joint_6", "link_5", "link_6", f"0 0 {C4}", "0 0 0", "0 0 -1"),
    )
    parts = [
        f'<joint name="{n}" type="fixed"><parent link="{p}"/><child link="{c}"/><origin xyz="{x}" rpy="{r}"/></joint>'
        for n, p, c, x, r in mounts
    ]
    parts += [
        f'<joint name="{n}" type="revolute"><parent link="{p}"/><child link="{c}"/><origin xyz="{x}" rpy="{r}"/>'
        f'<axis xyz="{a}"/></joint>'
        for n, p, c, x, r, a in chain
    ]
    return f"<robot name='kr_class'>{''.join(parts)}</robot>"


def second_arm() -> Robot:
    raw: dict[str, Any] = copy.deepcopy(dict(load_robot(CONFIG / "robot").raw))
    raw["name"] = "kr_class"
    raw["opw"] = {
        "a1": A1, "a2": A2, "b": 0.0, "c1": C1, "c2": C2, "c3": C3, "c4": C4,
        "signs": list(SIGNS), "offsets_rad": list(OFFSETS),
    }  # fmt: skip
    raw["lower_rad"] = [-3.2, -2.4, -0.6, -6.1, -2.1, -6.1]
    raw["upper_rad"] = [3.2, 0.1, 2.9, 6.1, 2.1, 6.1]
    raw["max_speed_radps"] = [2.15, 1.99, 1.95, 3.12, 3.0, 3.82]
    raw["max_accel_radps2"] = [6.1, 5.7, 5.6, 8.9, 8.6, 10.9]
    raw["poses"] = {"home": [0.0, -2.2, 1.9, 0.0, 0.35, 0.0], "scan": [-0.6, -2.35, 2.3, 0.0, 1.6, 0.0]}
    raw["capsules"] = [
        {"link": "base_link", "a": [-0.35, -0.15, 0.20], "b": [-0.35, -0.15, 2.30], "radius_m": 0.04},
        {"link": "arm_base", "a": [0.0, 0.0, 0.25], "b": [0.0, 0.0, 0.35], "radius_m": 0.25},
        {"link": "link_1", "a": [0.0, 0.0, 0.5], "b": [0.33, 0.0, 0.645], "radius_m": 0.2},
        {"link": "link_2", "a": [0.0, 0.0, 0.0], "b": [0.0, 0.0, 1.15], "radius_m": 0.15},
        {"link": "link_3", "a": [0.0, 0.0, 0.0], "b": [-0.041, 0.0, 0.2], "radius_m": 0.15},
        {"link": "link_4", "a": [0.0, 0.0, 0.3], "b": [0.0, 0.0, 1.15], "radius_m": 0.1},
        {"link": "link_5", "a": [0.0, 0.0, 0.0], "b": [0.0, 0.0, 0.1], "radius_m": 0.09},
        {"link": "link_6", "a": [0.0, 0.0, 0.0], "b": [0.0, 0.0, 0.1], "radius_m": 0.08},
    ]
    return make_robot(raw, urdf(), "kr_class")


def test_kinematics_agree_with_its_description() -> None:
    robot = second_arm()
    kinematics = ArmKinematics(robot)
    random = np.random.default_rng(5)
    low, high = robot.lower_rad + LIMIT_MARGIN_RAD, robot.upper_rad - LIMIT_MARGIN_RAD
    for position in random.uniform(low, high, (200, 6)):
        tool = kinematics.tool(position)[0]
        found = kinematics.solutions(tool, position)
        assert len(found)
        assert np.abs(kinematics.tool(found) - tool).max() < 1e-9
        assert np.abs(found - position).max(axis=1).min() < 1e-6


def test_it_picks_and_places() -> None:
    world = World(robot=second_arm())
    world.cartons = wall_of(face_x=3.8)
    world.boot()
    message = pick_of(world.cartons[3 * 6 + 3], stroke_m=0.5)
    pick = world.send(world.goal(G.PICK, message))
    assert world.finish(pick) == C.NONE, world.results[pick][1].text
    place = world.send(world.goal(G.PLACE, message))
    assert world.finish(place) == C.NONE, world.results[place][1].text
    assert world.ask(world.goal(G.HOME)) == C.NONE
    assert world.peak_speed <= 1.0
    assert world.peak_accel <= 1.02
