"""What follows from events: operations by state, attempts by outcome, SLAs, stalls, decisions that are awaited.

Every series is there at 0 before anything happens to it: an alert on an increase sees no increase from nothing to 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from hmsactd.core import events as e
from hmsactd.core.operation import Operation, StepItem
from hmsactd.core.principal import PrincipalKind
from hmsactd.core.transitions import ENDS, FINAL, OperationState, StepState
from hmsactd.definition.flow import CheckpointDefinition, Flow, StepDefinition
from hmsactd.metrics.labels import Labels
from hmsactd.metrics.marks import Gauged, Mark, marks, marks_of_alarms
from hmsactd.metrics.rows import Alarmed, Pending, Tally

LEARNT_MAX = 10_000
"""Flows remembered as learnt. A daemon that sees more learns some again, which costs time and nothing else."""

OUTCOMES = ("done", "failed", "timeout", "lost", "cancelled")
"""How an attempt ends: "cancelled" is one that was under way when its operation was cancelled."""

OUTCOME_BY_CODE = {"TIMEOUT": "timeout", "HEARTBEAT_TIMEOUT": "timeout", "WORKER_LOST": "lost"}
"""Codes of the daemon's own; a worker may fail with the same words and means something else."""

STEP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 14400, 86400)
"""Seconds, from a call to a neighbour to an agency's overnight batch."""


@dataclass(frozen=True, slots=True)
class StepSeries:
    """The series of a step of a service."""

    ended: dict[str, Counter]
    duration: Histogram


class OperationSeries:
    """All series that follow from events."""

    def __init__(self, registry: CollectorRegistry, labels: Labels) -> None:
        self._labels = labels
        item = ("namespace", "definition", "step")
        self._gauges = {
            Gauged.STATE: Gauge(
                "hmsact_operations",
                "Operations by state; those in a final state are those still kept.",
                ("namespace", "definition", "state"),
                registry=registry,
            ),
            Gauged.AT_RISK: Gauge(
                "hmsact_sla_at_risk",
                "Open SLAs with four fifths used and not breached (step empty: of the operation as a whole).",
                item,
                registry=registry,
            ),
            Gauged.BREACHED: Gauge(
                "hmsact_sla_breached",
                "Open SLAs that are breached now (step empty: of the operation as a whole).",
                item,
                registry=registry,
            ),
            Gauged.STALLED: Gauge(
                "hmsact_stalled_steps",
                "Steps that need an operator: their retries are used up.",
                item,
                registry=registry,
            ),
            Gauged.UNATTENDED: Gauge(
                "hmsact_unattended",
                "Steps that have waited too long for a worker, checkpoints that nobody may decide.",
                item,
                registry=registry,
            ),
            Gauged.PENDING: Gauge(
                "hmsact_checkpoints_pending",
                "Checkpoints that await a decision.",
                ("namespace", "definition", "checkpoint", "role"),
                registry=registry,
            ),
        }
        self._finished = Counter(
            "hmsact_operations_finished_total",
            "Operations that ended, by outcome.",
            ("namespace", "definition", "outcome"),
            registry=registry,
        )
        self._breaches = Counter(
            "hmsact_sla_breaches_total",
            "SLAs that were breached (step empty: of the operation as a whole).",
            item,
            registry=registry,
        )
        self._attempts = Counter(
            "hmsact_step_attempts_total",
            "Attempts that ended, by outcome.",
            ("namespace", "svc", "step", "outcome"),
            registry=registry,
        )
        self._durations = Histogram(
            "hmsact_step_duration_seconds",
            "From giving an attempt to a worker to its success or failure.",
            ("namespace", "svc", "step"),
            registry=registry,
            buckets=STEP_BUCKETS,
        )
        self._learnt: set[tuple[str, str]] = set()
        self._marked: dict[tuple[str, str, Mark], Gauge] = {}
        self._steps: dict[tuple[str, str, str], StepSeries] = {}
        self.services: set[tuple[str, str]] = set()
        """Every (namespace, svc) that a flow has named, as labels."""
        self.checkpoints: set[tuple[str, str, str, str]] = set()
        """Every (namespace, definition, checkpoint, role) that a flow has named, as labels."""

    # -- counting ------------------------------------------------------------------------------------------------------

    def changed(self, namespace: str, before: Operation | None, after: Operation, events: Sequence[e.Event]) -> None:
        """Counts what has been recorded: the difference between two states, and the events between them."""
        flow = after.flow
        if (namespace, flow.digest) not in self._learnt:
            self.learn(namespace, flow)
        was = marks(before) if before is not None else ()
        now = marks(after)
        if was != now:
            for mark in was:
                if mark not in now:
                    self._gauge(namespace, flow.name, mark).dec()
            for mark in now:
                if mark not in was:
                    self._gauge(namespace, flow.name, mark).inc()
        running_since: dict[int, int] = {}
        for event in events:
            match event:
                case e.StepStarted():
                    running_since[event.instance] = event.at
                case e.StepDone() | e.StepFailed() | e.StepLost():
                    since = running_since.pop(event.instance, None) or _running_since(before, event.instance)
                    self._attempt_ended(namespace, after, event, since)
                case e.SlaBreach():
                    self._breach(namespace, flow.name, after.name_of(event.instance))
                case e.OperationCompleted() | e.OperationRejected() | e.OperationFailed() | e.OperationCancelled():
                    self._ended(namespace, after, ENDS[event.kind])
                case _:
                    pass

    def restore(self, tallies: Iterable[Tally], alarmed: Iterable[Alarmed], pending: Iterable[Pending]) -> None:
        """Counts what is kept, at a start: the sums of operations that nobody is going to load for this."""
        for tally in tallies:
            self._bear_definition(tally.namespace, tally.definition)
            mark = Mark(Gauged.STATE, tally.state)
            self._gauge(tally.namespace, tally.definition, mark).inc(tally.count)
        for summary in alarmed:
            for mark in marks_of_alarms(summary.alarms) if summary.alarms else ():
                self._bear_item(summary.namespace, summary.definition, mark.name)
                self._gauge(summary.namespace, summary.definition, mark).inc()
        for owed in pending:
            self._bear_item(owed.namespace, owed.definition, owed.checkpoint)
            mark = Mark(Gauged.PENDING, owed.checkpoint, owed.role)
            self._gauge(owed.namespace, owed.definition, mark).inc(owed.count)

    def _attempt_ended(
        self, namespace: str, after: Operation, event: e.StepDone | e.StepFailed | e.StepLost, since: int | None
    ) -> None:
        item = after.item(event.instance)
        assert isinstance(item, StepItem)
        series = self._step(namespace, item.definition)
        outcome = _outcome(event)
        series.ended[outcome].inc()
        # Nobody knows how long a worker that is gone went on.
        if since is not None and outcome != "lost":
            series.duration.observe(max(0, event.at - since) / 1e6)

    def _ended(self, namespace: str, after: Operation, state: OperationState) -> None:
        definition = self._labels.name("definition", after.flow.name)
        self._finished.labels(self._labels.name("namespace", namespace), definition, state.value).inc()
        item = after.current
        if isinstance(item, StepItem) and item.state is StepState.RUNNING:
            self._step(namespace, item.definition).ended["cancelled"].inc()

    def _breach(self, namespace: str, definition: str, name: str) -> None:
        self._breaches.labels(*self._item_labels(namespace, definition, name)).inc()

    # -- birth ---------------------------------------------------------------------------------------------------------

    def learn(self, namespace: str, flow: Flow) -> None:
        """Gives every series that a flow can have a 0."""
        if len(self._learnt) >= LEARNT_MAX:
            self._learnt.clear()
        self._learnt.add((namespace, flow.digest))
        self._bear_definition(namespace, flow.name)
        for definition in flow.items:
            self._bear_item(namespace, flow.name, definition.name)
            match definition:
                case StepDefinition():
                    self._gauge(namespace, flow.name, Mark(Gauged.STALLED, definition.name))
                    self._step(namespace, definition)
                case CheckpointDefinition():
                    self._gauge(namespace, flow.name, Mark(Gauged.PENDING, definition.name, definition.role))

    def _bear_definition(self, namespace: str, definition: str) -> None:
        for state in OperationState:
            self._gauge(namespace, definition, Mark(Gauged.STATE, state.value))
        for state in FINAL:
            labels = self._labels.name("namespace", namespace), self._labels.name("definition", definition)
            self._finished.labels(*labels, state.value)
        self._bear_item(namespace, definition, "")

    def _bear_item(self, namespace: str, definition: str, name: str) -> None:
        """Gives an item ("": the operation as a whole) its series of SLAs, and of waiting unattended."""
        for gauged in (Gauged.AT_RISK, Gauged.BREACHED):
            self._gauge(namespace, definition, Mark(gauged, name))
        self._breaches.labels(*self._item_labels(namespace, definition, name))
        if name:
            self._gauge(namespace, definition, Mark(Gauged.UNATTENDED, name))

    def _gauge(self, namespace: str, definition: str, mark: Mark) -> Gauge:
        """The gauge in which a mark counts. Those of names that are only "other" aren't remembered, being unbounded."""
        key = (namespace, definition, mark)
        known = self._marked.get(key)
        if known is None:
            labels, is_itself = self._mark_labels(namespace, definition, mark)
            known = self._gauges[mark.gauged].labels(*labels)
            if is_itself:
                self._marked[key] = known
        return known

    def _step(self, namespace: str, definition: StepDefinition) -> StepSeries:
        key = (namespace, definition.svc, definition.name)
        known = self._steps.get(key)
        if known is None:
            service = self._labels.name("namespace", namespace), self._labels.name("svc", definition.svc)
            labels = (*service, self._labels.item("step", service, definition.name))
            ended = {outcome: self._attempts.labels(*labels, outcome) for outcome in OUTCOMES}
            known = StepSeries(ended, self._durations.labels(*labels))
            self.services.add(service)
            if labels == key:
                self._steps[key] = known
        return known

    def checkpoint_labels(self, namespace: str, definition: str, name: str, role: str) -> tuple[str, str, str, str]:
        """The labels of the decisions that a role owes at a checkpoint."""
        return (*self._item_labels(namespace, definition, name), self._labels.name("role", role))

    def _item_labels(self, namespace: str, definition: str, name: str) -> tuple[str, str, str]:
        within = self._labels.name("namespace", namespace), self._labels.name("definition", definition)
        return (*within, self._labels.item("item", within, name))

    def _mark_labels(self, namespace: str, definition: str, mark: Mark) -> tuple[tuple[str, ...], bool]:
        match mark.gauged:
            case Gauged.STATE:
                within = self._labels.name("namespace", namespace), self._labels.name("definition", definition)
                return (*within, mark.name), within == (namespace, definition)
            case Gauged.PENDING:
                owed = self.checkpoint_labels(namespace, definition, mark.name, mark.role)
                self.checkpoints.add(owed)
                return owed, owed == (namespace, definition, mark.name, mark.role)
            case _:
                labels = self._item_labels(namespace, definition, mark.name)
                return labels, labels == (namespace, definition, mark.name)


def _running_since(before: Operation | None, instance: int) -> int | None:
    """Since when an attempt has been under way that was so before the events at hand."""
    item = before.item(instance) if before is not None else None
    return item.since if item is not None and item.state is StepState.RUNNING else None


def _outcome(event: e.StepDone | e.StepFailed | e.StepLost) -> str:
    match event:
        case e.StepDone():
            return "done"
        case e.StepLost():
            return "lost"
        case e.StepFailed():
            is_ours = event.by.kind is PrincipalKind.SYSTEM
            return OUTCOME_BY_CODE.get(event.code, "failed") if is_ours else "failed"
