"""A request with an id is carried out once, whoever asks how often, and whatever becomes of those who ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from hmsactd.core.inputs import Pause, Resume, Start
from hmsactd.core.rejected import Rejected
from hmsactd.engine.letter import Answer, RequestKey
from hmsactd.engine.requests import Done
from hmsactd.engine.summary import NOTHING_GIVEN
from hmsactd.errors import AlreadyExists, Unavailable
from hmsactd.store.errors import Unavailable as StoreUnavailable
from hmsactd.timeline.payloads import commit
from tests.core.dialogue import CITIZEN, OPERATOR
from tests.engine.trouble import Trouble, TroubledStore
from tests.engine.world import SPACE, World, checkpoint, flow_of, kinds, living

FLOW = flow_of(checkpoint("review"))


@pytest.fixture
def store() -> TroubledStore:
    return TroubledStore()


@pytest.fixture
async def world(store: TroubledStore) -> AsyncIterator[World]:
    async with living(store) as world:
        yield world


def start(world: World, key: RequestKey | None) -> Callable[[], asyncio.Future[Answer]]:
    return lambda: world.engine.start(SPACE, Start(CITIZEN, FLOW, commit(b"1")), NOTHING_GIVEN, key)


async def begin(world: World, key: RequestKey | None) -> Done:
    return await world.requests.once(SPACE, key, start(world, key), is_start=True)


async def pause(world: World, operation_id: str, key: RequestKey) -> Done:
    run: Callable[[], asyncio.Future[Answer]] = lambda: world.engine.tell(  # noqa: E731
        SPACE, operation_id, Pause(OPERATOR), key
    )
    return await world.requests.once(SPACE, key, run)


async def count(world: World) -> int:
    return (await world.store.count(SPACE)).count


async def test_a_repeat_gets_the_first_success(world: World) -> None:
    key = world.request()
    first = await begin(world, key)
    await world.tell(first.operation_id, Pause(OPERATOR))
    again = await begin(world, key)
    assert again == replace(first, is_repeated=True)
    assert await count(world) == 1


async def test_a_repeat_after_a_restart_gets_the_first_success(world: World) -> None:
    key = world.request()
    first = await begin(world, key)
    paused = await pause(world, first.operation_id, other := world.request(OPERATOR))
    await world.kill()
    await world.open()
    assert await begin(world, key) == replace(first, is_repeated=True)
    assert await pause(world, first.operation_id, other) == replace(paused, is_repeated=True)


async def test_different_content_under_the_same_id_is_refused(world: World) -> None:
    key = world.request()
    first = await begin(world, key)
    with pytest.raises(AlreadyExists, match="different content"):
        await begin(world, replace(key, digest="other"))
    with pytest.raises(AlreadyExists):
        await pause(world, first.operation_id, replace(key, digest="other"))
    assert await count(world) == 1
    # The same id of somebody else, or for something else, is another request.
    for other in (replace(key, principal="dev:else"), replace(key, rpc="Other")):
        assert not (await begin(world, other)).is_repeated
    assert await count(world) == 3


async def test_a_twin_under_way_waits_and_gets_the_same(world: World, store: TroubledStore) -> None:
    key = world.request()
    twins = [world.do(begin(world, key)) for _ in range(20)]
    answers = [await twin for twin in twins]
    assert {answer.operation_id for answer in answers} == {answers[0].operation_id}
    assert sorted(answer.is_repeated for answer in answers) == [False] + [True] * 19
    assert (await count(world), store.writes) == (1, 1)
    assert world.requests._under_way == {}


async def test_a_refusal_is_not_remembered(world: World) -> None:
    operation_id = (await begin(world, world.request())).operation_id
    await world.tell(operation_id, Pause(OPERATOR))
    key = world.request(OPERATOR)
    with pytest.raises(Rejected):
        await pause(world, operation_id, key)
    await world.tell(operation_id, Resume(OPERATOR))
    assert (await pause(world, operation_id, key)).state == "paused"


async def test_a_request_that_changes_nothing_is_answered(world: World) -> None:
    operation_id = (await begin(world, world.request())).operation_id
    key = world.request()
    run: Callable[[], asyncio.Future[Answer]] = lambda: world.engine.tell(  # noqa: E731
        SPACE, operation_id, lambda _: None, key
    )
    done = await world.requests.once(SPACE, key, run)
    assert (done.operation_id, done.receipt.sequence) == (operation_id, 2)


async def test_whoever_gives_up_and_asks_again_gets_what_was_done(world: World) -> None:
    key = world.request()
    caller = world.do(begin(world, key))
    await world.turn()
    caller.cancel()
    again = world.do(begin(world, key))
    answer = await again
    assert answer.is_repeated
    assert (await count(world), caller.cancelled()) == (1, True)
    assert world.requests._under_way == {}


async def test_a_start_that_looks_for_its_key_outlasts_its_caller_even_without_a_request_id(world: World) -> None:
    begun: list[asyncio.Future[Answer]] = []

    def run() -> asyncio.Future[Answer]:
        begun.append(world.engine.start(SPACE, Start(CITIZEN, FLOW, commit(b"1")), NOTHING_GIVEN))
        return begun[0]

    async def nobody_has_the_key() -> None:
        return None

    caller = world.do(world.requests.once(SPACE, None, run, before=nobody_has_the_key))
    await world.turn()
    assert begun
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    # Whoever keeps the key for it can tell when it has ended, and how.
    assert not begun[0].cancelled()
    assert (await begun[0]).operation_id


async def test_whoever_asks_again_while_the_first_is_being_recorded_waits_for_it(
    world: World, store: TroubledStore
) -> None:
    operation_id = (await begin(world, world.request())).operation_id
    key = world.request(OPERATOR)
    store.answers.clear()
    caller = world.do(pause(world, operation_id, key))
    await world.quiet()
    caller.cancel()
    again = world.do(pause(world, operation_id, key))
    await world.quiet()
    assert not again.done()
    store.answers.set()
    assert (await again).is_repeated
    assert kinds(await world.events(operation_id))[2:] == ["operation_paused"]


async def test_whoever_gives_up_before_anything_was_told_leaves_the_way_free(world: World) -> None:
    operation_id = (await begin(world, world.request())).operation_id
    key = world.request(OPERATOR)
    caller = world.do(pause(world, operation_id, key))
    caller.cancel()
    await world.quiet()
    assert world.requests._under_way == {}
    assert (await pause(world, operation_id, key)).state == "paused"


@pytest.mark.parametrize("trouble", [Trouble.UNAVAILABLE, Trouble.KEPT_UNTOLD])
async def test_a_start_of_which_nobody_knows_whether_it_was_kept_is_kept_once(
    world: World, store: TroubledStore, trouble: Trouble
) -> None:
    store.at_write, store.trouble = frozenset([1]), trouble
    key = world.request()
    try:
        first = await begin(world, key)
    except (Unavailable, StoreUnavailable):
        assert trouble is Trouble.UNAVAILABLE
        first = await begin(world, key)
    assert (await begin(world, key)).operation_id == first.operation_id
    assert await count(world) == 1
    assert kinds(await world.events(first.operation_id)) == ["operation_started", "checkpoint_pending 1"]


async def test_whoever_is_refused_is_told_whether_it_is_known_that_nothing_was_recorded(
    world: World, store: TroubledStore
) -> None:
    store.at_write, store.trouble = frozenset([1]), Trouble.KEPT_UNTOLD
    with pytest.raises(Unavailable, match="it is not known whether this was recorded"):
        await begin(world, None)
    assert await count(world) == 1
    store.condition.failed(StoreUnavailable("the disk is full"))
    with pytest.raises(Unavailable, match="nothing was recorded"):
        await begin(world, None)
    assert await count(world) == 1


async def test_a_fault_while_a_request_is_looked_up_is_an_answer_and_leaves_the_way_free(
    world: World, store: TroubledStore
) -> None:
    operation_id = (await begin(world, world.request())).operation_id
    key = world.request(OPERATOR)
    store.is_away = True
    with pytest.raises((Unavailable, StoreUnavailable)):
        await pause(world, operation_id, key)
    store.is_away = False
    assert (await pause(world, operation_id, key)).state == "paused"
    assert world.requests._under_way == {}
