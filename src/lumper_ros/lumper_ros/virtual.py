"""A whole graph of cores in one process under a virtual clock: the same objects that the live nodes host, no rclpy.

Everything that happens is an event on one queue, ordered by virtual time and then by the order of its making: the same cores,
seed and transport give the same run, bit for bit. `Transport` says how long each message is under way and how often it
arrives; a fault simulator replaces it. What the live host promises holds here as well: a record is kept before what follows
it is done, and each goal and each call ends exactly once for its client.
"""

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lumper_ros import core as c
from lumper_ros import interfaces
from lumper_ros.interfaces import Profile

# As the live clients do: see lumper_ros.clients.
SERVER_WAIT_S = 1.0
ACCEPT_TIMEOUT_S = 3.0
# A killed server stays on the graph for its lease; a new one shows at once.
LEASE_S = 10.0
# CLOCK_REALTIME at virtual time 0.
SYSTEM_S = 1_800_000_000.0
RESULTS_KEPT = 64
_LATCHED = {Profile.LATCHED: 1, Profile.EVENTS: 1000, Profile.TF_STATIC: 100}
# What a reader that does not read keeps, per writer.
_DEPTH = {
    Profile.SENSOR: 1,
    Profile.CLOUD: 5,
    Profile.RELIABLE: 5,
    Profile.RELIABLE_1: 1,
    Profile.LATCHED: 1,
    Profile.EVENTS: 1000,
    Profile.PERMIT: 1,
    Profile.TF: 100,
    Profile.TF_STATIC: 100,
    Profile.CLOCK: 1,
    Profile.STANDARD: 10,
}
# An older permit is not delivered any more.
_LIFESPAN_S = {Profile.PERMIT: 0.1}

Tap = Callable[[float, str, c.Effect], None]
Heard = Callable[[float, str, str, Any], None]
Step = Callable[[Any, c.Now], c.Effects]


class CoreError(Exception):
    """A core raised an exception: a defect. The text names the node; the cause is the exception."""


class Transport(Protocol):
    """How messages travel. All times in s."""

    def topic(self, name: str, source: str, target: str) -> Sequence[float]:
        """Delays of the copies that arrive; empty = lost. Reliable topics lose nothing while both ends live."""
        ...

    def request(self, name: str, source: str, target: str) -> float:
        """Delay of a goal, cancel, result, service request or response: these are reliable."""
        ...

    def compute(self, node: str, tag: str) -> float:
        """How long a `Compute` takes."""
        ...

    def persist_fails(self, node: str, kind: str, key: str) -> str:
        """Why a record cannot be written now; empty = it can."""
        ...


class PlainTransport:
    """A quiet machine: everything arrives once, after a fixed time."""

    def __init__(self, delay_s: float = 0.002, compute_s: float = 0.02) -> None:
        self._delay_s = delay_s
        self._compute_s = compute_s

    def topic(self, name: str, source: str, target: str) -> Sequence[float]:
        return (self._delay_s,)

    def request(self, name: str, source: str, target: str) -> float:
        return self._delay_s

    def compute(self, node: str, tag: str) -> float:
        return self._compute_s

    def persist_fails(self, node: str, kind: str, key: str) -> str:
        return ""


@dataclass(slots=True)
class _ClientGoal:
    server: str
    server_life: int
    answered: bool = False
    cancel_wanted: bool = False


@dataclass(slots=True)
class _Member:
    """One node: its core of the present life, and what outlives it."""

    name: str
    build: Callable[[], c.Core]
    tick_hz: float
    uses_sim_time: bool
    core: c.Core | None = None
    life: int = 0
    frozen: bool = False
    clock_s: float = 0.0
    steady_offset_s: float = 0.0
    steady_drift: float = 0.0
    system_offset_s: float = 0.0
    worker_free_s: float = -math.inf
    backlog: list[tuple[tuple[str, str] | None, Callable[[], None]]] = field(default_factory=list)
    store: dict[str, dict[str, Mapping[str, Any]]] = field(default_factory=dict)
    served: dict[tuple[str, str], str] = field(default_factory=dict)
    results: dict[tuple[str, str], tuple[c.GoalStatus, Any]] = field(default_factory=dict)
    waiting: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    goals: dict[tuple[str, str], _ClientGoal] = field(default_factory=dict)
    calls: dict[tuple[str, str], int] = field(default_factory=dict)
    response: Any = None
    event_sequence: int = 0


class VirtualGraph:
    """Nodes, topics, services, actions and stores under one virtual clock."""

    def __init__(self, transport: Transport | None = None, tap: Tap | None = None, heard: Heard | None = None) -> None:
        """
        Args:
            tap: told of every effect before it is carried out: (virtual time in s, node, effect). It may kill the node.
            heard: told of every message before a core takes it: (virtual time in s, node, topic, message).
        """
        self.now_s = 0.0
        self.transport: Transport = transport or PlainTransport()
        self._tap = tap
        self._heard = heard
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._members: dict[str, _Member] = {}
        self._latched: dict[str, list[tuple[str, Any]]] = {}
        self.steps = 0

    # --- members ---

    def add(self, name: str, build: Callable[[], c.Core], tick_hz: float, *, uses_sim_time: bool = True) -> None:
        """Declare a node of the interface table; `start` brings it to life."""
        self._members[name] = _Member(name, build, tick_hz, uses_sim_time)

    def start(self, name: str) -> None:
        """A new life of a node: built, restored from its store, activated; latched messages are on their way to it."""
        member = self._members[name]
        assert member.core is None, f"{name} lives already"
        member.core = member.build()
        member.life += 1
        member.frozen = False
        member.clock_s = 0.0
        member.worker_free_s = -math.inf
        life = member.life
        records = {kind: dict(rows) for kind, rows in member.store.items()}
        self._step(member, lambda core, now: core.restore(records, now))
        self._step(member, lambda core, now: core.activate(now))
        for topic in interfaces.subscribed_by(name):
            for source, message in self._latched.get(topic.name, ()):
                self._deliver(topic.name, source, member, message)
        self._lose_goals(name, life)
        self._tick(member, life)

    def kill(self, name: str) -> None:
        """SIGKILL: nothing of this life is carried out any more; the store stays."""
        member = self._members[name]
        member.core = None
        member.frozen = False
        member.backlog.clear()
        for table in (member.served, member.results, member.waiting, member.goals, member.calls):
            table.clear()
        # A latched sample lives in its writer.
        for topic in interfaces.published_by(name):
            kept = [entry for entry in self._latched.get(topic.name, ()) if entry[0] != name]
            self._latched[topic.name] = kept
        life = member.life
        self.at(self.now_s + LEASE_S, lambda: self._lose_goals(name, life + 1))

    def freeze(self, name: str) -> None:
        """SIGSTOP: inputs wait."""
        self._members[name].frozen = True

    def thaw(self, name: str) -> None:
        """SIGCONT: what waited comes now, in order."""
        member = self._members[name]
        member.frozen = False
        backlog, member.backlog = member.backlog, []
        for _, arrived in backlog:
            arrived()

    def alive(self, name: str) -> bool:
        return self._members[name].core is not None

    def core(self, name: str) -> Any:
        """The core of the present life."""
        found = self._members[name].core
        assert found is not None, f"{name} is dead"
        return found

    def life(self, name: str) -> int:
        """How often the node was started."""
        return self._members[name].life

    def serving(self, name: str) -> list[tuple[str, str]]:
        """Goals that a node has taken and not ended: (action, goal id)."""
        return list(self._members[name].served)

    def frozen(self, name: str) -> bool:
        return self._members[name].frozen

    def store(self, name: str) -> dict[str, dict[str, Mapping[str, Any]]]:
        return self._members[name].store

    def skew(self, name: str, *, steady_drift: float = 0.0, system_offset_s: float = 0.0) -> None:
        """Make a node's clocks wrong: its steady clock runs faster by a fraction, its wall clock is ahead by so much."""
        member = self._members[name]
        member.steady_offset_s += self.now_s * (member.steady_drift - steady_drift)
        member.steady_drift, member.system_offset_s = steady_drift, system_offset_s

    # --- time ---

    def at(self, time_s: float, happen: Callable[..., None], *args: Any) -> None:
        """Have something happen at a virtual time."""
        heapq.heappush(self._queue, (max(time_s, self.now_s), next(self._order), happen, args))

    def run(self, until_s: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass until `until_s`, or until `done()` after an event; True = done."""
        while self._queue and self._queue[0][0] <= until_s:
            self.now_s, _, happen, args = heapq.heappop(self._queue)
            self.steps += 1
            happen(*args)
            if done():
                return True
        self.now_s = until_s
        return False

    def now_of(self, name: str) -> c.Now:
        """The three clocks as a node reads them."""
        member = self._members[name]
        steady_s = 1000.0 + member.steady_offset_s + self.now_s * (1.0 + member.steady_drift)
        system_s = SYSTEM_S + self.now_s + member.system_offset_s
        return c.Now(member.clock_s if member.uses_sim_time else system_s, steady_s, system_s)

    def call(self, name: str, step: Step) -> None:
        """Run a step of a node's core now and carry out what it returns, as the live host's `inject` does."""
        self._step(self._members[name], step)

    def _tick(self, member: _Member, life: int) -> None:
        if member.life != life or member.core is None:
            return
        if not member.frozen:
            self._step(member, _tick_of)
        self.at(self.now_s + 1.0 / member.tick_hz, self._tick, member, life)

    # --- steps of a core ---

    def _step(self, member: _Member, step: Step) -> None:
        if member.core is None:
            return
        if member.frozen:
            member.backlog.append((None, lambda: self._step(member, step)))
            return
        try:
            effects = step(member.core, self.now_of(member.name))
        except Exception as error:
            raise CoreError(f"{member.name} at {self.now_s:.3f} s: {type(error).__name__}: {error}") from error
        if effects:
            self._carry_out(member, effects)

    def _later(self, delay_s: float, member: _Member, step: Step) -> None:
        """A step of the present life after a delay."""
        self.at(self.now_s + delay_s, self._arrive, member, member.life, step)

    def _arrive(self, member: _Member, life: int, step: Step) -> None:
        if member.life == life:
            self._step(member, step)

    def _carry_out(self, member: _Member, effects: c.Effects) -> None:
        life = member.life
        for effect in list(effects):
            if self._tap is not None and member.core is not None:
                self._tap(self.now_s, member.name, effect)
            if member.core is None or member.life != life:
                return
            match effect:
                case c.Publish(name, message):
                    self._publish(member, name, message)
                case c.Persist(kind, key, record):
                    if not self._persist(member, kind, key, record):
                        return
                case c.SendGoal(name, goal_id, goal):
                    self._send(member, name, goal_id, goal, self.now_s + SERVER_WAIT_S)
                case c.CancelGoal(name, goal_id):
                    self._cancel(member, name, goal_id)
                case c.FinishGoal():
                    self._finish(member, effect)
                case c.Feedback(name, goal_id, feedback):
                    self._feed_back(member, name, goal_id, feedback)
                case c.CallService(name, tag, request, timeout_s):
                    self._call_service(member, name, tag, request, timeout_s)
                case c.Respond(response):
                    member.response = response
                case c.Compute(tag, function):
                    self._compute(member, tag, function)
                case c.Emit() | c.Diagnose():
                    pass

    def _compute(self, member: _Member, tag: str, function: Callable[[], Any]) -> None:
        begin_s = max(self.now_s, member.worker_free_s)
        member.worker_free_s = begin_s + self.transport.compute(member.name, tag)

        def finished(core: c.Core, now: c.Now) -> c.Effects:
            try:
                result = function()
            except Exception as error:  # the live host hands it on as well
                result = error
            return core.computed(tag, result, now)

        self._later(member.worker_free_s - self.now_s, member, finished)

    def _persist(self, member: _Member, kind: str, key: str, record: Mapping[str, Any] | None) -> bool:
        error = self.transport.persist_fails(member.name, kind, key)
        if error:
            self._step(member, lambda core, now: core.persist_failed(kind, key, error, now))
            return False
        rows = member.store.setdefault(kind, {})
        if record is None:
            rows.pop(key, None)
        else:
            # Through the same text form as on disk, so that nothing lives on by reference.
            rows[key] = _plain(record)
        return True

    # --- topics ---

    def publish(self, name: str, source: str, message: Any) -> None:
        """Publish on a topic as `source`, which need not be a member."""
        topic = interfaces.TOPICS[name]
        depth = _LATCHED.get(topic.profile, 0)
        if depth:
            kept = self._latched.setdefault(name, [])
            kept.append((source, message))
            own = [entry for entry in kept if entry[0] == source]
            if len(own) > depth:
                kept.remove(own[0])
        for target in self._readers(topic):
            self._deliver(name, source, target, message)

    def _publish(self, member: _Member, name: str, message: Any) -> None:
        if name == "/clock":
            stamp_s = message.clock.sec + message.clock.nanosec * 1e-9
            member.clock_s = stamp_s
            for other in self._members.values():
                if other.uses_sim_time and other is not member:
                    for delay_s in self.transport.topic(name, member.name, other.name):
                        self._later(delay_s, other, _set_clock(other, stamp_s))
            return
        self.publish(name, member.name, message)

    def _readers(self, topic: interfaces.Topic) -> Iterable[_Member]:
        return [
            self._members[name]
            for name in topic.subscribers
            if name in self._members and self._members[name].core is not None
        ]

    def _deliver(self, name: str, source: str, target: _Member, message: Any) -> None:
        for delay_s in self.transport.topic(name, source, target.name):
            self.at(self.now_s + delay_s, self._hear, target, target.life, name, source, message, self.now_s)

    def _hear(self, target: _Member, life: int, name: str, source: str, message: Any, sent_s: float) -> None:
        if target.life != life or target.core is None:
            return
        profile = interfaces.TOPICS[name].profile
        if self.now_s - sent_s > _LIFESPAN_S.get(profile, math.inf):
            return
        if target.frozen:
            key = (name, source)
            waiting = [entry for entry in target.backlog if entry[0] == key]
            if len(waiting) >= _DEPTH[profile]:
                target.backlog.remove(waiting[0])
            target.backlog.append((key, lambda: self._hear(target, life, name, source, message, sent_s)))
            return
        if self._heard is not None:
            self._heard(self.now_s, target.name, name, message)
        self._step(target, lambda core, now: core.message(name, message, now))

    # --- services ---

    def _call_service(self, member: _Member, name: str, tag: str, request: Any, timeout_s: float) -> None:
        life = member.life
        member.calls[name, tag] = life

        def answer(response: Any) -> None:
            if member.life == life and member.calls.pop((name, tag), None) is not None:
                self._step(member, lambda core, now: core.service_result(name, tag, response, now))

        def serve() -> None:
            server = self._members.get(interfaces.SERVICES[name].server)
            if server is None or server.core is None:
                return
            if server.frozen:
                server.backlog.append((None, serve))
                return
            response = self._serve(server, name, request)
            self.at(self.now_s + self.transport.request(name, server.name, member.name), lambda: answer(response))

        self.at(self.now_s + self.transport.request(name, member.name, name), serve)
        self.at(self.now_s + timeout_s, lambda: answer(None))

    def call_service(self, name: str, request: Any) -> Any:
        """Call a service from outside the graph; the response, or None when its server is dead or frozen."""
        server = self._members[interfaces.SERVICES[name].server]
        return None if server.core is None or server.frozen else self._serve(server, name, request)

    def _serve(self, server: _Member, name: str, request: Any) -> Any:
        server.response = None
        self._step(server, lambda core, now: core.service(name, request, now))
        return server.response

    # --- actions ---

    def _send(self, client: _Member, name: str, goal_id: str, goal: Any, until_s: float) -> None:
        key, life = (name, goal_id), client.life
        entry = client.goals.setdefault(key, _ClientGoal("", 0))

        def leave() -> None:
            server = self._members.get(interfaces.ACTIONS[name].server)
            if client.life != life or client.core is None or client.goals.get(key) is not entry:
                return
            if server is not None and server.core is not None:
                delay_s = self.transport.request(name, client.name, server.name)
                self.at(self.now_s + delay_s, arrive, server, server.life)
                self.at(self.now_s + ACCEPT_TIMEOUT_S, give_up)
            elif self.now_s >= until_s:
                self._end_goal(client, key, c.GoalStatus.UNAVAILABLE, None)
            else:
                self.at(self.now_s + 0.2, leave)

        def arrive(server: _Member, server_life: int) -> None:
            if server.life != server_life or server.core is None:
                return
            if server.frozen:
                server.backlog.append((None, lambda: arrive(server, server_life)))
                return
            # What is on its way arrives, whatever became of its client.
            entry.server, entry.server_life = server.name, server.life
            self._take_goal(server, client, key, goal)

        def give_up() -> None:
            if client.life == life and client.goals.get(key) is entry and not entry.answered:
                self._end_goal(client, key, c.GoalStatus.UNAVAILABLE, None)

        leave()

    def _take_goal(self, server: _Member, client: _Member, key: tuple[str, str], goal: Any) -> None:
        name, goal_id = key
        if key in server.results:
            # A server that has done this id already gives its result once more.
            status, result = server.results[key]
            self._answer_goal(server, client, key, status, result)
            return
        server.waiting.setdefault(key, set()).add(client.name)
        if key in server.served:
            return
        server.served[key] = client.name

        def accepted(core: Any, now: c.Now) -> c.Effects:
            entry = client.goals.get(key)
            if entry is None:
                return c.NOTHING
            entry.answered = True
            accept: c.Effects = core.goal_accepted(name, goal_id, now)
            return accept

        self._later(self.transport.request(name, server.name, client.name), client, accepted)
        self._step(server, lambda core, now: core.goal(name, goal_id, goal, now))
        entry = client.goals.get(key)
        if entry is not None and entry.cancel_wanted:
            self._cancel(client, name, goal_id)

    def _cancel(self, client: _Member, name: str, goal_id: str) -> None:
        key = (name, goal_id)
        entry = client.goals.get(key)
        if entry is None:
            return
        entry.cancel_wanted = True
        if not entry.server:
            return
        server = self._members[entry.server]
        if server.life == entry.server_life:
            self._later(
                self.transport.request(name, client.name, server.name),
                server,
                lambda core, now: core.cancel(name, goal_id, now) if key in server.served else c.NOTHING,
            )

    def _finish(self, server: _Member, effect: c.FinishGoal) -> None:
        key = (effect.name, effect.goal_id)
        if server.served.pop(key, None) is None:
            return
        server.results[key] = (effect.status, effect.result)
        while len(server.results) > RESULTS_KEPT:
            del server.results[next(iter(server.results))]
        for name in sorted(server.waiting.pop(key, ())):
            self._answer_goal(server, self._members[name], key, effect.status, effect.result)

    def _answer_goal(
        self, server: _Member, client: _Member, key: tuple[str, str], status: c.GoalStatus, result: Any
    ) -> None:
        life = client.life

        def arrive() -> None:
            if client.life == life:
                self._end_goal(client, key, status, result)

        self.at(self.now_s + self.transport.request(key[0], server.name, client.name), arrive)

    def _end_goal(self, client: _Member, key: tuple[str, str], status: c.GoalStatus, result: Any) -> None:
        if client.frozen:
            client.backlog.append((None, lambda: self._end_goal(client, key, status, result)))
            return
        if client.goals.pop(key, None) is not None:
            self._step(client, lambda core, now: core.goal_result(key[0], key[1], status, result, now))

    def _feed_back(self, server: _Member, name: str, goal_id: str, feedback: Any) -> None:
        client = self._members.get(server.served.get((name, goal_id), ""))
        if client is not None and (name, goal_id) in client.goals:
            self._later(
                self.transport.request(name, server.name, client.name),
                client,
                lambda core, now: core.goal_feedback(name, goal_id, feedback, now),
            )

    def _lose_goals(self, server: str, life: int) -> None:
        """The clients of a server's earlier lives learn that their goals are lost."""
        for client in self._members.values():
            for key, entry in list(client.goals.items()):
                if entry.server == server and entry.server_life < life and client.core is not None:
                    self._end_goal(client, key, c.GoalStatus.LOST, None)


def _tick_of(core: Any, now: c.Now) -> c.Effects:
    effects: c.Effects = core.tick(now)
    return effects


def _set_clock(member: _Member, stamp_s: float) -> Callable[[Any, c.Now], c.Effects]:
    def step(core: Any, now: c.Now) -> c.Effects:
        member.clock_s = stamp_s
        return c.NOTHING

    return step


def _plain(record: Mapping[str, Any]) -> Mapping[str, Any]:
    import json

    made: Mapping[str, Any] = json.loads(json.dumps(record, sort_keys=True))
    return made
