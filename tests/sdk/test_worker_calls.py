"""What a worker's functions get, and what is reported of them."""

import asyncio
import logging
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hmsact import Call, InvalidArgument, StepError, Worker
from hmsact.v1 import worker_pb2 as pb

from tests.sdk.crew import report_of, working
from tests.sdk.fake import OPERATION, FakeDaemon
from tests.sdk.tower import Tower, attempt, call

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
