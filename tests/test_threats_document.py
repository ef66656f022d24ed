"""docs/threats.md names tests that exist, and every number of the list it goes by."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "threats.md").read_text()
NEGATIVE_TESTS = 25


def test_every_test_that_it_names_exists() -> None:
    named = re.findall(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`", TEXT)
    assert len(named) > NEGATIVE_TESTS
    for path, name in named:
        assert re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{name}"


def test_every_negative_test_is_tried_or_said_to_be_open() -> None:
    tried = re.findall(r"^\| ([\d, ]+) \|", TEXT, re.MULTILINE)
    still_open = re.findall(r"\b\d{1,2}\b", TEXT.partition("## Open")[2])
    numbers = {int(number) for cell in (*tried, *still_open) for number in cell.split(", ")}
    assert numbers == set(range(1, NEGATIVE_TESTS + 1))
