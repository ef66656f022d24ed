"""An account as it is handed out: sentences for people, and the same facts for machines. Times in microseconds."""

from __future__ import annotations

from dataclasses import dataclass

from hmsactd.account.spoken import Spoken
from hmsactd.core.principal import Principal


@dataclass(frozen=True, slots=True)
class Entry:
    """Events that are told together. `kind` and `at` are those of the last; many sequences lack some in the middle."""

    sentence: str
    at: int
    kind: str
    name: str
    instance: int
    sequences: tuple[int, ...]
    sequences_left_out: int


@dataclass(frozen=True, slots=True)
class Wait:
    """What an open operation waits for; `who` is a service or a role, `excluded` and `started_for` may not decide."""

    kind: str
    who: str = ""
    name: str = ""
    instance: int = 0
    since: int | None = None
    due_at: int | None = None
    overdue_ms: int = 0
    attempt: int = 0
    retry_at: int | None = None
    claimed_by: str | None = None
    assigned_to: str | None = None
    excluded: str | None = None
    started_for: str | None = None
    workers: int | None = None
    heard_at: int | None = None
    completion_due_at: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody decided at a checkpoint, or did as an operator, who has no `role`, `since` and `digest`."""

    kind: str
    name: str
    instance: int
    by: Principal
    at: int
    sequence: int
    words: Spoken
    role: str = ""
    since: int | None = None
    digest: str = ""
    is_unseen: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong and was noticed at `at`, `late_ms` after it was due; open while it is so."""

    kind: str
    name: str
    instance: int
    by: Principal
    at: int
    sequence: int
    is_open: bool
    due_at: int | None = None
    late_ms: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """Everything that is told of an operation."""

    headline: str
    entries: tuple[Entry, ...]
    wait: Wait | None
    due_at: int | None
    decisions: tuple[Decision, ...]
    decisions_left_out: int
    problems: tuple[Problem, ...]
    problems_left_out: int
