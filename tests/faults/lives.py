"""A program: plays one life of the daemon after the other, each with a fault of the disk at another place.

Runs with faults.c preloaded. A fault begins with the k-th write, fsync or growth of a file, counted from before the
data is opened, for k = 1, 2, 3 … until a life has no more of them. Says a line of JSON for each life.

Arguments: a directory, whose `lives` is on the disk that fails; see also --help.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from hmsactd.core.inputs import Start
from hmsactd.engine.requests import Done
from hmsactd.engine.summary import NOTHING_GIVEN
from hmsactd.errors import Unavailable
from hmsactd.store import sqlite
from hmsactd.store.errors import DataRefused
from hmsactd.store.errors import Unavailable as StoreUnavailable
from hmsactd.store.look import refuse_damaged
from hmsactd.store.sqlite import DATABASE_FILE, SqliteStore
from hmsactd.store.store import Batch
from hmsactd.timeline.keys import Keys, check_name, keep_name, load_keys
from hmsactd.timeline.payloads import commit
from hmsactd.timeline.timeline import Timelines
from tests.core.dialogue import CITIZEN
from tests.engine.hands import Hands
from tests.engine.world import SPACE, World
from tests.faults.faults import Faults
from tests.faults.jumping import InlineConnection, JumpingClock, JumpingLoop
from tests.faults.life import ENDS, KEPT, Heard, Life, named
from tests.faults.promises import check_told, check_whole

LIFTED_AFTER_S = 3
"""How long a fault for good lasts, until somebody mends the disk."""

BROKEN_MAX = 20
"""After so many broken promises no more are looked for: what breaks every life would never come to an end."""

Told = dict[str, object]
MANY = 1_000_000
"""More than a life has writes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a disk: so many of the calls fail that come after the first ones, -1 for all."""

    before: str
    fails: str
    times: int
    reason: str

    @property
    def is_for_good(self) -> bool:
        return self.times < 0


FAULTS = {
    "write, once": Fault("writes_before", "write_fails", 1, "STORE_IO_ERROR"),
    "write, for good": Fault("writes_before", "write_fails", -1, "STORE_IO_ERROR"),
    "fsync, once": Fault("fsyncs_before", "fsync_fails", 1, "STORE_IO_ERROR"),
    "fsync, for good": Fault("fsyncs_before", "fsync_fails", -1, "STORE_IO_ERROR"),
    "full, once": Fault("growths_before", "growth_fails", 1, "DISK_FULL"),
    "full, for good": Fault("growths_before", "growth_fails", -1, "DISK_FULL"),
}

Play = Callable[[Fault, int], Coroutine[Any, Any, Told]]
"""A life with a fault at its k-th place."""


class Disk:
    """The disk that fails."""

    def __init__(self, base: Path) -> None:
        told = ("LD_PRELOAD", "HMSACT_FAULTS", "HMSACT_FAULTS_BELOW")
        self._faults = Faults(*(Path(os.environ[name]) for name in told))
        self.data = base / "lives" / "data"
        self.image = base / "image"

    def begin(self, fault: Fault, k: int) -> None:
        """From now on the k-th fails."""
        self.mend()
        self._faults.set(writes_failed=0, fsyncs_failed=0, **{fault.before: k - 1, fault.fails: fault.times})

    @property
    def is_struck(self) -> bool:
        """True once something has failed."""
        return self._faults.get("writes_failed") + self._faults.get("fsyncs_failed") > 0

    def passed(self, fault: Fault) -> int:
        """How many calls have been counted, if the fault that was to come is beyond all of them."""
        return MANY - 1 - self._faults.get(fault.before)

    def mend(self) -> None:
        """From now on nothing fails."""
        self._faults.set(**dict.fromkeys((name for each in FAULTS.values() for name in (each.before, each.fails)), 0))


@dataclass(frozen=True, slots=True)
class Begun:
    """A data directory as a daemon that was killed has left it, and what was acknowledged in it."""

    directory: Path
    kept: Done
    key: str


# -- a daemon ----------------------------------------------------------------------------------------------------------


def ready(data: Path) -> tuple[SqliteStore, Keys]:
    """What the daemon looks at before it opens its data."""
    database = data / DATABASE_FILE
    check_name(data, database)
    keys = load_keys(data, may_make=not database.exists())
    refuse_damaged(database)
    return SqliteStore(database), keys


async def opened(disk: Disk, tasks: asyncio.TaskGroup, *, is_for_good: bool = False) -> tuple[World, bool]:
    """A daemon over the data, and whether it has refused to start: then the disk is mended, and it is started again."""
    refusals: list[str] = []
    while True:
        try:
            store, keys = ready(disk.data)
            world = await World(store, tasks, keys=keys, clock=JumpingClock()).open()
            keep_name(disk.data, world.timelines.origin)
        except DataRefused as error:
            refusals.append(str(error))
        else:
            return world, bool(refusals)
        assert disk.is_struck, f"refused without a fault: {refusals}"
        assert len(refusals) == 1, f"refused once more on a disk that is well: {refusals}"
        assert "damaged" not in refusals[0]
        if is_for_good:
            disk.mend()


async def kill(world: World) -> None:
    """The process is killed, and nobody who was connected is left."""
    await world.kill()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


def copied(data: Path, to: Path) -> Path:
    """What would be found if the process were killed now: its files, without the memory that it shared."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(mode=0o700, parents=True)
    for file in data.iterdir():
        if not file.name.endswith("-shm"):
            shutil.copy2(file, to / file.name)
    return to


async def recovered(data: Path) -> None:
    """Opens what is there as the daemon does, and closes it."""
    store, keys = ready(data)
    timelines = await Timelines.open(store, keys)
    await timelines.close()


async def begun(directory: Path, disk: Disk) -> Begun:
    """Data in which a step is in a worker's hands, as a SIGKILL leaves it."""
    disk.data.mkdir(parents=True, mode=0o700)
    async with asyncio.TaskGroup() as tasks:
        world, _ = await opened(disk, tasks)
        worker = Hands(world, "Irs", "ask", work=None).connect()
        kept = await started(world)
        while not worker.calls:  # noqa: ASYNC110 -- time jumps
            await asyncio.sleep(0.1)
        copied(disk.data, directory)
        await kill(world)
    return Begun(directory, kept, world.timelines.verifier_key)


async def started(world: World) -> Done:
    start = Start(CITIZEN, named("kept", KEPT), commit(b'{"name":"Jane Roe"}'))
    return await world.requests.once(SPACE, None, lambda: world.engine.start(SPACE, start, NOTHING_GIVEN))


# -- lives -------------------------------------------------------------------------------------------------------------


async def live(disk: Disk, begun: Begun, fault: Fault, k: int) -> Told:
    """One life over what was begun; raises AssertionError for a promise that was not kept."""
    copied(begun.directory, disk.data)
    disk.begin(fault, k)
    async with asyncio.TaskGroup() as tasks:
        world, is_refused = await opened(disk, tasks, is_for_good=fault.is_for_good)
        life = Life(world, begun.kept)
        mending = tasks.create_task(mend(life, begun, disk, fault), name="mending")
        if is_refused:
            mending.cancel()
        await life.play()
        mending.cancel()
        assert await life.ends() == ENDS
        killed = copied(disk.data, disk.image)
        await kill(world)
    told: Told = {"struck": disk.is_struck, "places": disk.passed(fault), "start refused": is_refused}
    disk.mend()
    for data in (disk.data, killed):
        await recovered(data)
        check_told(data, life.heard, begun.key)
        check_whole(data, life.heard)
    return told | {"refused": sum(life.heard.refused.values()), "in doubt": len(life.heard.in_doubt)}


async def mend(life: Life, begun: Begun, disk: Disk, fault: Fault) -> None:
    """Mends the disk a while after the fault. What a SIGKILL would leave just before that is sound, too."""
    while not disk.is_struck:  # noqa: ASYNC110 -- time jumps
        await asyncio.sleep(0.1)
    if fault.is_for_good:
        await asyncio.sleep(LIFTED_AFTER_S)
        assert (trouble := life.world.store.condition.trouble) is not None
        assert trouble.reason == fault.reason
        assert set(life.heard.refused) <= {fault.reason}, life.heard.sentences
    heard, killed = deepcopy(life.heard), copied(disk.data, disk.image)
    disk.mend()
    await recovered(killed)
    check_told(killed, heard, begun.key)


async def born(disk: Disk, fault: Fault, k: int) -> Told:
    """The first start of all, in an empty directory, until something was acknowledged."""
    shutil.rmtree(disk.data)
    disk.data.mkdir(mode=0o700)
    disk.begin(fault, k)
    heard = Heard()
    async with asyncio.TaskGroup() as tasks:
        world, is_refused = await opened(disk, tasks, is_for_good=fault.is_for_good)
        while not heard.acknowledged:
            try:
                heard.acknowledged.append(await started(world))
            except (Unavailable, StoreUnavailable):
                disk.mend()
                await asyncio.sleep(LIFTED_AFTER_S)
        killed = copied(disk.data, disk.image)
        await kill(world)
    told: Told = {"struck": disk.is_struck, "places": disk.passed(fault), "start refused": is_refused}
    disk.mend()
    for data in (disk.data, killed):
        await recovered(data)
        check_told(data, heard, world.timelines.verifier_key)
    return told


# -- the program -------------------------------------------------------------------------------------------------------


async def swallowed(store: SqliteStore, batch: Batch, write: Any = SqliteStore.write) -> dict[int, Exception]:
    """A store as it must not be: it takes a write for done whose fsync has failed."""
    try:
        refused: dict[int, Exception] = await write(store, batch)
    except StoreUnavailable:
        return {}
    return refused


def played(life: Coroutine[Any, Any, Told]) -> Told:
    """What became of a life, and how long it took."""
    began = time.perf_counter()
    told: Told
    with structlog.testing.capture_logs() as said, asyncio.Runner(loop_factory=lambda: JumpingLoop(60)) as runner:
        try:
            told = runner.run(life)
            worst = [each for each in said if each["log_level"] == "critical" or each["event"] == "actor failed"]
            assert not worst, worst
        except BaseException:  # noqa: BLE001 -- whatever it is, it is told, and the next one is played
            told = {"struck": True, "broken": traceback.format_exc(), "said": [str(each) for each in said]}
    return told | {"seconds": round(time.perf_counter() - began, 3)}


def say(line: Told) -> bool:
    """Says a line; returns whether the fault has come."""
    print(json.dumps(line), flush=True)
    return bool(line["struck"])


def lives(play: Play, name: str, most: int | None, seed: int) -> Iterator[Told]:
    """A life for every place of a fault, or for about as many as are wanted, at equal distances."""
    fault, every = FAULTS[name], 1
    if most is not None:
        places = played(play(fault, MANY))["places"]
        assert isinstance(places, int)
        # Few enough are all played.
        every = places // most or 1
    for k in range(1 + seed % every, MANY, every):
        yield {"fault": name, "k": k} | played(play(fault, k))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--fault", choices=FAULTS, action="append")
    parser.add_argument("--births", action="store_true", help="first starts, not lives")
    parser.add_argument("--most", type=int, help="so many lives a fault, not one for every place")
    parser.add_argument("--seed", type=int, default=0, help="of which places are chosen then")
    parser.add_argument("--swallow", action="store_true", help="play a store that swallows errors")
    said = parser.parse_args()
    vars(sqlite)["ErrandConnection"] = InlineConnection
    disk = Disk(said.directory)
    with structlog.testing.capture_logs(), asyncio.Runner(loop_factory=JumpingLoop) as runner:
        start = runner.run(begun(said.directory / "begun", disk))
    if said.swallow:
        SqliteStore.write = swallowed  # type: ignore[method-assign, assignment]
    play: Play = partial(born, disk) if said.births else partial(live, disk, start)
    broken = 0
    for name in said.fault or FAULTS:
        for line in lives(play, name, said.most, said.seed):
            broken += "broken" in line
            if not say(line) or broken >= BROKEN_MAX:
                break


if __name__ == "__main__":
    main()
