"""Knows which actors live: brings sleeping operations back when they are told something, lets idle ones go.

The only entrance to operations. One actor's fault ends that actor and nobody else.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskGroup

from hmsactd.clock import Clock, SettableClock
from hmsactd.core.apply import replay
from hmsactd.core.effects import AwaitReport
from hmsactd.core.events import Event
from hmsactd.core.inputs import Start, TimerDue
from hmsactd.core.operation import Operation
from hmsactd.core.principal import DAEMON
from hmsactd.core.transitions import FINAL
from hmsactd.engine.actor import Actor
from hmsactd.engine.attendance import Attendance, Directory
from hmsactd.engine.dispatch import Dispatch
from hmsactd.engine.endings import Endings
from hmsactd.engine.ids import fresh_id
from hmsactd.engine.intake import Intake
from hmsactd.engine.letter import Answer, Heard, Letter, RequestKey, Told, promised
from hmsactd.engine.summary import Given
from hmsactd.engine.tickets import Tickets
from hmsactd.engine.timers import Timers
from hmsactd.engine.tokens import Tokens
from hmsactd.engine.workers import Workers
from hmsactd.errors import HmsactdError, ResourceExhausted, Unavailable
from hmsactd.store.errors import Unavailable as StoreUnavailable
from hmsactd.store.store import Due, Store, Summary
from hmsactd.timeline.timeline import Timelines

log = structlog.get_logger(__name__)

SWEEP_EVERY_US = 1_000_000
"""How often idle actors are looked for."""

QUEUED_MAX = 2_000
"""Operations kept in memory while their step is queued, those first that came first. The others are let go at the next
sweep: a bulk start brings thousands a second, and without a worker each has long to wait."""

IN_DOUBT_MAX = 1_000
"""Operations looked at again, in one sweep, after a failure of the store: it may have failed for thousands."""

ENDED_LATELY_MAX = 2_048
"""Summaries kept of operations that have ended: whoever started one asks for its end a moment later."""


class Observer(Protocol):
    """Is told of everything recorded; must be quick and must not fail."""

    def operation_changed(
        self, namespace: str, before: Operation | None, after: Operation, events: Sequence[Event]
    ) -> None:
        """Events have been recorded."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the engine. Spans in microseconds."""

    idle_us: int
    mailbox_max: int
    grace_us: int
    completion_us: int
    unattended_us: int
    sessions_max: int
    open_operations_max: int


class Engine:
    """All operations of this daemon. `run` until cancelled; `tell` from anywhere on the event loop."""

    def __init__(
        self,
        store: Store,
        timelines: Timelines,
        clock: Clock,
        directory: Directory,
        observer: Observer,
        limits: Limits,
        tickets: Tickets,
        tokens: Tokens,
    ) -> None:
        self.clock = clock
        self.timelines = timelines
        self.store = store
        self.mailbox_max = limits.mailbox_max
        self.idle_us = limits.idle_us
        self.tokens = tokens
        self.endings = Endings()
        self.intake = Intake()
        self.dispatch = Dispatch(store, self._offer)
        self.dispatch.on_refill_wanted = self._want_refill
        self.timers = Timers(store, clock, self._wake)
        self.workers = Workers(
            store,
            self.dispatch,
            clock,
            self.post,
            limits.grace_us,
            limits.sessions_max,
            limits.completion_us,
            tickets,
        )
        self._observer = observer
        self._limits = limits
        self._actors: dict[tuple[str, str], Actor] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._services: TaskGroup | None = None
        self._is_stopping = False
        self._refill_wanted = asyncio.Event()
        self._ended = asyncio.Event()
        self._in_doubt: dict[tuple[str, str], None] = {}
        self._was_in_doubt = False
        self._ended_lately: dict[tuple[str, str], Summary] = {}
        self._open: Counter[str] = Counter()
        """Operations that are not final, by namespace. A namespace once seen stays."""
        self._attendance = Attendance(store, clock, directory, self.post, limits.unattended_us, self._open)

    # -- life ----------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Recover, then serve until cancelled. Started once recovery is done."""
        # Actors come and go thousands of times a second: asyncio's own group starts one in a fifth of anyio's time.
        try:
            async with asyncio.TaskGroup() as self._tasks:
                try:
                    async with anyio.create_task_group() as self._services:
                        await self._serve(self._services)
                        task_status.started()
                finally:
                    # However it ends: a group that is ending takes no further actors.
                    self._is_stopping = True
        finally:
            for actor in self._actors.values():
                # Cancelled before it ever ran: whoever told it something still waits.
                actor.refuse(_shutting_down())

    async def _serve(self, tasks: TaskGroup) -> None:
        await self.dispatch.recover()
        await self.workers.recover()
        for tally in await self.store.tallies():
            if tally.state not in FINAL:
                self._open[tally.namespace] += tally.count
        tasks.start_soon(self.timers.run, name="timers")
        tasks.start_soon(self.workers.run, name="workers")
        tasks.start_soon(self._sweep, name="sweep")
        tasks.start_soon(self._refill, name="refill")
        tasks.start_soon(self._attendance.run, name="attendance")

    async def stop(self) -> None:
        """Hear nothing new, wait until every actor has recorded what it was told, then end the services."""
        self._is_stopping = True
        for actor in list(self._actors.values()):
            actor.close()
        while self._actors:
            self._ended.clear()
            await self._ended.wait()
        if self._services is not None:
            self._services.cancel_scope.cancel()

    async def advance(self, clock: SettableClock, by_us: int) -> None:
        """Move a settable clock forward, stopping wherever something is due, so that all happens in its order."""
        until = clock.now() + by_us
        while (due_at := await self.store.next_due()) is not None and due_at <= until:
            clock.advance_to(due_at)
            await self._settle()
        clock.advance_to(until)
        await self._settle()

    async def _settle(self) -> None:
        """Return when everything due has happened and every actor waits for mail."""
        await self.timers.wake_now()
        # Only tests move the clock, so actors need not tell anybody when they are idle.
        while not all(actor.is_idle for actor in self._actors.values()):  # noqa: ASYNC110
            await anyio.sleep(0.001)

    @property
    def live(self) -> int:
        """How many operations are in memory."""
        return len(self._actors)

    # -- telling -------------------------------------------------------------------------------------------------------

    def start(
        self, namespace: str, told: Start, given: Given, request: RequestKey | None = None
    ) -> asyncio.Future[Answer]:
        """Start an operation under a new id."""
        started: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        # Whoever asked may leave before the answer comes; then the answer is nobody's, and no warning is due.
        started.add_done_callback(_look_at)
        if self.intake.refusal is not None:
            started.set_exception(self.intake.refusal.with_traceback(None))
            return started
        if self._open[namespace] >= self._limits.open_operations_max:
            most = self._limits.open_operations_max
            started.set_exception(
                ResourceExhausted("OPEN_OPERATIONS_MAX", f"{most} operations are open, the most allowed")
            )
            return started
        # Counted before it is recorded, so that many at once do not pass the bound together.
        self._open[namespace] += 1
        operation_id = fresh_id("op", self.clock.now())
        actor = Actor(self, namespace, operation_id, self.timelines.new(namespace, operation_id), given)
        heard = promised(started)

        def counted(outcome: Answer | Exception) -> None:
            if isinstance(outcome, Exception):
                self._open[namespace] -= 1
            heard(outcome)

        self._deliver(actor, Letter(told, counted, request))
        return started

    def tell(
        self, namespace: str, operation_id: str, told: Told, request: RequestKey | None = None
    ) -> asyncio.Future[Answer]:
        """Tell an operation something. The answer comes when what follows from it is on the record.

        The future fails with `Rejected` for what is not allowed, with an `HmsactdError` for what could not be done.
        """
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        # As above.
        answered.add_done_callback(_look_at)
        actor = self._actors.get((namespace, operation_id)) or Actor(self, namespace, operation_id)
        # Who tells it something is likely to tell it more.
        actor.is_brief = False
        self._deliver(actor, Letter(told, promised(answered), request))
        return answered

    def post(self, namespace: str, operation_id: str, told: Told, heard: Heard | None = None) -> None:
        """Tell an operation something; `heard`, if anybody, hears what became of it. For the daemon's own parts.

        One that slept goes back to sleep at once, unless it is a worker's business then, or due again in a moment.
        """
        actor = self._actors.get((namespace, operation_id)) or Actor(self, namespace, operation_id, is_brief=True)
        self._deliver(actor, Letter(told, heard))

    def _deliver(self, actor: Actor, letter: Letter) -> None:
        """Put a letter into an actor's mailbox, and let the actor live."""
        try:
            if self._is_stopping or self._tasks is None:
                raise _shutting_down()
            actor.post(letter)
        except HmsactdError as error:
            letter.settle(error)
            return
        key = (actor.namespace, actor.operation_id)
        if self._actors.get(key) is not actor:
            self._actors[key] = actor
            self._tasks.create_task(self._live(key, actor), name=actor.operation_id)

    async def _live(self, key: tuple[str, str], actor: Actor) -> None:
        """Let an actor live, and see to it that its fault stays its own."""
        try:
            await actor.run()
            if actor.operation is not None and actor.operation.is_final and not actor.is_in_doubt:
                # Whether it has just recorded its end, or found it on the record after a failure.
                self._note_end(key, actor.summary)
        except MemoryError:
            # Not the operation's fault: it is looked at again. To say more would take memory, too.
            actor.is_in_doubt = True
        except Exception:
            log.exception("actor failed", namespace=key[0], operation=key[1])
        finally:
            if self._actors.get(key) is actor:
                del self._actors[key]
            if actor.is_in_doubt:
                self._in_doubt[key] = None
            self._ended.set()

    def _note_end(self, key: tuple[str, str], summary: Summary | None) -> None:
        assert summary is not None, "what is final has been kept"
        self._ended_lately[key] = summary
        if len(self._ended_lately) > ENDED_LATELY_MAX:
            del self._ended_lately[next(iter(self._ended_lately))]
        self.endings.come(summary)

    async def look(self, namespace: str, operation_id: str) -> Operation | None:
        """The state of an operation as recorded; None if there is none."""
        operation: Operation | None = None

        def hear(events: Sequence[Event]) -> None:
            nonlocal operation
            operation = replay(events, operation)

        await self.timelines.load(namespace, operation_id, hear)
        return operation

    async def summary(self, namespace: str, operation_id: str) -> Summary | None:
        """An operation as last kept; from memory if it is busy, or has ended a moment ago."""
        key = (namespace, operation_id)
        actor = self._actors.get(key)
        known = actor.summary if actor is not None else self._ended_lately.get(key)
        return known if known is not None else await self.store.summary(namespace, operation_id)

    # -- what actors need ----------------------------------------------------------------------------------------------

    def recorded(
        self, namespace: str, operation_id: str, before: Operation | None, after: Operation, events: Sequence[Event]
    ) -> None:
        """Events have been recorded."""
        if after.is_final and not (before is not None and before.is_final):
            self._open[namespace] -= 1
        self._observer.operation_changed(namespace, before, after, events)

    def wake_at(self, at: int) -> None:
        """An operation wants to be woken."""
        self.timers.expect(at)

    def call_is_lost(self, namespace: str, operation_id: str, effect: AwaitReport) -> None:
        """An operation awaits a report from a session that the dispatch does not know."""
        self.workers.lose(namespace, operation_id, effect.session)

    # -- services' calls -----------------------------------------------------------------------------------------------

    def _offer(self, namespace: str, operation_id: str) -> None:
        """A worker has a place for a step of this operation."""
        self.post(namespace, operation_id, _nothing, lambda outcome: self._take_back(namespace, operation_id, outcome))

    def _take_back(self, namespace: str, operation_id: str, outcome: Answer | Exception) -> None:
        if isinstance(outcome, Unavailable | ResourceExhausted):
            self.dispatch.put_back(namespace, operation_id)
        elif isinstance(outcome, Exception):
            self.dispatch.forsake(namespace, operation_id)

    def _wake(self, due: Due, heard: Heard) -> None:
        """The time of an operation has come."""
        self.post(due.namespace, due.operation, TimerDue(DAEMON), heard)

    def _want_refill(self) -> None:
        self._refill_wanted.set()

    async def _refill(self) -> None:
        while True:
            await self._refill_wanted.wait()
            self._refill_wanted.clear()
            try:
                await self.dispatch.refill()
            except StoreUnavailable as error:
                log.warning("queued steps could not be read", error=str(error))

    async def _sweep(self) -> None:
        """Let idle actors go: what they wait for is in the store. Look at operations that a failure left in doubt."""
        while True:
            self.dispatch.look_again()
            if self._was_in_doubt and not self._in_doubt:
                await self._recount()
            self._was_in_doubt = bool(self._in_doubt)
            for place in list(islice(self._in_doubt, IN_DOUBT_MAX)):
                del self._in_doubt[place]
                self.post(*place, _nothing)
            now, passed = self.clock.now(), self.clock.passed()
            queued = 0
            for actor in list(self._actors.values()):
                if actor.is_idle:
                    queued += actor.is_queued
                    has_long_to_wait = actor.is_queued and queued > QUEUED_MAX
                    if has_long_to_wait or passed - actor.idle_since >= self._limits.idle_us:
                        actor.close()
            await self.clock.sleep_until(now + SWEEP_EVERY_US)

    async def _recount(self) -> None:
        """Count open operations anew: what failed may have been recorded all the same."""
        try:
            tallies = await self.store.tallies()
        except StoreUnavailable:
            return
        counted = Counter(actor.namespace for actor in self._actors.values() if actor.is_new)
        for tally in tallies:
            if tally.state not in FINAL:
                counted[tally.namespace] += tally.count
        for namespace in self._open:
            self._open[namespace] = counted[namespace]


def _nothing(operation: Operation) -> None:
    """Nothing to tell: the actor looks at what is outstanding after every letter."""


def _shutting_down() -> Unavailable:
    return Unavailable("SHUTTING_DOWN", "the daemon is shutting down")


def _look_at(future: asyncio.Future[Answer]) -> None:
    if not future.cancelled():
        future.exception()
