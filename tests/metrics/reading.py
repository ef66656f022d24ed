"""Reads metrics as Prometheus does, and counts the same from states and events, the slow way."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.parser import text_string_to_metric_families

from hmsactd.core import events as e
from hmsactd.core.operation import CheckpointItem, Operation, StepItem
from hmsactd.core.transitions import CheckpointState, StepState
from hmsactd.metrics.metrics import Metrics

Series = dict[tuple[str, ...], float]
"""Values by labels, in the order in which a metric has them."""


ORDER = (
    "namespace",
    "action",
    "definition",
    "checkpoint",
    "svc",
    "step",
    "role",
    "state",
    "outcome",
    "method",
    "code",
    "direction",
    "le",
)


class Scrape:
    """One look at all metrics."""

    def __init__(self, text: bytes) -> None:
        self.text = text.decode()
        self.families = list(text_string_to_metric_families(self.text))
        samples = [sample for family in self.families for sample in family.samples]
        self.samples = {(sample.name, ordered(sample.labels)): sample.value for sample in samples}

    def series(self, name: str) -> Series:
        """Every series of a name."""
        named = {labels: value for (found, labels), value in self.samples.items() if found == name}
        return {tuple(label for _, label in labels): value for labels, value in named.items()}

    def not_zero(self, name: str) -> Series:
        """Those that have counted something."""
        return {labels: value for labels, value in self.series(name).items() if value}

    def value(self, name: str, **labels: str) -> float:
        return self.samples[name, ordered(labels)]

    def is_left_out(self, name: str) -> bool:
        """True if there is nothing to be read."""
        return all(math.isnan(value) for value in self.series(name).values())


def ordered(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The labels in the order of the contract: the text has them by the alphabet."""
    return tuple(sorted(labels.items(), key=lambda label: ORDER.index(label[0])))


async def scrape(metrics: Metrics) -> Scrape:
    return Scrape(await metrics.exposition())


def recounted(operations: Iterable[Operation], namespace: str = "default") -> dict[str, Series]:
    """Every gauge of operations, from their states alone."""
    found: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in GAUGES}
    for operation in operations:
        place = (namespace, operation.flow.name)
        found["hmsact_operations"][*place, operation.state.value] += 1
        if operation.is_final:
            continue
        watched = [("", operation.clock)]
        item = operation.current
        if item is not None:
            name = item.definition.name
            watched.append((name, item.clock))
            found["hmsact_unattended"][*place, name] += item.is_unattended
            if isinstance(item, StepItem):
                found["hmsact_stalled_steps"][*place, name] += item.state is StepState.STALLED
            elif isinstance(item, CheckpointItem):
                is_pending = item.state is CheckpointState.PENDING
                found["hmsact_checkpoints_pending"][*place, name, item.definition.role] += is_pending
        for name, clock in watched:
            if clock is not None:
                found["hmsact_sla_breached"][*place, name] += clock.is_breached
                found["hmsact_sla_at_risk"][*place, name] += clock.is_at_risk and not clock.is_breached
    return {name: dict(+counted) for name, counted in found.items()}


def retold(operation: Operation, history: Sequence[e.Event], namespace: str = "default") -> dict[str, Series]:
    """Every counter of one operation, from its whole history."""
    found: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in COUNTERS}
    place, under_way = (namespace, operation.flow.name), 0
    for event in history:
        match event:
            case e.StepStarted():
                under_way = event.instance
            case e.StepDone() | e.StepFailed() | e.StepLost():
                _end(found, operation, event.instance, namespace, _outcome(event))
                under_way = 0
            case e.SlaBreach():
                found["hmsact_sla_breaches_total"][*place, operation.name_of(event.instance)] += 1
            case e.OperationCompleted() | e.OperationRejected() | e.OperationFailed() | e.OperationCancelled():
                outcome = event.kind.removeprefix("operation_")
                found["hmsact_operations_finished_total"][*place, outcome] += 1
                if under_way:
                    _end(found, operation, under_way, namespace, "cancelled")
                    under_way = 0
            case _:
                pass
    return {name: dict(counted) for name, counted in found.items()}


def _end(
    found: dict[str, Counter[tuple[str, ...]]], operation: Operation, instance: int, namespace: str, outcome: str
) -> None:
    item = operation.item(instance)
    assert isinstance(item, StepItem)
    found["hmsact_step_attempts_total"][namespace, item.definition.svc, item.definition.name, outcome] += 1
    if outcome in ("done", "failed", "timeout"):
        found["hmsact_step_duration_seconds_count"][namespace, item.definition.svc, item.definition.name] += 1


def _outcome(event: e.StepDone | e.StepFailed | e.StepLost) -> str:
    if isinstance(event, e.StepDone):
        return "done"
    if isinstance(event, e.StepLost):
        return "lost"
    if event.by.subject != "hmsactd":
        return "failed"
    return {"TIMEOUT": "timeout", "HEARTBEAT_TIMEOUT": "timeout", "WORKER_LOST": "lost"}[event.code]


GAUGES = (
    "hmsact_operations",
    "hmsact_sla_at_risk",
    "hmsact_sla_breached",
    "hmsact_stalled_steps",
    "hmsact_unattended",
    "hmsact_checkpoints_pending",
)
COUNTERS = (
    "hmsact_operations_finished_total",
    "hmsact_sla_breaches_total",
    "hmsact_step_attempts_total",
    "hmsact_step_duration_seconds_count",
)
