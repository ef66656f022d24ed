"""`make soak` reaches every test that has a number of it."""

import re
from pathlib import Path

from tests import soak

TESTS = Path(__file__).parent
VARIABLE = re.compile(r"""["']HMSACT_SOAK_([A-Z]+)["']""")


def read() -> dict[str, set[str]]:
    """The numbers that each test module reads."""
    found = {str(file.relative_to(TESTS.parent)): file.read_text() for file in TESTS.rglob("test_*.py")}
    return {file: set(VARIABLE.findall(text)) for file, text in found.items() if VARIABLE.search(text)}


def test_it_runs_every_module_that_reads_a_number_of_it_and_no_other() -> None:
    assert sorted(soak.TESTS) == sorted(read())


def test_every_number_that_is_read_is_given_and_every_one_that_is_given_is_read() -> None:
    given = set(re.findall(r'"([A-Z]+)": said\.', Path(soak.__file__).read_text()))
    assert given == set().union(*read().values())
