"""One planted bug: a patch in this folder, whose text above the diff says what it is and which test is to catch it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

LEFT_OUT = (".git", ".venv", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A patch. `tests` are what pytest is given."""

    name: str
    patch: Path
    what: str
    tests: tuple[str, ...]

    def apply(self, tree: Path, *, is_trial: bool = False) -> str:
        """Applies the patch to a tree, or only tries whether it could be; returns why it can't, "" if it can."""
        # Told to look at nothing above: a tree inside another repository's would be taken for a part of it.
        told = subprocess.run(
            ["git", "apply", "--whitespace=nowarn", *(["--check"] if is_trial else []), str(self.patch)],
            cwd=tree,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_CEILING_DIRECTORIES": str(tree.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        return "" if told.returncode == 0 else told.stderr.strip() or "git apply failed"


def mutants() -> list[Mutant]:
    """All of them, by name."""
    return [_read(patch) for patch in sorted(HERE.glob("*.patch"))]


def _read(patch: Path) -> Mutant:
    header = patch.read_text().partition("\ndiff --git ")[0]
    what = re.search(r"^What: (.+)$", header, re.MULTILINE)
    caught_by = re.search(r"^Caught by: (.+)$", header, re.MULTILINE)
    if what is None or caught_by is None:
        raise ValueError(f'{patch.name} begins with the lines "What: …" and "Caught by: …"')
    return Mutant(patch.stem, patch, what[1], tuple(caught_by[1].split()))


def copy_of_tree(to: Path) -> Path:
    """The tree as it is now, without what was only made from it."""
    tree = to / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return tree
