"""What every store does, and the rows that pass in and out of it.

All writing goes through `write`, one batch at a time. Times are microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from hmsactd.store.condition import Condition
from hmsactd.store.job import JobRow, JobWrite, ResultRow
from hmsactd.store.rollback import Rollback
from hmsactd.store.where import EVERYTHING, Order, Where
from hmsactd.store.words import words_of
from hmsactd.value import value


@value(frozen=True, slots=True)
class Summary:
    """Where an operation stands, for lists and for waking it up.

    What it was born with (definition, digest, started_at, started_by, person, on_behalf_of, key, labels, requested_by)
    is kept from its first append; later values of these are not looked at.
    """

    namespace: str
    operation: str
    definition: str
    digest: str
    state: str
    revision: int
    sequence: int
    started_at: int
    updated_at: int
    ended_at: int | None = None
    due_at: int | None = None
    awaits: str = ""  # worker, report, decision, operator, clock, or nothing
    awaits_who: str = ""
    awaits_name: str = ""
    awaits_instance: int = 0
    awaits_since: int | None = None
    session: str | None = None
    claimed_by: str | None = None
    assigned_to: str | None = None
    alarms: str | None = None
    started_by: str = ""
    key: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    requested_by: str | None = None
    person: str | None = None  # who started it, or who is responsible for the agent that did
    on_behalf_of: str | None = None  # the person a program started it for, who had signed in

    @property
    def people(self) -> tuple[str, ...]:
        """Whose doing it is that it was started."""
        return tuple(who for who in (self.person, self.on_behalf_of) if who is not None)

    @property
    def is_requester_verified(self) -> bool:
        """True if `requested_by` is who had signed in, and not what the starter said in words of their own."""
        return self.requested_by is not None and self.requested_by == self.on_behalf_of

    @property
    def words(self) -> str:
        """The words it is found by. An id of a person who had signed in is none of them: each begins with https."""
        requested_by = None if self.is_requester_verified else self.requested_by
        return words_of(self.key, requested_by, [value for _, value in self.labels])


# Not frozen: made thousands of times a second, and a frozen one takes several times as long to make.
@dataclass(slots=True)
class EventRow:
    """A record, its place in the log and on its timeline, and its hash."""

    index: int
    sequence: int
    record: bytes
    leaf: bytes


# Not frozen: made thousands of times a second, and a frozen one takes several times as long to make.
@dataclass(slots=True)
class LogRow:
    """A record as it stands in the log, and whose it is."""

    index: int
    namespace: str
    operation: str
    sequence: int
    record: bytes
    leaf: bytes


# Not frozen: made thousands of times a second, and a frozen one takes several times as long to make.
@dataclass(slots=True)
class PayloadRow:
    """An encrypted payload of a record."""

    sequence: int
    name: str
    sealed: bytes


@value(frozen=True, slots=True)
class RequestRow:
    """What became of a request that carried an id. `principal` is "issuer:subject"; `digest` is that of its content."""

    namespace: str
    principal: str
    rpc: str
    request_id: str
    digest: str
    operation: str
    sequence: int
    state: str
    revision: int


@value(frozen=True, slots=True)
class NodeRow:
    """An inner node of the log's tree."""

    level: int
    position: int
    hash: bytes


# Not frozen: made thousands of times a second, and a frozen one takes several times as long to make.
@dataclass(slots=True)
class Append:
    """What one operation adds. It is kept only if `after` and `head` are its last sequence and leaf as kept."""

    namespace: str
    operation: str
    after: int
    head: bytes | None
    events: tuple[EventRow, ...]
    summary: Summary
    before: Summary | None
    payload_key: bytes | None
    payloads: tuple[PayloadRow, ...] = ()
    requests: tuple[RequestRow, ...] = ()


@value(frozen=True, slots=True)
class Batch:
    """What is written at once: the appends, the tree above them and the seal over it; and what has become of jobs."""

    epoch: int
    size_before: int
    size: int
    appends: tuple[Append, ...]
    nodes: tuple[NodeRow, ...]
    seal: str
    jobs: tuple[JobWrite, ...] = ()


@value(frozen=True, slots=True)
class Birth:
    """The identity that a log gets if there is none yet."""

    origin: str
    verifier_key: str


@value(frozen=True, slots=True)
class Log:
    """The log as kept: who it is, how far it goes, and the seal over that."""

    origin: str
    verifier_key: str
    epoch: int
    size: int
    seal: str | None


@value(frozen=True, slots=True)
class Kept:
    """An operation as kept: its summary, the leaf of its last record, its wrapped payload key unless erased."""

    summary: Summary
    head: bytes
    payload_key: bytes | None


@value(frozen=True, slots=True)
class History:
    """An operation as kept, and the first of its records, in order."""

    kept: Kept
    records: tuple[bytes, ...]


Position = tuple[int, int]
"""Where an operation stands in an order: the time that it is ordered by, and its number."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of operations, each with its position, and where to go on; None if there is nothing beyond.

    A page is what a bounded amount of looking has found: it may be short, or empty, and yet have something beyond.
    """

    found: tuple[tuple[Position, Summary], ...]
    beyond: Position | None = None

    def __iter__(self) -> Iterator[Summary]:
        return (summary for _, summary in self.found)

    def __len__(self) -> int:
        return len(self.found)


@dataclass(frozen=True, slots=True)
class Counted:
    """How many operations there are, and how many in each group; at least so many if it is not exact."""

    count: int
    is_exact: bool = True
    groups: tuple[tuple[str, int], ...] = ()


class By(StrEnum):
    """What operations are counted by. Only what awaits a role, or a service, is counted by that."""

    STATE = "state"
    DEFINITION = "definition"
    ROLE = "role"
    SERVICE = "service"


@value(frozen=True, slots=True)
class Due:
    """An operation that wants to be woken, and its number, by which those of one instant have an order."""

    namespace: str
    operation: str
    due_at: int
    number: int


@value(frozen=True, slots=True)
class Queued:
    """A step that awaits a worker."""

    namespace: str
    operation: str
    step: str
    instance: int
    since: int


@value(frozen=True, slots=True)
class QueueSize:
    """How many steps of a service await a worker, and since when the oldest does."""

    namespace: str
    svc: str
    count: int
    oldest_since: int


@value(frozen=True, slots=True)
class PendingSize:
    """How many decisions a role owes at a checkpoint of a definition, and since when the oldest is awaited."""

    namespace: str
    definition: str
    checkpoint: str
    role: str
    count: int
    oldest_since: int


@value(frozen=True, slots=True)
class Call:
    """An attempt that a worker's session has in hand."""

    namespace: str
    operation: str
    session: str


@value(frozen=True, slots=True)
class Tally:
    """How many operations of a definition are in a state."""

    namespace: str
    definition: str
    state: str
    count: int


ID_PREFIX = "op_"

IDS_LOOKED_AT_MAX = 500_000
"""Ids that are looked at for one that has a part in the middle or at the end; about 0.1 s."""


class Store(Protocol):
    """Keeps everything. One process writes; reads are short and may run beside the writing."""

    condition: Condition
    """Whether it can write. Whoever writes says so."""

    async def open(self, birth: Birth) -> Log:
        """Opens what is there, or begins it as `birth` says, and begins a new epoch; raises DataRefused."""
        ...

    async def reopen(self) -> Log:
        """After a failed write: opens anew, in the same epoch, and says how far the log goes now."""
        ...

    async def probe(self) -> None:
        """Writes a little, and returns if that has been kept; raises Unavailable. Belongs to whoever writes."""
        ...

    async def begin_incarnation(self, rollback: Rollback) -> Log:
        """Puts it on the record that the log goes on from an older state, in epochs that it never had."""
        ...

    async def rollbacks(self) -> list[Rollback]:
        """Returns what was put on the record so, in order."""
        ...

    async def close(self) -> None:
        """Closes; what was being written is finished first."""
        ...

    async def write(self, batch: Batch) -> dict[int, Exception]:
        """Writes a batch, or nothing.

        Returns, by position in `batch.appends`, why some can't be written: Fenced, or what is wrong with their rows;
        if there are any, nothing was written. Raises Fenced if another process has the log, Unavailable if it isn't
        known what was written.
        """
        ...

    async def erase(self, namespace: str, operation: str) -> bool:
        """Forgets the payload key, payloads, labels, business key and requester of an operation for good."""
        ...

    async def kept(self, namespace: str, operation: str) -> Kept | None:
        """Returns an operation as kept."""
        ...

    async def histories(
        self, places: Sequence[tuple[str, str]], records_max: int, bytes_max: int
    ) -> list[History | None]:
        """Returns operations, by (namespace, operation), each with up to so many records; None if there is none.

        It answers for the first of them only when more would have more than `bytes_max`, but at least for one.
        """
        ...

    async def records(
        self,
        namespace: str,
        operation: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 500,
        backwards: bool = False,
    ) -> list[EventRow]:
        """Returns records with `after` < sequence < `before`, in order, or the last ones first."""
        ...

    async def log(self, start: int, end: int, bytes_max: int) -> list[LogRow]:
        """Returns the records of all operations from index `start` to before `end`, in the order of the log.

        It returns fewer when more of them would have more than `bytes_max`, but at least one if there is one.
        """
        ...

    async def payloads(self, namespace: str, operation: str, sequences: Sequence[int]) -> list[PayloadRow]:
        """Returns the encrypted payloads of some records."""
        ...

    async def leaves(self, start: int, end: int) -> list[bytes]:
        """Returns the leaves of the log from index `start` to before `end`."""
        ...

    async def entries(self, start: int, end: int) -> list[EventRow]:
        """Returns the records of the log from index `start` to before `end`."""
        ...

    async def wrapped_key(self) -> tuple[str, str, bytes] | None:
        """Returns a wrapped payload key with its namespace and operation, if any is kept."""
        ...

    async def nodes(self, level: int, start: int, end: int) -> list[bytes]:
        """Returns the kept inner nodes of a level from position `start` to before `end`."""
        ...

    async def seal_over(self, index: int) -> str | None:
        """Returns the first seal that covers an index of the log."""
        ...

    async def seals(self, after: int, limit: int) -> list[tuple[int, str]]:
        """Returns a page of seals over more than `after` records, each with how many, in order."""
        ...

    async def seal_within(self, after: int, until: int) -> tuple[int, str] | None:
        """Returns the last seal over more than `after` and at most `until` records, and over how many it is."""
        ...

    async def last_seal(self) -> str | None:
        """Returns the newest seal."""
        ...

    async def summary(self, namespace: str, operation: str) -> Summary | None:
        """Returns the summary of an operation."""
        ...

    async def find(self, namespace: str, part: str, limit: int = 2) -> list[str]:
        """Returns the id that `part` is, else those that begin with it, else those that contain it.

        Whoever leaves the prefix of all ids out means the beginning behind it. The last are looked for among the newest
        ids alone (IDS_LOOKED_AT_MAX).
        """
        ...

    async def operations(
        self,
        namespace: str,
        where: Where = EVERYTHING,
        *,
        order: Order = Order.STARTED,
        after: Position | None = None,
        oldest_first: bool = False,
        limit: int = 50,
    ) -> Page:
        """Returns a page of operations in an order, beyond `after`, the newest first unless told otherwise."""
        ...

    async def count(self, namespace: str, where: Where = EVERYTHING, by: By | None = None) -> Counted:
        """Returns how many operations there are, as far as a bounded amount of looking tells."""
        ...

    async def by_key(self, namespace: str, key: str, states: Sequence[str] = (), limit: int = 50) -> list[Summary]:
        """Returns operations that have a business key and one of these states (any, if empty), the newest first."""
        ...

    async def due(self, until: int, limit: int, after: Position | None = None) -> list[Due]:
        """Returns operations that are due at `until` or earlier, the earliest first, beyond `after`."""
        ...

    async def next_due(self) -> int | None:
        """Returns the earliest due time there is."""
        ...

    async def queued(self, namespace: str, svc: str, steps: Sequence[str] | None, limit: int) -> list[Queued]:
        """Returns steps of these names, or of any, that await a worker of a service, the longest waiting first."""
        ...

    async def queue_sizes(self) -> list[QueueSize]:
        """Returns how many steps await a worker, a service."""
        ...

    async def calls(self, after: tuple[str, str] | None = None, limit: int = 500) -> list[Call]:
        """Returns a page of what workers have in hand, in the order of (namespace, operation), beyond `after`."""
        ...

    async def pending(
        self,
        namespace: str,
        roles: Sequence[str] | None = None,
        *,
        after: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> list[Summary]:
        """Returns operations that await a decision of these roles, in the order of (awaits_since, operation)."""
        ...

    async def count_pending(self, namespace: str, roles: Sequence[str] | None = None) -> int:
        """Returns how many operations await a decision of these roles."""
        ...

    async def pending_sizes(self) -> list[PendingSize]:
        """Returns how many operations await a decision, by definition, checkpoint and role."""
        ...

    async def request(self, namespace: str, principal: str, rpc: str, request_id: str) -> RequestRow | None:
        """Returns what became of a request."""
        ...

    async def tallies(self) -> list[Tally]:
        """Returns how many operations there are by definition and state."""
        ...

    async def alarmed(self, after: tuple[str, str] | None = None, limit: int = 500) -> list[Summary]:
        """Returns a page of operations with alarms, in the order of (namespace, operation), beyond `after`."""
        ...

    async def job(self, namespace: str, job: str) -> JobRow | None:
        """Returns a job."""
        ...

    async def job_of_request(self, namespace: str, starter: str, action: str, request_id: str) -> JobRow | None:
        """Returns the job that a request has begun; an empty id is none."""
        ...

    async def jobs(self, namespace: str, before: tuple[int, str] | None = None, limit: int = 50) -> list[JobRow]:
        """Returns a page of jobs, the newest first: by (start, id), from `before` on."""
        ...

    async def open_jobs(self) -> list[JobRow]:
        """Returns the jobs of all namespaces that have not ended."""
        ...

    async def old_jobs(self, ended_before: int, kept_max: int, limit: int = 50) -> list[tuple[str, str]]:
        """Returns jobs that ended before a time, or that stand behind so many newer ones of their namespace."""
        ...

    async def job_results(
        self, namespace: str, job: str, *, after: int = 0, outcome: str | None = None, limit: int = 50
    ) -> list[ResultRow]:
        """Returns a page of results, of one outcome or all, in the order of their turns, beyond `after`."""
        ...
