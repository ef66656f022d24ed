"""How one item of a flow stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hmsact import json_text
from hmsact.plain import time_or_none, word
from hmsact.principal import Principal, principal_of
from hmsact.v1 import event_pb2, operation_pb2


@dataclass(frozen=True, slots=True)
class ClockReading:
    """An SLA clock: the milliseconds allowed, used, and left (negative once breached)."""

    budget_ms: int
    used_ms: int
    remaining_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemStatus:
    """How a step or a checkpoint stands.

    `is_checkpoint` says which it is; of a step, `svc` to `completion_due_time` are filled, of a checkpoint `role` to
    `digest`.
    `attempt` is the last one, from 1 (0 before it); `code` that of the last failure; `output` the value of its JSON.
    `claimed_by` and `assigned_to` are "issuer:subject"; `digest` is that of what is shown to whoever decides, in hex.
    `deferred_time` is since when a step is deferred, `completion_due_time` by when it is to be completed, if that is
    limited, both in UTC. `clock` is the SLA's, None without one or before the item is reached; `due_time` is when it
    runs out, in UTC.
    """

    name: str
    instance: int
    is_checkpoint: bool
    state: str
    svc: str = ""
    attempt: int = 0
    retries_used: int = 0
    retries: int = 0
    retry_time: datetime | None = None
    code: str = ""
    output: Any = None
    deferred_time: datetime | None = None
    completion_due_time: datetime | None = None
    role: str = ""
    claimed_by: str = ""
    assigned_to: str = ""
    decided_by: Principal | None = None
    digest: str = ""
    clock: ClockReading | None = None
    due_time: datetime | None = None


def item_of(message: operation_pb2.FlowItem) -> ItemStatus:
    """Reads how an item stands."""
    clock = clock_of(message.clock) if message.HasField("clock") else None
    due_time = time_or_none(message, "due_time")
    if message.WhichOneof("item") == "checkpoint":
        checkpoint = message.checkpoint
        return ItemStatus(
            name=message.name,
            instance=message.instance,
            is_checkpoint=True,
            state=word(operation_pb2.CheckpointState.DESCRIPTOR, checkpoint.state),
            role=checkpoint.role,
            claimed_by=checkpoint.claimed_by,
            assigned_to=checkpoint.assigned_to,
            decided_by=principal_of(checkpoint.decided_by) if checkpoint.HasField("decided_by") else None,
            digest=checkpoint.digest,
            clock=clock,
            due_time=due_time,
        )
    step = message.step
    return ItemStatus(
        name=message.name,
        instance=message.instance,
        is_checkpoint=False,
        state=word(operation_pb2.StepState.DESCRIPTOR, step.state),
        svc=step.svc,
        attempt=step.attempt,
        retries_used=step.retries_used,
        retries=step.retries,
        retry_time=time_or_none(step, "retry_time"),
        code=step.code,
        output=json_text.read(step.output),
        deferred_time=time_or_none(step, "deferred_time"),
        completion_due_time=time_or_none(step, "completion_due_time"),
        clock=clock,
        due_time=due_time,
    )


def clock_of(message: event_pb2.ClockReading) -> ClockReading:
    """Reads a clock."""
    return ClockReading(message.budget_ms, message.used_ms, message.remaining_ms)
