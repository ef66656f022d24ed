"""Lengths of time, and that the daemon spells them alike."""

from datetime import timedelta

import pytest
from hmsact import InvalidArgument
from hmsact.duration import MOST_MS, milliseconds, seconds, text_of
from hypothesis import given
from hypothesis import strategies as st

from hmsactd.definition import duration as daemon

TEN_YEARS_MS = 315_360_000_000


@given(st.integers(1, TEN_YEARS_MS))
def test_text_of_a_length_is_read_as_the_same_length_here_and_by_the_daemon(length_ms: int) -> None:
    text = text_of(length_ms)
    assert milliseconds(text) == length_ms
    assert daemon.parse(text) == length_ms
    assert daemon.spell(length_ms) == text


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [("500ms", 500), ("2m", 120_000), ("1h30m", 5_400_000), ("2d", 172_800_000), ("1w", 604_800_000), ("0s", 0)],
)
def test_lengths_are_read(text: str, expected_ms: int) -> None:
    assert milliseconds(text) == expected_ms


@pytest.mark.parametrize("text", ["", "2", "2 m", "m", "-2m", "1.5h", "2minutes"])
def test_what_is_no_length_of_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidArgument, match="1h30m"):
        milliseconds(text)


def test_numbers_are_seconds_where_they_are_allowed() -> None:
    assert seconds(2) == 2.0
    assert seconds(timedelta(minutes=1)) == 60.0
    assert seconds("250ms") == 0.25


def test_nothing_and_less_can_be_spelt() -> None:
    assert text_of(0) == "0s"
    assert text_of(-90_000) == "-1m30s"


@pytest.mark.parametrize("duration", ["999999999w", "9" * 5000 + "s", timedelta.max, timedelta.min])
def test_more_than_a_request_can_say_is_refused(duration: str | timedelta) -> None:
    with pytest.raises(InvalidArgument, match=r"too long|not a length"):
        milliseconds(duration)
    assert milliseconds("3652500d") == MOST_MS
