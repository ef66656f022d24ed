"""Runs simulations, repeats one with a trace, makes a failing one smaller.

    python -m tests.sim 4711                  repeat a seed, and say what happens in it
    python -m tests.sim --shrink 4711         the smallest plan that still fails
    python -m tests.sim --seeds 0..2000 -j 2  many, on so many processes

Ends with 1 if something is broken.
"""

from __future__ import annotations

import argparse
import sys

from tests.sim.many import many
from tests.sim.plan import plan_of
from tests.sim.shrink import shrunk
from tests.sim.world import Outcome, run


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seed", type=int, nargs="?", help="a seed to repeat")
    parser.add_argument("--shrink", action="store_true", help="make it smaller")
    parser.add_argument("--quiet", action="store_true", help="no trace")
    parser.add_argument("--seeds", help="A..B: from A to before B")
    parser.add_argument("-j", type=int, default=1, help="processes")
    parser.add_argument("--go-on", action="store_true", help="do not stop at the first that fails")
    parser.add_argument("--hashes", action="store_true", help="say the hash of every seed")
    said = parser.parse_args()
    if said.seeds:
        first, _, last = said.seeds.partition("..")
        sys.exit(many(range(int(first), int(last)), said.j, goes_on=said.go_on, says_hashes=said.hashes))
    if said.seed is None:
        parser.error("say a seed, or --seeds A..B")
    if said.shrink:
        sys.exit(_tell(shrunk(plan_of(said.seed), print)))
    sys.exit(_tell(run(plan_of(said.seed), None if said.quiet else print, is_thorough=True)))


def _tell(outcome: Outcome) -> int:
    print(f"plan: {outcome.plan}")
    print(f"{outcome.operations} operations, {outcome.events} events, {outcome.lives} lives, {outcome.seconds:.0f} s")
    print(f"BROKEN {outcome.broken}" if outcome.broken else f"all holds; hash {outcome.hash}")
    return int(bool(outcome.broken))


if __name__ == "__main__":
    main()
