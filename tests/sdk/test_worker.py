"""Workers: what functions get, what is reported of them, and that nothing done is lost with a connection."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from hmsact import Call, InvalidArgument, StepError, Unauthenticated, Worker
from hmsact.v1 import worker_pb2 as pb

from tests.sdk.fake import OPERATION, FakeDaemon
from tests.sdk.tower import Connection, Tower, attempt, call


@pytest.fixture
def tower(fake: FakeDaemon) -> Tower:
    tower = Tower()
    fake.on("Work", tower)
    return tower


@pytest.fixture
def irs(fake: FakeDaemon) -> Worker:
    return Worker("IRS", token="dev:svc/IRS", address=fake.address, max_in_flight=4)


@asynccontextmanager
async def working(irs: Worker, tower: Tower, **welcome: Any) -> AsyncIterator[Connection]:
    """A worker that is connected; it is let go in peace at the end."""
    async with irs:
        connection = await tower.welcome(**welcome)
        yield connection
        irs.stop()
        await connection.goodbye()


async def report_of(irs: Worker, tower: Tower, told: pb.Call, **welcome: Any) -> pb.Report:
    """What the worker reports of a call."""
    async with working(irs, tower, **welcome) as connection:
        connection.say(calls=[told])
        report = await connection.report()
        connection.judge(report.attempt)
    assert report.attempt == told.attempt
    return report


# -- deferred steps ----------------------------------------------------------------------------------------------------


async def test_a_function_that_defers_is_reported_as_deferred_when_it_returns(irs: Worker, tower: Tower) -> None:
    tokens: list[str] = []
    may_return = asyncio.Event()

    @irs.step("check")
    async def check(call: Call) -> None:
        tokens.append(call.defer(within="3d"))
        await may_return.wait()

    @irs.step("other")
    def other(call: Call) -> str:
        return call.defer()

    async with working(irs, tower) as connection:
        connection.say(calls=[call(completion_token="done_1")])
        connection.say(calls=[call("other", attempt=attempt(2), completion_token="done_2")])
        # What it returns is its token, which is as good as nothing.
        quick = await connection.report()
        assert (quick.attempt.attempt, quick.WhichOneof("outcome")) == (2, "deferred")
        assert not quick.deferred.HasField("within")
        may_return.set()
        report = await connection.report()
        assert report.deferred.within.ToTimedelta() == timedelta(days=3)
        connection.judge(quick.attempt, report.attempt)
    assert tokens == ["done_1"]


async def test_a_deferral_without_a_verdict_is_said_again_even_if_the_call_is_gone(irs: Worker, tower: Tower) -> None:
    irs.step("check")(lambda call: call.defer())
    async with irs:
        connection = await tower.welcome()
        connection.say(calls=[call(completion_token="done_1")])
        await connection.report()
        connection.end(grpc.StatusCode.UNAVAILABLE)
        again = await tower.welcome(gone=[attempt()])
        assert list(again.hello.in_hand) == [attempt()]
        assert (await again.report()).HasField("deferred")
        again.judge(attempt())
        irs.stop()
        await again.goodbye()


async def test_what_is_returned_after_a_deferral_is_lost_and_the_log_says_so(
    irs: Worker, tower: Tower, caplog: pytest.LogCaptureFixture
) -> None:
    @irs.step("check")
    def check(call: Call) -> dict[str, bool]:
        call.defer()
        return {"eligible": True}

    report = await report_of(irs, tower, call(completion_token="done_1"))
    assert report.HasField("deferred")
    assert "what its function returned is not its output, and is lost" in caplog.text


async def test_a_function_that_raises_after_a_deferral_has_failed(irs: Worker, tower: Tower) -> None:
    @irs.step("check")
    def check(call: Call) -> None:
        call.defer()
        raise StepError("the batch does not take it", code="NO_BATCH")

    report = await report_of(irs, tower, call(completion_token="done_1"))
    assert report.failed.code == "NO_BATCH"


@pytest.mark.parametrize("within", ["0s", "521w4d", timedelta(days=-1), "soon"])
async def test_a_span_that_cannot_be_is_refused_where_it_is_said(
    irs: Worker, tower: Tower, within: str | timedelta
) -> None:
    @irs.step("check")
    def check(call: Call) -> None:
        with pytest.raises(InvalidArgument):
            call.defer(within)

    report = await report_of(irs, tower, call(completion_token="done_1"))
    assert report.HasField("done")


async def test_from_a_daemon_without_deferred_steps_there_is_no_token_and_the_step_fails(
    irs: Worker, tower: Tower
) -> None:
    irs.step("check")(lambda call: call.defer())
    report = await report_of(irs, tower, call())
    assert "it is older than this package" in report.failed.message
    assert not report.failed.permanent


# -- calls -------------------------------------------------------------------------------------------------------------


async def test_a_worker_says_who_it_is(fake: FakeDaemon, irs: Worker, tower: Tower) -> None:
    irs.step("check")(lambda call: None)
    irs.step("again")(lambda call: None)
    async with working(irs, tower) as connection:
        hello = connection.hello
        assert (hello.svc, hello.namespace, list(hello.steps), hello.max_in_flight, hello.session) == (
            "IRS",
            "default",
            ["check", "again"],
            4,
            "",
        )
    assert fake.heard[0].metadata["authorization"] == "Bearer dev:svc/IRS"


async def test_a_plain_function_runs_in_a_thread_and_a_coroutine_on_the_loop(irs: Worker, tower: Tower) -> None:
    ran_in: dict[str, threading.Thread] = {}

    @irs.step("check")
    def check(call: Call) -> dict[str, Any]:
        ran_in[call.step] = threading.current_thread()
        return {"eligible": call.input["income"] < 10}

    @irs.step("slow")
    async def slow(call: Call) -> list[int]:
        ran_in[call.step] = threading.current_thread()
        return [1]

    assert (await report_of(irs, tower, call())).done.output == b'{"eligible":true}'
    assert (await report_of(irs, tower, call("slow"))).done.output == b"[1]"
    assert ran_in["check"] is not threading.current_thread()
    assert ran_in["slow"] is threading.current_thread()


async def test_a_function_gets_everything_that_is_known_of_its_call(irs: Worker, tower: Tower) -> None:
    seen: list[Call] = []
    irs.step("check")(seen.append)
    told = call(
        outputs={"a": b'{"x":1}', "b": b"null"},
        skipped=["b"],
        left_out=["c"],
        definition="loan_forgiveness",
        traceparent="00-1-2-01",
    )
    told.attempt.attempt = 3
    told.deadline.FromDatetime(datetime(2026, 3, 2, tzinfo=UTC))
    assert (await report_of(irs, tower, told)).done.output == b"null"
    (found,) = seen
    assert (
        found.operation_id,
        found.step,
        found.attempt,
        found.idempotency_key,
        found.definition,
        found.namespace,
    ) == (
        OPERATION,
        "check",
        3,
        f"{OPERATION}/1",
        "loan_forgiveness",
        "default",
    )
    assert found.input == {"income": 5}
    assert found.outputs == {"a": {"x": 1}, "b": None}
    assert found.skipped == {"b"}
    assert found.deadline == datetime(2026, 3, 2, tzinfo=UTC)
    assert found.traceparent == "00-1-2-01"
    with pytest.raises(KeyError, match="left out for its size"):
        found.outputs["c"]
    with pytest.raises(KeyError, match="no earlier step is called d"):
        found.outputs["d"]


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (StepError("502"), pb.Failed(message="502", code="ERROR")),
        (
            StepError("no such form", retryable=False, code="FORM"),
            pb.Failed(message="no such form", code="FORM", permanent=True),
        ),
        (
            StepError("busy", retry_after="1m30s"),
            pb.Failed(message="busy", code="ERROR", retry_after=Duration(seconds=90)),
        ),
        (ValueError("bad number"), pb.Failed(message="ValueError: bad number", code="ERROR")),
        (StopIteration("over"), pb.Failed(message="StopIteration: over", code="ERROR")),
        (SystemExit(3), pb.Failed(message="SystemExit: 3", code="ERROR")),
        (asyncio.CancelledError(), pb.Failed(message="asyncio.exceptions.CancelledError", code="ERROR")),
    ],
)
async def test_each_failure_is_reported_as_it_was_meant(
    irs: Worker, tower: Tower, error: BaseException, expected: pb.Failed
) -> None:
    @irs.step("check")
    def check(call: Call) -> None:
        raise error

    assert (await report_of(irs, tower, call())).failed == expected


@pytest.mark.parametrize("error", [ValueError("bad number"), SystemExit(3), asyncio.CancelledError("mine")])
async def test_a_coroutine_fails_alike_and_ends_only_itself(irs: Worker, tower: Tower, error: BaseException) -> None:
    @irs.step("check")
    async def check(call: Call) -> None:
        raise error

    assert (await report_of(irs, tower, call())).failed.message.endswith(f"{type(error).__name__}: {error}")


async def test_the_traceback_stays_in_the_log(irs: Worker, tower: Tower, caplog: pytest.LogCaptureFixture) -> None:
    @irs.step("check")
    def check(call: Call) -> None:
        raise ValueError("x" * 5000)

    with caplog.at_level(logging.WARNING, "hmsact.worker"):
        failed = (await report_of(irs, tower, call())).failed
    assert len(failed.message) == 4096
    assert "Traceback" not in failed.message
    assert "in check" in caplog.text


@pytest.mark.parametrize(
    ("output", "code", "message"),
    [
        ({"when": datetime(2026, 1, 1, tzinfo=UTC)}, "OUTPUT_NOT_JSON", "output/when: a datetime has no JSON form"),
        ("x" * 999, "OUTPUT_TOO_LARGE", "1,001 bytes of JSON, more than the 1,000 the daemon takes"),
    ],
)
async def test_an_output_that_cannot_be_recorded_fails_for_good(
    irs: Worker, tower: Tower, output: Any, code: str, message: str
) -> None:
    irs.step("check")(lambda call: output)
    failed = (await report_of(irs, tower, call())).failed
    assert (failed.code, failed.permanent) == (code, True)
    assert message in failed.message


async def test_a_step_that_nobody_does_is_reported(irs: Worker, tower: Tower) -> None:
    irs.step("check")(lambda call: None)
    failed = (await report_of(irs, tower, call("other"))).failed
    assert (failed.code, failed.permanent) == ("STEP_UNKNOWN", False)


# -- what is done is not lost ------------------------------------------------------------------------------------------


async def test_a_report_is_sent_again_until_there_is_a_verdict(irs: Worker, tower: Tower) -> None:
    ran: list[int] = []

    @irs.step("check")
    def check(call: Call) -> int:
        ran.append(call.attempt)
        return 7

    async with irs:
        first = await tower.welcome()
        first.say(calls=[call()])
        await first.report()
        first.end(grpc.StatusCode.UNAVAILABLE)
        second = await tower.welcome()
        assert second.hello.session == "wrk_1"
        assert list(second.hello.in_hand) == [attempt()]
        assert (await second.report()).done.output == b"7"
        second.judge(attempt(), kind=pb.VERDICT_KIND_AGAIN)
        assert (await second.report()).done.output == b"7"
        second.judge(attempt())
        irs.stop()
        await second.goodbye()
    assert ran == [1]


@pytest.mark.parametrize("kind", [pb.VERDICT_KIND_RECORDED, pb.VERDICT_KIND_STALE, pb.VERDICT_KIND_REFUSED])
async def test_a_report_with_a_verdict_is_forgotten(irs: Worker, tower: Tower, kind: pb.VerdictKind.ValueType) -> None:
    irs.step("check")(lambda call: 7)
    async with irs:
        first = await tower.welcome()
        first.say(calls=[call()])
        first.judge((await first.report()).attempt, kind=kind)
        first.end()
        second = await tower.welcome()
        assert list(second.hello.in_hand) == []
        irs.stop()
        await second.goodbye()


async def test_work_goes_on_while_the_daemon_is_away(irs: Worker, tower: Tower, fake: FakeDaemon) -> None:
    is_begun, is_back = asyncio.Event(), asyncio.Event()
    ran: list[int] = []

    @irs.step("check")
    async def check(call: Call) -> str:
        ran.append(call.attempt)
        is_begun.set()
        await is_back.wait()
        return "done meanwhile"

    async with irs:
        first = await tower.welcome()
        first.say(calls=[call()])
        await is_begun.wait()
        await asyncio.to_thread(fake.stop)
        fake.start()
        second = await tower.welcome()
        assert list(second.hello.in_hand) == [attempt()]
        second.say(calls=[call()])
        is_back.set()
        report = await second.report()
        assert report.done.output == b'"done meanwhile"'
        second.judge(report.attempt)
        irs.stop()
        await second.goodbye()
    assert ran == [1]


async def test_a_daemon_that_goes_down_is_told_what_is_done_and_met_again(irs: Worker, tower: Tower) -> None:
    irs.step("check")(lambda call: 7)
    async with irs:
        first = await tower.welcome()
        first.say(drain=True)
        await first.goodbye()
        second = await tower.welcome()
        assert second.hello.session == "wrk_1"
        irs.stop()
        await second.goodbye()


async def test_many_reports_travel_together_within_a_bound(irs: Worker, tower: Tower) -> None:
    attempts = [attempt(operation_id=f"op_{number}") for number in range(8)]
    together = asyncio.Barrier(8)

    @irs.step("check")
    async def check(call: Call) -> str:
        await together.wait()
        return "x" * 300_000

    async with working(irs, tower, payload_max_bytes=400_000) as connection:
        connection.say(calls=[call(attempt=each) for each in attempts])
        batches: list[int] = []
        while sum(batches) < 8:
            batches.append(len((await connection.hear()).reports))
        assert max(batches) == 3
        connection.judge(*attempts)


# -- nobody waits any more ---------------------------------------------------------------------------------------------


async def test_a_function_is_told_that_nobody_waits_and_its_result_is_reported_all_the_same(
    irs: Worker, tower: Tower
) -> None:
    @irs.step("check")
    def check(call: Call) -> str:
        assert call.cancelled.wait(20)
        return f"money moved, {call.cancelled_because}"

    async with working(irs, tower) as connection:
        connection.say(calls=[call()])
        connection.say(withdrawn=[pb.Withdrawn(attempt=attempt(), code="cancelled")])
        report = await connection.report()
        assert report.done.output == b'"money moved, cancelled"'
        connection.judge(report.attempt, kind=pb.VERDICT_KIND_STALE)


@pytest.mark.parametrize("has_begun", [True, False])
async def test_a_coroutine_is_cancelled_and_the_daemon_is_told(irs: Worker, tower: Tower, has_begun: bool) -> None:
    is_begun = asyncio.Event()
    cancelled: list[str] = []

    @irs.step("check")
    async def check(call: Call) -> None:
        is_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(call.cancelled_because)

    async with working(irs, tower) as connection:
        connection.say(calls=[call()])
        if has_begun:
            await is_begun.wait()
        connection.say(withdrawn=[pb.Withdrawn(attempt=attempt(), code="timeout")])
        report = await connection.report()
        assert (report.failed.code, report.failed.permanent) == ("CANCELLED", True)
        connection.judge(report.attempt, kind=pb.VERDICT_KIND_STALE)
    assert cancelled == (["timeout"] if is_begun.is_set() else [])


async def test_a_coroutine_may_finish_what_it_has_begun(irs: Worker, tower: Tower) -> None:
    is_begun = asyncio.Event()

    @irs.step("check")
    async def check(call: Call) -> str:
        is_begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "money moved"
        return ""

    async with working(irs, tower) as connection:
        connection.say(calls=[call()])
        await is_begun.wait()
        connection.say(withdrawn=[pb.Withdrawn(attempt=attempt(), code="cancelled")])
        report = await connection.report()
        assert report.done.output == b'"money moved"'
        connection.judge(report.attempt, kind=pb.VERDICT_KIND_STALE)


async def test_calls_that_were_lost_meanwhile_are_withdrawn(irs: Worker, tower: Tower) -> None:
    is_begun = asyncio.Event()

    @irs.step("check")
    async def check(call: Call) -> None:
        is_begun.set()
        await asyncio.Event().wait()

    async with irs:
        first = await tower.welcome()
        first.say(calls=[call()])
        await is_begun.wait()
        first.end(grpc.StatusCode.UNAVAILABLE)
        second = await tower.welcome(gone=[attempt()], session="wrk_2")
        assert (await second.report()).failed.code == "CANCELLED"
        second.judge(attempt(), kind=pb.VERDICT_KIND_STALE)
        irs.stop()
        await second.goodbye()


# -- signs of life -----------------------------------------------------------------------------------------------------


async def test_a_step_with_a_limit_gives_signs_of_life_by_itself(irs: Worker, tower: Tower) -> None:
    is_heard = threading.Event()

    @irs.step("check")
    def check(call: Call) -> None:
        is_heard.wait(20)

    async with working(irs, tower) as connection:
        connection.say(calls=[call(heartbeat=Duration(nanos=60_000_000))])
        for _ in range(3):
            (beat,) = (await connection.hear()).beats
            assert (beat.attempt, beat.progress) == (attempt(), b"")
        is_heard.set()
        connection.judge((await connection.report()).attempt)


async def test_progress_is_reported_from_a_thread_and_from_the_loop(irs: Worker, tower: Tower) -> None:
    is_heard = threading.Event()

    @irs.step("check")
    def check(call: Call) -> None:
        call.heartbeat({"rows": 5})
        is_heard.wait(20)

    @irs.step("slow")
    async def slow(call: Call) -> None:
        call.heartbeat()
        with pytest.raises(InvalidArgument):
            call.heartbeat(object())
        await asyncio.to_thread(is_heard.wait, 20)

    async with working(irs, tower) as connection:
        for step, progress in (("check", b'{"rows":5}'), ("slow", b"")):
            connection.say(calls=[call(step)])
            (beat,) = (await connection.hear()).beats
            assert (beat.attempt, beat.progress) == (attempt(), progress)
            is_heard.set()
            connection.judge((await connection.report()).attempt)


# -- coming and going --------------------------------------------------------------------------------------------------


async def test_a_worker_that_leaves_finishes_reports_and_waits_for_the_verdict(irs: Worker, tower: Tower) -> None:
    is_begun, is_finished = asyncio.Event(), asyncio.Event()

    @irs.step("check")
    async def check(call: Call) -> int:
        is_begun.set()
        await is_finished.wait()
        return 7

    async with irs:
        connection = await tower.welcome()
        connection.say(calls=[call()])
        await is_begun.wait()
        irs.stop()
        assert (await connection.hear()).leaving
        is_finished.set()
        assert (await connection.report()).done.output == b"7"
        connection.judge(attempt())
        await connection.goodbye()


async def test_how_many_calls_it_takes_can_be_changed(irs: Worker, tower: Tower) -> None:
    irs.step("check")(lambda call: None)
    async with working(irs, tower) as connection:
        irs.max_in_flight = 9
        assert (await connection.hear()).max_in_flight == 9
    with pytest.raises(ValueError, match="at least one call"):
        irs.max_in_flight = 0


async def test_a_worker_the_daemon_will_not_have_ends_with_its_word(irs: Worker, tower: Tower) -> None:
    irs.step("check")(lambda call: None)

    async def refused() -> None:
        (await tower.connection()).end(grpc.StatusCode.UNAUTHENTICATED)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(refused(), name="the daemon refuses")
        with pytest.raises(Unauthenticated, match="the daemon says no"):
            await irs.serve()


async def test_inside_async_with_the_refusal_ends_the_block(irs: Worker, tower: Tower) -> None:
    irs.step("check")(lambda call: None)

    async def use() -> None:
        async with irs:
            (await tower.connection()).end(grpc.StatusCode.UNAUTHENTICATED)
            await asyncio.Event().wait()

    with pytest.raises(Unauthenticated):
        await use()


async def test_the_error_of_a_block_comes_through_and_the_work_is_finished(irs: Worker, tower: Tower) -> None:
    irs.step("check")(lambda call: 7)
    heard: list[pb.Report] = []

    async def daemon() -> None:
        connection = await tower.welcome()
        connection.say(calls=[call()])
        heard.append(await connection.report())
        connection.judge(attempt())
        is_reported.set()
        await connection.goodbye()

    async def use() -> None:
        async with irs:
            await is_reported.wait()
            raise ZeroDivisionError

    is_reported = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(daemon(), name="the daemon")
        with pytest.raises(ZeroDivisionError):
            await use()
    assert heard[0].done.output == b"7"


async def test_a_worker_that_never_reached_its_daemon_can_be_stopped(fake: FakeDaemon, irs: Worker) -> None:
    irs.step("check")(lambda call: None)
    fake.stop()
    async with irs:
        pass


async def test_a_daemon_that_is_not_there_yet_is_waited_for(fake: FakeDaemon, irs: Worker, tower: Tower) -> None:
    irs.step("check")(lambda call: None)
    await asyncio.to_thread(fake.stop)
    async with irs:
        await asyncio.sleep(0)
        fake.start()
        connection = await tower.welcome()
        irs.stop()
        await connection.goodbye()


# -- registration ------------------------------------------------------------------------------------------------------


def test_two_functions_for_a_step_are_refused_when_they_are_registered(irs: Worker) -> None:
    irs.step("check")(lambda call: None)
    with pytest.raises(ValueError, match="IRS has two functions for the step 'check'"):
        irs.step("check")(lambda call: None)
    assert irs.steps == ("check",)


def test_a_decorator_without_a_name_says_how_it_is_written(irs: Worker) -> None:
    with pytest.raises(TypeError, match=r"@worker\.step"):
        irs.step(lambda call: None)  # type: ignore[arg-type]


async def test_a_worker_without_steps_says_so(irs: Worker) -> None:
    with pytest.raises(ValueError, match="does no step yet"):
        await irs.serve()


def test_a_worker_takes_at_least_one_call() -> None:
    with pytest.raises(ValueError, match="not 0"):
        Worker("IRS", max_in_flight=0)
