"""Timelines: what is appended is kept, in order, once, under a seal."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
from hmsact.note import Note, TreeHead, VerifierKey
from hmsact.record import leaf_hash

from hmsactd.core import events as e
from hmsactd.store.errors import DataRefused, Fenced, Trouble, Unavailable
from hmsactd.store.job import JobForgotten
from hmsactd.store.memory import MemoryStore
from hmsactd.store.sqlite import DATABASE_FILE, SqliteStore
from hmsactd.store.store import Batch, Log, LogRow, RequestRow, Store
from hmsactd.timeline import committer
from hmsactd.timeline.keys import fresh_keys
from hmsactd.timeline.payloads import commit_words
from hmsactd.timeline.timeline import HEARD_AT_A_TIME, Receipt, Timelines
from tests.timeline import naive
from tests.timeline.samples import (
    BEGAN,
    JDAVIS,
    NAMES,
    SECOND,
    append,
    one_of_every_kind,
    running,
    started,
    step_started,
    summary,
)

KEYS = fresh_keys()
MADE: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "sqlite": lambda directory: SqliteStore(directory / DATABASE_FILE),
}


@pytest.fixture(params=MADE)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MADE[request.param](tmp_path)


@pytest.fixture
async def timelines(store: Store) -> AsyncIterator[Timelines]:
    async with running(store, KEYS) as opened:
        yield opened


def _unheard(events: Sequence[e.Event]) -> None:
    pass


async def test_what_was_appended_is_loaded(timelines: Timelines) -> None:
    events = one_of_every_kind()
    timeline = timelines.new("default", "op_1")
    for at in range(0, len(events), 5):
        receipt = await append(timeline, *events[at : at + 5])
        assert receipt.sequence == timeline.sequence
    told: list[e.Event] = []
    again = await timelines.load("default", "op_1", told.extend)
    assert again is not None
    assert told == events
    assert (again.sequence, again.head) == (timeline.sequence, timeline.head)
    assert timelines.size == len(events)
    assert await timelines.load("default", "op_2", told.extend) is None
    assert await timelines.load("other", "op_1", told.extend) is None


async def test_a_long_timeline_is_heard_a_page_at_a_time(timelines: Timelines) -> None:
    timeline = timelines.new("default", "op_1")
    for _ in range(9):
        await append(
            timeline, *(one_of_every_kind() if not timeline.sequence else [step_started(BEGAN + 1000 * SECOND)] * 100)
        )
    pages: list[Sequence[e.Event]] = []
    assert await timelines.load("default", "op_1", pages.append) is not None
    assert len(pages) > 1
    assert max(map(len, pages)) == HEARD_AT_A_TIME
    assert sum(map(len, pages)) == timeline.sequence


async def test_records_are_chained_and_the_log_is_a_tree_over_them(timelines: Timelines) -> None:
    first, second = timelines.new("default", "op_1"), timelines.new("default", "op_2")
    await append(first, started(), step_started())
    await append(second, started())
    receipt = await append(first, step_started(attempt=2), step_started(attempt=3))
    records = await timelines.records("default", "op_1")
    assert [(each.sequence, each.index) for each in records] == [(1, 0), (2, 1), (3, 3), (4, 4)]
    told = [json.loads(each.record) for each in records]
    leaves = [leaf_hash(each.record) for each in records]
    assert [each.leaf for each in records] == leaves
    assert [each["prev"] for each in told] == [None, *(leaf.hex() for leaf in leaves[:-1])]
    assert [(each["sequence"], each["index"], each["log"]) for each in told] == [
        (each.sequence, each.index, timelines.origin) for each in records
    ]
    other = (await timelines.records("default", "op_2"))[0].leaf
    assert receipt == Receipt(timelines.origin, 4, leaves[3], receipt.seal, 4)
    note = Note.parse(receipt.seal)
    assert note.is_signed_by(VerifierKey.parse(timelines.verifier_key))
    root = naive.root([*leaves[:2], other, *leaves[2:]])
    assert TreeHead.parse(note.body) == TreeHead(timelines.origin, 5, root)


async def test_a_receipt_can_be_had_again(timelines: Timelines) -> None:
    timeline = timelines.new("default", "op_1")
    first = await append(timeline, started(), step_started())
    await append(timeline, step_started(attempt=2))
    assert await timelines.receipt("default", "op_1", 2) == first
    for sequence in (0, 4):
        with pytest.raises(LookupError):
            await timelines.receipt("default", "op_1", sequence)


async def test_what_was_said_is_read_back_and_nobody_else_can(store: Store) -> None:
    async with running(store, KEYS) as timelines:
        timeline = timelines.new("default", "op_1")
        await append(
            timeline, started(said=b'{"name":"Jane Roe"}'), e.StepSkipped(BEGAN, JDAVIS, 1, commit_words("lost"))
        )
        assert await timelines.said("default", "op_1", [1, 2]) == {
            (1, "input"): b'{"name":"Jane Roe"}',
            (2, "reason"): b'"lost"',
        }
        assert await timelines.said("default", "op_1", [2]) == {(2, "reason"): b'"lost"'}
        assert await timelines.said("default", "op_2", [1]) == {}
        rows = await store.payloads("default", "op_1", [1, 2])
        assert not any(b"Jane" in row.sealed or b"lost" in row.sealed for row in rows)


async def test_what_was_erased_is_gone_and_the_records_stay(timelines: Timelines) -> None:
    timeline = timelines.new("default", "op_1")
    await append(timeline, started())
    assert await timelines.erase("default", "op_1")
    assert await timelines.said("default", "op_1", [1]) == {}
    loaded = await timelines.load("default", "op_1", _unheard)
    assert loaded is not None
    # A late note is said under a key of its own.
    await append(loaded, e.StepRetried(BEGAN, JDAVIS, 1, commit_words("again")))
    assert await timelines.said("default", "op_1", [1, 2]) == {(2, "reason"): b'"again"'}


async def test_every_acknowledged_append_is_there_after_reopening(store: Store) -> None:
    acknowledged: dict[str, int] = {}
    origins: set[str] = set()
    for epoch in (1, 2, 3):
        async with running(store, KEYS) as timelines:
            assert timelines.epoch == epoch
            async with asyncio.TaskGroup() as group:
                for number in range(40):
                    group.create_task(grow(timelines, f"op_{epoch}_{number}", number % 4 + 1, acknowledged))
            origins.add(timelines.origin)
    async with running(store, KEYS) as timelines:
        assert origins == {timelines.origin}
        assert timelines.size == sum(acknowledged.values())
        for operation, sequence in acknowledged.items():
            assert [each.sequence for each in await timelines.records("default", operation)] == list(
                range(1, sequence + 1)
            )


async def grow(timelines: Timelines, operation: str, appends: int, acknowledged: dict[str, int]) -> None:
    timeline = timelines.new("default", operation)
    await append(timeline, started())
    for attempt in range(1, appends):
        await append(timeline, step_started(attempt=attempt))
    acknowledged[operation] = timeline.sequence


async def test_appends_that_come_together_share_a_commit(store: Store) -> None:
    commits: list[int] = []
    async with (
        running(store, KEYS, lambda _, events: commits.append(events)) as timelines,
        asyncio.TaskGroup() as group,
    ):
        for number in range(200):
            group.create_task(append(timelines.new("default", f"op_{number}"), started(), step_started()))
    assert sum(commits) == 400
    assert len(commits) <= 3


async def test_a_batch_is_bounded(store: Store) -> None:
    commits: list[int] = []
    async with (
        running(store, KEYS, lambda _, events: commits.append(events)) as timelines,
        asyncio.TaskGroup() as group,
    ):
        for number in range(1500):
            group.create_task(append(timelines.new("default", f"op_{number}"), started()))
    assert sum(commits) == 1500
    assert max(commits) <= 1024


async def test_a_timeline_that_another_has_written_to_is_let_go(timelines: Timelines) -> None:
    mine = timelines.new("default", "op_1")
    await append(mine, started())
    theirs = await timelines.load("default", "op_1", _unheard)
    assert theirs is not None
    await append(mine, step_started())
    with pytest.raises(Fenced):
        await append(theirs, step_started())
    with pytest.raises(Fenced):
        await append(timelines.new("default", "op_1"), started())
    await append(mine, step_started(attempt=2))
    assert len(await timelines.records("default", "op_1")) == 3


async def test_a_conflict_fails_alone_and_the_rest_of_its_batch_is_kept(timelines: Timelines) -> None:
    await append(timelines.new("default", "op_5"), started())
    fresh = [timelines.new("default", f"op_{number}") for number in range(10)]
    outcomes: dict[str, object] = {}

    async def attempt(timeline: object, operation: str) -> None:
        try:
            outcomes[operation] = await append(timeline, started())  # type: ignore[arg-type]
        except Fenced as error:
            outcomes[operation] = error

    async with asyncio.TaskGroup() as group:
        for timeline in fresh:
            group.create_task(attempt(timeline, timeline.operation))
    assert [name for name, outcome in outcomes.items() if isinstance(outcome, Fenced)] == ["op_5"]
    receipts = [outcome for outcome in outcomes.values() if isinstance(outcome, Receipt)]
    assert sorted(receipt.index for receipt in receipts) == list(range(1, 10))
    for receipt in receipts:
        assert (
            await timelines.receipt("default", f"op_{receipt.index if receipt.index > 5 else receipt.index - 1}", 1)
        ) == receipt


async def test_an_append_whose_caller_is_cancelled_is_kept_all_the_same(timelines: Timelines) -> None:
    timeline = timelines.new("default", "op_1")
    task = asyncio.get_running_loop().create_task(append(timeline, started()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    # The next append shares its batch, or comes after it.
    await append(timelines.new("default", "op_2"), started())
    assert len(await timelines.records("default", "op_1")) == 1
    # Its owner doesn't know, so it is no owner any more.
    with pytest.raises(Fenced):
        await append(timeline, started())


async def test_time_does_not_go_back_on_a_timeline(timelines: Timelines) -> None:
    timeline = timelines.new("default", "op_1")
    await append(timeline, started(BEGAN + SECOND))
    with pytest.raises(AssertionError, match="time does not go back"):
        await append(timeline, step_started(BEGAN))


async def test_a_request_stands_beside_what_it_led_to(timelines: Timelines, store: Store) -> None:
    timeline = timelines.new("default", "op_1")
    request = RequestRow("default", "dev:svc/Portal", "StartOperation", "r1", "ab" * 32, "op_1", 1, "running", 1)
    await timeline.append([started()], NAMES, summary(timeline, [started()]), [request])
    assert await store.request("default", "dev:svc/Portal", "StartOperation", "r1") == request


async def test_a_log_sealed_with_another_key_is_refused(store: Store) -> None:
    async with running(store, KEYS) as timelines:
        await append(timelines.new("default", "op_1"), started())
    with pytest.raises(DataRefused, match="not the one that this log was begun with"):
        await Timelines.open(store, fresh_keys())


async def test_a_log_that_is_not_what_was_sealed_is_refused() -> None:
    store = MemoryStore()
    async with running(store, KEYS) as timelines:
        await append(timelines.new("default", "op_1"), started(), step_started())
    store._leaves[0] = bytes(32)
    with pytest.raises(DataRefused, match="does not cover the log"):
        await Timelines.open(store, KEYS)


async def test_closing_writes_what_waits_and_takes_no_more(store: Store) -> None:
    timelines = await Timelines.open(store, KEYS)
    receipts: list[Receipt] = []

    async def one(number: int) -> None:
        receipts.append(await append(timelines.new("default", f"op_{number}"), started()))

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(one(number))
        await asyncio.sleep(0)
        group.create_task(timelines.run())
        await asyncio.sleep(0)
        await timelines.close()
    assert len(receipts) == 50
    with pytest.raises(Unavailable, match="closing"):
        await append(timelines.new("default", "op_x"), started())


async def test_closing_what_never_ran_leaves_nobody_waiting(store: Store) -> None:
    timelines = await Timelines.open(store, KEYS)
    waiting = asyncio.get_running_loop().create_task(append(timelines.new("default", "op_1"), started()))
    await asyncio.sleep(0)
    await timelines.close()
    with pytest.raises(Unavailable, match="stopped"):
        await waiting


async def test_timelines_that_never_ran_close(store: Store) -> None:
    timelines = await Timelines.open(store, KEYS)
    await timelines.close()


async def test_a_committer_that_is_cancelled_leaves_nobody_waiting(store: Store) -> None:
    for turns in range(1, 12):
        timelines = await Timelines.open(store, KEYS)
        committer = asyncio.get_running_loop().create_task(timelines.run())
        waiting = [
            asyncio.get_running_loop().create_task(
                append(timelines.new("default", f"op_{turns}_{number}"), started(), step_started())
            )
            for number in range(5)
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
        committer.cancel()
        await asyncio.wait([committer, *waiting])
        await timelines.close()
        async with running(store, KEYS) as again:
            for number, task in enumerate(waiting):
                found = len(await again.records("default", f"op_{turns}_{number}"))
                if task.exception() is None:
                    assert found == 2
                else:
                    assert isinstance(task.exception(), Unavailable)
                    assert found in (0, 2)


class FailingStore(MemoryStore):
    """Fails some writes: before anything is kept, or after all of it is."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[str] = []
        self.reopening_fails = 0
        self.reopened = 0
        self.writes = 0

    async def write(self, batch: Batch) -> dict[int, Exception]:
        match self.failures.pop(0) if self.failures else "none":
            case "before":
                raise Unavailable("the disk is full", Trouble.DISK_FULL)
            case "after":
                await super().write(batch)
                raise Unavailable("the disk did not answer")
            case "damaged":
                raise Unavailable("the database is damaged", Trouble.CORRUPT)
            case "lost":
                raise Fenced("another process has written to the log")
            case _:
                self.writes += 1
                return await super().write(batch)

    async def reopen(self) -> Log:
        if self.reopening_fails:
            self.reopening_fails -= 1
            raise Unavailable("the disk is still full", Trouble.DISK_FULL)
        self.reopened += 1
        return await super().reopen()


async def test_after_a_failed_write_the_log_goes_on_from_what_was_kept() -> None:
    store = FailingStore()
    async with running(store, KEYS) as timelines:
        await append(timelines.new("default", "op_0"), started())
        for number, failure in enumerate(("before", "after", "before", "after"), 1):
            store.failures = [failure]
            timeline = timelines.new("default", f"op_{number}")
            with pytest.raises(Unavailable):
                await append(timeline, started())
            if failure == "after":
                with pytest.raises(Fenced):
                    await append(timeline, started())
            else:
                await append(timeline, started())
        assert timelines.size == 5
    async with running(store, KEYS) as timelines:
        assert timelines.size == 5


async def test_whoever_has_left_is_told_nothing_and_those_who_wait_are_told_why() -> None:
    store = FailingStore()
    async with running(store, KEYS) as timelines:
        loop = asyncio.get_running_loop()
        left, stayed = (
            loop.create_task(append(timelines.new("default", f"op_{number}"), started())) for number in (1, 2)
        )
        noted, unheard = (
            loop.create_task(timelines.note(JobForgotten("default", f"job_{number}", 1))) for number in (1, 2)
        )
        await asyncio.sleep(0)
        store.failures = ["before"]
        left.cancel()
        unheard.cancel()
        await asyncio.wait([left, stayed, noted, unheard])
        assert left.cancelled()
        assert unheard.cancelled()
        for told in (stayed, noted):
            assert isinstance(told.exception(), Unavailable)
        # And when it does not fail, nobody minds either.
        unheard = loop.create_task(timelines.note(JobForgotten("default", "job_3", 1)))
        await asyncio.sleep(0)
        unheard.cancel()
        await timelines.note(JobForgotten("default", "job_4", 1))


async def test_more_than_may_wait_is_refused(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(committer, "WAITING_MAX", 3)
    timelines = await Timelines.open(store, KEYS)
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Task[Receipt] | asyncio.Task[None]] = [
        loop.create_task(append(timelines.new("default", f"op_{number}"), started())) for number in range(2)
    ]
    waiting.append(loop.create_task(timelines.note(JobForgotten("default", "job_1", 1))))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="3 appends wait already"):
        await append(timelines.new("default", "op_9"), started())
    with pytest.raises(Unavailable, match="3 appends wait already"):
        await timelines.note(JobForgotten("default", "job_9", 1))
    await timelines.close()
    for refused in waiting:
        with pytest.raises(Unavailable, match="stopped"):
            await refused


async def test_while_the_disk_fails_every_append_is_told_why_and_then_it_goes_on_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(committer, "TRIED_EVERY_S", 0.01)
    store = FailingStore()
    told: list[str | None] = []
    store.condition.on_change(lambda trouble: told.append(trouble.reason if trouble else None))
    well = asyncio.Event()
    store.condition.on_change(lambda trouble: well.set() if trouble is None else None)
    async with running(store, KEYS) as timelines:
        timeline = timelines.new("default", "op_1")
        store.failures, store.reopening_fails = ["before"], 3
        for _ in range(2):
            with pytest.raises(Unavailable) as refused:
                await append(timeline, started())
            assert refused.value.trouble is Trouble.DISK_FULL
        await well.wait()
        await append(timeline, started())
    assert told == ["DISK_FULL", None]


async def test_a_log_that_is_not_what_was_sealed_after_a_failure_is_broken_for_good() -> None:
    store = FailingStore()
    async with running(store, KEYS) as timelines:
        await append(timelines.new("default", "op_0"), started())
        store._leaves[0] = bytes(32)
        store.failures = ["before"]
        with pytest.raises(Unavailable):
            await append(timelines.new("default", "op_1"), started())
        await store.condition.broken.wait()
        with pytest.raises(Unavailable) as refused:
            await append(timelines.new("default", "op_2"), started())
        assert refused.value.trouble is Trouble.CORRUPT
        assert store.writes == 1, "nothing is written any more"


async def test_a_store_that_says_it_is_damaged_is_not_opened_anew() -> None:
    store = FailingStore()
    async with running(store, KEYS) as timelines:
        store.failures = ["damaged"]
        with pytest.raises(Unavailable):
            await append(timelines.new("default", "op_1"), started())
        await store.condition.broken.wait()
        assert store.reopened == 0


async def test_a_daemon_that_lost_its_log_stops() -> None:
    store = FailingStore()
    timelines = await Timelines.open(store, KEYS)
    store.failures = ["lost"]
    committer = asyncio.get_running_loop().create_task(timelines.run())
    with pytest.raises(Unavailable):
        await append(timelines.new("default", "op_1"), started())
    with pytest.raises(Fenced):
        await committer
    await timelines.close()


async def test_a_follower_misses_nothing(timelines: Timelines) -> None:
    seen: list[int] = []
    total = 60

    async def follow() -> None:
        with timelines.follow("default", "op_1") as follower:
            while len(seen) < total:
                page = await timelines.records("default", "op_1", after=len(seen), limit=7)
                seen.extend(record.sequence for record in page)
                if not page:
                    await follower.changed()

    async def write() -> None:
        timeline = timelines.new("default", "op_1")
        await append(timeline, started())
        while timeline.sequence < total:
            await append(timeline, step_started(attempt=timeline.sequence))

    async with asyncio.TaskGroup() as group:
        group.create_task(follow())
        group.create_task(write())
    assert seen == list(range(1, total + 1))
    assert timelines.follower_count == 0


async def test_a_follower_is_told_of_its_own_operation_once_for_many_appends(timelines: Timelines) -> None:
    with timelines.follow("default", "op_1") as follower:
        await append(timelines.new("default", "op_2"), started())
        mine = timelines.new("default", "op_1")
        await append(mine, started())
        await append(mine, step_started())
        await follower.changed()
        waiting = asyncio.get_running_loop().create_task(follower.changed())
        await append(timelines.new("default", "op_3"), started())
        assert not waiting.done()
        await append(mine, step_started(attempt=2))
        await waiting
    assert timelines.follower_count == 0


async def test_of_two_followers_one_may_leave_and_the_other_goes_on_hearing(timelines: Timelines) -> None:
    with timelines.follow("default", "op_1") as stays:
        with timelines.follow("default", "op_1"):
            assert timelines.follower_count == 2
        assert timelines.follower_count == 1
        await append(timelines.new("default", "op_1"), started())
        await stays.changed()


@pytest.mark.parametrize("is_followed", [False, True])
async def test_the_whole_log_is_read_by_position_followed_or_not(timelines: Timelines, is_followed: bool) -> None:
    for number in range(6):
        at = BEGAN + number // 2 * SECOND
        with timelines.follow_log() if is_followed else nullcontext() as follower:
            await append(timelines.new("default" if number % 2 else "other", f"op_{number}"), started(at))
            if follower is not None:
                await follower.changed()
                # Whoever follows reads what lies behind the head without the store.
                assert [row.index for row in await timelines.log(number, 99, 100_000)] == [number]
    rows = await timelines.log(0, 99, 100_000)
    assert [(row.index, row.namespace, row.operation) for row in rows] == [
        (number, "default" if number % 2 else "other", f"op_{number}") for number in range(6)
    ]
    assert await timelines.log(4, 5, 1) == rows[4:5]
    assert await timelines.log(6, 99, 1) == []
    assert [await timelines.position_at(BEGAN + offset) for offset in (-1, 0, 1, SECOND, 2 * SECOND, 3 * SECOND)] == [
        *(0, 0, 2, 2, 4, 6)
    ]


async def test_what_was_written_while_somebody_followed_is_read_from_memory_and_then_forgotten() -> None:
    store = CountingStore()
    async with running(store, KEYS) as timelines:
        await append(timelines.new("default", "op_0"), started())
        with timelines.follow_log():
            for number in (1, 2):
                await append(timelines.new("default", f"op_{number}"), started())
            assert [row.index for row in await timelines.log(1, 3, 100_000)] == [1, 2]
            assert await timelines.seal_within(1, 3) == (3, timelines.last_seal)
            assert store.logs_read == 0
            assert [row.index for row in await timelines.log(0, 3, 100_000)] == [0, 1, 2]
            assert store.logs_read == 1
        await append(timelines.new("default", "op_3"), started())
        assert [row.index for row in await timelines.log(1, 4, 100_000)] == [1, 2, 3]
        assert store.logs_read == 2


class CountingStore(MemoryStore):
    """Counts how often the log is read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.logs_read = 0

    async def log(self, start: int, end: int, bytes_max: int) -> list[LogRow]:
        self.logs_read += 1
        return await super().log(start, end, bytes_max)


async def test_what_a_follower_has_joins_what_comes_later(timelines: Timelines) -> None:
    leaves = [(await append(timelines.new("default", f"op_{number}"), started())).leaf for number in range(11)]
    assert await timelines.frontier(11) == [naive.root(leaves[:8]), naive.root(leaves[8:10]), leaves[10]]
    assert await timelines.consistency(5, 11) == naive.consistency(5, leaves)
    assert await timelines.seal_within(0, 11) == (11, timelines.last_seal)
    assert (await timelines.seal_within(0, 5) or (0, ""))[0] == 5
    assert await timelines.seal_within(11, 99) is None


async def test_followers_hear_of_what_a_failed_write_had_kept() -> None:
    store = FailingStore()
    async with running(store, KEYS) as timelines:
        with timelines.follow("default", "op_1") as follower:
            store.failures = ["after"]
            with pytest.raises(Unavailable):
                await append(timelines.new("default", "op_1"), started())
            await append(timelines.new("default", "op_2"), started())
            await follower.changed()
            assert len(await timelines.records("default", "op_1")) == 1
