"""Runs simulations, repeats one with a trace, makes a failing one smaller.

    python -m tests.sim 4711                  repeat a seed, and say what happens in it
    python -m tests.sim --shrink 4711         the smallest plan that still fails
    python -m tests.sim --seeds 0..2000 -j 2  many, on so many processes

Ends with 1 if something is broken.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.sim.plan import plan_of
from tests.sim.shrink import shrunk
from tests.sim.world import Outcome, run

CHUNK = 25


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seed", type=int, nargs="?", help="a seed to repeat")
    parser.add_argument("--shrink", action="store_true", help="make it smaller")
    parser.add_argument("--seeds", help="A..B: from A to before B")
    parser.add_argument("-j", type=int, default=1, help="processes")
    parser.add_argument("--go-on", action="store_true", help="do not stop at the first that fails")
    parser.add_argument("--quiet", action="store_true", help="no trace")
    parser.add_argument("--hashes", action="store_true", help="say the hash of every seed")
    said = parser.parse_args()
    if said.seeds:
        first, _, last = said.seeds.partition("..")
        sys.exit(_many(range(int(first), int(last)), said.j, go_on=said.go_on, says_hashes=said.hashes))
    if said.seed is None:
        parser.error("say a seed, or --seeds A..B")
    if said.shrink:
        sys.exit(_tell(shrunk(plan_of(said.seed), print)))
    sys.exit(_tell(run(plan_of(said.seed), None if said.quiet else print, is_thorough=True)))


def _tell(outcome: Outcome) -> int:
    print(f"plan: {outcome.plan}")
    print(f"{outcome.operations} operations, {outcome.events} events, {outcome.lives} lives, {outcome.seconds:.0f} s, hash {outcome.hash}")
    print(f"BROKEN {outcome.broken}" if outcome.broken else "all holds")
    return int(bool(outcome.broken))


def _many(seeds: range, processes: int, *, go_on: bool, says_hashes: bool) -> int:
    began = time.perf_counter()
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    failed = done = events = lives = 0
    seconds = 0.0
    with ProcessPoolExecutor(processes) as pool:
        for outcomes in pool.map(partial(_chunk, go_on=go_on), chunks):
            for outcome in outcomes:
                done += 1
                events += outcome.events
                lives += outcome.lives
                seconds += outcome.seconds
                if says_hashes:
                    print(f"{outcome.plan.seed} {outcome.hash}")
                if outcome.broken:
                    failed += 1
                    print(f"seed {outcome.plan.seed}: {outcome.broken}", flush=True)
            if failed and not go_on:
                pool.shutdown(cancel_futures=True)
                break
    took = time.perf_counter() - began
    print(f"{done} seeds, {failed} failed; {events} events, {lives} lives, {seconds / 3600:.1f} h in {took:.0f} s ({done / took:.0f}/s)")
    if failed:
        print("repeat one with `python -m tests.sim SEED`, make it smaller with --shrink")
    return int(bool(failed))


def _chunk(seeds: range, *, go_on: bool) -> list[Outcome]:
    outcomes = []
    for seed in seeds:
        outcomes.append(run(plan_of(seed), is_thorough=seed % 10 == 0))
        if outcomes[-1].broken and not go_on:
            break
    return outcomes


if __name__ == "__main__":
    main()
