"""What goes out as JSON is exactly what was meant, or is refused at its place."""

import json
from typing import Any

import pytest
from hmsact import InvalidArgument
from hmsact.json_text import read, write
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


def faults_of(value: Any) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as caught:
        write(value, "input")
    return {violation.field: violation.description for violation in caught.value.violations}


@given(VALUES)
def test_what_is_written_is_read_as_the_same(value: Any) -> None:
    assert read(write(value)) == value


def test_every_fault_is_told_with_its_pointer() -> None:
    assert faults_of({"a/b": [1, {2, 3}], "n~n": float("nan"), "ok": 1, "when": {"at": object()}}) == {
        "input/a~1b/1": "a set has no JSON form",
        "input/n~0n": "nan has no JSON form",
        "input/when/at": "a object has no JSON form",
    }


def test_keys_that_json_would_silently_change_are_refused() -> None:
    assert json.dumps({1: "a"}) == '{"1": "a"}'
    assert faults_of({"x": {1: "a"}}) == {"input/x": "the key 1 is not a text"}


def test_half_a_character_is_refused() -> None:
    assert list(faults_of({"a": "\ud800"})) == ["input/a"]
    assert list(faults_of({"\ud800": 1})) == ["input"]


def test_a_circle_is_refused_instead_of_recursing() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert list(faults_of(circle).values()) == ["is nested too deeply"]


def test_no_text_is_nothing() -> None:
    assert read(b"") is None
