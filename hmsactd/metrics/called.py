"""What is counted of services that the daemon calls. Their names come from the settings: the labels have a bound."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, Histogram

STATES = {"closed": 0, "half_open": 1, "open": 2}

OUTCOMES = ("done", "deferred", "failed", "retryable", "unreachable", "withdrawn")
"""What comes of a call: "failed" for good, "retryable" as the service says, "unreachable" without an answer of its."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Seconds: from a service next door to one that takes as long as it is allowed."""


class CalledSeries:
    """Of all called services."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._state = Gauge(
            "hmsact_called_service_state",
            "How a called service is treated: 0 it is called, 1 one call is tried, 2 it can't be reached.",
            ("svc",),
            registry=registry,
        )
        self._seconds = Histogram(
            "hmsact_called_seconds",
            "Calls of a service by what came of them, from begin to end.",
            ("svc", "outcome"),
            registry=registry,
            buckets=BUCKETS,
        )

    def service_became(self, svc: str, state: str) -> None:
        """A service is treated in another way; at first it gets a 0 for every outcome."""
        self._state.labels(svc).set(STATES[state])
        for outcome in OUTCOMES:
            self._seconds.labels(svc, outcome)

    def service_called(self, svc: str, outcome: str, seconds: float) -> None:
        """A call has ended."""
        self._seconds.labels(svc, outcome).observe(seconds)
