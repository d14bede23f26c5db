"""What launch files come to: processes, arguments, and where installed packages are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lumper_bringup.launch_source import Element, unescape


@dataclass(frozen=True, slots=True)
class Process:
    """One process to run. Durations in s. `files` are to be written before it starts."""

    label: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    files: Mapping[Path, str]
    cwd: str | None
    output: str
    shell: bool
    respawn: bool
    respawn_delay_s: float
    respawn_max_retries: int
    sigterm_timeout_s: float
    sigkill_timeout_s: float
    shutdown_on_exit: bool


@dataclass(frozen=True, slots=True)
class Argument:
    """A declared launch argument; `default` is its source text, None = required."""

    name: str
    default: str | None
    description: str
    choices: tuple[str, ...]


class PackageError(LookupError):
    """A package or its executable is not installed; the text names it."""


def _installed(find: Callable[[str], str], package: str) -> str:
    try:
        return find(package)
    except (LookupError, ValueError) as error:
        raise PackageError(f"package {package!r} is not installed; is the workspace built and sourced?") from error


class Packages:
    """Where installed packages are, by the ament index."""

    def share(self, package: str) -> Path:
        """share folder of `package`.

        Raises:
            PackageError: not installed.
        """
        from ament_index_python.packages import get_package_share_directory

        return Path(_installed(get_package_share_directory, package))

    def executable(self, package: str, name: str) -> Path:
        """Path of executable `name` of `package`.

        Raises:
            PackageError: package not installed, or it has no such executable.
        """
        from ament_index_python.packages import get_package_prefix

        folder = Path(_installed(get_package_prefix, package)) / "lib" / package
        file = folder / name
        if not file.is_file():
            known = sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
            raise PackageError(f"package {package!r} has no executable {name!r}; it has {', '.join(known) or 'none'}")
        return file


def join_namespace(base: str | None, namespace: str | None) -> str | None:
    """`namespace` below `base`, absolute, without a trailing slash; None when both are None."""
    if namespace is None:
        joined = base
    elif not base or namespace.startswith("/"):
        joined = namespace
    else:
        joined = base.rstrip("/") + "/" + namespace
    if joined is None:
        return None
    if joined != "/":
        joined = joined.rstrip("/")
    return joined if joined.startswith("/") else "/" + joined


def declared(element: Element) -> list[Argument]:
    """Arguments that a launch file declares, in groups too; not those of files it includes."""
    found = []
    for child in element.children:
        if child.tag == "arg":
            choices = tuple(unescape(choice.attributes["value"]) for choice in child.children)
            found.append(
                Argument(
                    unescape(child.attributes["name"]),
                    child.attributes.get("default"),
                    unescape(child.attributes.get("description", "")),
                    choices,
                )
            )
        elif child.tag == "group":
            found += declared(child)
    return found
