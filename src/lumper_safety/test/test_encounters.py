"""A sample of the benchmark's encounters; and a guard that is made blind to time is found out by the same simulation."""

import numpy as np
import pytest
from encounters import run_encounters

from lumper_safety.separation import SpeedScale


def test_separation_never_falls_below_sp_while_the_arm_moves() -> None:
    met = run_encounters(60, seed=11)
    print(f"seed 11: {met}")
    assert met.below == 0 and met.worst_margin_m >= 0.0
    assert 0.2 < met.moving_share < 0.98, "both moving and stopped"
    assert met.nearest_m < 1.5, "some came near"


def test_simulation_finds_a_scale_that_ignores_the_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = SpeedScale.largest

    def careless(self: SpeedScale, separation_m: float, lag_s: float, *more: float) -> float:
        return honest(self, separation_m, 0.0, *more)

    monkeypatch.setattr(SpeedScale, "largest", careless)
    assert run_encounters(40, seed=11).below > 0


def test_simulation_finds_a_scale_that_is_always_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpeedScale, "step", lambda self, steady_s, largest: 1.0)
    met = run_encounters(20, seed=11)
    assert met.below > 0 and np.isfinite(met.worst_margin_m)
