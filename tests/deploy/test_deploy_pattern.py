"""Patterns: what they match, what is refused, and that nothing else happens."""

from __future__ import annotations

import contextlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_deploy.pictures.pattern import FIELDS, IGNORED, parse
from crosscam_kernels.errors import UsageError
from crosscam_trainer.data.scan import natural_key


@pytest.mark.parametrize(
    ("pattern", "path", "fields"),
    [
        ("{person}/{camera}_{view}.png", "007/a_3.png", {"person": "007", "camera": "a"}),
        ("{person}/{camera}_{view}.png", "007/a_b_3.png", {"person": "007", "camera": "a"}),
        ("{person}/{camera}_{view}.png", "x/007/a_3.png", None),
        ("{person}/{camera}_{view}.png", "007/a_3.jpg", None),
        ("{person}/{camera}_{view}.png", "007/_3.png", None),
        (
            "{person}_{camera:digits}.{ext}",
            "a_b_12.jpeg",
            {"person": "a_b", "camera": "12"},
        ),
        ("{camera:letters}{person:digits}.png", "cam12.png", {"person": "12", "camera": "cam"}),
        ("{person}/{person}_{camera}.png", "1/1_2.png", {"person": "1", "camera": "2"}),
        ("{person}/{person}_{camera}.png", "1/3_2.png", None),
        ("{split}/{_}/{person}/{_}.png", "train/x/3/y.png", {"split": "train", "person": "3"}),
        ("{{{person}}}.png", "{5}.png", {"person": "5"}),
        ("{person}[1].png", "a[1].png", {"person": "a"}),
        ("{person}[1].png", "a1.png", None),
        ("{person}.png", "späti.png", {"person": "späti"}),
        ("{person}/{camera}.png", "a/b.PNG", {"person": "a", "camera": "b"}),
        ("{person}/a.{camera}.png", "a/A.b.png", None),
    ],
)
def test_matching(pattern: str, path: str, fields: dict[str, str] | None) -> None:
    assert parse(pattern).match(path) == fields


@pytest.mark.parametrize(
    ("pattern", "path", "fields"),
    [
        ("{person}/{camera}_{view}.png", "7/a_3.png", None),
        ("{person}/{camera}_{view}.png", "7/a_b_3.png", {"person": "7", "camera": "a_b"}),
        ("{person}/{camera}_{view:digits}.png", "7/a_b_3.png", None),
        ("{person}_{camera}.png", "a_b_3.png", {"person": "a_b", "camera": "3"}),
        ("{person}/{_}_{_}.png", "7/a_b_3.png", None),
    ],
)
def test_names_that_can_be_read_in_two_ways(
    pattern: str, path: str, fields: dict[str, str] | None
) -> None:
    assert parse(pattern).other(path) == fields


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("", "does not say where the person is"),
        ("{camera}.png", "does not say where the person is"),
        ("{person}{camera}.png", "without text between"),
        ("{person}{camera:digits}.png", "without text between"),
        ("{person:digits}{camera:digits}.png", "without text between"),
        ("{persn}.png", "unknown field"),
        ("{person:hex}.png", "unknown type 'hex'"),
        ("{person.png", "single '{'"),
        ("person}.png", "single '}'"),
        ("{}.png", "unknown field"),
        ("/{person}.png", "not a path below"),
        ("../{person}.png", "not a path below"),
        ("a//{person}.png", "not a path below"),
        ("-".join(["{person}"] + ["{_}"] * 12), "13 fields"),
    ],
)
def test_refused(pattern: str, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("{", r"\{").replace("}", r"\}")):
        parse(pattern)


@given(st.text(alphabet="{}:_/.abpersoncamera0 \\[](*+?|^$", max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        pattern = parse(text)
        fields = pattern.match("a/person_0.abc")
        assert fields is None or fields["person"]


_VALUE = st.text(alphabet="abc019é-", min_size=1, max_size=6)


@given(
    st.lists(st.sampled_from(FIELDS[1:] + IGNORED), max_size=4, unique=True),
    st.lists(st.sampled_from(["_", "/", "__", ".x.", "_{{", " + "]), min_size=6, max_size=6),
    st.data(),
)
def test_written_by_a_pattern_is_read_by_it(
    names: list[str], between: list[str], data: st.DataObject
) -> None:
    """Values without the separators' characters come back as they were."""
    order = data.draw(st.permutations(["person", *names]))
    values = {name: data.draw(_VALUE) for name in order}
    pieces, path = [], []
    for name, text in zip(order, between, strict=False):
        pieces += [f"{{{name}}}", text]
        path += [values[name], text.replace("{{", "{")]
    pattern = parse("".join(pieces) + "end")
    expected = {name: value for name, value in values.items() if name not in IGNORED}
    assert pattern.match("".join(path) + "end") == expected


@given(st.lists(st.text(alphabet="a0123c", max_size=6)), st.randoms())
def test_natural_order_is_an_order(names: list[str], random: Random) -> None:
    shuffled = random.sample(names, len(names))
    assert sorted(shuffled, key=natural_key) == sorted(names, key=natural_key)
    assert sorted(["c10", "c2", "c1"], key=natural_key) == ["c1", "c2", "c10"]
