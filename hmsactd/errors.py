"""What the daemon can answer other than yes, and why it may refuse to start.

    HmsactdError            the answer to a request; hmsactd.rpc.status makes the status of it
    ├─ InvalidArgument      ├─ Unauthenticated     ├─ Aborted
    ├─ NotFound             ├─ PermissionDenied    ├─ ResourceExhausted
    ├─ AlreadyExists        ├─ FailedPrecondition  ├─ Unavailable
    └─ DeadlineExceeded
    StartRefused            the daemon does not start
    └─ SettingsRefused      because of what it was told to be
    Stopped                 the daemon stops by itself, because it can't go on

Each class carries the name of its gRPC status and knows nothing else of gRPC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """A field of a request that is not as it must be. `field` is its path, `reason` is UPPER_SNAKE."""

    field: str
    sentence: str
    reason: str = "INVALID"

    def __str__(self) -> str:
        return f"{self.field}: {self.sentence}" if self.field else self.sentence


@dataclass(frozen=True, slots=True)
class Precondition:
    """What must hold first. `type` is UPPER_SNAKE, `subject` what it is about."""

    type: str
    subject: str
    sentence: str


class HmsactdError(Exception):
    """Raised when a request is not done: `reason` (UPPER_SNAKE) and `metadata` for machines, a sentence for people."""

    code: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        reason: str,
        sentence: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
        preconditions: Iterable[Precondition] = (),
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.preconditions = tuple(preconditions)
        self.retry_after_ms = retry_after_ms


class InvalidArgument(HmsactdError):
    """Raised for a request that is wrong whatever the state of things; names every field that is."""

    code = "INVALID_ARGUMENT"

    def __init__(self, violations: Iterable[Violation], *, reason: str = "INVALID_REQUEST") -> None:
        found = tuple(violations)
        assert found, "a request is invalid because of something"
        super().__init__(reason, "; ".join(map(str, found)), violations=found)


class NotFound(HmsactdError):
    """Raised when what is named does not exist, or not for this caller."""

    code = "NOT_FOUND"


class AlreadyExists(HmsactdError):
    """Raised when what is to be made exists, and is something else."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(HmsactdError):
    """Raised when the state of things does not allow it; repeating the request is of no use until that changes."""

    code = "FAILED_PRECONDITION"


class PermissionDenied(HmsactdError):
    """Raised when the caller is known and may not do this."""

    code = "PERMISSION_DENIED"


class Unauthenticated(HmsactdError):
    """Raised when it can't be told who is calling."""

    code = "UNAUTHENTICATED"


class Aborted(HmsactdError):
    """Raised when the world has changed since the caller looked: look again, then decide anew."""

    code = "ABORTED"


class ResourceExhausted(HmsactdError):
    """Raised at a bound; the sentence names it."""

    code = "RESOURCE_EXHAUSTED"


class Unavailable(HmsactdError):
    """Raised when it can't be done just now: the daemon starts or stops, or its store does not answer. Try again."""

    code = "UNAVAILABLE"


class DeadlineExceeded(HmsactdError):
    """Raised when the time that the caller gave is over."""

    code = "DEADLINE_EXCEEDED"


class StartRefused(Exception):
    """Raised when the daemon can't start: a port or directory in use, data that it must not touch."""


class Stopped(Exception):
    """Raised when the daemon has ended because its data can't be trusted any more; the sentence says what to do."""


class SettingsRefused(StartRefused):
    """Raised for settings that can't be used, with every fault they have."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))
