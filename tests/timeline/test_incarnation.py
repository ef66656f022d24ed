"""A log that is older than its last seal kept outside, as after a backup was put back."""

import shutil
from pathlib import Path

import pytest
from hmsact.note import TreeHead
from structlog.testing import capture_logs

from hmsactd.store.errors import DataRefused
from hmsactd.store.memory import MemoryStore
from hmsactd.store.rollback import INCARNATION, Rollback
from hmsactd.store.sqlite import DATABASE_FILE, SqliteStore
from hmsactd.timeline.incarnation import Outside, difference_from
from hmsactd.timeline.keys import fresh_keys
from hmsactd.timeline.outside import OutsideSeal
from hmsactd.timeline.timeline import Timelines
from hmsactd.timeline.tree import EMPTY_ROOT
from tests.timeline.samples import append, running, started, step_started

KEYS = fresh_keys()


class Place:
    """A data directory and a seal outside it."""

    def __init__(self, directory: Path) -> None:
        self.database = directory / DATABASE_FILE
        self.backup = directory / "backup.db"
        self.seal = directory / "outside.seal"

    @property
    def store(self) -> SqliteStore:
        return SqliteStore(self.database)

    async def write(self, operation: str, *, attempts: int = 1) -> str:
        """Goes on with the log, as a daemon does that keeps its seals outside; returns the last of them."""
        async with running(self.store, KEYS) as timelines:
            await append(timelines.new("default", operation), started())
            for attempt in range(1, attempts):
                await append(timelines.new("default", f"{operation}_{attempt}"), step_started(attempt=attempt))
            assert timelines.last_seal is not None
            await OutsideSeal(self.seal).keep(timelines.last_seal)
            return timelines.last_seal

    def back_up(self) -> None:
        shutil.copy2(self.database, self.backup)

    def put_back(self) -> None:
        shutil.copy2(self.backup, self.database)

    async def opened(self, *, accepting: bool = False, without_setting: bool = False) -> Timelines:
        """Opens the log as a start does."""
        seal = None if without_setting else OutsideSeal(self.seal)
        return await Timelines.open(self.store, KEYS, outside=Outside(seal, accepting, 77))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_log_that_is_the_sealed_one_or_has_grown_from_it_is_opened(place: Place) -> None:
    await place.write("op_1")
    older = place.seal.read_text()
    await (await place.opened()).close()
    await place.write("op_2")
    place.seal.write_text(older)
    timelines = await place.opened()
    assert (timelines.size, timelines.epoch) == (2, 4)
    await timelines.close()


async def test_an_older_log_is_refused_and_so_it_stays_until_that_is_accepted(place: Place) -> None:
    first = await place.write("op_1")
    place.back_up()
    lost = await place.write("op_2", attempts=3)
    place.put_back()
    for _ in range(2):
        with pytest.raises(DataRefused, match=r"has 1 records, and .* covers 4: the data are older\. Put the newest"):
            await place.opened()
    with capture_logs() as lines:
        timelines = await place.opened(accepting=True)
    assert [(line["incarnation"], line["size"], line["lost_size"]) for line in lines] == [(1, 1, 4)]
    assert timelines.epoch == INCARNATION + 1
    await timelines.close()
    store = place.store
    await store.open_to_read()
    assert await store.rollbacks() == [Rollback(77, 1, first, 4, lost)]
    await store.close()
    assert place.seal.read_text() == first
    again = await place.opened()
    assert again.epoch == INCARNATION + 2
    await again.close()


async def test_of_an_empty_log_that_was_put_back_no_seal_is_left_outside(place: Place) -> None:
    await (await Timelines.open(place.store, KEYS)).close()
    place.back_up()
    lost = await place.write("op_1")
    place.put_back()
    timelines = await place.opened(accepting=True)
    await timelines.close()
    assert not place.seal.exists()
    store = place.store
    await store.open_to_read()
    assert await store.rollbacks() == [Rollback(77, 0, "", 1, lost)]
    await store.close()


async def test_a_log_that_went_another_way_than_the_sealed_one_is_refused_however_long_it_is(place: Place) -> None:
    await place.write("op_1")
    place.back_up()
    await place.write("op_2")
    seal = place.seal.read_text()
    place.put_back()
    await place.write("op_3", attempts=5)
    place.seal.write_text(seal)
    with pytest.raises(DataRefused, match="the first 2 records of the log are not those that its last seal"):
        await place.opened()


async def test_a_rollback_that_is_none_is_not_accepted(place: Place) -> None:
    await place.write("op_1")
    for without_setting in (False, True):
        with pytest.raises(DataRefused, match="there is no rollback to accept: start without --accept-rollback"):
            await place.opened(accepting=True, without_setting=without_setting)


async def test_without_a_seal_outside_a_log_that_has_records_is_opened_with_a_warning(place: Place) -> None:
    with capture_logs() as lines:
        await (await place.opened()).close()
        await place.write("op_1")
        await (await place.opened(without_setting=True)).close()
    assert lines == [], "an empty log is not older than anything"
    place.seal.unlink()
    with capture_logs() as lines:
        await (await place.opened()).close()
    assert [line["event"] for line in lines] == [
        "there was no outside seal yet: whether the log is older than it was can't be told this time"
    ]


async def test_every_log_has_grown_from_the_empty_one() -> None:
    assert await difference_from(TreeHead("any/log/0", 0, EMPTY_ROOT), MemoryStore(), 0) is None
    assert await difference_from(TreeHead("any/log/0", 0, EMPTY_ROOT), MemoryStore(), 7) is None
