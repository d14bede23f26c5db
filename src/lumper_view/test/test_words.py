"""The robot's state in words: every code has words, and the most serious state is said first."""

import math

import pytest
import view_scenario as scenario
from hypothesis import given
from hypothesis import strategies as st
from lumper_msgs.msg import BrokerState, JobState, OutcomeCode, PlannedPick, RejectedCarton, SafetyCause, SafetyState

from lumper_view import words


def _constants(message: type, prefix: str = "", without: tuple[str, ...] = ()) -> dict[str, int]:
    named = {
        name: getattr(message, name)
        for name in dir(message)
        if name.isupper() and name.startswith(prefix) and name[0] != "_"
    }
    return {n: v for n, v in named.items() if isinstance(v, int) and not (without and n.startswith(without))}


@pytest.mark.parametrize(
    ("message", "prefix", "without", "table"),
    [
        (JobState, "", (), words.PHASES),
        (SafetyState, "", (), words.MODES),
        (SafetyCause, "", ("EFFECT",), words.CAUSES),
        (RejectedCarton, "", (), words.REASONS),
        (OutcomeCode, "", (), words.OUTCOMES),
        (BrokerState, "STAGE_", (), words.STAGES),
        (PlannedPick, "STROKE_", (), words.STROKES),
    ],
)
def test_every_code_has_words(message: type, prefix: str, without: tuple[str, ...], table: dict[int, str]) -> None:
    codes = set(_constants(message, prefix, without).values())
    assert codes, message
    assert codes == set(table)


def test_reduced_says_how_much_and_why() -> None:
    line = words.headline(
        scenario.safety(SafetyState.REDUCED, 0.4, 1.9), False, scenario.job(), False, scenario.conveyor()
    )
    assert line.title == "Picking"
    assert "Reduced to 40 %: person 1.9 m away" in line.why


def test_waiting_names_the_conveyor_where_the_job_gives_no_text() -> None:
    job = scenario.job(JobState.WAITING, text="")
    line = words.headline(scenario.safety(), False, job, False, scenario.conveyor(ready=False))
    assert (line.title, line.why) == ("Waiting", "conveyor jammed")


@pytest.mark.parametrize("phase", list(words.PHASES))
@pytest.mark.parametrize("mode", [SafetyState.PROTECTIVE_STOP, SafetyState.EMERGENCY_STOP])
def test_a_stop_hides_no_matter_what_the_job_does(mode: int, phase: int) -> None:
    line = words.headline(scenario.safety(mode), False, scenario.job(phase), False, None)
    assert line.tone is words.Tone.STOP
    assert "top" in line.title


@pytest.mark.parametrize("phase", list(words.PHASES))
def test_a_silent_monitor_is_said_before_all(phase: int) -> None:
    for state, silent in ((None, True), (scenario.safety(), True)):
        line = words.headline(state, silent, scenario.job(phase), False, None)
        assert line.tone is words.Tone.LOST and "safety" in line.why


def test_latched_stop_asks_for_a_reset_only_once_the_cause_is_gone() -> None:
    stopped = scenario.safety(SafetyState.PROTECTIVE_STOP)
    assert words.headline(stopped, False, None, True, None).why.endswith("Reset, then resume.")
    stopped.causes.append(
        SafetyCause(
            code=SafetyCause.SCAN_STALE,
            effect=SafetyCause.EFFECT_PROTECTIVE_STOP,
            text="scan/front silent",
            present=True,
        )
    )
    assert "Remove the cause first, then reset" in words.headline(stopped, False, None, True, None).why


@given(
    st.integers(0, 255),
    st.floats(width=32),
    st.floats(width=32),
    st.lists(st.integers(0, 2**32 - 1), max_size=8),
)
def test_rejection_takes_any_numbers(reason: int, figure: float, limit: float, because: list[int]) -> None:
    item = RejectedCarton(reason=reason, figure=figure, limit=limit, because_of=because)
    assert words.rejection(item)


@given(st.floats())
def test_durations_and_distances_take_any_number(value: float) -> None:
    assert words.minutes(value) and words.metres(value) and words.percent(value)


def test_separation() -> None:
    assert words.separation(scenario.safety(separation_m=math.inf)) == "nobody seen"
    assert words.separation(scenario.safety(separation_m=1.91)) == "nearest person 1.9 m, needs 1.2 m"
    assert words.separation(None) == "unknown"
