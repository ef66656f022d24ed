"""The token bucket: never faster than the rate, and nothing lost by looking."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hmsactd.services.pace import UNLIMITED, Pace

SECOND = 1_000_000
START = 1_767_603_600_000_000


def test_without_a_rate_there_is_room_for_any_number() -> None:
    pace = Pace(None)
    pace.spend(START)
    assert pace.room(START) == UNLIMITED
    assert pace.room_at(START) == START


def test_a_rate_below_one_still_lets_one_out() -> None:
    pace = Pace(0.5)
    assert pace.room(START) == 1
    pace.spend(START)
    assert pace.room(START) == 0
    next_at = pace.room_at(START)
    assert abs(next_at - START - 2 * SECOND) <= 1
    assert pace.room(next_at) == 1


def test_time_without_calls_is_saved_up_for_a_tenth_of_a_second_only() -> None:
    pace = Pace(100)
    assert pace.room(START + 3600 * SECOND) == 10


def test_while_it_is_shut_there_is_no_room() -> None:
    for pace in (Pace(None), Pace(10)):
        pace.shut(START + SECOND)
        pace.shut(START)
        assert pace.room(START) == 0
        assert pace.room_at(START) == START + SECOND
        assert pace.room(START + SECOND) > 0


@given(st.floats(0.5, 5_000), st.lists(st.integers(0, 300_000), max_size=300))
def test_in_no_second_are_there_more_than_the_rate_and_a_tenth(rate: float, gaps: list[int]) -> None:
    pace, now, begun = Pace(rate), START, list[int]()
    for gap in gaps:
        now += gap
        for _ in range(min(pace.room(now), 50)):
            pace.spend(now)
            begun.append(now)
    most = rate * 1.1 + 1
    for index, at in enumerate(begun):
        assert sum(at <= other < at + SECOND for other in begun[index:]) <= most


@given(st.floats(0.1, 5_000), st.integers(1, 100))
def test_at_the_time_that_it_says_there_is_room(rate: float, calls: int) -> None:
    pace, now = Pace(rate), START
    for _ in range(calls):
        now = pace.room_at(now)
        assert pace.room(now) >= 1
        pace.spend(now)


def test_a_clock_that_is_set_back_costs_nothing() -> None:
    pace = Pace(1)
    pace.spend(START)
    assert pace.room(START - SECOND) == 0
    assert pace.room(START + SECOND) == 1
