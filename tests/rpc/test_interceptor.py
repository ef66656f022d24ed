"""The guard before every servicer, on a real server with a service of every shape."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from structlog.testing import capture_logs

from hmsactd.core.principal import Principal
from hmsactd.core.rejected import Ground, Rejected
from hmsactd.errors import HmsactdError, InvalidArgument, NotFound, Unavailable, Violation
from hmsactd.identity.authenticate import Metadata
from hmsactd.identity.credential import Asked, Credential
from hmsactd.identity.identity import development
from hmsactd.rpc import unreadable
from hmsactd.rpc.caller import caller
from hmsactd.rpc.interceptor import Interceptor, _why_cancelled
from hmsactd.rpc.streams import Streams

SHAPES = ("Answer", "Gather", "Stream", "Talk")
PERMISSIONS = {f"/hmsact.v1.Shapes/{shape}": "operation.read" for shape in SHAPES} | {
    "/hmsact.v1.Shapes/Forbidden": "system.clock",
    "/hmsact.v1.Shapes/Public": "public",
}
OFFICER = (("authorization", "Bearer dev:jdavis@fsa.gov"),)
AGENT = (("authorization", "Bearer dev:casebot"),)

Headers = tuple[tuple[str, str], ...]
Context = aio.ServicerContext[bytes, bytes]


@dataclass
class Shapes:
    """A service whose every method names the caller, then does as it is told."""

    behaviour: Callable[[], Awaitable[None]] | None = None
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def _behave(self) -> None:
        if self.behaviour is not None:
            await self.behaviour()

    async def answer(self, request: bytes, context: Context) -> bytes:
        await self._behave()
        return caller().id.encode()

    async def gather(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        gathered = b"".join([request async for request in requests])
        await self._behave()
        return caller().id.encode() + gathered

    async def stream(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            yield caller().id.encode()
            await self._behave()
            yield request
        finally:
            self.closed.set()

    async def talk(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        yield caller().id.encode()
        async for request in requests:
            await self._behave()
            yield request

    def handler(self) -> grpc.GenericRpcHandler:
        methods: dict[str, Any] = {
            "Answer": grpc.unary_unary_rpc_method_handler(self.answer),
            "Gather": grpc.stream_unary_rpc_method_handler(self.gather),
            "Stream": grpc.unary_stream_rpc_method_handler(self.stream),
            "Talk": grpc.stream_stream_rpc_method_handler(self.talk),
            "Forbidden": grpc.unary_unary_rpc_method_handler(self.answer),
            "Public": grpc.unary_unary_rpc_method_handler(self.answer),
        }
        return grpc.method_handlers_generic_handler("hmsact.v1.Shapes", methods)


class Failing:
    """The identities of development, until they fail."""

    def __init__(self) -> None:
        self._identity = development()
        self.failure: Exception | None = None

    def credential_of(self, metadata: Metadata, certificate: bytes | None, asked: Asked) -> Credential:
        if self.failure is not None:
            raise self.failure
        return self._identity.credential_of(metadata, certificate, asked)

    def may(self, principal: Principal, permission: str) -> bool:
        return self._identity.may(principal, permission)


@dataclass
class Bench:
    """A served service, a channel to it, and the requests that were measured."""

    shapes: Shapes
    channel: aio.Channel
    measured: asyncio.Queue[tuple[str, str]]
    identity: Failing

    async def call(self, shape: str, metadata: Headers = OFFICER) -> list[bytes]:
        """Calls a method with the message "x" and returns all it answers."""

        async def messages() -> AsyncIterator[bytes]:
            yield b"x"

        told: Any = {"metadata": metadata, "timeout": 30}
        method = self.method(shape)
        match shape:
            case "Gather":
                return [await method(messages(), **told)]
            case "Stream":
                return [each async for each in method(b"x", **told)]
            case "Talk":
                return [each async for each in method(messages(), **told)]
            case _:
                return [await method(b"x", **told)]

    def method(self, shape: str) -> Any:
        """The method as bytes in, bytes out."""
        channel = self.channel
        calls: dict[str, Any] = {
            "Gather": channel.stream_unary,
            "Stream": channel.unary_stream,
            "Talk": channel.stream_stream,
        }
        return calls.get(shape, channel.unary_unary)(f"/hmsact.v1.Shapes/{shape}")

    async def refusal(self, shape: str, metadata: Headers = OFFICER) -> aio.AioRpcError:
        with pytest.raises(aio.AioRpcError) as refused:
            await self.call(shape, metadata)
        return refused.value


@asynccontextmanager
async def serving(shapes: Shapes) -> AsyncIterator[Bench]:
    measured: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    callers = dict.fromkeys(PERMISSIONS, Asked.ANYBODY)
    identity = Failing()
    guard = Interceptor(
        identity,
        PERMISSIONS,
        callers,
        lambda rpc, code, seconds: measured.put_nowait((rpc, code)),
        100,
        Streams(3, 100),
    )
    server = aio.server(interceptors=[guard])
    server.add_generic_rpc_handlers((shapes.handler(),))
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            yield Bench(shapes, channel, measured, identity)
        finally:
            await server.stop(None)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with serving(Shapes()) as bench:
        yield bench


def raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def behave() -> None:
        raise error

    return behave


async def forever() -> None:
    await asyncio.Event().wait()


def details(error: aio.AioRpcError) -> dict[str, Any]:
    """The details of a status by name, each of which may be there once."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    assert (status.code, status.message) == (error.code().value[0], error.details())
    found: dict[str, Any] = {}
    for packed in status.details:
        name = packed.TypeName().rpartition(".")[2]
        assert name not in found
        found[name] = getattr(error_details_pb2, name)()
        packed.Unpack(found[name])
    return found


# -- who ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
async def test_servicers_of_every_shape_know_who_is_calling(bench: Bench, shape: str) -> None:
    answer = b"".join(await bench.call(shape))
    assert answer.startswith(b"dev:jdavis@fsa.gov")
    assert await bench.measured.get() == (f"/hmsact.v1.Shapes/{shape}", "OK")


async def test_no_token_is_the_developer(bench: Bench) -> None:
    assert await bench.call("Answer", ()) == [b"dev:developer"]


async def test_callers_at_the_same_time_are_not_mixed_up(bench: Bench) -> None:
    gate = asyncio.Barrier(2)

    async def meet() -> None:
        await gate.wait()

    bench.shapes.behaviour = meet
    async with asyncio.TaskGroup() as tasks:
        officer = tasks.create_task(bench.call("Answer", OFFICER))
        agent = tasks.create_task(bench.call("Answer", AGENT))
    assert (officer.result(), agent.result()) == ([b"dev:jdavis@fsa.gov"], [b"dev:casebot"])


@pytest.mark.parametrize("shape", [*SHAPES, "Public"])
@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ((("authorization", "Bearer nobody"),), "TOKEN_UNKNOWN"),
        ((*OFFICER, *OFFICER), "AUTHORIZATION_TWICE"),
        ((("authorization", "Basic x"),), "SCHEME_UNKNOWN"),
    ],
)
async def test_whoever_is_not_known_is_refused(bench: Bench, shape: str, headers: Headers, reason: str) -> None:
    error = await bench.refusal(shape, headers)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert details(error)["ErrorInfo"].reason == reason
    assert await bench.measured.get() == (f"/hmsact.v1.Shapes/{shape}", "UNAUTHENTICATED")


async def test_permission_of_the_rpc_is_asked_for(bench: Bench) -> None:
    error = await bench.refusal("Forbidden")
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    info = details(error)["ErrorInfo"]
    assert (info.reason, info.domain) == ("PERMISSION_MISSING", "hmsact")
    assert dict(info.metadata) == {"permission": "system.clock", "principal": "dev:jdavis@fsa.gov"}
    assert await bench.call("Forbidden", ()) == [b"dev:developer"]
    assert await bench.call("Public", AGENT) == [b"dev:casebot"]


async def none_of_them() -> AsyncIterator[bytes]:
    for request in list[bytes]():
        yield request


async def one_that_never_comes() -> AsyncIterator[bytes]:
    await forever()
    yield b""


async def said_over_a_stream(
    bench: Bench, shape: str, requests: AsyncIterator[bytes], metadata: Headers
) -> aio.AioRpcError:
    """How a call ends whose headers came, as of any other, and then what is to come of requests."""
    invoke: Any = bench.channel.stream_stream(f"/hmsact.v1.Shapes/{shape}")
    call = invoke(requests, metadata=metadata, timeout=20)
    with pytest.raises(aio.AioRpcError) as refused:
        async for _ in call:
            pass
    return refused.value


@pytest.mark.parametrize("shape", ["Answer", "Stream"])
async def test_whoever_is_not_known_is_refused_before_the_request_has_come(bench: Bench, shape: str) -> None:
    nobody = (("authorization", "Bearer nobody"),)
    error = await said_over_a_stream(bench, shape, one_that_never_comes(), nobody)
    assert details(error)["ErrorInfo"].reason == "TOKEN_UNKNOWN"


@pytest.mark.parametrize("shape", ["Answer", "Stream"])
async def test_a_request_that_never_comes_is_not_waited_for_for_ever(
    bench: Bench, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unreadable, "REQUEST_WITHIN_S", 0.05)
    error = await said_over_a_stream(bench, shape, one_that_never_comes(), OFFICER)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert details(error)["ErrorInfo"].reason == "REQUEST_SLOW"
    assert await bench.measured.get() == (f"/hmsact.v1.Shapes/{shape}", "DEADLINE_EXCEEDED")


async def test_a_call_without_a_request_is_told_so(bench: Bench) -> None:
    error = await said_over_a_stream(bench, "Answer", none_of_them(), OFFICER)
    (told,) = details(error)["BadRequest"].field_violations
    assert told.reason == "NO_REQUEST"


async def test_health_needs_no_token_and_is_not_measured(bench: Bench) -> None:
    stub: Any = health_pb2_grpc.HealthStub(bench.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(), metadata=(("authorization", "Bearer nobody"),))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert bench.measured.empty()


async def test_unknown_method_is_unimplemented(bench: Bench) -> None:
    assert (await bench.refusal("Nothing")).code() is grpc.StatusCode.UNIMPLEMENTED


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
async def test_error_becomes_a_status_in_every_shape(bench: Bench, shape: str) -> None:
    bench.shapes.behaviour = raising(
        NotFound("OPERATION_UNKNOWN", "there is no operation op_1", metadata={"id": "op_1"})
    )
    error = await bench.refusal(shape)
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "there is no operation op_1")
    found = details(error)
    assert found.keys() == {"ErrorInfo"}
    assert (found["ErrorInfo"].reason, dict(found["ErrorInfo"].metadata)) == ("OPERATION_UNKNOWN", {"id": "op_1"})
    assert await bench.measured.get() == (f"/hmsact.v1.Shapes/{shape}", "NOT_FOUND")


async def test_error_in_the_middle_of_a_stream_comes_after_what_was_sent(bench: Bench) -> None:
    bench.shapes.behaviour = raising(Unavailable("SHUTTING_DOWN", "the daemon is shutting down", retry_after_ms=1500))
    stream = bench.method("Stream")(b"x", metadata=OFFICER)
    assert await stream.read() == b"dev:jdavis@fsa.gov"
    with pytest.raises(aio.AioRpcError) as refused:
        await stream.read()
    assert details(refused.value)["RetryInfo"].retry_delay.ToMilliseconds() == 1500


@pytest.mark.parametrize("answer", ["spelt out", b"written before"])
async def test_an_answer_that_was_written_out_before_is_not_written_again(answer: object) -> None:
    async def stream(request: bytes, context: Context) -> AsyncIterator[object]:
        yield answer

    def write(said: str) -> bytes:
        return f"{said}, now".encode()

    guarded = Interceptor(development(), {}, {}, lambda *_: None, 100, Streams(3, 100))._guard(
        "/hmsact.v1.Shapes/Stream", grpc.unary_stream_rpc_method_handler(stream, response_serializer=write)
    )
    assert guarded.response_serializer(answer) == (b"spelt out, now" if isinstance(answer, str) else answer)


async def test_every_violated_field_is_named(bench: Bench) -> None:
    violations = [Violation("steps[0].svc", "is missing", "REQUIRED"), Violation("key", "is too long", "TOO_LONG")]
    bench.shapes.behaviour = raising(InvalidArgument(violations))
    error = await bench.refusal("Answer")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "steps[0].svc: is missing; key: is too long"
    told = details(error)["BadRequest"].field_violations
    assert [Violation(each.field, each.description, each.reason) for each in told] == violations


async def test_status_that_would_not_fit_says_how_much_is_left_out(bench: Bench) -> None:
    violations = [Violation(f"steps[{index}].svc", "is mißing: " + "ü" * 30, "REQUIRED") for index in range(1000)]
    bench.shapes.behaviour = raising(InvalidArgument(violations))
    error = await bench.refusal("Answer")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = details(error)
    told = len(found["BadRequest"].field_violations)
    assert told > 10
    assert int(found["ErrorInfo"].metadata["violations_left_out"]) == 1000 - told
    trailers = sum(len(key) + len(value) + 32 for key, value in error.trailing_metadata())
    assert trailers + 3 * len(error.details() or "") < 8192


async def test_a_single_enormous_violation_is_cut(bench: Bench) -> None:
    huge = "ü" * 100_000
    bench.shapes.behaviour = raising(InvalidArgument([Violation(huge, huge, "TOO_LONG")]))
    error = await bench.refusal("Answer")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    (told,) = details(error)["BadRequest"].field_violations
    assert told.field.endswith("ü…")
    assert told.description.endswith("ü…")


async def test_enormous_facts_are_cut(bench: Bench) -> None:
    huge = "ü" * 100_000
    bench.shapes.behaviour = raising(Rejected(Ground.PRECONDITION, "NOT_NOW", huge, state=huge, who=huge))
    error = await bench.refusal("Answer")
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert details(error)["ErrorInfo"].metadata["state"].endswith("ü…")


@pytest.mark.parametrize(
    ("ground", "code"),
    [
        (Ground.UNKNOWN, grpc.StatusCode.NOT_FOUND),
        (Ground.PRECONDITION, grpc.StatusCode.FAILED_PRECONDITION),
        (Ground.PERMISSION, grpc.StatusCode.PERMISSION_DENIED),
        (Ground.CHANGED, grpc.StatusCode.ABORTED),
    ],
)
async def test_what_the_core_rejects_becomes_a_status(bench: Bench, ground: Ground, code: grpc.StatusCode) -> None:
    bench.shapes.behaviour = raising(Rejected(ground, "NOT_NOW", "not now", state="paused"))
    error = await bench.refusal("Answer")
    assert (error.code(), error.details()) == (code, "not now")
    found = details(error)
    assert (found["ErrorInfo"].reason, dict(found["ErrorInfo"].metadata)) == ("NOT_NOW", {"state": "paused"})
    assert ("PreconditionFailure" in found) == (ground is Ground.PRECONDITION)


@pytest.mark.parametrize("shape", SHAPES)
async def test_fault_of_ours_is_told_as_a_number_that_the_log_knows(bench: Bench, shape: str) -> None:
    bench.shapes.behaviour = raising(ZeroDivisionError("the secret is hunter2"))
    with capture_logs() as logged:
        error = await bench.refusal(shape)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in str(error.details()) + str(error.trailing_metadata())
    incident = details(error)["ErrorInfo"].metadata["incident"]
    assert incident in str(error.details())
    assert [(line["incident"], line["log_level"]) for line in logged] == [(incident, "error")]


async def test_one_error_of_a_task_group_is_told(bench: Bench) -> None:
    expected = NotFound("OPERATION_UNKNOWN", "gone")
    bench.shapes.behaviour = raising(ExceptionGroup("both", [ExceptionGroup("inner", [expected]), ValueError("noise")]))
    assert (await bench.refusal("Talk")).details() == "gone"


async def test_task_group_without_an_error_of_ours_is_a_fault(bench: Bench) -> None:
    bench.shapes.behaviour = raising(ExceptionGroup("both", [ValueError("noise")]))
    with capture_logs() as logged:
        assert (await bench.refusal("Talk")).code() is grpc.StatusCode.INTERNAL
    assert len(logged) == 1


@pytest.mark.parametrize("kind", HmsactdError.__subclasses__())
def test_every_error_has_the_name_of_a_status(kind: type[HmsactdError]) -> None:
    assert grpc.StatusCode[kind.code] is not grpc.StatusCode.OK


# -- ends --------------------------------------------------------------------------------------------------------------


async def test_caller_who_leaves_ends_the_stream_and_its_cleanup_runs(bench: Bench) -> None:
    bench.shapes.behaviour = forever
    stream = bench.method("Stream")(b"x", metadata=OFFICER)
    assert await stream.read() == b"dev:jdavis@fsa.gov"
    stream.cancel()
    await bench.shapes.closed.wait()
    assert await bench.measured.get() == ("/hmsact.v1.Shapes/Stream", "CANCELLED")


@pytest.mark.parametrize(
    ("left_s", "code"),
    [(None, "CANCELLED"), (10.0, "CANCELLED"), (0.01, "DEADLINE_EXCEEDED"), (0.0, "DEADLINE_EXCEEDED")],
)
def test_time_that_is_over_is_told_from_a_caller_who_leaves(left_s: float | None, code: str) -> None:
    class Left:
        def time_remaining(self) -> float | None:
            return left_s

    context: Any = Left()
    assert _why_cancelled(context) == code


async def test_fault_of_an_rpc_leaves_the_server_standing(bench: Bench) -> None:
    bench.shapes.behaviour = raising(RuntimeError("boom"))
    with capture_logs():
        await bench.refusal("Answer")
    bench.shapes.behaviour = None
    assert await bench.call("Answer") == [b"dev:jdavis@fsa.gov"]


async def test_a_stream_whose_caller_can_no_longer_be_looked_at_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong when a credential is looked at again, nobody goes on unseen."""
    monkeypatch.setattr("hmsactd.rpc.interceptor.LOOKED_AT_EVERY_S", 0.05)
    async with serving(Shapes(forever)) as bench:
        stream = bench.method("Stream")(b"x", metadata=OFFICER, timeout=30)
        assert await stream.read()
        bench.identity.failure = TypeError("'<' not supported")
        with capture_logs(), pytest.raises(aio.AioRpcError) as ended:
            await stream.read()
        assert ended.value.code() is grpc.StatusCode.INTERNAL
        await bench.shapes.closed.wait()


async def test_a_stream_that_nobody_reads_ends_with_its_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent and not taken must not keep what the servicer holds."""
    monkeypatch.setattr("hmsactd.rpc.interceptor.LOOKED_AT_EVERY_S", 0.05)
    closed = asyncio.Event()
    blocked = asyncio.Event()

    class Endless(Shapes):
        async def stream(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
            try:
                while True:
                    asyncio.get_running_loop().call_later(0.5, blocked.set)
                    yield bytes(1_000_000)
            finally:
                closed.set()

    async with serving(Endless()) as bench:
        stream = bench.method("Stream")(b"x", metadata=OFFICER)
        assert await stream.read()
        await blocked.wait()
        bench.identity.failure = Unavailable("GONE", "the credential is gone")
        async with asyncio.timeout(10):
            await closed.wait()
        stream.cancel()
