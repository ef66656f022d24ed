"""The circuit breaker, as a dialogue."""

from __future__ import annotations

from random import Random

import pytest

from hmsactd.services.breaker import Breaker, BreakerState

SECOND = 1_000_000


@pytest.fixture
def breaker() -> Breaker:
    return Breaker(failures_max=3, pause_us=SECOND, pause_max_us=8 * SECOND, chance=Random(1))


def fail(breaker: Breaker, times: int, now: int = 0) -> list[bool]:
    generation = breaker.generation
    return [breaker.heard(generation, False, now) for _ in range(times)]


def test_it_opens_after_so_many_failures_in_a_row(breaker: Breaker) -> None:
    assert fail(breaker, 3) == [False, False, True]
    assert breaker.state is BreakerState.OPEN


def test_a_success_between_starts_the_count_anew(breaker: Breaker) -> None:
    fail(breaker, 2)
    assert not breaker.heard(breaker.generation, True, 0)
    assert fail(breaker, 2) == [False, False]
    assert breaker.state is BreakerState.CLOSED


def test_failures_of_calls_that_were_under_way_when_it_opened_change_nothing(breaker: Breaker) -> None:
    generation = breaker.generation
    fail(breaker, 3)
    look_at = breaker.look_at
    assert not breaker.heard(generation, False, 5 * SECOND)
    assert not breaker.heard(generation, True, 5 * SECOND)
    assert (breaker.state, breaker.look_at) == (BreakerState.OPEN, look_at)


def test_once_it_is_there_again_one_call_decides(breaker: Breaker) -> None:
    old = breaker.generation
    fail(breaker, 3)
    assert breaker.looked(True, SECOND)
    assert breaker.state is BreakerState.HALF_OPEN
    # One from before the outage is no such call.
    assert not breaker.heard(old, True, SECOND)
    assert breaker.heard(breaker.generation, True, SECOND)
    assert str(breaker.state) == "closed"


def test_a_call_that_fails_then_opens_it_again_at_once(breaker: Breaker) -> None:
    fail(breaker, 3)
    breaker.looked(True, SECOND)
    assert fail(breaker, 1, SECOND) == [True]
    assert breaker.state is BreakerState.OPEN


def test_pauses_double_up_to_the_longest_and_vary_by_a_quarter(breaker: Breaker) -> None:
    fail(breaker, 3)
    pauses, now = [breaker.look_at], 0
    for _ in range(6):
        now = breaker.look_at
        assert not breaker.looked(False, now)
        pauses.append(breaker.look_at - now)
    for pause, whole in zip(pauses, (1, 2, 4, 8, 8, 8, 8), strict=True):
        assert 0.75 * whole * SECOND <= pause <= whole * SECOND
    assert len(set(pauses[3:])) > 1


def test_pauses_go_on_growing_while_only_the_look_succeeds_and_start_anew_once_a_call_does(breaker: Breaker) -> None:
    fail(breaker, 3)
    breaker.looked(True, 0)
    fail(breaker, 1, 0)
    assert breaker.look_at > SECOND
    breaker.looked(True, 0)
    breaker.heard(breaker.generation, True, 0)
    fail(breaker, 3, 0)
    assert breaker.look_at <= SECOND
