"""The life of a daemon in miniature: several operations at once, with all that an operation can meet, on a real disk.

People ask until they are answered, some only once; workers keep what is not known to be recorded. Everything that
anybody was told is kept, to be held against the record.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from hmsactd.core import events as e
from hmsactd.core.inputs import Cancel, Decide, Input, Pause, Resume, Start
from hmsactd.definition.flow import Flow
from hmsactd.engine.letter import Answer, RequestKey
from hmsactd.engine.requests import Done
from hmsactd.engine.session import Call
from hmsactd.engine.summary import NOTHING_GIVEN
from hmsactd.errors import Unavailable
from hmsactd.store.errors import Unavailable as StoreUnavailable
from hmsactd.store.store import Summary
from hmsactd.timeline.payloads import commit
from tests.core.dialogue import CITIZEN, JDAVIS, OPERATOR
from tests.engine.hands import Failed, Hands, does
from tests.engine.world import SPACE, World, checkpoint, flow_of, step

SLOWEST_S = 120
"""Without a fault it takes seven seconds."""
ASKED_ONCE = 8

FLOWS = {
    "approved": flow_of(step("ask", "Irs"), checkpoint("review"), step("pay", "Treasury"), step("tell", "Irs")),
    "late": flow_of(step("slow", "Irs", timeout="2s", sla="1s")),
    "cancelled": flow_of(step("hold", "Irs")),
    "forgotten": flow_of(step("tell", "Irs")),
}
KEPT = flow_of(step("ask", "Irs"))
"""An operation that is there from an earlier life, its step in the hands of a worker who never comes back."""

ENDS = {
    "approved": [
        *("operation_started", "step_done 1", "checkpoint_pending 2", "operation_paused", "operation_resumed"),
        *("checkpoint_approved 2", "step_done 3", "step_done 4", "operation_completed"),
    ],
    "late": ["operation_started", "sla_at_risk 1", "sla_breach 1", "step_done 1", "operation_completed"],
    "cancelled": ["operation_started", "operation_cancelled"],
    "forgotten": ["operation_started", "step_done 1", "operation_completed"],
    "kept": ["operation_started", "step_done 1", "operation_completed"],
}
"""What has happened in each when it is over, without the attempts that it took."""


@dataclass
class Heard:
    """What everybody was told."""

    acknowledged: list[Done] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    """By reason."""
    sentences: set[str] = field(default_factory=set)
    not_recorded: set[str] = field(default_factory=set)
    """Names of operations of which somebody was told that nothing was recorded."""
    in_doubt: set[str] = field(default_factory=set)
    """And of those whose fate was said to be unknown."""
    reported: set[tuple[str, int, int]] = field(default_factory=set)
    """Attempts whose worker was told that its report is recorded."""


class Life:
    """One life, from when the daemon is ready."""

    def __init__(self, world: World, kept: Done) -> None:
        self.world = world
        self.heard = Heard(acknowledged=[kept], ids={"kept": kept.operation_id})
        is_busy = iter((True,))
        self.workers = [
            Hands(world, "Irs", "ask", "tell", "slow", "hold", work=lambda call: _irs(call, is_busy)),
            Hands(world, "Treasury", "pay"),
        ]

    async def play(self) -> None:
        """Returns when everything that was begun has come to its end."""
        for worker in self.workers:
            worker.connect()
        async with asyncio.timeout(SLOWEST_S), asyncio.TaskGroup() as people:
            for name in FLOWS:
                people.create_task(getattr(self, f"_{name}")(), name=name)
            people.create_task(self._ask_once_each(), name="once")
        async with asyncio.timeout(SLOWEST_S):
            while not await self._is_over():  # noqa: ASYNC110 -- time jumps
                await asyncio.sleep(0.25)
        self.heard.reported |= {
            (key.operation_id, key.instance, key.attempt) for worker in self.workers for key in worker.told("recorded")
        }

    async def ends(self) -> dict[str, list[str]]:
        """What has happened in each of the operations that were to come to an end."""
        return {name: _end(await self.world.events(self.heard.ids[name])) for name in ENDS}

    # -- people --------------------------------------------------------------------------------------------------------

    async def _approved(self) -> None:
        operation_id = await self._start("approved")
        while (await self._row(operation_id)).awaits != "decision":  # noqa: ASYNC110 -- time jumps
            await asyncio.sleep(0.2)
        for told in (Pause(OPERATOR), Resume(OPERATOR), Decide(JDAVIS, "review", is_approval=True)):
            await self._tell(operation_id, told)

    async def _late(self) -> None:
        await self._start("late")

    async def _cancelled(self) -> None:
        operation_id = await self._start("cancelled")
        await asyncio.sleep(1)
        await self._tell(operation_id, Cancel(OPERATOR))

    async def _forgotten(self) -> None:
        operation_id = await self._start("forgotten")
        while (await self._row(operation_id)).ended_at is None:  # noqa: ASYNC110 -- time jumps
            await asyncio.sleep(0.2)
        while True:
            try:
                assert await self.world.timelines.erase(SPACE, operation_id)
                return
            except StoreUnavailable as error:
                self._refused(error)
                await asyncio.sleep(0.5)

    async def _ask_once_each(self) -> None:
        """People who ask for something once, without a request id: what they are told has to be true as it is."""
        for number in range(ASKED_ONCE):
            name = f"once_{number}"
            flow = named(name, flow_of(checkpoint("review")))
            try:
                done = await self.world.requests.once(SPACE, None, partial(self.world.start, flow))
            except (Unavailable, StoreUnavailable) as error:
                self._refused(error)
                (self.heard.in_doubt if "not known" in str(error) else self.heard.not_recorded).add(name)
            else:
                self.heard.acknowledged.append(done)
                self.heard.ids[name] = done.operation_id
            await asyncio.sleep(0.7)

    async def _start(self, name: str) -> str:
        start = Start(CITIZEN, named(name, FLOWS[name]), commit(b'{"name":"Jane Roe"}'))
        done = await self._insist(lambda key: self.world.engine.start(SPACE, start, NOTHING_GIVEN, key), is_start=True)
        self.heard.ids[name] = done.operation_id
        return done.operation_id

    async def _tell(self, operation_id: str, told: Input) -> None:
        await self._insist(lambda key: self.world.engine.tell(SPACE, operation_id, told, key))

    async def _insist(self, run: Callable[[RequestKey], asyncio.Future[Answer]], *, is_start: bool = False) -> Done:
        key = self.world.request()
        while True:
            try:
                done = await self.world.requests.once(SPACE, key, lambda: run(key), is_start=is_start)
            except (Unavailable, StoreUnavailable) as error:
                self._refused(error)
                await asyncio.sleep(0.5)
            else:
                self.heard.acknowledged.append(done)
                return done

    def _refused(self, error: Unavailable | StoreUnavailable) -> None:
        self.heard.refused[error.reason] += 1
        self.heard.sentences.add(str(error))

    async def _row(self, operation_id: str) -> Summary:
        row = await self.world.store.summary(SPACE, operation_id)
        assert row is not None, "it was acknowledged"
        return row

    async def _is_over(self) -> bool:
        rows = [await self._row(self.heard.ids[name]) for name in ENDS]
        return all(row.ended_at for row in rows) and not any(worker.unacknowledged for worker in self.workers)


def named(name: str, flow: Flow) -> Flow:
    """The same flow under a name by which its operation is found."""
    return replace(flow, name=name)


def _irs(call: Call, is_busy: Iterator[bool]) -> bytes | Failed | None:
    if call.step == "hold" or (call.step == "slow" and call.key.attempt == 1):
        return None
    if call.step == "ask" and next(is_busy, False):
        return Failed("BUSY")
    return does(call)


def _end(events: list[e.Event]) -> list[str]:
    passing = (e.StepStarted, e.StepQueued, e.StepFailed, e.StepLost)
    return [_word(event) for event in events if not isinstance(event, passing)]


def _word(event: e.Event) -> str:
    instance = getattr(event, "instance", None)
    return event.kind + (f" {instance}" if instance is not None else "")
