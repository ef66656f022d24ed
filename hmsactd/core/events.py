"""What has happened to an operation. One class a kind; their fields are what a record holds (docs/events.md).

Every event says when (`at`, microseconds since the epoch) and by whom. Names of kinds are for ever; a class gets
new fields with defaults, never other meanings. How events look on disk is in hmsactd.timeline.codec.
"""

from __future__ import annotations

from typing import ClassVar

from hmsactd.core.payload import Payload
from hmsactd.core.principal import Principal
from hmsactd.definition.flow import Flow
from hmsactd.value import value

VIA_COMPLETION = "token"
"""How an outcome came: with the completion token of its attempt, from whoever may serve the step."""


@value(frozen=True, slots=True)
class ClockReading:
    """An SLA clock when it was stopped or started. `instance` 0 is the operation's own clock."""

    instance: int
    budget_ms: int
    used_ms: int

    @property
    def remaining_ms(self) -> int:
        """What is left; negative once breached."""
        return self.budget_ms - self.used_ms


@value(frozen=True, slots=True)
class OperationStarted:
    """An operation exists from here on. `flow` is the effective definition, every default filled in."""

    kind: ClassVar[str] = "operation_started"
    at: int
    by: Principal
    flow: Flow
    input: Payload
    labels: Payload | None = None
    key: Payload | None = None
    requested_by: Payload | None = None
    reason: Payload | None = None


@value(frozen=True, slots=True)
class StepQueued:
    """A step waits for a worker again: its retry is due. A step that is reached is queued without an event."""

    kind: ClassVar[str] = "step_queued"
    at: int
    by: Principal
    instance: int


@value(frozen=True, slots=True)
class StepStarted:
    """An attempt was given to a worker, who is `by`. `session` is the worker's session."""

    kind: ClassVar[str] = "step_started"
    at: int
    by: Principal
    instance: int
    attempt: int
    session: str


@value(frozen=True, slots=True)
class StepDeferred:
    """An attempt will be completed with its token, and is in nobody's hands: with `due_at` by then, or it times out."""

    kind: ClassVar[str] = "step_deferred"
    at: int
    by: Principal
    instance: int
    attempt: int
    due_at: int | None = None


@value(frozen=True, slots=True)
class StepDone:
    """An attempt succeeded. `via` is "token" if it was completed with its token, and not reported by its worker."""

    kind: ClassVar[str] = "step_done"
    at: int
    by: Principal
    instance: int
    attempt: int
    output: Payload
    via: str | None = None


@value(frozen=True, slots=True)
class StepFailed:
    """An attempt failed. With `retry_at` there will be another; `retry` of `retries` says which. `via` as in done."""

    kind: ClassVar[str] = "step_failed"
    at: int
    by: Principal
    instance: int
    attempt: int
    code: str
    retries: int
    retry: int = 0
    retry_at: int | None = None
    error: Payload | None = None
    clocks: tuple[ClockReading, ...] = ()
    via: str | None = None


@value(frozen=True, slots=True)
class StepLost:
    """The worker that had an attempt is gone. The step is queued again and no retry is used up."""

    kind: ClassVar[str] = "step_lost"
    at: int
    by: Principal
    instance: int
    attempt: int
    count: int
    clocks: tuple[ClockReading, ...] = ()


@value(frozen=True, slots=True)
class StepStalled:
    """The retries of a step are used up: it needs an operator."""

    kind: ClassVar[str] = "step_stalled"
    at: int
    by: Principal
    instance: int
    code: str


@value(frozen=True, slots=True)
class StepRetried:
    """An operator gave a stalled step fresh retries; `job`, if it was one over many operations."""

    kind: ClassVar[str] = "step_retried"
    at: int
    by: Principal
    instance: int
    reason: Payload | None = None
    job: str | None = None


@value(frozen=True, slots=True)
class StepSkipped:
    """An operator left a stalled step out."""

    kind: ClassVar[str] = "step_skipped"
    at: int
    by: Principal
    instance: int
    reason: Payload | None = None


@value(frozen=True, slots=True)
class StepReportIgnored:
    """A report came after the operation had ended, or a completion by token (`via`) after its attempt had.

    It is kept, since the world may have changed; nothing else does.
    """

    kind: ClassVar[str] = "step_report_ignored"
    at: int
    by: Principal
    instance: int
    attempt: int
    code: str
    output: Payload | None = None
    error: Payload | None = None
    via: str | None = None


@value(frozen=True, slots=True)
class CheckpointPending:
    """A decision is asked for. `digest` is that of everything the approver is shown, frozen here."""

    kind: ClassVar[str] = "checkpoint_pending"
    at: int
    by: Principal
    instance: int
    role: str
    digest: str
    assigned_to: str | None = None


@value(frozen=True, slots=True)
class CheckpointClaimed:
    """A person took the decision on."""

    kind: ClassVar[str] = "checkpoint_claimed"
    at: int
    by: Principal
    instance: int
    reason: Payload | None = None


@value(frozen=True, slots=True)
class CheckpointReleased:
    """A claim was given back."""

    kind: ClassVar[str] = "checkpoint_released"
    at: int
    by: Principal
    instance: int
    reason: Payload | None = None


@value(frozen=True, slots=True)
class CheckpointAssigned:
    """The decision was assigned to a person ("issuer:subject")."""

    kind: ClassVar[str] = "checkpoint_assigned"
    at: int
    by: Principal
    instance: int
    person: str
    reason: Payload | None = None


@value(frozen=True, slots=True)
class CheckpointApproved:
    """A person approved. `seen` is the digest they named; None means decided unseen."""

    kind: ClassVar[str] = "checkpoint_approved"
    at: int
    by: Principal
    instance: int
    seen: str | None = None
    comment: Payload | None = None


@value(frozen=True, slots=True)
class CheckpointRejected:
    """A person rejected. `seen` is the digest they named; None means decided unseen."""

    kind: ClassVar[str] = "checkpoint_rejected"
    at: int
    by: Principal
    instance: int
    seen: str | None = None
    comment: Payload | None = None


@value(frozen=True, slots=True)
class DecisionRefused:
    """Somebody tried to decide who may not. Noted at most once a minute for a person, a checkpoint and a code."""

    kind: ClassVar[str] = "decision_refused"
    at: int
    by: Principal
    instance: int
    code: str


@value(frozen=True, slots=True)
class SlaAtRisk:
    """Four fifths of an SLA are used up. `instance` 0 is the operation's own SLA."""

    kind: ClassVar[str] = "sla_at_risk"
    at: int
    by: Principal
    instance: int
    sla_ms: int
    due_at: int
    late_ms: int


@value(frozen=True, slots=True)
class SlaBreach:
    """An SLA is used up; the work goes on. `late_ms` is how long after `due_at` it was noticed."""

    kind: ClassVar[str] = "sla_breach"
    at: int
    by: Principal
    instance: int
    sla_ms: int
    due_at: int
    late_ms: int


@value(frozen=True, slots=True)
class Unattended:
    """A step has waited too long for a worker, or a checkpoint that nobody is entitled to decide."""

    kind: ClassVar[str] = "unattended"
    at: int
    by: Principal
    instance: int
    due_at: int
    late_ms: int


@value(frozen=True, slots=True)
class OperationPaused:
    """Frozen at the current step. `clock` is "run" or "stop": what the operation's own clock does meanwhile.

    `job` is the id of the job over many operations that it was part of, if it was part of one.
    """

    kind: ClassVar[str] = "operation_paused"
    at: int
    by: Principal
    clock: str
    clocks: tuple[ClockReading, ...] = ()
    reason: Payload | None = None
    job: str | None = None


@value(frozen=True, slots=True)
class OperationResumed:
    """No longer frozen. `job` as of a pause."""

    kind: ClassVar[str] = "operation_resumed"
    at: int
    by: Principal
    clocks: tuple[ClockReading, ...] = ()
    reason: Payload | None = None
    job: str | None = None


@value(frozen=True, slots=True)
class OperationCancelled:
    """Ended by somebody. No work follows. `job` as of a pause."""

    kind: ClassVar[str] = "operation_cancelled"
    at: int
    by: Principal
    from_state: str
    reason: Payload | None = None
    job: str | None = None


@value(frozen=True, slots=True)
class OperationCompleted:
    """Every step is done or skipped, every checkpoint approved."""

    kind: ClassVar[str] = "operation_completed"
    at: int
    by: Principal


@value(frozen=True, slots=True)
class OperationRejected:
    """Ended by a rejection."""

    kind: ClassVar[str] = "operation_rejected"
    at: int
    by: Principal
    instance: int


@value(frozen=True, slots=True)
class OperationFailed:
    """Ended by a step that failed for good."""

    kind: ClassVar[str] = "operation_failed"
    at: int
    by: Principal
    instance: int
    code: str


Event = (
    OperationStarted
    | StepQueued
    | StepStarted
    | StepDeferred
    | StepDone
    | StepFailed
    | StepLost
    | StepStalled
    | StepRetried
    | StepSkipped
    | StepReportIgnored
    | CheckpointPending
    | CheckpointClaimed
    | CheckpointReleased
    | CheckpointAssigned
    | CheckpointApproved
    | CheckpointRejected
    | DecisionRefused
    | SlaAtRisk
    | SlaBreach
    | Unattended
    | OperationPaused
    | OperationResumed
    | OperationCancelled
    | OperationCompleted
    | OperationRejected
    | OperationFailed
)
