"""A write of which nobody knows, and that comes to light only when the store is opened anew: that may take a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hmsactd.core.inputs import Start
from hmsactd.engine.summary import NOTHING_GIVEN
from hmsactd.errors import Unavailable
from hmsactd.store.errors import Unavailable as StoreUnavailable
from hmsactd.store.memory import MemoryStore
from hmsactd.store.store import Batch, Log
from hmsactd.timeline.payloads import commit
from tests.core.dialogue import CITIZEN
from tests.engine.hands import Hands
from tests.engine.world import SPACE, World, flow_of, living, step


class DoubtfulStore(MemoryStore):
    """While it is ill a write fails, and what it wrote is seen from the first time on that it can be opened anew."""

    def __init__(self) -> None:
        super().__init__()
        self.is_ill = False
        self._unseen: Batch | None = None

    async def write(self, batch: Batch) -> dict[int, Exception]:
        if not self.is_ill:
            return await super().write(batch)
        self._unseen = batch
        await asyncio.sleep(0)
        raise StoreUnavailable("the disk did not answer")

    async def reopen(self) -> Log:
        if self.is_ill:
            raise StoreUnavailable("the disk does not answer")
        if self._unseen is not None:
            self._commit(self._unseen)
        return await super().reopen()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with living(DoubtfulStore()) as world:
        yield world


def ill(world: World, *, is_ill: bool) -> None:
    assert isinstance(world.store, DoubtfulStore)
    world.store.is_ill = is_ill


async def test_a_start_that_comes_to_light_late_is_not_forgotten(world: World) -> None:
    Hands(world, "Irs", "ask").connect()
    await world.quiet()
    ill(world, is_ill=True)
    told = world.engine.start(SPACE, Start(CITIZEN, flow_of(step("ask", "Irs")), commit(b"{}")), NOTHING_GIVEN)
    with pytest.raises(Unavailable):
        await told
    await world.pass_time(3)
    ill(world, is_ill=False)
    await settled(world)
    await world.pass_time(30)
    (summary,) = (await world.store.operations(SPACE)).found
    assert summary[1].state == "completed"


async def settled(world: World) -> None:
    """The committer tries by the loop's time, not by the world's."""
    async with asyncio.timeout(10):
        while world.store.condition.trouble is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
