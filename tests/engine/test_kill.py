"""Whatever goes wrong at whatever moment, an operation comes to the same end, and what was answered is recorded."""

from __future__ import annotations

import asyncio
import os
import types
from collections.abc import Coroutine, Generator
from random import Random
from typing import Any

import pytest

from hmsactd.engine.actor import Actor
from tests.engine.story import END, lived
from tests.engine.trouble import Trouble, TroubledStore


async def test_without_trouble_it_comes_to_its_end_in_few_writes() -> None:
    store = TroubledStore()
    told = await lived(store)
    assert told.end == END
    assert told.calls == 4
    assert told.seconds < 5
    # Started, failed, queued, done, paused, resumed, approved, deferred, done, done: every step's start shares a write.
    assert store.writes == 10


@pytest.mark.parametrize("trouble", Trouble)
async def test_trouble_at_any_write_changes_nothing(trouble: Trouble) -> None:
    at = 1
    while True:
        store = TroubledStore()
        store.trouble, store.at_write = trouble, frozenset([at])
        told = await lived(store)
        assert told.end == END, f"{trouble} at write {at}"
        if store.writes < at:
            break
        at += 1
    assert at >= 10


async def test_trouble_at_any_read_changes_nothing() -> None:
    at = 1
    while True:
        store = TroubledStore()
        store.at_read = frozenset([at])
        told = await lived(store)
        assert told.end == END, f"read {at}"
        if store.reads < at:
            break
        at += 1
    assert at >= 5


@pytest.mark.parametrize("seed", range(int(os.environ.get("HMSACT_SOAK_TROUBLES", "40"))))
async def test_trouble_again_and_again_changes_nothing(seed: int) -> None:
    chance = Random(seed)
    store = TroubledStore()
    store.trouble = chance.choice(list(Trouble))
    store.at_write = frozenset(chance.sample(range(1, 16), 4))
    store.at_read = frozenset(chance.sample(range(1, 60), 6))
    assert (await lived(store)).end == END, f"{store.trouble} at {store.at_write}, reads at {store.at_read}"


class Reaper:
    """Cancels the actor that comes to the named await: as it begins to wait, or when what it waited for is there."""

    def __init__(self, at: int, *, is_late: bool) -> None:
        self._at = at
        self._is_late = is_late
        self.awaits = 0

    @types.coroutine
    def run(self, coroutine: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
        fate: BaseException | None = None
        while True:
            try:
                waits_for = coroutine.throw(fate) if fate is not None else coroutine.send(None)
            except StopIteration:
                return
            fate = None
            self.awaits += 1
            is_struck = self.awaits == self._at
            if is_struck and not self._is_late:
                fate = asyncio.CancelledError()
                continue
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 -- whatever it is, it is the actor's
                fate = error
            if is_struck:
                fate = asyncio.CancelledError()


@pytest.mark.parametrize("is_late", [False, True], ids=["as it begins to wait", "when it has waited"])
async def test_an_actor_killed_at_any_await_changes_nothing(is_late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Actor.run
    at = 1
    while True:
        reaper = Reaper(at, is_late=is_late)

        async def reaped(actor: Actor, reaper: Reaper = reaper) -> None:
            await reaper.run(run(actor))

        monkeypatch.setattr(Actor, "run", reaped)
        told = await lived(TroubledStore())
        assert told.end == END, f"await {at}"
        if reaper.awaits < at:
            break
        at += 1
    assert at >= 10
