"""Launch XML as it stands in the file: elements with their line, and text with substitutions.

The syntax is that of ROS 2's launch_xml. What is not known here is an error that names file and line, never skipped.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat


class LaunchError(Exception):
    """A launch file, argument or package cannot be used as asked; the text says where, why and what would do."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where an element stands."""

    file: Path
    line: int

    def error(self, text: str) -> LaunchError:
        return LaunchError(f"{self.file}:{self.line}: {text}")


@dataclass(slots=True)
class Element:
    """One XML element."""

    tag: str
    attributes: dict[str, str]
    position: Position
    children: list["Element"] = field(default_factory=list)

    def error(self, text: str) -> LaunchError:
        return self.position.error(f"<{self.tag}>: {text}")


def read(file: Path) -> Element:
    """Parse `file`.

    Raises:
        LaunchError: the file cannot be read, is no well-formed XML, or has text between its elements.
    """
    parser = expat.ParserCreate()
    open_elements: list[Element] = []
    roots: list[Element] = []

    def here() -> Position:
        return Position(file, parser.CurrentLineNumber)

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, attributes, here())
        (open_elements[-1].children if open_elements else roots).append(element)
        open_elements.append(element)

    def end(tag: str) -> None:
        open_elements.pop()

    def text(data: str) -> None:
        if data.strip():
            raise here().error(
                f"text {data.strip()!r} between elements has no meaning; launch XML uses attributes only"
            )

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    try:
        parser.Parse(file.read_bytes(), True)
    except OSError as error:
        raise LaunchError(f"{file}: cannot be read: {error.strerror}") from error
    except expat.ExpatError as error:
        raise Position(file, error.lineno).error(f"not well-formed XML: {expat.ErrorString(error.code)}") from error
    return roots[0]


# What parses and performs one substitution: name -> (least, most) number of arguments.
SUBSTITUTIONS: dict[str, tuple[int, int]] = {
    "var": (1, 2),
    "env": (1, 2),
    "find-pkg-share": (1, 1),
    "dirname": (0, 0),
    "file-content": (1, 1),
    "command": (1, 1),
}


@dataclass(frozen=True, slots=True)
class Call:
    """A substitution: its name and arguments."""

    name: str
    arguments: tuple["Text", ...]


# Text with substitutions, in order.
Text = tuple[str | Call, ...]

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


class _Scanner:
    """Recursive descent over the substitution grammar of ROS 2's launch front ends."""

    def __init__(self, source: str, error: Callable[[str], LaunchError]) -> None:
        self.source = source
        self.at = 0
        self.error = error

    def fail(self, text: str) -> LaunchError:
        return self.error(f"{text} in {self.source!r}")

    def _starts_call(self) -> bool:
        return self.source.startswith("$(", self.at)

    def _literal(self, stop: str) -> str:
        """Characters up to a substitution or one of `stop`; a backslash takes the next character as it is."""
        begin = self.at
        while self.at < len(self.source):
            character = self.source[self.at]
            if character == "\\" and self.at + 1 < len(self.source):
                self.at += 2
                continue
            if character in stop or self._starts_call():
                break
            self.at += 1
        return _ESCAPE.sub(r"\1", self.source[begin : self.at])

    def template(self, stop: str = "") -> Text:
        parts: list[str | Call] = []
        while self.at < len(self.source) and not (stop and self.source[self.at] in stop):
            parts.append(self._call() if self._starts_call() else self._literal(stop))
        return tuple(parts)

    def _argument(self) -> Text:
        quote = self.source[self.at]
        if quote in "'\"":
            self.at += 1
            value = self.template(quote)
            if self.at >= len(self.source):
                raise self.fail(f"missing {quote}")
            self.at += 1
            return value
        parts: list[str | Call] = []
        while self.at < len(self.source) and self.source[self.at] not in " )":
            if self._starts_call():
                parts.append(self._call())
                continue
            if self.source[self.at] in "('\"":
                raise self.fail(
                    f"unexpected {self.source[self.at]} at character {self.at + 1} (escape it with a backslash)"
                )
            parts.append(self._literal(" '\"()"))
        return tuple(parts)

    def _call(self) -> Call:
        self.at += 2
        match = _IDENTIFIER.match(self.source, self.at)
        if not match:
            raise self.fail(f"$( is not followed by the name of a substitution at character {self.at + 1}")
        name = match.group()
        self.at = match.end()
        arguments: list[Text] = []
        while self.at < len(self.source) and self.source[self.at] != ")":
            if self.source[self.at] != " ":
                raise self.fail(f"a space or ) was expected at character {self.at + 1}")
            self.at += 1
            if self.at >= len(self.source) or self.source[self.at] in " )":
                raise self.fail(f"an argument of $({name}) is empty (write '' for an empty one)")
            arguments.append(self._argument())
        if self.at >= len(self.source):
            raise self.fail(f"$({name} is not closed")
        self.at += 1
        if name not in SUBSTITUTIONS:
            raise self.fail(f"unknown substitution $({name}); known are {', '.join(sorted(SUBSTITUTIONS))}")
        least, most = SUBSTITUTIONS[name]
        if not least <= len(arguments) <= most:
            wanted = str(least) if least == most else f"{least} or {most}"
            raise self.fail(f"$({name}) takes {wanted} argument(s), not {len(arguments)}")
        return Call(name, tuple(arguments))


def parse_text(source: str, error: Callable[[str], LaunchError]) -> Text:
    """Text with its substitutions.

    Raises:
        LaunchError: made by `error`; a substitution is unknown, unclosed or has too many or too few arguments.
    """
    return _Scanner(source, error).template()


def unescape(source: str) -> str:
    """Text of an attribute in which no substitutions are made (names and descriptions of arguments)."""
    return _ESCAPE.sub(r"\1", source)
