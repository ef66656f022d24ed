"""Accounts: what has happened to an operation in plain words, and the same in facts. The words are the daemon's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hmsact.plain import plain, time_of, time_or_none, word
from hmsact.principal import Principal, principal_of
from hmsact.recorded import state_of
from hmsact.v1 import account_pb2


@dataclass(frozen=True, slots=True)
class AccountEntry:
    """Events that are told together. `time` and `kind` are those of the last; `name` is the step or checkpoint.

    `sequences` are those of the events; of very many, `sequences_left_out` in the middle are not there.
    """

    sentence: str
    time: datetime
    kind: str
    name: str
    instance: int
    sequences: tuple[int, ...]
    sequences_left_out: int


@dataclass(frozen=True, slots=True)
class Wait:
    """What an operation waits for.

    `kind` is "worker", "report", "completion", "decision", "operator", "clock", "resume" or empty; `who` the service or
    the role, `name` the step or checkpoint. `due_time` is when that is, or was, due, `overdue_ms` how long it has been.
    `claimed_by`, `assigned_to`, `excluded` and `started_for` (who may not decide, because they started the operation or
    had it started) are "issuer:subject". `workers` is how many are connected, None unless one is awaited; `heard_time`
    the last sign of life of the worker that has the step; `completion_due_time` by when a step that was deferred has to
    be completed.
    """

    kind: str
    who: str
    name: str
    instance: int
    since_time: datetime | None
    due_time: datetime | None
    overdue_ms: int
    attempt: int
    retry_time: datetime | None
    claimed_by: str
    assigned_to: str
    excluded: str
    workers: int | None
    heard_time: datetime | None
    completion_due_time: datetime | None
    started_for: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody decided at a checkpoint, or did as an operator. `kind` is that of its event.

    `words` are the comment or the reason; `words_state` is "shown", "erased", "withheld", or empty if nothing was said.
    `role`, `since_time` and `digest` (of what was shown) belong to checkpoints; `unseen` decisions do not name it.
    """

    kind: str
    name: str
    instance: int
    principal: Principal
    role: str
    time: datetime
    since_time: datetime | None
    words: str
    words_state: str
    digest: str
    unseen: bool
    sequence: int


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, when it was noticed and by whom. `kind` is that of its event, such as "sla_breach".

    `due_time` is the time that was missed (None for a stall), `late_ms` how much later it was noticed.
    """

    kind: str
    name: str
    instance: int
    due_time: datetime | None
    noticed_time: datetime
    late_ms: int
    principal: Principal
    is_open: bool
    sequence: int


class Account:
    """What has happened to an operation, who decided, what is awaited, since when and by when. `print` tells it.

    `headline` says how it stands, `entries` what has happened. `wait` is None once the operation is final. `decisions`
    and `problems` are the last hundred of each. `sequence` is that of the last event that is told of, `time` when the
    account was made; `time_zone` is that of the sentences, all other times are in UTC.
    """

    def __init__(self, message: account_pb2.Account) -> None:
        self._message = message
        self.operation_id = message.operation_id
        self.name = message.name
        self.state = state_of(message.state)
        self.headline = message.headline
        self.entries: tuple[AccountEntry, ...] = tuple(map(_entry, message.entries))
        self.wait: Wait | None = _wait(message.wait) if message.HasField("wait") else None
        self.decisions: tuple[Decision, ...] = tuple(map(_decision, message.decisions))
        self.decisions_left_out = message.decisions_left_out
        self.problems: tuple[Problem, ...] = tuple(map(_problem, message.problems))
        self.problems_left_out = message.problems_left_out
        self.sequence = message.sequence
        self.time: datetime = time_of(message.time)
        self.time_zone = message.time_zone
        self.due_time: datetime | None = time_or_none(message, "due_time")

    def as_json(self) -> dict[str, Any]:
        """The account as a value that can be written as JSON."""
        return plain(self._message)

    def __str__(self) -> str:
        return "\n".join([self.headline, "", *(entry.sentence for entry in self.entries)])

    def __repr__(self) -> str:
        return f"<Account of {self.operation_id}: {self.state}>"


def _entry(message: account_pb2.AccountEntry) -> AccountEntry:
    return AccountEntry(
        sentence=message.sentence,
        time=time_of(message.time),
        kind=message.kind,
        name=message.name,
        instance=message.instance,
        sequences=tuple(message.sequences),
        sequences_left_out=message.sequences_left_out,
    )


def _wait(message: account_pb2.AccountWait) -> Wait:
    return Wait(
        kind=message.kind,
        who=message.who,
        name=message.name,
        instance=message.instance,
        since_time=time_or_none(message, "since_time"),
        due_time=time_or_none(message, "due_time"),
        overdue_ms=message.overdue_ms,
        attempt=message.attempt,
        retry_time=time_or_none(message, "retry_time"),
        claimed_by=message.claimed_by,
        assigned_to=message.assigned_to,
        excluded=message.excluded,
        started_for=message.started_for,
        workers=message.workers if message.HasField("workers") else None,
        heard_time=time_or_none(message, "heard_time"),
        completion_due_time=time_or_none(message, "completion_due_time"),
    )


def _decision(message: account_pb2.AccountDecision) -> Decision:
    return Decision(
        kind=message.kind,
        name=message.name,
        instance=message.instance,
        principal=principal_of(message.principal),
        role=message.role,
        time=time_of(message.time),
        since_time=time_or_none(message, "since_time"),
        words=message.words,
        words_state=word(account_pb2.WordsState.DESCRIPTOR, message.words_state),
        digest=message.digest,
        unseen=message.unseen,
        sequence=message.sequence,
    )


def _problem(message: account_pb2.AccountProblem) -> Problem:
    return Problem(
        kind=message.kind,
        name=message.name,
        instance=message.instance,
        due_time=time_or_none(message, "due_time"),
        noticed_time=time_of(message.noticed_time),
        late_ms=message.late_ms,
        principal=principal_of(message.principal),
        is_open=message.is_open,
        sequence=message.sequence,
    )
