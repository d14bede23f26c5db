"""Messages of a robot at work, for tests and the benchmark: a wall of cartons, a plan, a job, a safe robot."""

import math
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Point, Pose, Quaternion, TransformStamped, Vector3
from lumper_msgs.msg import (
    AssistOption,
    AssistRequest,
    Box,
    BrokerState,
    Carton,
    ConveyorState,
    Event,
    JobState,
    OutcomeCode,
    PlannedPick,
    RejectedCarton,
    SafetyCause,
    SafetyState,
    StageTime,
    UnloadPlan,
    Wall,
)
from sensor_msgs.msg import JointState, LaserScan
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from lumper_ros.convert import to_time
from lumper_ros.robot import Robot

SIZES = ((0.40, 0.40, 0.30), (0.30, 0.50, 0.40), (0.40, 0.25, 0.25), (0.50, 0.60, 0.35))


def wall(count: int, version: int = 1, seed: int = 1, front_x_m: float = 1.9) -> Wall:
    """A stacked load of `count` cartons in layers behind each other, bottom to top and right to left."""
    rng = np.random.default_rng(seed)
    message = Wall(
        header=Header(frame_id="trailer", stamp=Time(sec=1)), version=version, status=Wall.STATUS_OK, coverage=0.97
    )
    message.back_wall_x_m = 7.0
    x, carton_id = front_x_m, 1
    while carton_id <= count:
        z = 0.0
        while z < 2.1 and carton_id <= count:
            size = SIZES[int(rng.integers(len(SIZES)))]
            y = 1.2
            while y - size[1] > -1.22 and carton_id <= count:
                yaw = float(rng.normal(0.0, 0.015))
                carton = Carton(
                    id=carton_id, state=Carton.STATE_SEEN, mass_kg=float(rng.uniform(1, 25)), confidence=0.95
                )
                carton.pose = Pose(
                    position=Point(
                        x=x + size[0] / 2 + float(rng.normal(0, 0.01)), y=y - size[1] / 2, z=z + size[2] / 2
                    ),
                    orientation=Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2)),
                )
                carton.size_m = Vector3(x=size[0], y=size[1], z=size[2])
                message.cartons.append(carton)
                y -= size[1] + 0.004
                carton_id += 1
            z += size[2]
        x += 0.52
    # The last layer built lies at the back: number from the front top for plausible picks.
    message.unknown_space = [Box(min_m=Point(x=x, y=-1.2, z=0.0), max_m=Point(x=min(7.0, x + 1.5), y=1.2, z=2.2))]
    return message


def front_top(message: Wall, front_x_m: float = 1.9) -> list[Carton]:
    """Cartons of the front layer, highest first."""
    front = [c for c in message.cartons if c.pose.position.x < front_x_m + 0.5]
    return sorted(front, key=lambda c: -c.pose.position.z)


def plan(message: Wall, picks: int = 6) -> UnloadPlan:
    """A plan for the highest front cartons, with reasons for others."""
    order = front_top(message)
    result = UnloadPlan(
        header=Header(frame_id="trailer"), job_id="job-1", plan_id="plan-1", wall_version=message.version
    )
    for carton in order[:picks]:
        p = carton.pose.position
        pick = PlannedPick(
            carton_ids=[carton.id], stroke=PlannedPick.STROKE_LIFT_PULL, mass_kg=carton.mass_kg, expected_s=4.8
        )
        face = Point(x=p.x - carton.size_m.x / 2, y=p.y, z=p.z)
        pick.grasp_pose = Pose(position=face, orientation=Quaternion(x=0.5, y=0.5, z=0.5, w=0.5))
        pick.extract_m = Vector3(x=-0.6)
        pick.lift_m = 0.006
        pick.size_m = carton.size_m
        result.picks.append(pick)
    for number, carton in enumerate(order[picks:]):
        reason = (
            RejectedCarton.UNSTABLE,
            RejectedCarton.STROKE_UNSAFE,
            RejectedCarton.TOO_HEAVY,
            RejectedCarton.UNCERTAIN,
            RejectedCarton.COSTLIER,
            RejectedCarton.BLOCKED,
        )[number % 6]
        item = RejectedCarton(carton_id=carton.id, reason=reason, figure=0.31, limit=0.05, because_of=[order[0].id])
        result.rejected.append(item)
    return result


def job(phase: int = JobState.PICKING, done: int = 37, text: str = "carton 12: pulling out") -> JobState:
    """A running job."""
    message = JobState(
        job_id="job-1", phase=phase, text=text, plan_id="plan-1", done=done, dropped=1, skipped=1, seen=60
    )
    message.rate_per_h = 642.0
    message.elapsed_s = 754.0
    message.assists = 1
    message.waiting_for_person_s = 14.0
    split = {
        "sense": 0.4,
        "plan": 0.2,
        "approach": 1.1,
        "grasp": 0.5,
        "extract": 0.9,
        "carry": 1.6,
        "place": 0.6,
        "retreat": 0.3,
    }
    message.stages = [StageTime(stage=name, duration_s=value * done) for name, value in split.items()]
    return message


def safety(
    mode: int = SafetyState.RUN, scale: float = 1.0, separation_m: float = math.inf, sequence: int = 1
) -> SafetyState:
    """A safety state; with a person near where the separation is finite."""
    message = SafetyState(
        mode=mode, speed_scale=scale, separation_m=separation_m, required_separation_m=1.24, sequence=sequence
    )
    if mode == SafetyState.REDUCED:
        text = f"person {separation_m:.1f} m away"
        message.causes = [
            SafetyCause(
                code=SafetyCause.PERSON_NEAR,
                effect=SafetyCause.EFFECT_REDUCE,
                text=text,
                present=True,
                value=separation_m,
            )
        ]
    if mode == SafetyState.PROTECTIVE_STOP:
        message.causes = [stop_cause()]
    return message


def stop_cause() -> SafetyCause:
    """A person pressed stop."""
    return SafetyCause(
        code=SafetyCause.STOP_CALLED,
        effect=SafetyCause.EFFECT_PROTECTIVE_STOP,
        text="safety/stop was called",
        present=False,
        latched=True,
    )


def question(question_id: str = "q-1", opened: bool = True, expires_s: float = 90.0) -> AssistRequest:
    """The planner's question about two readings of a face."""
    message = AssistRequest(question_id=question_id, job_id="job-1", open=opened, plan_id="plan-1", wall_version=1)
    message.code = OutcomeCode(code=OutcomeCode.NO_REMOVABLE_CARTON)
    message.text = (
        "Cartons 12 and 13 may be one long carton: the face has no clear edge. Taking half of one would tear it."
    )
    message.carton_ids = [12, 13]
    message.expires = to_time(expires_s)
    message.options = [
        AssistOption(key="treat_as_one", text="They are one carton", carton_ids=[12, 13], risk_s=2.4, predicted_s=7.0),
        AssistOption(key="treat_as_two", text="They are two cartons", carton_ids=[12, 13], risk_s=6.1, predicted_s=9.0),
        AssistOption(
            key="skip",
            text="Leave some",
            carton_ids=[12, 13, 14],
            choose_min=1,
            choose_max=2,
            risk_s=0.0,
            predicted_s=1.0,
        ),
        AssistOption(
            key="skip", text="Leave them", carton_ids=[12, 13], risk_s=0.0, predicted_s=1.0, is_safe_default=True
        ),
        AssistOption(key="give_up", text="Stop the job", risk_s=math.nan, predicted_s=math.nan),
    ]
    return message


def conveyor(ready: bool = True) -> ConveyorState:
    """The conveyor runs, or is blocked."""
    return ConveyorState(ready=ready, jammed=not ready, speed_mps=0.6, delivered=37)


def broker(held: tuple[int, ...] = ()) -> BrokerState:
    """The motion broker at work."""
    state = BrokerState.EXECUTING if held else BrokerState.IDLE
    return BrokerState(
        state=state, holding_carton=bool(held), held_carton_ids=list(held), permit_valid=True, speed_scale=1.0
    )


def event(
    text: str, severity: int = Event.INFO, node: str = "unload_planner", code: str = "job.progress", at_s: float = 1.0
) -> Event:
    """One line of the story."""
    return Event(stamp=to_time(at_s), node=node, text=text, severity=severity, code=code)


def joints(robot: Robot, pose: str = "home") -> JointState:
    """The arm in one of its named poses."""
    return JointState(name=list(robot.joint_names), position=[float(v) for v in robot.poses[pose]])


def base_tf(x_m: float = 0.0) -> TFMessage:
    """The base at a place in the trailer."""
    item = TransformStamped(header=Header(frame_id="trailer"), child_frame_id="base_link")
    item.transform.translation.x = x_m
    item.transform.rotation.w = 1.0
    return TFMessage(transforms=[item])


def scan_with_person(x_m: float, y_m: float, stamp_s: float) -> LaserScan:
    """A front scan that sees nothing but a person's leg-to-waist disc at a place in the scanner's frame."""
    count = 541
    message = LaserScan(header=Header(frame_id="scanner_front", stamp=to_time(stamp_s)))
    message.angle_min, message.angle_increment = -2.356194490192345, 0.008726646259971648
    message.angle_max, message.range_min, message.range_max = 2.356194490192345, 0.05, 12.0
    angles = message.angle_min + message.angle_increment * np.arange(count)
    bearing, distance = math.atan2(y_m, x_m), math.hypot(x_m, y_m)
    half = math.asin(0.15 / distance)
    ranges = np.where(np.abs(angles - bearing) < half, distance - 0.15, np.inf)
    message.ranges = [float(v) for v in ranges]
    return message


def diagnostics(levels: dict[str, int]) -> DiagnosticArray:
    """Diagnostic status of several nodes."""
    return DiagnosticArray(
        status=[
            DiagnosticStatus(
                name=f"{node}: state", level=bytes([level]), message="running" if not level else "wall is stale"
            )
            for node, level in levels.items()
        ]
    )


def everything(robot: Robot, count: int, now_s: float) -> dict[str, Any]:
    """One message of each topic that both nodes listen to, of a robot at work."""
    load = wall(count)
    return {
        "wall": load,
        "plan": plan(load),
        "job/state": job(),
        "safety/state": safety(SafetyState.REDUCED, 0.4, 1.9),
        "conveyor/state": conveyor(),
        "motion/state": broker(),
        "joint_states": joints(robot),
        "/tf": base_tf(),
        "scan/front": scan_with_person(-1.75, 1.9, now_s),
        "/diagnostics": diagnostics(
            {"safety_monitor": 0, "unload_planner": 0, "perception_intake": 1, "motion_broker": 0}
        ),
        "events": event("carton 12 delivered"),
    }
