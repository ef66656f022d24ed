"""Many seeds on several processes: says which fail, and what was gone through in all."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.sim.plan import plan_of
from tests.sim.world import Outcome, run

CHUNK = 25

THOROUGH_EVERY = 10
"""In one of so many runs every seal is verified, and timelines by those who know nothing of the daemon."""


def simulated(seed: int) -> Outcome:
    """What becomes of a seed."""
    return run(plan_of(seed), is_thorough=seed % THOROUGH_EVERY == 0)


def many(seeds: range, processes: int, *, goes_on: bool, says_hashes: bool = False) -> int:
    """Run them, and say what became of them; 1 if any fails."""
    began = time.perf_counter()
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    done: list[Outcome] = []
    with ProcessPoolExecutor(processes) as pool:
        for outcomes in pool.map(partial(_chunk, goes_on=goes_on), chunks):
            done += outcomes
            for outcome in outcomes:
                if says_hashes:
                    print(f"{outcome.plan.seed} {outcome.hash}")
                if outcome.broken:
                    print(f"seed {outcome.plan.seed}: {outcome.broken}", flush=True)
            if not goes_on and any(outcome.broken for outcome in outcomes):
                pool.shutdown(cancel_futures=True)
                break
    return _sum_up(done, time.perf_counter() - began)


def _chunk(seeds: range, *, goes_on: bool) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for seed in seeds:
        outcomes.append(simulated(seed))
        if outcomes[-1].broken and not goes_on:
            break
    return outcomes


def _sum_up(done: list[Outcome], took_s: float) -> int:
    failed = sum(bool(outcome.broken) for outcome in done)
    hours = sum(outcome.seconds for outcome in done) / 3600
    print(
        f"{len(done)} seeds, {failed} failed; {sum(each.operations for each in done)} operations, "
        f"{sum(each.events for each in done)} events, {sum(each.lives for each in done)} lives, {hours:.1f} hours "
        f"in {took_s:.0f} s ({len(done) / took_s:.0f} seeds a second)"
    )
    if failed:
        print("repeat one with `python -m tests.sim SEED`, make it smaller with --shrink")
    return int(failed > 0)
