"""One thing done to many operations at once, by a job in the background."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

from hmsact.job import AsyncJob, Job
from hmsact.operation import OperationFacts
from hmsact.orchestrator.jobs import AsyncJobs, Jobs
from hmsact.requests import Clock
from hmsact.selected import Selected
from hmsact.v1 import job_pb2


class ManyOperations(Jobs):
    """Begins jobs; its results are handles, which follow them by what Jobs has."""

    def cancel_many(
        self, operations: Iterable[str | OperationFacts] | None = None, **selected: Unpack[Selected]
    ) -> Job:
        """Ends many operations, in the background: those for which everything that is said holds, or those named.

        What can be said is that of `operations`; `operations` are up to 10,000 ids, and everything=True means all of
        the namespace. Those that cannot be cancelled do not count as matching; one that was started later is not
        touched, nor one that no longer matches when its turn comes. `reason` is recorded with each. With `count_max`
        it is refused if more match; with dry_run=True it only says how many would be `expected`. `request_id` makes a
        job of your own safe to begin again (one is made up otherwise).

        Returns the job as soon as it is on the record: `job.wait()`, `job.progress()`, `job.results()`. It acts in your
        name and goes on where it was when the daemon has been away. Raises PreconditionFailed (MORE_MATCH),
        ResourceExhausted if too many jobs are open.
        """
        request = self._requests.many(job_pb2.CancelOperationsRequest, operations, selected)
        return Job(self._call(self._stubs.jobs.CancelOperations, request).job, self)

    def pause_many(
        self,
        operations: Iterable[str | OperationFacts] | None = None,
        *,
        clock: Clock | None = None,
        **selected: Unpack[Selected],
    ) -> Job:
        """Freezes many operations at their current steps, in the background; see `cancel_many`, and `pause` of one."""
        request = self._requests.pause_many(operations, selected, clock)
        return Job(self._call(self._stubs.jobs.PauseOperations, request).job, self)

    def resume_many(
        self, operations: Iterable[str | OperationFacts] | None = None, **selected: Unpack[Selected]
    ) -> Job:
        """Lets many paused operations go on, in the background; see `cancel_many`."""
        request = self._requests.many(job_pb2.ResumeOperationsRequest, operations, selected)
        return Job(self._call(self._stubs.jobs.ResumeOperations, request).job, self)

    def retry_many(self, operations: Iterable[str | OperationFacts] | None = None, **selected: Unpack[Selected]) -> Job:
        """Gives the stalled steps of many operations fresh retries, in the background; see `cancel_many`."""
        request = self._requests.many(job_pb2.RetryOperationsRequest, operations, selected)
        return Job(self._call(self._stubs.jobs.RetryOperations, request).job, self)


class AsyncManyOperations(AsyncJobs):
    """The twin of ManyOperations for coroutines."""

    async def cancel_many(
        self, operations: Iterable[str | OperationFacts] | None = None, **selected: Unpack[Selected]
    ) -> AsyncJob:
        """Ends many operations, in the background; see Orchestrator.cancel_many."""
        request = self._requests.many(job_pb2.CancelOperationsRequest, operations, selected)
        return AsyncJob((await self._call(self._stubs.jobs.CancelOperations, request)).job, self)

    async def pause_many(
        self,
        operations: Iterable[str | OperationFacts] | None = None,
        *,
        clock: Clock | None = None,
        **selected: Unpack[Selected],
    ) -> AsyncJob:
        """Freezes many operations at their current steps, in the background; see `cancel_many`, and `pause` of one."""
        request = self._requests.pause_many(operations, selected, clock)
        return AsyncJob((await self._call(self._stubs.jobs.PauseOperations, request)).job, self)

    async def resume_many(
        self, operations: Iterable[str | OperationFacts] | None = None, **selected: Unpack[Selected]
    ) -> AsyncJob:
        """Lets many paused operations go on, in the background; see `cancel_many`."""
        request = self._requests.many(job_pb2.ResumeOperationsRequest, operations, selected)
        return AsyncJob((await self._call(self._stubs.jobs.ResumeOperations, request)).job, self)

    async def retry_many(
        self, operations: Iterable[str | OperationFacts] | None = None, **selected: Unpack[Selected]
    ) -> AsyncJob:
        """Gives the stalled steps of many operations fresh retries, in the background; see `cancel_many`."""
        request = self._requests.many(job_pb2.RetryOperationsRequest, operations, selected)
        return AsyncJob((await self._call(self._stubs.jobs.RetryOperations, request)).job, self)
