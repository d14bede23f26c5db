"""Which elements and attributes a launch file may use, checked before anything is evaluated."""

from dataclasses import dataclass

from lumper_bringup.launch_source import Element, parse_text


@dataclass(frozen=True, slots=True)
class Rule:
    """An element: attributes that must and may be there, and the elements it may hold."""

    required: frozenset[str]
    optional: frozenset[str]
    children: frozenset[str]


def _rule(required: str = "", optional: str = "", children: str = "") -> Rule:
    return Rule(frozenset(required.split()), frozenset(optional.split()), frozenset(children.split()))


_ACTIONS = "arg let include group push_ros_namespace push-ros-namespace node executable set_env"
_PROCESS = (
    "if unless output cwd shell respawn respawn_delay respawn_max_retries sigterm_timeout sigkill_timeout on_exit"
)
_PUSH = _rule("namespace", "if unless")

RULES: dict[str, Rule] = {
    "launch": _rule(optional="version", children=_ACTIONS),
    "arg": _rule("name", "default description if unless", "choice"),
    "choice": _rule("value"),
    "let": _rule("name value", "if unless"),
    "include": _rule("file", "if unless", "arg"),
    "group": _rule(optional="scoped if unless", children=_ACTIONS),
    "push_ros_namespace": _PUSH,
    "push-ros-namespace": _PUSH,
    "node": _rule("exec", f"pkg name namespace exec_name args ros_args {_PROCESS}", "param remap env"),
    "executable": _rule("cmd", f"name {_PROCESS}", "env"),
    "param": _rule(optional="name value type from", children="param"),
    "remap": _rule("from to"),
    "env": _rule("name value"),
    "set_env": _rule("name value", "if unless"),
}
# <arg> inside <include> passes a value on instead of declaring an argument.
_PASSED_ARGUMENT = _rule("name value")
# Attributes in which launch makes no substitutions.
_LITERAL = _rule(
    "scoped shell respawn_delay respawn_max_retries sigterm_timeout sigkill_timeout on_exit version type"
).required


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def check(element: Element, parent: str = "") -> None:
    """Check `element` and all below it.

    Raises:
        LaunchError: an element, attribute or substitution is unknown, missing, or cannot stand together with another.
    """
    if not parent and element.tag != "launch":
        raise element.error("the root element of a launch file must be <launch>")
    rule = _PASSED_ARGUMENT if parent == "include" else RULES[element.tag]
    for name in element.attributes:
        if name not in rule.required | rule.optional:
            raise element.error(f"unknown attribute {name!r}; known are {_listed(rule.required | rule.optional)}")
    for name in sorted(rule.required):
        if name not in element.attributes:
            raise element.error(f"attribute {name!r} is missing")
    for name, value in element.attributes.items():
        if name not in _LITERAL and not (
            element.tag == "arg" and parent != "include" and name in ("name", "description")
        ):
            parse_text(value, element.error)
    if "if" in element.attributes and "unless" in element.attributes:
        raise element.error("'if' and 'unless' cannot be used together")
    for child in element.children:
        if child.tag not in rule.children:
            raise child.error(f"unknown element inside <{element.tag}>; known there are {_listed(rule.children)}")
        check(child, element.tag)
    if element.tag == "param":
        _check_parameter(element, parent)


def _check_parameter(element: Element, parent: str) -> None:
    given = element.attributes
    if "from" in given:
        if parent == "param" or element.children or set(given) != {"from"}:
            raise element.error("'from' stands alone: no name, value, type or nested <param>")
        return
    if "name" not in given:
        raise element.error("either 'name' or 'from' is needed")
    if ("value" in given) == bool(element.children):
        raise element.error(f"parameter {given['name']!r} needs either a 'value' or nested <param> elements")
    if element.children and "type" in given:
        raise element.error("'type' and nested <param> elements cannot be used together")
