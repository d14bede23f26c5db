"""The rules of the injections against the physics hold, and planted bugs break them."""

import pytest
from injections import Play, Tally
from mutants import MUTANTS, planted


def injected(seed: int, count: int) -> Tally:
    tally = Tally()
    Play(seed, 12, tally).run(count)
    print(f"seed {seed}: {tally}")
    return tally


def test_causes_at_random_moments_of_a_job_break_no_rule() -> None:
    tally = injected(3, 12)
    assert not tally.broken and tally.kept.total() >= 12 > tally.on_top > 0


@pytest.mark.parametrize(
    "name",
    [
        "the broker does not check the permit",
        "the broker goes on moving when the permit is lost",
        "the monitor does not notice silence",
        "the monitor does not heed the E-stop",
    ],
)
def test_a_planted_bug_breaks_a_rule(name: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    with planted(mutant):
        tally = injected(3, 25)
    assert tally.broken, tally
