"""Which times an operation waits for, and which of them comes first."""

from __future__ import annotations

from enum import Enum, auto

from hmsactd.core.operation import Operation, StepItem
from hmsactd.core.transitions import StepState
from hmsactd.value import value


class Alarm(Enum):
    """What a due time is for. Of several at the same instant, the one named first here is dealt with first."""

    AT_RISK = auto()
    BREACH = auto()
    TIMEOUT = auto()
    RETRY = auto()
    UNATTENDED = auto()


@value(frozen=True, slots=True)
class Due:
    """A time, what it is for, and which item (0: the operation itself)."""

    at: int
    alarm: Alarm
    instance: int


def next_due(operation: Operation) -> Due | None:
    """The earliest time at which the operation must be looked at, whatever else happens."""
    dues = _dues(operation)
    return min(dues, key=_when) if len(dues) > 1 else dues[0] if dues else None


def next_to_settle(operation: Operation, now: int) -> Due | None:
    """What is to be dealt with first of all that is due by `now`.

    SLAs come before the rest: dealt with late, a timeout could end the work, or stop its clock, while a breach that
    everybody can read off the record was still to be said.
    """
    due_by_now = [due for due in _dues(operation) if due.at <= now]
    # Asked before everything that is told, and almost always in vain.
    return min(due_by_now, key=lambda due: (due.alarm not in _SLA, *_when(due))) if due_by_now else None


_SLA = (Alarm.AT_RISK, Alarm.BREACH)


def _when(due: Due) -> tuple[int, int]:
    return due.at, due.alarm.value


def _dues(operation: Operation) -> list[Due]:
    if operation.is_final:
        return []
    found: list[Due] = []
    clock = operation.clock
    if clock is not None and (at := clock.next_due) is not None:
        found.append(Due(at, Alarm.BREACH if clock.is_at_risk else Alarm.AT_RISK, 0))
    item = operation.current
    if item is not None:
        clock = item.clock
        if clock is not None and (at := clock.next_due) is not None:
            found.append(Due(at, Alarm.BREACH if clock.is_at_risk else Alarm.AT_RISK, item.instance))
        if isinstance(item, StepItem) and (step_due := _step_due(operation, item)) is not None:
            found.append(step_due)
    return found


def _step_due(operation: Operation, item: StepItem) -> Due | None:
    definition = item.definition
    match item.state:
        case StepState.RUNNING if item.deferred_at is not None:
            at = item.completion_due_at
            return Due(at, Alarm.TIMEOUT, item.instance) if at is not None else None
        case StepState.RUNNING if definition.timeout_ms is not None:
            return Due(item.since + definition.timeout_ms * 1000, Alarm.TIMEOUT, item.instance)
        case StepState.RETRYING if operation.pause is None and item.retry_at is not None:
            return Due(item.retry_at, Alarm.RETRY, item.instance)
        case StepState.QUEUED if operation.pause is None and not item.is_unattended:
            return Due(item.since + definition.unattended_ms * 1000, Alarm.UNATTENDED, item.instance)
        case _:
            return None
