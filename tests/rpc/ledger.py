"""A log of many operations, and followers of it, without a server between."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from random import Random
from typing import Any, cast

from hmsact.v1 import principal_pb2
from hmsact.v1 import timeline_pb2 as pb

from hmsactd.core import events as e
from hmsactd.core.events import Event
from hmsactd.core.principal import Principal
from hmsactd.definition.bounds import Bounds
from hmsactd.definition.flow import Flow
from hmsactd.identity.dev import DEVELOPER
from hmsactd.identity.identity import development
from hmsactd.rpc.caller import called_by
from hmsactd.rpc.desk import Desk
from hmsactd.rpc.everything import Everything
from hmsactd.rpc.patience import Patience
from hmsactd.rpc.streams import Streams
from hmsactd.settings.settings import Settings
from hmsactd.store.store import LogRow, Store
from hmsactd.timeline.payloads import commit
from hmsactd.timeline.timeline import Timeline, Timelines
from tests.engine.world import StillClock
from tests.timeline.samples import BEGAN, FLOW, IRS, JDAVIS, NAMES, PORTAL, SECOND, summary

STREAMS_MAX = 5
DEFINITIONS = ("loan_forgiveness", "appeal")
NAMESPACES = ("default", "other")


class Ledger:
    """Writes random events of random operations."""

    def __init__(self, store: Store, timelines: Timelines, seed: int = 1) -> None:
        self.store = store
        self.timelines = timelines
        self.chance = Random(seed)
        self._open: list[Timeline] = []

    async def grow(self, appends: int) -> None:
        for _ in range(appends):
            await self._append()

    async def _append(self) -> None:
        chance = self.chance
        if not self._open or chance.randrange(4) == 0:
            operation = f"op_{chance.getrandbits(120):026x}"[:29].ljust(29, "0")
            timeline = self.timelines.new(chance.choice(NAMESPACES), operation)
            flow = Flow(chance.choice(DEFINITIONS), FLOW.items, FLOW.sla_ms, f"{chance.randrange(3):064x}")
            self._open.append(timeline)
            events: list[Event] = [e.OperationStarted(self.at(), PORTAL, flow, commit(b'{"applicant":"Jane Roe"}'))]
        else:
            timeline, events = chance.choice(self._open), []
        events += [self._something() for _ in range(chance.randrange(1, 4))]
        await timeline.append(events, NAMES, summary(timeline, events))

    def at(self) -> int:
        return BEGAN + self.timelines.size * SECOND

    def _something(self) -> Event:
        chance, at = self.chance, self.at()
        choices: tuple[Event, ...] = (
            e.StepStarted(at, IRS, chance.choice((1, 2)), 1, "ses_1"),
            e.StepDone(at, IRS, chance.choice((1, 2)), 1, commit(b'{"ok":true}')),
            e.StepFailed(at, IRS, 2, 1, "HTTP_502", 3, 1, at + SECOND),
            e.CheckpointClaimed(at, JDAVIS, 3),
            e.OperationPaused(at, JDAVIS, "run"),
        )
        return chance.choice(choices)

    async def rows(self) -> list[LogRow]:
        return await self.store.log(0, self.timelines.size, 2**40)

    async def expected(self, request: pb.WatchEventsRequest) -> list[int]:
        """The positions that a filter lets through, found without a thought for cost."""
        definitions: dict[str, str] = {}
        found = []
        said = request.filter
        for row in await self.rows():
            told: dict[str, Any] = json.loads(row.record)
            if told["sequence"] == 1:
                definitions[row.operation] = told["data"]["definition"]
            kinds = {principal_pb2.PrincipalKind.Name(kind)[15:].lower() for kind in said.principal_kinds}
            if (
                row.namespace == (request.namespace or "default")
                and (not said.kinds or told["kind"] in said.kinds)
                and (not said.definitions or definitions[row.operation] in said.definitions)
                and (not said.operations or row.operation in said.operations)
                and (not said.subjects or (told["subject"] or {}).get("name") in said.subjects)
                and (not kinds or told["principal"]["kind"] in kinds)
            ):
                found.append(row.index)
        return found


def desk_of(store: Store, timelines: Timelines, settings: Settings | None = None) -> Desk:
    nobody: Any = None
    return Desk(settings or Settings(), Bounds(), StillClock(), development(), store, timelines, nobody, nobody, nobody)


def everything_of(store: Store, timelines: Timelines, patience: Patience | None = None) -> Everything:
    return Everything(desk_of(store, timelines), patience or Patience(), Streams(STREAMS_MAX, 1_000))


def following(
    everything: Everything, request: pb.WatchEventsRequest, by: Principal = DEVELOPER
) -> AsyncGenerator[bytes]:
    called_by(by)
    return cast("AsyncGenerator[bytes]", everything.watch(request))


async def answers(
    everything: Everything, request: pb.WatchEventsRequest, by: Principal = DEVELOPER
) -> list[pb.WatchEventsResponse]:
    """Everything that is sent to a follower that ends at what is recorded now."""
    whole = pb.WatchEventsRequest()
    whole.CopyFrom(request)
    whole.no_follow = True
    async with aclosing(following(everything, whole, by)) as messages:
        return [pb.WatchEventsResponse.FromString(message) async for message in messages]


def positions(messages: Iterable[pb.WatchEventsResponse]) -> list[int]:
    return [placed.position for message in messages for placed in message.events]


def cursors(messages: Sequence[pb.WatchEventsResponse]) -> list[tuple[int, str]]:
    """Every cursor that was given, and the first position that it does not cover."""
    found = []
    for message in messages:
        found += [(placed.position + 1, placed.event.cursor) for placed in message.events]
        found.append((message.to_position, message.cursor))
    return found
