"""Times and spans between the daemon's integers and protobuf's messages."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(at_us: int | None) -> Timestamp | None:
    """The time as a message; None stays None, which leaves the field absent."""
    if at_us is None:
        return None
    seconds, microseconds = divmod(at_us, 1_000_000)
    return Timestamp(seconds=seconds, nanos=microseconds * 1000)


def duration(span_ms: int | None) -> Duration | None:
    """The span as a message; None stays None."""
    if span_ms is None:
        return None
    seconds, milliseconds = divmod(span_ms, 1000)
    return Duration(seconds=seconds, nanos=milliseconds * 1_000_000)


def span_ms(message: Duration) -> int:
    """The span of a message, in milliseconds, rounded down."""
    return int(message.seconds) * 1000 + int(message.nanos) // 1_000_000
