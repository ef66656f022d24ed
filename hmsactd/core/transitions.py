"""Every status and every transition, in three tables.

A step or checkpoint moves by what happens to it: `STEP` and `CHECKPOINT` map (state, trigger) to the next state. A
trigger is the kind of an event, or one of the three below that events bring with them. A pair that is not in its
table cannot happen; reaching one is our fault, never the caller's.

An operation has no transitions of its own: while it is open its state follows from the item it is at (`FOLLOWS`),
unless somebody paused it; `ENDS` are the events after which it is final. The diagram in ARCHITECTURE.md is drawn
from these tables (`make diagram`).
"""

from __future__ import annotations

from enum import StrEnum


class OperationState(StrEnum):
    """Where an operation stands."""

    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    STALLED = "stalled"
    COMPLETED = "completed"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True if no work follows."""
        return self in FINAL


class StepState(StrEnum):
    """Where a step stands."""

    AHEAD = "ahead"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    STALLED = "stalled"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class CheckpointState(StrEnum):
    """Where a checkpoint stands. Nothing expires yet: the state is kept for checkpoints with an expiry."""

    AHEAD = "ahead"
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"


REACHED = "reached"
"""The flow has come to the step: the one before it is over, and the operation is not paused."""

RETRY_AHEAD = "step_failed, retry ahead"
"""A `step_failed` that names its next attempt."""

FAILED_LAST = "step_failed, no retry"
"""A `step_failed` that names none."""

FINAL = frozenset((OperationState.COMPLETED, OperationState.REJECTED, OperationState.FAILED, OperationState.CANCELLED))

STEP: dict[tuple[StepState, str], StepState] = {
    (StepState.AHEAD, REACHED): StepState.QUEUED,
    (StepState.QUEUED, "step_started"): StepState.RUNNING,
    (StepState.RUNNING, "step_done"): StepState.DONE,
    (StepState.RUNNING, RETRY_AHEAD): StepState.RETRYING,
    (StepState.RUNNING, FAILED_LAST): StepState.FAILED,
    (StepState.RUNNING, "step_lost"): StepState.QUEUED,
    (StepState.RETRYING, "step_queued"): StepState.QUEUED,
    (StepState.FAILED, "step_stalled"): StepState.STALLED,
    (StepState.STALLED, "step_retried"): StepState.QUEUED,
    (StepState.STALLED, "step_skipped"): StepState.SKIPPED,
}

CHECKPOINT: dict[tuple[CheckpointState, str], CheckpointState] = {
    (CheckpointState.AHEAD, "checkpoint_pending"): CheckpointState.PENDING,
    (CheckpointState.PENDING, "checkpoint_approved"): CheckpointState.APPROVED,
    (CheckpointState.PENDING, "checkpoint_rejected"): CheckpointState.REJECTED,
}

FOLLOWS: dict[StepState | CheckpointState, OperationState] = {
    StepState.AHEAD: OperationState.RUNNING,
    StepState.QUEUED: OperationState.RUNNING,
    StepState.RUNNING: OperationState.RUNNING,
    StepState.RETRYING: OperationState.WAITING,
    StepState.FAILED: OperationState.RUNNING,
    StepState.STALLED: OperationState.STALLED,
    CheckpointState.AHEAD: OperationState.RUNNING,
    CheckpointState.PENDING: OperationState.WAITING,
    CheckpointState.REJECTED: OperationState.WAITING,
}

ENDS: dict[str, OperationState] = {
    "operation_completed": OperationState.COMPLETED,
    "operation_rejected": OperationState.REJECTED,
    "operation_failed": OperationState.FAILED,
    "operation_cancelled": OperationState.CANCELLED,
}
