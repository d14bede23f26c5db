"""What was run on the code as it is now, over as many runs as it took: a change of any source begins a new account."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "build" / "faults" / "ledger.json"


def _sources() -> Iterator[Path]:
    """All that a seed's or an input's outcome may depend on."""
    patterns = (
        "src/*/lumper_*/**/*.py",
        "native/*/*/**/*.?pp",
        "test/faultsim/*.py",
        "config/**/*",
        "msg/lumper_msgs/**/*",
    )
    for pattern in patterns:
        yield from (path for path in sorted(ROOT.glob(pattern)) if path.is_file() and "__pycache__" not in path.parts)


def fingerprint() -> str:
    """Of the sources, as hexadecimal digits."""
    total = hashlib.blake2b(digest_size=12)
    for path in _sources():
        total.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()


@dataclass(slots=True)
class Ledger:
    """Sums over the runs. Seeds are run from 1 on without a gap; fuzzing goes by numbered rounds."""

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
        FILE.parent.mkdir(parents=True, exist_ok=True)
        new = FILE.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=1) + "\n")
        new.replace(FILE)


def load() -> Ledger:
    """The account of this very code; a new one where there is none."""
    code = fingerprint()
    if FILE.is_file():
        kept = json.loads(FILE.read_text())
        if kept["code"] == code:
            return Ledger(**kept)
    return Ledger(code)
