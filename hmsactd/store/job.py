"""Jobs as they are kept, and what is written of them. What a job does is not known here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

AHEAD: Final = "ahead"
"""The outcome of an operation whose turn has not come."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job: who wants what done to which operations, and how far it has come.

    `starter` is "issuer:subject" and `principal` the whole of them, as JSON; `request_id` (maybe empty) and `digest`
    are those of the request that began it; `said` is what they said in their own words, encrypted. `expected`
    operations matched when it began, or at least so many. `listed` ones have a result row, those before `after` in the
    order of starts; `is_listed` is true when there are no more to come.
    """

    namespace: str
    job: str
    action: str
    state: str
    starter: str
    principal: str
    request_id: str
    digest: str
    said: bytes
    started_at: int
    updated_at: int
    ended_at: int | None = None
    expected: int = 0
    is_exact: bool = True
    after_at: int | None = None
    after_number: int | None = None
    is_listed: bool = False
    listed: int = 0
    done: int = 0
    skipped: int = 0
    refused: int = 0
    ended_by: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ResultRow:
    """An operation's turn in a job, from 1: what became of it, where that left the operation, or why it was not done.

    `sequence` is that of the event that was recorded; 0 if none was.
    """

    namespace: str
    job: str
    number: int
    operation: str
    outcome: str = AHEAD
    at: int | None = None
    state: str = ""
    revision: int = 0
    sequence: int = 0
    reason: str = ""
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class JobChange:
    """How a job now stands, and which results are new or changed."""

    job: JobRow
    results: tuple[ResultRow, ...] = ()


@dataclass(frozen=True, slots=True)
class JobForgotten:
    """A job that is no longer kept: so many of its results go at a time, and with the last of them the job itself."""

    namespace: str
    job: str
    results_max: int


JobWrite = JobChange | JobForgotten
