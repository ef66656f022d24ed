"""Writes what waits to be appended: all of it in one transaction, under one seal, then tells everybody.

One task, `run`, is the only writer of the log. Alone, an append waits for nobody; under load whoever arrives while a
batch is being written shares the next one. An append whose caller is gone is written all the same.

After a failed write the store is opened anew and tried with a small write of its own. If that fails, too, everybody is
refused at once, with the reason, and the store is tried again by and by, until it can write.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hmsact.note import TreeHead
from hmsact.record import leaf_hash

from hmsactd.store.errors import FOR_GOOD, Trouble, Unavailable
from hmsactd.store.job import JobWrite
from hmsactd.store.store import Append, Batch, EventRow, Log, NodeRow, PayloadRow, RequestRow, Store, Summary
from hmsactd.timeline.codec import Draft
from hmsactd.timeline.follow import Followers
from hmsactd.timeline.seal import Signer, is_sealed, signed_note
from hmsactd.timeline.tail import Tail
from hmsactd.timeline.tree import Edge, kept_hashes, rebuilt_edge
from hmsactd.value import value

WAITING_MAX: Final = 16_384
BATCH_EVENTS_MAX: Final = 1_024
TRIED_EVERY_S: Final = 1.0
"""How often a store that can't write is tried: callers are told to come back after as long."""

RELAPSE_S: Final = 30.0
TRIED_EVERY_MAX_S: Final = 16.0
"""A store that fails again so soon after it was well is tried half as often each time, down to this."""

Observe = Callable[[float, int], None]
"""Is told how many seconds a commit took, and how many events it held."""


@value(frozen=True, slots=True)
class Committed:
    """Where the last record of a submission stands, and the seal over it."""

    index: int
    leaf: bytes
    seal: str


# Not frozen: made thousands of times a second, and a frozen one takes several times as long to make.
@dataclass(slots=True)
class Submission:
    """What one operation wants appended, after a head that its owner knows. `done` is told what became of it."""

    namespace: str
    operation: str
    after: int
    head: bytes | None
    drafts: tuple[Draft, ...]
    summary: Summary
    before: Summary | None
    payload_key: bytes | None
    payloads: tuple[PayloadRow, ...]
    requests: tuple[RequestRow, ...]
    done: asyncio.Future[Committed]

    def refuse(self, error: Exception) -> None:
        """Tells whoever still waits that it was not kept, or that nobody knows."""
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True)
class Note:
    """What has become of a job: it goes with the next batch, and has no place in the log. `done` as of a submission."""

    write: JobWrite
    done: asyncio.Future[None]

    def refuse(self, error: Exception) -> None:
        """Tells whoever still waits that it was not kept, or that nobody knows."""
        if not self.done.done():
            self.done.set_exception(error)


class Committer:
    """Takes submissions from every timeline, and owns the right edge of the log."""

    def __init__(
        self, store: Store, log: Log, edge: Edge, signer: Signer, followers: Followers, observe: Observe | None = None
    ) -> None:
        self._store = store
        self._log = log
        self._edge = edge
        self._signer = signer
        self._followers = followers
        self._observe = observe
        self.tail = Tail()
        self._waiting: deque[Submission] = deque()
        self._notes: list[Note] = []
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._is_running = self._is_stopping = False
        self._doubtful: set[tuple[str, str]] = set()
        self._condition = store.condition
        self._tried_every_s = TRIED_EVERY_S
        self._well_since = -RELAPSE_S
        self.last_seal = log.seal
        """The newest seal that is known to be kept."""
        self.settled = asyncio.Event()
        """Cleared from a failed write until the store was opened anew: what it kept of that shows only then."""
        self.settled.set()

    @property
    def size(self) -> int:
        """How many records the log has."""
        return self._edge.size

    def submit(self, submission: Submission) -> None:
        """Takes a submission; its `done` has a result once it is kept, or Fenced or Unavailable."""
        if self._is_taking(submission):
            self._waiting.append(submission)
            self._wake.set()

    def note(self, note: Note) -> None:
        """Takes what has become of a job, as `submit` does."""
        if self._is_taking(note):
            self._notes.append(note)
            self._wake.set()

    def _is_taking(self, offered: Submission | Note) -> bool:
        """Whether there is a place for it; if not, it has been refused."""
        if self._is_stopping or self._ended.is_set():
            offered.refuse(Unavailable("the log is closing"))
        elif self._condition.trouble is not None:
            offered.refuse(_same(self._condition.trouble))
        elif len(self._waiting) + len(self._notes) >= WAITING_MAX:
            offered.refuse(Unavailable(f"{WAITING_MAX} appends wait already, more than the log may have waiting"))
        else:
            return True
        return False

    async def run(self) -> None:
        """Writes batch after batch until it is stopped.

        Cancelled, it stops at once: a batch in the store's hands is then written whole or not at all, and whoever
        waits for it learns only that this isn't known.
        """
        self._is_running = True
        try:
            while await self._has_work():
                await self._commit(self._take())
        finally:
            self._ended.set()
            self._refuse_waiting(_stopped())

    async def stop(self) -> None:
        """Returns when everything that waits now is written and `run` has ended."""
        self._is_stopping = True
        self._wake.set()
        if self._is_running:
            await self._ended.wait()
        # Without a run that could write them, nobody waits for ever either.
        self._refuse_waiting(_stopped())

    def _refuse_waiting(self, error: Unavailable) -> None:
        while self._waiting:
            self._waiting.popleft().refuse(_same(error))
        while self._notes:
            self._notes.pop().refuse(_same(error))

    async def _has_work(self) -> bool:
        while not (self._waiting or self._notes) and not self._is_stopping:
            self._wake.clear()
            if self._condition.trouble is None:
                await self._wake.wait()
            else:
                await self._try_again(self._condition.trouble)
        return bool(self._waiting or self._notes)

    async def _try_again(self, trouble: Unavailable) -> None:
        """Tries the store when it is time to, unless somebody has to be heard before."""
        try:
            async with asyncio.timeout(self._tried_every_s):
                await self._wake.wait()
        except TimeoutError:
            await self._mend(trouble)

    def _take(self) -> list[Submission]:
        if not self._waiting:
            return []
        taken = [self._waiting.popleft()]
        events = len(taken[0].drafts)
        while self._waiting and events + len(self._waiting[0].drafts) <= BATCH_EVENTS_MAX:
            taken.append(self._waiting.popleft())
            events += len(taken[-1].drafts)
        return taken

    async def _commit(self, taken: list[Submission]) -> None:
        began = time.perf_counter()
        notes, self._notes = self._notes, []
        waiting: list[Submission | Note] = [*taken, *notes]
        try:
            written, batch, edge = await self._write(taken, notes)
        except Unavailable as error:
            self.settled.clear()
            self._doubtful.update((submission.namespace, submission.operation) for submission in taken)
            for each in waiting:
                each.refuse(_in_doubt(error))
            await self._mend(error)
            return
        except BaseException:
            for each in waiting:
                each.refuse(_in_doubt(_stopped()))
            raise
        for note in notes:
            if not note.done.done():
                note.done.set_result(None)
        if not written:
            return
        self._edge = edge
        self.last_seal = batch.seal
        self._keep_tail(batch)
        for append, submission in zip(batch.appends, written, strict=True):
            if not submission.done.done():
                last = append.events[-1]
                submission.done.set_result(Committed(last.index, last.leaf, batch.seal))
        self._followers.tell((append.namespace, append.operation) for append in batch.appends)
        if self._observe is not None:
            self._observe(time.perf_counter() - began, batch.size - batch.size_before)

    def _keep_tail(self, batch: Batch) -> None:
        if self._followers.has_of_log:
            self.tail.grew(batch)
        elif self.tail:
            self.tail.forget()

    async def _write(self, taken: list[Submission], notes: list[Note]) -> tuple[list[Submission], Batch, Edge]:
        """Writes what can be written. What can't is refused, and every index after it moves: the rest is made anew."""
        while True:
            batch, edge = self._batch(taken, notes)
            refused = await self._store.write(batch) if taken or notes else {}
            if not refused:
                return taken, batch, edge
            for position, error in refused.items():
                taken[position].refuse(error)
            taken = [submission for position, submission in enumerate(taken) if position not in refused]

    def _batch(self, taken: list[Submission], notes: list[Note]) -> tuple[Batch, Edge]:
        edge, nodes = self._edge.copy(), list[NodeRow]()
        appends = tuple(_append(submission, edge, nodes) for submission in taken)
        seal = signed_note(TreeHead(self._log.origin, edge.size, edge.root()).body(), self._signer)
        jobs = tuple(note.write for note in notes)
        return Batch(self._log.epoch, self._edge.size, edge.size, appends, tuple(nodes), seal, jobs), edge

    async def _mend(self, error: Unavailable) -> None:
        """Finds out what is on the record and whether the store can write; says so either way."""
        condition, was_in_trouble = self._condition, self._condition.trouble is not None
        try:
            if error.trouble in FOR_GOOD:
                raise error
            await self._reopen()
            await self._store.probe()
        except Unavailable as failed:
            if not was_in_trouble:
                has_relapsed = asyncio.get_running_loop().time() - self._well_since < RELAPSE_S
                self._tried_every_s = min(self._tried_every_s * 2, TRIED_EVERY_MAX_S) if has_relapsed else TRIED_EVERY_S
            condition.failed(failed)
            self._refuse_waiting(failed)
        else:
            if was_in_trouble:
                self._well_since = asyncio.get_running_loop().time()
                condition.recovered()
            else:
                condition.passed(error)

    async def _reopen(self) -> None:
        """After a failed write nobody knows what was kept: the store says how far the log goes now."""
        log = await self._store.reopen()
        self.tail.forget()
        edge = await rebuilt_edge(log.size, kept_hashes(self._store))
        if log.size and not is_sealed(
            log.seal or "", TreeHead(log.origin, log.size, edge.root()), self._signer.verifier_key
        ):
            raise Unavailable("after a failed write the last seal does not cover the log", Trouble.CORRUPT)
        self._edge, self.last_seal = edge, log.seal
        self.settled.set()
        self._followers.tell(self._doubtful)
        self._doubtful.clear()


def _stopped() -> Unavailable:
    return Unavailable("the log has stopped")


def _same(error: Unavailable) -> Unavailable:
    """A copy for each who is told: an exception raised in several tasks would gather all their tracebacks."""
    return Unavailable(str(error), error.trouble)


def _in_doubt(error: Unavailable) -> Unavailable:
    """For each whose rows were in the store's hands: a commit whose fsync failed may be found at the next start."""
    return Unavailable(str(error), error.trouble, is_in_doubt=True)


def _append(submission: Submission, edge: Edge, nodes: list[NodeRow]) -> Append:
    rows, head = [], submission.head
    for sequence, draft in enumerate(submission.drafts, submission.after + 1):
        record = draft.record(edge.size, "null" if head is None else f'"{head.hex()}"')
        head = leaf_hash(record)
        rows.append(EventRow(edge.size, sequence, record, head))
        edge.add(head, nodes)
    return Append(
        submission.namespace,
        submission.operation,
        submission.after,
        submission.head,
        tuple(rows),
        submission.summary,
        submission.before,
        submission.payload_key,
        submission.payloads,
        submission.requests,
    )
