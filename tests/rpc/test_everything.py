"""The stream over all operations: what the filter lets through, all of it, in order, once, wherever it resumes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hmsact.event import NARRATED_KINDS
from hmsact.v1 import principal_pb2
from hmsact.v1 import timeline_pb2 as pb

from hmsactd.core.principal import Principal, PrincipalKind
from hmsactd.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from hmsactd.rpc import everything as module
from hmsactd.rpc import frames
from hmsactd.rpc.chosen import LIST_MAX, NARRATED
from hmsactd.rpc.patience import Patience
from hmsactd.store.memory import MemoryStore
from hmsactd.store.sqlite import DATABASE_FILE, SqliteStore
from hmsactd.store.store import LogRow, Store
from hmsactd.timeline.keys import fresh_keys
from tests.rpc.ledger import (
    NAMESPACES,
    STREAMS_MAX,
    Ledger,
    answers,
    cursors,
    everything_of,
    following,
    positions,
)
from tests.timeline.samples import BEGAN, SECOND, running

KEYS = fresh_keys()
MADE: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "sqlite": lambda directory: SqliteStore(directory / DATABASE_FILE),
}


@pytest.fixture(autouse=True)
def _without_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST_MAX_S", 0.0)


@pytest.fixture(params=MADE)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MADE[request.param](tmp_path)


@asynccontextmanager
async def ledger_of(store: Store, seed: int = 1) -> AsyncIterator[Ledger]:
    async with running(store, KEYS) as timelines:
        yield Ledger(store, timelines, seed)


def a_filter(chance: Random, operations: list[str]) -> pb.EventFilter:
    """Any filter, often none."""

    def some(*choices: str) -> list[str]:
        return chance.sample(choices, chance.randint(1, len(choices))) if chance.randrange(3) == 0 else []

    kinds = (principal_pb2.PRINCIPAL_KIND_PERSON, principal_pb2.PRINCIPAL_KIND_SERVICE)
    return pb.EventFilter(
        kinds=some("step_done", "step_failed", "operation_paused", "operation_completed"),
        definitions=some("loan_forgiveness", "appeal", "another"),
        operations=some(*operations) if len(operations) < 8 else chance.sample(operations, 3) * chance.randrange(2),
        subjects=some("validate_form", "eligibility_check", "human_review"),
        principal_kinds=[chance.choice(kinds)] * chance.randrange(2),
    )


@pytest.mark.parametrize("seed", range(12))
async def test_resumed_at_any_cursor_it_sends_all_that_the_filter_lets_through_in_order_once(
    store: Store, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = Random(seed)
    monkeypatch.setattr(frames, "ROWS_MAX", chance.choice((1, 2, 7, 1_024)))
    monkeypatch.setattr(frames, "FRAME_MAX_BYTES", chance.choice((1, 3_000, 512 * 1024)))
    async with ledger_of(store, seed) as ledger:
        everything = everything_of(store, ledger.timelines)
        await ledger.grow(chance.randint(1, 30))
        operations = sorted({row.operation for row in await ledger.rows()})
        request = pb.WatchEventsRequest(
            namespace=chance.choice(NAMESPACES),
            filter=a_filter(chance, operations),
            from_beginning=True,
            with_payloads=chance.choice((True, False)),
            with_proof=chance.choice((True, False)),
        )
        expected = await ledger.expected(request)
        whole = await answers(everything, request)
        assert positions(whole) == expected
        ends = [0, *(message.to_position for message in whole)]
        assert [message.from_position for message in whole] == ends[:-1]
        assert ends[-1] == ledger.timelines.size
        for beyond, cursor in cursors(whole):
            request.after = cursor
            rest = await answers(everything, request)
            assert positions(rest) == [position for position in expected if position >= beyond]
            assert rest[0].from_position == beyond


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_recorded_while_somebody_follows_reaches_them_whether_they_follow_near_or_far(
    store: Store, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = Random(seed)
    monkeypatch.setattr(frames, "ROWS_MAX", chance.choice((1, 3, 1_024)))
    async with ledger_of(store, seed) as ledger:
        everything = everything_of(store, ledger.timelines)
        await ledger.grow(10)
        request = pb.WatchEventsRequest(from_beginning=True)
        now = pb.WatchEventsRequest()
        near: list[pb.WatchEventsResponse] = []
        far: list[pb.WatchEventsResponse] = []
        started_at = ledger.timelines.size

        async def follow(asked: pb.WatchEventsRequest, seen: list[pb.WatchEventsResponse]) -> None:
            async with aclosing(following(everything, asked)) as messages:
                async for message in messages:
                    seen.append(pb.WatchEventsResponse.FromString(message))
                    stand.set()
                    if seen[-1].to_position > enough:
                        return

        stand, enough = asyncio.Event(), 2**60
        async with asyncio.TaskGroup() as group:
            group.create_task(follow(now, near), name="near")
            group.create_task(follow(request, far), name="far")
            await stand.wait()
            await ledger.grow(60)
            enough = ledger.timelines.size
            # One more, so that whoever is at the head already looks up once more.
            await ledger.grow(1)
        expected = await ledger.expected(request)
        for seen in (near, far):
            first, beyond = seen[0].from_position, seen[-1].to_position
            assert positions(seen) == [position for position in expected if first <= position < beyond]
        assert near[0].from_position >= started_at


async def test_followers_with_one_view_share_one_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    async with ledger_of(store) as ledger:
        everything = everything_of(store, ledger.timelines)
        await ledger.grow(20)
        request = pb.WatchEventsRequest(from_beginning=True, no_follow=True)
        sent = []
        for _ in range(3):
            async with aclosing(following(everything, request)) as messages:
                sent.append([message async for message in messages][1])
        assert sent[0] is sent[1] is sent[2]


class GatedStore(MemoryStore):
    """Whoever reads the log waits until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.readings = 0

    async def log(self, start: int, end: int, bytes_max: int) -> list[LogRow]:
        self.readings += 1
        self.asked.set()
        await self.gate.wait()
        return await super().log(start, end, bytes_max)


async def test_a_frame_is_made_once_for_all_who_wait_and_by_another_if_its_maker_leaves() -> None:
    store = GatedStore()
    async with ledger_of(store) as ledger:
        everything = everything_of(store, ledger.timelines)
        await ledger.grow(10)
        request = pb.WatchEventsRequest(from_beginning=True, no_follow=True)

        async def first_frame() -> bytes:
            async with aclosing(following(everything, request)) as messages:
                await anext(messages)
                return await anext(messages)

        async with asyncio.TaskGroup() as group:
            maker, *others = [group.create_task(first_frame(), name=f"follower {number}") for number in range(4)]
            await store.asked.wait()
            maker.cancel()
            store.gate.set()
        assert maker.cancelled()
        assert len({id(other.result()) for other in others}) == 1
        assert store.readings == 2


async def test_what_was_erased_is_sent_to_nobody_though_it_was_sent_before() -> None:
    store = MemoryStore()
    async with ledger_of(store) as ledger:
        everything = everything_of(store, ledger.timelines)
        await ledger.grow(3)
        request = pb.WatchEventsRequest(from_beginning=True, with_payloads=True)
        before = await answers(everything, request)
        events = [placed.event for message in before for placed in message.events]
        assert any(event.payloads for event in events)
        for event in events:
            await ledger.timelines.erase(event.namespace, event.operation_id)
        after = await answers(everything, request)
        assert positions(after) == positions(before)
        assert not any(placed.event.payloads for message in after for placed in message.events)


async def test_words_are_sent_to_whoever_asks_and_may_read_them() -> None:
    store = MemoryStore()
    async with ledger_of(store) as ledger:
        everything = everything_of(store, ledger.timelines)
        await ledger.grow(5)
        asking = pb.WatchEventsRequest(from_beginning=True, with_payloads=True)
        silent = pb.WatchEventsRequest(from_beginning=True)
        system = Principal(PrincipalKind.SYSTEM, "dev", "nobody")

        async def words(request: pb.WatchEventsRequest, by: Principal | None = None) -> bool:
            told = await answers(everything, request, by) if by else await answers(everything, request)
            assert positions(told)
            return any(placed.event.payloads for message in told for placed in message.events)

        assert await words(asking)
        assert not await words(silent)
        assert not await words(asking, system)


async def test_records_are_sent_to_whoever_asks() -> None:
    store = MemoryStore()
    async with ledger_of(store) as ledger:
        everything = everything_of(store, ledger.timelines)
        await ledger.grow(5)
        rows = {row.index: row.record for row in await ledger.rows()}
        request = pb.WatchEventsRequest(from_beginning=True, with_records=True)
        told = await answers(everything, request)
        assert all(placed.event.record == rows[placed.position] for each in told for placed in each.events)
        told = await answers(everything, pb.WatchEventsRequest(from_beginning=True))
        assert not any(placed.event.record or each.leaves for each in told for placed in each.events)


async def test_it_begins_at_a_time_if_asked_to(store: Store) -> None:
    async with ledger_of(store) as ledger:
        everything = everything_of(store, ledger.timelines)
        await ledger.grow(30)
        times = [BEGAN, BEGAN + 7 * SECOND, BEGAN + 8 * SECOND + 1, BEGAN + 10_000 * SECOND, 0]
        for time in times:
            since = Timestamp(seconds=time // SECOND, nanos=time % SECOND * 1000)
            told = await answers(everything, pb.WatchEventsRequest(since=since))
            first = told[0].from_position
            assert first == await ledger.timelines.position_at(time)
            at = [placed.event.time.ToMicroseconds() for each in told for placed in each.events]
            assert all(each >= time for each in at)
            before = await ledger.expected(pb.WatchEventsRequest())
            assert positions(told) == [position for position in before if position >= first]


# -- what is refused ---------------------------------------------------------------------------------------------------


async def refused(everything: module.Everything, request: pb.WatchEventsRequest) -> list[tuple[str, str]]:
    with pytest.raises(InvalidArgument) as raised:
        await answers(everything, request)
    return [(violation.field, violation.reason) for violation in raised.value.violations]


async def test_every_fault_of_a_filter_is_told_at_once() -> None:
    store = MemoryStore()
    async with ledger_of(store) as ledger:
        everything = everything_of(store, ledger.timelines)
        request = pb.WatchEventsRequest(
            namespace="Ä",
            filter=pb.EventFilter(
                kinds=["step_done", "step_don"],
                definitions=["Loan"],
                operations=["op_1"],
                subjects=["x" * 65],
                principal_kinds=[9, 0],  # type: ignore[list-item]
            ),
            after="no cursor",
            earlier_size=3,
        )
        assert await refused(everything, request) == [
            ("namespace", "BAD_NAME"),
            ("filter.kinds[1]", "UNKNOWN_VALUE"),
            ("filter.operations[0]", "BAD_OPERATION_ID"),
            ("filter.definitions[0]", "BAD_NAME"),
            ("filter.subjects[0]", "BAD_NAME"),
            ("filter.principal_kinds[0]", "UNKNOWN_VALUE"),
            ("filter.principal_kinds[1]", "UNKNOWN_VALUE"),
            ("after", "BAD_CURSOR"),
            ("earlier_size", "OUT_OF_RANGE"),
            ("earlier_size", "WITHOUT_PROOF"),
        ]
        long = pb.EventFilter(subjects=["check"] * (LIST_MAX + 1))
        assert await refused(everything, pb.WatchEventsRequest(filter=long)) == [("filter.subjects", "TOO_MANY")]
        nothing = pb.EventFilter(kinds=["step_started"], narrated=True)
        assert await refused(everything, pb.WatchEventsRequest(filter=nothing)) == [("filter.narrated", "NOTHING_LEFT")]
        assert await refused(everything, pb.WatchEventsRequest(after="")) == [("after", "REQUIRED")]
        bad_time = pb.WatchEventsRequest(since=Timestamp(seconds=-1))
        assert await refused(everything, bad_time) == [("since", "BAD_TIME")]


async def test_a_cursor_of_another_filter_or_namespace_is_refused() -> None:
    store = MemoryStore()
    async with ledger_of(store) as ledger:
        everything = everything_of(store, ledger.timelines)
        await ledger.grow(5)
        cursor = (await answers(everything, pb.WatchEventsRequest(from_beginning=True)))[-1].cursor
        for other in (
            pb.WatchEventsRequest(namespace="other", after=cursor),
            pb.WatchEventsRequest(filter=pb.EventFilter(kinds=["step_done"]), after=cursor),
        ):
            assert await refused(everything, other) == [("after", "CURSOR_OF_ANOTHER_QUERY")]
        # The order in which a filter is said, and what is sent with each event, change nothing.
        one = pb.EventFilter(kinds=["step_done", "step_failed"])
        cursor = (await answers(everything, pb.WatchEventsRequest(filter=one, from_beginning=True)))[-1].cursor
        same = pb.EventFilter(kinds=["step_failed", "step_done", "step_done"])
        assert len(await answers(everything, pb.WatchEventsRequest(filter=same, after=cursor, with_records=True))) == 1


async def test_a_cursor_of_another_log_is_refused() -> None:
    one, other = MemoryStore(), MemoryStore()
    async with ledger_of(one) as ledger, ledger_of(other) as another:
        await ledger.grow(5)
        await another.grow(5)
        told = await answers(everything_of(one, ledger.timelines), pb.WatchEventsRequest(from_beginning=True))
        request = pb.WatchEventsRequest(after=told[-1].cursor)
        everything = everything_of(other, another.timelines)
        assert await refused(everything, request) == [("after", "CURSOR_OF_ANOTHER_LOG")]


async def test_a_cursor_from_before_a_restored_backup_is_refused_however_far_the_log_has_grown_since(
    tmp_path: Path,
) -> None:
    path, backup = tmp_path / DATABASE_FILE, tmp_path / "backup.db"
    async with ledger_of(SqliteStore(path)) as ledger:
        await ledger.grow(5)
        kept = ledger.timelines.size
        store = ledger.store
    backup.write_bytes(path.read_bytes())
    store = SqliteStore(path)
    async with running(store, KEYS) as timelines:
        ledger = Ledger(store, timelines, seed=2)
        await ledger.grow(5)
        told = await answers(everything_of(store, timelines), pb.WatchEventsRequest(from_beginning=True))
        seen = timelines.size
        early = next(cursor for position, cursor in cursors(told) if 0 < position <= kept)
    path.write_bytes(backup.read_bytes())
    store = SqliteStore(path)
    async with running(store, KEYS) as timelines:
        everything = everything_of(store, timelines)
        request = pb.WatchEventsRequest(after=told[-1].cursor)
        with pytest.raises(FailedPrecondition) as ahead:
            await answers(everything, request)
        assert ahead.value.reason == "CURSOR_AHEAD"
        assert ahead.value.metadata == {"position": str(seen), "size": str(kept)}
        ledger = Ledger(store, timelines, seed=3)
        while timelines.size < seen + 3:
            await ledger.grow(1)
        with pytest.raises(FailedPrecondition) as diverged:
            await answers(everything, request)
        assert diverged.value.reason == "CURSOR_DIVERGED"
        # What stood before the backup stands there still.
        assert await answers(everything, pb.WatchEventsRequest(after=early))


# -- bounds and ends ---------------------------------------------------------------------------------------------------


async def test_a_principal_has_so_many_streams_and_no_more() -> None:
    store = MemoryStore()
    async with ledger_of(store) as ledger:
        everything = everything_of(store, ledger.timelines)
        streams = [following(everything, pb.WatchEventsRequest()) for _ in range(STREAMS_MAX)]
        for stream in streams:
            await anext(stream)
        assert everything.stream_count == STREAMS_MAX
        with pytest.raises(ResourceExhausted):
            await answers(everything, pb.WatchEventsRequest())
        for stream in streams:
            await stream.aclose()
        assert everything.stream_count == 0


async def test_an_idle_stream_says_where_the_head_is_and_ends_with_a_cursor_when_the_daemon_stops() -> None:
    store = MemoryStore()
    async with ledger_of(store) as ledger:
        await ledger.grow(2)
        patience = Patience()
        everything = everything_of(store, ledger.timelines, patience)
        stream = following(everything, pb.WatchEventsRequest())
        first = pb.WatchEventsResponse.FromString(await anext(stream))
        patience.stop()
        with pytest.raises(Unavailable) as raised:
            await anext(stream)
        assert raised.value.metadata == {"cursor": first.cursor}
        assert first.size == first.to_position == ledger.timelines.size
        assert everything.stream_count == 0


async def test_a_filter_that_matches_nothing_goes_on_by_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "ROWS_MAX", 4)
    store = MemoryStore()
    async with ledger_of(store) as ledger:
        await ledger.grow(20)
        everything = everything_of(store, ledger.timelines)
        rare = pb.EventFilter(kinds=["operation_completed"])
        told = await answers(everything, pb.WatchEventsRequest(filter=rare, from_beginning=True))
        assert not positions(told)
        assert all(message.to_position - message.from_position <= 4 for message in told)
        assert told[-1].to_position == ledger.timelines.size


async def test_the_lag_is_how_far_the_slowest_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "ROWS_MAX", 4)
    store = MemoryStore()
    async with ledger_of(store) as ledger:
        await ledger.grow(20)
        everything = everything_of(store, ledger.timelines)
        assert everything.lag_max == 0
        slow = following(everything, pb.WatchEventsRequest(from_beginning=True))
        quick = following(everything, pb.WatchEventsRequest())
        for _ in range(2):
            await anext(slow)
        await anext(quick)
        assert everything.lag_max == ledger.timelines.size
        await anext(slow)
        assert everything.lag_max == ledger.timelines.size - 4
        await slow.aclose()
        assert everything.lag_max == 0
        await quick.aclose()


async def test_memory_for_followers_is_bounded_however_slow_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "ROWS_MAX", 4)
    monkeypatch.setattr(frames, "KEPT_MAX_BYTES", 20_000)
    store = MemoryStore()
    async with ledger_of(store) as ledger:
        everything = everything_of(store, ledger.timelines)
        everything._frames._kept_max_bytes = 20_000
        await ledger.grow(100)
        told = await answers(everything, pb.WatchEventsRequest(from_beginning=True))
        kept = everything._frames._kept.values()
        assert sum(len(frame.message) for frame in kept) == everything._frames._kept_bytes <= 20_000
        assert sum(message.ByteSize() for message in told) > 20_000


def test_the_daemon_and_the_sdk_narrate_the_same() -> None:
    assert NARRATED == NARRATED_KINDS
