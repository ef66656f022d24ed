"""Every life story is as it is told in tests/core/golden; how to write them anew is said in tests/core/scenario.py."""

from pathlib import Path

import pytest

from hmsactd.core.events import Event
from tests.core.scenario import play, stories


@pytest.mark.parametrize("path", stories(), ids=lambda path: str(path.stem))
def test_the_story_goes_as_it_is_told(path: Path) -> None:
    told = path.read_text("utf-8")
    assert play(told) == told


def test_every_kind_of_event_has_its_place_in_a_story() -> None:
    told = "\n".join(path.read_text("utf-8") for path in stories())
    words = {line.split()[0] for line in told.splitlines() if line.startswith("    ") and line.split()}
    assert {kind.kind for kind in Event.__args__} <= words
