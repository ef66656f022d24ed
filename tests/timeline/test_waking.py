"""Many who wake together share their readings, and each sees what was kept by the time it asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain

import pytest

from hmsactd.store.errors import Trouble, Unavailable
from hmsactd.store.memory import MemoryStore
from hmsactd.store.store import History
from hmsactd.timeline import waking
from hmsactd.timeline.waking import TOGETHER_MAX, Waking
from tests.store.batches import Writer, summary
from tests.store.stores import BIRTH

RECORDS_MAX = 10


class SlowStore(MemoryStore):
    """Notes what it is asked, and answers when it is told to; in place of some answers, by number, it has a fault."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        self.answers = asyncio.Event()
        self.faults: dict[int, Exception] = {}

    async def histories(
        self, places: Sequence[tuple[str, str]], records_max: int, bytes_max: int
    ) -> list[History | None]:
        self.asked.append([operation for _, operation in places])
        fault = self.faults.get(len(self.asked))
        found = await super().histories(places, records_max, bytes_max)
        await self.answers.wait()
        if fault is not None:
            raise fault
        return found


@pytest.fixture
async def store(monkeypatch: pytest.MonkeyPatch) -> SlowStore:
    monkeypatch.setattr(waking, "READINGS_MAX", 1)
    store = SlowStore()
    writer = Writer(store, await store.open(BIRTH))
    for number in range(5):
        await writer.keep(summary(f"op_{number}", sequence=2))
    return store


class Asking:
    """Those who ask for operations, in this order, and what each has learnt: the last sequence, or an error."""

    def __init__(self, store: SlowStore, tasks: asyncio.TaskGroup, *operations: str) -> None:
        self.learnt: dict[int, int | Exception | None] = {}
        self._waking = Waking(store, RECORDS_MAX)
        self.tasks = [
            tasks.create_task(self._ask(number, operation), name=operation)
            for number, operation in enumerate(operations)
        ]

    async def _ask(self, number: int, operation: str) -> None:
        try:
            history = await self._waking.read("default", operation)
        except Exception as error:  # noqa: BLE001 -- what becomes of one is not to end the others
            self.learnt[number] = error
        else:
            self.learnt[number] = history.kept.summary.sequence if history is not None else None


async def turns() -> None:
    """Let everybody come as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_alone_is_read_at_once_and_those_who_ask_meanwhile_are_read_together(store: SlowStore) -> None:
    async with asyncio.TaskGroup() as tasks:
        asking = Asking(store, tasks, "op_0", "op_1", "op_9", "op_2", "op_1")
        await turns()
        assert store.asked == [["op_0"]]
        store.answers.set()
    assert asking.learnt == {0: 2, 1: 2, 2: None, 3: 2, 4: 2}
    assert store.asked == [["op_0"], ["op_1", "op_9", "op_2", "op_1"]]


async def test_a_reading_has_a_bound_and_the_next_follows_it(store: SlowStore) -> None:
    async with asyncio.TaskGroup() as tasks:
        asking = Asking(store, tasks, *["op_0"] * (2 * TOGETHER_MAX + 2))
        await turns()
        store.answers.set()
    assert {*asking.learnt.values()} == {2}
    assert [*map(len, store.asked)] == [1, TOGETHER_MAX, TOGETHER_MAX, 1]


async def test_no_more_readings_are_under_way_than_may_be(store: SlowStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "READINGS_MAX", 2)
    async with asyncio.TaskGroup() as tasks:
        asking = Asking(store, tasks, "op_0", "op_1", "op_2", "op_3")
        await turns()
        assert store.asked == [["op_0"], ["op_1"]]
        store.answers.set()
    assert {*asking.learnt.values()} == {2}
    assert store.asked[2:] == [["op_2", "op_3"]]


async def test_whoever_there_was_no_room_for_is_read_with_the_next(
    store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waking, "BYTES_MAX", 2 * len(b"record op_1 1record op_1 2"))
    async with asyncio.TaskGroup() as tasks:
        asking = Asking(store, tasks, *(f"op_{number}" for number in range(5)))
        await turns()
        store.answers.set()
    assert {*asking.learnt.values()} == {2}
    assert store.asked[1] == ["op_1", "op_2", "op_3", "op_4"]
    assert [*chain.from_iterable(store.asked[2:])] == ["op_3", "op_4"]


async def test_whoever_asks_while_others_are_read_sees_what_was_kept_since(store: SlowStore) -> None:
    async with asyncio.TaskGroup() as tasks:
        asking = Asking(store, tasks, "op_new", "op_new")
        await turns()
        writer = Writer(store, await store.reopen())
        await writer.keep(summary("op_new"))
        store.answers.set()
    assert asking.learnt == {0: None, 1: 1}


@pytest.mark.parametrize("leaver", range(4))
async def test_whoever_leaves_takes_nobody_along(store: SlowStore, leaver: int) -> None:
    # The first is being read, the second waits to read for the others, too.
    async with asyncio.TaskGroup() as tasks:
        asking = Asking(store, tasks, "op_0", "op_1", "op_2", "op_3")
        await turns()
        asking.tasks[leaver].cancel()
        await turns()
        store.answers.set()
    assert asking.learnt == {number: 2 for number in range(4) if number != leaver}


async def test_whoever_leaves_while_it_reads_for_others_takes_nobody_along(store: SlowStore) -> None:
    async with asyncio.TaskGroup() as tasks:
        asking = Asking(store, tasks, "op_0", "op_1", "op_2", "op_3")
        await turns()
        asking.tasks[0].cancel()
        await turns()
        assert store.asked == [["op_0"], ["op_1", "op_2", "op_3"]]
        asking.tasks[1].cancel()
        await turns()
        store.answers.set()
    assert asking.learnt == {2: 2, 3: 2}


async def test_a_failure_is_told_to_each_who_shared_the_reading_and_to_nobody_else(store: SlowStore) -> None:
    store.faults[2] = Unavailable("the disk does not answer", Trouble.IO_ERROR)
    async with asyncio.TaskGroup() as tasks:
        asking = Asking(store, tasks, "op_0", "op_1", "op_2")
        await turns()
        store.answers.set()
    assert asking.learnt[0] == 2
    refused = [asking.learnt[1], asking.learnt[2]]
    assert [(str(error), getattr(error, "trouble", None)) for error in refused] == [
        ("the disk does not answer", Trouble.IO_ERROR)
    ] * 2
    assert refused[0] is not refused[1]


async def test_a_fault_of_ours_is_raised_once_and_the_others_are_read(store: SlowStore) -> None:
    store.faults[2] = ZeroDivisionError()
    async with asyncio.TaskGroup() as tasks:
        asking = Asking(store, tasks, "op_0", "op_1", "op_2")
        await turns()
        store.answers.set()
    assert isinstance(asking.learnt[1], ZeroDivisionError)
    assert (asking.learnt[0], asking.learnt[2]) == (2, 2)
