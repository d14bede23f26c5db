"""A load that jams the robot, and a person at the page who helps. Writes build/bench/help.json.

In the first row two cartons carry one that no gripper can hold: without either of the two it falls. Twice the same load: nobody
answers (each question is left to its safe choice), and a scripted operator in a real browser signs in, reads the question,
carries that carton off by hand (sim/fault take_away stands for the hands) and answers "I have moved it". The rest of the job
is the robot's own.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import results

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "test" / "system"), str(ROOT / "src" / "lumper_view" / "test")]

from chromium import CHROMIUM, Browser, Tab  # noqa: E402
from launched import Observer, start_demo  # noqa: E402

CARTONS, SEED, LOAD = 12, 1, "jammed"
HEAVY = CARTONS - 1
TOKEN = "hill-lamp-27"
# Long enough for the operator, short enough to see what happens without one.
QUESTION_LIMIT_S = 40.0
SHOT = ROOT / "build" / "screenshots" / "helped_job.png"


def configured(folder: Path) -> Path:
    """The configuration with a known token and a short time for questions."""
    config = folder / "config"
    shutil.copytree(ROOT / "config", config)
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    for node, name, value in (
        ("operator_panel", "token_file", str(token)),
        ("unload_planner", "question_limit_s", str(QUESTION_LIMIT_S)),
    ):
        (config / f"{node}.yaml").write_text(f"/**:\n  ros__parameters:\n    {name}: {value}\n")
    return config


def operate(browser: Browser, url: str, running: Callable[[], bool], carry_off: Callable[[], None]) -> int:
    """Sign in; carry the heavy carton off when the robot asks about it, and tell it; the number of answers."""
    tab: Tab = browser.open(url)
    tab.size(1000, 600)
    tab.wait_text("STOP")
    tab.type("Your name", "Anna Berg")
    tab.type("Token", TOKEN)
    tab.press("Sign in")
    tab.wait_text("Signed in as Anna Berg")
    answered = 0
    while running():
        try:
            if "I have moved carton" in tab.text():
                if not answered:
                    tab.screenshot(SHOT)
                    carry_off()
                tab.press("I have moved carton", 5.0)
                tab.wait("!document.body.innerText.includes('I have moved carton')", 10.0)
                answered += 1
        except AssertionError as late:
            # Closed meanwhile: looked at again.
            print(f"  {str(late).splitlines()[0]}")
        time.sleep(0.3)
    return answered


def job(folder: Path, browser: Browser | None) -> tuple[dict[str, Any], int]:
    """One job: its report, and answers given through the page."""
    folder.mkdir()
    report = folder / "report.json"
    words = ("--cartons", str(CARTONS), "--seed", str(SEED), "--load", LOAD, f"config:={configured(folder)}")
    demo, domain_id, page = start_demo(report, *words)
    see = Observer(domain_id)
    answered = 0

    def carry_off() -> None:
        assert see.call("sim/fault", name="take_away", args=[float(HEAVY)], duration_s=float("nan")).ok

    try:
        see.watch("assist/request")
        if browser is not None:
            see.wait(lambda: "assist/request" in see.newest or demo.poll() is not None, 200.0, "a question")
            answered = operate(browser, page, lambda: demo.poll() is None, carry_off)
        demo.wait()
    finally:
        demo.kill()
        see.close()
    return json.loads(report.read_text()), answered


def main() -> None:
    if CHROMIUM is None:
        print("  no chromium on this machine (Debian: apt-get install chromium): not measured")
        return
    with tempfile.TemporaryDirectory(prefix="lumper_bench_") as scratch:
        alone, _ = job(Path(scratch) / "alone", None)
        print(f"  alone: {alone['faults'] or 'success'}, {alone['physics']}", flush=True)
        with Browser(1000, 600) as browser:
            helped, answered = job(Path(scratch) / "helped", browser)
        print(f"  helped: {helped['faults'] or 'success'}, {helped['physics']}, {answered} answers", flush=True)
    what = f"{CARTONS} cartons, load {LOAD}, seed {SEED}; on the conveyor or carried off by the person ({helped['physics']['with_person']})"

    def fraction(report: dict[str, Any]) -> float:
        physics = report["physics"]
        return float((physics["delivered"] + physics["on_conveyor"] + physics["with_person"]) / physics["total"])

    results.write(
        "help",
        {
            "view.helped_delivered_fraction": {
                "value": fraction(helped),
                "unit": "1",
                "peer": fraction(alone),
                "note": f"{what}; {answered} of {helped.get('assists')} questions answered through the page in a real browser, "
                f"{helped.get('waiting_for_person_s', 0.0):.0f} s waited; job: {helped['faults'] or 'trailer empty'}; peer: nobody "
                f"answers: {alone['faults'] or 'trailer empty'}",
            }
        },
    )


if __name__ == "__main__":
    main()
