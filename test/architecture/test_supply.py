"""What is installed is pinned, hashed and listed with its licence."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("sbom", ROOT / "requirements" / "sbom.py")
assert _spec is not None and _spec.loader is not None
sbom = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sbom)


def test_every_requirement_is_pinned_hashed_and_listed_with_a_licence() -> None:
    listed = {(name, version): licence for name, version, licence in sbom._listed()}
    items = sbom.packages()
    assert len(items) > 50
    for item in items:
        assert item.hashes and all(value.startswith("sha256:") for value in item.hashes), item.name
        assert (item.name, item.version) in listed, f"{item.name}: run python requirements/sbom.py"


def test_the_bill_of_materials_names_each_package_once() -> None:
    bill = sbom.bill(sbom.packages())
    purls = [component["purl"] for component in bill["components"]]
    assert bill["specVersion"] == "1.5" and len(set(purls)) == len(purls)


@pytest.mark.parametrize("line", ["numpy>=1.2", "numpy==1.2 \\", "git+https://example.org/x"])
def test_what_is_not_pinned_with_a_hash_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    path.write_text(line + "\n")
    with pytest.raises(sbom.RequirementError):
        sbom.read(path, "test")
