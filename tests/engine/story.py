"""One life of an operation, from start to finish, with all that it meets: told again and again while things go wrong.

A service that is busy at first, a pause, a decision, a second service that defers, and its batch that completes.
Whoever asks insists until there is an answer; workers keep what is not known to be recorded; a daemon that died is
started again. Then the end must be the same.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from hmsactd.core import events as e
from hmsactd.core.inputs import CompleteStep, Decide, Input, Pause, Resume, Start
from hmsactd.core.rejected import Rejected
from hmsactd.engine.engine import Limits
from hmsactd.engine.letter import Answer, RequestKey
from hmsactd.engine.requests import Done
from hmsactd.engine.session import Call
from hmsactd.engine.summary import NOTHING_GIVEN
from hmsactd.timeline.payloads import commit
from tests.core.dialogue import CITIZEN, JDAVIS, OPERATOR, service
from tests.engine.hands import Failed, Hands, Later, does
from tests.engine.trouble import TroubledStore
from tests.engine.world import LIMITS, SPACE, World, checkpoint, flow_of, living, step

FLOW = flow_of(step("ask", "Irs"), checkpoint("review"), step("pay", "Treasury"), step("tell", "Irs"))
BATCH = service("TreasuryBatch")
SLOWEST_S = 60
"""Without trouble it takes three seconds. With it, a loss or a grace may come on top, and nobody's fifteen minutes."""

END = [
    *("operation_started", "step_done 1", "checkpoint_pending 2", "operation_paused", "operation_resumed"),
    *("checkpoint_approved 2", "step_done 3", "step_done 4", "operation_completed"),
]


@dataclass
class Told:
    """What became of it, and what everybody was told on the way."""

    events: list[e.Event]
    answers: list[Done] = field(default_factory=list)
    recorded: set[tuple[int, int]] = field(default_factory=set)
    calls: int = 0
    seconds: float = 0

    @property
    def end(self) -> list[str]:
        """What has happened, without the attempts that it took."""
        passing = (e.StepStarted, e.StepQueued, e.StepFailed, e.StepLost, e.StepDeferred, e.StepReportIgnored)
        return [_named(event) for event in self.events if not isinstance(event, passing)]


def _named(event: e.Event) -> str:
    instance = getattr(event, "instance", None)
    return event.kind + (f" {instance}" if instance is not None else "")


async def lived(store: TroubledStore, limits: Limits = LIMITS) -> Told:
    """Let one operation live from start to finish, through whatever trouble the store has."""
    async with living(store, limits=limits) as world:
        is_busy = iter([True])

        def ask(call: Call) -> bytes | Failed:
            return Failed("BUSY") if call.step == "ask" and next(is_busy, False) else does(call)

        treasury = Hands(world, "Treasury", "pay", work=lambda _: Later())
        workers = [Hands(world, "Irs", "ask", "tell", work=ask), treasury]
        for worker in workers:
            worker.connect()
        told = Told([])
        somebody = world.do(_people(world, told))
        batch = world.do(_batch(world, told, treasury))
        began = world.clock.now()
        while not (somebody.done() and await _is_over(world, told, workers)):
            assert world.clock.now() - began < SLOWEST_S * 1_000_000, f"it hangs: {await _where(world, told, workers)}"
            if store.is_dead:
                await _restart(world, store, workers)
            await world.pass_time(0.25, tick=0.25)
        batch.cancel()
        told.seconds = (world.clock.now() - began) / 1e6
        store.at_write = store.at_read = frozenset()
        told.events = await world.events(told.answers[0].operation_id)
        told.recorded = {(key.instance, key.attempt) for worker in workers for key in worker.told("recorded")}
        told.calls = sum(len(worker.calls) for worker in workers)
        await _check(world, told)
        return told


async def _people(world: World, told: Told) -> None:
    start = Start(CITIZEN, FLOW, commit(b'{"name":"Jane Roe"}'))
    told.answers.append(
        await world.insist(
            lambda key: world.engine.start(SPACE, start, NOTHING_GIVEN, key), world.request(), is_start=True
        )
    )
    operation_id = told.answers[0].operation_id
    while (row := await world.store.summary(SPACE, operation_id)) is None or row.awaits != "decision":
        await world.clock.sleep_until(world.clock.now() + 200_000)

    async def insist(what: Input) -> None:
        told.answers.append(
            await world.insist(lambda key: world.engine.tell(SPACE, operation_id, what, key), world.request())
        )

    await insist(Pause(OPERATOR))
    await insist(Resume(OPERATOR))
    await insist(Decide(JDAVIS, "review", is_approval=True))


async def _batch(world: World, told: Told, treasury: Hands) -> None:
    """Completes whatever has been deferred, each attempt once; those that were lost meanwhile in vain."""
    for number in count():
        while len(treasury.calls) <= number:
            await world.clock.sleep_until(world.clock.now() + 200_000)
        key = treasury.calls[number].key
        what = CompleteStep(BATCH, key.instance, key.attempt, commit(b'"paid"'))
        with suppress(Rejected):
            told.answers.append(await world.insist(partial(_tell, world, key.operation_id, what), world.request()))


def _tell(world: World, operation_id: str, what: Input, key: RequestKey) -> asyncio.Future[Answer]:
    return world.engine.tell(SPACE, operation_id, what, key)


async def _is_over(world: World, told: Told, workers: list[Hands]) -> bool:
    row = await world.store.summary(SPACE, told.answers[0].operation_id)
    return row is not None and row.ended_at is not None and not any(worker.unacknowledged for worker in workers)


async def _restart(world: World, store: TroubledStore, workers: list[Hands]) -> None:
    await world.kill()
    store.is_dead = False
    await world.open()
    for worker in workers:
        worker.connect()


async def _where(world: World, told: Told, workers: list[Hands]) -> str:
    unacknowledged = [key for worker in workers for key in worker.unacknowledged]
    if not told.answers:
        return f"it was never started; {unacknowledged}"
    row = await world.store.summary(SPACE, told.answers[0].operation_id)
    return f"{row}; live {world.engine.live}; {unacknowledged}"


async def _check(world: World, told: Told) -> None:
    """What holds whatever happened."""
    operation_id = told.answers[0].operation_id
    for answer in told.answers:
        # What was answered as recorded is on the record, under the hash that was named.
        assert answer.operation_id == operation_id
        (row,) = await world.store.records(SPACE, operation_id, after=answer.receipt.sequence - 1, limit=1)
        assert (row.leaf, row.index) == (answer.receipt.leaf, answer.receipt.index)
    outcomes = {(each.instance, each.attempt) for each in told.events if isinstance(each, e.StepDone | e.StepFailed)}
    assert told.recorded <= outcomes
    done = Counter(each.instance for each in told.events if isinstance(each, e.StepDone))
    assert set(done.values()) == {1}
    assert sum(isinstance(each, e.StepFailed) for each in told.events) <= 2
    # Nobody is left in memory with something to do, and no place at a worker is lost.
    assert all(session.reserved == 0 for session in world.engine.dispatch.sessions.values())
    assert not any(session.held or session.reported for session in world.engine.dispatch.sessions.values())
