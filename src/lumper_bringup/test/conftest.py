"""Launch files and installed packages made for a test, and waiting by predicate with a deadline."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ament prefix with the package `demo_pkg`, whose executable is `show`; returns the prefix."""
    prefix = tmp_path / "prefix"
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "demo_pkg").touch()
    (prefix / "share" / "demo_pkg" / "launch").mkdir(parents=True)
    executable = prefix / "lib" / "demo_pkg" / "show"
    executable.parent.mkdir(parents=True)
    executable.write_text('#!/bin/sh\nfor word in "$@"; do echo "word $word"; done\n')
    executable.chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(prefix))
    return prefix


@pytest.fixture
def launch_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a launch file; the body stands between <launch> and </launch>, its first line is line 2 of the file."""

    def write(body: str, name: str = "test.launch.xml") -> Path:
        file = tmp_path / name
        file.write_text(f"<launch>\n{body}\n</launch>\n")
        return file

    return write


@pytest.fixture
def until() -> Callable[..., None]:
    """Waits until a condition holds; fails when it does not within the limit."""

    def wait(condition: Callable[[], object], limit_s: float = 20.0, what: str = "") -> None:
        deadline_s = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline_s, f"not within {limit_s} s: {what or condition}"
            time.sleep(0.02)

    return wait
