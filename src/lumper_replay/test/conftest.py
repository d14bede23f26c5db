"""Recordings and live graphs for the tests: real bags, real DDS, an own domain for each test."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from live import Graph

DATA = Path(os.environ.get("LUMPER_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
_DOMAINS = iter(range(101, 116))


@pytest.fixture
def data() -> Callable[[str], Path]:
    """Folder of a real recording; the test is skipped where it is absent."""

    def find(name: str) -> Path:
        if not (DATA / name).is_dir():
            pytest.skip(f"recording {name} is not here; set LUMPER_DATA")
        return DATA / name

    return find


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    """A node of the test's own on a domain of its own."""
    made = Graph(next(_DOMAINS), tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded job: about fifteen virtual seconds."""
    from virtual_jobs import record_job

    folder = tmp_path_factory.mktemp("bags") / "job"
    record_job(folder, cartons=20, seed=3, limit_s=15.0, deliver=2)
    return folder
