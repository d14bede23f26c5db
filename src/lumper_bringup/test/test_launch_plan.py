"""From launch files to processes: the semantics of launch_xml and launch_ros, and every refusal with file and line."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lumper_bringup.launch_model import Process
from lumper_bringup.launch_plan import Plan
from lumper_bringup.launch_rules import RULES
from lumper_bringup.launch_source import LaunchError

Write = Callable[..., Path]


def build(
    file: Path, given: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None
) -> list[Process]:
    return Plan({"HOME": "/home/robot"} if environment is None else environment, Path("/logs")).build(file, given or {})


def command(write: Write, body: str, given: Mapping[str, str] | None = None) -> list[str]:
    (process,) = build(write(body), given)
    return list(process.command)


def parameters(process: Process) -> dict[str, Any]:
    """All parameters written for a process, later ones over earlier ones."""
    found: dict[str, Any] = {}
    for text in process.files.values():
        ((_, content),) = yaml.safe_load(text).items()
        found |= content["ros__parameters"]
    return found


# --- arguments


def test_an_argument_takes_its_default_or_what_is_given(launch_file: Write) -> None:
    body = '<arg name="a" default="one"/><executable cmd="echo $(var a)"/>'
    assert command(launch_file, body) == ["echo", "one"]
    assert command(launch_file, body, {"a": "two words"}) == ["echo", "two words"]


def test_a_default_may_use_earlier_arguments(launch_file: Write) -> None:
    body = '<arg name="a" default="x"/><arg name="b" default="$(var a)/y"/><executable cmd="echo $(var b)"/>'
    assert command(launch_file, body) == ["echo", "x/y"]


def test_an_unknown_argument_is_named_with_the_known_ones(launch_file: Write) -> None:
    file = launch_file('<arg name="cartons" default="60"/><group><arg name="seed" default="1"/></group>')
    with pytest.raises(LaunchError, match=r"unknown launch argument cartoons; known are cartons, seed"):
        build(file, {"cartoons": "3"})


def test_an_argument_of_an_included_file_is_known(launch_file: Write) -> None:
    launch_file('<arg name="inner"/><executable cmd="echo $(var inner)"/>', "inner.launch.xml")
    file = launch_file('<include file="$(dirname)/inner.launch.xml"/>')
    (process,) = build(file, {"inner": "v"})
    assert process.command == ("echo", "v")
    with pytest.raises(LaunchError, match="unknown launch argument outer; known are inner"):
        build(file, {"inner": "v", "outer": "w"})


def test_a_required_argument_that_is_missing_is_named(launch_file: Write) -> None:
    file = launch_file('<arg name="robot" description="which one"/>')
    with pytest.raises(LaunchError, match=r"test.launch.xml:2: <arg>: launch argument 'robot' is required.*which one"):
        build(file)


def test_a_value_outside_the_choices_is_refused(launch_file: Write) -> None:
    body = '<arg name="load" default="mixed"><choice value="mixed"/><choice value="leaning"/></arg>'
    build(launch_file(body), {"load": "leaning"})
    with pytest.raises(LaunchError, match=r"load:=heap is not allowed; choose one of mixed, leaning"):
        build(launch_file(body), {"load": "heap"})


# --- scopes


def test_let_in_a_group_ends_with_the_group(launch_file: Write) -> None:
    body = """<let name="a" value="1"/><group><let name="a" value="2"/><executable cmd="echo $(var a)"/></group>
    <executable cmd="echo $(var a)"/>"""
    assert [process.command[1] for process in build(launch_file(body))] == ["2", "1"]


def test_let_in_an_unscoped_group_stays(launch_file: Write) -> None:
    body = '<group scoped="false"><let name="a" value="2"/></group><executable cmd="echo $(var a)"/>'
    assert command(launch_file, body) == ["echo", "2"]


def test_set_env_reaches_the_processes_of_its_scope_only(launch_file: Write) -> None:
    body = """<group><set_env name="A" value="1"/><executable cmd="echo $(env A)"><env name="B" value="2"/></executable></group>
    <executable cmd="echo $(env A none)"/>"""
    inner, outer = build(launch_file(body))
    assert (inner.command[1], inner.environment["A"], inner.environment["B"]) == ("1", "1", "2")
    assert (outer.command[1], "A" in outer.environment, "B" in outer.environment) == ("none", False, False)


def test_include_passes_arguments_and_has_its_own_folder(launch_file: Write, tmp_path: Path) -> None:
    folder = tmp_path / "sub"
    folder.mkdir()
    (folder / "inner.xml").write_text('<launch><arg name="a"/><executable cmd="echo $(var a) $(dirname)"/></launch>')
    body = """<include file="$(dirname)/sub/inner.xml"><arg name="a" value="$(env HOME)"/></include>
    <executable cmd="echo $(dirname)"/>"""
    inner, outer = build(launch_file(body))
    assert inner.command[1:] == ("/home/robot", str(folder))
    assert outer.command[1:] == (str(tmp_path),)


@pytest.mark.parametrize(
    ("attribute", "started"),
    [
        ('if="true"', True),
        ('if="1"', True),
        ('if=" TRUE "', True),
        ('if="false"', False),
        ('if="0"', False),
        ('unless="false"', True),
        ('unless="true"', False),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        '<executable cmd="x" {}/>',
        '<group {}><executable cmd="x"/></group>',
        '<node exec="/bin/x" {}/>',
        '<include file="$(dirname)/x.xml" {}/>',
    ],
)
def test_conditions(launch_file: Write, body: str, attribute: str, started: bool) -> None:
    launch_file('<executable cmd="x"/>', "x.xml")
    assert bool(build(launch_file(body.format(attribute)))) is started


# --- nodes


def test_the_command_of_a_node_is_that_of_launch_ros(launch_file: Write, packages: Path) -> None:
    body = """<group><push_ros_namespace namespace="dock"/>
    <node pkg="demo_pkg" exec="show" name="n" namespace="arm" args="--one '$(env HOME) two' x" ros_args="--log-level debug">
      <param name="a" value="1"/><remap from="in" to="out/$(env HOME)"/>
    </node></group>"""
    with pytest.raises(LaunchError, match="No closing quotation"):
        build(launch_file(body))
    body = body.replace("'$(env HOME) two'", "$(env HOME)/two 'a b'")
    assert command(launch_file, body) == [
        str(packages / "lib/demo_pkg/show"),
        *("--one", "/home/robot/two", "a b", "x"),
        *("--ros-args", "--log-level", "debug", "--ros-args"),
        *("-r", "__node:=n", "-r", "__ns:=/dock/arm"),
        *("--params-file", "/logs/parameters_1.yaml", "-r", "in:=out//home/robot"),
    ]


def test_without_name_and_namespace_neither_is_set(launch_file: Write, packages: Path) -> None:
    (process,) = build(launch_file('<node pkg="demo_pkg" exec="show"><param name="a" value="1"/></node>'))
    assert process.command[1:] == ("--ros-args", "--params-file", "/logs/parameters_1.yaml")
    assert yaml.safe_load(process.files[Path("/logs/parameters_1.yaml")]) == {"/**": {"ros__parameters": {"a": 1}}}


@pytest.mark.parametrize(
    ("pushed", "own", "expected"),
    [
        ("", None, "/"),
        ("a", None, "/a"),
        ("/a/", None, "/a"),
        ("a", "b", "/a/b"),
        ("a", "/b", "/b"),
        ("/", "b", "/b"),
        (None, "b", "/b"),
    ],
)
def test_namespaces_join(
    launch_file: Write, packages: Path, pushed: str | None, own: str | None, expected: str
) -> None:
    push = "" if pushed is None else f'<push_ros_namespace namespace="{pushed}"/>'
    namespace = "" if own is None else f'namespace="{own}"'
    body = f'{push}<node pkg="demo_pkg" exec="show" name="n" {namespace}><param name="a" value="1"/></node>'
    (process,) = build(launch_file(body))
    assert f"__ns:={expected}" in process.command
    (text,) = process.files.values()
    assert list(yaml.safe_load(text)) == [f"{expected.rstrip('/')}/n"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('value="1"', 1),
        ('value="1.5"', 1.5),
        ('value="yes"', True),
        ('value="word"', "word"),
        ('value=""', ""),
        ("value=\"'5'\"", "5"),
        ('value="[1, 2]"', [1, 2]),
        ('value="[a, b]"', ["a", "b"]),
        ('value="1" type="float"', 1.0),
        ('value="1" type="str"', "1"),
        ('value="1" type="bool"', True),
        ('value="[1.5]" type="list_of_float"', [1.5]),
        ('value="$(var number)"', 7),
        ('value="$(var number)" type="str"', "7"),
        ('value="$(var number)" type="float"', 7.0),
        ('value="$(var list)"', [1, 2, 3]),
        ('value="a$(var number)"', "a7"),
        ('value="$(var empty)" type="str"', ""),
    ],
)
def test_parameters_are_typed_by_yaml_or_by_name(
    launch_file: Write, packages: Path, attributes: str, expected: Any
) -> None:
    body = f"""<let name="number" value="7"/><let name="list" value="[1, 2, 3]"/><let name="empty" value=""/>
    <node pkg="demo_pkg" exec="show"><param name="p" {attributes}/></node>"""
    (process,) = build(launch_file(body))
    value = parameters(process)["p"]
    assert value == expected
    assert type(value) is type(expected)


def test_nested_parameters_get_dotted_names(launch_file: Write, packages: Path) -> None:
    body = """<node pkg="demo_pkg" exec="show"><param name="a"><param name="b" value="1"/>
    <param name="c"><param name="d" value="x"/></param></param></node>"""
    (process,) = build(launch_file(body))
    assert parameters(process) == {"a.b": 1, "a.c.d": "x"}


def test_parameter_files_keep_their_place_in_the_order(launch_file: Write, packages: Path, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("/**:\n  ros__parameters: {a: 1}\n")
    body = """<node pkg="demo_pkg" exec="show"><param name="a" value="1"/><param from="$(dirname)/p.yaml"/>
    <param name="b" value="2"/></node>"""
    (process,) = build(launch_file(body))
    files = [word for word in process.command if word.endswith(".yaml")]
    assert files == ["/logs/parameters_1.yaml", str(tmp_path / "p.yaml"), "/logs/parameters_2.yaml"]


def test_file_content_is_taken_as_it_is(launch_file: Write, packages: Path, tmp_path: Path) -> None:
    content = '<robot name="a: b">\n  <link name="$(var x)\\"/>\n</robot>\n'
    (tmp_path / "r.urdf").write_text(content)
    body = (
        '<node pkg="demo_pkg" exec="show"><param name="d" value="$(file-content $(dirname)/r.urdf)" type="str"/></node>'
    )
    (process,) = build(launch_file(body))
    assert parameters(process) == {"d": content}


def test_attributes_of_a_process(launch_file: Write) -> None:
    plain, full = build(
        launch_file(
            """<executable cmd="a b"/><executable cmd="c" name="d" output="screen" respawn="$(env YES true)" respawn_delay="1.5"
            respawn_max_retries="3" sigterm_timeout="2" sigkill_timeout="0.5" cwd="/tmp" shell="true" on_exit="shutdown"/>"""
        )
    )
    assert (plain.label, plain.output, plain.respawn, plain.respawn_max_retries) == ("a-1", "log", False, -1)
    assert (plain.sigterm_timeout_s, plain.sigkill_timeout_s, plain.shell, plain.cwd) == (5.0, 5.0, False, None)
    assert (full.label, full.output, full.respawn, full.respawn_delay_s, full.respawn_max_retries) == (
        "d-2",
        "screen",
        True,
        1.5,
        3,
    )
    assert (full.sigterm_timeout_s, full.sigkill_timeout_s, full.shell, full.cwd) == (2.0, 0.5, True, "/tmp")
    assert full.shutdown_on_exit


def test_time_limits_of_the_ladder_can_be_given_on_the_command_line(launch_file: Write) -> None:
    (process,) = build(launch_file('<executable cmd="a"/>'), {"sigterm_timeout": "1", "sigkill_timeout": "2.5"})
    assert (process.sigterm_timeout_s, process.sigkill_timeout_s) == (1.0, 2.5)
    with pytest.raises(LaunchError, match="sigterm_timeout:=soon"):
        build(launch_file('<executable cmd="a"/>'), {"sigterm_timeout": "soon"})


@pytest.mark.parametrize(
    ("cmd", "words"),
    [
        ("a b  c", ["a", "b", "c"]),
        ("a 'b c' d", ["a", "b c", "d"]),
        ("$(var x)", ["one two"]),
        ("$(var x)/a b", ["one two/a", "b"]),
        ("a $(var x) b", ["a", "one two", "b"]),
        ("a$(var x)b c", ["aone twob", "c"]),
        ("$(var x) $(var x)", ["one two", "one two"]),
        ("a b$(var x) c$(var x)", ["a", "bone two", "cone two"]),
    ],
)
def test_command_lines_split_text_but_not_what_is_substituted(launch_file: Write, cmd: str, words: list[str]) -> None:
    assert command(launch_file, f'<let name="x" value="one two"/><executable cmd="{cmd}"/>') == words


# --- refusals: each with file and line


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('<nodes pkg="x"/>', "<nodes>: unknown element inside <launch>; known there are arg,"),
        ('<timer period="1"/>', "<timer>: unknown element"),
        (
            '<node exec="x"><parameter name="a"/></node>',
            "<parameter>: unknown element inside <node>; known there are env, param, remap",
        ),
        ('<include file="x"><let name="a" value="b"/></include>', "<let>: unknown element inside <include>"),
        (
            '<include file="x"><arg name="a" default="b"/></include>',
            "<arg>: unknown attribute 'default'; known are name, value",
        ),
        ('<node exec="x" launch-prefix="gdb"/>', "<node>: unknown attribute 'launch-prefix'; known are args,"),
        ('<node pkg="x"/>', "<node>: attribute 'exec' is missing"),
        ('<arg default="x"/>', "<arg>: attribute 'name' is missing"),
        ('<executable cmd="x" if="true" unless="false"/>', "'if' and 'unless' cannot be used together"),
        ('<executable cmd="x" if="maybe"/>', "attribute 'if': 'maybe' is neither true, false, 1 nor 0"),
        ('<executable cmd="x" if=""/>', "attribute 'if': '' is neither"),
        ('<executable cmd="$(var a)"/>', "launch configuration 'a' is not set"),
        ('<executable cmd="$(env NOWHERE)"/>', "environment variable 'NOWHERE' is not set"),
        ('<executable cmd="$(eval 1)"/>', r"unknown substitution \$\(eval\)"),
        ('<executable cmd="  "/>', "attribute 'cmd' is empty"),
        ('<executable cmd="x" output="paper"/>', "output 'paper' is unknown; choose one of log,"),
        ('<executable cmd="x" respawn="often"/>', "attribute 'respawn': 'often' is not a bool"),
        ('<executable cmd="x" respawn_delay="-1"/>', "attribute 'respawn_delay': '-1' is not a duration"),
        (
            '<executable cmd="x" respawn_delay="$(env HOME)"/>',
            "attribute 'respawn_delay': .*no substitutions are possible",
        ),
        ('<executable cmd="x" respawn_max_retries="many"/>', "attribute 'respawn_max_retries'"),
        ('<executable cmd="x" on_exit="restart"/>', "on_exit can only be 'shutdown'"),
        ('<group scoped="perhaps"/>', "attribute 'scoped'"),
        ('<node pkg="nowhere" exec="x"/>', "package 'nowhere' is not installed"),
        ('<node pkg="demo_pkg" exec="hide"/>', "package 'demo_pkg' has no executable 'hide'; it has show"),
        ('<let name="a" value="$(find-pkg-share nowhere)"/>', "package 'nowhere' is not installed"),
        ('<let name="a" value="$(file-content /absent)"/>', "file '/absent' cannot be read"),
        ('<include file="/absent.xml"/>', "file '/absent.xml' does not exist"),
        ('<include file="$(dirname)/test.launch.xml"/>', "include one another; is there a loop"),
        ('<push_ros_namespace namespace="a b"/>', "namespace '/a b' is not valid"),
        ('<push_ros_namespace namespace="1a"/>', "namespace '/1a' is not valid"),
        ('<node exec="x" name="a/b"/>', "'a/b' is no valid node name"),
        ('<node exec="x"><param from="/absent.yaml"/></node>', "parameter file '/absent.yaml' does not exist"),
        ('<node exec="x"><param value="1"/></node>', "either 'name' or 'from' is needed"),
        ('<node exec="x"><param name="a"/></node>', "parameter 'a' needs either a 'value' or nested"),
        (
            '<node exec="x"><param name="a" value="1"><param name="b" value="2"/></param></node>',
            "needs either a 'value' or nested",
        ),
        ('<node exec="x"><param name="a" type="int"><param name="b" value="2"/></param></node>', "'type' and nested"),
        ('<node exec="x"><param from="f" name="a"/></node>', "'from' stands alone"),
        ('<node exec="x"><param name="a"><param from="f"/></param></node>', "'from' stands alone"),
        ('<node exec="x"><param name="a" value="b" type="int"/></node>', "parameter a: 'b' is not of type int"),
        ('<node exec="x"><param name="a" value="2" type="bool"/></node>', "parameter a: '2' is not a bool"),
        (
            '<node exec="x"><param name="a" value="1" type="number"/></node>',
            "parameter a: unknown type 'number'; known are str,",
        ),
        ('<node exec="x"><param name="a" value="[1, b]"/></node>', "parameter a: .*non-empty list of one of these"),
        ('<node exec="x"><param name="a" value="{b: 1}"/></node>', "parameter a: .*is neither a bool, int"),
        ('<node exec="x"><param name="a" value="x: y: z"/></node>', "parameter a: .*is not valid YAML"),
        (
            '<node exec="x"><param name="a" value="[1]" type="list_of_str"/></node>',
            "parameter a: .*is not a list of str",
        ),
        (
            '<node exec="x"><param name="a" value="[1, $(env HOME)]"/></node>',
            "substitutions inside a list are not supported",
        ),
    ],
)
def test_refusals_name_file_line_and_reason(launch_file: Write, packages: Path, body: str, message: str) -> None:
    with pytest.raises(LaunchError, match=message) as caught:
        build(launch_file(f"\n{body}"))
    assert "test.launch.xml:3: " in str(caught.value) or "test.launch.xml:2: " in str(caught.value)


def test_another_root_element_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.xml"
    file.write_text("<robot/>")
    with pytest.raises(LaunchError, match=r"a\.xml:1: <robot>: the root element of a launch file must be <launch>"):
        build(file)


def test_what_is_switched_off_is_checked_all_the_same(launch_file: Write) -> None:
    with pytest.raises(LaunchError, match="unknown attribute 'kind'"):
        build(launch_file('<group if="false"><executable cmd="x" kind="y"/></group>'))


_ATTRIBUTES = {name: sorted(rule.required) for name, rule in RULES.items()}
_NAMES = st.from_regex(r"[a-z][a-z_-]{0,10}", fullmatch=True)
_WHERE = {
    "choice": '<arg name="a" default="v">{}</arg>',
    "param": '<node exec="x">{}</node>',
    "remap": '<node exec="x">{}</node>',
    "env": '<executable cmd="x">{}</executable>',
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tag=st.sampled_from(sorted(set(RULES) - {"launch"})), name=_NAMES)
def test_every_unknown_attribute_of_every_element_is_refused(launch_file: Write, tag: str, name: str) -> None:
    rule = RULES[tag]
    if name in rule.required | rule.optional:
        return
    attributes = " ".join(f'{required}="x"' for required in _ATTRIBUTES[tag])
    body = _WHERE.get(tag, "{}").format(f'<{tag} {attributes} {name}="y"/>')
    with pytest.raises(LaunchError) as caught:
        build(launch_file(body))
    assert f"test.launch.xml:2: <{tag}>: unknown attribute '{name}'" in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parent=st.sampled_from(["launch", "group", "node", "executable", "include", "arg"]), tag=_NAMES)
def test_every_unknown_element_is_refused(launch_file: Write, parent: str, tag: str) -> None:
    if tag in RULES[parent].children or tag in _WHERE:
        return
    attributes = " ".join(f'{required}="x"' for required in _ATTRIBUTES[parent])
    body = f"<{tag}/>" if parent == "launch" else f"<{parent} {attributes}><{tag}/></{parent}>"
    with pytest.raises(LaunchError) as caught:
        build(launch_file(body))
    assert f"test.launch.xml:2: <{tag}>: unknown element inside <{parent}>" in str(caught.value)
