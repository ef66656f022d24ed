"""All jobs of this daemon: begun, found again after a restart, looked at, cancelled, and in the end forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from hmsactd import logs
from hmsactd.core.principal import Principal
from hmsactd.engine.ids import fresh_id
from hmsactd.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted, Unavailable
from hmsactd.jobs.job import Action, JobState, Words, written
from hmsactd.jobs.run import Parts, Run, Standing
from hmsactd.store.errors import Unavailable as StoreUnavailable
from hmsactd.store.job import JobChange, JobForgotten, JobRow, ResultRow
from hmsactd.store.store import Counted
from hmsactd.timeline.payloads import Unreadable

LOOKED_AT_EVERY_US: Final = 60_000_000
"""How often jobs that need not be kept are looked for, and jobs that should be under way and are not."""

AGAIN_AFTER_S: Final = 1.0

FORGOTTEN_AT_ONCE: Final = 2_000
"""Results that are deleted in one transaction: others wait for it."""

log = logs.logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds jobs. Spans in microseconds."""

    open_max: int
    keep_us: int
    kept_max: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants done, to the operations that match or to those that are named."""

    namespace: str
    by: Principal
    action: Action
    words: Words
    operations: tuple[str, ...] = ()
    count_max: int | None = None
    request_id: str = ""
    digest: str = ""


class Jobs:
    """Jobs, and those that are under way. `run` until stopped."""

    def __init__(self, parts: Parts, limits: Limits) -> None:
        self._parts = parts
        self._limits = limits
        self._running: dict[tuple[str, str], Run] = {}
        self._watching: dict[tuple[str, str], set[Changes]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()
        self._wanted = asyncio.Event()
        # One begins at a time: a twin of a request, and the bound, are then looked at once for each.
        self._beginning = asyncio.Lock()

    # -- life ----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Go on with the jobs that are open, and see to those that begin, until stopped."""
        async with asyncio.TaskGroup() as self._tasks:
            while not self._stopping.is_set():
                self._wanted.clear()
                try:
                    await self._look()
                except StoreUnavailable as error:
                    log.warning("jobs could not be looked at", error=str(error))
                    await self._sleep(AGAIN_AFTER_S)
                else:
                    await self._sleep(LOOKED_AT_EVERY_US / 1e6)
        self._tasks = None

    async def stop(self) -> None:
        """Return when every job has written down how far it has come."""
        self._stopping.set()
        self._wanted.set()
        for run in list(self._running.values()):
            run.stop()
        for run in list(self._running.values()):
            await run.ended.wait()

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            pass

    async def _look(self) -> None:
        """Launch what is open and not under way, and forget what is old."""
        for row in await self._parts.store.open_jobs():
            self._launch(row)
        ended_before = self._parts.clock.now() - self._limits.keep_us
        for namespace, job in await self._parts.store.old_jobs(ended_before, self._limits.kept_max):
            while not self._stopping.is_set() and await self._parts.store.job(namespace, job) is not None:
                await self._parts.timelines.note(JobForgotten(namespace, job, FORGOTTEN_AT_ONCE))

    def _launch(self, row: JobRow) -> None:
        place = (row.namespace, row.job)
        if self._tasks is not None and not self._stopping.is_set() and place not in self._running:
            try:
                run = Run(self._parts, row, lambda: self._tell(place))
            except (Unreadable, TypeError, ValueError, KeyError):
                # Another key, or words of a later version: nobody else's job waits for that.
                log.exception("a job can't be read", job=row.job)
                return
            self._running[place] = run
            self._tell(place)
            self._tasks.create_task(self._live(place, run), name=row.job)

    async def _live(self, place: tuple[str, str], run: Run) -> None:
        try:
            await run.run()
        except Exception:
            # It is taken up again when jobs are looked at, a minute later at most.
            log.exception("a job failed by a fault of the daemon", job=place[1])
        finally:
            del self._running[place]

    # -- begin and end -------------------------------------------------------------------------------------------------

    async def count(self, asked: Asked) -> Counted:
        """How many operations there are to do it to; raises FailedPrecondition if they are more than expected."""
        if asked.operations:
            return Counted(len(asked.operations))
        counted = await self._parts.store.count(asked.namespace, asked.words.where)
        if asked.count_max is not None and counted.count > asked.count_max:
            at_least = "" if counted.is_exact else "at least "
            raise FailedPrecondition(
                "MORE_MATCH",
                f"{at_least}{counted.count} operations match, more than the {asked.count_max} expected (count_max)",
                metadata={"count": str(counted.count)},
            )
        return counted

    async def begin(self, asked: Asked) -> tuple[Standing, bool]:
        """Begin a job, and say whether the same request had begun it before."""
        async with self._beginning:
            known = await self._parts.store.job_of_request(
                asked.namespace, asked.by.id, asked.action.value, asked.request_id
            )
            if known is not None:
                return self._repeated(asked, known), True
            self._admit(asked.namespace)
            counted = await self.count(asked)
            row = self._born(asked, counted)
            turns = tuple(
                ResultRow(row.namespace, row.job, number, operation)
                for number, operation in enumerate(asked.operations, 1)
            )
            try:
                await self._parts.timelines.note(JobChange(row, turns))
            except StoreUnavailable:
                # It may have been kept all the same.
                self._wanted.set()
                raise
            self._launch(row)
            return Standing(row), False

    def _repeated(self, asked: Asked, known: JobRow) -> Standing:
        if known.digest != asked.digest:
            raise AlreadyExists(
                "REQUEST_ID_REUSED",
                f"request id {asked.request_id} was used before, for {known.job}, with different content",
                metadata={"job_id": known.job},
            )
        run = self._running.get((known.namespace, known.job))
        return run.standing if run is not None else Standing(known)

    def _admit(self, namespace: str) -> None:
        if self._stopping.is_set():
            raise Unavailable("SHUTTING_DOWN", "the daemon is shutting down")
        most = self._limits.open_max
        if sum(1 for space, _ in self._running if space == namespace) >= most:
            raise ResourceExhausted(
                "OPEN_JOBS_MAX", f"{most} jobs are open, the most allowed (open_jobs_per_namespace_max)"
            )

    def _born(self, asked: Asked, counted: Counted) -> JobRow:
        now = self._parts.clock.now()
        job = fresh_id("job", now)
        return JobRow(
            namespace=asked.namespace,
            job=job,
            action=asked.action.value,
            state=JobState.RUNNING.value,
            starter=asked.by.id,
            principal=written(asked.by),
            request_id=asked.request_id,
            digest=asked.digest,
            said=asked.words.sealed(asked.namespace, job, self._parts.timelines),
            started_at=now,
            updated_at=now,
            expected=counted.count,
            is_exact=counted.is_exact,
            is_listed=bool(asked.operations),
            listed=len(asked.operations),
        )

    async def cancel(self, namespace: str, job: str, by: Principal, reason: str) -> Standing:
        """End a job; turns that have begun are taken before this returns. One that was cancelled before stays so."""
        run = self._running.get((namespace, job))
        if run is not None:
            run.cancel(by, reason)
            await run.ended.wait()
        standing = await self.look(namespace, job) if run is None else run.standing
        match standing.row.state:
            case JobState.CANCELLED:
                return standing
            case JobState.RUNNING:
                raise Unavailable("JOB_NOT_TAKEN_UP", "the daemon stops, or has not taken the job up yet; try again")
            case ended:
                raise FailedPrecondition(
                    "JOB_ENDED", f"{job} is {ended}: it has ended before", metadata={"state": ended}
                )

    # -- look ----------------------------------------------------------------------------------------------------------

    async def look(self, namespace: str, job: str) -> Standing:
        """How a job stands; raises NotFound."""
        run = self._running.get((namespace, job))
        if run is not None:
            return run.standing
        row = await self._parts.store.job(namespace, job)
        if row is None:
            raise NotFound("JOB_UNKNOWN", f"there is no job {job}")
        return Standing(row)

    async def page(self, namespace: str, before: tuple[int, str] | None, limit: int) -> Sequence[Standing]:
        """A page of jobs, the newest first, from before a start and id on."""
        rows = await self._parts.store.jobs(namespace, before, limit)
        running = ((self._running.get((row.namespace, row.job)), row) for row in rows)
        return [run.standing if run is not None else Standing(row) for run, row in running]

    @contextmanager
    def watched(self, namespace: str, job: str) -> Iterator[Changes]:
        """News of a job, also if it is yet to be taken up."""
        changes, place = Changes(), (namespace, job)
        self._watching.setdefault(place, set()).add(changes)
        try:
            yield changes
        finally:
            self._watching[place].discard(changes)
            if not self._watching[place]:
                del self._watching[place]

    def _tell(self, place: tuple[str, str]) -> None:
        for changes in self._watching.get(place, ()):
            changes.told()

    def open_counts(self) -> Counter[tuple[str, str, str]]:
        """How many jobs are open, by namespace, action, and whether they are running or held up."""
        standing = (run.standing for run in self._running.values())
        return Counter(
            (each.row.namespace, each.row.action, "held_up" if each.held_up_by else "running") for each in standing
        )


class Changes:
    """Whether something has changed since it was last looked at."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def told(self) -> None:
        """Something has changed, or may have."""
        self._changed.set()

    async def changed(self) -> None:
        """Return when something has changed since the last time."""
        await self._changed.wait()
        self._changed.clear()
