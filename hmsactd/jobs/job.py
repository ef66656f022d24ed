"""What a job is: the action, for whom, on which operations; and how that is kept, words encrypted."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Protocol, Self

from hmsactd.core.principal import Principal, PrincipalKind
from hmsactd.core.transitions import FINAL, OperationState
from hmsactd.store.job import JobRow
from hmsactd.store.where import EVERYTHING, Where


class Action(StrEnum):
    """What is done to each operation."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"
    """Every step of it that is stalled gets fresh retries."""


PERMISSION = {
    Action.PAUSE: "operation.pause",
    Action.RESUME: "operation.resume",
    Action.CANCEL: "operation.cancel",
    Action.RETRY: "step.retry",
}
"""What one needs to do it to one operation; asked again at each of them."""

OPEN = tuple(state.value for state in OperationState if state not in FINAL)

STATES: dict[Action, tuple[str, ...]] = {
    Action.PAUSE: tuple(state for state in OPEN if state != OperationState.PAUSED),
    Action.RESUME: (OperationState.PAUSED.value,),
    Action.CANCEL: OPEN,
    Action.RETRY: OPEN,
}
"""States in which it can be done."""


class JobState(StrEnum):
    """Where a job stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    """Every operation has had its turn."""
    CANCELLED = "cancelled"
    FAILED = "failed"
    """It could not go on; its fault says why."""


class Sealer(Protocol):
    """Encrypts what was said; hmsactd.timeline.timeline is one."""

    def sealed_words(self, namespace: str, job: str, words: str) -> bytes:
        """Returns the words, encrypted."""
        ...

    def opened_words(self, namespace: str, job: str, sealed: bytes) -> str:
        """Returns the words."""
        ...


@dataclass(frozen=True, slots=True)
class Words:
    """What the starter of a job said. All of it is kept encrypted, since filters name people, too.

    `filter` is the text that `where` came from; a job whose operations were named has neither. `end_reason` is what
    whoever cancelled it said.
    """

    where: Where = EVERYTHING
    filter: str = ""
    reason: str = ""
    stop_clock: bool = False
    end_reason: str = ""

    @classmethod
    def of(cls, row: JobRow, sealer: Sealer) -> Self:
        """The words of a job as kept."""
        told = json.loads(sealer.opened_words(row.namespace, row.job, row.said))
        return cls(**{**told, "where": Where.of_json(told["where"])})

    def sealed(self, namespace: str, job: str, sealer: Sealer) -> bytes:
        """The same as it is kept."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        return sealer.sealed_words(namespace, job, json.dumps({**told, "where": self.where.as_json()}))


def written(who: Principal) -> str:
    """A principal as JSON."""
    return json.dumps(asdict(who))


def principal_of(row: JobRow) -> Principal:
    """Who started a job, as they were authenticated then."""
    told = json.loads(row.principal)
    return Principal(**{**told, "kind": PrincipalKind(told["kind"]), "roles": tuple(told["roles"])})


def applicable(action: Action, where: Where) -> Where | None:
    """The operations of a filter to which the action can be done at all; None if that leaves none."""
    states = tuple(state for state in STATES[action] if not where.states or state in where.states)
    awaits = where.awaits
    if action is Action.RETRY:
        if awaits and STALLED not in awaits:
            return None
        awaits = (STALLED,)
    return replace(where, states=states, awaits=awaits) if states else None


STALLED = "operator"
"""What an operation with a stalled step awaits, be it paused."""
