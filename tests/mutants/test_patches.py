"""Every planted bug can still be planted, and says which test is to catch it. `make mutants` lets them be caught."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.mutant import ROOT, Mutant, copy_of_tree, mutants


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: str(mutant.name))
def test_it_names_tests_that_exist(mutant: Mutant) -> None:
    for test in mutant.tests:
        path, _, name = test.partition("::")
        assert (ROOT / path).exists()
        assert name.partition("[")[0] in (ROOT / path).read_text() if name else True


def test_each_can_be_planted(tmp_path: Path) -> None:
    tree = copy_of_tree(tmp_path)
    for mutant in mutants():
        kept = {path: path.read_bytes() for path in (tree / "hmsactd").rglob("*.py")}
        assert mutant.apply(tree) == "", f"{mutant.name} does not apply any more: make it anew"
        for path, content in kept.items():
            path.write_bytes(content)
