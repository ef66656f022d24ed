"""Many worlds, each from its seed: in each everything holds that must, and everything comes to its end.

A seed that fails is repeated with `python -m tests.sim SEED` and made smaller with `--shrink`. `make soak` runs more.
"""

from __future__ import annotations

import pytest

from tests.sim.many import simulated

SEEDS = 2_000
CHUNK = 100


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
@pytest.mark.timeout(120)
def test_whatever_goes_wrong_nothing_is_lost_and_everything_ends(first: int) -> None:
    for seed in range(first, first + CHUNK):
        outcome = simulated(seed)
        assert not outcome.broken, (
            f"seed {seed}: {outcome.broken}\nrepeat it: python -m tests.sim {seed}\n"
            f"make it smaller: python -m tests.sim --shrink {seed}\nplan: {outcome.plan}"
        )
