"""Operations that are told anything in any order: core and model agree, what always holds does, and all of them end."""

import os
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import TypeVar, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsactd.core import events as e
from tests.core.life import live
from tests.core.test_rejected import REJECTED

T = TypeVar("T")


@settings(max_examples=150)
@given(st.integers(0, 30), st.data())
def test_core_and_model_agree_on_every_life(turns: int, data: st.DataObject) -> None:
    """Fewer lives than below; but of one that goes wrong the simplest is found."""

    def choose(options: Sequence[T], /) -> T:
        return data.draw(st.sampled_from(options))

    live(choose, turns)


@pytest.mark.timeout(120)
def test_core_and_model_agree_on_long_lives_in_which_everything_happens() -> None:
    kinds: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    for seed in range(int(os.environ.get("HMSACT_SOAK_LIVES", "600"))):
        try:
            pair = live(Random(seed).choice, turns=60)
        except AssertionError as fault:
            fault.add_note(f"in the life of seed {seed}")
            raise
        kinds.update(event.kind for event in pair.events)
        codes.update(pair.rejections)
    assert {kind for kind, times in kinds.items() if times >= 10} == {kind.kind for kind in get_args(e.Event)}
    assert codes.keys() == REJECTED.keys()
