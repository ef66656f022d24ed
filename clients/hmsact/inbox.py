"""Decisions that wait for people, and what is shown to whoever makes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hmsact.item import ItemStatus, item_of
from hmsact.operation import OperationFacts
from hmsact.plain import plain, time_of, time_or_none
from hmsact.v1 import checkpoint_pb2


@dataclass(frozen=True, slots=True)
class Pending:
    """A decision that waits for somebody.

    `operation_id` and `checkpoint` name it, `definition` is the name of the operation's definition, `role` decides.
    `claimed_by` and `assigned_to` are "issuer:subject", or empty. `may_decide` is about the caller. Times in UTC.
    """

    namespace: str
    operation_id: str
    definition: str
    checkpoint: str
    role: str
    since_time: datetime
    due_time: datetime | None
    claimed_by: str
    assigned_to: str
    may_decide: bool


class Shown:
    """Everything that is shown to whoever decides a checkpoint. A decision names its `digest`.

    `operation` has flow, input and outputs so far; `releases` are the names of the items that an approval lets run.
    `refusal` says in a sentence why the caller may not decide; it is empty if they may.
    """

    def __init__(self, message: checkpoint_pb2.GetCheckpointResponse) -> None:
        self._message = message
        self.operation = _ShownOperation(message.operation, is_whole=True)
        self.checkpoint: ItemStatus = item_of(message.checkpoint)
        self.releases: tuple[str, ...] = tuple(message.releases)
        self.digest: str = message.digest
        self.may_decide: bool = message.may_decide
        self.refusal: str = message.refusal
        self.since_time: datetime | None = time_or_none(message, "since_time")

    def as_json(self) -> dict[str, Any]:
        """What is shown, as a value that can be written as JSON."""
        return plain(self._message)

    def __repr__(self) -> str:
        return f"<Shown {self.checkpoint.name} of {self.operation.id}, digest {self.digest[:12]}…>"


class _ShownOperation(OperationFacts):
    """An operation as it was when it was shown: it is not fetched again."""

    def _whole(self) -> Any:
        return self._message


def pending_of(message: checkpoint_pb2.PendingCheckpoint) -> Pending:
    """Reads a pending decision."""
    return Pending(
        namespace=message.namespace,
        operation_id=message.operation_id,
        definition=message.definition,
        checkpoint=message.checkpoint,
        role=message.role,
        since_time=time_of(message.since_time),
        due_time=time_or_none(message, "due_time"),
        claimed_by=message.claimed_by,
        assigned_to=message.assigned_to,
        may_decide=message.may_decide,
    )


def digest_of(seen: str | Shown | None) -> str:
    """The digest that a decision names; empty for a decision that names none."""
    if seen is None:
        return ""
    return seen if isinstance(seen, str) else seen.digest
