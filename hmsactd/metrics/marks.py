"""What an operation adds to the gauges as it is now. From its state alone, so that a recount gives the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from hmsactd.core.clock import SlaClock
from hmsactd.core.operation import CheckpointItem, Operation
from hmsactd.core.transitions import CheckpointState, OperationState, StepState


class Gauged(StrEnum):
    """What is counted. The alarms among them go by the same words in the store."""

    STATE = "state"
    AT_RISK = "at_risk"
    BREACHED = "breached"
    STALLED = "stalled"
    UNATTENDED = "unattended"
    PENDING = "pending"


class Mark(NamedTuple):
    """One operation counts once here. `name` is a state, or that of a step or checkpoint ("": the whole operation)."""

    gauged: Gauged
    name: str
    role: str = ""


STATES = {state: Mark(Gauged.STATE, state.value) for state in OperationState}


def marks(operation: Operation) -> tuple[Mark, ...]:
    """Every mark of an operation. What is over counts no more, however late it was."""
    state = STATES[operation.state]
    if operation.ended_at is not None:
        return (state,)
    item = operation.current
    found = [state]
    if operation.clock is not None:
        found += _of_clock(operation.clock, "")
    if item is None:
        return tuple(found)
    name = item.definition.name
    if item.clock is not None:
        found += _of_clock(item.clock, name)
    if item.is_unattended:
        found.append(Mark(Gauged.UNATTENDED, name))
    if item.state is StepState.STALLED:
        found.append(Mark(Gauged.STALLED, name))
    elif item.state is CheckpointState.PENDING and isinstance(item, CheckpointItem):
        found.append(Mark(Gauged.PENDING, name, item.definition.role))
    return tuple(found)


def marks_of_alarms(alarms: str) -> Iterator[Mark]:
    """The marks among the alarms of a summary, {"breached": ["eligibility_check"]}."""
    for word, names in json.loads(alarms).items():
        for name in names:
            yield Mark(Gauged(word), name)


def _of_clock(clock: SlaClock, name: str) -> tuple[Mark, ...]:
    """Breached or at risk, not both: an alert should say the worse thing once."""
    if clock.is_breached:
        return (Mark(Gauged.BREACHED, name),)
    return (Mark(Gauged.AT_RISK, name),) if clock.is_at_risk else ()
