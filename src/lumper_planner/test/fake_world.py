"""A test's world: cartons as boxes that move only when told, a broker that takes time and fails as scripted, one virtual
clock. It stands in for everything outside the planner's core; nothing of it is used by the robot."""

import heapq
import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from lumper_msgs.action import AdvanceBase, ExecuteMotion
from lumper_msgs.msg import (
    BrokerState,
    Carton,
    CommandAuth,
    ConveyorState,
    JobState,
    OutcomeCode,
    PlannedPick,
    RejectedCarton,
    SafetyCause,
    SafetyState,
    UnloadPlan,
    Wall,
)
from lumper_msgs.srv import AnswerAssist, JobCommand
from tf2_msgs.msg import TFMessage

from lumper_planner.core import UnloadPlanner
from lumper_planner.parameters import PlannerParameters
from lumper_planner.unloading import Choice, ChoiceRequest
from lumper_ros import core as c
from lumper_ros.auth import permit_mac, sign_command
from lumper_ros.convert import seconds, to_point, to_time, to_vector3

GOAL = ExecuteMotion.Goal
KEY = b"k" * 32
REACH_M = 2.3
DURATION_S = {GOAL.PICK: 3.0, GOAL.PROBE: 3.0, GOAL.PLACE: 3.0, GOAL.SCAN: 1.5, GOAL.HOME: 2.0, GOAL.RETREAT: 1.0}


def parameters(**changes: Any) -> PlannerParameters:
    return PlannerParameters(robot_folder="unused", trailer_file="unused", **changes)


def top_first(request: ChoiceRequest) -> Choice:
    """The test's own rule in place of the planning core: the highest carton within reach that nobody has excluded."""
    picture, near = request.standing(), request.base[0]
    failed = dict(request.failed)
    plan = UnloadPlan(job_id=request.job_id, plan_id=request.plan_id, wall_version=picture.version)
    options = []
    for row, carton in enumerate(picture.ids):
        if carton in request.gone:
            continue
        pick = PlannedPick(carton_ids=[carton], size_m=to_vector3(picture.size[row]), speed_limit_mps=0.4)
        pick.grasp_pose.position = to_point(picture.centre[row])
        pick.extract_m.x = -0.5
        if carton in request.split:
            pick.size_m.x, pick.size_m.y = picture.size[row][0] / 2.0, picture.size[row][1] / 2.0
        pick.expected_s, pick.risk_s = 6.0, 1.0
        if carton in request.skipped or carton in request.set_aside:
            continue
        options.append((-picture.centre[row][2], picture.centre[row][0], carton, pick))
    options.sort(key=lambda item: item[:3])
    stuck = [item for item in options if item[2] >= 900]
    free = [item for item in options if item[2] < 900]
    reachable = [item for item in free if item[1] - near <= REACH_M]
    least: list[tuple[PlannedPick, RejectedCarton]] = []
    if reachable:
        plan.picks = [reachable[0][3]]
    elif free:
        plan.advance_base_m = float(free[0][1] - near - REACH_M + 0.3)
    else:
        plan.outcome.code = OutcomeCode.NO_REMOVABLE_CARTON
        plan.text = "jammed"
        least = [(item[3], RejectedCarton(carton_id=item[2], text="others would fall")) for item in stuck]
    assert all(count >= 0 for count in failed.values())
    return Choice(plan, picture, request.key(), tuple(least))


@dataclass
class FakeWorld:
    """Drives one core. Cartons with ids from 900 on are never proved safe by the test's rule."""

    cartons: dict[int, list[float]]  # id -> centre x, y, z
    settings: PlannerParameters = field(default_factory=parameters)
    choose: Callable[[ChoiceRequest], Choice] = top_first
    ros_s: float = 100.0
    # What the next motions of a kind end with; taken from the front, success when there is none left.
    script: dict[int, list[int]] = field(default_factory=dict)
    records: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.base_x = 0.0
        self.belt = 0
        self.floor: set[int] = set()
        self.held: list[int] = []
        self.twins: set[int] = set()  # two cartons that look like one until one of them is pulled at
        self.loses_in_place = False  # what is lost in the pull stays where it stood
        self.renames = False  # and is seen there under another id
        self.mode = SafetyState.RUN
        self.causes: list[SafetyCause] = []
        self.conveyor_ready, self.jammed = True, False
        self._permits = 0
        self.camera, self.says_empty, self.safety_alive = True, True, True
        self.version, self.moved = 1, []
        self.shown_version = 0  # of the newest wall that was sent
        self.active: tuple[str, Any] | None = None
        self.last: list[tuple[str, int]] = []
        self.base_code = 0
        self.persist_error = ""
        self.alive = True
        self.life = 0
        self.states: list[JobState] = []
        self.questions: list[Any] = []
        self.events: list[c.Emit] = []
        self.diagnoses: dict[str, c.Diagnose] = {}
        self.plans: list[UnloadPlan] = []
        self.finished: dict[str, tuple[c.GoalStatus, Any]] = {}
        self.sent: list[tuple[str, str, Any]] = []
        self.picks: list[tuple[int, float, float]] = []  # wall version named, newest version, age of the newest wall
        self.response: Any = None
        self.nonce = itertools.count(1)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.core = self._new_core()
        for period_s, publish in (
            (0.1, self._safety),
            (0.2, self._wall),
            (0.2, self._broker),
            (0.2, self._belt),
            (0.2, self._tick),
        ):
            self._every(period_s, publish)
        self._tf()

    # --- time ---

    def now(self) -> c.Now:
        return c.Now(self.ros_s, self.ros_s + 1000.0, self.ros_s + 1e9)

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.ros_s + delay_s, next(self._order), action))

    def _every(self, period_s: float, action: Callable[[], None]) -> None:
        def again() -> None:
            action()
            self.after(period_s, again)

        self.after(period_s, again)

    def run(self, until: Callable[[], bool], limit_s: float = 600.0) -> bool:
        """Let time pass until a condition holds; False = it never did."""
        end_s = self.ros_s + limit_s
        while not until():
            when_s, _, action = heapq.heappop(self._heap)
            if when_s > end_s:
                heapq.heappush(self._heap, (when_s, 0, action))
                self.ros_s = end_s
                return False
            self.ros_s = max(self.ros_s, when_s)
            action()
        return True

    def pass_time(self, duration_s: float) -> None:
        self.run(lambda: False, duration_s)

    # --- the core's life ---

    def _new_core(self) -> UnloadPlanner:
        core = UnloadPlanner(self.settings, self.choose, KEY)
        read = {kind: {key: json.loads(text) for key, text in group.items()} for kind, group in self.records.items()}
        self.core = core
        self.life += 1
        self.do(core.restore(read, self.now()))
        self.do(core.activate(self.now()))
        return core

    def kill(self) -> None:
        """The node dies; what the broker was told goes on."""
        self.alive = False

    def restart(self) -> None:
        self.alive = True
        self.core = self._new_core()
        self._tf()

    def tell(self, step: Callable[[UnloadPlanner], c.Effects]) -> None:
        if self.alive:
            self.do(step(self.core))

    # --- effects ---

    def do(self, effects: c.Effects) -> None:
        for effect in effects:
            match effect:
                case c.Persist(kind, key, record):
                    if self.persist_error:
                        self.do(self.core.persist_failed(kind, key, self.persist_error, self.now()))
                        return
                    group = self.records.setdefault(kind, {})
                    if record is None:
                        group.pop(key, None)
                    else:
                        group[key] = json.dumps(record)
                case c.Publish(name, message):
                    {"job/state": self.states, "assist/request": self.questions, "plan": self.plans}[name].append(
                        message
                    )
                case c.SendGoal(name, goal_id, goal):
                    self.sent.append((name, goal_id, goal))
                    self._accept(name, goal_id, goal)
                case c.CancelGoal(name, goal_id):
                    life = self.life
                    self.after(0.1, lambda g=goal_id, n=name, life=life: self._cancelled(n, g, life))
                case c.FinishGoal(_, goal_id, status, result):
                    assert goal_id not in self.finished, "a goal ended twice"
                    self.finished[goal_id] = (status, result)
                case c.Compute(tag, function):
                    life = self.life
                    self.after(0.02, lambda t=tag, f=function, life=life: self._computed(t, f, life))
                case c.Emit():
                    self.events.append(effect)
                case c.Diagnose(name):
                    self.diagnoses[name] = effect
                case c.Respond(response):
                    self.response = response

    def _computed(self, tag: str, function: Callable[[], Any], life: int) -> None:
        if life != self.life:
            return
        try:
            result = function()
        except Exception as error:
            result = error
        self.tell(lambda core: core.computed(tag, result, self.now()))

    # --- broker and base ---

    def _accept(self, name: str, goal_id: str, goal: Any) -> None:
        assert self.active is None, "a second motion while one is under way"
        assert self.mode in (SafetyState.RUN, SafetyState.REDUCED), "a motion was asked for during a stop"
        life = self.life
        self.active = (goal_id, goal)
        if name == "base/advance":
            assert not self.held or goal.distance_m < 0.0
            self._drive(goal_id, goal, life, 10)
            return
        assert seconds(goal.deadline) > self.ros_s
        if goal.kind in (GOAL.PICK, GOAL.PROBE):
            assert not self.held, "PICK with a full gripper"
            self.picks.append((int(goal.wall_version), self.shown_version, 0.0))
            assert goal.wall_version == self.shown_version, "PICK on a picture that is not the newest"
        if goal.kind == GOAL.PLACE:
            assert self.held, "PLACE with an empty gripper"
        code = self.script.get(goal.kind, []).pop(0) if self.script.get(goal.kind) else 0
        self.after(DURATION_S[goal.kind], lambda: self._done(goal_id, goal, code, life))
        self._broker()

    def _drive(self, goal_id: str, goal: Any, life: int, steps: int) -> None:
        """A base move of 2 s in ten steps."""

        def step() -> None:
            if self.active is None or self.active[0] != goal_id:
                return
            if self.base_code == 0:
                self.base_x += goal.distance_m / 10
                self._tf()
            if steps > 1:
                self._drive(goal_id, goal, life, steps - 1)
            else:
                self._base_done(goal_id, goal, self.base_code, life)

        self.after(0.2, step)

    def _done(self, goal_id: str, goal: Any, code: int, life: int) -> None:
        if self.active is None or self.active[0] != goal_id:
            return
        self.active = None
        last_stage = 0
        ids = [int(carton) for carton in goal.pick.carton_ids]
        if goal.kind == GOAL.PICK:
            if code in (0, OutcomeCode.STOPPED_BY_SAFETY) and all(carton in self.cartons for carton in ids):
                self.held = ids
                for carton in ids:
                    self.floor.discard(carton)
            elif code == OutcomeCode.CARTON_LOST and not self.loses_in_place:
                self._fall(ids)
            elif code == OutcomeCode.CARTON_LOST and self.renames:
                self.rename(ids)
            elif code == 0:
                code = OutcomeCode.GRASP_NOT_MADE
        elif goal.kind == GOAL.PROBE:
            self._probe(ids[0], code)
        elif goal.kind == GOAL.PLACE:
            if code == 0:
                last_stage = BrokerState.STAGE_RETREAT
                self._deliver()
            elif code == OutcomeCode.CARTON_LOST:
                self._fall(self.held)
                self.held = []
        self.last.insert(0, (goal_id, code))
        self._wall_changed()
        result = ExecuteMotion.Result(outcome=OutcomeCode(code=code), text="scripted", holding_carton=bool(self.held))
        result.last_stage = last_stage
        status = c.GoalStatus.SUCCEEDED if code == 0 else c.GoalStatus.ABORTED
        if life == self.life:
            self.tell(lambda core: core.goal_result("motion/execute", goal_id, status, result, self.now()))
        self._broker()

    def rename(self, ids: Iterable[int]) -> None:
        """Lose sight of cartons, and see them again as new ones."""
        for carton in ids:
            self.cartons[carton + 100] = self.cartons.pop(carton)

    def _probe(self, carton: int, code: int) -> None:
        if carton not in self.cartons:
            return
        if code == OutcomeCode.STOPPED_BY_SAFETY:
            self.held = [carton]
        if code in (0, OutcomeCode.STOPPED_BY_SAFETY) and carton in self.twins:
            self.twins.discard(carton)
            x, y, z = self.cartons[carton]
            self.cartons[carton] = [x - 0.04, y - 0.1, z]
            self.cartons[carton + 500] = [x, y + 0.1, z]

    def _deliver(self) -> None:
        for carton in self.held:
            del self.cartons[carton]
            self.belt += 1
        self.held = []

    def _fall(self, ids: list[int]) -> None:
        for carton in ids:
            self.cartons[carton] = [self.base_x + 1.6, 0.0, 0.15]
            self.floor.add(carton)

    def _cancelled(self, name: str, goal_id: str, life: int) -> None:
        if self.active is None or self.active[0] != goal_id:
            return
        _, goal = self.active
        if name == "base/advance":
            self._base_done(goal_id, goal, OutcomeCode.CANCELLED, life)
        else:
            self._done(goal_id, goal, OutcomeCode.CANCELLED, life)

    def stop_motion(self, code: int = OutcomeCode.STOPPED_BY_SAFETY) -> None:
        """What a broker does on losing its permit: the arm stands, the request ends."""
        if self.active is not None and hasattr(self.active[1], "kind"):
            self._done(self.active[0], self.active[1], code, self.life)

    def lose_broker(self) -> None:
        """The broker dies during a request: the client learns only that it is gone."""
        assert self.active is not None
        goal_id, _ = self.active
        self.active = None
        self.tell(lambda core: core.goal_result("motion/execute", goal_id, c.GoalStatus.LOST, None, self.now()))

    def _base_done(self, goal_id: str, goal: Any, code: int, life: int) -> None:
        if self.active is None or self.active[0] != goal_id:
            return
        self.active = None
        result = AdvanceBase.Result(outcome=OutcomeCode(code=code), text="scripted", moved_m=goal.distance_m)
        self._tf()
        if life == self.life:
            status = c.GoalStatus.SUCCEEDED if code == 0 else c.GoalStatus.ABORTED
            self.tell(lambda core: core.goal_result("base/advance", goal_id, status, result, self.now()))

    # --- what the planner hears ---

    def _send(self, name: str, message: Any) -> None:
        self.tell(lambda core: core.message(name, message, self.now()))

    def _tick(self) -> None:
        self.tell(lambda core: core.tick(self.now()))

    def _tf(self) -> None:
        item = TransformStamped(child_frame_id="base_link")
        item.header.frame_id = "trailer"
        item.transform.translation.x = float(self.base_x)
        item.transform.rotation.w = 1.0
        self._send("/tf", TFMessage(transforms=[item]))

    def _safety(self) -> None:
        if self.safety_alive:
            self._permits += 1
            state = SafetyState(mode=self.mode, causes=list(self.causes), sequence=self._permits)
            state.mac = permit_mac(KEY, state)
            self._send("safety/state", state)

    def _broker(self) -> None:
        busy = self.active is not None and hasattr(self.active[1], "kind")
        state = BrokerState(state=BrokerState.EXECUTING if busy else BrokerState.IDLE, holding_carton=bool(self.held))
        state.stamp = to_time(self.ros_s)
        state.permit_valid = self.mode in (SafetyState.RUN, SafetyState.REDUCED)
        state.active_request_id = self.active[0] if busy and self.active is not None else ""
        state.held_carton_ids = self.held
        state.last_request_ids = [goal_id for goal_id, _ in self.last[:10]]
        state.last_outcomes = [OutcomeCode(code=code) for _, code in self.last[:10]]
        self._send("motion/state", state)

    def _belt(self) -> None:
        self._send("conveyor/state", ConveyorState(ready=self.conveyor_ready, jammed=self.jammed, delivered=self.belt))

    def _wall_changed(self) -> None:
        self.version += 1
        self._wall()

    def collapse(self, carton: int) -> None:
        """A carton moves although nobody touched it."""
        self.cartons[carton][0] -= 0.3
        self.moved = [carton]
        self._wall_changed()
        self.moved = []

    def wall_message(self) -> Wall:
        self.shown_version = self.version
        wall = Wall(version=self.version, status=Wall.STATUS_OK, moved_ids=self.moved, back_wall_x_m=float("nan"))
        wall.header.frame_id, wall.header.stamp = "trailer", to_time(self.ros_s)
        for carton, (x, y, z) in sorted(self.cartons.items()):
            seen = Carton(
                id=carton, mass_kg=8.0, friction=0.5, confidence=1.0, visible_faces=1, last_seen=to_time(self.ros_s)
            )
            seen.state = (
                Carton.STATE_HELD
                if carton in self.held
                else Carton.STATE_ON_FLOOR
                if carton in self.floor
                else Carton.STATE_SEEN
            )
            seen.pose.position.x, seen.pose.position.y, seen.pose.position.z = float(x), float(y), float(z)
            seen.size_m = to_vector3((0.4, 0.4, 0.3))
            wall.cartons.append(seen)
        if not wall.cartons and self.says_empty:
            wall.status = Wall.STATUS_EMPTY
        return wall

    def _wall(self) -> None:
        if self.camera:
            self._send("wall", self.wall_message())

    # --- what people and clients do ---

    def unload(self, job_id: str = "job-1", stop_when: int = 0, max_cartons: int = 0, goal_id: str = "") -> str:
        from lumper_msgs.action import Unload

        goal_id = goal_id or f"{next(self.nonce):032x}"
        goal = Unload.Goal(job_id=job_id, stop_when=stop_when, max_cartons=max_cartons)
        self.tell(lambda core: core.goal("unload", goal_id, goal, self.now()))
        return goal_id

    def sign(self, name: str, arguments: dict[str, Any], who: str = "Ada", key: bytes | None = KEY) -> CommandAuth:
        return sign_command(key, name, arguments, who, self.now().system_s + 1e-3, next(self.nonce))

    def command(self, command: int, who: str = "Ada", key: bytes | None = KEY) -> Any:
        auth = self.sign("job/command", {"command": command}, who, key)
        self.tell(lambda core: core.service("job/command", JobCommand.Request(command=command, auth=auth), self.now()))
        return self.response

    def answer(
        self, key: str, ids: list[int] | None = None, who: str = "Ada", question_id: str = "", sign: bytes | None = KEY
    ) -> Any:
        question_id = question_id or self.questions[-1].question_id
        arguments = {"question_id": question_id, "option_key": key, "carton_ids": ids or []}
        auth = self.sign("assist/answer", arguments, who, sign)
        request = AnswerAssist.Request(question_id=question_id, option_key=key, carton_ids=ids or [], auth=auth)
        self.tell(lambda core: core.service("assist/answer", request, self.now()))
        return self.response

    # --- reading the result ---

    def state(self) -> JobState:
        return self.states[-1]

    def asked(self) -> bool:
        return bool(self.questions) and bool(self.questions[-1].open)

    def kinds(self) -> list[int]:
        return [goal.kind if name == "motion/execute" else 100 for name, _, goal in self.sent]


def pile(rows: int = 1, columns: int = 3, layers: int = 2, x: float = 1.9) -> dict[int, list[float]]:
    """Cartons in a regular pile; ids from 1."""
    number = itertools.count(1)
    return {
        next(number): [x + 0.45 * row, (column - (columns - 1) / 2) * 0.45, 0.15 + 0.31 * layer]
        for row in range(rows)
        for layer in range(layers)
        for column in range(columns)
    }


def stop_cause(*, latched: bool) -> SafetyCause:
    return SafetyCause(
        code=SafetyCause.STOP_CALLED if latched else SafetyCause.PERSON_NEAR,
        effect=SafetyCause.EFFECT_PROTECTIVE_STOP,
        text="stop button" if latched else "person 0.8 m away",
        latched=latched,
        present=True,
    )


__all__ = ["GOAL", "KEY", "FakeWorld", "np", "parameters", "pile", "stop_cause", "top_first"]
