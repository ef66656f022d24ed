"""The same seed is the same run: every record to the byte, whatever ran before, in any process."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.sim.plan import plan_of
from tests.sim.world import run

SEEDS = 50


def hashes(hash_seed: str) -> str:
    told = subprocess.run(
        [sys.executable, "-m", "tests.sim", "--seeds", f"0..{SEEDS}", "--hashes"],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return "".join(line for line in told.stdout.splitlines(keepends=True) if "seeds" not in line)


def test_the_same_seed_gives_the_same_records_in_any_process_and_order_of_hashes() -> None:
    here = "".join(f"{seed} {run(plan_of(seed)).hash}\n" for seed in range(SEEDS))
    assert hashes("1") == here
    assert hashes("2") == here


def test_different_seeds_give_different_records() -> None:
    assert len({run(plan_of(seed)).hash for seed in range(10)}) == 10
