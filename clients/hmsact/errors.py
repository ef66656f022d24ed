"""Everything this package raises on purpose.

    HmsactError
    ├── InvalidArgument      what was asked makes no sense; every fault is listed
    ├── NotFound             there is no such operation, step or checkpoint, or the caller may not see it
    ├── AlreadyExists        the business key, or the request id, is taken by something else
    ├── PreconditionFailed   it is not possible in the state that things are in
    ├── Aborted              somebody else was faster: look again, then decide again
    ├── Refused              the caller may not do that
    ├── Unauthenticated      the daemon does not know the caller
    ├── ResourceExhausted    a bound was reached; the message names it
    ├── Unavailable          the daemon cannot be reached, or is going down
    ├── DeadlineExceeded     no answer came in time; whether it was carried out is not known
    ├── Unimplemented        the daemon is older than the call
    ├── NotProved            a stream is not what its daemon has signed
    └── InternalError        a fault of the daemon, or of something between

How a gRPC status becomes one of these is in hmsact.status.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault of a request.

    `field` is the JSON pointer (RFC 6901) of the place, or the subject of a failed precondition; `reason` is
    UPPER_SNAKE, for machines, and may be empty.
    """

    field: str
    description: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {self.description}" if self.field else self.description


class HmsactError(Exception):
    """Anything this package raises on purpose.

    `code` is the name of the gRPC status, `reason` the daemon's own UPPER_SNAKE word for what was wrong (stable, to
    be compared in programs), `metadata` the parts of the message, `violations` every fault of the request, and
    `retry_delay` how long to wait before trying again, if the daemon has said so.
    """

    code = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        violations: tuple[Violation, ...] = (),
        metadata: Mapping[str, str] | None = None,
        retry_delay: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.violations = violations
        self.metadata = dict(metadata or {})
        self.retry_delay = retry_delay

    def __str__(self) -> str:
        untold = [str(violation) for violation in self.violations if violation.description not in self.message]
        if not untold:
            return self.message
        return f"{self.message.rstrip('.:')}: {'; '.join(untold)}" if self.message else "; ".join(untold)


class InvalidArgument(HmsactError):
    """Raised when what was asked makes no sense, whatever the state; `violations` lists every fault."""

    code = "INVALID_ARGUMENT"


class NotFound(HmsactError):
    """Raised when there is no such thing, or none that the caller may see."""

    code = "NOT_FOUND"


class AlreadyExists(HmsactError):
    """Raised when a business key is taken, or a request id was used for something else."""

    code = "ALREADY_EXISTS"


class PreconditionFailed(HmsactError):
    """Raised when something is not possible in the state that things are in."""

    code = "FAILED_PRECONDITION"


class Aborted(HmsactError):
    """Raised when somebody else was faster: look again, then decide again."""

    code = "ABORTED"


class Refused(HmsactError):
    """Raised when the caller is known and may not do it."""

    code = "PERMISSION_DENIED"


class Unauthenticated(HmsactError):
    """Raised when the daemon does not know the caller: the token is missing, wrong or expired."""

    code = "UNAUTHENTICATED"


class ResourceExhausted(HmsactError):
    """Raised when a bound was reached; the message names it."""

    code = "RESOURCE_EXHAUSTED"


class Unavailable(HmsactError):
    """Raised when the daemon cannot be reached or is going down, after the retries of the connection."""

    code = "UNAVAILABLE"


class DeadlineExceeded(HmsactError):
    """Raised when no answer came in time. Whether it was carried out is not known: repeat it with its request id."""

    code = "DEADLINE_EXCEEDED"


class Unimplemented(HmsactError):
    """Raised when the daemon does not know the call: it is older than this package."""

    code = "UNIMPLEMENTED"


class NotProved(HmsactError):
    """Raised when a proved stream is not what its daemon has signed.

    Something was left out, changed, repeated or moved; `position` is the first place in the log where that shows.
    """

    code = "DATA_LOSS"

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message, reason="NOT_PROVED", metadata={"position": str(position)})
        self.position = position


class InternalError(HmsactError):
    """Raised for a fault of the daemon, or of something between it and the caller."""

    code = "INTERNAL"
