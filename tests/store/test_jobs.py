"""What every store keeps of jobs, asked of every store."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from hmsactd.store.errors import Fenced
from hmsactd.store.job import JobChange, JobForgotten, JobRow, JobWrite, ResultRow
from hmsactd.store.store import Store
from tests.store.batches import Writer, summary
from tests.store.stores import BIRTH, MADE


@pytest.fixture(params=MADE)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made = MADE[request.param](tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def writer(store: Store) -> Writer:
    return Writer(store, await store.open(BIRTH))


def job(name: str, **told: object) -> JobRow:
    plain = JobRow(
        namespace="default",
        job=name,
        action="cancel",
        state="running",
        starter="dev:jane",
        principal="{}",
        request_id="",
        digest="",
        said=b"sealed",
        started_at=1,
        updated_at=1,
    )
    return replace(plain, **told)  # type: ignore[arg-type]


def result(name: str, number: int, **told: object) -> ResultRow:
    return replace(ResultRow("default", name, number, f"op_{number}"), **told)  # type: ignore[arg-type]


async def keep(writer: Writer, *writes: JobWrite) -> None:
    assert not await writer.store.write(replace(writer.batch(), jobs=writes))


async def test_a_job_is_kept_without_a_record_or_a_seal(writer: Writer) -> None:
    await keep(writer, JobChange(job("job_1"), (result("job_1", 1),)))
    assert await writer.store.job("default", "job_1") == job("job_1")
    assert await writer.store.job_results("default", "job_1") == [result("job_1", 1)]
    assert await writer.store.job("other", "job_1") is None
    assert (await writer.store.reopen()).size == 0
    assert await writer.store.last_seal() is None


async def test_a_job_is_kept_with_the_appends_of_its_batch_or_not_at_all(writer: Writer) -> None:
    append = writer.append(summary("op_1"), 0)
    assert not await writer.store.write(replace(writer.batch(append), jobs=(JobChange(job("job_1")),)))
    writer.size = 1
    refused = await writer.store.write(
        replace(writer.batch(writer.append(summary("op_1"), 1)), jobs=(JobChange(job("job_2")),))
    )
    assert isinstance(refused[0], Fenced)
    assert [row.job for row in await writer.store.jobs("default")] == ["job_1"]


async def test_a_batch_of_jobs_alone_is_fenced_like_any_other(writer: Writer) -> None:
    with pytest.raises(Fenced):
        await writer.store.write(replace(writer.batch(), epoch=writer.epoch + 1, jobs=(JobChange(job("job_1")),)))
    assert await writer.store.job("default", "job_1") is None


async def test_a_later_change_replaces_how_the_job_stands_and_the_results_it_names(writer: Writer) -> None:
    await keep(writer, JobChange(job("job_1"), (result("job_1", 1), result("job_1", 2))))
    later = job(
        "job_1", state="cancelled", ended_at=5, after_at=3, after_number=4, is_listed=True, done=1, said=b"more"
    )
    done = result("job_1", 1, outcome="done", at=4, state="cancelled", revision=1, sequence=2)
    await keep(writer, JobChange(later, (done,)))
    assert await writer.store.job("default", "job_1") == later
    assert await writer.store.job_results("default", "job_1") == [done, result("job_1", 2)]


async def test_results_come_in_pages_in_the_order_of_turns_of_one_outcome_or_all(writer: Writer) -> None:
    rows = tuple(result("job_1", number, outcome="done" if number % 2 else "skipped") for number in range(1, 8))
    await keep(writer, JobChange(job("job_1"), rows[::-1]), JobChange(job("job_2"), (result("job_2", 1),)))
    store = writer.store
    assert await store.job_results("default", "job_1", after=2, limit=3) == list(rows[2:5])
    assert [row.number for row in await store.job_results("default", "job_1", after=1, outcome="done")] == [3, 5, 7]


async def test_jobs_come_newest_first_and_those_that_have_not_ended_are_found(writer: Writer) -> None:
    ended = job("job_2", ended_at=9)
    elsewhere = job("job_4", namespace="other")
    # Of those that began in one millisecond, ids are in no order.
    last = job("job_0", started_at=2)
    await keep(writer, *(JobChange(each) for each in (job("job_1"), ended, last, job("job_3"), elsewhere)))
    assert [row.job for row in await writer.store.jobs("default")] == ["job_0", "job_3", "job_2", "job_1"]
    for before, after in (((2, "job_0"), "job_3"), ((1, "job_3"), "job_2")):
        assert [row.job for row in await writer.store.jobs("default", before=before, limit=1)] == [after]
    assert [row.job for row in await writer.store.open_jobs()] == ["job_0", "job_1", "job_3", "job_4"]


async def test_a_job_is_found_by_the_request_that_began_it_and_by_no_empty_one(writer: Writer) -> None:
    asked = job("job_1", request_id="r1")
    await keep(writer, JobChange(asked), JobChange(job("job_2")), JobChange(job("job_3")))
    store = writer.store
    assert await store.job_of_request("default", "dev:jane", "cancel", "r1") == asked
    for other in (("other", "dev:jane", "cancel", "r1"), ("default", "dev:joe", "cancel", "r1")):
        assert await store.job_of_request(*other) is None
    assert await store.job_of_request("default", "dev:jane", "pause", "r1") is None
    assert await store.job_of_request("default", "dev:jane", "cancel", "") is None


async def test_old_jobs_are_those_that_ended_before_a_time_or_stand_behind_enough_newer_ones(writer: Writer) -> None:
    rows = [job(f"job_{number}", ended_at=None if number == 3 else number) for number in range(1, 7)]
    await keep(writer, *map(JobChange, rows), JobChange(job("job_0", namespace="other", ended_at=6)))
    assert await writer.store.old_jobs(3, 10) == [("default", "job_1"), ("default", "job_2")]
    assert await writer.store.old_jobs(0, 2) == [("default", "job_1"), ("default", "job_2"), ("default", "job_4")]
    assert await writer.store.old_jobs(0, 2, limit=1) == [("default", "job_1")]
    await keep(writer, JobChange(job("job_00", started_at=2, ended_at=7)))
    assert await writer.store.old_jobs(0, 1) == [("default", f"job_{number}") for number in (1, 2, 4, 5, 6)]


async def test_a_job_is_forgotten_some_results_at_a_time_and_with_the_last_of_them(writer: Writer) -> None:
    await keep(writer, JobChange(job("job_1"), tuple(result("job_1", number) for number in range(1, 6))))
    await keep(writer, JobChange(job("job_2"), (result("job_2", 1),)))
    for left in ([3, 4, 5], [5]):
        await keep(writer, JobForgotten("default", "job_1", 2))
        assert [row.number for row in await writer.store.job_results("default", "job_1")] == left
        assert await writer.store.job("default", "job_1") is not None
    await keep(writer, JobForgotten("default", "job_1", 2))
    assert await writer.store.job("default", "job_1") is None
    assert len(await writer.store.job_results("default", "job_2")) == 1


async def test_a_job_without_results_is_forgotten_at_once(writer: Writer) -> None:
    await keep(writer, JobChange(job("job_1")), JobChange(job("job_2")))
    await keep(writer, JobForgotten("default", "job_1", 2))
    assert [row.job for row in await writer.store.jobs("default")] == ["job_2"]
