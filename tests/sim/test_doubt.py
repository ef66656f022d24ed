"""Worlds in which nobody knows of many a write whether it was kept, and the disk takes its time to say."""

from __future__ import annotations

import pytest

from tests.sim.plan import Plan
from tests.sim.world import run

SEEDS = 150
CHUNK = 50


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_what_comes_to_light_late_is_gone_on_from(first: int) -> None:
    for seed in range(first, first + CHUNK):
        plan = Plan(
            seed,
            seconds=8,
            clients=3,
            starts=4,
            items_max=2,
            watchers=0,
            write_doubts=0.4,
            slow=0.5,
            read_fails=0.1,
            leaves=0.2,
        )
        outcome = run(plan)
        assert not outcome.broken, f"{outcome.broken}\nplan: {outcome.plan}"
