"""Every planted bug can still be planted and says which test is to catch it; five, others each day, are caught.

`make mutants` lets all be caught.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from tests.mutants.fate import CAUGHT, fate
from tests.mutants.mutant import ROOT, Mutant, mutants

AT_A_TIME = 5


def in_turn(day: date) -> list[Mutant]:
    """Those of a day: the next five of all, round and round, so that none waits for more than a week."""
    every = mutants()
    first = day.toordinal() * AT_A_TIME
    return [every[(first + place) % len(every)] for place in range(AT_A_TIME)]


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: str(mutant.name))
def test_it_names_tests_that_exist(mutant: Mutant) -> None:
    for test in mutant.tests:
        path, _, name = test.partition("::")
        assert (ROOT / path).exists()
        assert name.partition("[")[0] in (ROOT / path).read_text() if name else True


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: str(mutant.name))
def test_it_can_be_planted(mutant: Mutant) -> None:
    assert mutant.apply(ROOT, is_trial=True) == "", "make it anew"


def test_everyone_has_its_turn_within_a_week() -> None:
    days = [date.fromordinal(date(2026, 12, 28).toordinal() + day) for day in range(7)]
    assert {mutant.name for day in days for mutant in in_turn(day)} == {mutant.name for mutant in mutants()}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", in_turn(datetime.now(UTC).date()), ids=lambda mutant: str(mutant.name))
def test_it_is_caught(mutant: Mutant) -> None:
    assert fate(mutant)[0] == CAUGHT
