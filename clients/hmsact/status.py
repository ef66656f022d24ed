"""Turns a failed gRPC call into an error of hmsact.errors: google.rpc.Status with its details (AIP-193) on one side.

Works for calls of both stacks, grpc and grpc.aio. The errors are raised `from None`: what gRPC prints of a failed call
is long and says nothing more; whoever wants it has it as the error's `__context__`.
"""

from __future__ import annotations

import re
from datetime import timedelta

import grpc
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from hmsact.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    HmsactError,
    InternalError,
    InvalidArgument,
    NotFound,
    PreconditionFailed,
    Refused,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Violation,
)

_ERRORS: dict[grpc.StatusCode, type[HmsactError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionFailed,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.PERMISSION_DENIED: Refused,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    # A call that its caller has not cancelled was cut off by a server that is going down.
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.UNKNOWN: InternalError,
    grpc.StatusCode.DATA_LOSS: InternalError,
}


_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

_BROKEN = ("Socket closed", "GOAWAY", "Stream removed", "Broken pipe", "reset by peer", "RST_STREAM")
"""What gRPC says when there was a connection."""


def error_of(failure: grpc.RpcError, address: str) -> HmsactError:
    """The error that a failed call stands for. `address` is the daemon's, for messages about the connection."""
    code, details = failure.code(), failure.details() or ""
    kind = _ERRORS.get(code, HmsactError)
    status = _status(failure)
    if status is None:
        return kind(_sentence(code, details, address))
    return _told(kind, status, details)


def refusal_of(status: status_pb2.Status) -> HmsactError:
    """The error that a status within a message stands for."""
    return _told(_ERRORS.get(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), HmsactError), status, "")


def _told(kind: type[HmsactError], status: status_pb2.Status, details: str) -> HmsactError:
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    violations: list[Violation] = []
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
        else:
            violations += _violations(detail)
    return kind(
        status.message or details,
        reason=info.reason,
        violations=tuple(violations),
        metadata=info.metadata,
        retry_delay=_delay(retry),
    )


def _status(failure: grpc.RpcError) -> status_pb2.Status | None:
    """The google.rpc.Status in the trailing metadata; None when there is none, or none that agrees with the call."""
    try:
        status: status_pb2.Status | None = rpc_status.from_call(failure)  # type: ignore[arg-type]
    except ValueError:
        return None
    return status


def _violations(detail: object) -> list[Violation]:
    bad_request = error_details_pb2.BadRequest()
    precondition = error_details_pb2.PreconditionFailure()
    if detail.Is(bad_request.DESCRIPTOR):  # type: ignore[attr-defined]  # google.protobuf.Any
        detail.Unpack(bad_request)  # type: ignore[attr-defined]
        return [Violation(fault.field, fault.description, fault.reason) for fault in bad_request.field_violations]
    if detail.Is(precondition.DESCRIPTOR):  # type: ignore[attr-defined]
        detail.Unpack(precondition)  # type: ignore[attr-defined]
        return [Violation(fault.subject, fault.description, fault.type) for fault in precondition.violations]
    return []


def _delay(retry: error_details_pb2.RetryInfo) -> timedelta | None:
    if not retry.HasField("retry_delay"):
        return None
    return timedelta(seconds=retry.retry_delay.seconds, microseconds=retry.retry_delay.nanos // 1000)


def _sentence(code: grpc.StatusCode, details: str, address: str) -> str:
    """What went wrong where no daemon has said so itself."""
    match code:
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            # gRPC nests its causes; the last one, such as "Connection refused (111)", says something to people.
            last = details.rsplit(": ", 1)[-1].rstrip("]")
            cause = re.sub(r"\s*\(\d+\)$", "", last) or "no reason given"
            if code is grpc.StatusCode.CANCELLED or any(sign in details for sign in _BROKEN):
                return f"lost the connection to the daemon at {address} ({cause})"
            return f"cannot reach the daemon at {address} ({cause}); is hmsactd running there?"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"the daemon at {address} gave no answer in time"
        case grpc.StatusCode.UNIMPLEMENTED:
            return f"the daemon at {address} does not know this call: it is older than this package"
        case _:
            return details or f"the call failed with {code.name}"
