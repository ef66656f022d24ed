"""Checkpoints that nobody may decide are noticed, each once, whatever stands in the way of it."""

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from hmsactd.core.inputs import Decide
from hmsactd.engine import attendance
from tests.core.dialogue import JDAVIS
from tests.engine.trouble import TroubledStore
from tests.engine.world import SECOND, World, checkpoint, flow_of, kinds, living

REVIEW = flow_of(checkpoint("review"))
MINUTE = 60


@pytest.fixture
def store() -> TroubledStore:
    return TroubledStore()


@pytest.fixture
async def world(store: TroubledStore) -> AsyncIterator[World]:
    async with living(store) as world:
        world.everybody.is_empty = True
        yield world


async def said(world: World, operation_id: str) -> int:
    """How often it is on the record that nobody is there."""
    return kinds(await world.events(operation_id)).count("unattended 1")


async def test_it_is_said_once_when_it_has_been_pending_for_the_limit(world: World) -> None:
    operation_id = await world.started(REVIEW)
    await world.pass_time(14 * MINUTE, tick=10)
    assert await said(world, operation_id) == 0
    for _ in range(3):
        await world.pass_time(2 * MINUTE, tick=10)
        assert await said(world, operation_id) == 1


async def test_somebody_who_holds_the_role_is_enough(world: World) -> None:
    world.everybody.is_empty = False
    operation_id = await world.started(REVIEW)
    await world.pass_time(20 * MINUTE, tick=10)
    assert await said(world, operation_id) == 0


async def test_what_is_decided_in_the_nick_of_time_is_not_said(world: World) -> None:
    operation_id = await world.started(REVIEW)
    await world.pass_time(14 * MINUTE, tick=10)
    await world.tell(operation_id, Decide(JDAVIS, "review", is_approval=True))
    await world.pass_time(5 * MINUTE, tick=10)
    assert await said(world, operation_id) == 0


async def test_more_than_a_page_of_them_are_all_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "PAGE", 2)
    pending = [await world.started(REVIEW) for _ in range(5)]
    await world.pass_time(16 * MINUTE, tick=10)
    assert [await said(world, operation_id) for operation_id in pending] == [1] * 5


async def test_while_the_store_is_away_it_is_said_later(world: World, store: TroubledStore) -> None:
    operation_id = await world.started(REVIEW)
    await world.pass_time(14 * MINUTE, tick=10)
    store.is_away = True
    with capture_logs():
        await world.pass_time(3 * MINUTE, tick=10)
    store.is_away = False
    await world.pass_time(2 * MINUTE, tick=10)
    assert await said(world, operation_id) == 1


async def test_a_clock_that_is_set_back_hides_nothing(world: World) -> None:
    first = await world.started(REVIEW)
    await world.pass_time(16 * MINUTE, tick=10)
    world.clock.set_back(60 * MINUTE * SECOND)
    second = await world.started(REVIEW)
    await world.pass_time(17 * MINUTE, tick=10)
    assert [await said(world, operation_id) for operation_id in (first, second)] == [1, 1]
