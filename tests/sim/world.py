"""One run: all live for a while and things go wrong; then nothing goes wrong any more, and all must come to its end.

`run` makes the loop and the world of a plan, and says what became of it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hmsactd.core.principal import DAEMON
from hmsactd.core.transitions import FINAL
from hmsactd.identity import dev
from hmsactd.settings.settings import Settings
from hmsactd.timeline.entropy import ENTROPY
from tests.sim.chance import Chance
from tests.sim.clock import SECOND, SimulatedClock
from tests.sim.disk import Disk
from tests.sim.followers import LogFollower, OperationFollower, StuckFollower
from tests.sim.hearing import heard, of_loop
from tests.sim.knobs import MAILBOX_MAX, turned
from tests.sim.loop import Loop, Stuck
from tests.sim.oracle import Broken, Oracle, check, must
from tests.sim.people import OFFICERS, Client, Officer, Operator, service, some_definition, step_name
from tests.sim.plan import Plan
from tests.sim.tower import Tower
from tests.sim.wire import Wire
from tests.sim.workers import Worker

ENDS_WITHIN_S = 400
"""How long everything may take to come to its end, in virtual time, once all faults have stopped."""

WELL_AFTER_S = 15
"""How long after the last fault the daemon may be late: what could not be told is left alone for five seconds."""

JUMP_MAX_S = 40

Mishap = Callable[[random.Random], Coroutine[Any, Any, None]]

PRINCIPALS = frozenset(
    (DAEMON.id, dev.CASEBOT.id, *(person.id for person in dev.PEOPLE), *(f"dev:svc/{service(n)}" for n in range(2)))
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run. `broken` says what does not hold, "" if all does."""

    plan: Plan
    broken: str
    hash: str
    events: int = 0
    operations: int = 0
    lives: int = 0
    seconds: float = 0.0
    steps: int = 0
    died_at: str = ""


def run(plan: Plan, say: Callable[[str], None] | None = None, *, is_thorough: bool = False) -> Outcome:
    """Let a plan happen. `say` is told what goes on."""
    chance = Chance(plan.seed)
    loop = Loop(chance.of("order"), plan.disorder)
    world = World(plan, chance, loop, say, is_thorough=is_thorough)
    was_collecting = gc.isenabled()
    # When the collector comes by depends on everything that ever ran in this process, and it ends generators.
    gc.disable()
    ENTROPY.draw_from(chance.of("entropy").randbytes)
    try:
        with heard(world.oracle.note, world.say if say else None), turned(is_small=plan.small):
            loop.set_exception_handler(of_loop(world.oracle.note))
            asyncio.set_event_loop(loop)
            return world.outcome(*_ended(loop, world))
    finally:
        _clear(loop)
        asyncio.set_event_loop(None)
        loop.close()
        ENTROPY.draw_from(os.urandom)
        if was_collecting:
            gc.enable()


def _clear(loop: Loop) -> None:
    """A run that has failed leaves tasks behind; they end here, and not when the interpreter does."""
    loop.set_exception_handler(lambda *_: None)
    for _ in range(3):
        for task in asyncio.all_tasks(loop):
            task.cancel()
        if asyncio.all_tasks(loop):
            with suppress(Stuck):
                loop.run_until_complete(_turns(100))


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def _ended(loop: Loop, world: World) -> tuple[str, str]:
    """What is broken, and the hash."""
    try:
        return "", loop.run_until_complete(world.live())
    except* Broken as group:
        broken: BaseException = group
        while isinstance(broken, BaseExceptionGroup):
            broken = broken.exceptions[0]
        found = str(broken)
    except* Stuck as group:
        found = f"it is stuck: {group.exceptions[0]}"
    return found, ""


@lru_cache
def _settings(mailbox_max: int, heartbeat_s: int) -> Settings:
    return Settings(
        dev=True,
        engine={"idle": "1s", "mailbox_max": mailbox_max},
        workers={"grace": "3s"},
        defaults={"unattended": "6s"},
        streams={"heartbeat": f"{heartbeat_s}s"},
        shutdown={"grace": "4s"},
    )


class World:
    """Everything there is."""

    def __init__(
        self, plan: Plan, chance: Chance, loop: Loop, say: Callable[[str], None] | None, *, is_thorough: bool
    ) -> None:
        self.plan = plan
        self.chance = chance
        self.loop = loop
        self.is_calm = False
        self.calm_since_us: int | None = None
        self.oracle = Oracle()
        self.wire = Wire(plan)
        self.clock = SimulatedClock(chance.of("clock"))
        self.disk = Disk(plan, chance.of("disk"), self._die)
        settings = _settings(MAILBOX_MAX if plan.small else 1_000, plan.heartbeat_s)
        self.tower = Tower(self.disk, self.wire, self.clock, settings, chance.of("keys").randbytes(32))
        self._say = say
        self._is_thorough = is_thorough
        self._is_over = False
        self._clients: list[asyncio.Task[None]] = []

    def say(self, what: str) -> None:
        if self._say is not None:
            self._say(f"{self.loop.time():9.4f}  {what}")

    def outcome(self, broken: str, found: str) -> Outcome:
        image = self.disk.image()
        died_at = str(self.disk.died_at or "")
        return Outcome(
            self.plan,
            broken,
            found,
            len(image._rows),
            len(image._kept),
            self.tower.lives,
            self.loop.time(),
            self.loop.steps,
            died_at,
        )

    # -- from beginning to end -----------------------------------------------------------------------------------------

    async def live(self) -> str:
        """The whole run; returns the hash. Raises Broken."""
        async with asyncio.TaskGroup() as everybody:
            others = [everybody.create_task(each, name="sim") for each in (self._supervise(), *self._cast(everybody))]
            await self._go_wrong(everybody)
            await self._come_to_an_end()
            self._is_over = True
            await self._stop()
            for task in others:
                task.cancel()
            for task in asyncio.all_tasks():
                if task.get_name().startswith("sim "):
                    task.cancel()
        await asyncio.sleep(1)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        must(not left, "no task is left over", left)
        must(not self.tower.faults, "a daemon ends when it is told to", *self.tower.faults)
        return await check(self.oracle, self.tower, self.disk.image(), PRINCIPALS, is_thorough=self._is_thorough)

    def _cast(self, tasks: asyncio.TaskGroup) -> list[Coroutine[Any, Any, None]]:
        plan, of = self.plan, self.chance.of
        drawing = of("definitions")
        definitions = [some_definition(drawing, plan.items_max, plan.services) for _ in range(2)]
        for number in range(plan.clients):
            client = Client(self, of(f"client {number}"), f"client-{number}", definitions)
            self._clients.append(tasks.create_task(client.live(), name="sim client"))
        lives = [Officer(self, of(f"officer {token}"), token).live() for token in OFFICERS]
        lives.append(Operator(self, of("operator")).live())
        steps = [step_name(number) for number in range(plan.items_max)]
        for number in range(plan.services):
            for each in range(plan.workers):
                name = f"worker-{number}-{each}"
                lives.append(Worker(self, of(name), name, service(number), steps, tasks).live())
        lives += [OperationFollower(self, of(f"watcher {number}")).live() for number in range(plan.watchers)]
        lives += [StuckFollower(self, of(f"stuck {number}")).live() for number in range(plan.stuck)]
        lives += [LogFollower(self, of(f"log follower {number}")).live() for number in range(plan.log_followers)]
        return lives

    # -- what goes wrong -----------------------------------------------------------------------------------------------

    async def _go_wrong(self, tasks: asyncio.TaskGroup) -> None:
        plan, chance = self.plan, self.chance.of("chaos")
        mishaps: tuple[tuple[int, str, Mishap], ...] = (
            (plan.crashes, "crash", self._crash),
            (plan.stops, "stop", self._restart),
            (plan.full_spells, "disk full", self._fill_disk),
            (plan.clock_jumps, "clock", self._set_clock),
        )
        events = [
            (chance.uniform(0, plan.seconds), what, happen) for count, what, happen in mishaps for _ in range(count)
        ]
        for at, what, happen in sorted(events, key=lambda event: event[:2]):
            await asyncio.sleep(max(0.0, at - self.loop.time()))
            self.say(f"happens: {what}")
            tasks.create_task(happen(chance), name="sim mishap")
        await asyncio.sleep(max(0.0, plan.seconds - self.loop.time()))

    async def _crash(self, chance: random.Random) -> None:
        # Anywhere, in the middle of anything.
        for _ in range(chance.randrange(40)):
            await asyncio.sleep(0)
        if not self.is_calm:
            self._die()

    def _die(self) -> None:
        self.say("the daemon is killed")
        self.tower.kill()

    async def _restart(self, _: random.Random) -> None:
        if self.tower.is_up and not self.is_calm:
            await self._stop()

    async def _stop(self) -> None:
        """Stop in order, unless the process is killed while it does."""
        stopping = self.loop.create_task(self.tower.stop(), name="sim stop")
        died = self.loop.create_task(self.tower.died.wait(), name="sim death")
        await asyncio.wait((stopping, died), return_when=asyncio.FIRST_COMPLETED, timeout=60)
        must(self.tower.died.is_set(), "a daemon that is told to stop does")
        stopping.cancel()
        await asyncio.wait((stopping,))
        if not stopping.cancelled() and (error := stopping.exception()) is not None:
            self.oracle.note(f"the daemon could not stop: {error!r}")

    async def _fill_disk(self, chance: random.Random) -> None:
        self.disk.full_until = self.loop.time() + chance.uniform(0.5, 5)

    async def _set_clock(self, chance: random.Random) -> None:
        self.clock.set_by(round(chance.uniform(-JUMP_MAX_S, JUMP_MAX_S) * SECOND))

    async def _supervise(self) -> None:
        """Starts the daemon, again and again, as systemd does."""
        chance = self.chance.of("supervisor")
        while True:
            if await self.tower.start():
                self.say(f"the daemon is up, life {self.tower.lives}")
                if self.is_calm:
                    self._is_well()
                await self.tower.died.wait()
                self.calm_since_us = None
            await self.tower.buried()
            await asyncio.sleep(
                chance.uniform(0.05, 0.5) if self.is_calm or chance.random() < 0.7 else chance.uniform(1, 6)
            )
            if self._is_over:
                return

    # -- and comes to its end ------------------------------------------------------------------------------------------

    async def _come_to_an_end(self) -> None:
        self.say("faults stop")
        self.is_calm = self.wire.is_calm = self.disk.is_calm = True
        if self.tower.is_up:
            self._is_well()
        until = self.loop.time() + ENDS_WITHIN_S
        well_at = self.loop.time() + WELL_AFTER_S
        while not self._is_at_end():
            must(self.loop.time() < until, "everything comes to its end once faults stop", self._waits_for())
            if self.oracle.well_since is None and self.loop.time() >= well_at and not self.plan.failpoint:
                self.oracle.well_since = len(self.disk.image()._rows), self.clock.now()
            await asyncio.sleep(0.5)

    def _is_well(self) -> None:
        # What was slow before may be so for a moment longer.
        self.calm_since_us = self.clock.now() + 3 * SECOND

    def _is_at_end(self) -> bool:
        return (
            self.tower.is_up
            and all(client.done() for client in self._clients)
            and all(kept.summary.state in FINAL for kept in self.disk.image()._kept.values())
            and all(seen.is_final for seen in self.oracle.seen)
            and all(len(leaves) == len(self.disk.image()._rows) for leaves in self.oracle.log_seen)
        )

    def _waits_for(self) -> str:
        image = self.disk.image()
        open_ones = [kept.summary for kept in image._kept.values() if kept.summary.state not in FINAL]
        told = [(each.operation, each.state, each.awaits, each.awaits_name, each.due_at) for each in open_ones]
        return "; ".join(
            (
                f"the daemon is {'up' if self.tower.is_up else 'down'}",
                f"open {told}",
                f"{sum(not client.done() for client in self._clients)} clients wait",
                f"unseen {[(seen.operation, len(seen.sequences)) for seen in self.oracle.seen if not seen.is_final]}",
                f"of {len(image._rows)} records {[len(leaves) for leaves in self.oracle.log_seen]} seen",
            )
        )
