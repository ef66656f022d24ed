"""What a worker has in hand when its connection or a call is lost."""

import asyncio

import grpc
import pytest
from hmsact import Call, Worker
from hmsact.v1 import worker_pb2 as pb

from tests.sdk.crew import working
from tests.sdk.fake import FakeDaemon
from tests.sdk.tower import Tower, attempt, call

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
