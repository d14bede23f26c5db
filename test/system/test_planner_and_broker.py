"""What the planner proposes, the broker takes: both judge the cups' hold, each with code of its own."""

from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import Carton, Wall

from lumper_motion.intake import read_goal
from lumper_motion.parameters import MotionParameters
from lumper_motion.requests import Refusal
from lumper_planner.choose import Chooser
from lumper_planner.parameters import PlannerParameters
from lumper_planner.reach import ArmReach
from lumper_planner.unloading import ChoiceRequest
from lumper_planner.world import picture_of
from lumper_ros.convert import to_point, to_time, to_vector3
from lumper_ros.parameters import from_mapping
from lumper_ros.robot import load_robot, load_trailer

CONFIG = Path(__file__).resolve().parents[2] / "config"
FILES = {"robot_folder": str(CONFIG / "robot"), "trailer_file": str(CONFIG / "trailer.yaml"), "authentication": False}
ROBOT, TRAILER = load_robot(CONFIG / "robot"), load_trailer(CONFIG / "trailer.yaml")
CHOOSER = Chooser(from_mapping(PlannerParameters, FILES), ROBOT, TRAILER, ArmReach(ROBOT))
MOTION = from_mapping(MotionParameters, FILES)


def wall_of(rng: np.random.Generator, columns: int, heaviest_kg: float) -> Wall:
    """Columns of cartons from mail size up side by side, each with its front at its own depth: pads overlap and edges hide."""
    wall = Wall(version=1)
    wall.header.frame_id = "trailer"
    left, carton_id = 1.1, 0
    for _ in range(columns):
        width = float(rng.uniform(0.13, 0.6))
        bottom = 0.0
        while bottom < 1.6 and left - width > -1.1:
            depth, height = float(rng.uniform(0.15, 0.6)), float(rng.uniform(0.12, 0.5))
            carton_id += 1
            carton = Carton(id=carton_id, state=Carton.STATE_SEEN, confidence=0.95, friction=0.5, times_seen=9)
            front = 1.9 + float(rng.choice([0.0, 0.0, 0.02, 0.15]))
            carton.pose.position = to_point((front + depth / 2, left - width / 2, bottom + height / 2))
            carton.pose.orientation.w = 1.0
            carton.size_m = to_vector3((depth, width, height))
            carton.pose_sigma, carton.size_sigma_m = [0.003] * 3 + [0.002] * 3, [0.003] * 3
            carton.mass_kg = float(rng.uniform(0.5, heaviest_kg))
            carton.mass_sigma_kg = float(rng.uniform(0.0, 0.5)) * carton.mass_kg
            carton.visible_faces = Carton.FACE_NEG_X
            if rng.random() < 0.5:
                carton.size_unknown = Carton.AXIS_X
            else:
                carton.visible_faces |= Carton.FACE_POS_Z
            wall.cartons.append(carton)
            bottom += height
        left -= width + 0.005
    return wall


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1), columns=st.integers(1, 6), heaviest_kg=st.sampled_from([6.0, 15.0, 40.0]))
def test_no_pick_of_a_plan_is_refused_for_what_it_says_itself(seed: int, columns: int, heaviest_kg: float) -> None:
    wall = wall_of(np.random.default_rng(seed), columns, heaviest_kg)
    nobody = frozenset[int]()
    request = ChoiceRequest("j", "p", 1.0, wall, picture_of(wall), (0.0, 0.0, 0.0), nobody, (), (), (), (), (), (), ())
    for pick in CHOOSER(request).plan.picks:
        goal = ExecuteMotion.Goal(kind=ExecuteMotion.Goal.PICK, pick=pick, deadline=to_time(100.0), wall_version=1)
        read = read_goal(goal, "r", 1, 1.0, ROBOT, TRAILER, MOTION)
        assert not isinstance(read, Refusal), f"carton {list(pick.carton_ids)}: {read.text}"
