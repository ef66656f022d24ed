"""One job under way: page after page of operations, each given its turn, and what became of them kept.

An operation is written down before its turn and again after it, the end of one page together with the beginning of
the next. Broken off anywhere, the job begins with the turns that were written down and have no outcome.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar

from hmsactd import logs
from hmsactd.clock import Clock
from hmsactd.core.principal import Principal
from hmsactd.engine.engine import Engine
from hmsactd.engine.requests import Requests
from hmsactd.jobs.job import PERMISSION, Action, JobState, Words, principal_of
from hmsactd.jobs.turn import NotNow, Outcome, Task, Turns
from hmsactd.store.errors import Unavailable as StoreUnavailable
from hmsactd.store.job import AHEAD, JobChange, JobRow, ResultRow
from hmsactd.store.store import Store, Summary
from hmsactd.store.where import EVERYTHING, Span, Where
from hmsactd.timeline.timeline import Timelines

PAGE: Final = 256
"""Operations that are written down at once: two commits for so many, and as many in memory at most."""

AGAIN_AFTER_S: Final = 1.0
"""When an operation that could not be told is told again. A store in trouble is itself tried as often."""

TRIES_MAX: Final = 30
"""How often an operation is told in vain while the store is well, before that is its result."""

Result = TypeVar("Result")

log = logs.logger(__name__)


class Gatekeeper(Protocol):
    """Knows what a principal may do; hmsactd.identity is one."""

    def may(self, principal: Principal, permission: str) -> bool:
        """Returns True if the principal has the permission."""
        ...


class Observer(Protocol):
    """Is told what becomes of jobs; must be quick and must not fail."""

    def job_ended(self, namespace: str, action: str, state: str) -> None:
        """A job has ended."""

    def job_turns(self, namespace: str, action: str, outcome: str, count: int) -> None:
        """So many operations have had their turn."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the daemon that a job needs. `places` are shared by all jobs: so many operations at a time."""

    engine: Engine
    store: Store
    timelines: Timelines
    requests: Requests
    clock: Clock
    gatekeeper: Gatekeeper
    observer: Observer
    places: asyncio.Semaphore
    again_after_s: float = AGAIN_AFTER_S


@dataclass(frozen=True, slots=True)
class Standing:
    """How a job stands: as kept, and what only this process knows."""

    row: JobRow
    held_up_by: str = ""
    """Why it waits, as the reason of an error; empty if it doesn't."""
    per_second: float = 0.0
    """Operations that have had their turn, a second, since this process took the job up."""


Turn = tuple[ResultRow, Summary | None]
"""An operation's turn, and the operation as the filter found it, if it did."""


class Run:
    """A job under way. `run` returns when it has ended, or has been told to stop; `tell` is called at every change."""

    def __init__(self, parts: Parts, row: JobRow, tell: Callable[[], None]) -> None:
        self.row = row
        """The job as last kept."""
        self.ended = asyncio.Event()
        self._parts = parts
        self._tell = tell
        self._action = Action(row.action)
        self._words = Words.of(row, parts.timelines)
        self._by = principal_of(row)
        task = Task(row.namespace, row.job, self._action, self._by, self._words)
        self._turns = Turns(task, parts.engine, parts.requests, parts.clock.now)
        self._ending = asyncio.Event()
        self._is_stopping = False
        self._end: JobState | None = None
        self._how_it_ends: dict[str, Any] = {}
        self._held_up_by = ""
        self._has_left_over = True
        self._read_until = 0
        self._began_at = parts.clock.passed()
        self._taken = 0

    @property
    def standing(self) -> Standing:
        """How it stands."""
        passed_s = (self._parts.clock.passed() - self._began_at) / 1e6
        return Standing(self.row, self._held_up_by, self._taken / passed_s if self._taken and passed_s > 0 else 0.0)

    def stop(self) -> None:
        """Let turns end that have begun, keep what became of them, and go no further for now."""
        self._is_stopping = True
        self._ending.set()

    def cancel(self, by: Principal, reason: str) -> None:
        """End it: turns that have begun are taken, no others."""
        said = replace(self._words, end_reason=reason)
        sealed = said.sealed(self.row.namespace, self.row.job, self._parts.timelines)
        self._end_as(JobState.CANCELLED, ended_by=by.id, said=sealed)

    def _end_as(self, state: JobState, **how: Any) -> None:
        """Go no further, unless it has come to its end in another way."""
        if self._end is None:
            self._end, self._how_it_ends = state, how
            self._ending.set()

    async def run(self) -> None:
        """Go on with the job from where it was."""
        try:
            await self._run()
        except StoreUnavailable as error:
            # It was stopped while the store was in trouble: what is kept is where it goes on.
            log.warning("a job stopped in the middle of a turn", job=self.row.job, error=str(error))
        finally:
            self.ended.set()
            self._tell()

    async def _run(self) -> None:
        taken: list[ResultRow] = []
        while True:
            turns = [] if self._ending.is_set() else await self._next()
            if not turns and not self._ending.is_set():
                self._end_as(JobState.COMPLETED)
            await self._keep(taken, turns)
            if not turns:
                return
            taken = await self._take(turns)

    # -- whose turn it is ----------------------------------------------------------------------------------------------

    async def _next(self) -> list[Turn]:
        """The next page of turns; empty if there are no more, or it was told to end."""
        while self._has_left_over and not self._ending.is_set():
            left_over = await self._asked(self._left_over)
            if left_over:
                return left_over
            self._has_left_over = False
        while not self.row.is_listed and not self._ending.is_set():
            listed = await self._asked(self._listed)
            if listed:
                return listed
        return []

    async def _left_over(self) -> list[Turn]:
        """Turns that are written down and not taken: of a job that was broken off, or whose operations were named."""
        row = self.row
        found = await self._parts.store.job_results(
            row.namespace, row.job, after=self._read_until, outcome=AHEAD, limit=PAGE
        )
        has_filter = self._words.where != EVERYTHING
        turns: list[Turn] = []
        for turn in found:
            known = await self._parts.store.summary(row.namespace, turn.operation) if has_filter else None
            turns.append((turn, known))
        if found:
            self._read_until = found[-1].number
        return turns

    async def _listed(self) -> list[Turn]:
        """The next operations that match, in the order of their starts, up to those that began after the job."""
        row = self.row
        after = (row.after_at, row.after_number) if row.after_at is not None and row.after_number is not None else None
        page = await self._parts.store.operations(
            row.namespace, begun_by(self._words.where, row.started_at), after=after, oldest_first=True, limit=PAGE
        )
        turns: list[Turn] = [
            (ResultRow(row.namespace, row.job, number, summary.operation), summary)
            for number, summary in enumerate(page, row.listed + 1)
        ]
        at, number = page.beyond or (row.after_at, row.after_number)
        self.row = replace(
            row, after_at=at, after_number=number, is_listed=page.beyond is None, listed=row.listed + len(turns)
        )
        return turns

    # -- turns ---------------------------------------------------------------------------------------------------------

    async def _take(self, turns: Sequence[Turn]) -> list[ResultRow]:
        """Give each its turn; return what became of them. Those that were not told before it has to end are left."""
        taken: list[ResultRow] = []
        in_vain: Counter[int] = Counter()
        while turns and not self._ending.is_set():
            later: list[Turn] = []
            async with asyncio.TaskGroup() as tasks:
                for turn in turns:
                    name = f"{self.row.job} {turn[0].number}"
                    tasks.create_task(self._take_one(turn, taken, later, in_vain), name=name)
            if turns := later:
                await self._pause()
        self._be_held_up_by("")
        return taken

    async def _take_one(self, turn: Turn, taken: list[ResultRow], later: list[Turn], in_vain: Counter[int]) -> None:
        async with self._parts.places:
            if self._ending.is_set():
                return
            permission = PERMISSION[self._action]
            if not self._parts.gatekeeper.may(self._by, permission):
                # It was there when the job began, and has been taken away.
                self._end_as(JobState.FAILED, fault="PERMISSION_MISSING")
                return
            result, listed = turn
            try:
                taken.append(await self._turns.take(result, listed))
            except NotNow as not_now:
                self._be_held_up_by(not_now.reason)
                is_well = self._parts.store.condition.trouble is None
                in_vain[result.number] += is_well
                if in_vain[result.number] < TRIES_MAX:
                    later.append(turn)
                else:
                    outcome, at = Outcome.REFUSED.value, self._parts.clock.now()
                    reason, sentence = not_now.reason, not_now.sentence
                    taken.append(replace(result, outcome=outcome, at=at, reason=reason, sentence=sentence))

    # -- keeping -------------------------------------------------------------------------------------------------------

    async def _keep(self, taken: Sequence[ResultRow], turns: Sequence[Turn]) -> None:
        """Write down what became of a page and who comes next, or that the job has ended."""
        if not taken and not turns and self._end is None:
            return
        now = self._parts.clock.now()
        counts = Counter(result.outcome for result in taken)
        row = replace(
            self.row,
            updated_at=now,
            done=self.row.done + counts[Outcome.DONE],
            skipped=self.row.skipped + counts[Outcome.SKIPPED],
            refused=self.row.refused + counts[Outcome.REFUSED],
        )
        if not turns and self._end is not None:
            row = replace(row, state=self._end.value, ended_at=now, **self._how_it_ends)
        change = JobChange(row, (*taken, *(turn for turn, _ in turns)))
        await self._asked(lambda: self._parts.timelines.note(change))
        self.row = row
        self._taken += len(taken)
        for outcome, count in counts.items():
            self._parts.observer.job_turns(row.namespace, row.action, outcome, count)
        if row.ended_at is not None:
            self._parts.observer.job_ended(row.namespace, row.action, row.state)
        self._tell()

    async def _asked(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """What the store answers, however long that takes; raises Unavailable if the daemon stops meanwhile."""
        while True:
            try:
                answer = await ask()
            except StoreUnavailable as error:
                if self._is_stopping:
                    raise
                self._be_held_up_by(error.reason)
                await self._pause()
            else:
                self._be_held_up_by("")
                return answer

    async def _pause(self) -> None:
        # A job that is cancelled meanwhile has its end to write down: it does not go round and round for that.
        if self._ending.is_set() and not self._is_stopping:
            await asyncio.sleep(self._parts.again_after_s)
            return
        try:
            async with asyncio.timeout(self._parts.again_after_s):
                await self._ending.wait()
        except TimeoutError:
            pass

    def _be_held_up_by(self, reason: str) -> None:
        if reason != self._held_up_by:
            self._held_up_by = reason
            self._tell()


def begun_by(where: Where, at: int) -> Where:
    """Those of a filter that had been started by a time."""
    span = where.started or Span()
    until = at + 1 if span.until is None else min(span.until, at + 1)
    return replace(where, started=Span(span.since, until))
