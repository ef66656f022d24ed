"""A job gives every operation one turn, whatever happens to the store, the process or the operations meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hmsactd.core.events import Event, OperationCancelled, OperationPaused, StepRetried
from hmsactd.core.inputs import Pause, Resume, StepErred, StepTaken
from hmsactd.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted
from hmsactd.jobs import run as run_module
from hmsactd.jobs.job import Action, Words, applicable
from hmsactd.jobs.jobs import Limits
from hmsactd.jobs.run import Standing
from hmsactd.store.memory import MemoryStore
from hmsactd.store.where import Where
from tests.core.dialogue import OPERATOR, service
from tests.engine.trouble import Trouble, TroubledStore
from tests.engine.world import SECOND, SPACE, World, checkpoint, flow_of, living, step
from tests.jobs.office import LIMITS, Office

FLOW = flow_of(checkpoint("review"))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with living(MemoryStore()) as world:
        yield world


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "PAGE", 3)


async def some(world: World, count: int) -> list[str]:
    return [await world.started(FLOW) for _ in range(count)]


async def by_jobs(world: World, operation: str) -> list[Event]:
    return [event for event in await world.events(operation) if getattr(event, "job", None)]


async def test_it_is_done_to_every_operation_once_in_the_name_of_who_asked(world: World) -> None:
    operations, office = await some(world, 10), Office(world)
    ended = await office.ended(await office.begin(Action.CANCEL))
    assert (ended.row.state, ended.row.done, ended.row.listed, ended.row.expected) == ("completed", 10, 10, 10)
    for operation in operations:
        (event,) = await by_jobs(world, operation)
        assert isinstance(event, OperationCancelled)
        assert (event.by, event.job) == (OPERATOR, ended.row.job)
        assert event.reason is not None
    results = await world.store.job_results(SPACE, ended.row.job)
    assert [(row.operation, row.outcome, row.state) for row in results] == [
        (operation, "done", "cancelled") for operation in operations
    ]
    assert office.counts.turns == {"done": 10}
    assert office.counts.ended == {"completed": 1}
    await office.stop()


async def test_each_operation_commits_to_the_reason_in_its_own_way(world: World) -> None:
    operations, office = await some(world, 2), Office(world)
    await office.ended(await office.begin(Action.PAUSE))
    events = [event for operation in operations for event in await by_jobs(world, operation)]
    assert (
        len({event.reason.commitment for event in events if isinstance(event, OperationPaused) and event.reason}) == 2
    )
    await office.stop()


async def test_what_does_not_match_or_begins_later_is_left_alone(world: World) -> None:
    office = Office(world)
    operations = await some(world, 4)
    await world.tell(operations[1], Pause(OPERATOR))
    world.clock.advance(SECOND)
    job = await office.begin(Action.PAUSE, Where(states=("waiting", "paused")))
    world.clock.advance(1)
    later = await world.started(FLOW)
    ended = await office.ended(job)
    assert (ended.row.done, ended.row.listed) == (3, 3)
    assert await by_jobs(world, operations[1]) == []
    assert await by_jobs(world, later) == []
    await office.stop()


async def test_an_empty_match_is_a_job_that_has_nothing_to_do(world: World) -> None:
    office = Office(world)
    ended = await office.ended(await office.begin(Action.RESUME))
    assert (ended.row.state, ended.row.listed) == ("completed", 0)
    await office.stop()


async def test_an_operation_that_moved_on_since_it_was_listed_is_skipped(world: World) -> None:
    operations, office = await some(world, 2), Office(world)
    store = world.store
    listing = store.operations

    async def overtaken(*asked: object, **told: object) -> object:
        page = await listing(*asked, **told)  # type: ignore[arg-type]
        for operation in operations:
            await world.tell(operation, Pause(OPERATOR))
        return page

    store.operations = overtaken  # type: ignore[method-assign, assignment]
    ended = await office.ended(await office.begin(Action.CANCEL, Where(states=("waiting",))))
    assert (ended.row.done, ended.row.skipped) == (0, 2)
    (first, _) = await store.job_results(SPACE, ended.row.job)
    assert (first.outcome, first.reason) == ("skipped", "NO_LONGER_MATCHES")
    assert [await world.stands(operation) for operation in operations] == ["paused", "paused"]
    await office.stop()


async def test_named_operations_get_what_each_would_have_been_answered(world: World) -> None:
    operations, office = await some(world, 5), Office(world)
    await world.tell(operations[3], Pause(OPERATOR))
    unknown = "op_" + "0" * 26
    job = await office.begin(Action.PAUSE, None, *operations, unknown)
    ended = await office.ended(job)
    assert (ended.row.done, ended.row.skipped, ended.row.refused) == (4, 1, 1)
    reasons = {row.operation: row.reason for row in await world.store.job_results(SPACE, job.row.job)}
    assert reasons[operations[3]] == "OPERATION_PAUSED"
    assert reasons[unknown] == "OPERATION_UNKNOWN"
    await office.stop()


async def test_retry_is_about_stalled_steps_also_of_operations_that_are_paused(world: World) -> None:
    office = Office(world)
    stalled = [await world.started(flow_of(step("check", retries=0))) for _ in range(3)]
    for operation in stalled:
        taken = StepTaken(service("Irs"), 1, 1, "session")
        await world.tell(operation, taken)
        await world.tell(operation, StepErred(service("Irs"), 1, 1, "DOWN"))
    await world.tell(stalled[0], Pause(OPERATOR))
    fine = await world.started(flow_of(step("check", retries=0)))
    ended = await office.ended(await office.begin(Action.RETRY))
    assert (ended.row.done, ended.row.listed) == (3, 3)
    for operation in stalled:
        assert [type(event) for event in await by_jobs(world, operation)] == [StepRetried]
    named = await office.ended(await office.begin(Action.RETRY, None, fine))
    assert named.row.skipped == 1
    await office.stop()


def test_a_filter_that_leaves_nothing_to_do_is_known_beforehand() -> None:
    assert applicable(Action.CANCEL, Where(states=("completed",))) is None
    assert applicable(Action.RETRY, Where(awaits=("decision",))) is None
    left = applicable(Action.RESUME, Where(states=("paused", "running")))
    assert left is not None
    assert left.states == ("paused",)


# -- crash and trouble -------------------------------------------------------------------------------------------------


async def lived(store: TroubledStore, action: Action = Action.CANCEL) -> tuple[World, Standing]:
    """Ten operations, a job over them, and whatever trouble the store has; to its end."""
    async with living(store) as world:
        struck, store.at_write = store.at_write, frozenset()
        operations = await some(world, 10)
        office = Office(world)
        job = await office.begin(action, request_id="once")
        store.writes, store.at_write = 0, struck
        ending = world.do(office.ended(job))
        while not ending.done():
            await asyncio.wait([ending], timeout=0.01)
            if store.is_dead:
                # In memory as on a disk: what was kept is kept, and all else is gone.
                store.is_dead = False
                ending.cancel()
                office.die()
                await world.kill()
                await world.open()
                office = Office(world)
                ending = world.do(office.ended(job))
        ended = ending.result()
        for operation in operations:
            assert len(await by_jobs(world, operation)) == 1, f"{operation} has had its turn once"
        assert await office.outcomes(job) == {"done": 10}
        assert (ended.row.state, ended.row.done, ended.row.listed) == ("completed", 10, 10)
        await office.stop()
    return world, ended


@pytest.mark.parametrize("trouble", [each for each in Trouble if each is not Trouble.FENCED])
async def test_trouble_at_any_write_costs_no_turn_and_gives_none_twice(trouble: Trouble) -> None:
    at = 1
    while True:
        store = TroubledStore()
        store.trouble, store.at_write = trouble, frozenset([at])
        await lived(store)
        if store.writes < at:
            break
        at += 1
    assert at > 8


async def test_while_the_store_is_away_it_is_held_up_and_goes_on_by_itself() -> None:
    store = TroubledStore()
    async with living(store) as world:
        await some(world, 5)
        office = Office(world)
        job = await office.begin(Action.CANCEL)
        store.is_away = True
        with office.jobs.watched(SPACE, job.row.job) as changes:
            while not (await office.jobs.look(SPACE, job.row.job)).held_up_by:
                await changes.changed()
        assert office.jobs.open_counts() == {(SPACE, "cancel", "held_up"): 1}
        store.is_away = False
        assert (await office.ended(job)).row.done == 5
        await office.stop()


async def test_stopped_in_the_middle_it_goes_on_where_it_was(world: World) -> None:
    await some(world, 20)
    office = Office(world)
    job = await office.begin(Action.CANCEL)
    with office.jobs.watched(SPACE, job.row.job) as changes:
        while not (await office.jobs.look(SPACE, job.row.job)).row.done:
            await changes.changed()
    await office.stop()
    broken_off = await world.store.job(SPACE, job.row.job)
    assert broken_off is not None
    assert broken_off.ended_at is None
    assert 0 < broken_off.done < 20
    again = Office(world)
    ended = await again.ended(job)
    assert ended.row.done == 20
    assert await again.outcomes(job) == {"done": 20}
    assert again.counts.turns["done"] == 20 - broken_off.done
    await again.stop()


# -- ends --------------------------------------------------------------------------------------------------------------


async def test_cancelled_it_touches_nothing_more_and_says_what_was_not_reached(world: World) -> None:
    operations = await some(world, 20)
    office = Office(world)
    job = await office.begin(Action.CANCEL)
    ended = await office.jobs.cancel(SPACE, job.row.job, OPERATOR, "a mistake")
    assert (ended.row.state, ended.row.ended_by) == ("cancelled", OPERATOR.id)
    assert Words.of(ended.row, world.timelines).end_reason == "a mistake"
    touched = [operation for operation in operations if await by_jobs(world, operation)]
    assert len(touched) == ended.row.done < 20
    assert (await office.outcomes(job))["ahead"] == ended.row.listed - ended.row.done
    await world.quiet()
    assert [operation for operation in operations if await by_jobs(world, operation)] == touched
    # Cancelled is cancelled: the same request again finds it so.
    assert (await office.jobs.cancel(SPACE, job.row.job, OPERATOR, "a mistake")).row == ended.row
    await office.stop()


async def test_what_has_ended_can_not_be_cancelled_and_what_is_not_there_neither(world: World) -> None:
    office = Office(world)
    ended = await office.ended(await office.begin(Action.CANCEL))
    with pytest.raises(FailedPrecondition) as raised:
        await office.jobs.cancel(SPACE, ended.row.job, OPERATOR, "")
    assert raised.value.reason == "JOB_ENDED"
    with pytest.raises(NotFound):
        await office.jobs.cancel(SPACE, "job_" + "0" * 26, OPERATOR, "")
    await office.stop()


async def test_it_fails_when_whoever_asked_may_no_longer_do_so(world: World) -> None:
    operations, office = await some(world, 10), Office(world)
    office.counts.may_left = 4
    ended = await office.ended(await office.begin(Action.CANCEL))
    assert (ended.row.state, ended.row.fault, ended.row.done) == ("failed", "PERMISSION_MISSING", 4)
    assert sum([len(await by_jobs(world, operation)) for operation in operations]) == 4
    await office.stop()


# -- begin -------------------------------------------------------------------------------------------------------------


async def test_the_same_request_begins_one_job_and_another_content_none(world: World) -> None:
    await some(world, 2)
    office = Office(world)
    job = await office.begin(Action.CANCEL, request_id="r", digest="d")
    again = await office.begin(Action.CANCEL, request_id="r", digest="d")
    assert again.row.job == job.row.job
    with pytest.raises(AlreadyExists):
        await office.begin(Action.CANCEL, request_id="r", digest="other")
    assert len(await world.store.jobs(SPACE)) == 1
    await office.ended(job)
    await office.stop()


async def test_more_than_the_caller_expects_is_refused_before_anything_is_done(world: World) -> None:
    await some(world, 3)
    office = Office(world)
    with pytest.raises(FailedPrecondition) as raised:
        await office.begin(Action.CANCEL, count_max=2)
    assert (raised.value.reason, raised.value.metadata["count"]) == ("MORE_MATCH", "3")
    assert await world.store.jobs(SPACE) == []
    await office.ended(await office.begin(Action.CANCEL, count_max=3))
    await office.stop()


async def test_only_so_many_jobs_of_a_namespace_are_open() -> None:
    store = TroubledStore()
    async with living(store) as world:
        await some(world, 3)
        office = Office(world)
        for _ in range(LIMITS.open_max):
            await office.begin(Action.CANCEL)
        with pytest.raises(ResourceExhausted) as raised:
            await office.begin(Action.CANCEL)
        assert raised.value.reason == "OPEN_JOBS_MAX"
        await office.stop()


async def test_a_begin_of_which_nobody_knows_is_taken_up_all_the_same() -> None:
    store = TroubledStore()
    async with living(store) as world:
        operations = await some(world, 3)
        office = Office(world)
        await world.quiet()
        store.trouble, store.at_write = Trouble.KEPT_UNTOLD, frozenset([store.writes + 1])
        with pytest.raises(Exception, match="did not answer"):
            await office.begin(Action.CANCEL, request_id="r")
        repeated = await office.begin(Action.CANCEL, request_id="r")
        assert (await office.ended(repeated)).row.done == 3
        assert all([len(await by_jobs(world, operation)) == 1 for operation in operations])
        await office.stop()


async def test_ended_jobs_are_forgotten_with_their_results(world: World) -> None:
    operations = await some(world, 3)
    office = Office(world, Limits(open_max=3, keep_us=3600 * SECOND, kept_max=2))
    jobs = []
    for action in (Action.PAUSE, Action.RESUME, Action.PAUSE):
        jobs.append((await office.ended(await office.begin(action))).row.job)
        world.clock.advance(1)
    await office.stop()
    again = Office(world)
    await world.quiet()
    assert [row.job for row in await world.store.jobs(SPACE)] == jobs[:0:-1]
    assert await world.store.job_results(SPACE, jobs[0]) == []
    await world.tell(operations[0], Resume(OPERATOR))
    await again.stop()
    world.clock.advance(3601 * SECOND)
    last = Office(world)
    await world.quiet()
    assert await world.store.jobs(SPACE) == []
    await last.stop()
