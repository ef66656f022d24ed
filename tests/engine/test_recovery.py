"""After a restart everything is as it was: recovery is replay, and workers that come back find their calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hmsactd.core import events as e
from hmsactd.core.inputs import Cancel, Decide
from hmsactd.store.sqlite import DATABASE_FILE, SqliteStore
from hmsactd.store.where import Where
from tests.core.dialogue import JDAVIS, OPERATOR
from tests.engine.hands import Failed, Hands, in_turn
from tests.engine.trouble import Trouble, TroubledStore
from tests.engine.world import (
    LIMITS,
    SECOND,
    SPACE,
    World,
    checkpoint,
    flow_of,
    kinds,
    living,
    step,
    until,
    with_heartbeat,
)

GRACE_S = LIMITS.grace_us / SECOND
ASK = flow_of(step("ask", "Irs"))


@pytest.fixture
def store() -> TroubledStore:
    return TroubledStore()


@pytest.fixture
async def world(store: TroubledStore) -> AsyncIterator[World]:
    async with living(store) as world:
        yield world


async def restart(world: World) -> None:
    await world.kill()
    await world.open()


async def test_a_restart_loads_no_operation_and_forgets_none(world: World) -> None:
    waiting = [await world.started(flow) for flow in (ASK, flow_of(checkpoint("review"))) for _ in range(20)]
    await restart(world)
    await world.pass_time(5)
    assert world.engine.live == 0
    Hands(world, "Irs", "ask").connect()
    for each in waiting[20:]:
        await world.tell(each, Decide(JDAVIS, "review", is_approval=True))
    await world.quiet()
    assert {await world.stands(each) for each in waiting} == {"completed"}


async def test_queued_steps_go_to_workers_that_come_the_longest_waiting_first(world: World) -> None:
    waiting = []
    for _ in range(10):
        waiting.append(await world.started(ASK))
        world.clock.advance(SECOND)
    await restart(world)
    irs = Hands(world, "Irs", "ask", max_in_flight=1).connect()
    await world.quiet()
    assert [call.key.operation_id for call in irs.calls] == waiting


async def test_a_worker_that_comes_back_in_time_keeps_its_calls(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    running = [await world.started(ASK) for _ in range(5)]
    await world.quiet()
    session_id = irs.session.id
    await restart(world)
    await world.pass_time(GRACE_S - 1)
    irs.connect()
    assert irs.session.id == session_id
    await world.pass_time(GRACE_S + 5)
    irs.finish_all()
    await world.quiet()
    assert irs.told("recorded") == [call.key for call in irs.calls]
    for each in running:
        assert kinds(await world.events(each))[1:] == ["step_started 1.1", "step_done 1.1", "operation_completed"]


async def test_calls_of_a_worker_that_stays_away_are_given_anew(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    await restart(world)
    other = Hands(world, "Irs", "ask").connect()
    await world.pass_time(GRACE_S - 1)
    assert other.calls == []
    await world.pass_time(2)
    assert [call.key.attempt for call in other.calls] == [2]
    # The first worker comes too late: it is told so, and what it has done changes nothing.
    irs.finish_all()
    irs.connect()
    await world.quiet()
    assert irs.session.id != other.session.id
    assert irs.told("stale") == [irs.calls[0].key]
    assert kinds(await world.events(operation_id))[1:] == [
        *("step_started 1.1", "step_lost 1.1", "step_started 1.2", "step_done 1.2", "operation_completed"),
    ]


async def test_a_call_recorded_but_never_sent_is_given_anew(world: World, store: TroubledStore) -> None:
    flow = flow_of(step("ask", "Irs"), step("tell", "Irs"))
    irs = Hands(world, "Irs", "ask", "tell").connect()
    # The report of the first step and the start of the second are kept, and nobody hears of it.
    store.at_write, store.trouble = frozenset([2]), Trouble.DEATH_AFTER
    operation_id = await world.started(flow)
    await world.quiet()
    await restart(world)
    irs.connect()
    await world.quiet()
    assert await world.stands(operation_id) == "completed"
    assert [(call.step, call.key.attempt) for call in irs.calls] == [("ask", 1), ("tell", 2)]
    assert irs.told("stale") == [irs.calls[0].key]


async def test_a_report_that_was_not_heard_before_the_restart_is_heard_after_it(
    world: World, store: TroubledStore
) -> None:
    irs = Hands(world, "Irs", "ask").connect()
    store.at_write, store.trouble = frozenset([2]), Trouble.DEATH_BEFORE
    operation_id = await world.started(ASK)
    await world.quiet()
    await restart(world)
    irs.connect()
    await world.quiet()
    assert irs.told("recorded") == [irs.calls[0].key]
    assert kinds(await world.events(operation_id))[1:] == ["step_started 1.1", "step_done 1.1", "operation_completed"]


async def test_clocks_that_ran_out_while_it_was_down_fire_once_and_say_how_late(world: World) -> None:
    operation_id = await world.started(flow_of(step("ask", "Irs", sla="100s")))
    await world.kill()
    world.clock.advance(130 * SECOND)
    await world.open()
    await world.pass_time(5)
    await restart(world)
    await world.pass_time(5)
    risk, breach = (await world.events(operation_id))[1:]
    assert isinstance(risk, e.SlaAtRisk)
    assert isinstance(breach, e.SlaBreach)
    assert (risk.late_ms, breach.late_ms) == (50_000, 30_000)


async def test_a_retry_that_came_due_while_it_was_down_is_made(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=in_turn(Failed(), b"1")).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    await world.kill()
    world.clock.advance(30 * SECOND)
    await world.open()
    irs.connect()
    await world.quiet()
    assert await world.stands(operation_id) == "completed"


async def test_a_heartbeat_is_demanded_of_a_call_from_before_the_restart(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(flow_of(with_heartbeat(step("ask", "Irs"), 3_000)))
    await world.quiet()
    await restart(world)
    irs.connect()
    for _ in range(4):
        await world.pass_time(2)
        irs.beat()
    assert kinds(await world.events(operation_id))[-1] == "step_started 1.1"
    await world.pass_time(4)
    failed = (await world.events(operation_id))[2]
    assert isinstance(failed, e.StepFailed)
    assert failed.code == "HEARTBEAT_TIMEOUT"


async def test_the_third_worker_lost_on_a_step_counts_as_a_failure(world: World) -> None:
    operation_id = await world.started(ASK)
    for _ in range(3):
        irs = Hands(world, "Irs", "ask", work=None).connect()
        await world.quiet()
        assert len(irs.calls) == 1
        irs.die()
        await restart(world)
        await world.pass_time(GRACE_S + 1)
    assert kinds(await world.events(operation_id))[1:] == [
        *("step_started 1.1", "step_lost 1.1", "step_started 1.2", "step_lost 1.2"),
        *("step_started 1.3", "step_failed 1.3"),
    ]


async def test_what_was_done_for_an_operation_that_ended_meanwhile_is_kept_beside_it(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    irs.hang_up()
    await world.tell(operation_id, Cancel(OPERATOR))
    await restart(world)
    irs.finish_all(b'"paid"')
    irs.connect()
    await world.quiet()
    assert irs.told("stale") == [irs.calls[0].key]
    ignored = (await world.events(operation_id))[-1]
    assert isinstance(ignored, e.StepReportIgnored)
    assert await world.timelines.said(SPACE, operation_id, [4]) == {(4, "output"): b'"paid"'}


async def test_a_worker_cannot_take_up_the_session_of_another(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    await restart(world)
    thief = Hands(world, "Irs", "ask")
    thief.principal = Hands(world, "Thief").principal
    thief.ticket, thief.in_hand = irs.ticket, dict(irs.in_hand)
    thief.connect()
    assert thief.in_hand == {}
    irs.connect()
    irs.finish_all()
    await world.quiet()
    assert await world.stands(operation_id) == "completed"
    assert kinds(await world.events(operation_id))[1:] == ["step_started 1.1", "step_done 1.1", "operation_completed"]


async def test_a_crash_under_load_on_a_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    flow = flow_of(step("ask", "Irs"), step("tell", "Irs"))
    async with living(SqliteStore(tmp_path / DATABASE_FILE)) as world:
        irs = Hands(world, "Irs", "ask", "tell").connect()
        answered = []
        for size in (0, 5, 30, 60):
            starts = [world.start(flow) for _ in range(60)]
            await until(lambda size=size, before=world.timelines.size: world.timelines.size >= before + size)  # type: ignore[misc]
            await world.kill()
            await asyncio.wait(starts)
            answered += [each.result().operation_id for each in starts if each.exception() is None]
            await world.open()
            irs.connect()
        rows = await world.store.operations(SPACE, limit=1_000)
        assert {row.operation for row in rows} >= {*answered}
        async with asyncio.timeout(20):
            while (await world.store.count(SPACE, Where(states=("completed",)))).count < len(rows):
                world.clock.advance(SECOND // 50)
                await asyncio.sleep(0.002)
        assert {await world.stands(row.operation) for row in rows} == {"completed"}
        for row in rows:
            done = [kind for kind in kinds(await world.events(row.operation)) if kind.startswith("step_done")]
            assert [kind[:11] for kind in done] == ["step_done 1", "step_done 2"]
        await world.stop()
