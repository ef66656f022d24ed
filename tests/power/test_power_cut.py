"""The power goes at any moment, and the disk keeps what it likes of what was not synced: nothing acknowledged is lost.

What a real daemon did to its database under load is recorded once, and played back up to many moments.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from hmsactd.store.errors import DataRefused
from hmsactd.store.look import refuse_damaged
from hmsactd.store.sqlite import DATABASE_FILE, SqliteStore
from hmsactd.timeline.keys import check_name, load_keys
from hmsactd.timeline.timeline import Timelines
from tests.crash import record
from tests.faults.faults import compiled
from tests.faults.tower import Tower, until
from tests.power.disk import Disk, Loss, write_image
from tests.power.recording import SOURCE, Entry, Kind, entries, environment

HERE = Path(__file__).parent
CRASH = HERE.parent / "crash"
SVCS = {"Irs": ("ask", "check"), "Treasury": ("pay",)}
IMAGES = int(os.environ.get("HMSACT_SOAK_IMAGES", "500"))
SEED = int(os.environ.get("HMSACT_SOAK_SEED", "20"))
STARTED_EACH = 25
"""Of so many images, a real daemon is started on one."""
SHOWN_MIN = 2000
ACKNOWLEDGED_MIN = 200
"""Below these the recording is void: little was promised, so little can be lost."""


@dataclass(frozen=True, slots=True)
class Promise:
    """Somebody was told at a moment that a record stands at a place."""

    moment: int
    index: int
    leaf: str


@dataclass(frozen=True, slots=True)
class Life:
    """What a daemon did to its disk, and what it promised meanwhile, both in order of time."""

    entries: Sequence[Entry]
    promises: Sequence[Promise]
    key: str


def lived(directory: Path, program: Sequence[str]) -> Life:
    """A daemon's life under load, from an empty directory until it is killed."""
    directory.mkdir()
    data, recording = directory / "data", directory / "recording"
    library = compiled(directory, SOURCE)
    tower = Tower(data, environment=environment(library, recording, data), program=program)
    acknowledged, shown = directory / "acknowledged", directory / "shown"
    with ExitStack() as stack:
        stack.callback(tower.kill)
        tower.start()
        with tower.orchestrator() as act:
            key = act.info().verifier_key
        for svc, steps in SVCS.items():
            stack.enter_context(program_of(CRASH / "agency.py", svc, *steps, address=tower.address))
        stack.enter_context(program_of(HERE / "witness.py", tower.address, str(shown)))
        stack.enter_context(program_of(CRASH / "client.py", tower.address, str(acknowledged), "32", "400"))
        until(lambda: lines(acknowledged) >= ACKNOWLEDGED_MIN, "operations are started")
        until(lambda: lines(shown) > 0 and promised(shown, 0)[-1].index >= SHOWN_MIN, "the log grows")
        tower.kill()
    promises = sorted(promised(acknowledged, 1) + promised(shown, 0), key=lambda promise: promise.moment)
    return Life(entries(recording, data), promises, key)


@contextmanager
def program_of(script: Path, *arguments: str, address: str = "") -> Iterator[None]:
    environment_ = os.environ | {"HMSACT_ADDRESS": address}
    with subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment_,
    ) as process:
        try:
            yield
        finally:
            process.kill()


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def promised(path: Path, place: int) -> list[Promise]:
    """The promises in a file, whose lines hold index, leaf and moment from some place on."""
    told = (line.split()[place:] for line in path.read_text("utf-8").splitlines(keepends=True) if line.endswith("\n"))
    return [Promise(int(moment), int(index), leaf) for index, leaf, moment in told]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    return lived(tmp_path_factory.mktemp("power") / "careful", ("-m", "hmsactd"))


def moments(life: Life, count: int, chance: Random) -> list[int]:
    """When the power goes: as somebody has just been promised something, or between two calls."""
    first = life.promises[0].moment
    under_load = [entry.ended for entry in life.entries if entry.ended > first]
    told = [promise.moment for promise in life.promises]
    return sorted(chance.choice(told if chance.random() < 0.5 else under_load) for _ in range(count))


def broken_promises(life: Life, moment: int, log: record.Log) -> list[Promise]:
    until_then = [promise for promise in life.promises if promise.moment <= moment]
    return [
        promise
        for promise in until_then
        if promise.index >= len(log.leaves) or log.leaves[promise.index].hex() != promise.leaf
    ]


def recovered(directory: Path) -> record.Log:
    """The log of an image, opened as the daemon opens it; raises DataRefused if it would not go on from it."""

    async def open_and_close() -> None:
        database = directory / DATABASE_FILE
        check_name(directory, database)
        keys = load_keys(directory, may_make=False)
        refuse_damaged(database)
        timelines = await Timelines.open(SqliteStore(database), keys)
        await timelines.close()

    asyncio.run(open_and_close())
    return record.read(directory)


def images(life: Life, count: int, chance: Random, directory: Path) -> Iterator[tuple[int, Loss, Path]]:
    disk = Disk(life.entries)
    for number, moment in enumerate(moments(life, count, chance)):
        disk.forward(moment)
        loss = list(Loss)[number % len(Loss)]
        image = directory / "image"
        write_image(disk.image(loss, chance), image)
        yield moment, loss, image
        shutil.rmtree(image)


@pytest.mark.timeout(120 + IMAGES)
def test_no_power_cut_loses_what_was_acknowledged_or_shown(
    life: Life, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    found: Counter[str] = Counter()
    for number, (moment, loss, image) in enumerate(images(life, IMAGES, Random(SEED), tmp_path)):
        where = f"image {number} of seed {SEED}: {loss.name}"
        if number % STARTED_EACH == 0:
            check_serves(image, where)
        log = recovered(image)
        assert not broken_promises(life, moment, log), where
        record.check_seal(log, life.key)
        found[loss.name] += 1
        found["records"] += len(log.leaves)
    assert found["ALL"] >= IMAGES // len(Loss)
    figures = {"images": IMAGES, "calls": len(life.entries), "promises": len(life.promises)}
    for name, figure in figures.items():
        record_testsuite_property(f"power.{name}", figure)
    print(figures | found)


def check_serves(image: Path, where: str) -> None:
    """A real daemon starts on it and answers."""
    tower = Tower(image)
    try:
        tower.start()
        with tower.orchestrator() as act:
            assert act.count() > 0, where
    finally:
        tower.kill()


@pytest.mark.timeout(180)
def test_the_same_with_synchronous_normal_is_found_out(tmp_path: Path) -> None:
    careless = lived(tmp_path / "careless", (str(HERE / "careless.py"),))
    lossy = 0
    for moment, _, image in images(careless, 60, Random(SEED), tmp_path):
        try:
            lossy += bool(broken_promises(careless, moment, recovered(image)))
        except DataRefused:
            lossy += 1
    assert lossy >= 10, "a commit that does not wait for the disk loses what was acknowledged"


def test_the_recording_holds_what_it_claims(life: Life) -> None:
    kinds = Counter(entry.kind for entry in life.entries)
    assert kinds[Kind.SYNC] > 20
    assert any(entry.kind is Kind.SYNC and entry.name == DATABASE_FILE for entry in life.entries), "written back once"
    assert any(entry.kind is Kind.SYNC and not entry.name for entry in life.entries), "the directory is synced"
    assert time.monotonic_ns() > life.promises[-1].moment > life.entries[0].began
