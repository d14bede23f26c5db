"""A stranger on the running graph: malformed messages, requests and goals over DDS at every node. None dies, nothing moves.

What a stranger could do with *well-formed* messages where DDS Security is off is in docs/threat-model.md.
"""

import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from launched import Observer
from lumper_msgs.msg import SafetyState
from rclpy.action import ActionClient

from lumper_ros import auth
from lumper_ros.interfaces import ACTIONS, MANAGER, SERVICES, SIM, TOPICS, resolve_type
from lumper_ros.qos import qos

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faultsim"))

from fuzz import captured
from malformed import pool

MESSAGES, POOL = 20_000, 60
# Of each kind so many are under way before the next is made: the robot's own messages must get through too.
BURST, PAUSE_S = 30, 0.01
RUNS = (SafetyState.RUN, SafetyState.REDUCED)


def attack(see: Observer, rng: random.Random) -> Counter[str]:
    """Send `MESSAGES` malformed messages to everything that the robot's nodes read or serve; how many of each kind left."""
    templates, ways = captured(), []

    def add(name: str, kind: Any, send: Callable[[Any], Any]) -> None:
        ways.append((name, send, pool(templates.get(name) or [kind()], POOL, rng)))

    for topic in TOPICS.values():
        if topic.subscribers:
            kind = resolve_type(topic.type)
            add(topic.name, kind, see.node.create_publisher(kind, topic.name, qos(topic.profile)).publish)
    for service in SERVICES.values():
        # The simulation stands for hardware: what it does on request is its own affair.
        if service.server != SIM:
            kind = resolve_type(service.type)
            add(service.name, kind.Request, see.node.create_client(kind, service.name).call_async)
    for action in ACTIONS.values():
        if action.server != SIM and action.name != "unload":
            kind = resolve_type(action.type)
            client: Any = ActionClient(see.node, kind, action.name)
            add(action.name, kind.Goal, client.send_goal_async)
    sent: Counter[str] = Counter()
    for number in range(MESSAGES):
        name, send, made = rng.choice(ways)
        # What cannot be serialised never reaches anybody.
        with suppress(AssertionError, TypeError, ValueError, OverflowError):
            send(rng.choice(made))
            sent[name] += 1
        if number % BURST == 0:
            time.sleep(PAUSE_S)
    return sent


@pytest.mark.timeout(300)
def test_malformed_messages_over_dds_kill_nobody_and_move_nothing(launch: Callable[..., Any], tmp_path: Path) -> None:
    seed = 5
    key = auth.create_key(tmp_path / "key")
    system = launch(cartons="20", authentication="true", key_file=str(tmp_path / "key"))
    see = system.observer
    see.watch("safety/state", "motion/state", "job/state")
    see.wait(lambda: "motion/state" in see.newest and "job/state" in see.newest, 90.0, "broker and planner")
    see.wait(lambda: see.newest["safety/state"].mode in RUNS, 60.0, "the permit")
    before, dispatched = system.processes(), see.newest["motion/state"].dispatched

    stranger = Observer(system.domain_id)
    try:
        sent = attack(stranger, random.Random(seed))
    finally:
        stranger.close()
    print(f"seed {seed}: {sent.total()} messages, {dict(sent)}")
    assert sent.total() > MESSAGES / 2 and len(sent) > 20
    # The robot's own word again, not the stranger's.
    heard = dict(see.counts)
    see.wait(
        lambda: all(see.counts[name] > heard[name] + 20 for name in ("motion/state", "safety/state")), 60.0, "the nodes"
    )
    after = system.processes()
    assert {name: process.pid for name, process in after.items()} == {
        name: process.pid for name, process in before.items()
    }
    assert MANAGER in after
    state = see.newest["motion/state"]
    assert state.dispatched == dispatched and state.dispatched_without_permit == 0

    def permitted() -> bool:
        if see.newest["safety/state"].mode in RUNS:
            return True
        values = {"reason": "the stranger is gone"}
        signed = auth.sign_command(key, "safety/reset", values, "Ada", time.time(), secrets.randbits(64))
        see.call("safety/reset", auth=signed, **values)
        return False

    see.wait(permitted, 60.0, "a reset by a person with the key to bring the permit back")
