"""Many worlds, each from its seed: in each everything holds that must, and everything comes to its end.

A seed that fails is repeated with `python -m tests.sim SEED` and made smaller with `--shrink`; `make soak` runs 100,000.
"""

from __future__ import annotations

import pytest

from tests.sim.plan import plan_of
from tests.sim.world import run

SEEDS = 2_000
CHUNK = 100
THOROUGH_EVERY = 10
"""In so many runs every seal is verified, and every timeline by those who know nothing of the daemon."""


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
@pytest.mark.timeout(120)
def test_whatever_goes_wrong_nothing_is_lost_and_everything_ends(first: int) -> None:
    for seed in range(first, first + CHUNK):
        outcome = run(plan_of(seed), is_thorough=seed % THOROUGH_EVERY == 0)
        assert not outcome.broken, (
            f"seed {seed}: {outcome.broken}\nrepeat it: python -m tests.sim {seed}\n"
            f"make it smaller: python -m tests.sim --shrink {seed}\nplan: {outcome.plan}"
        )
