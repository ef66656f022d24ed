"""From an error to the status that callers get: google.rpc.Status with one ErrorInfo and what else fits.

A status travels in the trailers, which many peers limit to 8 KiB. What doesn't fit is left out and counted.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, assert_never

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc.aio import InternalError
from grpc_status import rpc_status

from hmsactd import logs
from hmsactd.core.rejected import Ground, Rejected
from hmsactd.errors import (
    Aborted,
    FailedPrecondition,
    HmsactdError,
    NotFound,
    PermissionDenied,
    Precondition,
    ResourceExhausted,
    Unavailable,
)
from hmsactd.store.errors import Unavailable as StoreUnavailable

DOMAIN = "hmsact"

SENTENCE_MAX_BYTES = 512
"""A sentence. It travels twice: percent-encoded, at worst three bytes for one, and inside the status in base64."""

VALUE_MAX_BYTES = 256
"""What is said in the metadata, and the path of a field."""

VIOLATIONS_MAX_BYTES = 3072
"""All violated fields together. The rest of the 8 KiB is for the other parts of a status."""

log = logs.logger(__name__)


def status_of(error: HmsactdError) -> status_pb2.Status:
    """The status that says what the error says."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=_metadata(error))
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=_cut(error.sentence))
    details: list[Message] = [info]
    if error.violations:
        details.append(_bad_request(error, info))
    if error.preconditions:
        details.append(_precondition_failure(error))
    if error.retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(error.retry_after_ms)
        details.append(retry)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: HmsactdError) -> NoReturn:
    """Ends a request with the error."""
    # Not abort_with_status: it is not on the interface, and tracing doesn't see it.
    status = rpc_status.to_status(status_of(error))
    with unless_gone():
        await context.abort(status.code, status.details, status.trailing_metadata)


@contextmanager
def unless_gone() -> Iterator[None]:
    """Around what is said to a caller: if the connection was cut meanwhile, the call is over and nobody at fault."""
    try:
        yield
    except InternalError:
        # gRPC cancels the call as well, only sometimes later.
        raise asyncio.CancelledError from None


def error_of(raised: Exception) -> HmsactdError:
    """What callers are told of an exception. Of one that nobody expected they get a number, and the log the rest."""
    match raised:
        case HmsactdError():
            return raised
        case Rejected():
            return of_rejected(raised)
        case MemoryError():
            return ResourceExhausted("MEMORY_FULL", "there is no memory for this", retry_after_ms=5000)
        case StoreUnavailable():
            return Unavailable(raised.reason, f"the store does not answer: {raised}", retry_after_ms=1000)
        case ExceptionGroup():
            expected = raised.subgroup((HmsactdError, Rejected))
            # A stream that works with several tasks fails as a group; one answer is all it can give.
            return error_of(_first(expected)) if expected is not None else incident(raised)
        case _:
            return incident(raised)


def of_rejected(rejected: Rejected) -> HmsactdError:
    """The error of something that the core does not allow."""
    code, sentence, facts = rejected.code, rejected.sentence, rejected.facts
    match rejected.ground:
        case Ground.UNKNOWN:
            return NotFound(code, sentence, metadata=facts)
        case Ground.PRECONDITION:
            stands = Precondition(code, facts.get("state", ""), sentence)
            return FailedPrecondition(code, sentence, metadata=facts, preconditions=(stands,))
        case Ground.PERMISSION:
            return PermissionDenied(code, sentence, metadata=facts)
        case Ground.CHANGED:
            return Aborted(code, sentence, metadata=facts)
        case _:
            assert_never(rejected.ground)


def incident(raised: Exception) -> HmsactdError:
    """The error for our own fault: logged here, and told under a number that leads to the line in the log."""
    number = secrets.token_hex(6)
    log.error("a request failed by a fault of the daemon", incident=number, exc_info=raised)
    return HmsactdError(
        "INTERNAL", f"the daemon has a fault; its log knows more under {number}", metadata={"incident": number}
    )


def _first(group: ExceptionGroup[Exception]) -> Exception:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, ExceptionGroup) else inner


def _bad_request(error: HmsactdError, info: error_details_pb2.ErrorInfo) -> error_details_pb2.BadRequest:
    """The violated fields, as many as fit; how many don't is said in the ErrorInfo."""
    request = error_details_pb2.BadRequest()
    room = VIOLATIONS_MAX_BYTES
    for number, violation in enumerate(error.violations):
        told = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(violation.field, VALUE_MAX_BYTES), description=_cut(violation.sentence), reason=violation.reason
        )
        room -= told.ByteSize() + 4
        if room < 0:
            info.metadata["violations_left_out"] = str(len(error.violations) - number)
            break
        request.field_violations.append(told)
    return request


def _precondition_failure(error: HmsactdError) -> error_details_pb2.PreconditionFailure:
    failure = error_details_pb2.PreconditionFailure()
    for stands in error.preconditions:
        failure.violations.add(
            type=stands.type, subject=_cut(stands.subject, VALUE_MAX_BYTES), description=_cut(stands.sentence)
        )
    return failure


def _metadata(error: HmsactdError) -> dict[str, str]:
    return {name: _cut(value, VALUE_MAX_BYTES) for name, value in error.metadata.items()}


def _cut(text: str, most_bytes: int = SENTENCE_MAX_BYTES) -> str:
    """The text, or as much of it as there is room for, and three dots."""
    # Half a surrogate pair can be said in JSON and not in protobuf.
    encoded = text.encode(errors="backslashreplace")
    if len(encoded) <= most_bytes:
        return encoded.decode()
    return encoded[: most_bytes - len("…".encode())].decode(errors="ignore") + "…"
