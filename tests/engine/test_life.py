"""The life of an operation in the shell: told, recorded, answered, acted on; asleep when nothing moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hmsactd.clock import SettableClock
from hmsactd.core import events as e
from hmsactd.core.decide import decide
from hmsactd.core.inputs import Cancel, Decide, Input, Pause, Resume, RetryStep, Start, StepTaken
from hmsactd.core.operation import Operation
from hmsactd.core.rejected import Rejected
from hmsactd.core.story import Outcome
from hmsactd.engine import engine
from hmsactd.engine.summary import NOTHING_GIVEN
from hmsactd.errors import NotFound, ResourceExhausted, Unavailable
from hmsactd.store.sqlite import DATABASE_FILE, SqliteStore
from hmsactd.timeline.payloads import commit
from tests.core.dialogue import CITIZEN, JDAVIS, OPERATOR
from tests.engine.hands import Failed, Hands, in_turn
from tests.engine.trouble import Trouble, TroubledStore
from tests.engine.world import EPOCH, LIMITS, SECOND, SPACE, World, checkpoint, flow_of, kinds, living, step, until


@pytest.fixture
def store() -> TroubledStore:
    return TroubledStore()


@pytest.fixture
async def world(store: TroubledStore) -> AsyncIterator[World]:
    async with living(store) as world:
        yield world


THREE = flow_of(step("ask", "Irs"), checkpoint("review"), step("pay", "Treasury"))


async def test_an_operation_goes_from_its_start_to_its_end(world: World) -> None:
    irs, treasury = Hands(world, "Irs", "ask").connect(), Hands(world, "Treasury", "pay").connect()
    started = await world.start(THREE)
    assert kinds(started.events) == ["operation_started"]
    assert started.receipt is not None
    assert started.receipt.sequence == 2  # the attempt given to the worker shares the append
    await world.quiet()
    decided = await world.tell(started.operation_id, Decide(JDAVIS, "review", is_approval=True))
    assert kinds(decided.events) == ["checkpoint_approved 2"]
    await world.quiet()
    assert kinds(await world.events(started.operation_id)) == [
        "operation_started",
        *("step_started 1.1", "step_done 1.1", "checkpoint_pending 2", "checkpoint_approved 2"),
        *("step_started 3.1", "step_done 3.1", "operation_completed"),
    ]
    (ask,), (pay,) = irs.calls, treasury.calls
    assert (ask.input, ask.outputs, ask.idempotency_key) == (b'{"year":2026}', {}, f"{started.operation_id}/1")
    assert (pay.outputs, pay.definition) == ({"ask": b'{"done":"ask"}'}, "flow")
    assert irs.told("recorded") == [ask.key]
    assert world.engine.live == 0


async def test_a_call_is_given_only_after_its_attempt_is_on_the_record(world: World, store: TroubledStore) -> None:
    irs = Hands(world, "Irs", "ask").connect()
    store.is_away = True
    with pytest.raises(Unavailable):
        await world.start(THREE)
    await world.quiet()
    assert irs.calls == []
    assert world.engine.dispatch.sessions[irs.session.id].free == 100


async def test_many_operations_at_once_share_their_writes(world: World, store: TroubledStore) -> None:
    Hands(world, "Irs", "ask", "pay", max_in_flight=1_000).connect()
    flow = flow_of(step("ask", "Irs"), step("pay", "Irs"))
    answers = [world.start(flow) for _ in range(500)]
    await asyncio.wait(answers)
    await world.quiet()
    assert {await world.stands(answer.result().operation_id) for answer in answers} == {"completed"}
    # Three appends each, a thousand events a batch.
    assert store.writes <= 12
    assert world.engine.live == 0


async def test_many_letters_to_one_operation_are_one_append(world: World, store: TroubledStore) -> None:
    operation_id = await world.started(THREE)
    writes = store.writes
    told = [world.engine.tell(SPACE, operation_id, what(OPERATOR)) for what in (Pause, Resume) * 50]
    answers = [await each for each in told]
    assert store.writes == writes + 1
    # Each is answered with what it led to itself, and with the state after all of them.
    assert [kinds(answer.events) for answer in answers] == [["operation_paused"], ["operation_resumed"]] * 50
    assert {answer.operation.sequence for answer in answers} == {101}
    assert len(await world.events(operation_id)) == 101


async def test_what_is_refused_leaves_the_rest_of_its_batch_alone(world: World) -> None:
    operation_id = await world.started(THREE)
    told = [world.engine.tell(SPACE, operation_id, what) for what in (Pause(OPERATOR), Pause(OPERATOR), Cancel(JDAVIS))]
    answers = await asyncio.wait(told)
    assert not answers[1]
    assert kinds((await told[0]).events) == ["operation_paused"]
    with pytest.raises(Rejected, match="has paused"):
        await told[1]
    assert kinds((await told[2]).events) == ["operation_cancelled"]


async def test_an_operation_that_does_not_exist_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        await world.tell("op_nobody", Cancel(OPERATOR))
    assert world.engine.live == 0


async def test_a_busy_service_is_asked_again_when_its_time_has_come(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=in_turn(Failed("BUSY"), b'"better"')).connect()
    operation_id = await world.started(flow_of(step("ask", "Irs")))
    await world.pass_time(1)
    assert [call.key.attempt for call in irs.calls] == [1]
    await world.pass_time(1.5)
    assert [call.key.attempt for call in irs.calls] == [1, 2]
    assert await world.stands(operation_id) == "completed"


async def test_a_stalled_step_goes_on_when_an_operator_retries_it(world: World) -> None:
    Hands(world, "Irs", "ask", work=in_turn(Failed("GONE"), b"1")).connect()
    operation_id = await world.started(flow_of(step("ask", "Irs", retries=0)))
    await world.pass_time(10)
    assert (await world.stands(operation_id), world.engine.live) == ("stalled", 0)
    await world.tell(operation_id, RetryStep(OPERATOR, "ask"))
    await world.quiet()
    assert await world.stands(operation_id) == "completed"


async def test_it_lives_the_same_on_a_disk(tmp_path: Path) -> None:
    async with living(SqliteStore(tmp_path / DATABASE_FILE)) as world:
        irs = Hands(world, "Irs", "ask").connect()
        Hands(world, "Treasury", "pay").connect()
        answers = [await future for future in [world.start(THREE) for _ in range(50)]]
        await until(lambda: len(irs.told("recorded")) == 50)
        for answer in answers:
            await world.tell(answer.operation_id, Decide(JDAVIS, "review", is_approval=True))
        await until(lambda: world.engine.live == 0)
        for answer in answers:
            assert kinds(await world.events(answer.operation_id))[-1] == "operation_completed"
        await world.stop()


# -- asleep ------------------------------------------------------------------------------------------------------------


async def test_idle_operations_are_let_go_and_cost_nothing(world: World) -> None:
    Hands(world, "Irs", "ask").connect()
    flows = [THREE, flow_of(step("far", "Nobody")), flow_of(step("ask", "Irs"), checkpoint("review"))]
    for number in range(300):
        await world.started(flows[number % 3])
    assert world.engine.live == 300
    await world.pass_time(LIMITS.idle_us / SECOND + 2)
    assert world.engine.live == 0
    assert len(asyncio.all_tasks()) < 20


async def test_sleepers_are_brought_back_by_whatever_concerns_them(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    decision = await world.started(flow_of(checkpoint("review")))
    report = await world.started(flow_of(step("ask", "Irs")))
    due = await world.started(flow_of(step("pay", "Treasury", sla="1m")))
    worker = await world.started(flow_of(step("tell", "Post")))
    await world.pass_time(10)
    assert world.engine.live == 0
    await world.tell(decision, Decide(JDAVIS, "review", is_approval=True))
    irs.finish_all()
    Hands(world, "Post", "tell").connect()
    await world.quiet()
    assert [await world.stands(each) for each in (decision, report, worker)] == ["completed"] * 3
    await world.pass_time(60)
    assert [kind for kind in kinds(await world.events(due)) if kind.startswith("sla")] == [
        "sla_at_risk 1",
        "sla_breach 1",
    ]
    # It was let go again: a clock brings it back for a moment.
    await world.pass_time(10)
    assert world.engine.live == 0


async def test_an_idle_daemon_hardly_reads_its_store(world: World, store: TroubledStore) -> None:
    await world.started(flow_of(step("ask", "Irs", sla="10h")))
    await world.started(flow_of(checkpoint("review")))
    await world.pass_time(30)
    before = store.reads
    await world.pass_time(600, tick=0.5)
    # What is due is looked for once a minute, with two reads.
    assert store.reads - before <= 24


async def test_a_due_time_within_the_minute_is_slept_for_and_not_looked_for(world: World, store: TroubledStore) -> None:
    await world.started(flow_of(step("ask", "Irs", sla="50s")))
    await world.quiet()
    before = store.reads
    await world.pass_time(39, tick=0.25)
    assert store.reads - before <= 4


# -- bounds and faults -------------------------------------------------------------------------------------------------


async def test_a_mailbox_has_a_bound_and_says_so() -> None:
    async with living(TroubledStore(), limits=replace(LIMITS, mailbox_max=10)) as world:
        operation_id = await world.started(THREE)
        told = [world.engine.tell(SPACE, operation_id, Pause(OPERATOR)) for _ in range(30)]
        await asyncio.wait(told)
        refusals = [each.exception() for each in told]
        assert [isinstance(error, ResourceExhausted) for error in refusals] == [False] * 10 + [True] * 20
        assert await world.stands(operation_id) == "paused"


async def test_no_more_operations_are_open_than_there_may_be_and_an_end_makes_room() -> None:
    async with living(TroubledStore(), limits=replace(LIMITS, open_operations_max=2)) as world:
        first, _ = await world.started(THREE), await world.started(THREE)
        with pytest.raises(ResourceExhausted, match="2 operations are open, the most allowed"):
            await world.start(THREE)
        await world.tell(first, Cancel(OPERATOR))
        await world.started(THREE)


async def test_while_the_intake_is_closed_nothing_starts_and_what_is_under_way_goes_on(world: World) -> None:
    operation_id = await world.started(THREE)
    assert world.engine.intake.close(Unavailable("DISK_FULL", "the disk is full"))
    for _ in range(2):
        with pytest.raises(Unavailable, match="the disk is full"):
            await world.start(THREE)
    await world.tell(operation_id, Pause(OPERATOR))
    assert world.engine.intake.open("DISK_FULL")
    await world.started(THREE)


async def test_an_operation_is_looked_at_as_it_is_recorded_asleep_or_not(world: World) -> None:
    operation_id = await world.started(THREE)
    for _ in range(2):
        operation = await world.state(operation_id)
        assert (operation.state, operation.sequence) == ("running", 1)
        summary = await world.engine.summary(SPACE, operation_id)
        assert summary == await world.store.summary(SPACE, operation_id)
        await world.pass_time(10)
    await world.tell(operation_id, Cancel(OPERATOR))
    await world.quiet()
    summary = await world.engine.summary(SPACE, operation_id)
    assert summary is not None
    assert summary.state == "cancelled"
    assert await world.engine.look(SPACE, "op_nobody") is None
    assert await world.engine.summary(SPACE, "op_nobody") is None


async def test_of_what_has_ended_lately_only_so_much_is_remembered(
    world: World, store: TroubledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ENDED_LATELY_MAX", 3)
    ended = [await world.started(THREE) for _ in range(5)]
    for operation_id in ended:
        await world.tell(operation_id, Cancel(OPERATOR))
    await world.quiet()
    before = store.reads
    for operation_id in ended[2:]:
        summary = await world.engine.summary(SPACE, operation_id)
        assert summary is not None
        assert summary.state == "cancelled"
    assert store.reads == before
    assert [await world.stands(operation_id) for operation_id in ended] == ["cancelled"] * 5


async def test_a_clock_moved_by_hand_stops_wherever_something_is_due(world: World) -> None:
    operation_id = await world.started(flow_of(step("ask", "Irs", sla="1m"), sla="1h"))
    clock = SettableClock(world.clock.now)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.engine, "clock", clock)
        patch.setattr(world.engine.timers, "_clock", clock)
        await world.engine.advance(clock, 7_200 * SECOND)
    assert clock.now() - EPOCH >= 7_200 * SECOND
    events = (await world.events(operation_id))[1:]
    assert kinds(events) == ["sla_at_risk 1", "sla_breach 1", "unattended 1", "sla_at_risk 0", "sla_breach 0"]
    assert [(event.at - EPOCH) // SECOND for event in events] == [48, 60, 900, 2_880, 3_600]


@contextmanager
def a_bug(is_hit: Callable[[Operation | None, Input], bool]) -> Iterator[None]:
    """While it lasts, deciding fails for whatever hits the bug."""

    def stumble(operation: Operation | None, told: Input, now: int) -> Outcome:
        if is_hit(operation, told):
            raise ZeroDivisionError("a bug")
        return decide(operation, told, now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hmsactd.engine.actor.decide", stumble)
        yield


async def test_the_fault_of_one_operation_is_answered_and_stays_its_own(world: World) -> None:
    Hands(world, "Irs", "ask").connect()
    faulty, other = await world.started(flow_of(checkpoint("review"), sla="1h")), await world.started(THREE)
    with a_bug(
        lambda operation, told: isinstance(told, Pause) and operation is not None and operation.clock is not None
    ):
        told = [world.engine.tell(SPACE, faulty, what) for what in (Pause(OPERATOR), Cancel(OPERATOR))]
        for each in told:
            with pytest.raises(ZeroDivisionError):
                await each
        assert kinds((await world.tell(other, Pause(OPERATOR))).events) == ["operation_paused"]
        # It comes back as it was before.
        assert kinds((await world.tell(faulty, Cancel(OPERATOR))).events) == ["operation_cancelled"]


async def test_a_fault_while_an_attempt_is_taken_costs_the_worker_no_place(world: World) -> None:
    irs = Hands(world, "Irs", "ask", max_in_flight=1).connect()
    with a_bug(lambda _, told: isinstance(told, StepTaken)), pytest.raises(ZeroDivisionError):
        await world.start(THREE)
    assert irs.session.free == 1
    await world.started(THREE)
    await world.quiet()
    assert len(irs.calls) == 1


async def test_the_clocks_of_others_go_on_past_a_faulty_operation(world: World) -> None:
    faulty = await world.started(flow_of(step("ask", "Irs", sla="1m"), sla="1h"))
    others = [await world.started(flow_of(step("ask", "Irs", sla="1m"))) for _ in range(3)]
    with a_bug(lambda operation, _: operation is not None and operation.clock is not None):
        await world.pass_time(61)
    for other in others:
        assert kinds(await world.events(other))[1:] == ["sla_at_risk 1", "sla_breach 1"]
    await world.pass_time(6)
    assert kinds(await world.events(faulty))[1:] == ["sla_at_risk 1", "sla_breach 1"]


async def test_all_goes_on_by_itself_after_the_store_was_away(world: World, store: TroubledStore) -> None:
    irs = Hands(world, "Irs", "ask").connect()
    waiting = [await world.started(flow_of(step("late", "Late"))) for _ in range(20)]
    reporting = Hands(world, "Slow", "slow", work=None).connect()
    running = [await world.started(flow_of(step("slow", "Slow"))) for _ in range(20)]
    due = [await world.started(flow_of(step("never", "Never", sla="1m"))) for _ in range(20)]
    await world.pass_time(10)
    store.is_away = True
    late = Hands(world, "Late", "late").connect()
    reporting.finish_all()
    with pytest.raises(Unavailable):
        await world.start(flow_of(step("ask", "Irs")))
    await world.pass_time(60)
    store.is_away = False
    await world.pass_time(8)
    assert [await world.stands(each) for each in waiting + running] == ["completed"] * 40
    assert len(late.told("recorded")) == len(reporting.told("recorded")) == 20
    for each in due:
        assert kinds(await world.events(each))[1:] == ["sla_at_risk 1", "sla_breach 1"]
    assert irs.calls == []
    assert not any(session.reserved or session.held for session in world.engine.dispatch.sessions.values())


async def test_an_outage_costs_no_memory_however_often_it_is_tried(world: World, store: TroubledStore) -> None:
    ids = [await world.started(THREE) for _ in range(5)]
    store.is_away = True
    for _ in range(50):
        for each in ids:
            with pytest.raises(Unavailable):
                await world.tell(each, Pause(OPERATOR))
    await world.pass_time(120)
    assert len(world.timelines._committer._doubtful) <= len(ids)
    assert len(world.engine._in_doubt) <= len(ids)
    assert world.engine.live == 0
    store.is_away = False
    await world.pass_time(2)
    assert kinds((await world.tell(ids[0], Pause(OPERATOR))).events) == ["operation_paused"]
    assert not world.engine._in_doubt


async def test_whoever_waits_for_an_end_hears_of_one_that_was_kept_in_a_failing_write(
    world: World, store: TroubledStore
) -> None:
    operation_id = await world.started(THREE)
    store.at_write, store.trouble = frozenset([store.writes + 1]), Trouble.KEPT_UNTOLD
    with world.engine.endings.awaited(SPACE, operation_id) as ending:
        with pytest.raises(Unavailable):
            await world.tell(operation_id, Cancel(OPERATOR))
        await world.pass_time(2)
        assert ending.summary is not None
        assert ending.summary.ended_at is not None


async def test_whoever_tells_a_stopping_daemon_is_answered(world: World) -> None:
    operation_id = await world.started(THREE)
    told = world.engine.tell(SPACE, operation_id, Pause(OPERATOR))
    await world.stop()
    assert kinds((await told).events) == ["operation_paused"]
    for refused in (world.engine.tell(SPACE, operation_id, Resume(OPERATOR)), world.start(THREE)):
        with pytest.raises(Unavailable, match="shutting down"):
            await refused


async def test_whoever_waits_when_the_daemon_dies_is_answered(world: World, store: TroubledStore) -> None:
    operation_id = await world.started(THREE)
    store.at_write, store.trouble = frozenset([store.writes + 1]), Trouble.DEATH_BEFORE
    told = [world.engine.tell(SPACE, operation_id, Pause(OPERATOR)), world.start(THREE)]
    await world.quiet()
    told.append(world.start(THREE))
    await world.kill()
    told.append(world.start(THREE))
    for each in told:
        with pytest.raises(Unavailable):
            await each


# -- what nobody sees --------------------------------------------------------------------------------------------------


async def test_a_checkpoint_that_nobody_may_decide_is_noticed_once(world: World) -> None:
    world.everybody.is_empty = True
    operation_id = await world.started(flow_of(checkpoint("review")))
    await world.pass_time(899, tick=29)
    assert kinds(await world.events(operation_id)) == ["operation_started", "checkpoint_pending 1"]
    await world.pass_time(120, tick=20)
    assert kinds(await world.events(operation_id))[2:] == ["unattended 1"]
    await world.kill()
    await world.open()
    await world.pass_time(120, tick=20)
    assert kinds(await world.events(operation_id))[2:] == ["unattended 1"]


async def test_a_step_that_waits_without_a_worker_is_noticed_once(world: World) -> None:
    operation_id = await world.started(flow_of(step("ask", "Irs", unattended="1m")))
    await world.pass_time(300, tick=5)
    (noticed,) = (each for each in await world.events(operation_id) if isinstance(each, e.Unattended))
    assert noticed.late_ms <= 1000


async def test_two_thousand_clocks_due_at_once_fire_all_and_none_early(world: World) -> None:
    flow = flow_of(step("ask", "Irs", sla="100s"))
    await asyncio.wait([world.start(flow) for _ in range(2_000)])
    ids = [row.operation for row in await world.store.operations(SPACE, limit=3_000)]
    await world.pass_time(79, tick=1)
    fired = {key: kinds(await world.events(key)) for key in ids[::40]}
    assert {tuple(each) for each in fired.values()} == {("operation_started",)}
    world.clock.advance(SECOND - 1)
    await world.quiet()
    assert all(row.alarms is None for row in await world.store.operations(SPACE, limit=3_000))
    world.clock.advance(1)
    await world.quiet()
    assert all(row.alarms == '{"at_risk": ["ask"]}' for row in await world.store.operations(SPACE, limit=3_000))
    await world.pass_time(20, tick=20)
    assert all(row.alarms == '{"breached": ["ask"]}' for row in await world.store.operations(SPACE, limit=3_000))
    for key in ids[::40]:
        assert kinds(await world.events(key)) == ["operation_started", "sla_at_risk 1", "sla_breach 1"]


async def test_a_start_with_a_new_id_never_meets_an_old_operation(world: World) -> None:
    first = await world.started(THREE)
    again = world.engine.tell(SPACE, first, Start(CITIZEN, THREE, commit(b"1")))
    with pytest.raises(Rejected, match="started before"):
        await again
    assert world.engine.start(SPACE, Start(CITIZEN, THREE, commit(b"1")), NOTHING_GIVEN) is not None
