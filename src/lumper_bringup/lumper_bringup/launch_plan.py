"""From launch files and arguments to the processes to start. Reads files; starts nothing.

Semantics are those of ROS 2 Kilted's launch, launch_xml and launch_ros, checked whole before the first process starts.
Differences, all on the strict side: an argument on the command line that no file declares is an error, text between
elements is an error, and a parameter file that does not exist is an error instead of a warning.
"""

import re
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lumper_bringup import launch_values as values
from lumper_bringup.launch_model import Argument, PackageError, Packages, Process, declared, join_namespace
from lumper_bringup.launch_rules import check
from lumper_bringup.launch_source import Call, Element, LaunchError, Text, parse_text, read, unescape

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
T = TypeVar("T")
_INCLUDE_DEPTH = 32
COMMAND_TIMEOUT_S = 20.0
OUTPUTS = ("log", "screen", "both", "own_log", "full")


@dataclass(slots=True)
class _Scope:
    configurations: dict[str, str]
    environment: dict[str, str]

    def copy(self) -> "_Scope":
        return _Scope(dict(self.configurations), dict(self.environment))


def load(file: Path) -> Element:
    """Read and check one launch file.

    Raises:
        LaunchError: see `read` and `check`.
    """
    root = read(file)
    check(root)
    return root


@dataclass(slots=True)
class Plan:
    """Evaluates launch files. `folder` is where generated parameter files will be written."""

    environment: Mapping[str, str]
    folder: Path
    packages: Packages = field(default_factory=Packages)
    processes: list[Process] = field(default_factory=list)
    arguments: dict[str, Argument] = field(default_factory=dict)
    _files: int = 0

    def build(self, file: Path, given: Mapping[str, str]) -> list[Process]:
        """Processes that `file` starts with the launch arguments `given`, in order.

        Raises:
            LaunchError: anything in the files or arguments is unknown, missing, malformed, or not installed.
        """
        file = file.absolute()
        root = load(file)
        if not _includes(root):
            self._check_given(given, declared(root))
        scope = _Scope(dict(given), dict(self.environment))
        self._run(root, scope, file.parent, 0)
        self._check_given(given, list(self.arguments.values()))
        return self.processes

    def _check_given(self, given: Mapping[str, str], known: Sequence[Argument]) -> None:
        names = sorted({argument.name for argument in known})
        unknown = [name for name in given if name not in names and name not in ("sigterm_timeout", "sigkill_timeout")]
        if unknown:
            raise LaunchError(f"unknown launch argument {', '.join(unknown)}; known are {', '.join(names) or 'none'}")

    def _run(self, parent: Element, scope: _Scope, folder: Path, depth: int) -> None:
        for argument in declared(parent) if parent.tag == "launch" else ():
            self.arguments.setdefault(argument.name, argument)
        for element in parent.children:
            if self._wanted(element, scope, folder):
                self._action(element, scope, folder, depth)

    def _wanted(self, element: Element, scope: _Scope, folder: Path) -> bool:
        for name, wanted in (("if", True), ("unless", False)):
            if name in element.attributes:
                text = self._text(element, name, scope, folder)
                try:
                    return values.condition(text) is wanted
                except ValueError as error:
                    raise element.error(f"attribute {name!r}: {error}") from error
        return True

    def _action(self, element: Element, scope: _Scope, folder: Path, depth: int) -> None:
        match element.tag:
            case "arg":
                self._declare(element, scope, folder)
            case "let":
                name = self._text(element, "name", scope, folder)
                scope.configurations[name] = self._text(element, "value", scope, folder)
            case "set_env":
                name = self._text(element, "name", scope, folder)
                scope.environment[name] = self._text(element, "value", scope, folder)
            case "push_ros_namespace" | "push-ros-namespace":
                pushed = self._text(element, "namespace", scope, folder)
                scope.configurations["ros_namespace"] = self._namespace(element, scope, pushed) or "/"
            case "group":
                scoped = self._literal(element, "scoped", values.boolean, True)
                self._run(element, scope.copy() if scoped else scope, folder, depth)
            case "include":
                self._include(element, scope, folder, depth)
            case "node":
                self._node(element, scope, folder)
            case "executable":
                command = self._words(element, "cmd", scope, folder)
                if not command:
                    raise element.error("attribute 'cmd' is empty")
                self._process(element, scope, folder, command, "name", {})

    def _declare(self, element: Element, scope: _Scope, folder: Path) -> None:
        (argument,) = declared(Element("launch", {}, element.position, [element]))
        if argument.name not in scope.configurations:
            if argument.default is None:
                raise element.error(
                    f"launch argument {argument.name!r} is required and was not given ({argument.description})"
                )
            scope.configurations[argument.name] = self._text(element, "default", scope, folder)
        value = scope.configurations[argument.name]
        if argument.choices and value not in argument.choices:
            raise element.error(
                f"launch argument {argument.name}:={value} is not allowed; choose one of {', '.join(argument.choices)}"
            )

    def _include(self, element: Element, scope: _Scope, folder: Path, depth: int) -> None:
        if depth >= _INCLUDE_DEPTH:
            raise element.error(f"more than {_INCLUDE_DEPTH} files include one another; is there a loop?")
        file = Path(self._text(element, "file", scope, folder))
        if not file.is_file():
            raise element.error(f"file {str(file)!r} does not exist")
        for child in element.children:
            name = self._text(child, "name", scope, folder)
            scope.configurations[name] = self._text(child, "value", scope, folder)
        file = file.absolute()
        self._run(load(file), scope, file.parent, depth + 1)

    def _node(self, element: Element, scope: _Scope, folder: Path) -> None:
        given = element.attributes
        executable = self._text(element, "exec", scope, folder)
        if "pkg" in given:
            package = self._text(element, "pkg", scope, folder)
            try:
                executable = str(self.packages.executable(package, executable))
            except PackageError as error:
                raise element.error(str(error)) from error
        command = [executable, *self._words(element, "args", scope, folder)]
        if "ros_args" in given:
            command += ["--ros-args", *self._words(element, "ros_args", scope, folder)]
        command.append("--ros-args")
        name = self._text(element, "name", scope, folder) if "name" in given else None
        if name is not None:
            if not _NAME.fullmatch(name):
                raise element.error(f"{name!r} is no valid node name: letters, digits and _ only, no digit first")
            command += ["-r", f"__node:={name}"]
        own = self._text(element, "namespace", scope, folder) if "namespace" in given else None
        namespace = self._namespace(element, scope, own)
        if namespace is not None:
            command += ["-r", f"__ns:={namespace}"]
        full_name = f"{namespace.rstrip('/')}/{name}" if namespace is not None and name is not None else "/**"
        files: dict[Path, str] = {}
        for child in element.children:
            if child.tag == "param":
                command += ["--params-file", str(self._parameter_file(child, scope, folder, full_name, files))]
        for child in element.children:
            if child.tag == "remap":
                rule = f"{self._text(child, 'from', scope, folder)}:={self._text(child, 'to', scope, folder)}"
                command += ["-r", rule]
        self._process(element, scope, folder, command, "exec_name", files)

    def _parameter_file(
        self, element: Element, scope: _Scope, folder: Path, full_name: str, files: dict[Path, str]
    ) -> Path:
        if "from" in element.attributes:
            file = Path(self._text(element, "from", scope, folder))
            if not file.is_file():
                raise element.error(f"parameter file {str(file)!r} does not exist")
            return file
        parameters = self._parameters([element], scope, folder, "")
        self._files += 1
        file = self.folder / f"parameters_{self._files}.yaml"
        files[file] = yaml.dump({full_name: {"ros__parameters": parameters}}, default_flow_style=False)
        return file

    def _parameters(self, elements: Sequence[Element], scope: _Scope, folder: Path, prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for element in elements:
            name = prefix + self._text(element, "name", scope, folder)
            if element.children:
                found |= self._parameters(element.children, scope, folder, name + ".")
            else:
                found[name] = self._parameter_value(element, name, scope, folder)
        return found

    def _parameter_value(self, element: Element, name: str, scope: _Scope, folder: Path) -> Any:
        source = element.attributes["value"]
        type_name = element.attributes.get("type", "yaml")
        try:
            if not any(isinstance(part, Call) for part in parse_text(source, element.error)):
                value = values.typed(source, type_name)
                return unescape(value) if isinstance(value, str) else value
            if type_name == "yaml":
                source = values.unquoted(source)
            return values.typed(self._perform(parse_text(source, element.error), element, scope, folder), type_name)
        except ValueError as error:
            raise element.error(f"parameter {name}: {error}") from error

    def _process(
        self,
        element: Element,
        scope: _Scope,
        folder: Path,
        command: Sequence[str],
        label_attribute: str,
        files: Mapping[Path, str],
    ) -> None:
        given = element.attributes
        environment = dict(scope.environment)
        for child in element.children:
            if child.tag == "env":
                environment[self._text(child, "name", scope, folder)] = self._text(child, "value", scope, folder)
        label = (
            self._text(element, label_attribute, scope, folder) if label_attribute in given else Path(command[0]).name
        )
        output = environment.get("OVERRIDE_LAUNCH_PROCESS_OUTPUT") or (
            self._text(element, "output", scope, folder) if "output" in given else "log"
        )
        if output not in OUTPUTS:
            raise element.error(f"output {output!r} is unknown; choose one of {', '.join(OUTPUTS)}")
        on_exit = given.get("on_exit")
        if on_exit not in (None, "shutdown"):
            raise element.error(f"on_exit can only be 'shutdown', not {on_exit!r}")
        respawn = "false"
        if "respawn" in given:
            respawn = self._text(element, "respawn", scope, folder)
        try:
            respawns = values.boolean(respawn)
        except ValueError as error:
            raise element.error(f"attribute 'respawn': {error}") from error
        self.processes.append(
            Process(
                label=f"{label}-{len(self.processes) + 1}",
                command=tuple(command),
                environment=environment,
                files=files,
                cwd=self._text(element, "cwd", scope, folder) if "cwd" in given else None,
                output=output,
                shell=self._literal(element, "shell", values.boolean, False),
                respawn=respawns,
                respawn_delay_s=self._literal(element, "respawn_delay", _duration, 0.0),
                respawn_max_retries=self._literal(element, "respawn_max_retries", int, -1),
                sigterm_timeout_s=self._timeout(element, "sigterm_timeout", scope),
                sigkill_timeout_s=self._timeout(element, "sigkill_timeout", scope),
                shutdown_on_exit=on_exit == "shutdown",
            )
        )

    def _timeout(self, element: Element, name: str, scope: _Scope) -> float:
        configured = scope.configurations.get(name, "5")
        try:
            default = _duration(configured)
        except ValueError as error:
            raise LaunchError(f"launch argument {name}:={configured}: {error}") from error
        return self._literal(element, name, _duration, default)

    def _literal(self, element: Element, name: str, convert: Callable[[str], T], default: T) -> T:
        if name not in element.attributes:
            return default
        try:
            return convert(element.attributes[name])
        except ValueError as error:
            raise element.error(f"attribute {name!r}: {error} (no substitutions are possible here)") from error

    def _namespace(self, element: Element, scope: _Scope, own: str | None) -> str | None:
        namespace = join_namespace(scope.configurations.get("ros_namespace"), own)
        if namespace not in (None, "/"):
            for part in str(namespace)[1:].split("/"):
                if not _NAME.fullmatch(part):
                    raise element.error(
                        f"namespace {namespace!r} is not valid: between slashes letters, digits and _ only, no digit first"
                    )
        return namespace

    def _text(self, element: Element, name: str, scope: _Scope, folder: Path) -> str:
        return self._perform(parse_text(element.attributes[name], element.error), element, scope, folder)

    def _words(self, element: Element, name: str, scope: _Scope, folder: Path) -> list[str]:
        """Command line words: text is split as by a shell, what substitutions give is not."""
        words: list[str] = []
        current: str | None = None
        for part in parse_text(element.attributes.get(name, ""), element.error):
            if isinstance(part, Call):
                current = (current or "") + self._perform((part,), element, scope, folder)
                continue
            try:
                tokens = shlex.split(part)
            except ValueError as error:
                raise element.error(f"attribute {name!r}: {error} in {part!r}") from error
            if current is not None and (not tokens or part[0].isspace()):
                words.append(current)
                current = None
            for index, token in enumerate(tokens):
                if current is not None and index:
                    words.append(current)
                    current = None
                current = (current or "") + token
            if tokens and part[-1].isspace() and current is not None:
                words.append(current)
                current = None
        return words if current is None else [*words, current]

    def _perform(self, text: Text, element: Element, scope: _Scope, folder: Path) -> str:
        return "".join(
            part if isinstance(part, str) else self._substitute(part, element, scope, folder) for part in text
        )

    def _substitute(self, call: Call, element: Element, scope: _Scope, folder: Path) -> str:
        arguments = [self._perform(argument, element, scope, folder) for argument in call.arguments]
        match call.name:
            case "dirname":
                return str(folder)
            case "var" | "env":
                source = scope.configurations if call.name == "var" else scope.environment
                if arguments[0] in source:
                    return source[arguments[0]]
                if len(arguments) == 2:
                    return arguments[1]
                kind = "launch configuration" if call.name == "var" else "environment variable"
                raise element.error(f"{kind} {arguments[0]!r} is not set and no default is given")
            case "find-pkg-share":
                try:
                    return str(self.packages.share(arguments[0]))
                except PackageError as error:
                    raise element.error(str(error)) from error
            case "file-content":
                try:
                    return Path(arguments[0]).read_text()
                except OSError as error:
                    raise element.error(f"file {arguments[0]!r} cannot be read: {error.strerror}") from error
            case "command":
                return _output(arguments[0], scope.environment, element)
        raise AssertionError(call.name)


def _output(command: str, environment: Mapping[str, str], element: Element) -> str:
    """What a command prints; like ROS 2's launch it must end well and say nothing on its error output."""
    try:
        done = subprocess.run(
            shlex.split(command), env=dict(environment), capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise element.error(f"command {command!r} failed: {error}") from error
    if done.returncode or done.stderr:
        raise element.error(f"command {command!r} failed: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


def _includes(element: Element) -> bool:
    return any(child.tag == "include" or _includes(child) for child in element.children)


def _duration(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise ValueError(f"{text!r} is not a duration in seconds")
    return value
