"""All metrics of a daemon, on a registry of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from hmsactd.clock import Clock
from hmsactd.core.events import Event
from hmsactd.core.operation import Operation
from hmsactd.definition.flow import Flow
from hmsactd.metrics.called import CalledSeries
from hmsactd.metrics.jobs import JobSeries
from hmsactd.metrics.labels import Labels
from hmsactd.metrics.operations import OperationSeries
from hmsactd.metrics.rows import Alarmed, Pending, Tally
from hmsactd.metrics.watched import WatchedSeries

COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
"""Seconds, from memory to a disk in trouble."""

BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Events that shared a commit."""

RPC_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
"""Seconds. Streams that are followed for hours fall beyond the last, and are counted all the same."""


class Metrics:
    """What is counted as it happens, and, under `watched`, what is asked for at a scrape."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, clock: Clock) -> None:
        # A second series for every counter, with the time it was made, is read by nobody.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        labels = Labels()
        self._operations = OperationSeries(self.registry, labels)
        self.called = CalledSeries(self.registry)
        self.jobs = JobSeries(self.registry, labels)
        self.watched = WatchedSeries(self.registry, labels, clock, self._operations)
        self._commit_seconds = Histogram(
            "hmsact_commit_seconds",
            "From the begin of a commit until it is durable.",
            registry=self.registry,
            buckets=COMMIT_BUCKETS,
        )
        self._commit_size = Histogram(
            "hmsact_commit_batch_size", "Events that shared a commit.", registry=self.registry, buckets=BATCH_BUCKETS
        )
        self._rpc_seconds = Histogram(
            "hmsact_rpc_seconds",
            "Requests by RPC and status, from their arrival to their end.",
            ("method", "code"),
            registry=self.registry,
            buckets=RPC_BUCKETS,
        )
        self._jumps = Counter(
            "hmsact_clock_jumps_total",
            "Times that the machine's clock was set.",
            ("direction",),
            registry=self.registry,
        )
        for direction in ("forward", "back"):
            self._jumps.labels(direction)
        self._rpcs: dict[tuple[str, str], Histogram] = {}

    def operation_changed(
        self, namespace: str, before: Operation | None, after: Operation, events: Sequence[Event]
    ) -> None:
        """Counts what has been recorded of an operation."""
        self._operations.changed(namespace, before, after, events)

    def restore(
        self, tallies: Iterable[Tally], alarmed: Iterable[Alarmed] = (), pending: Iterable[Pending] = ()
    ) -> None:
        """Counts what is kept. Called once, at the start, before anything changes."""
        self._operations.restore(tallies, alarmed, pending)

    def learn(self, namespace: str, flow: Flow) -> None:
        """Gives every series that a flow can have a 0. A flow that is started is learnt by that."""
        self._operations.learn(namespace, flow)

    def committed(self, seconds: float, events: int) -> None:
        """A batch of events has become durable."""
        self._commit_seconds.observe(seconds)
        self._commit_size.observe(events)

    def clock_jumped(self, by_us: int) -> None:
        """The machine's clock was set."""
        self._jumps.labels("forward" if by_us > 0 else "back").inc()

    def learn_rpcs(self, rpcs: Iterable[str]) -> None:
        """Gives each RPC a 0."""
        for rpc in rpcs:
            self._rpc(rpc, "OK")

    def rpc_ended(self, rpc: str, code: str, seconds: float) -> None:
        """A request has ended."""
        self._rpc(rpc, code).observe(seconds)

    async def exposition(self) -> bytes:
        """Everything, as Prometheus reads it."""
        await self.watched.refresh()
        return generate_latest(self.registry)

    def _rpc(self, rpc: str, code: str) -> Histogram:
        known = self._rpcs.get((rpc, code))
        if known is None:
            # Only RPCs that the proto knows come here, and gRPC has 17 codes: the labels have their bound.
            known = self._rpcs[rpc, code] = self._rpc_seconds.labels(rpc.removeprefix("/"), code)
        return known
