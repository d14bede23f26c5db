"""What was run on the code as it is now, over as many runs as it took: a change of any source begins a new account."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Kept with the sources: an account is of the code beside it, whoever ran its seeds.
FOLDER = HERE / "accounts"
_ALWAYS = ("config/**/*", "msg/lumper_msgs/**/*")
_LOADED = "import sys; from scenario import Scenario, run; run(Scenario.of(0)); print(*sorted(sys.modules), sep='\\n')"


def _matching(*patterns: str) -> Iterator[Path]:
    for pattern in patterns:
        yield from (path for path in sorted(ROOT.glob(pattern)) if path.is_file() and "__pycache__" not in path.parts)


def _played() -> Iterator[Path]:
    """The project's own modules that a seed's run loads: neither perception nor the native libraries are at work in it."""
    listed = subprocess.run([sys.executable, "-c", _LOADED], cwd=HERE, check=True, capture_output=True, text=True)
    for name in listed.stdout.split():
        file = name.replace(".", "/")
        yield from _matching(f"test/faultsim/{file}.py", f"src/*/{file}.py", f"src/*/{file}/__init__.py")


def sources(what: str) -> list[Path]:
    """All that an outcome may depend on. `what`: "seeds", or "all" for what else is counted."""
    if what == "seeds":
        return [*_played(), *_matching(*_ALWAYS)]
    return list(_matching("src/*/lumper_*/**/*.py", "native/*/*/**/*.?pp", "test/faultsim/*.py", *_ALWAYS))


def fingerprint(what: str = "all") -> str:
    """Of the sources, as hexadecimal digits. `what`: as in `sources`."""
    total = hashlib.blake2b(digest_size=12)
    for path in sources(what):
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
        new = FOLDER / f"{self.what}.new"
        new.write_text(json.dumps(asdict(self), indent=1) + "\n")
        new.replace(new.with_suffix(".json"))


def load(what: str) -> Ledger:
    """The account of this very code; a new one where there is none."""
    code, file = fingerprint(what), FOLDER / f"{what}.json"
    if file.is_file():
        kept = json.loads(file.read_text())
        if kept["code"] == code:
            return Ledger(**kept)
    return Ledger(what, code)
