"""Steps that a worker's function leaves to be completed later."""

import asyncio
from datetime import timedelta

import grpc
import pytest
from hmsact import Call, InvalidArgument, StepError, Worker

from tests.sdk.crew import report_of, working
from tests.sdk.tower import Tower, attempt, call


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
