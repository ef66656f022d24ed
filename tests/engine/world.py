"""An engine over a store in one process, with time that a test moves, people who ask, and workers who work.

Nothing here waits for luck: `quiet` returns when nothing more will happen by itself, `until` when something has.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio

from hmsactd.core.apply import replay
from hmsactd.core.events import Event
from hmsactd.core.inputs import Input, Start
from hmsactd.core.legality import first_illegal
from hmsactd.core.operation import Operation
from hmsactd.core.principal import Principal
from hmsactd.definition.flow import Flow, StepDefinition
from hmsactd.engine.engine import Engine, Limits
from hmsactd.engine.letter import Answer, RequestKey
from hmsactd.engine.requests import Done, Requests
from hmsactd.engine.summary import NOTHING_GIVEN
from hmsactd.engine.tickets import Tickets
from hmsactd.engine.tokens import Tokens
from hmsactd.errors import Unavailable
from hmsactd.store.errors import Unavailable as StoreUnavailable
from hmsactd.store.store import Store
from hmsactd.timeline import codec
from hmsactd.timeline.keys import Keys, fresh_keys
from hmsactd.timeline.payloads import commit
from hmsactd.timeline.timeline import Timelines
from tests.core.dialogue import CITIZEN, EPOCH, checkpoint, flow_of, step

SPACE = "default"
SECOND = 1_000_000
LIMITS = Limits(
    idle_us=5 * SECOND,
    mailbox_max=1_000,
    grace_us=10 * SECOND,
    completion_us=30 * 86_400 * SECOND,
    unattended_us=900 * SECOND,
    sessions_max=1_000,
    open_operations_max=1_000_000,
)
KEYS = fresh_keys()
ROUNDS_MAX = 100_000
"""Turns of the loop after which something is busy for nothing."""

__all__ = ["EPOCH", "LIMITS", "SECOND", "SPACE", "World", "checkpoint", "flow_of", "kinds", "living", "step"]


class StillClock:
    """Time that stands still but for a test, without any timer of the machine's."""

    def __init__(self) -> None:
        self._passed = EPOCH
        self._set_by = 0
        self._sleepers: dict[asyncio.Future[None], tuple[int, int]] = {}

    def now(self) -> int:
        return self._passed + self._set_by

    def passed(self) -> int:
        return self._passed

    async def sleep_until(self, at: int) -> None:
        left_us = at - self.now()
        if left_us <= 0:
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers[woken] = (at, self._passed + left_us)
        try:
            await woken
        finally:
            self._sleepers.pop(woken, None)

    def advance(self, by_us: int) -> None:
        self._passed += by_us
        for woken, (at, until) in list(self._sleepers.items()):
            if (at <= self.now() or until <= self._passed) and not woken.done():
                woken.set_result(None)

    def set_back(self, by_us: int) -> None:
        """Somebody sets the clock: no time passes."""
        self._set_by -= by_us


class Everybody:
    """A directory in which there is always somebody, unless a test empties it; and nobody who watches."""

    def __init__(self) -> None:
        self.is_empty = False
        self.changes = 0

    def anyone_entitled(self, role: str, except_people: Collection[str]) -> bool:
        return not self.is_empty

    def operation_changed(
        self, namespace: str, before: Operation | None, after: Operation, events: Sequence[Event]
    ) -> None:
        self.changes += 1


class World:
    """A daemon's inside: committer, engine, requests. `kill` and `open` again is a crash and a restart."""

    def __init__(
        self,
        store: Store,
        tasks: asyncio.TaskGroup,
        *,
        limits: Limits = LIMITS,
        keys: Keys = KEYS,
        clock: StillClock | None = None,
    ) -> None:
        self.store = store
        self.tasks = tasks
        self.clock = clock or StillClock()
        self.everybody = Everybody()
        self._limits = limits
        self._keys = keys
        self._asked = itertools.count(1)
        self._life: asyncio.Task[None] | None = None
        self.timelines: Timelines
        self.engine: Engine
        self.requests: Requests

    # -- life ----------------------------------------------------------------------------------------------------------

    async def open(self) -> World:
        """Start, as a daemon does; returns once it has recovered."""
        self.timelines = await Timelines.open(self.store, self._keys)
        self.requests = Requests(self.store, self.timelines)
        tickets, tokens = Tickets(self._keys.payload), Tokens(self._keys.payload)
        self.engine = Engine(
            self.store, self.timelines, self.clock, self.everybody, self.everybody, self._limits, tickets, tokens
        )
        is_ready = asyncio.Event()
        self._life = self.tasks.create_task(self._live(is_ready), name="daemon")
        await is_ready.wait()
        return self

    async def _live(self, is_ready: asyncio.Event) -> None:
        async with anyio.create_task_group() as services:
            services.start_soon(self.timelines.run, name="committer")
            await services.start(self.engine.run, name="engine")
            is_ready.set()

    @property
    def is_up(self) -> bool:
        return self._life is not None and not self._life.done()

    async def kill(self) -> None:
        """End at once, as by SIGKILL; what the store has kept is kept."""
        assert self._life is not None
        self._life.cancel()
        await asyncio.wait([self._life])
        await self.store.close()

    async def stop(self) -> None:
        """End in order, as by SIGTERM."""
        assert self._life is not None
        await self.engine.stop()
        await self.timelines.close()
        await asyncio.wait([self._life])

    # -- time ----------------------------------------------------------------------------------------------------------

    async def quiet(self) -> None:
        """Return when nothing more will happen without time passing. For stores that need no thread."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # the one way to know that all is done
        for _ in range(ROUNDS_MAX):
            await asyncio.sleep(0)
            if not ready:
                return
        raise AssertionError(f"it is never quiet: {[getattr(each._callback, '__self__', each) for each in ready]}")

    async def turn(self) -> None:
        """Let the loop turn once."""
        await asyncio.sleep(0)

    async def pass_time(self, seconds: float, tick: float = 1) -> None:
        """Let time pass a tick after the other, and let happen what does."""
        await self.quiet()
        until = self.clock.now() + round(seconds * SECOND)
        while self.clock.now() < until:
            self.clock.advance(min(round(tick * SECOND), until - self.clock.now()))
            await self.quiet()

    # -- people --------------------------------------------------------------------------------------------------------

    def start(self, flow: Flow, by: Principal = CITIZEN, said: bytes = b'{"year":2026}') -> asyncio.Future[Answer]:
        return self.engine.start(SPACE, Start(by, flow, commit(said)), NOTHING_GIVEN)

    async def started(self, flow: Flow, by: Principal = CITIZEN, said: bytes = b'{"year":2026}') -> str:
        return (await self.start(flow, by, said)).operation_id

    async def tell(self, operation_id: str, told: Input) -> Answer:
        return await self.engine.tell(SPACE, operation_id, told)

    def request(self, by: Principal = CITIZEN, rpc: str = "Rpc", digest: str = "same") -> RequestKey:
        return RequestKey(SPACE, by.id, rpc, f"request-{next(self._asked)}", digest)

    async def insist(self, run: Callable[[RequestKey], asyncio.Future[Answer]], key: RequestKey, **told: Any) -> Done:
        """Ask with a request id until there is an answer, as a client of the SDK does."""
        while True:
            try:
                return await self.requests.once(SPACE, key, lambda: run(key), **told)
            except (Unavailable, StoreUnavailable):
                await self.clock.sleep_until(self.clock.now() + SECOND // 2)

    def do(self, what: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Let somebody do something meanwhile."""
        return self.tasks.create_task(what, name="somebody")

    # -- what is on the record -----------------------------------------------------------------------------------------

    async def events(self, operation_id: str) -> list[Event]:
        """Its timeline, gapless, legal, and with the state that its row speaks of."""
        rows = [row for after in range(0, 100_000, 500) for row in await self._page(operation_id, after)]
        assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
        found = [event for row in rows if (event := codec.decode(row.record)) is not None]
        assert len(found) == len(rows)
        assert (illegal := first_illegal(found)) is None, illegal
        kept = await self.store.kept(SPACE, operation_id)
        state = replay(found)
        assert kept is not None
        assert state is not None
        assert (kept.summary.sequence, kept.summary.state, kept.head) == (len(rows), state.state.value, rows[-1].leaf)
        return found

    async def _page(self, operation_id: str, after: int) -> Sequence[Any]:
        return await self.store.records(SPACE, operation_id, after=after, limit=500)

    async def state(self, operation_id: str) -> Operation:
        found = await self.engine.look(SPACE, operation_id)
        assert found is not None
        return found

    async def stands(self, operation_id: str) -> str:
        """The state in a word, as in the operation's row."""
        summary = await self.store.summary(SPACE, operation_id)
        assert summary is not None
        return summary.state


@asynccontextmanager
async def living(store: Store, *, limits: Limits = LIMITS) -> AsyncIterator[World]:
    """A world that is up, and taken down at the end whatever became of it."""
    async with asyncio.TaskGroup() as tasks:
        world = await World(store, tasks, limits=limits).open()
        try:
            yield world
        finally:
            if world.is_up:
                await world.kill()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                if task.get_name() in ("somebody", "worker"):
                    task.cancel()


async def until(holds: Callable[[], bool], within_s: float = 20) -> None:
    """Return when it holds. For what a thread of a store brings about."""
    gives_up_at = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < gives_up_at, "it has not come about in time"
        await asyncio.sleep(0.002)


def kinds(events: Sequence[Event]) -> list[str]:
    """What has happened, with the instance and the attempt where there is one."""
    return [_kind(event) for event in events]


def _kind(event: Event) -> str:
    instance, attempt = getattr(event, "instance", None), getattr(event, "attempt", None)
    return event.kind + (f" {instance}" if instance is not None else "") + (f".{attempt}" if attempt else "")


def with_heartbeat(item: StepDefinition, heartbeat_ms: int) -> StepDefinition:
    return replace(item, heartbeat_ms=heartbeat_ms)
