"""What is asked for when somebody looks: queues, workers, streams, the disk. Nothing here is counted along.

Whoever knows a number is asked for it once a scrape. If it can't be had, its series is left out: an old number would
pass for a new one.
"""

from __future__ import annotations

import inspect
import math
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
from prometheus_client import CollectorRegistry, Gauge

from hmsactd import logs
from hmsactd.clock import Clock
from hmsactd.metrics.jobs import ACTIONS, DEFAULT_NAMESPACE
from hmsactd.metrics.labels import Labels
from hmsactd.metrics.operations import OperationSeries
from hmsactd.metrics.rows import Pending, Queue

SCRAPE_MAX_S = 5
"""How long all questions of a scrape may take. Prometheus gives up after 10 s, and then has nothing at all."""

log = logs.logger(__name__)

T = TypeVar("T")
Asked = Callable[[], T | Awaitable[T]]
"""Whom to ask: a function or a coroutine function."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that is asked for, what is done with the answer, and what without one."""

    about: str
    ask: Asked[Any]
    take: Callable[[Any], None]
    forget: Callable[[], None]


class WatchedSeries:
    """All series that are asked for."""

    def __init__(self, registry: CollectorRegistry, labels: Labels, clock: Clock, operations: OperationSeries) -> None:
        self._labels = labels
        self._clock = clock
        self._operations = operations
        self._questions: dict[str, Question] = {}
        service, checkpoint = ("namespace", "svc"), ("namespace", "definition", "checkpoint", "role")

        def gauge(name: str, text: str, names: Sequence[str] = ()) -> Gauge:
            return Gauge(name, text, names, registry=registry)

        self._queued = gauge("hmsact_steps_queued", "Steps that await a worker.", service)
        self._oldest_queued = gauge("hmsact_oldest_queued_seconds", "How long the oldest of them has.", service)
        self._workers = gauge("hmsact_workers_connected", "Workers with a session.", service)
        self._oldest_pending = gauge(
            "hmsact_oldest_pending_seconds", "How long the oldest pending decision has been awaited.", checkpoint
        )
        self._jobs = gauge(
            "hmsact_jobs", "Jobs that have not ended, by whether they are held up.", ("namespace", "action", "state")
        )
        self._streams = gauge("hmsact_event_streams", "Streams that follow timelines.")
        self._lag = gauge("hmsact_follower_lag_events", "Events that the slowest follower has yet to be sent.")
        self._ready = gauge("hmsact_ready", "1 if the daemon takes requests.")
        self._free = gauge("hmsact_data_free_bytes", "Room on the volume of the data directory.")

    # -- whom to ask ---------------------------------------------------------------------------------------------------

    def watch_queues(self, ask: Asked[Iterable[Queue]]) -> None:
        """Asks for every service with steps in its queue."""
        self._watch("queues", ask, self._take_queues, self._queued, self._oldest_queued)

    def watch_workers(self, ask: Asked[Mapping[tuple[str, str], int]]) -> None:
        """Asks for the number of workers by (namespace, svc)."""
        self._watch("workers", ask, self._take_workers, self._workers)

    def watch_pending(self, ask: Asked[Iterable[Pending]]) -> None:
        """Asks for every checkpoint with decisions pending."""
        self._watch("pending decisions", ask, self._take_pending, self._oldest_pending)

    def watch_jobs(self, ask: Asked[Mapping[tuple[str, str, str], int]]) -> None:
        """Asks for the number of open jobs by (namespace, action, state)."""
        self._watch("jobs", ask, self._take_jobs, self._jobs)

    def watch_streams(self, ask: Asked[int]) -> None:
        """Asks for the number of streams that follow timelines."""
        self._watch_number("streams", ask, self._streams)

    def watch_lag(self, ask: Asked[int]) -> None:
        """Asks how many events the slowest follower is behind."""
        self._watch_number("followers", ask, self._lag)

    def watch_ready(self, ask: Asked[bool]) -> None:
        """Asks whether the daemon takes requests."""
        self._watch_number("readiness", ask, self._ready)

    def watch_data(self, directory: Path) -> None:
        """Looks how much room a directory has."""
        self._watch_number("data directory", lambda: shutil.disk_usage(directory).free, self._free)

    # -- asking --------------------------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Asks everybody. Never fails; what isn't answered in time is left out."""
        with anyio.move_on_after(SCRAPE_MAX_S):
            for question in self._questions.values():
                question.forget()
                try:
                    answer = question.ask()
                    if inspect.isawaitable(answer):
                        answer = await answer
                except Exception as error:  # noqa: BLE001 -- a scrape is there above all when something fails
                    log.warning("a metric can't be had", about=question.about, error=repr(error))
                else:
                    question.take(answer)

    def _watch(self, about: str, ask: Asked[Any], take: Callable[[Any], None], *gauges: Gauge) -> None:
        def forget() -> None:
            for gauge in gauges:
                gauge.clear()

        self._questions[about] = Question(about, ask, take, forget)

    def _watch_number(self, about: str, ask: Asked[Any], gauge: Gauge) -> None:
        self._questions[about] = Question(about, ask, gauge.set, lambda: gauge.set(math.nan))

    # -- answers -------------------------------------------------------------------------------------------------------

    def _take_queues(self, queues: Iterable[Queue]) -> None:
        ages: dict[tuple[str, str], float] = {}
        for service in self._operations.services:
            self._queued.labels(*service).set(0)
            ages[service] = 0.0
        for queue in queues:
            service = self._service(queue.namespace, queue.svc)
            self._queued.labels(*service).inc(queue.count)
            ages[service] = max(ages.get(service, 0.0), self._age_s(queue.oldest_since))
        for service, age_s in ages.items():
            self._oldest_queued.labels(*service).set(age_s)

    def _take_workers(self, workers: Mapping[tuple[str, str], int]) -> None:
        for service in self._operations.services:
            self._workers.labels(*service).set(0)
        for (namespace, svc), count in workers.items():
            self._workers.labels(*self._service(namespace, svc)).inc(count)

    def _take_jobs(self, jobs: Mapping[tuple[str, str, str], int]) -> None:
        for action in ACTIONS:
            for state in ("running", "held_up"):
                self._jobs.labels(DEFAULT_NAMESPACE, action, state).set(0)
        for (namespace, action, state), count in jobs.items():
            self._jobs.labels(self._labels.name("namespace", namespace), action, state).inc(count)

    def _take_pending(self, pending: Iterable[Pending]) -> None:
        ages = dict.fromkeys(self._operations.checkpoints, 0.0)
        for owed in pending:
            labels = self._operations.checkpoint_labels(owed.namespace, owed.definition, owed.checkpoint, owed.role)
            ages[labels] = max(ages.get(labels, 0.0), self._age_s(owed.oldest_since))
        for labels, age_s in ages.items():
            self._oldest_pending.labels(*labels).set(age_s)

    def _service(self, namespace: str, svc: str) -> tuple[str, str]:
        return self._labels.name("namespace", namespace), self._labels.name("svc", svc)

    def _age_s(self, since: int) -> float:
        return max(0, self._clock.now() - since) / 1e6
