"""The daemon dies once at every failpoint there is, and nothing is lost by it."""

from __future__ import annotations

import pytest

from tests.sim.failpoints import POINTS, Point, point_of
from tests.sim.plan import Plan
from tests.sim.world import run

SEEDS_MAX = 100
"""Worlds that are tried until one comes to the point."""


def plan_with(point: Point, seed: int) -> Plan:
    """A plan in which everything happens now and then that is ever recorded."""
    return Plan(
        seed,
        seconds=20,
        items_max=3,
        write_doubts=0.05,
        full_spells=1,
        meddling=0.8,
        step_fails=0.45,
        worker_crashes=0.08,
        worker_late=0.2,
        worker_defers=0.1,
        failpoint=str(point),
    )


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_death_here_loses_nothing(point: Point) -> None:
    for seed in range(SEEDS_MAX):
        outcome = run(plan_with(point, seed))
        assert not outcome.broken, f"{outcome.broken}\nplan: {outcome.plan}"
        if outcome.died_at:
            assert point_of(outcome.died_at) == point
            return
    raise AssertionError(f"no world comes to {point}")
