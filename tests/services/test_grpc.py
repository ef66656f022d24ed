"""Calls over gRPC, to real servers that behave and to ones that don't."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from hmsact.v1.step_pb2 import ExecuteResponse

from hmsactd.clock import SystemClock
from hmsactd.services.credentials import credentials_of
from hmsactd.services.grpc_call import GrpcCaller
from hmsactd.services.outcome import Deferred, Done, Failed, Outcome
from hmsactd.services.retryable import GRPC_PERMANENT
from hmsactd.settings.called import Called
from tests.engine.world import until
from tests.services.agency import agency, floods
from tests.services.calls import OPERATION, call, soon
from tests.services.certificates import Authority
from tests.services.grpc_agency import GrpcAgency, aborts, done, grpc_agency, hangs, responds

MOST = 4096


@asynccontextmanager
async def caller(address: str, **said: object) -> AsyncIterator[GrpcCaller]:
    called = Called.model_validate({"address": address} | said)
    faults: list[str] = []
    found = credentials_of(called, faults)
    assert faults == []
    made = GrpcCaller(called, found.channel, SystemClock(), MOST, "hmsactd/test")
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def treasury() -> AsyncIterator[GrpcAgency]:
    async with grpc_agency() as found:
        yield found


async def outcome(treasury: GrpcAgency) -> Outcome:
    async with caller(f"grpc://127.0.0.1:{treasury.port}") as made:
        return await made.call(call(), soon())


async def test_the_request_says_everything_that_a_worker_is_told(treasury: GrpcAgency) -> None:
    async with caller(f"grpc://127.0.0.1:{treasury.port}") as made:
        assert await made.call(call(2), soon(20)) == Done(b"{}")
    (asked,) = treasury.asked
    assert (asked.namespace, asked.operation_id, asked.definition) == ("default", OPERATION, "loan_forgiveness")
    assert (asked.step, asked.instance, asked.attempt) == ("update_balance", 3, 2)
    assert asked.idempotency_key == f"{OPERATION}/3"
    assert asked.input == call().input
    assert dict(asked.outputs) == call().outputs
    assert (list(asked.skipped), list(asked.left_out)) == (["notify"], ["scan"])
    assert asked.completion_token == "done_abc"
    assert 0 < asked.deadline.ToMicroseconds() - soon(0) <= 20_000_000
    (remaining_s,) = treasury.remaining_s
    assert remaining_s is not None
    assert 0 < remaining_s <= 21
    (metadata,) = treasury.metadata
    assert metadata["idempotency-key"] == f"{OPERATION}/3"
    assert metadata["user-agent"].startswith("hmsactd/test")


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (ExecuteResponse(done=ExecuteResponse.Done(output=b'{"paid":7}')), Done(b'{"paid":7}')),
        (ExecuteResponse(done=ExecuteResponse.Done()), Done(b"")),
        (ExecuteResponse(deferred=ExecuteResponse.Deferred()), Deferred(None)),
        (ExecuteResponse(deferred=ExecuteResponse.Deferred(until=Timestamp(seconds=7))), Deferred(7_000_000)),
        (ExecuteResponse(failed=ExecuteResponse.Failed(message="busy")), Failed("ERROR", "busy")),
        (
            ExecuteResponse(failed=ExecuteResponse.Failed(code="NO_LOAN", message="none", retryable=False)),
            Failed("NO_LOAN", "none", is_permanent=True),
        ),
        (
            ExecuteResponse(failed=ExecuteResponse.Failed(code="no code", retryable=True)),
            Failed("ERROR", ""),
        ),
        (
            ExecuteResponse(failed=ExecuteResponse.Failed(retry_after=Duration(seconds=9))),
            Failed("ERROR", "", retry_after_ms=9_000),
        ),
        (
            ExecuteResponse(failed=ExecuteResponse.Failed(retry_after=Duration(seconds=-9))),
            Failed("ERROR", "", retry_after_ms=0),
        ),
        (ExecuteResponse(), Failed("NO_OUTCOME", "the answer says neither done nor failed nor deferred")),
    ],
    ids=["done", "empty", "deferred", "until", "failed", "for good", "bad code", "later", "earlier", "nothing"],
)
async def test_an_outcome_is_taken_as_it_is_said(
    treasury: GrpcAgency, response: ExecuteResponse, expected: Outcome
) -> None:
    treasury.behaviour = responds(response)
    assert await outcome(treasury) == expected


@pytest.mark.parametrize("status", [status for status in grpc.StatusCode if status is not grpc.StatusCode.OK])
async def test_every_status_is_a_failure_of_its_kind(treasury: GrpcAgency, status: grpc.StatusCode) -> None:
    treasury.behaviour = aborts(status, "in its own words")
    failed = await outcome(treasury)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.message) == (status.name, "in its own words")
    assert failed.is_permanent is (status in GRPC_PERMANENT)
    assert failed.is_unreachable is (status.name in ("UNAVAILABLE", "DEADLINE_EXCEEDED"))


async def test_an_exception_in_the_server_is_worth_another_attempt(treasury: GrpcAgency) -> None:
    async def raises(*_: object) -> ExecuteResponse:
        raise ZeroDivisionError("theirs")

    treasury.behaviour = raises
    failed = await outcome(treasury)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.is_permanent, failed.is_unreachable) == ("UNKNOWN", False, False)


async def test_a_status_may_say_how_long_to_wait(treasury: GrpcAgency) -> None:
    info, packed = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=5)), AnyMessage()
    packed.Pack(info)
    status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="slow", details=[packed])
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)
    treasury.behaviour = aborts(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow", trailers)
    assert await outcome(treasury) == Failed(
        "RESOURCE_EXHAUSTED", "slow", retry_after_ms=5_000, asks_for_peace_ms=5_000
    )


@pytest.mark.parametrize("details", [b"\xff\xff", status_pb2.Status(code=5, message="x").SerializeToString()])
async def test_details_that_contradict_or_cannot_be_read_are_ignored(treasury: GrpcAgency, details: bytes) -> None:
    treasury.behaviour = aborts(grpc.StatusCode.ABORTED, "again", (("grpc-status-details-bin", details),))
    assert await outcome(treasury) == Failed("ABORTED", "again")


async def test_an_answer_over_the_bound_fails_for_good(treasury: GrpcAgency) -> None:
    treasury.behaviour = done(b'"' + b"x" * 2 * MOST + b'"')
    failed = await outcome(treasury)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.is_permanent) == ("ANSWER_TOO_LARGE", True)


# -- servers that misbehave --------------------------------------------------------------------------------------------


async def test_a_server_that_hangs_is_told_that_nobody_waits(treasury: GrpcAgency) -> None:
    treasury.behaviour = hangs
    async with caller(f"grpc://127.0.0.1:{treasury.port}") as made:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await made.call(call(), soon())
        await treasury.cancelled.wait()
        treasury.behaviour = done(b"1")
        assert await made.call(call(), soon()) == Done(b"1")


async def test_the_deadline_holds_by_itself(treasury: GrpcAgency) -> None:
    treasury.behaviour = hangs
    async with caller(f"grpc://127.0.0.1:{treasury.port}") as made:
        failed = await made.call(call(), soon(0.1))
    assert isinstance(failed, Failed)
    assert (failed.code, failed.is_unreachable) == ("DEADLINE_EXCEEDED", True)


async def test_nobody_there_is_said_at_once_and_found_again_when_somebody_is() -> None:
    async with grpc_agency() as gone:
        address = f"grpc://127.0.0.1:{gone.port}"
    async with caller(address) as made:
        failed = await made.call(call(), soon())
        assert not await made.is_there()
    assert isinstance(failed, Failed)
    assert (failed.code, failed.is_unreachable, failed.is_permanent) == ("UNAVAILABLE", True, False)


@pytest.mark.parametrize("is_flooding", [False, True])
async def test_a_server_that_does_not_speak_grpc_can_not_be_reached(is_flooding: bool) -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * (1_000_000 if is_flooding else 0))
        writer.close()

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await asyncio.start_server(garbage, "127.0.0.1", 0))
        address = f"grpc://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        failed = await (await stack.enter_async_context(caller(address))).call(call(), soon())
    assert isinstance(failed, Failed)
    assert (failed.is_unreachable, failed.is_permanent) == (True, False)


async def test_a_server_that_goes_in_the_middle_of_a_call_is_worth_another_attempt() -> None:
    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as stack:
        treasury = await stack.enter_async_context(grpc_agency())
        treasury.behaviour = hangs
        made = await stack.enter_async_context(caller(f"grpc://127.0.0.1:{treasury.port}"))
        calling = tasks.create_task(made.call(call(), soon()))
        await until(lambda: bool(treasury.asked))
        await treasury.stop()
        failed = await calling
    assert isinstance(failed, Failed)
    assert (failed.code, failed.is_permanent, failed.is_unreachable) == ("UNAVAILABLE", False, True)


async def test_a_proxy_of_the_environment_counts_for_nothing(
    treasury: GrpcAgency, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with agency() as proxy:
        proxy.behaviour = floods
        for name in ("grpc_proxy", "https_proxy", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert await outcome(treasury) == Done(b"{}")
        assert proxy.connections == 0


# -- looking -----------------------------------------------------------------------------------------------------------


async def test_a_look_believes_the_health_check() -> None:
    async with grpc_agency(is_healthy=True) as treasury, caller(f"grpc://127.0.0.1:{treasury.port}") as made:
        await treasury.says_it_serves(True)
        assert await made.is_there()
        await treasury.says_it_serves(False)
        assert not await made.is_there()


async def test_a_look_at_a_service_without_health_checks_is_content_with_any_answer(treasury: GrpcAgency) -> None:
    async with caller(f"grpc://127.0.0.1:{treasury.port}") as made:
        assert await made.is_there()
    assert treasury.asked == []


# -- TLS ---------------------------------------------------------------------------------------------------------------


async def test_over_tls_both_sides_show_their_certificates(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours, theirs = authority.issue("hmsactd"), authority.issue("treasury")
    pairs = [(theirs.key.read_bytes(), theirs.certificate.read_bytes())]
    shown = grpc.ssl_server_credentials(pairs, authority.file.read_bytes(), require_client_auth=True)
    async with grpc_agency(shown) as treasury:
        address = f"grpcs://127.0.0.1:{treasury.port}"
        with_certificate = {"certificate_file": ours.certificate, "key_file": ours.key}
        async with caller(address, ca_file=authority.file, **with_certificate) as made:
            assert await made.call(call(), soon()) == Done(b"{}")
            assert await made.is_there()
        async with caller(address, ca_file=authority.file) as made:
            failed = await made.call(call(), soon())
        assert isinstance(failed, Failed)
        assert failed.is_unreachable
        stranger = Authority(tmp_path, "stranger")
        for authorities in ({"ca_file": stranger.file}, {}):
            async with caller(address, **authorities) as made:
                failed = await made.call(call(), soon())
                assert isinstance(failed, Failed)
                assert (failed.code, failed.is_unreachable) == ("UNAVAILABLE", True)
        assert len(treasury.asked) == 1
