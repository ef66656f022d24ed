"""Every life story is as it is told in tests/core/golden; how to write them anew is said in tests/core/scenario.py."""

from pathlib import Path
from typing import get_args

import pytest

from hmsactd.core import events as e
from hmsactd.core.legality import first_illegal
from tests.core.scenario import play, stories


@pytest.mark.parametrize("path", stories(), ids=lambda path: str(path.stem))
def test_the_story_goes_as_it_is_told(path: Path) -> None:
    told = path.read_text("utf-8")
    assert play(told)[0] == told


@pytest.mark.parametrize("path", stories(), ids=lambda path: str(path.stem))
def test_the_timeline_of_the_story_is_legal(path: Path) -> None:
    _, talk = play(path.read_text("utf-8"))
    assert first_illegal(talk.events) is None


def test_every_kind_of_event_has_its_place_in_a_story() -> None:
    happened = {type(event) for path in stories() for event in play(path.read_text("utf-8"))[1].events}
    assert happened == set(get_args(e.Event))
