"""What the monitor says of its decisions: causes in the permit, events, diagnostics."""

from collections.abc import Mapping

from lumper_msgs.msg import SafetyCause

from lumper_ros.core import Diagnose, Emit, Severity
from lumper_ros.core import Effect as CoreEffect
from lumper_safety.causes import Code, Effect
from lumper_safety.monitor import Cause, Decision, Mode
from lumper_safety.watches import InputState

_SEVERITY = {
    Mode.STARTING: Severity.INFO,
    Mode.RUN: Severity.INFO,
    Mode.REDUCED: Severity.INFO,
    Mode.PROTECTIVE_STOP: Severity.WARN,
    Mode.EMERGENCY_STOP: Severity.ERROR,
}


def cause_message(cause: Cause) -> SafetyCause:
    """lumper_msgs/SafetyCause of a cause."""
    return SafetyCause(
        code=int(cause.code),
        effect=int(cause.effect),
        source=cause.source,
        text=cause.text,
        value=_finite(cause.value),
        limit=_finite(cause.limit),
        present=cause.present,
        latched=cause.latched,
    )


def _finite(value: float) -> float:
    """Floats that a float32 field takes; infinity stays."""
    return max(-3e38, min(3e38, value)) if value not in (float("inf"), float("-inf")) else value


def mode_event(
    before: Decision | None, after: Decision, ids: tuple[str, str, str], separation_m: float, required_m: float
) -> Emit:
    """The event of a change of mode, with causes, values, limits and the latency of the one that decided."""
    first = "start" if before is None else before.mode.name
    values: dict[str, str | float | int | bool] = {
        "from": first,
        "to": after.mode.name,
        "speed_scale": round(after.speed_scale, 3),
        "separation_m": round(separation_m, 3),
        "required_separation_m": round(required_m, 3),
        "causes": ", ".join(f"{cause.code.name}({cause.source})" for cause in after.causes),
    }
    for number, cause in enumerate(after.causes[:5]):
        values[f"cause_{number}"] = cause.code.name
        values[f"cause_{number}_value"] = cause.value
        values[f"cause_{number}_limit"] = cause.limit
        values[f"cause_{number}_latency_s"] = round(cause.latency_s, 4)
        values[f"cause_{number}_latched"] = cause.latched
    why = "; ".join(cause.text for cause in after.causes[:3]) or "no cause"
    text = f"{first} -> {after.mode.name}: {why}"
    job_id, plan_id, request_id = ids
    return Emit("safety.mode_changed", text, _SEVERITY[after.mode], job_id, plan_id, request_id, values)


def diagnostics(
    decision: Decision, inputs: Mapping[str, InputState], reaction_s: float, steady_s: float
) -> list[CoreEffect]:
    """One status for each cause, one for each input, one for the permit."""
    level = {Mode.RUN: 0, Mode.REDUCED: 1}.get(decision.mode, 2)
    result: list[CoreEffect] = [
        Diagnose(
            "permit",
            level,
            decision.mode.name,
            {"speed_scale": round(decision.speed_scale, 3), "reaction_time_s": round(reaction_s, 4)},
        )
    ]
    for code in Code:
        mine = [cause for cause in decision.causes if cause.code is code]
        if not mine:
            result.append(Diagnose(f"cause {code.name}", 0, "absent"))
            continue
        worst = max(1 if cause.effect is Effect.REDUCE else 2 for cause in mine)
        values: dict[str, str | float | int | bool] = {}
        for cause in mine:
            values[f"{cause.source} value"] = cause.value
            values[f"{cause.source} limit"] = cause.limit
            values[f"{cause.source} state"] = ("present" if cause.present else "over") + (
                ", latched" if cause.latched else ""
            )
        result.append(Diagnose(f"cause {code.name}", worst, "; ".join(cause.text for cause in mine), values))
    for topic, state in inputs.items():
        age_s = state.age_s(steady_s)
        stale = age_s is None or age_s > state.rule.max_age_s
        counts: dict[str, str | float | int | bool] = {
            "good": state.good,
            "malformed": state.malformed,
            "late": state.late,
            "out_of_order": state.out_of_order,
            "invalid_beams": state.invalid_beams,
            "max_age_s": state.rule.max_age_s,
        }
        text = "never seen" if age_s is None else f"{age_s:.3f} s old"
        result.append(Diagnose(f"input {topic}", 3 if stale else 0, text, counts))
    return result
