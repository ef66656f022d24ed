"""Which failures are worth another attempt: statuses of HTTP and gRPC, and the times that come with them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from grpc import StatusCode

HTTP_RETRYABLE = frozenset((401, 403, 407, 408, 425, 429))
"""Among 4xx, those that are not about the request (RFC 9110, RFC 8470, RFC 6585): about the moment, or about who calls.

A credential that has run out must not end a citizen's request: its steps stall, and an operator retries them.
"""

HTTP_PERMANENT = frozenset((501, 505))
"""Among 5xx, those that will say the same tomorrow."""

HTTP_GATEWAY = frozenset((502, 503, 504))
"""What is said in place of a service that can't be had."""

HTTP_BUSY = frozenset((429, 503))
"""With these a Retry-After is about every call, not only about this one."""

GRPC_PERMANENT = frozenset(
    (
        StatusCode.INVALID_ARGUMENT,
        StatusCode.NOT_FOUND,
        StatusCode.ALREADY_EXISTS,
        StatusCode.FAILED_PRECONDITION,
        StatusCode.OUT_OF_RANGE,
        StatusCode.UNIMPLEMENTED,
        StatusCode.DATA_LOSS,
    )
)
"""As in proto/hmsact/v1/step.proto. UNKNOWN is what an exception in a server becomes, and exceptions are retried.

UNAUTHENTICATED and PERMISSION_DENIED are about who calls, as 401 and 403 are.
"""

GRPC_UNREACHABLE = frozenset((StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED))

WAIT_MAX_MS = 24 * 3_600_000
"""The longest wait that is believed. The step's own longest delay is below it anyway."""


def is_permanent_http(status: int) -> bool:
    """True for a status that another attempt would get again. A redirection is one: it is never followed."""
    if status >= 500:
        return status in HTTP_PERMANENT
    return status not in HTTP_RETRYABLE


def wait_of(said: str | None, now_us: int) -> int | None:
    """The milliseconds that a Retry-After asks for, in seconds or as a date; None if it can't be read."""
    if said is None:
        return None
    said = said.strip()
    if said.isascii() and said.isdigit():
        return min(int(said[:9]) * 1000, WAIT_MAX_MS)
    try:
        at = parsedate_to_datetime(said)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0, min(math.ceil(at.timestamp() * 1000) - now_us // 1000, WAIT_MAX_MS))


def time_of(said: object) -> int | None:
    """A time as RFC 3339 has it, in microseconds; None if it can't be read."""
    if not isinstance(said, str):
        return None
    try:
        at = datetime.fromisoformat(said)
        return round(at.timestamp() * 1_000_000) if at.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
