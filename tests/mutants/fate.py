"""What becomes of a planted bug: the tests that are to catch it are run in a tree that has it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutants.mutant import Mutant, copy_of_tree

CAUGHT = "caught"
WITHIN_S = 900


def fate(mutant: Mutant) -> tuple[str, str]:
    """Plants a bug in a copy of the tree and runs its tests. Returns what became of it, and what shows that."""
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_of_tree(Path(folder))
        why_not = mutant.apply(tree)
        return ("does not apply", why_not) if why_not else _tested(mutant, tree)


def _tested(mutant: Mutant, tree: Path) -> tuple[str, str]:
    # What a run of tests tells the runs below it is not meant for this one.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "--no-header", "--tb=line", *mutant.tests],
        cwd=tree,
        env=kept | {"PYTHONPATH": f"{tree}:{tree / 'clients'}"},
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
            return CAUGHT, next(iter(lines), "")[:200]
        case _:
            # Nothing was tested: a mutant that breaks everything says nothing about its test.
            return "did not run", (ran.stdout + ran.stderr)[-500:]
