"""Reading launch XML and its substitutions."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumper_bringup.launch_source import SUBSTITUTIONS, Call, LaunchError, parse_text, read, unescape


def parsed(source: str) -> object:
    return parse_text(source, LaunchError)


def call(name: str, *arguments: object) -> Call:
    return Call(name, tuple(a if isinstance(a, tuple) else (a,) for a in arguments))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", ()),
        ("plain text, (brackets) and $5", ("plain text, (brackets) and $5",)),
        ("$(var a)", (call("var", "a"),)),
        ("x$(var a)y", ("x", call("var", "a"), "y")),
        ("$(env A b)", (call("env", "A", "b"),)),
        ("$(env A '')", (call("env", "A", ()),)),
        ("$(env A 'b c')", (call("env", "A", "b c"),)),
        ('$(env A "b) c")', (call("env", "A", "b) c"),)),
        ("$(env A '$(var b) c')", (call("env", "A", (call("var", "b"), " c")),)),
        ("$(var $(env A))", (call("var", (call("env", "A"),)),)),
        ("$(var a$(var b)c)", (call("var", ("a", call("var", "b"), "c")),)),
        ("$(find-pkg-share p)/x", (call("find-pkg-share", "p"), "/x")),
        ("$(dirname)/../config", (call("dirname"), "/../config")),
        (r"\$(var a)", ("$(var a)",)),
        (r"a\\b", ("a\\b",)),
        (r"$(env A \(\))", (call("env", "A", "()"),)),
    ],
)
def test_text_is_split_into_literals_and_substitutions(source: str, expected: object) -> None:
    assert parsed(source) == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("$(var a", "is not closed"),
        ("$(var 'a)", "missing '"),
        ("$()", "not followed by the name"),
        ("$(var)", r"takes 1 or 2 argument\(s\), not 0"),
        ("$(var a b c)", r"takes 1 or 2 argument\(s\), not 3"),
        ("$(dirname x)", r"takes 0 argument\(s\), not 1"),
        ("$(find-pkg-share)", r"takes 1 argument\(s\), not 0"),
        ("$(var  a)", "is empty"),
        ("$(eval 1 + 1)", r"unknown substitution \$\(eval\)"),
        ("$(eval '1')", r"unknown substitution \$\(eval\)"),
        ("$(var a(b))", "unexpected \\("),
    ],
)
def test_what_is_no_substitution_is_an_error(source: str, message: str) -> None:
    with pytest.raises(LaunchError, match=message):
        parsed(source)


# XML allows no control characters.
@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs"])).filter(lambda text: "$(" not in text and "\\" not in text)
)
def test_text_without_substitutions_stays_as_it_is(text: str) -> None:
    assert parsed(text) == ((text,) if text else ())


@given(st.text(alphabet=st.sampled_from("ab$()'\"\\ {}")))
def test_any_text_can_be_written_by_escaping(text: str) -> None:
    escaped = "".join(f"\\{character}" for character in text)
    assert parsed(escaped) == ((text,) if text else ())
    assert unescape(escaped) == text


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,12}", fullmatch=True).filter(lambda name: name not in SUBSTITUTIONS))
def test_every_other_substitution_is_refused_by_name(name: str) -> None:
    with pytest.raises(LaunchError) as caught:
        parsed(f"$({name} x)")
    assert f"$({name})" in str(caught.value)


@given(st.text(alphabet=st.sampled_from("$(varenv )'\"\\ab")))
def test_any_input_gives_a_result_or_a_launch_error(text: str) -> None:
    with contextlib.suppress(LaunchError):
        parsed(text)


def test_elements_know_their_line(tmp_path: Path) -> None:
    file = tmp_path / "a.launch.xml"
    file.write_text(
        '<?xml version="1.0"?>\n<launch>\n  <!-- comment -->\n  <arg name="a"/>\n\n  <let name="b" value="c"/>\n</launch>'
    )
    assert [(child.tag, child.position.line) for child in read(file).children] == [("arg", 4), ("let", 6)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<launch>\n<node>\n</launch>", r":3: not well-formed XML: mismatched tag"),
        ("<launch>\n  hello\n</launch>", r":2: text 'hello' between elements"),
        ('<launch><arg name="a" name="b"/></launch>', r":1: not well-formed XML: duplicate attribute"),
        ("", "not well-formed XML: no element found"),
    ],
)
def test_bad_xml_is_named_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.launch.xml"
    file.write_text(text)
    with pytest.raises(LaunchError, match=message) as caught:
        read(file)
    assert str(file) in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"absent\.launch\.xml: cannot be read: No such file"):
        read(tmp_path / "absent.launch.xml")
