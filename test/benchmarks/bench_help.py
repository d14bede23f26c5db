"""A load that the robot cannot empty alone, and empties with a person at the page. Writes build/bench/help.json.

The cups do not seal until the robot asks about a carton; then they do again, as if somebody had wiped them. Twice the same
load: nobody answers (each question is left to its safe choice), and a scripted operator in a real browser signs in, reads the
question and answers "try again". The rest of the job is the robot's own.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import results

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "test" / "system"), str(ROOT / "src" / "lumper_view" / "test")]

from chromium import CHROMIUM, Browser, Tab  # noqa: E402
from launched import Observer, start_demo  # noqa: E402

CARTONS, SEED = 12, 3
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


def operate(browser: Browser, url: str, running: Callable[[], bool]) -> int:
    """Sign in and answer every question about a carton with "try again"; the number of answers."""
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
            if "try carton" in tab.text():
                if not answered:
                    tab.screenshot(SHOT)
                tab.press("try carton", 5.0)
                tab.wait("!document.body.innerText.includes('try carton')", 10.0)
                answered += 1
        except AssertionError as late:
            # Closed meanwhile: looked at again.
            print(f"  {str(late).splitlines()[0]}")
        time.sleep(0.3)
    return answered


def job(folder: Path, browser: Browser | None) -> tuple[dict[str, Any], int]:
    """One job whose first grasps do not seal: its report, and answers given through the page."""
    folder.mkdir()
    report = folder / "report.json"
    demo, domain_id, page = start_demo(
        report, "--cartons", str(CARTONS), "--seed", str(SEED), f"config:={configured(folder)}"
    )
    see = Observer(domain_id)
    answered = 0
    try:
        see.watch("assist/request")
        assert see.call("sim/fault", 60.0, name="seal", args=[0.0], duration_s=float("nan")).ok
        hands = threading.Thread(target=lambda: _wipe(see, demo))
        hands.start()
        if browser is not None:
            see.wait(lambda: "assist/request" in see.newest or demo.poll() is not None, 200.0, "a question")
            answered = operate(browser, page, lambda: demo.poll() is None)
        demo.wait()
        hands.join()
    finally:
        demo.kill()
        see.close()
    return json.loads(report.read_text()), answered


def _wipe(see: Observer, demo: "subprocess.Popen[str]") -> None:
    """Once the robot has asked, the cups seal again."""
    while demo.poll() is None:
        if "assist/request" in see.newest:
            assert see.call("sim/fault", name="seal", args=[1.0], duration_s=float("nan")).ok
            return
        time.sleep(0.2)


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
    what = f"{CARTONS} mixed cartons, seed {SEED}; the cups do not seal until the robot asks"

    def fraction(report: dict[str, Any]) -> float:
        physics = report["physics"]
        return float((physics["delivered"] + physics["on_conveyor"]) / physics["total"])

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
