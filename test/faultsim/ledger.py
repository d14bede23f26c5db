"""What was run on the code as it is now, over as many runs as it took: a change of any source begins a new account."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "faults"
_ALWAYS = ("test/faultsim/*.py", "config/**/*", "msg/lumper_msgs/**/*")
# All that an outcome may depend on. In the light trailer neither perception nor the native libraries are at work.
PATTERNS = {
    "all": ("src/*/lumper_*/**/*.py", "native/*/*/**/*.?pp", *_ALWAYS),
    "seeds": (
        *(f"src/lumper_{name}/lumper_*/**/*.py" for name in ("bringup", "motion", "planner", "ros", "safety", "sim")),
        *_ALWAYS,
    ),
}


def _sources(what: str) -> Iterator[Path]:
    for pattern in PATTERNS[what]:
        yield from (path for path in sorted(ROOT.glob(pattern)) if path.is_file() and "__pycache__" not in path.parts)


def fingerprint(what: str = "all") -> str:
    """Of the sources, as hexadecimal digits. `what`: of `PATTERNS`."""
    total = hashlib.blake2b(digest_size=12)
    for path in _sources(what):
        total.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()


@dataclass(slots=True)
class Ledger:
    """Sums over the runs, of seeds (`what` = "seeds") or of fuzzing ("all"). Seeds are run from 1 on without a gap; fuzzing goes by
    numbered rounds."""

    what: str
    code: str
    runs: int = 0
    seeds: int = 0
    failed: dict[str, str] = field(default_factory=dict)  # seed -> what was broken
    injected: int = 0  # faults in clean seeds
    virtual_s: float = 0.0
    spent_s: float = 0.0  # CPU
    rounds: int = 0
    inputs: int = 0
    motions: int = 0
    fuzz_spent_s: float = 0.0
    crashes: dict[str, str] = field(default_factory=dict)  # where -> traceback

    def save(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        new = FOLDER / f"ledger_{self.what}.new"
        new.write_text(json.dumps(asdict(self), indent=1) + "\n")
        new.replace(new.with_suffix(".json"))


def load(what: str) -> Ledger:
    """The account of this very code; a new one where there is none."""
    code, file = fingerprint(what), FOLDER / f"ledger_{what}.json"
    if file.is_file():
        kept = json.loads(file.read_text())
        if kept["code"] == code:
            return Ledger(**kept)
    return Ledger(what, code)
