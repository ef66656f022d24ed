"""Plants each bug in a copy of the tree and runs the test that should catch it.

    python -m tests.mutants [NAME …]

Ends with 1 if one survives, or if a patch no longer applies.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.mutant import Mutant, copy_of_tree, mutants

WITHIN_S = 900


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all, if none is said")
    said = parser.parse_args()
    known = {mutant.name: mutant for mutant in mutants()}
    if unknown := [name for name in said.names if name not in known]:
        parser.error(f"there is no mutant {', '.join(unknown)}; there are {', '.join(known)}")
    fates = [_fate(known[name]) for name in said.names or known]
    caught = fates.count("caught")
    print(f"{caught} of {len(fates)} caught")
    sys.exit(int(caught < len(fates)))


def _fate(mutant: Mutant) -> str:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_of_tree(Path(folder))
        why_not = mutant.apply(tree)
        fate, told = ("does not apply", why_not) if why_not else _tested(mutant, tree)
    print(f"{fate:>14}  {mutant.name} ({time.perf_counter() - began:.0f} s): {told}", flush=True)
    return fate


def _tested(mutant: Mutant, tree: Path) -> tuple[str, str]:
    environment = os.environ | {"PYTHONPATH": f"{tree}:{tree / 'clients'}"}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "--tb=line", *mutant.tests],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )
    lines = [line for line in ran.stdout.splitlines() if "Error" in line or "Broken" in line or "seed " in line]
    match ran.returncode:
        case 0:
            return "SURVIVED", mutant.what
        case 1:
            return "caught", next(iter(lines), "")[:200]
        case _:
            # Nothing was tested: a mutant that breaks everything says nothing about its test.
            return "did not run", (ran.stdout + ran.stderr)[-500:]


if __name__ == "__main__":
    main()
