"""Starts the launched system for a test and stops it again."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from launched import System


@pytest.fixture
def launch(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., System]]:
    """Call it with launch arguments; the system is stopped at the end, and its log's tail shown when the test failed."""
    systems: list[System] = []

    def start(**arguments: str) -> System:
        system = System(tmp_path, arguments)
        systems.append(system)
        return system

    yield start
    for system in systems:
        try:
            system.stop()
        finally:
            print(f"--- end of {system.log} ---")
            print("\n".join(system.log.read_text(errors="replace").splitlines()[-80:]))
