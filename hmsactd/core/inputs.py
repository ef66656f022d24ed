"""What an operation can be told. Each says who tells it; when is an argument of `decide`."""

from __future__ import annotations

from hmsactd.core.payload import Payload
from hmsactd.core.principal import Principal
from hmsactd.definition.flow import Flow
from hmsactd.value import value


@value(frozen=True, slots=True)
class Start:
    """Begin."""

    by: Principal
    flow: Flow
    input: Payload
    labels: Payload | None = None
    key: Payload | None = None
    requested_by: Payload | None = None
    reason: Payload | None = None


@value(frozen=True, slots=True)
class StepTaken:
    """A worker is about to be given this attempt."""

    by: Principal
    instance: int
    attempt: int
    session: str


@value(frozen=True, slots=True)
class StepSucceeded:
    """A worker reports that an attempt succeeded."""

    by: Principal
    instance: int
    attempt: int
    output: Payload


@value(frozen=True, slots=True)
class StepErred:
    """A worker reports that an attempt failed. `retry_after_ms` is the service's own wish for the next one."""

    by: Principal
    instance: int
    attempt: int
    code: str
    is_permanent: bool = False
    error: Payload | None = None
    retry_after_ms: int | None = None


@value(frozen=True, slots=True)
class StepDeferred:
    """A worker lets go of an attempt: it will be completed with its token, within this time if one is given."""

    by: Principal
    instance: int
    attempt: int
    within_ms: int | None = None


@value(frozen=True, slots=True)
class CompleteStep:
    """Somebody who has the completion token of an attempt says what came of it: an output, or else a failure's code."""

    by: Principal
    instance: int
    attempt: int
    output: Payload | None = None
    code: str = ""
    is_permanent: bool = False
    error: Payload | None = None
    retry_after_ms: int | None = None


@value(frozen=True, slots=True)
class NoteLateCompletion:
    """A completion came too late; it belongs on the record."""

    by: Principal
    instance: int
    attempt: int
    output: Payload | None = None
    code: str = ""
    error: Payload | None = None


@value(frozen=True, slots=True)
class WorkerLost:
    """The session that had an attempt is gone."""

    by: Principal
    instance: int
    attempt: int


@value(frozen=True, slots=True)
class HeartbeatMissed:
    """The worker of an attempt has been silent for longer than the step allows."""

    by: Principal
    instance: int
    attempt: int


@value(frozen=True, slots=True)
class TimerDue:
    """A time the operation asked to be woken at has come."""

    by: Principal


@value(frozen=True, slots=True)
class NobodyEntitled:
    """The directory knows nobody who may decide the pending checkpoint."""

    by: Principal
    instance: int


@value(frozen=True, slots=True)
class Decide:
    """A person decides a checkpoint. `seen` is the digest of what they were shown, if they name it."""

    by: Principal
    checkpoint: str
    is_approval: bool
    seen: str | None = None
    comment: Payload | None = None


@value(frozen=True, slots=True)
class NoteRefusal:
    """A decision was refused; it belongs on the record."""

    by: Principal
    checkpoint: str
    code: str


@value(frozen=True, slots=True)
class Claim:
    """A person takes a checkpoint on."""

    by: Principal
    checkpoint: str
    reason: Payload | None = None


@value(frozen=True, slots=True)
class Release:
    """A person gives a claimed checkpoint back."""

    by: Principal
    checkpoint: str
    reason: Payload | None = None


@value(frozen=True, slots=True)
class Assign:
    """A checkpoint is given to `assignee`, as the directory knows them."""

    by: Principal
    checkpoint: str
    assignee: Principal
    reason: Payload | None = None


@value(frozen=True, slots=True)
class Pause:
    """Freeze at the current step."""

    by: Principal
    stop_clock: bool = False
    reason: Payload | None = None
    expected_revision: int | None = None
    job: str | None = None


@value(frozen=True, slots=True)
class Resume:
    """Go on."""

    by: Principal
    reason: Payload | None = None
    expected_revision: int | None = None
    job: str | None = None


@value(frozen=True, slots=True)
class Cancel:
    """End; no further work."""

    by: Principal
    reason: Payload | None = None
    expected_revision: int | None = None
    job: str | None = None


@value(frozen=True, slots=True)
class RetryStep:
    """Give a stalled step fresh retries."""

    by: Principal
    step: str
    reason: Payload | None = None
    expected_revision: int | None = None
    job: str | None = None


@value(frozen=True, slots=True)
class SkipStep:
    """Leave a stalled step out."""

    by: Principal
    step: str
    reason: Payload | None = None
    expected_revision: int | None = None


Input = (
    Start
    | StepTaken
    | StepSucceeded
    | StepErred
    | StepDeferred
    | CompleteStep
    | NoteLateCompletion
    | WorkerLost
    | HeartbeatMissed
    | TimerDue
    | NobodyEntitled
    | Decide
    | NoteRefusal
    | Claim
    | Release
    | Assign
    | Pause
    | Resume
    | Cancel
    | RetryStep
    | SkipStep
)
