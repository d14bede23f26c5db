"""A stranger on the graph who wants motion: forged, altered, replayed, stale and far-lived permits by the hundred thousand.

The real monitor's state is a stop throughout, so that a single permit accepted is a motion granted by the stranger.
"""

import copy
import random
from collections import Counter
from dataclasses import dataclass, field

from lumper_msgs.msg import SafetyCause, SafetyState
from lumper_msgs.srv import ResetSafety

from lumper_motion.permit import Permit, PermitRules
from lumper_ros.auth import CommandVerifier, permit_mac, sign_command
from lumper_ros.convert import to_time
from lumper_ros.core import Now
from lumper_ros.virtual import SYSTEM_S

RULES = PermitRules(max_age_s=0.1, clock_tolerance_s=0.02, distrust_s=1.0)
PERIOD_S = 0.02


@dataclass(slots=True)
class Tally:
    """How many of each kind were tried, and which were believed."""

    tried: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)


def _at(time_s: float) -> Now:
    return Now(time_s, 1000.0 + time_s, SYSTEM_S + time_s)


def monitor_state(key: bytes | None, time_s: float, sequence: int, *, running: bool) -> SafetyState:
    """What the robot's own monitor publishes."""
    now_s = SYSTEM_S + time_s
    state = SafetyState(
        stamp=to_time(now_s),
        permit_until=to_time(now_s + 0.1 if running else 0.0),
        monitor_id=7,
        sequence=sequence,
        mode=SafetyState.RUN if running else SafetyState.PROTECTIVE_STOP,
        speed_scale=1.0 if running else 0.0,
        causes=[] if running else [SafetyCause(code=SafetyCause.STOP_CALLED, text="stop", present=True)],
        separation_m=2.0,
        required_separation_m=1.0,
        reaction_time_s=0.05,
    )
    state.mac = permit_mac(key, state)
    return state


class Stranger:
    """Hears everything, has no key."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.heard: list[SafetyState] = []

    def attempt(self, time_s: float, newest: SafetyState) -> tuple[str, SafetyState]:
        """One message, and what kind of lie it is."""
        rng, now_s = self._rng, SYSTEM_S + time_s
        kind = rng.choice(("forged", "unsigned", "own key", "altered", "replayed", "grown", "flipped"))
        state = copy.deepcopy(rng.choice(self.heard))
        if kind == "replayed":
            return kind, state
        if kind == "altered":
            # The genuine code of a genuine permit, other fields.
            what = rng.randrange(4)
            if what == 0:
                state.permit_until = to_time(now_s + 0.1)
                state.stamp = to_time(now_s)
            elif what == 1:
                state.sequence = newest.sequence + 1
                state.stamp, state.permit_until = to_time(now_s), to_time(now_s + 0.1)
            elif what == 2:
                state.monitor_id += 1
            else:
                state.speed_scale = 1.0
                state.sequence += 1
            return kind, state
        if kind == "flipped":
            state = copy.deepcopy(newest)
            state.mode, state.speed_scale = SafetyState.RUN, 1.0
            state.permit_until = to_time(now_s + 0.1)
            return kind, state
        state = monitor_state(None, time_s, newest.sequence + rng.randint(1, 50), running=True)
        if kind == "grown":
            state.mac = list(rng.randbytes(rng.choice((1, 31, 32, 33, 64))))
        elif kind == "own key":
            state.mac = permit_mac(rng.randbytes(32), state)
        elif kind == "forged":
            state.mac = list(rng.randbytes(32))
        return kind, state


def permits(count: int, seed: int) -> Tally:
    """`count` attempts at the broker's permit, while the real monitor says stop (and is dead in a third of the time)."""
    rng = random.Random(seed)
    key, stranger, tally = rng.randbytes(32), Stranger(rng), Tally()
    permit, time_s, sequence = Permit(RULES, key), 0.0, 0
    for _ in range(200):
        sequence, time_s = sequence + 1, time_s + PERIOD_S
        state = monitor_state(key, time_s, sequence, running=True)
        permit.receive(state, _at(time_s))
        stranger.heard.append(state)
    assert permit.now(_at(time_s)).valid
    newest = state
    time_s += 0.5
    for number in range(count):
        time_s += PERIOD_S / 4
        if number % 4 == 0 and (number // 5000) % 3:
            sequence += 1
            newest = monitor_state(key, time_s, sequence, running=False)
            permit.receive(newest, _at(time_s))
        kind, lie = stranger.attempt(time_s, newest)
        permit.receive(lie, _at(time_s))
        # The doubt that a lie raises would forbid motion by itself: it must not be what saves us.
        permit._distrust_until_s = float("-inf")
        tally.tried[kind] += 1
        tally.accepted[kind] += permit.now(_at(time_s + 1e-4)).valid
    return tally


def resets(count: int, seed: int) -> Tally:
    """`count` attempts to reset a stop without the key, or with a command heard before."""
    rng = random.Random(seed)
    key, tally, time_s = rng.randbytes(32), Tally(), 100.0
    verifier = CommandVerifier(key, 5.0, SYSTEM_S)
    heard = []
    for nonce in range(50):
        auth = sign_command(key, "safety/reset", {"reason": "looked"}, "Ada", SYSTEM_S + time_s, nonce)
        assert not verifier.check("safety/reset", {"reason": "looked"}, auth, SYSTEM_S + time_s)
        heard.append(auth)
    for _ in range(count):
        time_s += 0.001
        kind = rng.choice(("replayed", "renewed", "own key", "other command", "other reason"))
        auth = copy.deepcopy(rng.choice(heard))
        name, reason, now_s = "safety/reset", "looked", SYSTEM_S + time_s
        if kind == "renewed":
            auth.nonce, auth.stamp = rng.getrandbits(64), to_time(now_s)
        elif kind == "own key":
            auth = sign_command(rng.randbytes(32), name, {"reason": reason}, "Ada", now_s, rng.getrandbits(64))
        elif kind == "other command":
            name = "safety/speed_limit"
        elif kind == "other reason":
            reason, auth.nonce = "other", rng.getrandbits(64)
        request = ResetSafety.Request(reason=reason, auth=auth)
        tally.tried[kind] += 1
        tally.accepted[kind] += not verifier.check(name, {"reason": request.reason}, request.auth, now_s)
    return tally
