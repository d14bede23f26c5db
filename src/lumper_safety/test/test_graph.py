"""The page says what the table does, and names tests that exist and prove the rows."""

import re
from pathlib import Path

import pytest
from robot_bench import ROOT, table

from lumper_safety.causes import MEANINGS
from lumper_safety.graph import rewritten

PAGE = ROOT / "docs" / "safety.md"


def test_page_is_current() -> None:
    assert rewritten(PAGE.read_text(), table()) == PAGE.read_text(), (
        "run python3 -m lumper_safety.graph docs/safety.md config/safety_causes.yaml"
    )


def test_page_says_what_the_monitor_is_not() -> None:
    text = re.sub(r"\s+", " ", PAGE.read_text())
    assert "is not a safety function" in text and "not certified" in text and "replaces none of what is" in text


@pytest.mark.parametrize("code", MEANINGS, ids=lambda code: code.name)
def test_named_test_exists_and_names_the_cause(code: object) -> None:
    meaning = MEANINGS[code]  # type: ignore[index]
    path = Path(__file__).parent / meaning.test
    assert f"C.{code.name}" in path.read_text() or f"SafetyCause.{code.name}" in path.read_text()  # type: ignore[attr-defined]


def test_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks"):
        rewritten("# nothing", table())
