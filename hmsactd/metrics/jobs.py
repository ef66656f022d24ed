"""What is counted of jobs over many operations."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from hmsactd.metrics.labels import Labels

ACTIONS = ("pause", "resume", "cancel", "retry")
ENDS = ("completed", "cancelled", "failed")
OUTCOMES = ("done", "skipped", "refused")
DEFAULT_NAMESPACE = "default"


class JobSeries:
    """Jobs that have ended, and the turns that operations have had in them."""

    def __init__(self, registry: CollectorRegistry, labels: Labels) -> None:
        self._labels = labels
        self._ended = Counter(
            "hmsact_jobs_ended_total",
            "Jobs by how they ended.",
            ("namespace", "action", "state"),
            registry=registry,
        )
        self._turns = Counter(
            "hmsact_job_operations_total",
            "Operations that have had their turn in a job, by what became of it.",
            ("namespace", "action", "outcome"),
            registry=registry,
        )
        for action in ACTIONS:
            for state in ENDS:
                self._ended.labels(DEFAULT_NAMESPACE, action, state)
            for outcome in OUTCOMES:
                self._turns.labels(DEFAULT_NAMESPACE, action, outcome)

    def job_ended(self, namespace: str, action: str, state: str) -> None:
        """A job has ended."""
        self._ended.labels(self._labels.name("namespace", namespace), action, state).inc()

    def job_turns(self, namespace: str, action: str, outcome: str, count: int) -> None:
        """So many operations have had their turn."""
        self._turns.labels(self._labels.name("namespace", namespace), action, outcome).inc(count)
