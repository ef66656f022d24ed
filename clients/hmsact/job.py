"""Handles on jobs, which do one thing to many operations: what was last fetched of one, and how to follow it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from hmsact.duration import Duration
from hmsact.plain import plain, time_of, time_or_none, time_text, word
from hmsact.principal import Principal, principal_of
from hmsact.recorded import Recorded, recorded_of
from hmsact.v1 import job_pb2

if TYPE_CHECKING:
    from hmsact.orchestrator.jobs import AsyncJobs, Jobs

Outcome = Literal["ahead", "done", "skipped", "refused"]
"""What became of an operation's turn: it has not come (or the job ended before), it was done, it was left alone because
its state did not allow it or it no longer matched, or it was refused."""

OUTCOMES: dict[str, job_pb2.JobOutcome.ValueType] = {
    "ahead": job_pb2.JOB_OUTCOME_AHEAD,
    "done": job_pb2.JOB_OUTCOME_DONE,
    "skipped": job_pb2.JOB_OUTCOME_SKIPPED,
    "refused": job_pb2.JOB_OUTCOME_REFUSED,
}


@dataclass(frozen=True, slots=True)
class JobResult:
    """What became of one operation: `number` is its turn, from 1, `time` when it had it, None while that is ahead.

    `recorded` says what was recorded, if it was done; else `reason` (UPPER_SNAKE) and `message` say why not.
    """

    number: int
    operation_id: str
    outcome: str
    time: datetime | None
    recorded: Recorded | None
    reason: str
    message: str

    def as_json(self) -> dict[str, Any]:
        """The same as a value that can be written as JSON."""
        return {**asdict(self), "time": time_text(self.time) if self.time else None}


class JobFacts:
    """What was last fetched of a job. Times are in UTC."""

    def __init__(self, message: job_pb2.Job) -> None:
        self._message = message

    @property
    def id(self) -> str:
        """Its id, "job_…"; empty for one that was only tried out (dry_run)."""
        return self._message.id

    @property
    def action(self) -> str:
        """What it does: "pause", "resume", "cancel" or "retry"."""
        return word(job_pb2.JobAction.DESCRIPTOR, self._message.action)

    @property
    def state(self) -> str:
        """Its state when it was last fetched: "running", or, finally, "completed", "cancelled" or "failed"."""
        return word(job_pb2.JobState.DESCRIPTOR, self._message.state)

    @property
    def is_final(self) -> bool:
        """True if it had ended when it was last fetched."""
        return self._message.HasField("end_time")

    @property
    def filter(self) -> str:
        """The filter by which it finds operations; empty if they were named, or you may not read it."""
        return self._message.filter

    @property
    def reason(self) -> str:
        """Why, in the words of whoever started it."""
        return self._message.reason

    @property
    def started_by(self) -> Principal:
        """Who started it, and acts."""
        return principal_of(self._message.started_by)

    @property
    def start_time(self) -> datetime:
        """When it was started; operations that were started later are not its business."""
        return time_of(self._message.start_time)

    @property
    def end_time(self) -> datetime | None:
        """When it ended; None before."""
        return time_or_none(self._message, "end_time")

    @property
    def expected(self) -> int:
        """How many operations matched when it began, or how many at least."""
        return self._message.expected_count

    @property
    def is_expected_exact(self) -> bool:
        """True if exactly so many matched."""
        return not self._message.is_expected_at_least

    @property
    def done(self) -> int:
        """Operations to which it was done."""
        return self._message.done_count

    @property
    def skipped(self) -> int:
        """Operations that were left alone: their state did not allow it, or they no longer matched."""
        return self._message.skipped_count

    @property
    def refused(self) -> int:
        """Operations that were refused: the results say why."""
        return self._message.refused_count

    @property
    def taken(self) -> int:
        """Operations that have had their turn."""
        return self.done + self.skipped + self.refused

    @property
    def total(self) -> int:
        """How many operations it will have come to in the end, as far as that is known."""
        message = self._message
        return message.listed_count if message.is_all_listed else max(message.listed_count, message.expected_count)

    @property
    def per_second(self) -> float:
        """Operations a second; 0 if it is not under way."""
        return self._message.operations_per_second

    @property
    def held_up_by(self) -> str:
        """What it waits for, such as "DISK_FULL", to go on by itself; empty if it does not wait."""
        return self._message.held_up_by

    @property
    def ended_by(self) -> str:
        """Who cancelled it, "issuer:subject"; empty if nobody did."""
        return self._message.ended_by

    @property
    def fault(self) -> str:
        """Why it failed, in UPPER_SNAKE; empty if it did not."""
        return self._message.fault

    def as_json(self) -> dict[str, Any]:
        """What was fetched, as a value that can be written as JSON."""
        return plain(self._message)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.action}: {self.state}, {self.taken} of {self.total}>"

    def _replace(self, newer: JobFacts) -> None:
        self._message = newer._message


class Job(JobFacts):
    """A handle on a job. It shows what was last fetched; `refresh`, `wait` and `progress` fetch again."""

    def __init__(self, message: job_pb2.Job, client: Jobs) -> None:
        super().__init__(message)
        self._client = client

    def refresh(self) -> Self:
        """Fetches it again, and returns itself."""
        self._replace(self._client.job(self.id))
        return self

    def progress(self) -> Iterator[Self]:
        """Itself, again whenever it has come further, until it has ended. Short absences of the daemon do not show."""
        for newer in self._client.watch_job(self.id):
            self._replace(newer)
            yield self

    def wait(self, timeout: Duration | float | None = None) -> Self:
        """Waits until it has ended, or until the time is up, and returns itself: `is_final` tells."""
        for newer in self._client.watch_job(self.id, timeout):
            self._replace(newer)
        return self

    def results(self, outcome: Outcome | None = None) -> Iterator[JobResult]:
        """What became of each operation, in the order of their turns, fetched page by page as it is read."""
        return self._client.job_results(self.id, outcome)

    def cancel(self, reason: str | None = None) -> Self:
        """Ends it, and returns itself; what it has done stays done. Raises PreconditionFailed if it has ended."""
        self._replace(self._client.cancel_job(self.id, reason))
        return self


class AsyncJob(JobFacts):
    """A handle on a job, for coroutines; see Job."""

    def __init__(self, message: job_pb2.Job, client: AsyncJobs) -> None:
        super().__init__(message)
        self._client = client

    async def refresh(self) -> Self:
        """Fetches it again, and returns itself."""
        self._replace(await self._client.job(self.id))
        return self

    async def progress(self) -> AsyncIterator[Self]:
        """Itself, again whenever it has come further, until it has ended."""
        async for newer in self._client.watch_job(self.id):
            self._replace(newer)
            yield self

    async def wait(self, timeout: Duration | float | None = None) -> Self:  # noqa: ASYNC109 - as the blocking twin has it
        """Waits until it has ended, or until the time is up, and returns itself."""
        async for newer in self._client.watch_job(self.id, timeout):
            self._replace(newer)
        return self

    def results(self, outcome: Outcome | None = None) -> AsyncIterator[JobResult]:
        """What became of each operation, in the order of their turns."""
        return self._client.job_results(self.id, outcome)

    async def cancel(self, reason: str | None = None) -> Self:
        """Ends it, and returns itself; what it has done stays done."""
        self._replace(await self._client.cancel_job(self.id, reason))
        return self


def job_id_of(job: str | JobFacts) -> str:
    """The id, of a job or of itself."""
    return job if isinstance(job, str) else job.id


def result_of(message: job_pb2.JobResult) -> JobResult:
    """Reads a result."""
    return JobResult(
        number=message.number,
        operation_id=message.operation_id,
        outcome=word(job_pb2.JobOutcome.DESCRIPTOR, message.outcome),
        time=time_or_none(message, "time"),
        recorded=recorded_of(message.recorded) if message.HasField("recorded") else None,
        reason=message.reason,
        message=message.message,
    )
