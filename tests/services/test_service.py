"""A called service and the engine: what it is called for, what is recorded of it, and what an outage costs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hmsactd.core import events as e
from hmsactd.core.inputs import Cancel, CompleteStep
from hmsactd.services.outcome import Deferred, Done, Failed
from hmsactd.timeline.payloads import commit
from tests.core.dialogue import OPERATOR, service
from tests.engine.trouble import TroubledStore
from tests.engine.world import SECOND, SPACE, World, flow_of, kinds, living, step, with_heartbeat
from tests.services.service import GONE, Agency, Told, called, made, running

ASK = flow_of(step("ask", "Irs"))
BATCH = service("Batch")


@pytest.fixture
def store() -> TroubledStore:
    return TroubledStore()


@pytest.fixture
async def world(store: TroubledStore) -> AsyncIterator[World]:
    async with living(store) as world:
        yield world


@pytest.fixture
def agency() -> Agency:
    return Agency()


@pytest.fixture
def told() -> Told:
    return Told()


async def failed_of(world: World, operation_id: str) -> list[e.StepFailed]:
    return [event for event in await world.events(operation_id) if isinstance(event, e.StepFailed)]


async def test_every_step_of_the_service_is_done_by_calling_it(world: World, agency: Agency, told: Told) -> None:
    async with running(made(world, agency, told, called())):
        operation_id = await world.started(flow_of(step("ask", "Irs"), step("check", "Irs")))
        await world.quiet()
        assert await world.stands(operation_id) == "completed"
        assert [(call.step, call.idempotency_key) for call in agency.calls] == [
            ("ask", f"{operation_id}/1"),
            ("check", f"{operation_id}/2"),
        ]
        assert (told.states, told.outcomes) == (["closed"], ["done", "done"])
    assert agency.is_closed


async def test_the_record_says_that_the_daemon_called_it(world: World, agency: Agency, told: Told) -> None:
    async with running(made(world, agency, told, called())):
        operation_id = await world.started(ASK)
        await world.quiet()
    done = (await world.events(operation_id))[2]
    assert isinstance(done, e.StepDone)
    assert (done.by.id, done.by.kind, done.by.method) == ("called:svc/Irs", "service", "tls")


async def test_steps_that_are_not_configured_are_left_to_workers(world: World, agency: Agency, told: Told) -> None:
    async with running(made(world, agency, told, called(steps=["ask"]))):
        operation_id = await world.started(flow_of(step("ask", "Irs"), step("check", "Irs")))
        await world.quiet()
        assert [call.step for call in agency.calls] == ["ask"]
        assert kinds(await world.events(operation_id))[1:] == ["step_started 1.1", "step_done 1.1"]


async def test_no_more_calls_than_its_concurrency_are_under_way(world: World, agency: Agency, told: Told) -> None:
    agency.answer = lambda _: None
    async with running(made(world, agency, told, called(concurrency=3))):
        started = [await world.started(ASK) for _ in range(5)]
        await world.quiet()
        assert len(agency.calls) == 3
        agency.answers(started[1], Done(b"1"))
        await world.quiet()
        assert [call.key.operation_id for call in agency.calls] == [*started[:3], started[3]]


async def test_what_the_service_says_of_a_failure_is_recorded_and_its_wish_respected(
    world: World, agency: Agency, told: Told
) -> None:
    answers = iter((Failed("BUSY", "x" * 1000, retry_after_ms=60_000), Failed("BAD_FORM", "no such year", True)))
    agency.answer = lambda _: next(answers)
    async with running(made(world, agency, told, called())):
        operation_id = await world.started(ASK)
        await world.pass_time(59)
        assert len(agency.calls) == 1
        await world.pass_time(10)
        first, second = await failed_of(world, operation_id)
        assert (first.code, second.code, second.retry_at) == ("BUSY", "BAD_FORM", None)
        assert first.error is not None
        assert first.error.size <= 66
        assert await world.stands(operation_id) == "failed"
        assert told.outcomes == ["retryable", "failed"]


@pytest.mark.parametrize("output", [b"[" * 20 + b"]" * 20, b'"' + b"x" * 2000 + b'"', b"nonsense", b"\xff"])
async def test_an_output_that_cannot_be_kept_fails_the_step_for_good(
    world: World, agency: Agency, told: Told, output: bytes
) -> None:
    agency.answer = lambda _: Done(output)
    async with running(made(world, agency, told, called())):
        operation_id = await world.started(ASK)
        await world.quiet()
        (failed,) = await failed_of(world, operation_id)
        assert (failed.code, failed.retry_at) == ("BAD_OUTPUT", None)


async def test_a_deferred_step_costs_no_place_and_is_completed_with_the_token_that_came_with_its_call(
    world: World, agency: Agency, told: Told
) -> None:
    agency.answer = lambda _: Deferred(None)
    async with running(made(world, agency, told, called(concurrency=1))) as irs:
        started = [await world.started(ASK) for _ in range(3)]
        await world.quiet()
        assert len(agency.calls) == 3
        assert irs.session.held == {}
        assert told.outcomes == ["deferred"] * 3
        found = world.engine.tokens.read(agency.calls[1].completion_token)
        assert found == (SPACE, "Irs", agency.calls[1].key)
        await world.tell(started[1], CompleteStep(BATCH, 1, 1, commit(b'"later"')))
        assert [await world.stands(each) for each in started] == ["running", "completed", "running"]


@pytest.mark.parametrize(("until_s", "over_at_s"), [(90, 90), (-5, 0)], ids=["in time", "too late already"])
async def test_a_service_that_defers_until_a_time_has_until_then(
    world: World, agency: Agency, told: Told, until_s: int, over_at_s: int
) -> None:
    agency.answer = lambda _: Deferred(world.clock.now() + until_s * SECOND)
    async with running(made(world, agency, told, called())):
        operation_id = await world.started(flow_of(step("ask", "Irs", timeout="30s")))
        await world.pass_time(100)
        (deferred, *_) = [each for each in await world.events(operation_id) if isinstance(each, e.StepDeferred)]
        (failed, *_) = await failed_of(world, operation_id)
        assert deferred.due_at is not None
        assert (deferred.due_at - deferred.at) // SECOND == over_at_s
        assert failed.code == "TIMEOUT"
        assert 0 <= failed.at - deferred.due_at <= SECOND


async def test_a_completion_that_is_quicker_than_the_answer_counts(world: World, agency: Agency, told: Told) -> None:
    agency.answer = lambda _: None
    async with running(made(world, agency, told, called())):
        operation_id = await world.started(ASK)
        await world.quiet()
        await world.tell(operation_id, CompleteStep(BATCH, 1, 1, commit(b"1")))
        await world.quiet()
        assert agency.cut_off == [operation_id]
        assert told.outcomes == ["withdrawn"]
        assert told.states == ["closed"]
        assert kinds(await world.events(operation_id))[2:] == ["step_done 1.1", "operation_completed"]


async def test_a_fault_of_ours_fails_the_call_and_nothing_else(
    world: World, agency: Agency, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    faults = iter((ZeroDivisionError("ours"), Done(b"{}"), Done(b"{}")))
    agency.answer = lambda _: next(faults)
    async with running(made(world, agency, told, called())):
        first, second = await world.started(ASK), await world.started(ASK)
        await world.pass_time(5)
        assert [await world.stands(each) for each in (first, second)] == ["completed", "completed"]
        assert [each.code for each in await failed_of(world, first)] == ["INTERNAL"]


async def test_the_deadline_is_the_sooner_of_the_services_and_the_steps(
    world: World, agency: Agency, told: Told
) -> None:
    async with running(made(world, agency, told, called(deadline="20s"))):
        await world.started(flow_of(step("ask", "Irs")))
        await world.started(flow_of(step("ask", "Irs", timeout="5s")))
        await world.started(flow_of(step("ask", "Irs", timeout="60s")))
        await world.quiet()
        now = world.clock.now()
        assert [(deadline - now) // SECOND for deadline in agency.deadlines] == [20, 5, 20]


async def test_a_service_that_hangs_is_cut_off_at_its_deadline(world: World, agency: Agency, told: Told) -> None:
    agency.answer = lambda _: None
    service = made(world, agency, told, called(deadline="20ms"))
    async with running(service):
        operation_id = await world.started(flow_of(step("ask", "Irs", retries=0)))
        while not agency.cut_off:
            await world.turn()
        await world.quiet()
        assert [each.code for each in await failed_of(world, operation_id)] == ["DEADLINE_EXCEEDED"]
        assert told.outcomes == ["unreachable"]


async def test_a_step_that_times_out_is_cut_off_and_its_place_is_free(world: World, agency: Agency, told: Told) -> None:
    agency.answer = lambda _: None
    async with running(made(world, agency, told, called(concurrency=1, deadline="1h"))):
        operation_id = await world.started(flow_of(step("ask", "Irs", timeout="5s", retries=0)))
        other = await world.started(ASK)
        await world.pass_time(7)
        assert agency.cut_off == [operation_id]
        assert [each.code for each in await failed_of(world, operation_id)] == ["TIMEOUT"]
        assert [call.key.operation_id for call in agency.calls] == [operation_id, other]
        assert told.outcomes == ["unreachable"]


async def test_a_cancelled_operation_is_cut_off_and_the_record_says_that_its_end_is_unknown(
    world: World, agency: Agency, told: Told
) -> None:
    agency.answer = lambda _: None
    async with running(made(world, agency, told, called(concurrency=1))):
        operation_id, other = await world.started(ASK), await world.started(ASK)
        await world.quiet()
        await world.tell(operation_id, Cancel(OPERATOR))
        await world.quiet()
        assert agency.cut_off == [operation_id]
        ignored = (await world.events(operation_id))[-1]
        assert isinstance(ignored, e.StepReportIgnored)
        assert ignored.code == "WITHDRAWN"
        assert agency.calls[-1].key.operation_id == other
        assert told.outcomes == ["withdrawn"]


async def test_a_step_that_expects_heartbeats_has_the_connection_for_one(
    world: World, agency: Agency, told: Told
) -> None:
    agency.answer = lambda _: None
    async with running(made(world, agency, told, called(deadline="1h"))):
        operation_id = await world.started(flow_of(with_heartbeat(step("ask", "Irs"), 3_000)))
        await world.pass_time(60)
        agency.answers(operation_id, Done(b"{}"))
        await world.quiet()
        assert kinds(await world.events(operation_id))[1:] == [
            "step_started 1.1",
            "step_done 1.1",
            "operation_completed",
        ]


async def test_a_report_that_could_not_be_recorded_is_made_again_and_the_service_is_not_called_again(
    world: World, agency: Agency, told: Told, store: TroubledStore
) -> None:
    agency.answer = lambda _: None
    async with running(made(world, agency, told, called())):
        operation_id = await world.started(ASK)
        await world.quiet()
        store.is_away = True
        agency.answers(operation_id, Done(b'"done"'))
        await world.pass_time(10)
        store.is_away = False
        await world.pass_time(3)
        assert await world.stands(operation_id) == "completed"
        assert len(agency.calls) == 1


# -- outages -----------------------------------------------------------------------------------------------------------


async def test_an_outage_of_an_hour_uses_up_no_retries_but_those_that_found_it_out(
    world: World, agency: Agency, told: Told
) -> None:
    async with running(made(world, agency, told, called(failures_max=5, concurrency=4))):
        agency.is_up = False
        started = [await world.started(ASK) for _ in range(30)]
        await world.pass_time(3600)
        # Five found it out; what was under way with them had begun before.
        spent = len(agency.calls)
        assert 5 <= spent <= 8
        assert agency.looks > 50
        assert told.states == ["closed", "open"]
        agency.is_up = True
        await world.pass_time(70)
        assert {await world.stands(each) for each in started} == {"completed"}
        assert told.states == ["closed", "open", "half_open", "closed"]
        failures = [len(await failed_of(world, each)) for each in started]
        assert sum(failures) == spent
        assert max(failures) <= 2


async def test_while_it_is_away_its_steps_are_said_to_be_unattended(world: World, agency: Agency, told: Told) -> None:
    async with running(made(world, agency, told, called(failures_max=1))):
        agency.is_up = False
        first = await world.started(ASK)
        await world.quiet()
        waiting = await world.started(flow_of(step("ask", "Irs", sla="10m")))
        await world.pass_time(1000)
        assert kinds(await world.events(waiting))[1:] == ["sla_at_risk 1", "sla_breach 1", "unattended 1"]
        agency.is_up = True
        await world.pass_time(70)
        assert {await world.stands(each) for each in (first, waiting)} == {"completed"}


async def test_one_call_is_tried_when_it_answers_again_and_the_rest_waits_for_its_outcome(
    world: World, agency: Agency, told: Told
) -> None:
    async with running(made(world, agency, told, called(failures_max=1, pause="1s"))):
        agency.is_up = False
        started = [await world.started(flow_of(step("ask", "Irs", retry_delay="1h", retry_delay_max="1h")))]
        await world.quiet()
        started += [await world.started(ASK) for _ in range(4)]
        agency.is_up, agency.answer = True, lambda _: None
        await world.pass_time(3)
        assert [call.key.operation_id for call in agency.calls] == started[:2]
        agency.answers(started[1], GONE)
        await world.quiet()
        assert told.states == ["closed", "open", "half_open", "open"]
        await world.pass_time(3)
        assert len(agency.calls) == 3
        agency.answer = lambda _: Done(b"{}")
        agency.answers(agency.calls[-1].key.operation_id, Done(b"{}"))
        await world.pass_time(3)
        assert told.states[-1] == "closed"
        assert {await world.stands(each) for each in started[2:]} == {"completed"}


async def test_a_service_that_answers_with_failures_is_no_outage(world: World, agency: Agency, told: Told) -> None:
    agency.answer = lambda _: Failed("HTTP_500", "oops")
    async with running(made(world, agency, told, called(failures_max=2))):
        for _ in range(10):
            await world.started(ASK)
        await world.pass_time(5)
        assert told.states == ["closed"]


async def test_a_look_that_fails_in_an_unforeseen_way_is_a_look_in_vain(
    world: World, agency: Agency, told: Told
) -> None:
    async def broken() -> bool:
        agency.looks += 1
        if agency.looks < 3:
            raise ZeroDivisionError("ours")
        return True

    agency.is_up = False
    agency.is_there = broken  # type: ignore[method-assign]
    async with running(made(world, agency, told, called(failures_max=1))):
        operation_id = await world.started(ASK)
        await world.quiet()
        agency.is_up = True
        await world.pass_time(30)
        assert agency.looks == 3
        assert await world.stands(operation_id) == "completed"


# -- pace --------------------------------------------------------------------------------------------------------------


async def test_a_queue_drains_at_the_rate(world: World, agency: Agency, told: Told) -> None:
    async with running(made(world, agency, told, called(rate=2, concurrency=100))):
        started = [await world.started(ASK) for _ in range(12)]
        await world.quiet()
        assert len(agency.calls) == 1
        for second in range(1, 5):
            await world.pass_time(1, tick=0.05)
            assert abs(len(agency.calls) - (1 + 2 * second)) <= 1
        await world.pass_time(3, tick=0.05)
        assert {await world.stands(each) for each in started} == {"completed"}


async def test_a_service_that_asks_for_peace_is_left_alone_by_every_step(
    world: World, agency: Agency, told: Told
) -> None:
    answers = iter((Failed("HTTP_429", "slow down", retry_after_ms=20_000, asks_for_peace_ms=20_000),))
    agency.answer = lambda _: next(answers, Done(b"{}"))
    async with running(made(world, agency, told, called(concurrency=1))):
        started = [await world.started(ASK) for _ in range(3)]
        await world.pass_time(19)
        assert len(agency.calls) == 1
        await world.pass_time(10)
        assert {await world.stands(each) for each in started} == {"completed"}
        assert told.states == ["closed"]


async def test_nobody_asks_for_more_peace_than_the_longest_pause(world: World, agency: Agency, told: Told) -> None:
    answers = iter((Failed("HTTP_503", "closed", asks_for_peace_ms=86_400_000),))
    agency.answer = lambda _: next(answers, Done(b"{}"))
    async with running(made(world, agency, told, called(concurrency=1, pause_max="1m"))):
        started = [await world.started(ASK) for _ in range(3)]
        await world.pass_time(62)
        assert {await world.stands(each) for each in started} == {"completed"}


# -- ends and restarts -------------------------------------------------------------------------------------------------


async def test_a_call_cut_off_by_a_crash_is_made_again_at_once_with_the_same_key(
    world: World, agency: Agency, told: Told
) -> None:
    agency.answer = lambda _: None
    async with running(made(world, agency, told, called())):
        operation_id = await world.started(ASK)
        await world.quiet()
        await world.kill()
    await world.open()
    agency.answer = lambda _: Done(b"{}")
    async with running(made(world, agency, told, called())):
        await world.quiet()
        assert await world.stands(operation_id) == "completed"
    first, second = agency.calls
    assert (first.key.attempt, second.key.attempt) == (1, 2)
    assert first.idempotency_key == second.idempotency_key
    assert kinds(await world.events(operation_id))[1:4] == ["step_started 1.1", "step_lost 1.1", "step_started 1.2"]


async def test_what_waited_before_a_restart_is_called_after_it(world: World, agency: Agency, told: Told) -> None:
    started = [await world.started(flow_of(step(f"ask_{number}", "Irs"))) for number in range(5)]
    await world.pass_time(10)
    await world.kill()
    await world.open()
    async with running(made(world, agency, told, called())):
        await world.quiet()
        assert {await world.stands(each) for each in started} == {"completed"}


async def test_one_that_leaves_begins_no_call_and_waits_for_those_under_way(
    world: World, agency: Agency, told: Told
) -> None:
    agency.answer = lambda _: None
    async with running(made(world, agency, told, called(concurrency=1))) as service:
        first, second = await world.started(ASK), await world.started(ASK)
        await world.quiet()
        service.leave()
        idle = world.do(service.idle())
        await world.quiet()
        assert not idle.done()
        agency.answers(first, Done(b"{}"))
        await world.quiet()
        assert idle.done()
        assert [await world.stands(each) for each in (first, second)] == ["completed", "running"]
        assert len(agency.calls) == 1
        assert world.engine.dispatch.sessions["called_default.Irs"].namespace == SPACE
