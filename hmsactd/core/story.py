"""What is happening to an operation as it is told something: events as they come about, and where they lead it."""

from __future__ import annotations

from hmsactd.core import events as e
from hmsactd.core.apply import apply
from hmsactd.core.operation import CheckpointItem, Operation
from hmsactd.core.principal import DAEMON
from hmsactd.core.rejected import Ground, Rejected
from hmsactd.core.shown import shown_digest
from hmsactd.core.transitions import CheckpointState
from hmsactd.value import value


@value(frozen=True, slots=True)
class Outcome:
    """What has happened, in order, and the operation after it."""

    events: tuple[e.Event, ...]
    operation: Operation | None


class Story:
    """Events as they come about, and the operation they have led to so far."""

    def __init__(self, operation: Operation | None, now: int) -> None:
        self.now = now
        self._operation = operation
        self._events: list[e.Event] = []

    @property
    def operation(self) -> Operation:
        """The operation by now."""
        assert self._operation is not None
        return self._operation

    def add(self, event: e.Event) -> None:
        """Something has happened."""
        self._operation = apply(self._operation, event)
        self._events.append(event)

    def outcome(self) -> Outcome:
        """What has happened so far."""
        return Outcome(tuple(self._events), self._operation)


def advance(story: Story) -> None:
    """Go on to what follows an item that is over: a checkpoint asks, the end completes. A step queues by itself."""
    operation = story.operation
    if operation.pause is not None or operation.is_final:
        return
    item = operation.current
    if item is None:
        story.add(e.OperationCompleted(story.now, DAEMON))
    elif isinstance(item, CheckpointItem) and item.state is CheckpointState.AHEAD:
        digest = shown_digest(operation, item)
        role, assigned_to = item.definition.role, item.definition.assigned_to
        if assigned_to in operation.started_by.people:
            # Assigned to whoever may not decide it, it would wait for the wrong person.
            assigned_to = None
        story.add(e.CheckpointPending(story.now, DAEMON, item.instance, role, digest, assigned_to))


def still_open(story: Story, expected_revision: int | None) -> Operation:
    """The operation, if it is open and its flow is as the caller has seen it."""
    operation = story.operation
    if operation.is_final:
        raise Rejected(
            Ground.PRECONDITION,
            "OPERATION_FINAL",
            f"the operation is {operation.state.value}: nothing more can be done with it",
            state=operation.state.value,
        )
    if expected_revision is not None and expected_revision != operation.revision:
        raise Rejected(
            Ground.CHANGED,
            "REVISION_CHANGED",
            f"the flow is at revision {operation.revision}, not {expected_revision}",
            revision=str(operation.revision),
        )
    return operation
