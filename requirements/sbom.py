"""Bill of materials: every pinned package with its hashes and licence.

    python requirements/sbom.py        writes build/sbom.cdx.json (CycloneDX 1.5) and docs/licences.md

Pins and hashes are those of requirements/*.txt. A licence is what the installed package says of itself; a package that is not
installed here keeps the licence that docs/licences.md lists for this version.
"""

import json
import re
import sys
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution, metadata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
SBOM = ROOT / "build" / "sbom.cdx.json"
PAGE = ROOT / "docs" / "licences.md"
FILES = {"base": "build and run", "ros": "ROS 2 where it is not installed", "bench": "benchmarks only"}
UNKNOWN = "not stated"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)")
_ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|", re.MULTILINE)


@dataclass(slots=True)
class Package:
    """One pin of a requirements file."""

    name: str
    version: str
    use: str
    hashes: list[str] = field(default_factory=list)
    licence: str = UNKNOWN


class RequirementError(ValueError):
    """A requirement is not pinned or has no hash; the text names file and line."""


def read(path: Path, use: str) -> list[Package]:
    """The packages of a requirements file.

    Raises:
        RequirementError: a line is neither a pin with hashes nor a comment.
    """
    packages: list[Package] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = line.strip().rstrip("\\").strip()
        if not text or text.startswith("#"):
            continue
        pin = _PIN.match(text)
        if text.startswith("--hash=") and packages:
            packages[-1].hashes.append(text.removeprefix("--hash="))
        elif pin:
            packages.append(Package(pin.group(1).lower(), pin.group(2), use))
            packages[-1].hashes += re.findall(r"--hash=(\S+)", text)
        elif not text.startswith("--"):
            raise RequirementError(f"{path.name}:{number}: {text!r} is no pin of one version")
    for package in packages:
        if not package.hashes:
            raise RequirementError(f"{path.name}: {package.name} has no hash")
    return packages


def licence_of(name: str) -> str:
    """What the installed package says of its licence, in a line."""
    try:
        about: Any = metadata(name)
    except PackageNotFoundError:
        return UNKNOWN
    said = [
        value.rsplit(" :: ", maxsplit=1)[-1]
        for value in about.get_all("Classifier") or []
        if value.startswith("License ::")
    ]
    expression = about.get("License-Expression") or ""
    own = (about.get("License") or "").strip().splitlines()
    words = expression or (own[0] if own and len(own[0]) < 60 else "") or ", ".join(said)
    return str(words or _manifest(name) or _licence_file(name) or UNKNOWN).replace("|", "/").strip()


def _manifest(name: str) -> str:
    """Of a ROS package: what its package.xml says; wheels are called ros-NAME or, where they only name others, ros-DISTRO-NAME."""
    for prefix in ("ros-kilted-", "ros-"):
        if name.startswith(prefix):
            path = Path(sys.prefix) / "share" / name.removeprefix(prefix).replace("-", "_") / "package.xml"
            if path.is_file():
                said = [item.text or "" for item in ElementTree.parse(path).getroot().findall("license")]
                return ", ".join(text.strip() for text in said)
    return ""


def _licence_file(name: str) -> str:
    """First line of the licence's text, where it names the licence."""
    for file in distribution(name).files or []:
        if re.match(r"(?i)(licen[cs]e|copying)", file.name):
            lines = [line.strip() for line in Path(str(file.locate())).read_text(errors="replace").splitlines()]
            return next((line for line in lines if line and len(line) < 60), "")
    return ""


def packages() -> list[Package]:
    """All packages, by name, each once; licences filled in."""
    known = {(name, version): licence for name, version, licence in _listed()}
    found: dict[tuple[str, str], Package] = {}
    for stem, use in FILES.items():
        path = ROOT / "requirements" / f"{stem}.txt"
        for package in read(path, use) if path.is_file() else ():
            found.setdefault((package.name, package.version), package)
    for key, package in found.items():
        package.licence = licence_of(package.name)
        if package.licence == UNKNOWN:
            package.licence = known.get(key, UNKNOWN)
    return [found[key] for key in sorted(found)]


def _listed() -> list[tuple[str, str, str]]:
    if not PAGE.is_file():
        return []
    return [(a.strip(), b.strip(), c.strip()) for a, b, c in _ROW.findall(PAGE.read_text())]


def page(items: list[Package]) -> str:
    """The text of docs/licences.md."""
    lines = [
        "# Licences",
        "",
        "Made by `python requirements/sbom.py`; do not edit. Lumper itself is Apache-2.0. Every package that is installed with it,",
        "pinned and hashed in `requirements/*.txt`; the licence is what the package says of itself.",
        "",
        "| package | version | licence | used for |",
        "|---|---|---|---|",
    ]
    lines += [f"| {item.name} | {item.version} | {item.licence} | {item.use} |" for item in items]
    return "\n".join(lines) + "\n"


def bill(items: list[Package]) -> dict[str, Any]:
    """CycloneDX 1.5."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "name": "lumper", "licenses": [{"license": {"id": "Apache-2.0"}}]}
        },
        "components": [
            {
                "type": "library",
                "name": item.name,
                "version": item.version,
                "purl": f"pkg:pypi/{item.name}@{item.version}",
                "licenses": [{"license": {"name": item.licence}}],
                "hashes": [{"alg": "SHA-256", "content": value.removeprefix("sha256:")} for value in item.hashes],
            }
            for item in items
        ],
    }


def main() -> int:
    items = packages()
    SBOM.parent.mkdir(parents=True, exist_ok=True)
    SBOM.write_text(json.dumps(bill(items), indent=1) + "\n")
    PAGE.write_text(page(items))
    unknown = [item.name for item in items if item.licence == UNKNOWN]
    print(
        f"{len(items)} packages; {SBOM.relative_to(ROOT)}, {PAGE.relative_to(ROOT)}; licence not stated: {unknown or 'none'}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
