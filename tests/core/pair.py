"""An operation beside its model: both are told the same, and after every telling they must agree in everything."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hmsactd.core import effects as f
from hmsactd.core import inputs as i
from hmsactd.core.clock import SlaClock
from hmsactd.core.decide import decide
from hmsactd.core.events import CheckpointPending, ClockReading, Event
from hmsactd.core.operation import CheckpointItem, Operation, StepItem
from hmsactd.core.outstanding import outstanding
from hmsactd.core.payload import Payload
from hmsactd.core.principal import Principal
from hmsactd.core.rejected import Rejected
from hmsactd.core.story import Outcome
from hmsactd.definition.flow import Flow
from tests.core.always import check
from tests.core.dialogue import EPOCH
from tests.core.model import Facts, Model, Refused


class Pair:
    """The core and the model, side by side."""

    def __init__(self) -> None:
        self.now = EPOCH
        self.operation: Operation | None = None
        self.events: list[Event] = []
        self.told: list[tuple[int, i.Input]] = []
        self.rejections: list[str] = []
        self._model = Model()

    def tell(self, told: i.Input) -> None:
        """Tell it to both."""
        self.told.append((self.now - EPOCH, told))
        before = self.operation
        expected, refusal = self._expect(told)
        outcome, code = self._decide(told)
        assert code == refusal
        if outcome is None:
            self.rejections.append(code or "")
            return
        assert [event.kind for event in outcome.events] == [facts["kind"] for facts in expected]
        for event, facts in zip(outcome.events, expected, strict=True):
            assert {name: plain(getattr(event, name)) for name in facts} == facts
            if isinstance(event, CheckpointPending):
                # What is shown is a hash, and the model can't hash; tests/core/test_checkpoints.py does.
                self._model.show(event.instance, event.digest)
        self.events += outcome.events
        self.operation = outcome.operation
        if self.operation is not None:
            check(before, outcome.events, self.operation, self.events)
            self._compare(self.operation)

    def _expect(self, told: i.Input) -> tuple[list[Facts], str | None]:
        try:
            return self._model.tell(type(told).__name__, self.now, **plain_fields(told)), None
        except Refused as refused:
            return [], str(refused)

    def _decide(self, told: i.Input) -> tuple[Outcome | None, str | None]:
        try:
            return decide(self.operation, told, self.now), None
        except Rejected as rejected:
            return None, rejected.code

    def _compare(self, operation: Operation) -> None:
        life = self._model.life
        assert life is not None
        assert operation.updated_at == life["now"]
        assert operation.state.value == self._model.state()
        assert operation.cursor == life["cursor"]
        assert wanted(operation) == self._model.wants()
        assert clock_facts(operation.clock, operation.updated_at) == self._model.clock(life["clock"])
        for item, known in zip(operation.items, life["items"], strict=True):
            facts = item_facts(item, operation.updated_at)
            assert facts == {name: known[name] for name in facts} | {"clock": self._model.clock(known["clock"])}


# -- things of the core in words that the model knows ------------------------------------------------------------------


def plain(value: object) -> Any:
    match value:
        case Principal():
            told = {"id": value.id, "kind": value.kind.value, "person": value.person, "roles": value.roles}
            return {**told, "on_behalf_of": value.on_behalf_of}
        case Payload():
            return value.commitment
        case Flow():
            return {"sla_ms": value.sla_ms, "items": [plain_fields(item) for item in value.items]}
        case ClockReading():
            return value.instance, value.budget_ms, value.used_ms
        case tuple():
            return [plain(each) for each in value]
        case _:
            return value


def plain_fields(thing: Any) -> Facts:
    return {field.name: plain(getattr(thing, field.name)) for field in fields(thing)}


def clock_facts(clock: SlaClock | None, now: int) -> Facts | None:
    if clock is None:
        return None
    return {
        "used": clock.used_at(now),
        "runs": clock.running_since is not None,
        "at_risk": clock.is_at_risk,
        "breached": clock.is_breached,
    }


def item_facts(item: StepItem | CheckpointItem, now: int) -> Facts:
    facts: Facts = {"state": item.state.value, "since": item.since, "unattended": item.is_unattended}
    facts["clock"] = clock_facts(item.clock, now)
    if isinstance(item, StepItem):
        names = ("attempt", "failures", "losses", "retry_at", "session", "worker", "output_commitment")
        facts |= {name: getattr(item, name) for name in names}
        facts["late_noted"] = item.is_late_report_noted
        facts |= {name: getattr(item, name) for name in ("deferred_at", "completion_due_at")}
        facts["completions"] = {said.attempt: (said.at, said.by, said.is_late) for said in item.completions}
    else:
        facts |= {name: getattr(item, name) for name in ("claimed_by", "assigned_to", "digest")}
        facts["decided_by"] = item.decided_by.id if item.decided_by else None
        facts["refusals"] = {(who, code): at for who, code, at in item.refusals}
    return facts


def wanted(operation: Operation) -> set[tuple[Any, ...]]:
    found: set[tuple[Any, ...]] = set()
    for effect in outstanding(operation):
        match effect:
            case f.RunStep():
                found.add(("RunStep", effect.instance, effect.attempt, effect.svc, effect.step, effect.queued_at))
            case f.AwaitReport():
                found.add(("AwaitReport", effect.instance, effect.attempt, effect.svc, effect.session))
            case f.AwaitCompletion():
                found.add(("AwaitCompletion", effect.instance, effect.attempt, effect.svc))
            case f.AwaitDecision():
                found.add(("AwaitDecision", effect.instance, effect.role))
            case f.WakeAt():
                found.add(("WakeAt", effect.at))
    return found
