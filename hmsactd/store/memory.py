"""Keeps everything in memory: for tests, and to say in the fewest words what a store does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar, assert_never

from hmsactd.store.condition import Condition
from hmsactd.store.errors import Fenced, Unavailable
from hmsactd.store.job import JobChange, JobForgotten, JobRow, JobWrite, ResultRow
from hmsactd.store.matching import matches
from hmsactd.store.rollback import INCARNATION, Rollback
from hmsactd.store.store import (
    ID_PREFIX,
    Append,
    Batch,
    Birth,
    By,
    Call,
    Counted,
    Due,
    EventRow,
    History,
    Kept,
    Log,
    LogRow,
    Page,
    PayloadRow,
    PendingSize,
    Position,
    Queued,
    QueueSize,
    RequestRow,
    Summary,
    Tally,
)
from hmsactd.store.where import EVERYTHING, Order, Where

Place = TypeVar("Place", tuple[int, str], tuple[str, str])


class MemoryStore:
    """A store that forgets when its process ends, and not before: it can be closed and opened again."""

    def __init__(self) -> None:
        self.condition = Condition()
        self._rollbacks: list[Rollback] = []
        self._log: Log | None = None
        self._is_open = False
        self._kept: dict[tuple[str, str], Kept] = {}
        self._events: dict[tuple[str, str], list[EventRow]] = {}
        self._payloads: dict[tuple[str, str], list[PayloadRow]] = {}
        self._leaves: list[bytes] = []
        self._rows: list[LogRow] = []
        self._nodes: dict[int, list[bytes]] = {}
        self._seals: list[tuple[int, str]] = []
        self._requests: dict[tuple[str, str, str, str], RequestRow] = {}
        self._jobs: dict[tuple[str, str], JobRow] = {}
        self._results: dict[tuple[str, str], dict[int, ResultRow]] = {}

    async def open(self, birth: Birth) -> Log:
        """Begins a new epoch."""
        known = self._log or Log(birth.origin, birth.verifier_key, 0, 0, None)
        self._log = replace(known, epoch=known.epoch + 1)
        self._is_open = True
        return self._log

    async def reopen(self) -> Log:
        """Has nothing to mend."""
        assert self._log is not None
        self._is_open = True
        return self._log

    async def probe(self) -> None:
        """Memory can be written."""

    async def begin_incarnation(self, rollback: Rollback) -> Log:
        """Goes on in an epoch that it never had."""
        assert self._log is not None
        self._log = replace(self._log, epoch=(self._log.epoch // INCARNATION + 1) * INCARNATION + 1)
        self._rollbacks.append(rollback)
        return self._log

    async def rollbacks(self) -> list[Rollback]:
        """Returns what was accepted."""
        return list(self._rollbacks)

    async def close(self) -> None:
        """Refuses writes until it is opened again."""
        self._is_open = False

    async def write(self, batch: Batch) -> dict[int, Exception]:
        """Writes a batch, or nothing."""
        # Others run while a batch is on its way to a disk; so they do here.
        await asyncio.sleep(0)
        return self._commit(batch)

    def _commit(self, batch: Batch) -> dict[int, Exception]:
        if not self._is_open or self._log is None:
            raise Unavailable("the store is closed")
        if (self._log.epoch, self._log.size) != (batch.epoch, batch.size_before):
            raise Fenced("another process has written to the log")
        refused = self._refused(batch.appends)
        if refused:
            return refused
        for append in batch.appends:
            self._keep(append)
        for node in batch.nodes:
            self._nodes.setdefault(node.level, []).append(node.hash)
        for job in batch.jobs:
            self._keep_job(job)
        if batch.appends:
            self._seals.append((batch.size, batch.seal))
            self._log = replace(self._log, size=batch.size, seal=batch.seal)
        return {}

    def _refused(self, appends: Sequence[Append]) -> dict[int, Exception]:
        refused: dict[int, Exception] = {}
        heads: dict[tuple[str, str], tuple[int, bytes | None]] = {}
        requests: set[tuple[str, str, str, str]] = set()
        for position, append in enumerate(appends):
            place = (append.namespace, append.operation)
            kept = self._kept.get(place)
            head = heads.get(place) or ((kept.summary.sequence, kept.head) if kept else (0, None))
            asked = {_request_id(request) for request in append.requests}
            is_known = not asked.isdisjoint(requests) or not asked.isdisjoint(self._requests.keys())
            if is_known or head != (append.after, append.head):
                refused[position] = Fenced(f"another owner has written to {append.operation}")
                continue
            heads[place] = (append.events[-1].sequence, append.events[-1].leaf)
            requests |= asked
        return refused

    def _keep(self, append: Append) -> None:
        place = (append.namespace, append.operation)
        kept = self._kept.get(place)
        summary = append.summary if kept is None else _as_born(append.summary, kept.summary)
        key = append.payload_key or (kept.payload_key if kept else None)
        self._kept[place] = Kept(summary, append.events[-1].leaf, key)
        self._events.setdefault(place, []).extend(append.events)
        self._payloads.setdefault(place, []).extend(append.payloads)
        self._leaves.extend(event.leaf for event in append.events)
        self._rows.extend(
            LogRow(event.index, append.namespace, append.operation, event.sequence, event.record, event.leaf)
            for event in append.events
        )
        self._requests |= {_request_id(request): request for request in append.requests}

    def _keep_job(self, write: JobWrite) -> None:
        match write:
            case JobChange(job=job):
                place = (job.namespace, job.job)
                self._jobs[place] = job
                self._results.setdefault(place, {}).update((result.number, result) for result in write.results)
            case JobForgotten():
                place = (write.namespace, write.job)
                results = self._results.get(place, {})
                for number in sorted(results)[: write.results_max]:
                    del results[number]
                if not results:
                    self._jobs.pop(place, None)
                    self._results.pop(place, None)
            case _:
                assert_never(write)

    async def erase(self, namespace: str, operation: str) -> bool:
        """Forgets what was said."""
        place = (namespace, operation)
        kept = self._kept.get(place)
        if kept is None:
            return False
        summary = replace(kept.summary, labels=(), key=None, requested_by=None)
        self._kept[place] = Kept(summary, kept.head, None)
        self._payloads.pop(place, None)
        return True

    async def kept(self, namespace: str, operation: str) -> Kept | None:
        """Returns an operation as kept."""
        return self._kept.get((namespace, operation))

    async def histories(
        self, places: Sequence[tuple[str, str]], records_max: int, bytes_max: int
    ) -> list[History | None]:
        """Returns operations, each with its first records."""
        found: list[History | None] = []
        room = bytes_max
        for place in places:
            kept = self._kept.get(place)
            records = tuple(row.record for row in self._events.get(place, [])[:records_max])
            room -= sum(map(len, records))
            if found and room < 0:
                break
            found.append(None if kept is None else History(kept, records))
        return found

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
        """Returns records, in order, or the last ones first."""
        rows = self._events.get((namespace, operation), [])
        within = rows[max(after, 0) : None if before is None else max(before - 1, 0)]
        return (within[::-1] if backwards else within)[:limit]

    async def log(self, start: int, end: int, bytes_max: int) -> list[LogRow]:
        """Returns records of all operations, in the order of the log."""
        rows: list[LogRow] = []
        room = bytes_max
        for row in self._rows[max(start, 0) : max(end, 0)]:
            room -= len(row.record)
            if rows and room < 0:
                break
            rows.append(row)
        return rows

    async def payloads(self, namespace: str, operation: str, sequences: Sequence[int]) -> list[PayloadRow]:
        """Returns the encrypted payloads of some records."""
        wanted = set(sequences)
        return [row for row in self._payloads.get((namespace, operation), []) if row.sequence in wanted]

    async def leaves(self, start: int, end: int) -> list[bytes]:
        """Returns leaves of the log."""
        return self._leaves[start:end]

    async def entries(self, start: int, end: int) -> list[EventRow]:
        """Returns records of the log."""
        found = [event for events in self._events.values() for event in events if start <= event.index < end]
        return sorted(found, key=lambda event: event.index)

    async def wrapped_key(self) -> tuple[str, str, bytes] | None:
        """Returns a payload key as kept."""
        for (namespace, operation), kept in self._kept.items():
            if kept.payload_key is not None:
                return namespace, operation, kept.payload_key
        return None

    async def nodes(self, level: int, start: int, end: int) -> list[bytes]:
        """Returns kept inner nodes of a level."""
        return self._nodes.get(level, [])[start:end]

    async def seal_over(self, index: int) -> str | None:
        """Returns the first seal that covers an index of the log."""
        return next((seal for size, seal in self._seals if size > index), None)

    async def seals(self, after: int, limit: int) -> list[tuple[int, str]]:
        """Returns a page of seals."""
        return [(size, note) for size, note in self._seals if size > after][:limit]

    async def seal_within(self, after: int, until: int) -> tuple[int, str] | None:
        """Returns the last seal between two sizes."""
        return next(((size, seal) for size, seal in reversed(self._seals) if after < size <= until), None)

    async def last_seal(self) -> str | None:
        """Returns the newest seal."""
        return self._seals[-1][1] if self._seals else None

    async def summary(self, namespace: str, operation: str) -> Summary | None:
        """Returns the summary of an operation."""
        kept = self._kept.get((namespace, operation))
        return kept.summary if kept else None

    async def find(self, namespace: str, part: str, limit: int = 2) -> list[str]:
        """Returns the id that `part` is, else those that begin with it, else those that contain it."""
        if (namespace, part) in self._kept:
            return [part]
        ids = sorted(operation for space, operation in self._kept if space == namespace)
        for beginning in (part, f"{ID_PREFIX}{part}"):
            if found := [operation for operation in ids if operation.startswith(beginning)]:
                return found[:limit]
        return [operation for operation in ids if part in operation][:limit]

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
        """Returns a page of operations in an order, beyond `after`."""
        found = [
            ((at, number), each)
            for number, each in enumerate(self._summaries(), 1)
            if each.namespace == namespace and matches(each, where) and (at := getattr(each, order)) is not None
        ]
        found.sort(key=lambda one: one[0], reverse=not oldest_first)
        if after is not None:
            found = [one for one in found if (one[0] > after if oldest_first else one[0] < after)]
        page = found[:limit]
        return Page(tuple(page), page[-1][0] if len(found) > limit else None)

    async def count(self, namespace: str, where: Where = EVERYTHING, by: By | None = None) -> Counted:
        """Returns how many operations there are."""
        found = list(self._summaries(lambda each: each.namespace == namespace and matches(each, where)))
        groups = Counter(group for each in found if by is not None and (group := _group(each, by)))
        return Counted(len(found), groups=tuple(sorted(groups.items())))

    async def by_key(self, namespace: str, key: str, states: Sequence[str] = (), limit: int = 50) -> list[Summary]:
        """Returns operations that have a business key, the newest first."""
        return list(await self.operations(namespace, Where(key=key, states=tuple(states)), limit=limit))

    async def due(self, until: int, limit: int, after: Position | None = None) -> list[Due]:
        """Returns operations that are due, the earliest first, beyond `after`."""
        found = sorted(
            (each.due_at, number, each)
            for number, each in enumerate(self._summaries(), 1)
            if each.due_at is not None and each.due_at <= until and (after is None or (each.due_at, number) > after)
        )
        return [Due(each.namespace, each.operation, due_at, number) for due_at, number, each in found[:limit]]

    async def next_due(self) -> int | None:
        """Returns the earliest due time there is."""
        return min((summary.due_at for summary in self._summaries() if summary.due_at is not None), default=None)

    async def queued(self, namespace: str, svc: str, steps: Sequence[str] | None, limit: int) -> list[Queued]:
        """Returns steps that await a worker, the longest waiting first."""
        found = self._summaries(
            lambda each: (
                each.awaits == "worker"
                and each.namespace == namespace
                and each.awaits_who == svc
                and (steps is None or each.awaits_name in steps)
            )
        )
        ordered = sorted(found, key=lambda each: (each.awaits_since or 0, each.operation))
        return [
            Queued(each.namespace, each.operation, each.awaits_name, each.awaits_instance, each.awaits_since or 0)
            for each in ordered[:limit]
        ]

    async def queue_sizes(self) -> list[QueueSize]:
        """Returns how many steps await a worker, a service."""
        since: dict[tuple[str, str], list[int]] = {}
        for each in self._summaries(lambda each: each.awaits == "worker"):
            since.setdefault((each.namespace, each.awaits_who), []).append(each.awaits_since or 0)
        return [QueueSize(namespace, svc, len(times), min(times)) for (namespace, svc), times in sorted(since.items())]

    async def calls(self, after: tuple[str, str] | None = None, limit: int = 500) -> list[Call]:
        """Returns a page of what workers have in hand."""
        found = self._summaries(lambda each: each.session is not None)
        return [Call(each.namespace, each.operation, each.session or "") for each in _page(found, _place, after, limit)]

    async def pending(
        self,
        namespace: str,
        roles: Sequence[str] | None = None,
        *,
        after: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> list[Summary]:
        """Returns operations that await a decision."""
        found = self._awaiting_decision(namespace, roles)
        return _page(found, lambda summary: (summary.awaits_since or 0, summary.operation), after, limit)

    async def count_pending(self, namespace: str, roles: Sequence[str] | None = None) -> int:
        """Returns how many operations await a decision."""
        return sum(1 for _ in self._awaiting_decision(namespace, roles))

    async def pending_sizes(self) -> list[PendingSize]:
        """Returns how many operations await a decision, by definition, checkpoint and role."""
        since: dict[tuple[str, str, str, str], list[int]] = {}
        for each in self._summaries(lambda each: each.awaits == "decision"):
            place = (each.namespace, each.definition, each.awaits_name, each.awaits_who)
            since.setdefault(place, []).append(each.awaits_since or 0)
        return [PendingSize(*place, len(times), min(times)) for place, times in sorted(since.items())]

    async def request(self, namespace: str, principal: str, rpc: str, request_id: str) -> RequestRow | None:
        """Returns what became of a request."""
        return self._requests.get((namespace, principal, rpc, request_id))

    async def tallies(self) -> list[Tally]:
        """Returns how many operations there are by definition and state."""
        counted = Counter((each.namespace, each.definition, each.state) for each in self._summaries())
        return [Tally(*what, count) for what, count in sorted(counted.items())]

    async def alarmed(self, after: tuple[str, str] | None = None, limit: int = 500) -> list[Summary]:
        """Returns a page of operations with alarms."""
        return _page(self._summaries(lambda each: each.alarms is not None), _place, after, limit)

    async def job(self, namespace: str, job: str) -> JobRow | None:
        """Returns a job."""
        return self._jobs.get((namespace, job))

    async def job_of_request(self, namespace: str, starter: str, action: str, request_id: str) -> JobRow | None:
        """Returns the job that a request has begun."""
        asked = (namespace, starter, action, request_id)
        begun = ((each.namespace, each.starter, each.action, each.request_id) for each in self._jobs.values())
        return next(
            (job for job, by in zip(self._jobs.values(), begun, strict=True) if request_id and by == asked), None
        )

    async def jobs(self, namespace: str, before: tuple[int, str] | None = None, limit: int = 50) -> list[JobRow]:
        """Returns a page of jobs, the newest first."""
        found = [job for job in sorted(self._jobs.values(), key=_job_place, reverse=True) if job.namespace == namespace]
        return [job for job in found if before is None or _job_place(job) < before][:limit]

    async def open_jobs(self) -> list[JobRow]:
        """Returns the jobs that have not ended."""
        return [job for _, job in sorted(self._jobs.items()) if job.ended_at is None]

    async def old_jobs(self, ended_before: int, kept_max: int, limit: int = 50) -> list[tuple[str, str]]:
        """Returns jobs that need not be kept."""
        newer: Counter[str] = Counter()
        old: list[tuple[str, str]] = []
        for row in sorted(self._jobs.values(), key=_job_place, reverse=True):
            if row.ended_at is not None:
                newer[row.namespace] += 1
                if row.ended_at < ended_before or newer[row.namespace] > kept_max:
                    old.append((row.namespace, row.job))
        return sorted(old)[:limit]

    async def job_results(
        self, namespace: str, job: str, *, after: int = 0, outcome: str | None = None, limit: int = 50
    ) -> list[ResultRow]:
        """Returns a page of results."""
        found = [result for _, result in sorted(self._results.get((namespace, job), {}).items())]
        return [each for each in found if each.number > after and outcome in (None, each.outcome)][:limit]

    def _summaries(self, wanted: Callable[[Summary], bool] = lambda _: True) -> Iterable[Summary]:
        return (kept.summary for kept in self._kept.values() if wanted(kept.summary))

    def _awaiting_decision(self, namespace: str, roles: Sequence[str] | None) -> Iterable[Summary]:
        return self._summaries(
            lambda each: (
                each.awaits == "decision"
                and each.namespace == namespace
                and (roles is None or each.awaits_who in roles)
            )
        )


def _page(
    found: Iterable[Summary], order: Callable[[Summary], Place], after: Place | None, limit: int
) -> list[Summary]:
    """A page in an order, beyond where the last one ended."""
    if after is not None:
        beyond = after
        found = (each for each in found if order(each) > beyond)
    return sorted(found, key=order)[:limit]


def _job_place(job: JobRow) -> tuple[int, str]:
    return job.started_at, job.job


def _place(summary: Summary) -> tuple[str, str]:
    return summary.namespace, summary.operation


def _request_id(request: RequestRow) -> tuple[str, str, str, str]:
    return request.namespace, request.principal, request.rpc, request.request_id


def _as_born(summary: Summary, born: Summary) -> Summary:
    """What an operation is born with stays as it was."""
    return replace(
        summary,
        definition=born.definition,
        digest=born.digest,
        started_at=born.started_at,
        started_by=born.started_by,
        key=born.key,
        labels=born.labels,
        requested_by=born.requested_by,
        person=born.person,
        on_behalf_of=born.on_behalf_of,
    )


def _group(summary: Summary, by: By) -> str:
    match by:
        case By.STATE:
            return summary.state
        case By.DEFINITION:
            return summary.definition
        case By.ROLE:
            return summary.awaits_who if summary.awaits == "decision" else ""
        case By.SERVICE:
            return summary.awaits_who if summary.awaits not in ("decision", "") else ""
        case _:
            assert_never(by)
