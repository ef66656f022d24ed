"""What a worker has in hand: calls it works on, and reports that are not known to be recorded yet.

A report is kept until the daemon has said what became of it, and sent again after every new connection: what was done
must not be lost by a restart of either side. Used on the worker's loop only; makes no calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from hmsact.call import AttemptKey, Call, key_of
from hmsact.v1 import worker_pb2

BATCH_BYTES = 1024 * 1024
"""A batch of reports is sent when it has reached this size: well below the 4 MiB that gRPC takes by default."""

BEATS_PER_LIMIT = 3
"""Signs of life that fit into the limit: two may be lost or late before the third is missed."""

BEAT_PAUSE_MIN_S = 0.01

AGAIN_S = 0.5
"""The pause before a report that could not be recorded is sent again."""

log = logging.getLogger("hmsact.worker")


@dataclass(slots=True)
class Held:
    """One attempt in hand: being worked on while there is no report. `task` may be cancelled if `is_coroutine`."""

    call: Call
    attempt: worker_pb2.Attempt
    task: asyncio.Task[None] | None = None
    is_coroutine: bool = False
    beat: asyncio.TimerHandle | None = None
    report: worker_pb2.Report | None = None


class Hand:
    """Everything a worker has in hand."""

    def __init__(self) -> None:
        self._held: dict[AttemptKey, Held] = {}
        self._reports: dict[AttemptKey, worker_pb2.Report] = {}
        self._beats: dict[AttemptKey, worker_pb2.Beat] = {}
        self._news = asyncio.Event()
        self._emptied = asyncio.Event()

    # -- calls

    def take(self, message: worker_pb2.Call) -> Held | None:
        """Takes a call in hand; None if it is there already (a daemon that was restarted may hand it out again)."""
        key = key_of(message.attempt)
        if key in self._held:
            return None
        loop = asyncio.get_running_loop()
        call = Call(message, lambda key, progress: self._beat_from_any_thread(loop, key, progress))
        held = self._held[key] = Held(call, message.attempt)
        if message.HasField("heartbeat"):
            limit_s = message.heartbeat.seconds + message.heartbeat.nanos / 1e9
            self._beat_every(key, held, max(limit_s / BEATS_PER_LIMIT, BEAT_PAUSE_MIN_S))
        return held

    def report(self, held: Held, report: worker_pb2.Report) -> None:
        """The work is over: the report goes out with the next batch, and after it until there is a verdict."""
        report.attempt.CopyFrom(held.attempt)
        held.report = report
        if held.beat is not None:
            held.beat.cancel()
        key = key_of(held.attempt)
        self._beats.pop(key, None)
        self._reports[key] = report
        self._news.set()

    def withdraw(self, attempt: worker_pb2.Attempt, code: str) -> None:
        """Nobody waits for an attempt any more: its coroutine is cancelled, its function is told."""
        held = self._held.get(key_of(attempt))
        if held is None or held.report is not None or held.call.cancelled.is_set():
            return
        held.call.cancelled_because = code
        held.call.cancelled.set()
        # What runs in a thread can't be stopped: what it returns is reported all the same.
        if held.task is not None and held.is_coroutine:
            held.task.cancel()

    def judge(self, verdict: worker_pb2.Verdict) -> None:
        """The daemon has said what became of a report."""
        key = key_of(verdict.attempt)
        held = self._held.get(key)
        if held is None or held.report is None:
            return
        if verdict.kind == worker_pb2.VERDICT_KIND_AGAIN:
            asyncio.get_running_loop().call_later(AGAIN_S, self._report_again, key)
            return
        if verdict.kind == worker_pb2.VERDICT_KIND_REFUSED:
            log.error("the report of %r was refused: %s (%s)", held.call, verdict.reason, verdict.code)
        self._reports.pop(key, None)
        del self._held[key]
        if not self._held:
            # Whoever wants to leave with empty hands can do so now.
            self._emptied.set()
            self._news.set()

    # -- what is to be said

    @property
    def attempts(self) -> list[worker_pb2.Attempt]:
        """Every attempt in hand, done or not yet."""
        return [held.attempt for held in self._held.values()]

    @property
    def working(self) -> list[Held]:
        """The attempts that are being worked on."""
        return [held for held in self._held.values() if held.report is None]

    @property
    def is_empty(self) -> bool:
        """True if nothing is in hand."""
        return not self._held

    async def emptied(self) -> None:
        """Waits until nothing is in hand."""
        while self._held:
            self._emptied.clear()
            await self._emptied.wait()

    def resend(self) -> None:
        """After a new connection: every report without a verdict goes out again."""
        self._beats.clear()
        self._reports = {key: held.report for key, held in self._held.items() if held.report is not None}
        self._news.set()

    def wake(self) -> None:
        """Makes whoever waits for news look."""
        self._news.set()

    async def news(self) -> None:
        """Waits until there is something to be said."""
        await self._news.wait()
        self._news.clear()

    def batches(self) -> Iterable[worker_pb2.WorkRequest]:
        """What is to be said now, in messages of a size that the daemon takes."""
        reports, self._reports = self._reports, {}
        beats, self._beats = self._beats, {}
        batch, size = worker_pb2.WorkRequest(beats=beats.values()), 0
        for report in reports.values():
            report_bytes = report.ByteSize()
            if size + report_bytes > BATCH_BYTES and size:
                yield batch
                batch, size = worker_pb2.WorkRequest(), 0
            batch.reports.append(report)
            size += report_bytes
        if size or beats:
            yield batch

    # -- signs of life

    def _beat_every(self, key: AttemptKey, held: Held, pause_s: float) -> None:
        loop = asyncio.get_running_loop()

        def beat() -> None:
            if key not in self._beats:  # One with progress says more.
                self._beat(key, b"")
            held.beat = loop.call_later(pause_s, beat)

        held.beat = loop.call_later(pause_s, beat)

    def _beat_from_any_thread(self, loop: asyncio.AbstractEventLoop, key: AttemptKey, progress: bytes) -> None:
        try:
            loop.call_soon_threadsafe(self._beat, key, progress)
        except RuntimeError:
            # The worker was forced to leave while this thread was still working: nobody hears it.
            log.debug("a heartbeat came after the worker had left")

    def _beat(self, key: AttemptKey, progress: bytes) -> None:
        held = self._held.get(key)
        if held is None or held.report is not None:
            return
        self._beats[key] = worker_pb2.Beat(attempt=held.attempt, progress=progress)
        self._news.set()

    def _report_again(self, key: AttemptKey) -> None:
        held = self._held.get(key)
        if held is not None and held.report is not None:
            self._reports[key] = held.report
            self._news.set()
