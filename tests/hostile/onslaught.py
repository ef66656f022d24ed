"""One hostile request after the other, as a seed has them: mostly mutated, some left as they are, by all kinds of callers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from google.protobuf.message import Message
from hmsact.v1 import job_pb2

from tests.hostile.door import Door
from tests.hostile.mutation import mutated
from tests.hostile.stage import JOBS, OFFICER, Ready, asked, ready, started
from tests.hostile.valid import DESK, FLOW, RPCS, Rpc, Valid

VALID = 0.15
"""The share of requests that are left as they are, so that the others meet something."""

MADE_READY = 0.6
"""How often a request that needs something to be brought about is made of one for which it was."""

TOKENS = ("", "", "", OFFICER, "dev:mgarcia@fsa.gov", "dev:casebot", "dev:svc/IRS", "nobody")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A request, or several on a stream, and who asks it."""

    rpc: Rpc
    said: list[bytes]
    token: str

    def __str__(self) -> str:
        return f"{self.rpc.path} as {self.token or 'developer'}: {self.said[0][:200]!r}"


class Onslaught:
    """Draws requests about what there is behind a door."""

    def __init__(self, door: Door, chance: Random, *, can_advance: bool = False) -> None:
        self._door = door
        self._chance = chance
        self._can_advance = can_advance
        self._valid = Valid(chance, [])
        self._ready: dict[str, list[Ready]] = {}

    async def renew(self) -> None:
        """Bring about anew what requests are about: some has ended, by those that went through."""
        begun = [await started(self._door, flow) for flow in (FLOW, DESK) * 2]
        self._valid.operations = [*self._valid.operations[-12:], *begun]
        self._valid.jobs = [*self._valid.jobs[-3:], await self._job()]
        for each in await ready(self._door, can_advance=self._can_advance):
            self._ready[each.path] = [*self._ready.get(each.path, [])[-3:], each]

    def draw(self, rpcs: Sequence[Rpc] = tuple(RPCS.values())) -> Drawn:
        """The next one."""
        chance = self._chance
        rpc = chance.choice(rpcs)
        if rpc.path in self._ready and chance.random() < MADE_READY:
            made = self._ready[rpc.path][-1]
            return Drawn(rpc, [self._spoilt(made.said)], made.token)
        requests = [self._valid.request(rpc) for _ in range(chance.randint(1, 3) if rpc.is_client_streaming else 1)]
        return Drawn(rpc, [self._spoilt(each) for each in requests], chance.choice(TOKENS))

    def _spoilt(self, message: Message) -> bytes:
        return message.SerializeToString() if self._chance.random() < VALID else mutated(message, self._chance)

    async def _job(self) -> str:
        selection = job_pb2.JobSelection(filter='state = "waiting" AND name = "none"')
        request = job_pb2.PauseOperationsRequest(selection=selection, reason="because")
        return job_pb2.BeginJobResponse.FromString(await asked(self._door, JOBS + "PauseOperations", request)).job.id
