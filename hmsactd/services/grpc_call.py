"""Calls a service over gRPC: hmsact.v1.StepService, which the agency implements."""

from __future__ import annotations

import re
from typing import Any, cast

import grpc
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from hmsact.v1 import step_pb2, step_pb2_grpc

from hmsactd.clock import Clock
from hmsactd.engine.session import Call
from hmsactd.services.outcome import Deferred, Done, Failed, Outcome
from hmsactd.services.retryable import GRPC_PERMANENT, GRPC_UNREACHABLE, WAIT_MAX_MS
from hmsactd.settings.called import Called

CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

SENT_MAX_BYTES = 16 * 1024 * 1024
"""What a call may have: input and outputs are bounded long before."""

TOO_LARGE = "larger than max"
"""How gRPC says that an answer was over the bound; it has no status of its own for that."""

LOOK_S = 10.0


class GrpcCaller:
    """Calls one service at its address. `answer_max_bytes` is what an answer may have."""

    def __init__(
        self,
        called: Called,
        credentials: grpc.ChannelCredentials | None,
        clock: Clock,
        answer_max_bytes: int,
        agent: str,
    ) -> None:
        self._called = called
        self._clock = clock
        options = (
            ("grpc.primary_user_agent", agent),
            ("grpc.max_receive_message_length", answer_max_bytes),
            ("grpc.max_send_message_length", SENT_MAX_BYTES),
            # Only the configured host is called: no proxy of the environment, no policy from the name service.
            ("grpc.enable_http_proxy", 0),
            ("grpc.service_config_disable_resolution", 1),
            # An attempt is one call: whether there is another is the step's own policy.
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 1_000),
            # The breaker says when to look again; gRPC's own two minutes would make it look in vain.
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            # Two services at one address must not share what one of them has got into.
            ("grpc.use_local_subchannel_pool", 1),
        )
        place = f"dns:///{called.place}"
        self._channel = (
            aio.insecure_channel(place, options)
            if credentials is None
            else aio.secure_channel(place, credentials, options)
        )
        self._stub = step_pb2_grpc.StepServiceStub(self._channel)
        # Its types know nothing of its methods.
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)

    async def call(self, call: Call, deadline_at: int) -> Outcome:
        """Calls it once."""
        within_s = max(0.0, (deadline_at - self._clock.now()) / 1e6)
        return await self.execute(self.request_of(call, deadline_at), within_s)

    def request_of(self, call: Call, deadline_at: int) -> step_pb2.ExecuteRequest:
        """What it is asked."""
        request = step_pb2.ExecuteRequest(
            namespace=self._called.namespace,
            operation_id=call.key.operation_id,
            definition=call.definition,
            step=call.step,
            instance=call.key.instance,
            attempt=call.key.attempt,
            idempotency_key=call.idempotency_key,
            input=call.input,
            outputs=call.outputs,
            skipped=call.skipped,
            left_out=call.left_out,
            completion_token=call.completion_token,
        )
        request.deadline.FromMicroseconds(deadline_at)
        return request

    async def execute(self, request: step_pb2.ExecuteRequest, within_s: float) -> Outcome:
        """Asks it just this."""
        metadata = (("idempotency-key", request.idempotency_key),)
        try:
            response = await self._stub.Execute(request, timeout=within_s, metadata=metadata)
        except aio.AioRpcError as error:
            return _failure(error)
        return _outcome(response)

    async def is_there(self) -> bool:
        """True if it says that it serves, or answers at all without knowing health checks."""
        try:
            answer = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=LOOK_S)
        except aio.AioRpcError as error:
            return error.code() not in GRPC_UNREACHABLE
        return bool(answer.status != health_pb2.HealthCheckResponse.NOT_SERVING)

    async def close(self) -> None:
        """Closes its connections."""
        await self._channel.close()


def _outcome(response: step_pb2.ExecuteResponse) -> Outcome:
    match response.WhichOneof("outcome"):
        case "done":
            return Done(response.done.output)
        case "deferred":
            until = response.deferred.until
            return Deferred(until.ToMicroseconds() if response.deferred.HasField("until") else None)
        case "failed":
            failed = response.failed
            return Failed(
                failed.code if CODE.fullmatch(failed.code) else "ERROR",
                failed.message,
                is_permanent=failed.HasField("retryable") and not failed.retryable,
                retry_after_ms=_ms(failed.retry_after) if failed.HasField("retry_after") else None,
            )
        case _:
            return Failed("NO_OUTCOME", "the answer says neither done nor failed nor deferred")


def _failure(error: aio.AioRpcError) -> Failed:
    """The outcome of a call that ended with another status than OK."""
    status, words = error.code(), error.details() or ""
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED and TOO_LARGE in words:
        return Failed("ANSWER_TOO_LARGE", words, is_permanent=True)
    wait_ms = _retry_info(error)
    return Failed(
        status.name,
        words or f"the service answered {status.name}",
        is_permanent=status in GRPC_PERMANENT,
        is_unreachable=status in GRPC_UNREACHABLE,
        retry_after_ms=wait_ms,
        asks_for_peace_ms=wait_ms if status is grpc.StatusCode.RESOURCE_EXHAUSTED else None,
    )


def _retry_info(error: aio.AioRpcError) -> int | None:
    """The wait that the status asks for; None if it asks for none, or in a way that can't be read."""
    try:
        status = rpc_status.from_call(cast("grpc.Call", error))
        for detail in status.details if status is not None else ():
            info = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                return _ms(info.retry_delay)
    except Exception:  # noqa: BLE001 -- what a service sends beside its status may be anything, and is not needed
        return None
    return None


def _ms(span: object) -> int:
    millis: int = span.ToMilliseconds()  # type: ignore[attr-defined]
    return max(0, min(millis, WAIT_MAX_MS))
