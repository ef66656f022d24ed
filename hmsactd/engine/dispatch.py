"""Finds workers for steps: sessions of workers on one side, queues of steps on the other.

A place at a worker is reserved before the attempt is recorded and filled after. Queues are first come, first served,
one for each step of a service; in memory they are bounded, the rest waits in the store, where every queued step has
its row anyway.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from hmsactd.engine.session import AttemptKey, Session
from hmsactd.store.store import Store

QUEUE_MAX = 5_000
"""Steps of one queue kept in memory. A refill from the store costs one short read per so many steps."""


ANY_STEP = "*"
"""In the place of a step's name: every step of the service. No step can be called so."""


class Line(NamedTuple):
    """Names a queue."""

    namespace: str
    svc: str
    step: str


class Promise(NamedTuple):
    """A place kept at a worker for an operation that is yet to hear of it."""

    session: Session
    line: Line
    since: int


class Dispatch:
    """The queues, the sessions, and who is given what. `offer` nudges the actor of an operation that may go on."""

    def __init__(self, store: Store, offer: Callable[[str, str], None]) -> None:
        self._store = store
        self._offer = offer
        self._queues: dict[Line, dict[str, int]] = {}
        self._overflowed: dict[Line, None] = {}
        self._to_match: dict[Line, None] = {}
        self._to_refill: deque[Line] = deque()
        self._being_read: Line | None = None
        self._servers: dict[Line, deque[Session]] = {}
        self._promised: dict[tuple[str, str], Promise] = {}
        self._queued_before: frozenset[tuple[str, str]] = frozenset()
        self._undivided: set[tuple[str, str]] = set()
        self.sessions: dict[str, Session] = {}
        self.on_refill_wanted: Callable[[], None] = lambda: None

    async def recover(self) -> None:
        """After a restart: learn for which services steps wait in the store. They are read when a worker comes."""
        self._queued_before = frozenset((size.namespace, size.svc) for size in await self._store.queue_sizes())

    def serve_every_step(self, namespace: str, svc: str) -> None:
        """One queue for all steps of a service, whatever they are called; said before anything is queued.

        Its sessions serve `ANY_STEP`.
        """
        self._undivided.add((namespace, svc))

    # -- steps ---------------------------------------------------------------------------------------------------------

    def take(self, line: Line, operation_id: str) -> Session | None:
        """Reserve a place for a step, or None: then queue it. The place is filled by `Session.give` or released."""
        line = self._queued_in(line)
        promised = self._promised.pop((line.namespace, operation_id), None)
        if promised is not None:
            if self._may_still_serve(promised.session, line):
                return promised.session
            self.release(promised.session)
        if self._queue(line) or line in self._overflowed or line == self._being_read:
            # Others were here before.
            return None
        session = self._free_session(line)
        if session is not None:
            session.reserved += 1
        return session

    def fill(self, session: Session) -> None:
        """A reserved place is about to be filled."""
        session.reserved -= 1

    def release(self, session: Session) -> None:
        """A reserved place is not needed after all."""
        session.reserved -= 1
        self.pump(session)

    def queue(self, line: Line, operation_id: str, since: int) -> None:
        """Let a step wait for a worker. It has its row in the store."""
        line = self._queued_in(line)
        if operation_id not in self._queue(line):
            self._append(line, operation_id, since)
            self._match(line)

    def forsake(self, namespace: str, operation_id: str) -> None:
        """An operation that had a place promised does not want it any more."""
        promised = self._promised.pop((namespace, operation_id), None)
        if promised is not None:
            self.release(promised.session)

    def put_back(self, namespace: str, operation_id: str) -> None:
        """An operation could not be told of the place it was promised: it waits on, behind the others.

        Nobody is offered the place until something happens or `look_again`: whatever was in the way of this one is
        likely in the way of all, and they would be asked in turn as fast as they refuse.
        """
        promised = self._promised.pop((namespace, operation_id), None)
        if promised is not None:
            promised.session.reserved -= 1
            self._append(promised.line, operation_id, promised.since)
            self._to_match[promised.line] = None

    def unqueue(self, line: Line, operation_id: str) -> None:
        """A step does not wait any more."""
        queue = self._queues.get(self._queued_in(line))
        if queue is not None:
            queue.pop(operation_id, None)

    def worker_count(self, line: Line) -> int:
        """How many workers that could take a step of a line are connected now, whether they have a place or not."""
        servers = self._servers.get(self._queued_in(line), ())
        return sum(session.gone_at is None and not session.is_leaving for session in servers)

    def heard_at(self, session_id: str, operation_id: str, instance: int, attempt: int) -> int | None:
        """When the worker that holds an attempt was last heard of; None if it doesn't hold it."""
        session = self.sessions.get(session_id)
        held = session.held.get(AttemptKey(operation_id, instance, attempt)) if session is not None else None
        return held.beat_at if held is not None else None

    # -- sessions ------------------------------------------------------------------------------------------------------

    def join(self, session: Session) -> None:
        """A worker is there, or there again: it may serve its steps from now on."""
        self.sessions[session.id] = session
        for step in session.steps:
            line = Line(session.namespace, session.svc, step)
            self._queue(line)
            servers = self._servers.setdefault(line, deque())
            if session not in servers:
                servers.append(session)
        self.pump(session)

    def leave(self, session: Session) -> None:
        """A worker is gone for good; what it held is dealt with by the caller."""
        self.sessions.pop(session.id, None)
        for step in session.steps:
            line = Line(session.namespace, session.svc, step)
            servers = self._servers.get(line)
            if servers is not None and session in servers:
                servers.remove(session)
                if not servers:
                    del self._servers[line]

    def pump(self, session: Session) -> None:
        """Offer what waits to a worker that has places, the longest waiting first."""
        while session.free > 0:
            line = self._longest_waiting(session)
            if line is None:
                return
            queue = self._queues[line]
            operation_id, since = next(iter(queue.items()))
            del queue[operation_id]
            self._promise(line, operation_id, since, session)

    def look_again(self) -> None:
        """Go back to queues that a failure left unread, or whose offers were refused."""
        lines, self._to_match = self._overflowed | self._to_match, {}
        for line in lines:
            self._match(line)

    async def refill(self) -> None:
        """Read waiting steps back from the store for the queues that ran dry while a worker had places."""
        while self._to_refill:
            line = self._to_refill.popleft()
            if line not in self._overflowed:
                continue
            # What is queued from here on goes to memory again; what came before is in the rows about to be read.
            self._overflowed.pop(line, None)
            self._being_read = line
            try:
                steps = None if line.step == ANY_STEP else (line.step,)
                rows = await self._store.queued(line.namespace, line.svc, steps, QUEUE_MAX)
            except BaseException:
                self._overflowed[line] = None
                # They have their rows, too, behind those that were not read.
                self._queue(line).clear()
                raise
            finally:
                self._being_read = None
            queue = self._queue(line)
            arrived = dict(queue)
            queue.clear()
            for row in rows:
                if (line.namespace, row.operation) not in self._promised:
                    queue[row.operation] = row.since
            if len(rows) >= QUEUE_MAX:
                # Whoever has arrived meanwhile waits behind those that were not read.
                self._overflowed[line] = None
            else:
                queue.update(arrived)
            # All that was read may have been promised a moment ago; reading it again at once would bring the same.
            if queue:
                self._match(line)

    def _queued_in(self, line: Line) -> Line:
        """The line that a step of this name waits in."""
        if self._undivided and (line.namespace, line.svc) in self._undivided:
            return Line(line.namespace, line.svc, ANY_STEP)
        return line

    def _queue(self, line: Line) -> dict[str, int]:
        """The queue in memory. At first sight there may be rows in the store, from before a restart."""
        queue = self._queues.get(line)
        if queue is None:
            queue = self._queues[line] = {}
            if (line.namespace, line.svc) in self._queued_before:
                self._overflowed[line] = None
        return queue

    def _append(self, line: Line, operation_id: str, since: int) -> None:
        queue = self._queue(line)
        if line in self._overflowed or len(queue) >= QUEUE_MAX:
            self._overflowed[line] = None
        else:
            queue[operation_id] = since

    # -- matching ------------------------------------------------------------------------------------------------------

    def _match(self, line: Line) -> None:
        if line == self._being_read:
            # Who came before is about to be known.
            return
        while (session := self._free_session(line)) is not None:
            queue = self._queues.get(line)
            if not queue:
                self._want_refill(line)
                return
            operation_id, since = next(iter(queue.items()))
            del queue[operation_id]
            self._promise(line, operation_id, since, session)

    def _promise(self, line: Line, operation_id: str, since: int, session: Session) -> None:
        key = (line.namespace, operation_id)
        if key in self._promised:
            return
        session.reserved += 1
        self._promised[key] = Promise(session, line, since)
        self._offer(line.namespace, operation_id)

    def _may_still_serve(self, session: Session, line: Line) -> bool:
        """True if a session is still there for this step: the operation may be past the one it was promised for."""
        is_here = self.sessions.get(session.id) is session and not session.is_leaving and session.gone_at is None
        return is_here and (session.namespace, session.svc) == line[:2] and line.step in session.steps

    def _free_session(self, line: Line) -> Session | None:
        """The next session with a place, in turn."""
        servers = self._servers.get(line)
        if servers is None:
            return None
        for _ in range(len(servers)):
            session = servers[0]
            servers.rotate(-1)
            if session.free > 0:
                return session
        return None

    def _longest_waiting(self, session: Session) -> Line | None:
        best: Line | None = None
        best_since = 0
        for step in session.steps:
            line = Line(session.namespace, session.svc, step)
            queue = self._queues.get(line) if line != self._being_read else None
            if queue:
                since = next(iter(queue.values()))
                if best is None or since < best_since:
                    best, best_since = line, since
            elif line in self._overflowed:
                self._want_refill(line)
        return best

    def _want_refill(self, line: Line) -> None:
        if line in self._overflowed and line not in self._to_refill:
            self._to_refill.append(line)
            self.on_refill_wanted()
