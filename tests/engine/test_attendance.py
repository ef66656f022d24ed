"""Checkpoints that nobody may decide are noticed, each once, whatever stands in the way of it."""

from collections.abc import AsyncIterator, Sequence

import pytest
from structlog.testing import capture_logs

from hmsactd.core.inputs import Decide
from hmsactd.engine import attendance
from hmsactd.store.errors import Unavailable
from hmsactd.store.store import Summary
from tests.core.dialogue import JDAVIS
from tests.engine.trouble import TroubledStore
from tests.engine.world import SECOND, SPACE, World, checkpoint, flow_of, kinds, living

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


async def test_who_is_there_again_or_has_decided_when_it_is_to_be_said_keeps_it_unsaid(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    there_again, decided = await world.started(REVIEW), await world.started(REVIEW)
    asked: list[str] = []

    def anyone_entitled(role: str, except_person: str | None) -> bool:
        """Nobody when it is first asked; then somebody is back, and decides one of the two."""
        asked.append(role)
        if len(asked) == 1:
            world.engine.post(SPACE, decided, Decide(JDAVIS, "review", is_approval=True))
        return len(asked) > 2

    monkeypatch.setattr(world.everybody, "anyone_entitled", anyone_entitled)
    await world.pass_time(16 * MINUTE, tick=10)
    assert [await said(world, operation_id) for operation_id in (there_again, decided)] == [0, 0]
    assert await world.stands(decided) == "completed"


class Unreadable(TroubledStore):
    """While it is away, what awaits a decision can't be read either."""

    async def pending(
        self,
        namespace: str,
        roles: Sequence[str] | None = None,
        *,
        after: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> list[Summary]:
        if self.is_away:
            raise Unavailable("the disk does not answer")
        return await super().pending(namespace, roles, after=after, limit=limit)


async def test_while_decisions_that_are_awaited_can_not_be_read_it_is_said_in_the_log_and_looked_again() -> None:
    async with living(Unreadable()) as world:
        assert isinstance(world.store, Unreadable)
        world.everybody.is_empty = True
        operation_id = await world.started(REVIEW)
        world.store.is_away = True
        with capture_logs() as lines:
            await world.pass_time(16 * MINUTE, tick=30)
        assert "pending checkpoints could not be read" in {line["event"] for line in lines}
        world.store.is_away = False
        await world.pass_time(2 * MINUTE, tick=10)
        assert await said(world, operation_id) == 1


async def test_a_clock_that_is_set_back_hides_nothing(world: World) -> None:
    first = await world.started(REVIEW)
    await world.pass_time(16 * MINUTE, tick=10)
    world.clock.set_back(60 * MINUTE * SECOND)
    second = await world.started(REVIEW)
    await world.pass_time(17 * MINUTE, tick=10)
    assert [await said(world, operation_id) for operation_id in (first, second)] == [1, 1]
