"""The model of a flow, all defaults filled in. Reading it from JSON is in hmsactd.definition.read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class OnExhausted(StrEnum):
    """What follows when the retries of a step are used up."""

    STALL = "stall"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class StepDefinition:
    """One task, done by a service. Spans are in milliseconds; None means no limit."""

    name: str
    svc: str
    sla_ms: int | None
    retries: int
    retry_delay_ms: int
    retry_delay_max_ms: int
    timeout_ms: int | None
    heartbeat_ms: int | None
    on_exhausted: OnExhausted
    unattended_ms: int


@dataclass(frozen=True, slots=True)
class CheckpointDefinition:
    """One decision, made by a person who holds the role. Spans are in milliseconds; None means no limit."""

    name: str
    role: str
    sla_ms: int | None
    assigned_to: str | None
    unattended_ms: int


ItemDefinition = StepDefinition | CheckpointDefinition


@dataclass(frozen=True, slots=True)
class Flow:
    """A whole definition. `digest` is the SHA-256, in hex, of the canonical JSON of what its author said."""

    name: str
    items: tuple[ItemDefinition, ...]
    sla_ms: int | None
    digest: str
