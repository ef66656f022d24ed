"""Deferred steps in a living engine: they are in nobody's hands, outlast crashes, sleep, and are completed once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hmsactd.core import events as e
from hmsactd.core.inputs import Cancel, CompleteStep, StepDeferred
from hmsactd.core.rejected import Rejected
from hmsactd.engine.session import AttemptKey
from hmsactd.timeline.payloads import commit
from tests.core.dialogue import OPERATOR, service
from tests.engine.hands import Failed, Hands, Later, in_turn
from tests.engine.trouble import TroubledStore
from tests.engine.world import LIMITS, SECOND, SPACE, World, flow_of, kinds, living, step, with_heartbeat

BATCH = service("Batch")
ASK = flow_of(step("ask", "Irs"), step("check", "Irs"))
DEFERRED = ["operation_started", "step_started 1.1", "step_deferred 1.1"]


@pytest.fixture
def store() -> TroubledStore:
    return TroubledStore()


@pytest.fixture
async def world(store: TroubledStore) -> AsyncIterator[World]:
    async with living(store) as world:
        yield world


def completion(key: AttemptKey, output: bytes = b'"by batch"') -> CompleteStep:
    return CompleteStep(BATCH, key.instance, key.attempt, commit(output))


async def completed(world: World, key: AttemptKey) -> str:
    """Complete a step; the code of why not, if it is not possible."""
    try:
        await world.tell(key.operation_id, completion(key))
    except Rejected as rejected:
        return rejected.code
    return ""


async def test_a_deferred_step_gives_its_place_back_and_waits_for_its_completion(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=lambda _: Later(), max_in_flight=1).connect()
    started = [await world.started(ASK) for _ in range(5)]
    await world.quiet()
    assert [call.key.operation_id for call in irs.calls] == started
    assert irs.session.held == {}
    assert irs.told("recorded") == [call.key for call in irs.calls]
    summary = await world.store.summary(SPACE, started[0])
    assert summary is not None
    assert (summary.state, summary.awaits, summary.awaits_who, summary.session) == (
        "running",
        "completion",
        "Irs",
        None,
    )
    assert kinds(await world.events(started[0])) == DEFERRED


async def test_its_output_goes_to_the_next_step_and_says_who_completed_it_by_token(world: World) -> None:
    irs = Hands(world, "Irs", "ask", "check", work=in_turn(Later(), b'"checked"')).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    assert await completed(world, irs.calls[0].key) == ""
    await world.quiet()
    assert irs.calls[1].outputs == {"ask": b'"by batch"'}
    done = (await world.events(operation_id))[3]
    assert isinstance(done, e.StepDone)
    assert (done.by, done.via) == (BATCH, "token")
    assert await world.stands(operation_id) == "completed"


async def test_neither_silence_nor_the_loss_of_the_worker_touches_a_deferred_step(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=lambda _: Later()).connect()
    operation_id = await world.started(flow_of(with_heartbeat(step("ask", "Irs"), 1_000)))
    await world.quiet()
    irs.die()
    await world.pass_time(60)
    assert irs.session.id not in world.engine.dispatch.sessions
    assert kinds(await world.events(operation_id)) == DEFERRED


async def test_an_operation_that_waits_for_a_completion_is_let_go_and_brought_back_by_it(world: World) -> None:
    irs = Hands(world, "Irs", "ask", "check", work=in_turn(Later(), b"1")).connect()
    operation_id = await world.started(ASK)
    await world.pass_time(LIMITS.idle_us / SECOND + 2)
    assert world.engine.live == 0
    assert await completed(world, irs.calls[0].key) == ""
    await world.quiet()
    assert await world.stands(operation_id) == "completed"


async def test_a_crash_changes_nothing_for_a_deferred_step_and_no_loss_is_charged(world: World) -> None:
    irs = Hands(world, "Irs", "ask", "check", work=in_turn(Later(), b"1")).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    token = irs.calls[0].completion_token
    await world.kill()
    await world.open()
    await world.pass_time(LIMITS.grace_us / SECOND + 5)
    assert kinds(await world.events(operation_id)) == DEFERRED
    found = world.engine.tokens.read(token)
    assert found is not None
    assert (found.namespace, found.svc, found.key) == (SPACE, "Irs", irs.calls[0].key)
    assert await completed(world, found.key) == ""
    irs.connect()
    await world.quiet()
    assert await world.stands(operation_id) == "completed"


async def test_a_deferral_whose_verdict_was_lost_is_said_again_and_recorded_once(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    (call,) = irs.calls
    irs.finish(call.key, Later())
    irs.hang_up()
    await world.quiet()
    await world.kill()
    await world.open()
    irs.connect()
    await world.quiet()
    assert irs.verdicts[-1].kind == "recorded"
    assert kinds(await world.events(operation_id)) == DEFERRED


async def test_what_a_worker_reports_of_an_attempt_that_it_deferred_is_stale(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    (call,) = irs.calls
    irs.finish(call.key, Later())
    await world.quiet()
    for outcome in (b'"after all"', Failed()):
        irs.finish(call.key, outcome)
        await world.quiet()
        assert (irs.verdicts[-1].kind, irs.verdicts[-1].code) == ("stale", "DEFERRED")
    other = Hands(world, "Other", "ask", work=None).connect()
    other.finish(call.key, Later())
    await world.quiet()
    assert other.verdicts[-1].kind == "stale"
    assert kinds(await world.events(operation_id)) == DEFERRED


async def test_a_completion_that_overtakes_the_deferral_counts_and_the_worker_is_told(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(flow_of(step("ask", "Irs")))
    await world.quiet()
    (call,) = irs.calls
    assert await completed(world, call.key) == ""
    await world.quiet()
    assert irs.withdrawn == [(call.key, "COMPLETED")]
    irs.finish(call.key, Later())
    await world.quiet()
    assert irs.told("stale") == [call.key]
    assert irs.session.held == {}
    assert await world.stands(operation_id) == "completed"


async def test_a_step_that_is_not_completed_in_time_is_tried_again_and_what_comes_late_is_kept(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=lambda _: Later(60_000)).connect()
    operation_id = await world.started(flow_of(step("ask", "Irs", timeout="5s")))
    await world.pass_time(50)
    assert kinds(await world.events(operation_id)) == DEFERRED
    await world.pass_time(20)
    first, second = irs.calls
    assert [await completed(world, first.key) for _ in range(2)] == ["ATTEMPT_OVER"] * 2
    assert await completed(world, second.key) == ""
    assert kinds(await world.events(operation_id))[2:] == [
        *("step_deferred 1.1", "step_failed 1.1", "step_queued 1", "step_started 1.2", "step_deferred 1.2"),
        *("step_report_ignored 1.1", "step_done 1.2", "operation_completed"),
    ]
    assert [await completed(world, each.key) for each in (first, second)] == ["ATTEMPT_OVER", "ALREADY_COMPLETED"]


async def test_what_comes_after_a_cancel_is_kept_once_with_its_output(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=lambda _: Later()).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    await world.tell(operation_id, Cancel(OPERATOR))
    (call,) = irs.calls
    assert [await completed(world, call.key) for _ in range(3)] == ["OPERATION_FINAL"] * 3
    kept = (await world.events(operation_id))[4:]
    assert len(kept) == 1
    assert isinstance(kept[0], e.StepReportIgnored)
    assert (kept[0].by, kept[0].via, kept[0].output) == (BATCH, "token", commit_like(b'"by batch"', kept[0]))


def commit_like(said: bytes, event: e.StepReportIgnored) -> object:
    """The payload as recorded: its salt is drawn by chance."""
    assert event.output is not None
    assert event.output.size == len(said)
    return event.output


async def test_of_many_who_complete_at_a_time_one_does(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=lambda _: Later()).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    (call,) = irs.calls
    told = [world.do(completed(world, call.key)) for _ in range(20)]
    await world.quiet()
    assert sorted(task.result() for task in told) == ["", *["ALREADY_COMPLETED"] * 19]
    assert kinds(await world.events(operation_id))[3] == "step_done 1.1"


async def test_a_deferral_of_somebody_else_is_refused(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    with pytest.raises(Rejected, match="is with dev:svc/Irs"):
        await world.tell(operation_id, StepDeferred(BATCH, 1, 1))
    assert irs.calls[0].key in irs.session.held


async def test_a_deferral_that_nothing_limits_times_out_after_a_month_and_the_service_is_asked_again(
    world: World,
) -> None:
    irs = Hands(world, "Irs", "ask", work=lambda _: Later()).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    deferred = (await world.events(operation_id))[2]
    assert isinstance(deferred, e.StepDeferred)
    assert deferred.due_at == deferred.at + LIMITS.completion_us
    await world.pass_time(LIMITS.completion_us / SECOND + 10, tick=600)
    assert "step_failed 1.1" in kinds(await world.events(operation_id))
    assert irs.calls[-1].key.attempt == 2


async def test_a_deferral_that_the_steps_sla_notices_has_no_other_limit(world: World) -> None:
    Hands(world, "Irs", "ask", work=lambda _: Later()).connect()
    operation_id = await world.started(flow_of(step("ask", "Irs", sla="60d")))
    await world.quiet()
    deferred = (await world.events(operation_id))[2]
    assert isinstance(deferred, e.StepDeferred)
    assert deferred.due_at is None
