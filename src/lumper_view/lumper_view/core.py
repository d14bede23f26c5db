"""The logic of both nodes: messages and presses in, markers, service calls and events out."""

import contextlib
import math
from dataclasses import dataclass, replace
from typing import Any

from lumper_ros.auth import MonitorFeed
from lumper_ros.convert import inverse, matrix_of, quaternion_of
from lumper_ros.core import NOTHING, Core, Diagnose, Effect, Effects, Emit, Now, Publish, Severity
from lumper_ros.robot import Robot, Trailer
from lumper_view import scene as sc
from lumper_view import words
from lumper_view.commands import Act, Press, call
from lumper_view.markers import MarkerBook
from lumper_view.panel_model import PanelModel
from lumper_view.parameters import MarkersParameters, PanelParameters
from lumper_view.placement import Placement
from lumper_view.sessions import (
    MAX_BROWSERS,
    MAX_REASON,
    MIN_REASON,
    RefusedError,
    Session,
    Sessions,
    check_text,
    plain,
)

SCAN_MAX_AGE_S = 0.5
STOP_REPEAT_S = 1.0
# A call can be lost while the nodes still find one another: a stop is called again until it is answered, for 10 s.
STOP_TRIES = 20
_STATES = frozenset(("plan", "job/state", "safety/state", "conveyor/state", "motion/state", "assist/request"))


class SceneKeeper:
    """The newest messages that matter for drawing, and the scene made of them. The wall is taken apart once a message."""

    def __init__(self, robot: Robot, trailer: Trailer) -> None:
        self.placement = Placement(robot, trailer)
        self.newest: dict[str, Any] = {}
        self.faults: tuple[str, ...] = ()
        self._shapes = sc.WallShapes(
            (), (), sc.NO_CARTONS.positions, sc.NO_CARTONS.quaternions, sc.NO_CARTONS.sizes, ()
        )
        self._held_in_tool: tuple[int, sc.Floats] | None = None
        self._cartons_key: object = None
        self._cartons = sc.NO_CARTONS

    def take(self, name: str, message: Any) -> bool:
        """Keep a message; whether it was one for the scene."""
        if name == "wall":
            self._shapes = sc.wall_shapes(message)
            self.faults = self._shapes.faults
        elif name in ("/tf", "/tf_static"):
            self.placement.transforms(message, name == "/tf_static")
            return True
        elif name == "joint_states":
            self.placement.joints(message)
            return True
        elif name.startswith("scan/"):
            self.placement.scan(name.replace("scan/", "scanner_"), message)
            return True
        elif name not in _STATES:
            return False
        self.newest[name] = message
        return True

    def scene(self, now: Now, links: dict[str, sc.Floats]) -> sc.Scene:
        """Everything to draw now; `links` as from Placement.links."""
        plan, wall, broker = (self.newest.get(name) for name in ("plan", "wall", "motion/state"))
        held = tuple(int(i) for i in broker.held_carton_ids) if broker is not None and broker.holding_carton else ()
        held_pose = self._held_pose(held, links)
        moved = None if held_pose is None else (held_pose[0].round(3).tobytes(), held_pose[1].round(3).tobytes())
        key = (id(self._shapes), id(plan), held, moved)
        if key != self._cartons_key:
            self._cartons_key = key
            self._cartons = sc.cartons_of(self._shapes, plan, held, held_pose)
        cartons = self._cartons
        return sc.Scene(
            cartons,
            sc.arrows_of(plan, wall, cartons),
            sc.unknown_of(wall),
            self.placement.people(cartons, links, now.ros_s, SCAN_MAX_AGE_S),
            sc.safety_field(self.newest.get("safety/state"), self.placement.arm_points(links)),
            sc.asked_of(self.newest.get("assist/request")),
        )

    def _held_pose(self, held: tuple[int, ...], links: dict[str, sc.Floats]) -> tuple[sc.Floats, sc.Floats] | None:
        """Where the held carton is: it moves with the tool from where the wall last saw it when it was taken."""
        tool = links.get("tool0")
        if len(held) != 1 or tool is None or held[0] not in self._shapes.ids:
            self._held_in_tool = None
            return None
        if self._held_in_tool is None or self._held_in_tool[0] != held[0]:
            row = self._shapes.ids.index(held[0])
            pose = matrix_of(self._shapes.positions[row], self._shapes.quaternions[row])
            self._held_in_tool = (held[0], inverse(tool) @ pose)
        pose = tool @ self._held_in_tool[1]
        return pose[:3, 3], quaternion_of(pose[:3, :3])


class MarkersCore(Core):
    """Node scene_markers: a MarkerArray at each tick in which something changed."""

    def __init__(self, parameters: MarkersParameters, robot: Robot, trailer: Trailer) -> None:
        self._parameters = parameters
        self._keeper = SceneKeeper(robot, trailer)
        self._book = MarkerBook()
        self._faults: tuple[str, ...] = ()

    def message(self, name: str, message: Any, now: Now) -> Effects:
        self._keeper.take(name, message)
        if name == "wall" and self._keeper.faults != self._faults:
            self._faults = self._keeper.faults
            return [wall_diagnosis(self._faults)]
        return NOTHING

    def tick(self, now: Now) -> Effects:
        keeper = self._keeper
        links = keeper.placement.links()
        base = keeper.placement.base()
        bodies = keeper.placement.base_bodies(base) if base is not None else ()
        scene = keeper.scene(now, links)
        array = self._book.update(scene, bodies, now.ros_s, now.steady_s, self._parameters.show_reasons)
        return NOTHING if array is None else [Publish("markers", array)]


def wall_diagnosis(faults: tuple[str, ...]) -> Diagnose:
    """Diagnostic status about cartons that cannot be drawn."""
    if not faults:
        return Diagnose("wall", 0, "every carton is shown")
    return Diagnose("wall", 1, f"{len(faults)} not shown; {faults[0]}", {"count": len(faults)})


@dataclass(slots=True)
class _Pending:
    press: Press
    operator: str
    repeat: bool = False
    tries: int = 1


class PanelCore(Core):
    """Node operator_panel without its web page: what is shown, who may command, and the commands as effects."""

    def __init__(
        self, parameters: PanelParameters, robot: Robot, trailer: Trailer, token: str, key: bytes | None
    ) -> None:
        self._parameters = parameters
        self.keeper = SceneKeeper(robot, trailer)
        self.model = PanelModel()
        self._monitor = MonitorFeed(key)
        self.sessions = Sessions(token)
        self.cloud: Any = None
        self._key = key
        self._pending: dict[str, _Pending] = {}
        self._stopped_s: dict[int, float] = {}
        self._count = 0
        self._refused = 0

    def message(self, name: str, message: Any, now: Now) -> Effects:
        if name == "points":
            self.cloud = message
            return NOTHING
        if name == "safety/state" and not self._monitor.takes(message):
            return NOTHING
        faults = self.keeper.faults
        self.keeper.take(name, message)
        if not (name in ("/tf", "/tf_static", "joint_states") or name.startswith("scan/")):
            self.model.take(name, message, now)
        else:
            self.model.heard(name, now)
        if self.keeper.faults != faults:
            return [wall_diagnosis(self.keeper.faults)]
        return NOTHING

    def connected(self, browser: int, address: str, now: Now) -> Effects:
        """A browser opened the page."""
        if len(self.sessions) >= MAX_BROWSERS:
            return [
                Emit(
                    "panel.refused",
                    f"More than {MAX_BROWSERS} browsers: {plain(address, 60)} only looks",
                    Severity.WARN,
                )
            ]
        self.sessions.connect(browser, address, now.steady_s)
        return NOTHING

    def disconnected(self, browser: int, now: Now) -> Effects:
        """A browser closed the page or lost its connection."""
        self.sessions.disconnect(browser)
        self._stopped_s.pop(browser, None)
        return NOTHING

    def press(self, press: Press, now: Now) -> Effects:
        """Somebody pressed something: checked, recorded, and sent on or refused with a sentence."""
        try:
            session = self.sessions.get(press.browser)
        except RefusedError as refusal:
            if press.act is not Act.STOP:
                return self._refuse(None, press, str(refusal), now)
            session = Session(press.browser, "unknown address")
        try:
            return self._accept(session, press, now)
        except RefusedError as refusal:
            return self._refuse(session, press, str(refusal), now)

    def _accept(self, session: Session, press: Press, now: Now) -> Effects:
        if press.act is Act.SIGN_IN:
            self.sessions.sign_in(session, press.name, press.token, now.steady_s)
            return self._tell(session, f"Signed in as {session.operator}.", True, "panel.signed_in")
        if press.act is Act.SIGN_OUT:
            name, session.operator = session.operator, ""
            return (
                self._tell(session, "Signed out. This page is read-only.", True, "panel.signed_out", name)
                if name
                else NOTHING
            )
        if press.act is Act.STOP:
            return self._stop(session, press, now)
        operator = self.sessions.require_operator(session, now.steady_s)
        question = None
        detail = ""
        if press.act is Act.RESET:
            operator = check_text(press.name or operator, "Who", 1, 40)
            press = _with_reason(press, check_text(press.reason, "Why", MIN_REASON, MAX_REASON))
            detail = f": {press.reason}"
        elif press.act is Act.LIMIT:
            if not (math.isfinite(press.speed) and 0.0 <= press.speed <= 1.0):
                raise RefusedError("Speed limit: must lie between 0 and 100 %.")
            detail = f" to {round(100 * press.speed)} %"
        elif press.act is Act.ANSWER:
            question = self._question_for(press)
            option = question.options[press.option]
            named = f" ({', '.join(map(str, sorted(set(press.carton_ids))))})" if option.choose_max else ""
            detail = f": {plain(option.text or option.key, 80)}{named}"
            self.model.answering[press.question_id] = operator
        return self._send(session, press, operator, question, detail, now)

    def _stop(self, session: Session, press: Press, now: Now) -> Effects:
        """Anybody may stop, signed in or not. One press is told several times: sent on each time, recorded once."""
        if any(p.press.act is Act.STOP and p.press.browser == press.browser for p in self._pending.values()):
            return NOTHING
        last_s = self._stopped_s.get(press.browser, -math.inf)
        self._stopped_s[press.browser] = now.steady_s
        return self._send(
            session, press, session.operator, None, "", now, repeat=now.steady_s - last_s <= STOP_REPEAT_S
        )

    def _stop_again(self, pending: _Pending, now: Now) -> Effects:
        self._count += 1
        tag = f"stop-{self._count}"
        self._pending[tag] = replace(pending, tries=pending.tries + 1)
        again = call(self._key, pending.press, tag, pending.operator, now.system_s, None)
        if pending.tries > 1:
            return [again]
        words = "Stop: no answer yet, it is being sent again. Use the emergency stop."
        with contextlib.suppress(RefusedError):
            session = self.sessions.get(pending.press.browser)
            session.notice, session.notice_good = words, False
        return [again, Emit("panel.not_accepted", words, Severity.WARN, self._job_id(), values={"tag": tag})]

    def _question_for(self, press: Press) -> Any:
        """The open question that an answer is meant for.

        Raises:
            RefusedError: closed meanwhile, another one is open, somebody else is answering, or no such option.
        """
        if press.question_id in self.model.closed:
            raise RefusedError(f"This question is closed, {self.model.closed[press.question_id]}.")
        question = self.model.open_question()
        if question is None or question.question_id != press.question_id:
            raise RefusedError("This question is not open any more.")
        other = self.model.answering.get(press.question_id)
        if other is not None:
            raise RefusedError(f"{other} is answering this question right now.")
        if not 0 <= press.option < len(question.options):
            raise RefusedError("This question has no such option.")
        option = question.options[press.option]
        named = set(press.carton_ids)
        if option.choose_max and not (
            option.choose_min <= len(named) <= option.choose_max and named <= set(option.carton_ids)
        ):
            raise RefusedError(
                f"Say which cartons: {words.how_many(option.choose_min, option.choose_max)} of those shown."
            )
        return question

    def _send(
        self,
        session: Session,
        press: Press,
        operator: str,
        question: Any,
        detail: str,
        now: Now,
        repeat: bool = False,
    ) -> Effects:
        self._count += 1
        tag = f"{press.act.name.lower()}-{self._count}"
        service = call(self._key, press, tag, operator, now.system_s, question)
        self._pending[tag] = _Pending(press, operator, repeat)
        who = operator or session.who()
        if repeat:
            return [service]
        session.notice, session.notice_good = f"Sent: {press.act.value}{detail}", True
        record = Emit(
            "panel.command",
            f"{who}: {press.act.value}{detail}",
            Severity.INFO,
            job_id=self._job_id(),
            values={"who": who, "command": press.act.value, "address": session.address, "tag": tag},
        )
        return [service, record]

    def service_result(self, name: str, tag: str, response: Any | None, now: Now) -> Effects:
        pending = self._pending.pop(tag, None)
        if pending is None:
            return NOTHING
        press = pending.press
        if response is None and press.act is Act.STOP and pending.tries < STOP_TRIES:
            return self._stop_again(pending, now)
        if response is None:
            good, text = False, f"No answer from {name}: the robot may be restarting. Look at the health list."
        else:
            good = bool(getattr(response, "accepted", getattr(response, "success", False)))
            text = plain(getattr(response, "text", getattr(response, "message", "")), 300)
        if press.act is Act.ANSWER:
            self.model.answering.pop(press.question_id, None)
        if press.act is Act.LIMIT and good:
            self.model.limit = press.speed
        if pending.repeat and good and pending.tries == 1:
            return NOTHING
        words = f"{press.act.value.capitalize()}: {'done' if good else 'refused'}{'. ' + text if text else '.'}"
        effects: list[Effect] = []
        try:
            session = self.sessions.get(press.browser)
            session.notice, session.notice_good = words, good
            who = pending.operator or session.who()
        except RefusedError:
            who = pending.operator or f"browser {press.browser}"
        code = "panel.accepted" if good else "panel.not_accepted"
        values = {"who": who, "command": press.act.value, "tag": tag}
        effects.append(
            Emit(code, f"{who}: {words}", Severity.INFO if good else Severity.WARN, self._job_id(), values=values)
        )
        return effects

    def _refuse(self, session: Session | None, press: Press, sentence: str, now: Now) -> Effects:
        self._refused += 1
        diagnosis = Diagnose(
            "commands", 0, f"{self._refused} refused since start; last: {sentence}", {"refused": self._refused}
        )
        if session is None:
            return [diagnosis]
        session.notice, session.notice_good = sentence, False
        before = self.sessions.may_record(session, now.steady_s)
        if before is None:
            return [diagnosis]
        who = session.who()
        values = {"who": who, "command": press.act.value, "address": session.address, "unrecorded_before": before}
        typed = f" (typed as name: {plain(press.name, 40)})" if press.name and press.act is Act.SIGN_IN else ""
        text = f"{who}: {press.act.value} refused{typed}. {sentence}"
        return [Emit("panel.refused", text, Severity.WARN, self._job_id(), values=values), diagnosis]

    def _tell(self, session: Session, sentence: str, good: bool, code: str, who: str = "") -> Effects:
        session.notice, session.notice_good = sentence, good
        name = who or session.who()
        return [Emit(code, f"{name}: {sentence}", values={"who": name, "address": session.address})]

    def _job_id(self) -> str:
        job = self.model.newest.get("job/state")
        return "" if job is None else str(job.job_id)


def _with_reason(press: Press, reason: str) -> Press:
    return Press(press.browser, press.act, press.nonce, name=press.name, reason=reason)
