"""Events of a timeline, as readers get them. How they read aloud is in hmsact.render."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hmsact import json_text, render
from hmsact.plain import plain, time_of, time_text
from hmsact.principal import Principal, principal_of
from hmsact.recorded import FINAL_STATES, state_of
from hmsact.v1 import event_pb2, operation_pb2, timeline_pb2

NARRATED_KINDS = frozenset(
    {
        "step_done",
        "step_failed",
        "step_stalled",
        "step_skipped",
        "checkpoint_pending",
        "checkpoint_approved",
        "checkpoint_rejected",
        "sla_at_risk",
        "sla_breach",
        "operation_paused",
        "operation_resumed",
        "operation_completed",
        "operation_rejected",
        "operation_failed",
        "operation_cancelled",
    }
)
"""The kinds that tell the story of an operation; the others tell how it came about."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened to an operation. `print` shows it as "00:01 ELIGIBILITY_CHECK → failed, retry 1/3".

    `sequence` is its place on the timeline, from 1; `time` when it was recorded, in UTC; `elapsed` the time since the
    operation was started; `kind` its stable name, such as "step_done". `name` is the step or checkpoint it is about
    (empty: the operation), `instance` and `attempt` which round and try of it. `principal` caused it. `data` holds
    the recorded facts by name, `payloads` what people and services said in their own words ("input", "output",
    "comment", "reason", "error"), as far as the reader may see it. `cursor` resumes after it. `state` is that of the
    operation after it, where the daemon has said so. `svc` and `role` are those of the step or checkpoint it is about.
    `position` is the place of its record in the log, in a stream over all operations.
    """

    namespace: str
    operation_id: str
    operation_name: str
    sequence: int
    time: datetime
    elapsed: timedelta
    kind: str
    name: str
    instance: int
    attempt: int
    svc: str
    role: str
    principal: Principal
    data: Mapping[str, Any]
    payloads: Mapping[str, Any]
    cursor: str
    state: str
    record: str
    position: int | None = None

    @property
    def is_narrated(self) -> bool:
        """True for the kinds that `events` yields unless asked for all."""
        return self.kind in NARRATED_KINDS

    def __str__(self) -> str:
        return render.event_text(self)

    def as_json(self) -> dict[str, Any]:
        """The event as a value that can be written as JSON."""
        said: dict[str, Any] = {
            "namespace": self.namespace,
            "operation_id": self.operation_id,
            "operation_name": self.operation_name,
            "sequence": self.sequence,
            "time": time_text(self.time),
            "elapsed_ms": self.elapsed // timedelta(milliseconds=1),
            "kind": self.kind,
            "principal": self.principal.id,
            "data": dict(self.data),
            "payloads": dict(self.payloads),
            "cursor": self.cursor,
        }
        if self.name:
            said |= {"name": self.name, "instance": self.instance}
        if self.attempt:
            said["attempt"] = self.attempt
        if self.state:
            said["state"] = self.state
        if self.record:
            said["record"] = self.record
        if self.position is not None:
            said["position"] = self.position
        return said


def streamed_event(placed: timeline_pb2.PlacedEvent, cursor: str = "") -> Event:
    """Reads an event of a stream over all operations; another cursor than its own may stand for it."""
    message, start_time = placed.event, time_of(placed.start_time)
    subject, time = message.subject, time_of(message.time)
    return Event(
        namespace=message.namespace,
        operation_id=message.operation_id,
        operation_name=placed.definition,
        sequence=message.sequence,
        time=time,
        elapsed=max(time - start_time, timedelta()),
        kind=message.kind,
        name=subject.name,
        instance=subject.instance,
        attempt=subject.attempt,
        svc=message.data.svc,
        role=message.data.role,
        principal=principal_of(message.principal),
        data=plain(message.data),
        payloads={name: json_text.read(text) for name, text in sorted(message.payloads.items())},
        cursor=cursor or message.cursor,
        state="",
        record=message.record.decode(),
        position=placed.position,
    )


class Reader:
    """Reads the events of one operation: it knows what an event leaves out because it is the same for all of them."""

    def __init__(self, operation: operation_pb2.Operation) -> None:
        self.operation = operation
        self.is_final = state_of(operation.state) in FINAL_STATES
        self._start_time = time_of(operation.start_time)
        self._items = {item.instance: item for item in operation.items}

    def read(self, message: event_pb2.Event, state: str = "") -> Event:
        """Reads an event. `state` is that of the operation after it."""
        time = time_of(message.time)
        subject = message.subject
        item = self._items.get(subject.instance)
        return Event(
            namespace=message.namespace or self.operation.namespace,
            operation_id=message.operation_id or self.operation.id,
            operation_name=self.operation.name,
            sequence=message.sequence,
            time=time,
            elapsed=max(time - self._start_time, timedelta()),
            kind=message.kind,
            name=subject.name,
            instance=subject.instance,
            attempt=subject.attempt,
            svc=message.data.svc or (item.step.svc if item else ""),
            role=message.data.role or (item.checkpoint.role if item else ""),
            principal=principal_of(message.principal),
            data=plain(message.data),
            payloads={name: json_text.read(text) for name, text in sorted(message.payloads.items())},
            cursor=message.cursor,
            state=state,
            record=message.record.decode(),
        )
