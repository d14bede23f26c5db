"""Whether a node takes up its service by itself: only after a kill, only under the launcher that it was active under."""

import subprocess
import sys
from pathlib import Path

from lumper_ros.respawn import ActiveMark, launcher


def test_a_mark_is_left_behind_by_a_death_and_by_nothing_else(tmp_path: Path) -> None:
    mark = ActiveMark(tmp_path / "robot" / "broker.active")
    assert not mark.left_behind()
    mark.set()
    assert ActiveMark(tmp_path / "robot" / "broker.active").left_behind()
    mark.clear()
    assert not mark.left_behind()
    mark.clear()


def test_another_launcher_starts_afresh(tmp_path: Path) -> None:
    file = tmp_path / "broker.active"
    say = (
        "import sys; from pathlib import Path; from lumper_ros.respawn import ActiveMark; "
        "print(ActiveMark(Path(sys.argv[1])).left_behind())"
    )
    ActiveMark(file).set()
    assert launcher() and file.read_text() == launcher()
    asked = subprocess.run([sys.executable, "-c", say, str(file)], capture_output=True, text=True, check=True)
    assert asked.stdout.strip() == "False", "this process is its launcher, not that of the node that set the mark"
    pid, begun = launcher().split()
    file.write_text(f"{pid} {int(begun) - 1}")
    assert not ActiveMark(file).left_behind(), "the same number, an earlier process"


def test_what_cannot_be_read_or_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    mark = ActiveMark(tmp_path / "file" / "below.active")
    mark.set()
    mark.clear()
    assert not mark.left_behind()
    (tmp_path / "bytes.active").write_bytes(b"\xff\xfe")
    assert not ActiveMark(tmp_path / "bytes.active").left_behind()
