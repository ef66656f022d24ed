"""Workers: how they are made, come and go."""

import asyncio

import grpc
import pytest
from hmsact import Call, Unauthenticated, Worker
from hmsact.v1 import worker_pb2 as pb

from tests.sdk.crew import working
from tests.sdk.fake import FakeDaemon
from tests.sdk.tower import Tower, attempt, call

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
