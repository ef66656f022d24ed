"""Jobs over a world: begun by an operator, broken off by a crash, taken up again."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from hmsactd.core.principal import Principal
from hmsactd.jobs.job import Action, Words, applicable
from hmsactd.jobs.jobs import Asked, Jobs, Limits
from hmsactd.jobs.run import Parts, Standing
from hmsactd.store.where import Where
from tests.core.dialogue import OPERATOR
from tests.engine.world import SECOND, SPACE, World

LIMITS = Limits(open_max=3, keep_us=3600 * SECOND, kept_max=2)


@dataclass
class Counts:
    """What the metrics are told, and a permission that a test can take away."""

    turns: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    may_left: int | None = None

    def job_ended(self, namespace: str, action: str, state: str) -> None:
        self.ended[state] += 1

    def job_turns(self, namespace: str, action: str, outcome: str, count: int) -> None:
        self.turns[outcome] += count

    def may(self, principal: Principal, permission: str) -> bool:
        if self.may_left is None:
            return True
        self.may_left -= 1
        return self.may_left >= 0


class Office:
    """The jobs of one world, for as long as it is up."""

    def __init__(self, world: World, limits: Limits = LIMITS) -> None:
        self.world = world
        self.counts = Counts()
        parts = Parts(
            world.engine,
            world.store,
            world.timelines,
            world.requests,
            world.clock,
            self.counts,
            self.counts,
            asyncio.Semaphore(4),
            again_after_s=0.001,
        )
        self.jobs = Jobs(parts, limits)
        self._life = world.do(self.jobs.run())

    async def begin(self, action: Action, where: Where | None = None, *operations: str, **told: object) -> Standing:
        standing, _ = await self.jobs.begin(asked(action, where, *operations, **told))
        return standing

    async def ended(self, standing: Standing) -> Standing:
        while True:
            with self.jobs.watched(SPACE, standing.row.job) as changes:
                now = await self.jobs.look(SPACE, standing.row.job)
                if now.row.ended_at is not None:
                    return now
                async with asyncio.timeout(20):
                    await changes.changed()

    async def outcomes(self, standing: Standing) -> Counter[str]:
        rows = await self.world.store.job_results(SPACE, standing.row.job, limit=10_000)
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))
        assert len({row.operation for row in rows}) == len(rows), "an operation has one turn"
        return Counter(row.outcome for row in rows)

    async def stop(self) -> None:
        """End in order."""
        await self.jobs.stop()
        await self._life

    def die(self) -> None:
        """End at once."""
        self._life.cancel()


def asked(action: Action, where: Where | None = None, *operations: str, **told: object) -> Asked:
    narrowed = Where() if operations else applicable(action, where or Where())
    assert narrowed is not None
    words = Words(narrowed, "the filter", "the reason")
    return Asked(SPACE, OPERATOR, action, words, operations, **told)  # type: ignore[arg-type]
