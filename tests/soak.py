"""Long runs with faults: the tests that draw their faults from a seed, with many more of them. `make soak`.

    python -m tests.soak [--worlds 100000] [--kills 500] [--pauses 50] [--lives 50000] [--troubles 2000]
        [--images 10000] [--places 1000000] [--clocks 100000] [--mutations 100000] [--wire 10000]
        [--streams 100000] [--seed N]

First the worlds of tests/sim, whose seeds begin at N; then, in pytest, the rest; then every planted bug. What failed is
repeated with the seed that is printed. Ends with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys

from tests.sim.many import many

LIVES_MIN = 600
TESTS = (
    "tests/core/test_any_order.py",
    "tests/engine/test_kill.py",
    "tests/crash/test_sigkill.py",
    "tests/crash/test_paused.py",
    "tests/crash/test_followers.py",
    "tests/power/test_power_cut.py",
    "tests/faults/test_every_fault.py",
    "tests/scale/test_due_together.py",
    "tests/hostile/test_mutated_requests.py",
    "tests/hostile/test_on_the_wire.py",
    "tests/hostile/test_cancelled_streams.py",
)


def main() -> None:
    """Run the tests, in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500, help="SIGKILLs of the daemon under load")
    parser.add_argument("--pauses", type=int, default=50, help="SIGSTOPs of the daemon under load")
    parser.add_argument("--lives", type=int, default=50_000, help="lives of an operation, against the model")
    parser.add_argument("--troubles", type=int, default=2_000, help="mixes of failures around an actor")
    parser.add_argument("--images", type=int, default=10_000, help="disks as a power cut leaves them")
    parser.add_argument(
        "--places", type=int, default=1_000_000, help="places of each fault of the disk, if there are so many"
    )
    parser.add_argument("--clocks", type=int, default=100_000, help="clocks that run out within one second")
    parser.add_argument("--mutations", type=int, default=100_000, help="hostile requests, of every RPC")
    parser.add_argument("--streams", type=int, default=100_000, help="streams that are taken back")
    parser.add_argument("--wire", type=int, default=10_000, help="hostile messages on the wire")
    parser.add_argument("--worlds", type=int, default=100_000, help="simulations of the daemon and all around it")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="of when the daemon is killed")
    said = parser.parse_args()
    if said.lives < LIVES_MIN:
        parser.error(f"fewer than {LIVES_MIN} lives do not bring about everything that is looked for in them")
    sys.stdout.write(f"soak: seed {said.seed}\n")
    sys.stdout.flush()
    numbers = {
        "KILLS": said.kills,
        "PAUSES": said.pauses,
        "LIVES": said.lives,
        "TROUBLES": said.troubles,
        "IMAGES": said.images,
        "PLACES": said.places,
        "CLOCKS": said.clocks,
        "MUTATIONS": said.mutations,
        "WIRE": said.wire,
        "STREAMS": said.streams,
        "SEED": said.seed,
    }
    environment = os.environ | {f"HMSACT_SOAK_{name}": str(number) for name, number in numbers.items()}
    processes = os.cpu_count() or 1
    has_failed = many(range(said.seed, said.seed + said.worlds), processes, goes_on=True)
    ran = subprocess.run([sys.executable, "-m", "pytest", "-q", "--timeout=0", *TESTS], env=environment, check=False)
    planted = subprocess.run([sys.executable, "-m", "tests.mutants"], check=False)
    sys.exit(int(bool(has_failed or ran.returncode or planted.returncode)))


if __name__ == "__main__":
    main()
