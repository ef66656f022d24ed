"""Whether a history could have come about by the rules: every event is decided once more from what was there before it.

Replay asks nothing, because what is on the timeline has happened. Here it is asked: whether the one who approved was
allowed to, whether a breach was left out, whether anything moved after the end. By the rules of this version; what
the record doesn't hold (how long a service wished to be left alone, which roles an assignee had) is taken as told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from hmsactd.core import events as e
from hmsactd.core import inputs as i
from hmsactd.core.apply import apply
from hmsactd.core.decide import decide
from hmsactd.core.operation import CheckpointItem, Operation
from hmsactd.core.principal import Principal, PrincipalKind
from hmsactd.core.rejected import Rejected


@dataclass(frozen=True, slots=True)
class Illegal:
    """The first event, by sequence, that could not have happened, and why."""

    sequence: int
    sentence: str


def first_illegal(history: Sequence[e.Event], *, is_whole: bool = True) -> Illegal | None:
    """The first event of a timeline that the rules do not allow; None if they allow all.

    Of a timeline that is not whole, events are known from its start up to some place, maybe in the middle of a
    decision: what should follow there isn't missed.
    """
    operation: Operation | None = None
    done = 0
    while done < len(history):
        decided = _decided_again(operation, history[done:], is_whole)
        if isinstance(decided, str):
            return Illegal(done + 1, decided)
        for event in history[done : done + decided]:
            operation = apply(operation, event)
        done += decided
    return None


def _decided_again(operation: Operation | None, ahead: Sequence[e.Event], is_whole: bool) -> int | str:
    """How many of the events ahead one decision explains, or why the first of them can't be explained."""
    first = ahead[0]
    if operation is not None and first.at < operation.updated_at:
        return f"{first.kind} is earlier than the event before it"
    why = f"nothing that can be told to the operation leads to {first.kind} here"
    for told in _could_have_been_told(operation, first):
        try:
            expected = decide(operation, told, first.at).events
        except Rejected as rejected:
            why = rejected.sentence
            continue
        if not expected:
            continue
        difference = _difference(expected if is_whole else expected[: len(ahead)], ahead)
        if difference is None:
            return min(len(expected), len(ahead))
        why = difference
    return why


def _difference(expected: Sequence[e.Event], ahead: Sequence[e.Event]) -> str | None:
    """What is not as decided; None if the events ahead begin with what is expected."""
    for index, event in enumerate(expected):
        if index >= len(ahead):
            return f"{event.kind} should follow and is missing"
        if _comparable(event) != _comparable(ahead[index]):
            found = ahead[index]
            if found.kind != event.kind:
                return f"{event.kind} should be there, not {found.kind}"
            return f"{found.kind} does not say what the rules lead to"
    return None


def _comparable(event: e.Event) -> e.Event:
    """The event without what only the record knows: the retry time, since a service may have wished for a later one."""
    if isinstance(event, e.StepFailed) and event.retry_at is not None:
        return replace(event, retry_at=event.at)
    return event


def _could_have_been_told(operation: Operation | None, event: e.Event) -> Iterator[i.Input]:
    """What may have led to an event, the likelier first. None for events that only ever follow from others."""
    by = event.by
    name = operation.name_of(event.instance) if operation is not None and hasattr(event, "instance") else ""
    match event:
        case e.OperationStarted():
            yield i.Start(by, event.flow, event.input, event.labels, event.key, event.requested_by, event.reason)
        case e.StepStarted():
            yield i.StepTaken(by, event.instance, event.attempt, event.session)
        case e.StepDone():
            told = i.CompleteStep if event.via else i.StepSucceeded
            yield told(by, event.instance, event.attempt, event.output)
        case e.StepDeferred():
            yield i.StepDeferred(by, event.instance, event.attempt)
            if event.due_at is not None:
                yield i.StepDeferred(by, event.instance, event.attempt, (event.due_at - event.at) // 1000)
        case e.StepFailed():
            yield from _could_have_failed(event)
        case e.StepLost():
            yield i.WorkerLost(by, event.instance, event.attempt)
        case e.StepReportIgnored() if event.via:
            code = event.code if event.output is None else ""
            yield i.NoteLateCompletion(by, event.instance, event.attempt, event.output, code, event.error)
        case e.StepReportIgnored():
            if event.output is not None:
                yield i.StepSucceeded(by, event.instance, event.attempt, event.output)
            else:
                yield i.StepErred(by, event.instance, event.attempt, event.code, error=event.error)
        case e.StepQueued() | e.SlaAtRisk() | e.SlaBreach():
            yield i.TimerDue(by)
        case e.Unattended():
            yield i.TimerDue(by)
            yield i.NobodyEntitled(by, event.instance)
        case e.StepRetried():
            yield i.RetryStep(by, name, event.reason, job=event.job)
        case e.StepSkipped():
            yield i.SkipStep(by, name, event.reason)
        case e.CheckpointClaimed():
            yield i.Claim(by, name, event.reason)
        case e.CheckpointReleased():
            yield i.Release(by, name, event.reason)
        case e.CheckpointAssigned():
            yield i.Assign(by, name, _assignee(operation, event), event.reason)
        case e.CheckpointApproved():
            yield i.Decide(by, name, is_approval=True, seen=event.seen, comment=event.comment)
        case e.CheckpointRejected():
            yield i.Decide(by, name, is_approval=False, seen=event.seen, comment=event.comment)
        case e.DecisionRefused():
            yield i.NoteRefusal(by, name, event.code)
        case e.OperationPaused():
            yield i.Pause(by, stop_clock=event.clock == "stop", reason=event.reason, job=event.job)
        case e.OperationResumed():
            yield i.Resume(by, event.reason, job=event.job)
        case e.OperationCancelled():
            yield i.Cancel(by, event.reason, job=event.job)
        case (
            e.StepStalled()
            | e.CheckpointPending()
            | e.OperationCompleted()
            | e.OperationRejected()
            | e.OperationFailed()
        ):
            return
        case _:
            assert_never(event)


def _could_have_failed(event: e.StepFailed) -> Iterator[i.Input]:
    by, instance, attempt = event.by, event.instance, event.attempt
    if by.kind is PrincipalKind.SYSTEM:
        yield i.TimerDue(by)
        yield i.HeartbeatMissed(by, instance, attempt)
        yield i.WorkerLost(by, instance, attempt)
    for is_permanent in (False, True):
        if event.via:
            yield i.CompleteStep(by, instance, attempt, None, event.code, is_permanent, event.error)
        else:
            yield i.StepErred(by, instance, attempt, event.code, is_permanent, event.error)


def _assignee(operation: Operation | None, event: e.CheckpointAssigned) -> Principal:
    """The person, with the role that the directory must have known them by."""
    item = operation.item(event.instance) if operation is not None else None
    roles = (item.definition.role,) if isinstance(item, CheckpointItem) else ()
    issuer, _, subject = event.person.partition(":")
    return Principal(PrincipalKind.PERSON, issuer, subject, roles)
