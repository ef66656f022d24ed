"""Long runs with faults: the tests that draw their faults from a seed, with many more of them. `make soak`.

    python -m tests.soak [--kills 500] [--lives 50000] [--troubles 2000] [--images 10000] [--seed N]

What failed is repeated with the seed that is printed. Ends with the exit code of pytest.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys

LIVES_MIN = 600
TESTS = (
    "tests/core/test_any_order.py",
    "tests/engine/test_kill.py",
    "tests/crash/test_sigkill.py",
    "tests/power/test_power_cut.py",
)


def main() -> None:
    """Run the tests, in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500, help="SIGKILLs of the daemon under load")
    parser.add_argument("--lives", type=int, default=50_000, help="lives of an operation, against the model")
    parser.add_argument("--troubles", type=int, default=2_000, help="mixes of failures around an actor")
    parser.add_argument("--images", type=int, default=10_000, help="disks as a power cut leaves them")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="of when the daemon is killed")
    said = parser.parse_args()
    if said.lives < LIVES_MIN:
        parser.error(f"fewer than {LIVES_MIN} lives do not bring about everything that is looked for in them")
    sys.stdout.write(f"soak: seed {said.seed}\n")
    sys.stdout.flush()
    numbers = {
        "KILLS": said.kills,
        "LIVES": said.lives,
        "TROUBLES": said.troubles,
        "IMAGES": said.images,
        "SEED": said.seed,
    }
    environment = os.environ | {f"HMSACT_SOAK_{name}": str(number) for name, number in numbers.items()}
    os.execve(sys.executable, [sys.executable, "-m", "pytest", "-q", "--timeout=0", *TESTS], environment)


if __name__ == "__main__":
    main()
