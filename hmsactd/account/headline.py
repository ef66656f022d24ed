"""The headline of an account: how an operation stands, since when, what is awaited of whom, by when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import assert_never

from hmsactd.account.account import Wait
from hmsactd.account.attended import Attended
from hmsactd.account.mishaps import mishap
from hmsactd.account.spoken import Said, SpokenState, quote
from hmsactd.account.tale import Kept, Tale
from hmsactd.account.words import Times, a_role, actor, counted, name_of, ordinal, person, span
from hmsactd.core import events as e
from hmsactd.core.clock import SlaClock
from hmsactd.core.operation import CheckpointItem, Item, Operation, StepItem
from hmsactd.core.transitions import CheckpointState, StepState


def wait_of(operation: Operation, attended: Attended, now: int) -> Wait | None:
    """What an operation waits for; None once it is final."""
    item = operation.current
    if operation.is_final:
        return None
    if item is None:
        return Wait("")
    name, due_at = item.definition.name, item.clock.due_at if item.clock is not None else None
    at = Wait("", "", name, item.instance, item.since or None, due_at, _overdue_ms(due_at, now))
    if operation.pause is not None:
        return replace(at, kind="resume", since=operation.pause.at)
    match item:
        case StepItem():
            at = replace(at, who=item.definition.svc, attempt=item.attempt)
            match item.state:
                case StepState.QUEUED:
                    return replace(at, kind="worker", workers=attended.workers)
                case StepState.RUNNING if item.deferred_at is not None:
                    return replace(
                        at, kind="completion", since=item.deferred_at, completion_due_at=item.completion_due_at
                    )
                case StepState.RUNNING:
                    return replace(at, kind="report", heard_at=attended.heard_at)
                case StepState.RETRYING:
                    return replace(at, kind="clock", retry_at=item.retry_at)
                case StepState.STALLED:
                    return replace(at, kind="operator")
                case StepState.AHEAD | StepState.DONE | StepState.FAILED | StepState.SKIPPED:
                    return at
                case _:
                    assert_never(item.state)
        case CheckpointItem():
            at = replace(at, who=item.definition.role)
            if item.state is not CheckpointState.PENDING:
                return at
            return replace(
                at,
                kind="decision",
                claimed_by=item.claimed_by,
                assigned_to=item.assigned_to,
                excluded=operation.started_by.person,
                started_for=operation.started_by.on_behalf_of,
            )
        case _:
            assert_never(item)


class Headline:
    """Finds the words for the state of one operation, at a time."""

    def __init__(self, tale: Tale, said: Said, when: Times, now: int) -> None:
        self._tale = tale
        self._operation = tale.operation
        self._said = said
        self._when = when
        self._now = now

    def of(self, wait: Wait | None) -> str:
        """What is said first."""
        subject = f"The operation {name_of(self._operation.flow.name)}{self._key()}"
        if wait is None:
            return f"{subject} {self._ended()}."
        item = self._operation.current
        parts = [f"{subject} is {self._operation.state.value}{self._awaited(wait)}.", *self._more(wait, item)]
        if item is not None:
            parts += [self._due("It", item.clock)]
        parts += [self._due("The operation as a whole", self._operation.clock)]
        return " ".join(filter(None, parts))

    def _key(self) -> str:
        start = self._tale.start
        key = self._said.of(start.sequence, "key", getattr(start.event, "key", None))
        return f" (key {quote(key.text)})" if key.state is SpokenState.SHOWN else ""

    # -- while it is open ----------------------------------------------------------------------------------------------

    def _awaited(self, wait: Wait) -> str:
        name = name_of(wait.name)
        since = self._when.on(wait.since if wait.since is not None else self._now)
        match wait.kind:
            case "resume":
                return f": {self._paused(since)}"
            case "worker":
                return f": since {since}, {name} has been waiting for {wait.who} to take it"
            case "report":
                attempt = f" ({ordinal(wait.attempt)} attempt)" if wait.attempt > 1 else ""
                return f": since {since}, {wait.who} has been working on {name}{attempt}"
            case "completion":
                return f": since {since}, {wait.who} has been working on {name}, and will say later what came of it"
            case "clock":
                return f": {name} went wrong at {wait.who} at {since}, and is tried again"
            case "operator":
                by = f"which {wait.who} could not do"
                return (
                    f": since {since}, {name}, {by}, has needed an operator, who retries it, leaves it out or cancels"
                )
            case "decision":
                return f": since {since}, {a_role(wait.who)} has been asked to decide {name}"
            case _:
                return f" and goes on to {name}" if wait.name else ""

    def _paused(self, since: str) -> str:
        kept = self._tale.pause
        assert kept is not None, "what is paused was paused by somebody"
        return f"{actor(kept.event.by)} paused it at {since}{self._reason(kept)}"

    def _more(self, wait: Wait, item: Item | None) -> Iterator[str]:
        """What else helps whoever waits, a sentence each."""
        match wait.kind, item:
            case "resume", StepItem(state=StepState.RUNNING, definition=definition):
                yield f"{definition.svc} may finish {name_of(definition.name)}."
                yield "Nothing else begins until it is resumed."
            case "resume", _:
                yield "Nothing begins until it is resumed."
            case "worker", _ if wait.workers is not None:
                yield _connected(wait.workers)
            case "report", _ if wait.heard_at is not None:
                yield f"A sign of life came at {self._when.at(wait.heard_at)}."
            case "completion", _ if wait.completion_due_at is not None:
                yield f"It has until {self._when.at(wait.completion_due_at)}; then it is asked again."
            case "clock", StepItem(definition=definition, failures=failures) if wait.retry_at is not None:
                retry = f"retry {failures} of {definition.retries}"
                yield f"The next attempt is at {self._when.at(wait.retry_at)}, {retry}."
            case "decision", CheckpointItem(is_unattended=is_unattended):
                yield from self._decider(wait)
                if is_unattended:
                    yield "Nobody is known who may decide it."
            case _:
                pass

    def _decider(self, wait: Wait) -> Iterator[str]:
        if wait.claimed_by is not None:
            yield f"{person(wait.claimed_by)} has taken it on."
        elif wait.assigned_to is not None:
            yield f"It is assigned to {person(wait.assigned_to)}."
        if wait.excluded is not None:
            starter = self._operation.started_by
            who = "who" if wait.excluded == starter.id else f"for whom {starter.subject}"
            yield f"{person(wait.excluded)}, {who} started the operation, may not decide it."
        if wait.started_for is not None:
            yield f"{person(wait.started_for)}, on whose behalf the operation was started, may not decide it."

    def _due(self, what: str, clock: SlaClock | None) -> str:
        if clock is None:
            return ""
        due_at, allowed = clock.due_at, span(clock.budget_ms)
        if due_at is None:
            used = span(clock.used_us // 1000)
            return f"{what} had {allowed}, of which {used} were used up when its clock was stopped."
        if due_at <= self._now:
            return f"{what} was due at {self._when.at(due_at)} and is {span(_overdue_ms(due_at, self._now))} overdue."
        return f"{what} is due at {self._when.at(due_at)}."

    # -- once it is final ----------------------------------------------------------------------------------------------

    def _ended(self) -> str:
        end = self._tale.end
        assert end is not None, "what is final has ended"
        at = f"at {self._when.on(end.event.at)}"
        after = f", {span((end.event.at - self._operation.started_at) // 1000)} after it was started"
        match end.event:
            case e.OperationCompleted():
                return f"was completed {at}{after}"
            case e.OperationRejected():
                return f"was rejected {at}{after}{self._rejected(end.event)}"
            case e.OperationFailed():
                return f"has failed, {at}{after}{self._failed(end.event)}"
            case e.OperationCancelled():
                return f"was cancelled {at}{after}, by {actor(end.event.by)}{self._reason(end)}"
            case _:
                raise AssertionError(f"{end.event.kind} ends nothing")

    def _rejected(self, end: e.OperationRejected) -> str:
        kept = self._tale.decisions[-1]
        assert isinstance(kept.event, e.CheckpointRejected), "a rejection is somebody's"
        comment = self._said.of(kept.sequence, "comment", kept.event.comment).quoted("comment")
        return f", when {actor(kept.event.by)} decided against {self._name(end.instance)}{comment}"

    def _failed(self, end: e.OperationFailed) -> str:
        item, failure = self._operation.item(end.instance), self._tale.failure
        assert isinstance(item, StepItem), "an operation fails at a step"
        assert failure is not None, "an operation fails because a step has"
        why = mishap(item.definition.svc, *failure, self._said)
        return f", because {self._name(end.instance)} went wrong at {item.definition.svc}, which {why}"

    def _name(self, instance: int) -> str:
        return name_of(self._operation.name_of(instance))

    def _reason(self, kept: Kept) -> str:
        return self._said.of(kept.sequence, "reason", getattr(kept.event, "reason", None)).quoted("reason")


def _connected(workers: int) -> str:
    if not workers:
        return "No worker that could take it is connected."
    return f"{counted(workers, 'worker that could take it is', 'workers that could take it are')} connected, none free."


def _overdue_ms(due_at: int | None, now: int) -> int:
    return max(0, now - due_at) // 1000 if due_at is not None else 0
