"""The disk, and the store upon it: `hmsactd.store.memory` is what the disk holds; this says when, and whether at all.

A write reaches the disk some time after it was asked for. Until then it is nowhere; if the process dies, or the write
fails in the middle, chance says whether it got there, once, when somebody looks. What was answered as kept stays.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from hmsactd.store.condition import Condition
from hmsactd.store.errors import Trouble, Unavailable
from hmsactd.store.memory import MemoryStore
from hmsactd.store.store import Batch, Birth, Log, Store
from tests.sim.failpoints import OPEN, PROBE, RECOVERY, REOPEN, Moment, Point
from tests.sim.plan import Plan

WRITING = ("open", "reopen", "probe", "begin_incarnation", "close", "write", "erase")


class Disk:
    """Outlives the processes that use it. `kill` ends the process that has come to the failpoint."""

    def __init__(self, plan: Plan, chance: random.Random, kill: Callable[[], None]) -> None:
        self.plan = plan
        self.chance = chance
        self.kill = kill
        self.is_calm = False
        self.full_until = 0.0
        self.store: SimulatedStore | None = None
        self.died_at: Point | None = None
        self._times_to_come = plan.failpoint_at

    def mount(self) -> SimulatedStore:
        """The disk in the hands of a new process."""
        assert self.store is None or self.store.is_dead, "one process has the disk"
        self.store = SimulatedStore(self, self.store)
        return self.store

    def image(self) -> MemoryStore:
        """What the disk holds now, to look at without any trouble."""
        image = MemoryStore()
        if self.store is not None:
            vars(image).update(self.store.kept_by_disk())
        return image

    @property
    def trouble(self) -> Unavailable | None:
        """Why nothing can be written now."""
        if not self.is_calm and asyncio.get_running_loop().time() < self.full_until:
            return Unavailable("the disk is full", Trouble.DISK_FULL)
        return None

    def happens(self, rate: float) -> bool:
        """True if a fault of this rate happens now."""
        return not self.is_calm and rate > 0 and self.chance.random() < rate

    async def take_its_time(self) -> None:
        """Be as slow as a disk is."""
        slow = self.happens(self.plan.slow)
        await asyncio.sleep(self.chance.uniform(0.05, 2) if slow else self.chance.uniform(0.0002, 0.005))

    async def reach(self, steps: Sequence[str], moment: Moment) -> None:
        """The process comes to some points; if one is the failpoint it goes no further."""
        point = next((Point(step, moment) for step in steps if f"{step}:{moment}" == self.plan.failpoint), None)
        if point is None or self.died_at is not None:
            return
        self._times_to_come -= 1
        if self._times_to_come == 0:
            self.died_at = point
            self.kill()
            await asyncio.get_running_loop().create_future()


class SimulatedStore(MemoryStore):
    """The store of one process, from its start to its death."""

    def __init__(self, disk: Disk, before: SimulatedStore | None) -> None:
        super().__init__()
        if before is not None:
            vars(self).update(before.kept_by_disk())
        self._disk = disk
        self._under_way: Batch | None = None
        self.is_dead = False

    def kept_by_disk(self) -> dict[str, Any]:
        """What a process leaves behind."""
        return {name: getattr(self, name) for name in vars(MemoryStore()) if name not in ("condition", "_is_open")}

    def die(self) -> None:
        """The process is gone. What it was writing has reached the disk, or not."""
        self._decide()
        self.is_dead = True
        self.condition = Condition()

    def _decide(self) -> None:
        batch, self._under_way = self._under_way, None
        if batch is not None and self._disk.chance.random() < 0.5:
            self._commit(batch)

    async def open(self, birth: Birth) -> Log:
        disk = self._disk
        await disk.reach([OPEN], Moment.BEFORE)
        await disk.take_its_time()
        self._check(disk.plan.read_fails)
        is_synced = disk.chance.random() < 0.5
        log = await super().open(birth) if is_synced else None
        await disk.reach([OPEN], Moment.UNSYNCED)
        log = log or await super().open(birth)
        await disk.reach([OPEN], Moment.AFTER)
        return log

    async def reopen(self) -> Log:
        disk = self._disk
        await disk.reach([REOPEN], Moment.BEFORE)
        await disk.take_its_time()
        self._check(disk.plan.read_fails)
        self._decide()
        log = await super().reopen()
        await disk.reach([REOPEN], Moment.AFTER)
        return log

    async def probe(self) -> None:
        disk = self._disk
        await disk.reach([PROBE], Moment.BEFORE)
        await disk.take_its_time()
        self._check(disk.plan.write_fails, disk.trouble)
        await disk.reach([PROBE], Moment.AFTER)

    async def close(self) -> None:
        self._decide()
        await super().close()

    async def write(self, batch: Batch) -> dict[int, Exception]:
        disk = self._disk
        steps = _steps(batch) if disk.plan.failpoint else ()
        await disk.reach(steps, Moment.BEFORE)
        await disk.take_its_time()
        self._check(disk.plan.write_fails, disk.trouble)
        self._under_way = batch
        await disk.reach(steps, Moment.UNSYNCED)
        await disk.take_its_time()
        self._check(disk.plan.write_doubts)
        self._under_way = None
        refused = self._commit(batch)
        await disk.reach(steps, Moment.AFTER)
        return refused

    def _check(self, rate: float, trouble: Unavailable | None = None) -> None:
        if self.is_dead:
            raise Unavailable("the process is dead")
        if trouble is not None:
            raise trouble
        if self._disk.happens(rate):
            raise Unavailable("the disk reports an error", Trouble.IO_ERROR)


def _steps(batch: Batch) -> list[str]:
    return [f"write {json.loads(event.record)['kind']}" for append in batch.appends for event in append.events]


def _troubled(name: str, read: Callable[..., Any]) -> Callable[..., Any]:
    """A read that takes its time, before it looks or after, so that its answer may be old when it comes."""
    steps = [f"recover {name}"] if f"recover {name}" in RECOVERY else []

    async def troubled(self: SimulatedStore, *args: Any, **named: Any) -> Any:
        disk = self._disk
        if steps:
            await disk.reach(steps, Moment.BEFORE)
        when = disk.chance.random()
        if when < 0.2:
            await disk.take_its_time()
        self._check(disk.plan.read_fails)
        found = await read(self, *args, **named)
        if when > 0.8:
            await disk.take_its_time()
        if steps:
            await disk.reach(steps, Moment.AFTER)
        return found

    return troubled


for _name, _method in inspect.getmembers(Store, inspect.iscoroutinefunction):
    if _name not in WRITING:
        setattr(SimulatedStore, _name, _troubled(_name, getattr(MemoryStore, _name)))
