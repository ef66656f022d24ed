"""Who is given what: first come, first served; in turn; no more than one takes; from the store where memory ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hmsactd.core.inputs import Cancel, Pause, Resume
from hmsactd.engine import contents, dispatch
from hmsactd.engine.dispatch import Line
from tests.core.dialogue import OPERATOR
from tests.engine.hands import Failed, Hands, does
from tests.engine.trouble import TroubledStore
from tests.engine.world import LIMITS, SECOND, SPACE, World, flow_of, kinds, living, step

GRACE_S = LIMITS.grace_us / SECOND
ASK = flow_of(step("ask", "Irs"))
LINE = Line(SPACE, "Irs", "ask")


@pytest.fixture
def store() -> TroubledStore:
    return TroubledStore()


@pytest.fixture
async def world(store: TroubledStore) -> AsyncIterator[World]:
    async with living(store) as world:
        yield world


async def queued(world: World, count: int) -> list[str]:
    ids = []
    for _ in range(count):
        ids.append(await world.started(ASK))
        world.clock.advance(1000)
    return ids


async def test_first_come_is_first_served(world: World) -> None:
    waiting = await queued(world, 20)
    irs = Hands(world, "Irs", "ask", max_in_flight=3).connect()
    await world.quiet()
    assert [call.key.operation_id for call in irs.calls] == waiting


async def test_whoever_waits_is_served_before_whoever_comes(world: World) -> None:
    waiting = await queued(world, 5)
    irs = Hands(world, "Irs", "ask", work=None, max_in_flight=2).connect()
    waiting += await queued(world, 3)
    while len(irs.calls) < 8:
        before = len(irs.calls)
        irs.finish_all()
        await world.quiet()
        assert len(irs.calls) > before
    assert [call.key.operation_id for call in irs.calls] == waiting


async def test_of_two_steps_the_one_that_waits_longer_goes_first(world: World) -> None:
    order = []
    for name in ("ask", "tell", "tell", "ask"):
        order.append(await world.started(flow_of(step(name, "Irs"))))
        world.clock.advance(SECOND)
    irs = Hands(world, "Irs", "ask", "tell", max_in_flight=1).connect()
    await world.quiet()
    assert [call.key.operation_id for call in irs.calls] == order


async def test_workers_of_a_service_are_served_in_turn(world: World) -> None:
    workers = [Hands(world, "Irs", "ask", work=None).connect() for _ in range(4)]
    await queued(world, 40)
    await world.quiet()
    assert [len(worker.calls) for worker in workers] == [10] * 4


async def test_a_worker_gets_no_more_than_it_takes_at_a_time(world: World) -> None:
    await queued(world, 10)
    irs = Hands(world, "Irs", "ask", work=None, max_in_flight=3).connect()
    await world.quiet()
    assert len(irs.in_hand) == 3
    world.engine.workers.resize(irs.session, 5)
    await world.quiet()
    assert len(irs.in_hand) == 5
    world.engine.workers.resize(irs.session, 1)
    for key in list(irs.in_hand)[:4]:
        irs.finish(key)
    await world.quiet()
    assert len(irs.in_hand) == 1
    irs.finish_all()
    await world.quiet()
    assert (len(irs.in_hand), len(irs.calls)) == (1, 6)


async def test_a_step_that_a_worker_does_not_serve_waits_for_another(world: World) -> None:
    operation_id = await world.started(flow_of(step("tell", "Irs")))
    other = await world.started(flow_of(step("ask", "Fsa")))
    irs = Hands(world, "Irs", "ask").connect()
    await world.quiet()
    assert irs.calls == []
    Hands(world, "Irs", "tell").connect()
    Hands(world, "Fsa", "ask").connect()
    await world.quiet()
    assert await world.stands(operation_id) == await world.stands(other) == "completed"


async def test_what_memory_does_not_hold_is_read_back_in_its_order(
    world: World, store: TroubledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "QUEUE_MAX", 7)
    waiting = await queued(world, 60)
    assert len(world.engine.dispatch._queues[LINE]) == 7
    irs = Hands(world, "Irs", "ask", max_in_flight=4).connect()
    await world.quiet()
    assert [call.key.operation_id for call in irs.calls] == waiting
    assert store.counted["queued"] <= 2 * 60 / 7
    # Back in memory, nothing is read for those who come.
    reads = store.counted["queued"]
    await queued(world, 10)
    await world.quiet()
    assert (len(irs.calls), store.counted["queued"]) == (70, reads)


async def test_whoever_comes_while_the_others_are_read_is_served_after_them(world: World, store: TroubledStore) -> None:
    waiting = await queued(world, 3)
    await world.kill()
    await world.open()
    store.queue_answers.clear()
    irs = Hands(world, "Irs", "ask", max_in_flight=1).connect()
    await world.quiet()
    assert irs.calls == []
    irs.work = None
    starts = [world.start(ASK) for _ in range(3)]
    await world.quiet()
    store.queue_answers.set()
    await world.quiet()
    irs.work = does
    irs.finish_all()
    await world.pass_time(5)
    waiting += [start.result().operation_id for start in starts]
    assert [call.key.operation_id for call in irs.calls] == waiting
    assert {await world.stands(each) for each in waiting} == {"completed"}


async def test_a_read_that_fails_is_made_again(
    world: World, store: TroubledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "QUEUE_MAX", 3)
    waiting = await queued(world, 12)
    await world.pass_time(10)
    store.is_away = True
    irs = Hands(world, "Irs", "ask").connect()
    await world.pass_time(10)
    assert irs.calls == []
    store.is_away = False
    await world.pass_time(5)
    assert {call.key.operation_id for call in irs.calls} == {*waiting}
    assert len(irs.calls) == 12


async def test_an_offer_that_is_refused_is_made_again_after_a_pause(world: World, store: TroubledStore) -> None:
    waiting = await queued(world, 5)
    await world.pass_time(10)
    reads = store.counted["kept"]
    store.is_away = True
    irs = Hands(world, "Irs", "ask", max_in_flight=1).connect()
    await world.quiet()
    assert store.counted["kept"] == reads + 1
    await world.pass_time(10)
    # Each second one is offered the place, and those that were refused are looked at again.
    assert store.counted["kept"] <= reads + 1 + 10 * (1 + len(waiting))
    store.is_away = False
    await world.pass_time(2)
    assert {call.key.operation_id for call in irs.calls} == {*waiting}
    assert irs.session.reserved == 0


async def test_an_engine_that_has_ended_makes_each_offer_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    irs = Hands(world, "Irs", "ask", work=None, max_in_flight=1).connect()
    await queued(world, 5)
    await world.quiet()
    await world.kill()
    offered: list[str] = []
    post = world.engine.post

    def counting(namespace: str, operation_id: str, *told: Any) -> None:
        offered.append(operation_id)
        post(namespace, operation_id, *told)

    monkeypatch.setattr(world.engine, "post", counting)
    (held,) = irs.session.held
    irs.session.report(held)
    world.engine.dispatch.pump(irs.session)
    await world.quiet()
    assert len(offered) == 1


async def test_a_place_is_not_lost_with_the_operation_that_it_was_offered_to(
    world: World, store: TroubledStore
) -> None:
    waiting = await queued(world, 6)
    await world.pass_time(10)
    await world.tell(waiting[0], Cancel(OPERATOR))
    await world.tell(waiting[1], Pause(OPERATOR))
    await world.pass_time(10)
    irs = Hands(world, "Irs", "ask", work=None, max_in_flight=4).connect()
    await world.quiet()
    assert [call.key.operation_id for call in irs.calls] == waiting[2:]
    irs.finish_all()
    await world.tell(waiting[1], Resume(OPERATOR))
    await world.quiet()
    irs.finish_all()
    await world.quiet()
    assert await world.stands(waiting[1]) == "completed"
    assert irs.session.reserved == 0


async def test_a_worker_that_leaves_gets_nothing_more_and_keeps_what_it_has(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None, max_in_flight=2).connect()
    waiting = await queued(world, 5)
    await world.quiet()
    irs.leave()
    irs.finish_all()
    await world.quiet()
    assert len(irs.calls) == 2
    irs.hang_up()
    assert world.engine.dispatch.sessions == {}
    Hands(world, "Irs", "ask").connect()
    await world.quiet()
    assert {await world.stands(each) for each in waiting} == {"completed"}


async def test_a_call_on_its_way_to_a_worker_that_has_just_left_goes_to_another(world: World) -> None:
    irs = Hands(world, "Irs", "ask").connect()
    started = world.start(ASK)
    while not irs.session.reserved:
        await world.turn()
    irs.leave()
    irs.hang_up()
    operation_id = (await started).operation_id
    other = Hands(world, "Irs", "ask").connect()
    await world.pass_time(GRACE_S + 2)
    assert irs.calls == []
    assert [call.key.attempt for call in other.calls] == [2]
    assert await world.stands(operation_id) == "completed"


async def test_a_call_not_sent_before_the_connection_broke_is_sent_on_the_next(world: World) -> None:
    irs = Hands(world, "Irs", "ask").connect()
    irs.hang_up()
    irs.connect()
    started = world.start(ASK)
    while not irs.session.held:
        await world.turn()
    irs.connect()
    operation_id = (await started).operation_id
    await world.quiet()
    assert [call.key.attempt for call in irs.calls] == [1]
    assert kinds(await world.events(operation_id))[1:] == ["step_started 1.1", "step_done 1.1", "operation_completed"]


async def test_a_place_promised_for_one_step_is_not_used_for_another(world: World) -> None:
    """A row read from the store may be old news when it arrives: the operation is at another service's step by then."""
    operation_id = await world.started(flow_of(step("ask", "Irs"), step("pay", "Treasury")))
    first = Hands(world, "Irs", "ask").connect()
    await world.quiet()
    assert await world.stands(operation_id) == "running"
    second = Hands(world, "Irs", "ask", max_in_flight=1)
    second.connect()
    world.engine.dispatch._queues[LINE][operation_id] = 0
    world.engine.dispatch.pump(second.session)
    await world.quiet()
    assert (len(first.calls), len(second.calls)) == (1, 0)
    assert second.session.free == 1
    Hands(world, "Treasury", "pay").connect()
    await world.quiet()
    assert await world.stands(operation_id) == "completed"


async def test_a_cancelled_operation_is_withdrawn_from_its_worker(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None, max_in_flight=1).connect()
    operation_id = await world.started(ASK)
    other = await world.started(ASK)
    await world.quiet()
    await world.tell(operation_id, Cancel(OPERATOR))
    await world.quiet()
    (call,) = irs.calls
    assert irs.withdrawn == [(call.key, "CANCELLED")]
    # Its place is its own until the worker lets go.
    irs.finish(call.key, Failed("CANCELLED"))
    await world.quiet()
    assert irs.told("stale") == [call.key]
    assert [each.key.operation_id for each in irs.calls] == [operation_id, other]
    assert kinds(await world.events(operation_id))[-1] == "step_report_ignored 1.1"


async def test_outputs_travel_with_a_call_as_far_as_there_is_room_the_latest_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "OUTPUTS_SENT_MAX_BYTES", 60)
    irs = Hands(world, "Irs", "a", "b", "c", work=lambda _: b'"%s"' % (b"x" * 25)).connect()
    await world.started(flow_of(step("a", "Irs"), step("b", "Irs"), step("c", "Irs"), step("last", "Treasury")))
    await world.quiet()
    treasury = Hands(world, "Treasury", "last").connect()
    await world.quiet()
    assert [sorted(call.outputs) for call in irs.calls] == [[], ["a"], ["a", "b"]]
    (call,) = treasury.calls
    assert (sorted(call.outputs), call.left_out) == (["b", "c"], ("a",))
    assert call.input == b'{"year":2026}'
