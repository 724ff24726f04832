"""Plain data comes out of YAML with the line of every key; anything else is refused with its place."""

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from src.config.yaml_source import dump, parse
from src.utils.errors import UserError

REFUSED = {
    "python tag": ("a: !!python/object/apply:os.system [ls]", "f:1: the tag !!python/object/apply:os.system"),
    "own tag": ("a: 1\nb: !secret x", "f:2: the tag !secret is not allowed"),
    "tag on a key": ("!!python/name:os.system : 1", "f:1: the tag !!python/name:os.system"),
    "set": ("a: !!set {b}", "f:1: the tag !!set"),
    "duplicate": ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3", "f:5: duplicate key 'c', first given at f:3"),
    "duplicate spelt otherwise": ("a: 1\n'a': 2", "f:2: duplicate key 'a', first given at f:1"),
    "list as key": ("[a]: 1", "f:1: a key must be a name"),
    "two documents": ("a: 1\n---\nb: 2", "f:2:1: a second YAML document"),
    "open bracket": ("a: [1, 2\nb: 3", "f:2:2: not valid YAML"),
    "bad indentation": ("a: 1\n  b: 2", "f:2:4: not valid YAML"),
    "tab": ("a:\n\tb: 1", "f:2:1: not valid YAML"),
    "undefined alias": ("a: *b", "f:1:4: not valid YAML: found undefined alias 'b'"),
    "control character": ("a: 1\nb: \x07", "f:2: the character 0x7"),
    "recursive list": ("a: &a [*a]", "f:1: an alias refers to the value that contains it"),
    "recursive mapping": ("a: &a\n  b: *a", "an alias refers to the value that contains it"),
    "recursive merge": ("a: &a\n  <<: *a", "an alias refers to the value that contains it"),
    "merge of a number": ("a:\n  <<: 3", "f:2: '<<' takes a mapping"),
    "not a number": ("a: !!int twelve", "f:1: 'twelve' cannot be read as int"),
    "not a boolean": ("a: !!bool maybe", "f:1: 'maybe' cannot be read as bool"),
    "deep nesting": ("a: " + "[" * 5000, "f: nested too deeply"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals_say_what_and_where(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text, "f")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "template", ["a{0}: &a{0} [*a{1}, *a{1}]", "a{0}: &a{0} {{<<: [*a{1}, *a{1}], k{0}: 1}}"]
)
def test_exploding_aliases_are_stopped(template: str) -> None:
    lines = ["a0: &a0 " + ("{k: 1}" if "<<" in template else "[1]")]
    lines += [template.format(level, level - 1) for level in range(1, 40)]
    with pytest.raises(UserError, match="aliases multiply the file"):
        parse("\n".join(lines), "f")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("3.", 3.0),
        (".inf", math.inf),
        ("60", 60),
        ("1_000", 1000),
        ("-1", -1),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("e5", "e5"),
        ("'1e-3'", "1e-3"),
        ("no", False),
        ("~", None),
        ("none", "none"),
    ],
)
def test_scalars_read_as_an_experimenter_means_them(text: str, value: object) -> None:
    read = parse(f"a: {text}", "f")[0]["a"]
    assert (type(read), read) == (type(value), value)


def test_every_key_remembers_its_line() -> None:
    _, places = parse("# note\na: 1\n\nb:\n  c: [1,\n    2]\n  d: {e: 3}\n", "f")
    assert places == {"a": "f:2", "b": "f:4", "b.c": "f:5", "b.d": "f:7", "b.d.e": "f:7"}


MERGING = """
first: &first {x: 1, y: 1}
second: &second {y: 2, z: 2}
one: {<<: *first, x: 5}
both: {<<: [*first, *second], w: *second}
list: &list [1, 2]
same: *list
"""


def test_aliases_and_merge_keys_give_what_pyyaml_gives() -> None:
    data, places = parse(MERGING, "f")
    assert data == yaml.safe_load(MERGING)
    assert (places["one.x"], places["one.y"]) == ("f:4", "f:2")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_document_is_none(text: str) -> None:
    assert parse(text, "f") == (None, {})


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
LOOKALIKES = st.sampled_from(
    ["1e5", "1e-3", "010", "no", "~", "null", ".5", "1_0", "<<", "2024-01-01", "=", "a: b"]
)
PLAIN: st.SearchStrategy[Any] = st.recursive(
    SCALARS | LOOKALIKES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | LOOKALIKES, inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), PLAIN, max_size=4))
def test_what_is_dumped_is_read_back(data: dict[str, Any]) -> None:
    read, _ = parse(dump(data), "f")
    assert read == data
    assert repr(read) == repr(data)  # tells 1 from 1.0 and True
