"""Rules of the house that can be checked by reading the tree."""

import ast
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

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


# An import whose name is not that of its package.
PACKAGE_OF = {"backports": "backports_zstd", "mpl_toolkits": "matplotlib"}
# Of these rosdep's own list (ros/rosdistro, rosdep/python.yaml) knows the way.
IN_ROSDEP = {"python3-mujoco-pip", "python3-rosbags-pip", "python3-toppra-pip", "python3-trimesh-pip"}
# Done without where it is not installed.
OPTIONAL = {"rerun"}


def _imported(folder: Path) -> set[str]:
    nodes = [node for file in folder.rglob("*.py") for node in ast.walk(ast.parse(file.read_text()))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", [p for p in PACKAGES if p.parent.name != "lumper_msgs"], ids=lambda p: p.parent.name)
def test_what_a_package_imports_it_depends_on(path: Path) -> None:
    name = path.parent.name
    root = ElementTree.parse(path).getroot()
    keys = {element.text or "" for element in root if element.tag in ("depend", "exec_depend")}
    declared = {key.removeprefix("python3-").removesuffix("-pip").replace("-", "_") for key in keys}
    code = path.parent / ("python" if path.parent.parent.name == "native" else name)
    imported = _imported(code)
    assert imported, "nothing was read"
    foreign = imported - set(sys.stdlib_module_names) - OPTIONAL - {name}
    missing = {module for module in foreign if PACKAGE_OF.get(module, module) not in declared}
    assert not missing, f"{path.relative_to(ROOT)} lacks {sorted(missing)}"


def test_what_rosdep_does_not_know_it_is_told() -> None:
    told = yaml.safe_load((ROOT / "requirements" / "rosdep.yaml").read_text())
    roots = [ElementTree.parse(path).getroot() for path in PACKAGES]
    asked = {element.text for root in roots for element in root if (element.text or "").endswith("-pip")}
    assert asked - IN_ROSDEP == set(told)
    pinned = set((ROOT / "requirements" / "base.in").read_text().split())
    for key, systems in told.items():
        for rule in systems.values():
            (package,) = rule["pip"]["packages"]
            assert key == f"python3-{package}-pip" and package in pinned


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
