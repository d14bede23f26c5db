"""The safety monitor's logic: every input is judged as it comes, and the permit withdrawn in the same breath."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from lumper_msgs.msg import BrokerState, JobState, SafetyState
from lumper_msgs.srv import ResetSafety, SetSpeedLimit
from std_srvs.srv import Trigger

from lumper_ros.auth import CommandVerifier, permit_mac
from lumper_ros.convert import to_time
from lumper_ros.core import Core, Effects, Emit, Now, Persist, Publish, Respond, Severity
from lumper_ros.core import Effect as CoreEffect
from lumper_ros.robot import Robot, Trailer
from lumper_safety import inputs
from lumper_safety.causes import MEANINGS, OPTIONAL, REQUIRED, Code, Effect, Latch, Table
from lumper_safety.clockwatch import ClockWatch
from lumper_safety.guard import PersonGuard
from lumper_safety.joints import JointWatch, Violation
from lumper_safety.monitor import Decision, Mode, Monitor
from lumper_safety.parameters import Parameters
from lumper_safety.reporting import cause_message, diagnostics, mode_event
from lumper_safety.space import Space, stamp_of
from lumper_safety.watches import InputState, LoadWatch, WallWatch

_CARRYING = (BrokerState.STAGE_EXTRACT, BrokerState.STAGE_CARRY, BrokerState.STAGE_PLACE)
_MOVES_CARTONS = (JobState.PICKING, JobState.PLACING)
_LOOK = "surroundings"
PERMIT_PUBLISHERS = "permit_publishers"
_JOINT_CODES = (Code.JOINT_POSITION, Code.JOINT_SPEED, Code.JOINT_ACCELERATION, Code.FOLLOWING_ERROR)


class SafetyMonitor(Core):
    """
    Args:
        key: for permits and commands; None = authentication is turned off.
        monitor_id: random, drawn by the host at each start.
    """

    def __init__(
        self, parameters: Parameters, robot: Robot, trailer: Trailer, table: Table, key: bytes | None, monitor_id: int
    ) -> None:
        self._p = parameters
        self._names = robot.joint_names
        self._table = table
        self._limits = table.limits
        self._key = key
        self._id = monitor_id
        self._sequence = 0
        self._monitor = Monitor(table)
        self._space = Space(parameters, robot, trailer)
        self._joints = JointWatch(
            robot.joint_names,
            robot.lower_rad,
            robot.upper_rad,
            robot.max_speed_radps,
            robot.max_accel_radps2,
            table.limits,
        )
        self._clock = ClockWatch(table.limits)
        self._guard = PersonGuard(parameters, robot, self._space)
        self._inputs = {topic: InputState(rule) for topic, rule in table.inputs.items()}
        self._verifier = CommandVerifier(key, parameters.command_window_s)
        self._load = LoadWatch()
        self._wall = WallWatch()
        self._broker: Any = None
        self._phase = JobState.IDLE
        self._job_id = ""
        self._plan_id = ""
        self._request_id = ""
        self._broker_latency_s = 0.0
        self._loss_stamp_s: dict[Code, float] = {}
        self._limit_of_operator = self._stored_limit = 1.0
        self._last_reset_by = ""
        self._looked: set[str] = set()  # scanners heard since every required input is there
        self._decided: Decision | None = None
        self._told: tuple[tuple[int, str, bool], ...] = ()
        self._told_s = float("-inf")
        self._store_after_s = float("-inf")
        self._stored: frozenset[str] = frozenset()
        self._keys: set[str] = set()  # every key that this store may hold
        self._unsure = False  # a write failed: write all again
        self._read: Mapping[str, Callable[[Any, float, Now], str]] = {
            "scan/front": lambda m, s, now: self._scan("scan/front", m, s, now),
            "scan/rear": lambda m, s, now: self._scan("scan/rear", m, s, now),
            "joint_states": self._joint_states,
            "gripper/state": self._gripper,
            "motion/state": self._broker_state,
            "job/state": self._job,
            "wall": self._wall_seen,
        }

    # --- life ---

    def origin(self) -> Mapping[str, Any]:
        return {"monitor_id": self._id}

    def restore(self, records: Mapping[str, Mapping[str, Any]], now: Now) -> Effects:
        for key, record in records.get("latch", {}).items():
            name, _, source = key.partition(" ")
            if name in Code.__members__:
                self._monitor.restore(Code[name], source, str(record.get("text", "")), now.steady_s)
        self._stored = frozenset(f"{cause.code.name} {cause.source}" for cause in self._monitor.latched)
        self._keys = set(records.get("latch", {}))
        limit = records.get("limit", {}).get("operator", {}).get("speed_scale", 1.0)
        self._set_limit(float(limit), "stored", now)
        self._stored_limit = self._limit_of_operator
        return ()

    def activate(self, now: Now) -> Effects:
        self._verifier = CommandVerifier(self._key, self._p.command_window_s, now.system_s)
        return self.tick(now)

    def deactivate(self, now: Now) -> Effects:
        """A clean end withdraws the permit at once instead of letting it run out."""
        causes = self._decided.causes if self._decided is not None else ()
        return [Publish("safety/state", self._state(Decision(Mode.PROTECTIVE_STOP, 0.0, causes), now))]

    def persist_failed(self, kind: str, key: str, error: str, now: Now) -> Effects:
        self._unsure = True
        self._store_after_s = now.steady_s + 1.0
        text = f"cannot store {kind} {key}: {error}; a restart of the monitor would forget it"
        return [Emit("safety.store_failed", text, Severity.ERROR)]

    # --- inputs ---

    def message(self, name: str, message: Any, now: Now) -> Effects:
        if name in ("/tf", "/tf_static"):
            fault = self._space.set_base(message.transforms, now.steady_s)
            if fault:
                self._malformed(name, fault, now)
        elif name in self._inputs:
            self._clocks(now)
            fault = self._input(name, message, now)
            if fault:
                self._inputs[name].malformed += 1
                self._inputs[name].bad_s = now.steady_s
                self._malformed(name, fault, now)
        return self._decide(now, always=False)

    def observed(self, name: str, value: Any, now: Now) -> Effects:
        return self.permit_publishers(int(value), now) if name == PERMIT_PUBLISHERS else ()

    def permit_publishers(self, count: int, now: Now) -> Effects:
        """How many publishers of safety/state the graph shows; the host asks it now and then."""
        if count > 1:
            text = f"graph: {count} publishers of safety/state"
            self._report(Code.SECOND_MONITOR, "safety/state", now, text, float(count), 1.0)
        return self._decide(now, always=False)

    def _input(self, name: str, message: Any, now: Now) -> str:
        """Check and take a message; returns what is wrong with it."""
        state = self._inputs[name]
        if name == "estop":
            self._seen(state, now)
            self._estop(bool(message.data), now)
            return ""
        if not self._clock.started:
            # Until the first /clock no stamp can be judged: nothing that bears one has been seen.
            return ""
        stamp_s = stamp_of(message)
        fault = inputs.stamp_fault(stamp_s, now.ros_s, self._limits.future_s * self._clock.rate)
        if fault:
            return fault
        self._clock.input_came()
        # A wall's stamp is that of its newest evidence: an arm in the picture may make it old without a defect.
        if name != "wall" and now.ros_s - stamp_s > state.rule.max_age_s * self._clock.rate:
            state.late += 1
            return ""
        if stamp_s < state.stamp_s:
            if state.stamp_s - stamp_s < 1.0:
                state.out_of_order += 1
                return ""
            # The clock was set back: the cause for that is raised by the clock watch.
            self._joints.forget()
        fault = self._read[name](message, stamp_s, now)
        if not fault:
            state.stamp_s = stamp_s
            self._seen(state, now)
        return fault

    def _seen(self, state: InputState, now: Now) -> None:
        state.seen_s = now.steady_s
        state.good += 1

    def _estop(self, closed: bool, now: Now) -> None:
        if closed:
            self._monitor.withdraw(Code.ESTOP_OPEN, "estop", now.steady_s)
        else:
            self._report(Code.ESTOP_OPEN, "estop", now, "estop: the emergency-stop circuit is open", 0.0, 1.0)

    def _scan(self, name: str, message: Any, stamp_s: float, now: Now) -> str:
        fault, ranges, invalid = inputs.scan_fault(message, self._space.scanners[name], self._limits)
        self._inputs[name].invalid_beams += invalid
        if ranges is None:
            return fault
        self._space.scan(name, ranges, stamp_s, now.steady_s, self._loaded)
        if not set(self._monitor.present(Code.NEVER_SEEN)) - {_LOOK}:
            self._looked.add(name)
        self._guard.measured(now.steady_s, max(0.0, now.ros_s - stamp_s) + self._broker_latency_s)
        self._people(now, latency_s=max(0.0, now.ros_s - stamp_s))
        return ""

    def _joint_states(self, message: Any, stamp_s: float, now: Now) -> str:
        fault = inputs.joints_fault(message, self._names)
        if fault:
            return fault
        violations = self._joints.update(stamp_s, np.array(message.position), np.array(message.velocity))
        self._violations(violations, now, max(0.0, now.ros_s - stamp_s))
        return ""

    def _violations(self, violations: list[Violation], now: Now, latency_s: float) -> None:
        found = {violation.code for violation in violations}
        for violation in violations:
            self._report(
                violation.code,
                "joint_states",
                now,
                f"joint_states: {violation.text}",
                violation.value,
                violation.limit,
                latency_s=latency_s,
            )
        for code in _JOINT_CODES:
            if code not in found:
                self._monitor.withdraw(code, "joint_states", now.steady_s)

    def _gripper(self, message: Any, stamp_s: float, now: Now) -> str:
        fault = inputs.gripper_fault(message)
        if fault:
            return fault
        carrying = self._broker is not None and self._broker.stage in _CARRYING
        if self._load.step(message, carrying, stamp_s):
            self._loss_stamp_s[Code.CARTON_LOST] = stamp_s
            text = f"gripper/state: the carton is gone, vacuum {message.vacuum_kpa:.1f} kPa; find it"
            self._report(Code.CARTON_LOST, "gripper/state", now, text, float(message.vacuum_kpa), 0.0)
        return ""

    def _broker_state(self, message: Any, stamp_s: float, now: Now) -> str:
        fault = inputs.broker_fault(message, self._names)
        if fault:
            return fault
        self._broker = message
        self._broker_latency_s = float(message.permit_latency_s)
        self._request_id = message.active_request_id
        commanded = np.array(message.commanded_position_rad)
        self._joints.command(stamp_s, commanded if len(commanded) else None)
        return ""

    def _job(self, message: Any, stamp_s: float, now: Now) -> str:
        fault = inputs.job_fault(message)
        if not fault:
            self._phase, self._job_id, self._plan_id = message.phase, message.job_id, message.plan_id
        return fault

    def _wall_seen(self, message: Any, stamp_s: float, now: Now) -> str:
        fault = inputs.wall_fault(message, "trailer")
        if fault:
            return fault
        self._space.set_wall(message, now.steady_s)
        for code, loss_s in list(self._loss_stamp_s.items()):
            if stamp_s > loss_s:
                source = "wall" if code is Code.COLLAPSE else "gripper/state"
                self._monitor.withdraw(code, source, now.steady_s)
                del self._loss_stamp_s[code]
        moved = self._wall.step(message)
        if moved:
            self._loss_stamp_s[Code.COLLAPSE] = stamp_s
            text = f"wall: cartons {', '.join(map(str, moved))} moved without being touched"
            self._report(Code.COLLAPSE, "wall", now, text, float(len(moved)), 0.0)
        return ""

    def _malformed(self, name: str, fault: str, now: Now) -> None:
        count = self._inputs[name].malformed if name in self._inputs else 1
        self._report(Code.MALFORMED_INPUT, name, now, f"{name}: {fault}", float(count), 0.0)

    # --- commands ---

    def service(self, name: str, request: Any, now: Now) -> Effects:
        if name == "safety/stop":
            return self._stop(now)
        if name == "safety/reset":
            return self._reset(request, now)
        if name == "safety/speed_limit":
            return self._speed_limit(request, now)
        return super().service(name, request, now)

    def _stop(self, now: Now) -> Effects:
        self._report(
            Code.STOP_CALLED, "safety/stop", now, "safety/stop: somebody asked for a stop; reset when it is safe"
        )
        self._monitor.withdraw(Code.STOP_CALLED, "safety/stop", now.steady_s)
        return [*self._decide(now, always=True), Respond(Trigger.Response(success=True, message="stopped; latched"))]

    def _reset(self, request: Any, now: Now) -> Effects:
        operator = request.auth.operator_name
        fault = self._verifier.check("safety/reset", {"reason": request.reason}, request.auth, now.system_s)
        if not fault and not request.reason.strip():
            fault = "reason: empty; say why it is safe again"
        blocking = self._monitor.reset() if not fault else ()
        if blocking:
            fault = "still present: " + "; ".join(cause.text for cause in blocking)
        if fault:
            text = f"reset by {operator or 'nobody'} refused: {fault}"
            answer = ResetSafety.Response(
                accepted=False, text=fault, causes=[cause_message(cause) for cause in blocking]
            )
            values = {"operator": operator, "reason": request.reason}
            return [Respond(answer), Emit("safety.reset_refused", text, Severity.WARN, values=values)]
        self._last_reset_by = operator
        self._loss_stamp_s.clear()
        text = f"reset by {operator}: {request.reason}"
        answer = ResetSafety.Response(accepted=True, text="latches cleared; motion resumes by its own command")
        # The disk first: the stop still holds while it is slow, and a reset that cannot be recorded grants nothing yet.
        return [
            Respond(answer),
            *self._records(),
            *self._decide(now, always=True),
            Emit("safety.reset", text, values={"operator": operator, "reason": request.reason}),
        ]

    def _speed_limit(self, request: Any, now: Now) -> Effects:
        operator, limit = request.auth.operator_name, float(request.speed_scale)
        fault = self._verifier.check("safety/speed_limit", {"speed_scale": limit}, request.auth, now.system_s)
        if not fault and not 0.0 <= limit <= 1.0:
            fault = f"speed_scale: {limit}, must be 0 … 1"
        if fault:
            return [
                Respond(SetSpeedLimit.Response(accepted=False, text=fault)),
                Emit("safety.limit_refused", f"limit by {operator or 'nobody'} refused: {fault}", Severity.WARN),
            ]
        self._set_limit(limit, operator, now)
        text = f"{operator} limits the speed to {limit:.0%}"
        return [
            *self._decide(now, always=True),
            Respond(SetSpeedLimit.Response(accepted=True, text=text)),
            Emit("safety.limit", text, values={"operator": operator, "speed_scale": limit}),
        ]

    def _set_limit(self, limit: float, operator: str, now: Now) -> None:
        self._limit_of_operator = limit
        if limit >= 1.0:
            self._monitor.withdraw(Code.OPERATOR_LIMIT, "operator", now.steady_s)
            return
        effect = Effect.REDUCE if limit > 0.0 else Effect.PROTECTIVE_STOP
        text = f"operator {operator} limits the speed to {limit:.0%}"
        self._report(Code.OPERATOR_LIMIT, "operator", now, text, limit, 1.0, effect=effect)

    # --- causes that time alone brings ---

    def tick(self, now: Now) -> Effects:
        self._clocks(now)
        self._ages(now)
        for topic in (*self._inputs, "/tf", "/tf_static"):
            if self._monitor.has(Code.MALFORMED_INPUT, topic):
                self._monitor.withdraw(Code.MALFORMED_INPUT, topic, now.steady_s)
        if self._monitor.has(Code.SECOND_MONITOR, "safety/state"):
            self._monitor.withdraw(Code.SECOND_MONITOR, "safety/state", now.steady_s)
        self._people(now)
        return [*self._decide(now, always=True), *self._diagnose(now), *self._store(now)]

    def _clocks(self, now: Now) -> None:
        fault = self._clock.step(now)
        if fault:
            self._report(Code.CLOCK_JUMP, "clock", now, fault, now.ros_s, self._limits.clock_jump_s)
        else:
            self._monitor.withdraw(Code.CLOCK_JUMP, "clock", now.steady_s)
        if self._clock.started:
            self._monitor.withdraw(Code.NEVER_SEEN, "/clock", now.steady_s)
        else:
            self._report(Code.NEVER_SEEN, "/clock", now, "/clock: simulated time has not begun")

    def _ages(self, now: Now) -> None:
        for topic in (*REQUIRED, *OPTIONAL):
            self._age(topic, now)

    def _age(self, topic: str, now: Now) -> None:
        state = self._inputs[topic]
        code, monitor = state.rule.stale, self._monitor
        needed = topic in REQUIRED or self._phase in _MOVES_CARTONS
        age_s = state.age_s(now.steady_s)
        if age_s is None and needed:
            self._report(
                Code.NEVER_SEEN, topic, now, f"{topic}: not seen since start; {MEANINGS[Code.NEVER_SEEN].remedy}"
            )
            return
        monitor.withdraw(Code.NEVER_SEEN, topic, now.steady_s)
        limit_s = state.rule.max_age_s
        if needed and age_s is not None and age_s > limit_s:
            text = f"{topic}: {age_s:.3f} s old, allowed are {limit_s:g} s; {MEANINGS[code].remedy}"
            self._report(code, topic, now, text, age_s, limit_s, latency_s=age_s - limit_s)
        else:
            monitor.withdraw(code, topic, now.steady_s)

    # --- people ---

    @property
    def _loaded(self) -> bool:
        return self._load.holding or (self._broker is not None and self._broker.holding_carton)

    def _mass_kg(self) -> float:
        if not self._loaded:
            return 0.0
        return self._space.mass(self._broker.held_carton_ids if self._broker is not None else ())

    def _people(self, now: Now, latency_s: float = 0.0) -> None:
        if set(self._monitor.present(Code.NEVER_SEEN)) - {_LOOK}:
            self._guard.start_anew()
            self._looked.clear()
        if len(self._looked) < len(self._space.scanners):
            # Who stood there before everything was known must be found anew, before anything moves.
            self._report(
                Code.NEVER_SEEN, _LOOK, now, f"{_LOOK}: not looked with both scanners since all inputs are there"
            )
            self._monitor.withdraw(Code.PERSON_NEAR, "person", now.steady_s)
            return
        self._monitor.withdraw(Code.NEVER_SEEN, _LOOK, now.steady_s)
        oldest_s = min(self._inputs[topic].stamp_s for topic in self._space.scanners)
        finding = self._guard.assess(now, self._joints, oldest_s, self._mass_kg())
        if finding is None:
            self._monitor.withdraw(Code.PERSON_NEAR, "person", now.steady_s)
            return
        self._report(
            Code.PERSON_NEAR,
            "person",
            now,
            finding.text,
            self._guard.separation_m,
            finding.limit_m,
            effect=Effect.PROTECTIVE_STOP if finding.stop else Effect.REDUCE,
            latency_s=latency_s,
        )

    # --- decision ---

    def _moving(self) -> bool:
        return self._joints.moving or (
            self._broker is not None and self._broker.state in (BrokerState.EXECUTING, BrokerState.STOPPING)
        )

    def _report(
        self,
        code: Code,
        source: str,
        now: Now,
        text: str,
        value: float = 0.0,
        limit: float = 0.0,
        *,
        effect: Effect | None = None,
        latency_s: float = 0.0,
    ) -> None:
        self._monitor.report(
            code,
            source,
            now.steady_s,
            text=text,
            value=value,
            limit=limit,
            moving=self._table.causes[code].latch is Latch.MOVING and self._moving(),
            effect=effect,
            latency_s=latency_s,
        )

    def _decide(self, now: Now, always: bool) -> list[CoreEffect]:
        """Publish the permit: always at a tick, else only where it becomes narrower or the mode changes."""
        before = self._decided
        decision = self._monitor.decide(min(self._guard.scale, self._limit_of_operator))
        self._decided = decision
        changed = before is None or before.mode is not decision.mode
        if not (always or changed or (before is not None and decision.speed_scale < before.speed_scale - 0.01)):
            return []
        if decision.permitted and not always:
            # Between two ticks this process may have been stopped: nothing is granted on inputs that grew old meanwhile.
            self._ages(now)
            decision = self._decided = self._monitor.decide(min(self._guard.scale, self._limit_of_operator))
            changed = before is None or before.mode is not decision.mode
        effects: list[CoreEffect] = [Publish("safety/state", self._state(decision, now))]
        if changed:
            ids = (self._job_id, self._plan_id, self._request_id)
            effects.append(mode_event(before, decision, ids, self._guard.separation_m, self._guard.required_m))
        return effects

    def _state(self, decision: Decision, now: Now) -> SafetyState:
        self._sequence += 1
        state = SafetyState(
            stamp=to_time(now.system_s),
            permit_until=to_time(now.system_s + self._p.permit_s if decision.permitted else 0.0),
            monitor_id=self._id,
            sequence=self._sequence,
            mode=int(decision.mode),
            speed_scale=decision.speed_scale,
            causes=[cause_message(cause) for cause in decision.causes],
            separation_m=self._guard.separation_m,
            required_separation_m=self._guard.required_m,
            reaction_time_s=self._guard.reaction_s,
            last_reset_by=self._last_reset_by,
        )
        state.mac = permit_mac(self._key, state)
        return state

    def _diagnose(self, now: Now) -> list[CoreEffect]:
        """Every second, and when a cause comes or goes."""
        assert self._decided is not None
        told = tuple((int(cause.code), cause.source, cause.present) for cause in self._decided.causes)
        if told == self._told and now.steady_s - self._told_s < 1.0:
            return []
        self._told, self._told_s = told, now.steady_s
        return diagnostics(self._decided, self._inputs, self._guard.reaction_s, now.steady_s)

    def _store(self, now: Now) -> list[CoreEffect]:
        """What must outlive the process: after the permit, and only while nothing is permitted.

        The host waits for the disk: a permit that needs withdrawing must never wait behind that.
        """
        if self._decided is None or self._decided.permitted or now.steady_s < self._store_after_s:
            return []
        return list(self._records())

    def _records(self) -> list[Persist]:
        """Records that differ from what is stored; they count as stored from now on."""
        texts = {f"{cause.code.name} {cause.source}": cause.text for cause in self._monitor.latched}
        records = [
            Persist("latch", key, {"text": texts[key]} if key in texts else None)
            for key in sorted(self._keys | texts.keys())
            if self._unsure or (key in texts) != (key in self._stored)
        ]
        self._keys |= texts.keys()
        self._stored = frozenset(texts)
        limit = self._limit_of_operator
        if self._unsure or self._stored_limit != limit:
            self._stored_limit = limit
            records.append(Persist("limit", "operator", {"speed_scale": limit} if limit < 1.0 else None))
        self._unsure = False
        return records
