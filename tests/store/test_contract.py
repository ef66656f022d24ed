"""What every store does, asked of every store."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from hmsactd.store.errors import Fenced, Unavailable
from hmsactd.store.rollback import INCARNATION, Rollback, incarnation_of
from hmsactd.store.store import (
    Birth,
    Call,
    Due,
    NodeRow,
    PayloadRow,
    PendingSize,
    Queued,
    QueueSize,
    Store,
    Tally,
)
from hmsactd.store.where import Where
from tests.store.batches import SECOND, Writer, leaf, request, summary
from tests.store.stores import BIRTH, MADE


@pytest.fixture(params=MADE)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made = MADE[request.param](tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def writer(store: Store) -> Writer:
    return Writer(store, await store.open(BIRTH))


async def test_a_new_log_has_the_identity_it_was_born_with(store: Store) -> None:
    log = await store.open(BIRTH)
    assert (log.origin, log.verifier_key, log.epoch, log.size, log.seal) == (
        BIRTH.origin,
        BIRTH.verifier_key,
        1,
        0,
        None,
    )


async def test_every_opening_begins_a_new_epoch_of_the_same_log(store: Store) -> None:
    writer = Writer(store, await store.open(BIRTH))
    await writer.keep(summary("op_1", sequence=2))
    for epoch in (2, 3):
        await store.close()
        log = await store.open(Birth("another", "key"))
        assert (log.origin, log.verifier_key, log.epoch, log.size, log.seal) == (
            BIRTH.origin,
            BIRTH.verifier_key,
            epoch,
            2,
            "seal over 2",
        )


async def test_reopening_goes_on_in_the_same_epoch(writer: Writer) -> None:
    await writer.keep(summary("op_1"))
    log = await writer.store.reopen()
    assert (log.epoch, log.size) == (1, 1)
    await writer.keep(summary("op_2"))


async def test_what_was_written_is_read_back(writer: Writer) -> None:
    told = summary(
        "op_1",
        sequence=3,
        state="waiting",
        revision=4,
        updated_at=2 * SECOND,
        ended_at=3 * SECOND,
        due_at=4 * SECOND,
        awaits="decision",
        awaits_who="fsa.officer",
        awaits_name="human_review",
        awaits_instance=3,
        awaits_since=2 * SECOND,
        session="session",
        claimed_by="dev:jdavis@fsa.gov",
        assigned_to="dev:mgarcia@fsa.gov",
        alarms='{"unattended":[3]}',
        key="case 17",
        labels=(("bureau", "Zürich"), ("year", "2026")),
        requested_by="a citizen",
        person="dev:operator",
        on_behalf_of="https://idp.gov:roe",
    )
    payloads = [PayloadRow(1, "input", b"sealed"), PayloadRow(3, "comment", b"sealed, too")]
    await writer.keep(told, payloads=payloads, requests=[request("op_1", "r1", 3)])
    store = writer.store
    kept = await store.kept("default", "op_1")
    assert kept is not None
    assert (kept.summary, kept.head, kept.payload_key) == (told, leaf("op_1", 3), b"wrapped")
    assert await store.summary("default", "op_1") == told
    assert [row.sequence for row in await store.records("default", "op_1")] == [1, 2, 3]
    assert (await store.records("default", "op_1"))[1].record == b"record op_1 2"
    assert await store.payloads("default", "op_1", [1, 2, 3]) == payloads
    assert await store.payloads("default", "op_1", [3]) == payloads[1:]
    assert await store.request("default", "dev:portal", "StartOperation", "r1") == request("op_1", "r1", 3)


async def test_what_is_not_there_is_not_found(writer: Writer) -> None:
    store = writer.store
    await writer.keep(summary("op_1"))
    assert await store.kept("other", "op_1") is None
    assert await store.summary("default", "op_2") is None
    assert await store.records("other", "op_1") == []
    assert await store.payloads("default", "op_1", [1]) == []
    assert await store.request("default", "dev:portal", "StartOperation", "r1") is None
    assert await store.request("default", "dev:other", "StartOperation", "r1") is None


async def test_what_an_operation_was_born_with_stays(writer: Writer) -> None:
    born = summary("op_1", key="case 17", labels=(("a", "b"),), requested_by="x", person="dev:a", on_behalf_of="dev:b")
    await writer.keep(born)
    await writer.keep(
        summary(
            "op_1", sequence=2, state="completed", definition="other", key=None, labels=(), started_at=9, digest="f"
        )
    )
    kept = await writer.store.summary("default", "op_1")
    assert kept == replace(born, sequence=2, state="completed")


async def test_records_are_read_in_pages_both_ways(writer: Writer) -> None:
    await writer.keep(summary("op_1", sequence=7))
    store = writer.store

    async def read(**told: object) -> list[int]:
        return [row.sequence for row in await store.records("default", "op_1", **told)]  # type: ignore[arg-type]

    assert await read(limit=3) == [1, 2, 3]
    assert await read(after=3, limit=3) == [4, 5, 6]
    assert await read(after=3, before=6) == [4, 5]
    assert await read(backwards=True, limit=3) == [7, 6, 5]
    assert await read(backwards=True, before=5, limit=3) == [4, 3, 2]
    assert await read(backwards=True, before=5, after=2) == [4, 3]
    assert await read(after=7) == []
    assert await read(before=1) == []


async def test_the_tree_is_kept_with_the_records(writer: Writer) -> None:
    await writer.keep(summary("op_1", sequence=3))
    nodes = [NodeRow(8, 0, b"n" * 32), NodeRow(8, 1, b"m" * 32), NodeRow(16, 0, b"o" * 32)]
    assert not await writer.write(writer.append(summary("op_2", sequence=2), 3), nodes=nodes)
    store = writer.store
    assert await store.leaves(0, 9) == [*(leaf("op_1", at) for at in (1, 2, 3)), *(leaf("op_2", at) for at in (1, 2))]
    assert await store.leaves(2, 4) == [leaf("op_1", 3), leaf("op_2", 1)]
    assert await store.nodes(8, 0, 9) == [b"n" * 32, b"m" * 32]
    assert await store.nodes(8, 1, 2) == [b"m" * 32]
    assert await store.nodes(24, 0, 9) == []


async def test_the_first_seal_over_a_record_is_the_one_of_its_commit(writer: Writer) -> None:
    assert await writer.store.last_seal() is None
    await writer.keep(summary("op_1", sequence=2))
    await writer.keep(summary("op_2", sequence=3))
    seals = [await writer.store.seal_over(index) for index in range(6)]
    assert seals == ["seal over 2"] * 2 + ["seal over 5"] * 3 + [None]
    assert await writer.store.last_seal() == "seal over 5"


async def test_an_append_after_another_head_is_refused_and_nothing_is_written(writer: Writer) -> None:
    await writer.keep(summary("op_1", sequence=2))
    behind = Writer(writer.store, await writer.store.reopen())
    again = behind.append(summary("op_1"), 2)
    behind.known["default", "op_1"] = summary("op_1")
    late = behind.append(summary("op_1", sequence=2), 3)
    fine = behind.append(summary("op_2"), 4)
    refused = await behind.write(again, late, fine)
    assert {position: type(error) for position, error in refused.items()} == {0: Fenced, 1: Fenced}
    assert await writer.store.summary("default", "op_2") is None
    assert (await writer.store.reopen()).size == 2
    assert not await behind.write(behind.append(summary("op_2"), 2))


async def test_the_same_sequence_after_another_leaf_is_refused(writer: Writer) -> None:
    await writer.keep(summary("op_1"))
    append = writer.append(summary("op_1", sequence=2), 1)
    forged = type(append)(
        append.namespace,
        append.operation,
        append.after,
        b"x" * 32,
        append.events,
        append.summary,
        append.before,
        None,
    )
    assert isinstance((await writer.write(forged))[0], Fenced)
    assert not await writer.write(append)


async def test_two_appends_of_one_operation_may_share_a_batch(writer: Writer) -> None:
    first = writer.append(summary("op_1"), 0)
    writer.known["default", "op_1"] = summary("op_1")
    second = writer.append(summary("op_1", sequence=2), 1)
    assert not await writer.write(first, second)
    assert len(await writer.store.records("default", "op_1")) == 2


async def test_two_changes_of_one_operation_may_share_a_batch(writer: Writer) -> None:
    await writer.keep(summary("op_1"))
    first = writer.append(summary("op_1", sequence=2), 1)
    writer.known["default", "op_1"] = summary("op_1", sequence=2)
    second = writer.append(summary("op_1", sequence=3), 2)
    assert not await writer.write(first, second)
    kept = await writer.store.kept("default", "op_1")
    assert kept is not None
    assert (kept.summary.sequence, kept.head) == (3, leaf("op_1", 3))


async def test_a_request_is_carried_out_once(writer: Writer) -> None:
    await writer.keep(summary("op_1"), requests=[request("op_1", "r1")])
    refused = await writer.write(writer.append(summary("op_2"), 1, requests=[request("op_2", "r1")]))
    assert isinstance(refused[0], Fenced)
    twins = [
        writer.append(summary(name), 1 + at, requests=[request(name, "r2")]) for at, name in enumerate(("op_3", "op_4"))
    ]
    assert set(await writer.write(*twins)) == {1}
    assert await writer.store.summary("default", "op_3") is None


async def test_a_log_that_another_has_written_to_is_lost(writer: Writer) -> None:
    await writer.keep(summary("op_1"))
    behind = Writer(writer.store, await writer.store.reopen())
    await writer.keep(summary("op_2"))
    with pytest.raises(Fenced):
        await behind.write(behind.append(summary("op_3"), 1))
    assert await writer.store.summary("default", "op_3") is None


async def test_an_earlier_epoch_writes_nothing(store: Store) -> None:
    old = Writer(store, await store.open(BIRTH))
    await store.close()
    new = Writer(store, await store.open(BIRTH))
    with pytest.raises(Fenced):
        await old.write(old.append(summary("op_1"), 0))
    await new.keep(summary("op_2"))


ROLLBACK = Rollback(at=5, size=1, seal="seal over 1", lost_size=9, lost_seal="seal over 9")


async def test_an_accepted_rollback_is_noted_and_goes_on_in_epochs_that_the_log_never_had(writer: Writer) -> None:
    store = writer.store
    await writer.keep(summary("op_1"))
    assert await store.rollbacks() == []
    begun = await store.begin_incarnation(ROLLBACK)
    assert (begun.epoch, begun.size, begun.seal) == (INCARNATION + 1, 1, "seal over 1")
    with pytest.raises(Fenced):
        await writer.write(writer.append(summary("op_2"), 1))
    await Writer(store, begun).keep(summary("op_2"))
    again = replace(ROLLBACK, at=6)
    assert incarnation_of((await store.begin_incarnation(again)).epoch) == 2
    await store.close()
    assert (await store.open(BIRTH)).epoch == 2 * INCARNATION + 2
    assert await store.rollbacks() == [ROLLBACK, again]


async def test_a_closed_store_writes_nothing(writer: Writer) -> None:
    await writer.store.close()
    with pytest.raises(Unavailable):
        await writer.keep(summary("op_1"))


async def test_a_write_whose_caller_is_cancelled_is_whole_or_nothing(store: Store) -> None:
    log = await store.open(BIRTH)
    writer = Writer(store, log)
    for round_ in range(20):
        task = asyncio.get_running_loop().create_task(
            writer.write(writer.append(summary(f"op_{round_}", sequence=3), log.size))
        )
        for _ in range(round_ % 4):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        # Opening again is behind whatever was still being written.
        log = await store.reopen()
        writer = Writer(store, log)
        found = await store.records("default", f"op_{round_}")
        kept = await store.summary("default", f"op_{round_}")
        assert (len(found), kept is not None) in ((0, False), (3, True))
        assert log.size == len(await store.leaves(0, 1000))


async def test_ids_are_found_by_a_part_or_exactly(writer: Writer) -> None:
    for name in ("op_1", "op_12", "op_123"):
        await writer.keep(summary(name))
    await writer.keep(summary("op_1", namespace="other"))
    store = writer.store
    assert await store.find("default", "op_1") == ["op_1"]
    assert await store.find("default", "_12") == ["op_12", "op_123"]
    assert await store.find("default", "_1", limit=3) == ["op_1", "op_12", "op_123"]
    assert await store.find("default", "123") == ["op_123"]
    assert await store.find("default", "%") == []
    assert await store.find("other", "12") == []


async def test_a_business_key_finds_its_operations_newest_first(writer: Writer) -> None:
    for at, name in enumerate(("op_1", "op_2", "op_3")):
        await writer.keep(summary(name, key="case" if at else None, started_at=at))
    assert [each.operation for each in await writer.store.by_key("default", "case")] == ["op_3", "op_2"]
    assert [each.operation for each in await writer.store.by_key("default", "case", limit=1)] == ["op_3"]
    assert await writer.store.by_key("default", "case", ("failed",)) == []
    assert await writer.store.by_key("default", "none") == []


async def test_what_is_due_comes_in_order_and_goes_when_it_is_not(writer: Writer) -> None:
    store = writer.store
    assert await store.next_due() is None
    for name, due_at in (("op_1", 30), ("op_2", 10), ("op_3", None), ("op_4", 20)):
        await writer.keep(summary(name, due_at=due_at))
    assert await store.next_due() == 10
    assert await store.due(20, 10) == [Due("default", "op_2", 10, 2), Due("default", "op_4", 20, 4)]
    assert await store.due(99, 1) == [Due("default", "op_2", 10, 2)]
    await writer.keep(summary("op_2", sequence=2, due_at=None))
    assert await store.next_due() == 20
    await writer.keep(summary("op_3", sequence=2, due_at=5))
    assert await store.due(5, 10) == [Due("default", "op_3", 5, 3)]


async def test_what_is_due_is_read_in_pages_also_if_all_is_due_at_one_time(writer: Writer) -> None:
    for number in range(1, 6):
        await writer.keep(summary(f"op_{number}", namespace=f"space {-number}", due_at=10 if number > 1 else 20))
    store = writer.store
    page = await store.due(20, 3)
    assert [each.operation for each in page] == ["op_2", "op_3", "op_4"]
    rest = await store.due(20, 3, (page[-1].due_at, page[-1].number))
    assert [each.operation for each in rest] == ["op_5", "op_1"]
    assert await store.due(20, 3, (rest[-1].due_at, rest[-1].number)) == []
    assert await store.due(10, 3, (page[-1].due_at, page[-1].number)) == rest[:1]


async def test_operations_are_read_many_at_once_with_the_beginning_of_their_timelines(writer: Writer) -> None:
    first = summary("op_1", sequence=2, key='of "many"\x00\n', labels=(("bureau", "Zürich"), ("", "\\")))
    other, second = summary("op_1", namespace="other", sequence=1), summary("op_2", sequence=3, due_at=4 * SECOND)
    for each in (first, other, second):
        await writer.keep(each)
    store = writer.store
    assert await store.erase("other", "op_1")
    places = [("default", "op_2"), ("default", "op_3"), ("other", "op_1"), ("default", "op_1"), ("default", "op_2")]
    found = await store.histories(places, 2, 1_000)
    assert [history and history.kept for history in found] == [await store.kept(*place) for place in places]
    assert [history and history.kept.payload_key for history in found[:3]] == [b"wrapped", None, None]
    assert [history and [*history.records] for history in found] == [
        [b"record op_2 1", b"record op_2 2"],
        None,
        [b"record op_1 1"],
        [b"record op_1 1", b"record op_1 2"],
        [b"record op_2 1", b"record op_2 2"],
    ]
    assert await store.histories([], 2, 1_000) == []


async def test_of_many_operations_as_many_are_read_as_there_is_room_for_and_at_least_one(writer: Writer) -> None:
    for number in (1, 2, 3):
        await writer.keep(summary(f"op_{number}", sequence=2))
    places = [("default", f"op_{number}") for number in (1, 0, 2, 3)]
    one = len(b"record op_1 1")
    for room, read in ((0, 1), (2 * one, 2), (4 * one - 1, 2), (4 * one, 3), (6 * one, 4)):
        assert len(await writer.store.histories(places, 2, room)) == read, room


async def test_steps_queue_by_service_and_name_the_longest_waiting_first(writer: Writer) -> None:
    for name, svc, step, since in (
        ("op_1", "IRS", "check", 30),
        ("op_2", "IRS", "check", 10),
        ("op_3", "IRS", "other", 5),
        ("op_4", "FSA", "check", 1),
    ):
        await writer.keep(
            summary(name, awaits="worker", awaits_who=svc, awaits_name=step, awaits_instance=2, awaits_since=since)
        )
    await writer.keep(summary("op_5", awaits="report", awaits_who="IRS", awaits_name="check", awaits_since=1))
    store = writer.store
    assert await store.queued("default", "IRS", ["check"], 9) == [
        Queued("default", "op_2", "check", 2, 10),
        Queued("default", "op_1", "check", 2, 30),
    ]
    assert [each.operation for each in await store.queued("default", "IRS", ["check", "other"], 2)] == ["op_3", "op_2"]
    assert await store.queued("default", "IRS", [], 9) == []
    assert [each.operation for each in await store.queued("default", "IRS", None, 9)] == ["op_3", "op_2", "op_1"]
    assert await store.queue_sizes() == [QueueSize("default", "FSA", 1, 1), QueueSize("default", "IRS", 3, 5)]
    await writer.keep(summary("op_2", sequence=2, awaits="report", awaits_who="IRS", awaits_name="check", session="s"))
    assert [each.operation for each in await store.queued("default", "IRS", ["check"], 9)] == ["op_1"]


async def test_what_workers_have_in_hand_is_listed_in_pages(writer: Writer) -> None:
    for name in ("op_3", "op_1", "op_2"):
        await writer.keep(summary(name, session=f"s{name}"))
    await writer.keep(summary("op_0"))
    store = writer.store
    assert await store.calls(limit=2) == [Call("default", "op_1", "sop_1"), Call("default", "op_2", "sop_2")]
    assert await store.calls(("default", "op_2"), 2) == [Call("default", "op_3", "sop_3")]
    await writer.keep(summary("op_3", sequence=2, session=None))
    assert await store.calls(("default", "op_2")) == []


async def test_decisions_wait_in_order_by_role(writer: Writer) -> None:
    for name, role, since in (("op_1", "officer", 20), ("op_2", "counsel", 10), ("op_3", "officer", 10)):
        await writer.keep(summary(name, awaits="decision", awaits_who=role, awaits_since=since))
    store = writer.store

    async def names(**told: object) -> list[str]:
        return [each.operation for each in await store.pending("default", **told)]  # type: ignore[arg-type]

    assert await names() == ["op_2", "op_3", "op_1"]
    assert await names(roles=["officer"]) == ["op_3", "op_1"]
    assert await names(roles=["officer", "counsel"], limit=2) == ["op_2", "op_3"]
    assert await names(after=(10, "op_2")) == ["op_3", "op_1"]
    assert await names(roles=[]) == []
    assert await store.count_pending("default") == 3
    assert await store.count_pending("default", ["officer"]) == 2
    assert await store.count_pending("other") == 0


async def test_decisions_that_wait_are_counted_by_definition_checkpoint_and_role_with_the_longest_wait(
    writer: Writer,
) -> None:
    for name, role, since in (("op_1", "officer", 20), ("op_2", "counsel", 10), ("op_3", "officer", 10)):
        await writer.keep(summary(name, awaits="decision", awaits_who=role, awaits_name="review", awaits_since=since))
    assert await writer.store.pending_sizes() == [
        PendingSize("default", "loan_forgiveness", "review", "counsel", 1, 10),
        PendingSize("default", "loan_forgiveness", "review", "officer", 2, 10),
    ]


async def test_operations_are_tallied_by_definition_and_state(writer: Writer) -> None:
    for name, state in (("op_1", "running"), ("op_2", "running"), ("op_3", "completed")):
        await writer.keep(summary(name, state=state))
    await writer.keep(summary("op_1", sequence=2, state="stalled"))
    assert await writer.store.tallies() == [
        Tally("default", "loan_forgiveness", state, 1) for state in ("completed", "running", "stalled")
    ]


async def test_operations_with_alarms_are_listed(writer: Writer) -> None:
    for name in ("op_1", "op_2", "op_3"):
        await writer.keep(summary(name, alarms="{}" if name != "op_2" else None))
    store = writer.store
    assert [each.operation for each in await store.alarmed()] == ["op_1", "op_3"]
    assert [each.operation for each in await store.alarmed(("default", "op_1"), 1)] == ["op_3"]


async def test_erasure_takes_what_was_said_and_leaves_what_happened(writer: Writer) -> None:
    told = summary("op_1", key="case 17", labels=(("who", "Jane Roe"),), requested_by="Jane Roe")
    await writer.keep(told, payloads=[PayloadRow(1, "input", b"sealed")])
    store = writer.store
    assert await store.erase("default", "op_1")
    kept = await store.kept("default", "op_1")
    assert kept is not None
    assert (kept.payload_key, kept.head) == (None, leaf("op_1", 1))
    assert (kept.summary.key, kept.summary.labels, kept.summary.requested_by) == (None, (), None)
    assert await store.payloads("default", "op_1", [1]) == []
    for where in (Where(labels=(("who", "Jane Roe"),)), Where(words=("jane",)), Where(key="case 17")):
        assert (await store.count("default", where)).count == 0
    assert len(await store.records("default", "op_1")) == 1
    assert not await store.erase("default", "op_2")


async def test_a_payload_key_is_found_as_long_as_one_is_kept(writer: Writer) -> None:
    store = writer.store
    assert await store.wrapped_key() is None
    for name in ("op_1", "op_2"):
        await writer.keep(summary(name), key=f"the key of {name}".encode())
    await store.erase("default", "op_1")
    assert await store.wrapped_key() == ("default", "op_2", b"the key of op_2")
    await store.erase("default", "op_2")
    assert await store.wrapped_key() is None


async def test_the_log_is_read_by_position_whosever_the_records_are(writer: Writer) -> None:
    first, second = summary("op_1", sequence=2), summary("op_2", namespace="other", sequence=1)
    assert not await writer.write(writer.append(first, 0), writer.append(second, 2))
    await writer.keep(summary("op_1", sequence=3))
    rows = await writer.store.log(0, 100, 1_000)
    assert [(row.index, row.namespace, row.operation, row.sequence) for row in rows] == [
        (0, "default", "op_1", 1),
        (1, "default", "op_1", 2),
        (2, "other", "op_2", 1),
        (3, "default", "op_1", 3),
    ]
    assert [row.leaf for row in rows] == await writer.store.leaves(0, 4)
    assert rows[2].record == b"record op_2 1"
    assert await writer.store.log(1, 3, 1_000) == rows[1:3]
    assert await writer.store.log(4, 9, 1_000) == []


async def test_of_the_log_no_more_is_read_than_there_is_room_for_but_always_one(writer: Writer) -> None:
    await writer.keep(summary("op_1", sequence=5))
    size = len(b"record op_1 1")
    rows = await writer.store.log(0, 5, 1_000)
    assert await writer.store.log(0, 5, 3 * size) == rows[:3]
    assert await writer.store.log(1, 5, 4 * size - 1) == rows[1:4]
    assert await writer.store.log(4, 5, 1) == rows[4:]
    assert await writer.store.log(0, 5, 0) == rows[:1]


async def test_seals_are_read_in_pages_with_the_sizes_they_are_over(writer: Writer) -> None:
    for sequence in (2, 5, 6):
        await writer.keep(summary("op_1", sequence=sequence))
    assert await writer.store.seals(0, 2) == [(2, "seal over 2"), (5, "seal over 5")]
    assert await writer.store.seals(5, 2) == [(6, "seal over 6")]
    assert await writer.store.seals(6, 2) == []


async def test_the_last_seal_between_two_sizes_is_found(writer: Writer) -> None:
    for sequence in (2, 5, 6):
        await writer.keep(summary("op_1", sequence=sequence))
    assert await writer.store.seal_within(0, 6) == (6, "seal over 6")
    assert await writer.store.seal_within(2, 5) == (5, "seal over 5")
    assert await writer.store.seal_within(0, 4) == (2, "seal over 2")
    assert await writer.store.seal_within(2, 4) is None
    assert await writer.store.seal_within(6, 100) is None
