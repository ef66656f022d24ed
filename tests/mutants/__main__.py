"""Plants each bug in a copy of the tree and runs the test that should catch it.

    python -m tests.mutants [NAME …]

Ends with 1 if one survives, or if a patch no longer applies.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.mutants.fate import CAUGHT, fate
from tests.mutants.mutant import Mutant, mutants


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all, if none is said")
    said = parser.parse_args()
    known = {mutant.name: mutant for mutant in mutants()}
    if unknown := [name for name in said.names if name not in known]:
        parser.error(f"there is no mutant {', '.join(unknown)}; there are {', '.join(known)}")
    fates = [_told(known[name]) for name in said.names or known]
    caught = fates.count(CAUGHT)
    print(f"{caught} of {len(fates)} caught")
    sys.exit(int(caught < len(fates)))


def _told(mutant: Mutant) -> str:
    began = time.perf_counter()
    what, why = fate(mutant)
    print(f"{what:>14}  {mutant.name} ({time.perf_counter() - began:.0f} s): {why}", flush=True)
    return what


if __name__ == "__main__":
    main()
