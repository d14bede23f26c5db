"""Rules of the house that can be checked by reading the tree."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(
    path for pattern in ("src/*", "native/*", "msg/lumper_msgs") for path in ROOT.glob(f"{pattern}/package.xml")
)


def test_import_contracts_hold() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    print(done.stdout)
    assert done.returncode == 0


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.parent.name)
def test_packages_are_proper(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    assert root.get("format") == "3"
    assert root.findtext("name") == path.parent.name
    assert root.findtext("license") == "Apache-2.0"
    maintainer = root.find("maintainer")
    assert maintainer is not None and "@" in maintainer.get("email", "")
    assert root.find("export/build_type") is not None


def test_every_dependency_has_its_line() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text().lower().replace("-", "_")
    missing = []
    for line in (ROOT / "requirements" / "base.in").read_text().splitlines():
        name = line.split("#")[0].strip().split("=")[0].split(">")[0].split("<")[0].lower().replace("-", "_")
        if (
            name
            and not name.startswith(("colcon", "types_", "scipy_stubs", "setuptools", "wheel"))
            and name not in page
        ):
            missing.append(name)
    assert not missing, f"docs/dependencies.md lacks {missing}"
