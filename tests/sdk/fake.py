"""A daemon that does what a test says: a real gRPC server, every RPC scripted, every request remembered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, Self

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status
from hmsact.v1 import (
    checkpoint_pb2,
    event_pb2,
    job_pb2,
    operation_pb2,
    principal_pb2,
    system_pb2,
    timeline_pb2,
    worker_pb2,
)

Context = grpc.ServicerContext
Behaviour = Callable[[Any, Context], Any]

START = datetime(2026, 3, 2, 10, 2, 14, tzinfo=UTC)
OPERATION = "op_01jnzk2v9q8w7e6r5t4y3x2w1z"


@dataclass(frozen=True, slots=True)
class Heard:
    """A request that has come in, with its headers."""

    rpc: str
    request: Any
    metadata: Mapping[str, str | bytes]


class FakeDaemon:
    """Serves on a free port. RPCs without a behaviour are UNIMPLEMENTED."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.address = "127.0.0.1:0"
        self._behaviours: dict[str, Behaviour] = {}
        self._server: grpc.Server | None = None

    def on(self, rpc: str, behaviour: Behaviour | Message) -> None:
        """From now on the RPC does this; a message is its answer."""
        self._behaviours[rpc] = behaviour if callable(behaviour) else lambda request, context: behaviour

    def requests(self, rpc: str) -> list[Any]:
        """What has been asked of an RPC."""
        return [heard.request for heard in self.heard if heard.rpc == rpc]

    def start(self) -> Self:
        """Serves, on the same port as before if it was stopped."""
        server = grpc.server(ThreadPoolExecutor(16), options=(("grpc.so_reuseport", 0),))
        for module in (operation_pb2, job_pb2, checkpoint_pb2, timeline_pb2, worker_pb2, system_pb2):
            for service in module.DESCRIPTOR.services_by_name.values():
                handlers = {method.name: self._handler(method) for method in service.methods}
                server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
        port = server.add_insecure_port(self.address)
        self.address = f"127.0.0.1:{port}"
        server.start()
        self._server = server
        return self

    def stop(self) -> None:
        """Breaks every connection off."""
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None

    def _handler(self, method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
        codecs: dict[str, Any] = {
            "request_deserializer": GetMessageClass(method.input_type).FromString,
            "response_serializer": GetMessageClass(method.output_type).SerializeToString,
        }

        def answer(request: Any, context: Context) -> Any:
            return self._hear(method.name, request, context)(request, context)

        def stream(request: Any, context: Context) -> Any:
            yield from self._hear(method.name, request, context)(request, context)

        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(stream, **codecs)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, **codecs)
        return grpc.unary_unary_rpc_method_handler(answer, **codecs)

    def _hear(self, rpc: str, request: Any, context: Context) -> Behaviour:
        metadata = dict(context.invocation_metadata())
        self.heard.append(Heard(rpc, request, metadata))
        if rpc not in self._behaviours:
            refuse(context, grpc.StatusCode.UNIMPLEMENTED, f"no test has said what {rpc} does")
        return self._behaviours[rpc]


def refuse(
    context: Context, code: grpc.StatusCode, sentence: str, reason: str = "", *details: Message, **metadata: str
) -> NoReturn:
    """Ends a call as the daemon does: with a google.rpc.Status."""
    status = status_pb2.Status(code=code.value[0], message=sentence)
    info = error_details_pb2.ErrorInfo(reason=reason, domain="hmsact", metadata=metadata)
    for detail in (info, *details):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort_with_status raises")


# -- what a daemon would say -------------------------------------------------------------------------------------------


def operation(**facts: Any) -> operation_pb2.Operation:
    """The operation of the examples, before its first step."""
    message = operation_pb2.Operation(
        namespace="default",
        id=OPERATION,
        name="loan_forgiveness",
        state=operation_pb2.OPERATION_STATE_RUNNING,
        revision=1,
        sequence=1,
        started_by=principal_pb2.Principal(kind=principal_pb2.PRINCIPAL_KIND_PERSON, issuer="dev", subject="developer"),
        items=[
            operation_pb2.FlowItem(name="validate_form", instance=1, step=operation_pb2.StepStatus(svc="FSA")),
            operation_pb2.FlowItem(name="eligibility_check", instance=2, step=operation_pb2.StepStatus(svc="IRS")),
            operation_pb2.FlowItem(
                name="human_review", instance=3, checkpoint=operation_pb2.CheckpointStatus(role="fsa.officer")
            ),
        ],
    )
    message.start_time.FromDatetime(START)
    message.update_time.FromDatetime(START)
    message.MergeFrom(operation_pb2.Operation(**facts))
    return message


def event(
    sequence: int,
    kind: str,
    name: str = "",
    *,
    after_s: float = 0.0,
    by: str = "dev:svc/FSA",
    payloads: Mapping[str, bytes] | None = None,
    attempt: int = 0,
    **data: Any,
) -> event_pb2.Event:
    """An event of the operation of the examples, `after_s` seconds after its start."""
    issuer, _, subject = by.partition(":")
    instances = {"validate_form": 1, "eligibility_check": 2, "human_review": 3}
    message = event_pb2.Event(
        namespace="default",
        operation_id=OPERATION,
        sequence=sequence,
        kind=kind,
        principal=principal_pb2.Principal(issuer=issuer, subject=subject),
        data=event_pb2.EventData(**data),
        payloads=payloads,
        cursor=f"cursor-{sequence}",
    )
    if name:
        message.subject.CopyFrom(event_pb2.Subject(name=name, instance=instances.get(name, 9), attempt=attempt))
    message.time.FromDatetime(START + timedelta(seconds=after_s))
    return message


def frame(
    told: event_pb2.Event, state: operation_pb2.OperationState.ValueType = operation_pb2.OPERATION_STATE_RUNNING
) -> timeline_pb2.WatchOperationResponse:
    """An event as a watcher gets it."""
    return timeline_pb2.WatchOperationResponse(event=told, state=state)


def recorded(
    state: operation_pb2.OperationState.ValueType = operation_pb2.OPERATION_STATE_RUNNING,
) -> operation_pb2.Recorded:
    """What a change has recorded."""
    return operation_pb2.Recorded(
        state=state,
        revision=1,
        sequence=7,
        receipt=operation_pb2.Receipt(log="tower/log/0", index=41, leaf=b"\xab\xcd", seal="a note"),
    )


class Turns:
    """Lets a scripted RPC behave differently each time it is called: the behaviours in turn, the last for ever."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self._behaviours = behaviours
        self._lock = threading.Lock()
        self._turn = 0

    def __call__(self, request: Any, context: Context) -> Any:
        with self._lock:
            behaviour = self._behaviours[min(self._turn, len(self._behaviours) - 1)]
            self._turn += 1
        return behaviour(request, context)
