"""Draws one hostile request after the other, as a seed has them: most are mutated, by all kinds of callers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from google.protobuf.message import Message

from tests.hostile.door import Door
from tests.hostile.mutation import mutated
from tests.hostile.stage import JOBS, OFFICER, Ready, ready, started
from tests.hostile.valid import DESK, FLOW, RPCS, Rpc, Valid

VALID = 0.15
"""The share of requests that are left as they are, so that the others meet something."""

MADE_READY = 0.5
"""The share that is made of a request for which all that it needs was brought about; others are drawn by chance."""

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
        self._ready: dict[str, Ready] = {}

    async def renew(self) -> None:
        """Bring about anew what requests are about: some has ended, by those that went through."""
        begun = [await started(self._door, flow) for flow in (FLOW, DESK) * 2]
        self._valid.operations = [*self._valid.operations[-12:], *begun]
        self._ready = {each.path: each for each in await ready(self._door, can_advance=self._can_advance)}
        self._valid.jobs = [self._ready[JOBS + name].said.job_id for name in ("GetJob", "CancelJob")]  # type: ignore[attr-defined]

    def draw(self, rpcs: Sequence[Rpc] = tuple(RPCS.values())) -> Drawn:
        """The next one."""
        chance = self._chance
        rpc = chance.choice(rpcs)
        made = self._ready.get(rpc.path)
        if made is not None and chance.random() < MADE_READY:
            return Drawn(rpc, [self._spoilt(made.said)], made.token)
        requests = [self._valid.request(rpc) for _ in range(chance.randint(1, 3) if rpc.is_client_streaming else 1)]
        return Drawn(rpc, [self._spoilt(each) for each in requests], chance.choice(TOKENS))

    def _spoilt(self, message: Message) -> bytes:
        return message.SerializeToString() if self._chance.random() < VALID else mutated(message, self._chance)
