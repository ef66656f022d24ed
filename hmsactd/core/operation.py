"""The state of an operation, and how it is read. It changes only by events: see hmsactd.core.apply."""

from __future__ import annotations

from hmsactd.core.clock import SlaClock
from hmsactd.core.principal import Principal
from hmsactd.core.transitions import CheckpointState, OperationState, StepState
from hmsactd.definition.flow import CheckpointDefinition, Flow, StepDefinition
from hmsactd.value import value


@value(frozen=True, slots=True)
class Completion:
    """What somebody said of an attempt with its token: it failed it, or it came when the attempt was over."""

    attempt: int
    at: int
    by: str
    is_failure: bool
    is_late: bool


@value(frozen=True, slots=True)
class StepItem:
    """A step within an operation. `since` is when it came into its present state; `instance` names it for ever.

    A step that is running is in the hands of a `session`, or it was deferred (`deferred_at`) and is in nobody's.
    """

    definition: StepDefinition
    instance: int
    state: StepState = StepState.AHEAD
    since: int = 0
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    retry_at: int | None = None
    session: str | None = None
    worker: str | None = None
    code: str | None = None
    output_sequence: int = 0
    output_commitment: str | None = None
    clock: SlaClock | None = None
    is_unattended: bool = False
    is_late_report_noted: bool = False
    deferred_at: int | None = None
    completion_due_at: int | None = None
    completions: tuple[Completion, ...] = ()

    @property
    def is_over(self) -> bool:
        """True if the flow has gone past it."""
        return self.state is StepState.DONE or self.state is StepState.SKIPPED

    def completion(self, attempt: int) -> Completion | None:
        """What was said of an attempt with its token."""
        return next((said for said in self.completions if said.attempt == attempt), None)


@value(frozen=True, slots=True)
class CheckpointItem:
    """A checkpoint within an operation. `since` is when it came into its present state."""

    definition: CheckpointDefinition
    instance: int
    state: CheckpointState = CheckpointState.AHEAD
    since: int = 0
    digest: str | None = None
    claimed_by: str | None = None
    assigned_to: str | None = None
    decided_by: Principal | None = None
    clock: SlaClock | None = None
    is_unattended: bool = False
    refusals: tuple[tuple[str, str, int], ...] = ()

    @property
    def is_over(self) -> bool:
        """True if the flow has gone past it."""
        return self.state is CheckpointState.APPROVED


Item = StepItem | CheckpointItem


@value(frozen=True, slots=True)
class Pause:
    """Somebody has frozen the operation."""

    at: int
    by: Principal
    stops_clock: bool


@value(frozen=True, slots=True)
class Operation:
    """One request from start to finish. `sequence` is its last event's, `cursor` the index of its current item."""

    flow: Flow
    items: tuple[Item, ...]
    started_by: Principal
    started_at: int
    input_commitment: str
    state: OperationState
    sequence: int = 1
    cursor: int = 0
    revision: int = 1
    updated_at: int = 0
    ended_at: int | None = None
    pause: Pause | None = None
    clock: SlaClock | None = None

    @property
    def current(self) -> Item | None:
        """The item that the operation is at; None past the last one."""
        return self.items[self.cursor] if self.cursor < len(self.items) else None

    @property
    def is_final(self) -> bool:
        """True if no work follows."""
        return self.ended_at is not None

    def item(self, instance: int) -> Item | None:
        """The item with this instance number."""
        # Instances are numbered from 1 in the order of the flow until flows can grow.
        return self.items[instance - 1] if 0 < instance <= len(self.items) else None

    def checkpoint(self, name: str) -> CheckpointItem | None:
        """The checkpoint of this name."""
        for item in self.items:
            if isinstance(item, CheckpointItem) and item.definition.name == name:
                return item
        return None

    def step(self, name: str) -> StepItem | None:
        """The step of this name."""
        for item in self.items:
            if isinstance(item, StepItem) and item.definition.name == name:
                return item
        return None

    def name_of(self, instance: int) -> str:
        """The name of an item; empty for the operation as a whole."""
        item = self.item(instance)
        return item.definition.name if item is not None else ""
