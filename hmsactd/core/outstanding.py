"""What should be under way for an operation, from its state alone. Recovery after a crash is this and nothing more."""

from __future__ import annotations

from hmsactd.core.due import next_due
from hmsactd.core.effects import AwaitCompletion, AwaitDecision, AwaitReport, Effect, RunStep, WakeAt
from hmsactd.core.operation import CheckpointItem, Operation, StepItem
from hmsactd.core.transitions import CheckpointState, StepState


def outstanding(operation: Operation) -> tuple[Effect, ...]:
    """The effects that an operation stands in need of. None once it is final."""
    if operation.is_final:
        return ()
    effects: list[Effect] = []
    item = operation.current
    match item:
        case StepItem(state=StepState.QUEUED):
            if (run := step_to_run(operation)) is not None:
                effects.append(run)
        case StepItem(state=StepState.RUNNING, session=str(session)):
            effects.append(AwaitReport(item.instance, item.attempt, item.definition.svc, session))
        case StepItem(state=StepState.RUNNING):
            effects.append(AwaitCompletion(item.instance, item.attempt, item.definition.svc))
        case CheckpointItem(state=CheckpointState.PENDING):
            effects.append(AwaitDecision(item.instance, item.definition.role))
        case _:
            pass
    due = next_due(operation)
    if due is not None:
        effects.append(WakeAt(due.at))
    return tuple(effects)


def step_to_run(operation: Operation) -> RunStep | None:
    """The step that waits for a worker, if one does."""
    item = operation.current
    if not isinstance(item, StepItem) or item.state is not StepState.QUEUED:
        return None
    if operation.pause is not None or operation.is_final:
        return None
    definition = item.definition
    return RunStep(item.instance, item.attempt + 1, definition.svc, definition.name, item.since)
