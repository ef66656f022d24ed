"""Jobs that are under way, or have ended: how they stand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import grpc

from hmsact.duration import Duration
from hmsact.errors import DeadlineExceeded
from hmsact.job import AsyncJob, Job, JobFacts, JobResult, Outcome, result_of
from hmsact.orchestrator.connection import AsyncConnection, Connection
from hmsact.requests import PAGE_SIZE
from hmsact.status import error_of
from hmsact.wait import Waiting


class Jobs(Connection):
    """Fetches jobs, lists them, follows one, and ends it."""

    def job(self, job: str | JobFacts) -> Job:
        """Fetches a job by its id. Raises NotFound."""
        return Job(self._call(self._stubs.jobs.GetJob, self._requests.job(job)).job, self)

    def jobs(self, *, limit: int | None = None) -> Iterator[Job]:
        """Jobs of the namespace, the newest first, fetched page by page as they are read."""
        token, left = "", limit
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
            page = self._call(self._stubs.jobs.ListJobs, self._requests.jobs(size, token))
            for message in page.jobs:
                yield Job(message, self)
            token = page.next_page_token
            if not token:
                return
            left = None if left is None else left - len(page.jobs)

    def job_results(self, job: str | JobFacts, outcome: Outcome | None = None) -> Iterator[JobResult]:
        """What became of each operation of a job, in the order of their turns; of one outcome, or all."""
        token = ""
        while True:
            request = self._requests.job_results(job, outcome, PAGE_SIZE, token)
            page = self._call(self._stubs.jobs.ListJobResults, request)
            for message in page.results:
                yield result_of(message)
            token = page.next_page_token
            if not token:
                return

    def watch_job(self, job: str | JobFacts, timeout: Duration | float | None = None) -> Iterator[Job]:
        """A job, again whenever it has come further, until it has ended or the time is up. Raises NotFound.

        When the daemon is away for a while, this waits and goes on.
        """
        waiting = Waiting(timeout)
        while not waiting.is_over():
            stream = self._stubs.jobs.WatchJob(
                self._requests.watch_job(job), timeout=waiting.left_s(), metadata=self._target.metadata
            )
            try:
                for frame in stream:
                    waiting.regained()
                    yield Job(frame.job, self)
                return
            except grpc.RpcError as failure:
                error = error_of(failure, self.address)
                if isinstance(error, DeadlineExceeded):
                    # Of this stream that is the end of the caller's time, by whichever of two clocks comes first.
                    return
                delay_s = waiting.lost_s(error)
            finally:
                stream.cancel()
            time.sleep(delay_s)

    def cancel_job(self, job: str | JobFacts, reason: str | None = None, *, request_id: str | None = None) -> Job:
        """Ends a job; what it has done stays done. Raises PreconditionFailed if it has ended otherwise before."""
        request = self._requests.cancel_job(job, reason, request_id)
        return Job(self._call(self._stubs.jobs.CancelJob, request).job, self)


class AsyncJobs(AsyncConnection):
    """The twin of Jobs for coroutines."""

    async def job(self, job: str | JobFacts) -> AsyncJob:
        """Fetches a job by its id. Raises NotFound."""
        return AsyncJob((await self._call(self._stubs.jobs.GetJob, self._requests.job(job))).job, self)

    async def jobs(self, *, limit: int | None = None) -> AsyncIterator[AsyncJob]:
        """Jobs of the namespace, the newest first, fetched page by page as they are read."""
        token, left = "", limit
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
            page = await self._call(self._stubs.jobs.ListJobs, self._requests.jobs(size, token))
            for message in page.jobs:
                yield AsyncJob(message, self)
            token = page.next_page_token
            if not token:
                return
            left = None if left is None else left - len(page.jobs)

    async def job_results(self, job: str | JobFacts, outcome: Outcome | None = None) -> AsyncIterator[JobResult]:
        """What became of each operation of a job, in the order of their turns; of one outcome, or all."""
        token = ""
        while True:
            request = self._requests.job_results(job, outcome, PAGE_SIZE, token)
            page = await self._call(self._stubs.jobs.ListJobResults, request)
            for message in page.results:
                yield result_of(message)
            token = page.next_page_token
            if not token:
                return

    async def watch_job(
        self,
        job: str | JobFacts,
        timeout: Duration | float | None = None,  # noqa: ASYNC109 - as the blocking twin has it
    ) -> AsyncIterator[AsyncJob]:
        """A job, again whenever it has come further, until it has ended or the time is up. Raises NotFound.

        When the daemon is away for a while, this waits and goes on.
        """
        waiting = Waiting(timeout)
        while not waiting.is_over():
            stream = self._stubs.jobs.WatchJob(
                self._requests.watch_job(job), timeout=waiting.left_s(), metadata=self._target.metadata
            )
            try:
                async for frame in stream:
                    waiting.regained()
                    yield AsyncJob(frame.job, self)
                return
            except grpc.RpcError as failure:
                error = error_of(failure, self.address)
                if isinstance(error, DeadlineExceeded):
                    # Of this stream that is the end of the caller's time, by whichever of two clocks comes first.
                    return
                delay_s = waiting.lost_s(error)
            finally:
                stream.cancel()
            await asyncio.sleep(delay_s)

    async def cancel_job(
        self, job: str | JobFacts, reason: str | None = None, *, request_id: str | None = None
    ) -> AsyncJob:
        """Ends a job; what it has done stays done. Raises PreconditionFailed if it has ended otherwise before."""
        request = self._requests.cancel_job(job, reason, request_id)
        return AsyncJob((await self._call(self._stubs.jobs.CancelJob, request)).job, self)
