"""A dialogue with an operation: it is told something at some time, and answers with what has happened.

Answers are lines of text, complete but short, so that a test can compare them whole: times are offsets from the
start, items go by their names, hashes are cut, and the daemon is not mentioned as an actor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest

from hmsactd.core import inputs as i
from hmsactd.core.clock import SlaClock
from hmsactd.core.decide import decide
from hmsactd.core.events import ClockReading, Event
from hmsactd.core.note import note_of
from hmsactd.core.operation import CheckpointItem, Operation, StepItem
from hmsactd.core.outstanding import outstanding
from hmsactd.core.payload import Payload
from hmsactd.core.principal import DAEMON, EVERY_ROLE, Principal, PrincipalKind
from hmsactd.core.rejected import Rejected
from hmsactd.definition import duration
from hmsactd.definition.flow import CheckpointDefinition, Flow, ItemDefinition, OnExhausted, StepDefinition
from tests.core.always import check

EPOCH = 1_767_603_600_000_000
"""When dialogues begin: 5 January 2026, 9:00 UTC."""

# -- who takes part ----------------------------------------------------------------------------------------------------


def person(name: str, *roles: str) -> Principal:
    return Principal(PrincipalKind.PERSON, "dev", name, roles)


def service(name: str) -> Principal:
    return Principal(PrincipalKind.SERVICE, "dev", f"svc/{name}")


CITIZEN = person("citizen")
JDAVIS = person("jdavis", "fsa.officer")
MGARCIA = person("mgarcia", "fsa.officer", "fsa.counsel")
OPERATOR = person("operator")
DEVELOPER = person("developer", EVERY_ROLE)
CASEBOT = Principal(PrincipalKind.AGENT, "dev", "casebot", ("fsa.officer",), responsible=DEVELOPER.id)
DESK = Principal(PrincipalKind.SERVICE, "dev", "svc/desk", on_behalf_of=JDAVIS.id)

CAST = {who.subject: who for who in (CITIZEN, JDAVIS, MGARCIA, OPERATOR, DEVELOPER, CASEBOT, DESK, DAEMON)}

# -- what it is about --------------------------------------------------------------------------------------------------


def step(
    name: str,
    svc: str = "Svc",
    *,
    sla: str | None = None,
    retries: int = 3,
    timeout: str | None = None,
    on_exhausted: str = "stall",
    retry_delay: str = "2s",
    retry_delay_max: str = "5m",
    unattended: str = "15m",
) -> StepDefinition:
    return StepDefinition(
        name=name,
        svc=svc,
        sla_ms=_ms(sla),
        retries=retries,
        retry_delay_ms=duration.parse(retry_delay),
        retry_delay_max_ms=duration.parse(retry_delay_max),
        timeout_ms=_ms(timeout),
        heartbeat_ms=None,
        on_exhausted=OnExhausted(on_exhausted),
        unattended_ms=duration.parse(unattended),
    )


def checkpoint(
    name: str, role: str = "fsa.officer", *, sla: str | None = None, assigned_to: str | None = None
) -> CheckpointDefinition:
    return CheckpointDefinition(name, role, _ms(sla), assigned_to, unattended_ms=900_000)


def flow_of(*items: ItemDefinition, sla: str | None = None) -> Flow:
    return Flow("flow", items, _ms(sla), "d" * 64)


def payload(name: str) -> Payload:
    """A payload that is recognised by its name."""
    return Payload(name, len(name))


def _ms(text: str | None) -> int | None:
    return duration.parse(text) if text is not None else None


def begun(*items: ItemDefinition, sla: str | None = None, by: Principal = CITIZEN) -> Dialogue:
    """A dialogue with an operation that has just been started."""
    talk = Dialogue(flow_of(*items, sla=sla))
    talk.start(by)
    return talk


# -- the dialogue ------------------------------------------------------------------------------------------------------


class Dialogue:
    """An operation that is told one thing after the other. Every telling also checks what holds always."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.now = EPOCH
        self.events: list[Event] = []
        self.noted: list[str] = []
        """What the last rejection left on the record."""
        self._operation: Operation | None = None

    @property
    def operation(self) -> Operation:
        assert self._operation is not None
        return self._operation

    @property
    def state(self) -> str:
        return self.operation.state.value

    def wait(self, span: str) -> Dialogue:
        """Let time pass."""
        self.now += duration.parse(span) * 1000
        return self

    def at(self, offset: str) -> Dialogue:
        """Go to a time after the start."""
        self.now = EPOCH + (duration.parse(offset) * 1000 if offset != "0s" else 0)
        return self

    def hear(self, told: i.Input) -> list[str]:
        """Tell it, and hear what has happened. When it is rejected, nothing has."""
        before = self._operation
        outcome = decide(before, told, self.now)
        self.events += outcome.events
        self._operation = outcome.operation
        check(before, outcome.events, outcome.operation, self.events)
        return [self.line(event) for event in outcome.events]

    # Workers.

    def take(self, name: str, *, attempt: int | None = None, session: str | None = None) -> list[str]:
        item = self.step(name)
        svc = item.definition.svc
        number = item.attempt + 1 if attempt is None else attempt
        return self.hear(i.StepTaken(service(svc), item.instance, number, session or f"{svc}-1"))

    def finish(self, name: str, *, attempt: int | None = None) -> list[str]:
        item = self.step(name)
        number = item.attempt if attempt is None else attempt
        output = payload(f"output-{name}-{number}")
        return self.hear(i.StepSucceeded(service(item.definition.svc), item.instance, number, output))

    def fail(
        self,
        name: str,
        code: str = "BUSY",
        *,
        attempt: int | None = None,
        permanently: bool = False,
        wish: str | None = None,
    ) -> list[str]:
        item = self.step(name)
        number = item.attempt if attempt is None else attempt
        by = service(item.definition.svc)
        return self.hear(i.StepErred(by, item.instance, number, code, permanently, payload("error"), _ms(wish)))

    def defer(self, name: str, *, within: str | None = None, attempt: int | None = None) -> list[str]:
        item = self.step(name)
        number = item.attempt if attempt is None else attempt
        return self.hear(i.StepDeferred(service(item.definition.svc), item.instance, number, _ms(within)))

    def complete(self, name: str, by: Principal | None = None, *, attempt: int | None = None) -> list[str]:
        """Say with the token that it is done; noted, as the daemon does, if that comes too late."""
        item = self.step(name)
        number = item.attempt if attempt is None else attempt
        by = by or service(item.definition.svc)
        return self.tell_noted(i.CompleteStep(by, item.instance, number, payload(f"output-{name}-{number}")))

    def give_up(
        self,
        name: str,
        code: str = "NO_FILE",
        *,
        attempt: int | None = None,
        permanently: bool = False,
        by: Principal | None = None,
    ) -> list[str]:
        """Say with the token that it has failed."""
        item = self.step(name)
        number = item.attempt if attempt is None else attempt
        by = by or service(item.definition.svc)
        return self.tell_noted(i.CompleteStep(by, item.instance, number, None, code, permanently, payload("error")))

    def tell_noted(self, told: i.Input) -> list[str]:
        """Tell it as an actor does: what is rejected may still leave a note."""
        try:
            return self.hear(told)
        except Rejected as rejected:
            note = note_of(told, rejected)
            self.noted = [] if note is None else self.hear(note)
            raise

    def lose(self, name: str, *, attempt: int | None = None) -> list[str]:
        item = self.step(name)
        return self.hear(i.WorkerLost(DAEMON, item.instance, item.attempt if attempt is None else attempt))

    def miss_heartbeat(self, name: str, *, attempt: int | None = None) -> list[str]:
        item = self.step(name)
        return self.hear(i.HeartbeatMissed(DAEMON, item.instance, item.attempt if attempt is None else attempt))

    def do(self, name: str) -> list[str]:
        """Take a step and finish it."""
        return self.take(name) + self.finish(name)

    def stall(self, name: str) -> list[str]:
        """Let a step fail until it has no retry left."""
        answer = self.take(name) + self.fail(name)
        while self.step(name).retry_at is not None:
            self.now = self.step(name).retry_at or self.now
            answer += self.wake() + self.take(name) + self.fail(name)
        return answer

    # Time.

    def wake(self) -> list[str]:
        return self.hear(i.TimerDue(DAEMON))

    def find_nobody(self, name: str) -> list[str]:
        return self.hear(i.NobodyEntitled(DAEMON, self.instance(name)))

    # People.

    def start(self, by: Principal = CITIZEN) -> list[str]:
        return self.hear(i.Start(by, self.flow, payload("input")))

    def approve(self, by: Principal, name: str, *, seen: str | None = None) -> list[str]:
        return self.hear(i.Decide(by, name, True, seen))

    def reject(self, by: Principal, name: str, *, seen: str | None = None) -> list[str]:
        return self.hear(i.Decide(by, name, False, seen))

    def note_refusal(self, by: Principal, name: str, code: str) -> list[str]:
        return self.hear(i.NoteRefusal(by, name, code))

    def claim(self, by: Principal, name: str) -> list[str]:
        return self.hear(i.Claim(by, name))

    def release(self, by: Principal, name: str) -> list[str]:
        return self.hear(i.Release(by, name))

    def assign(self, by: Principal, name: str, to: Principal) -> list[str]:
        return self.hear(i.Assign(by, name, to))

    def pause(self, by: Principal = OPERATOR, *, stop_clock: bool = False) -> list[str]:
        return self.hear(i.Pause(by, stop_clock))

    def resume(self, by: Principal = OPERATOR) -> list[str]:
        return self.hear(i.Resume(by))

    def cancel(self, by: Principal = OPERATOR) -> list[str]:
        return self.hear(i.Cancel(by))

    def retry(self, name: str, by: Principal = OPERATOR) -> list[str]:
        return self.hear(i.RetryStep(by, name))

    def skip(self, name: str, by: Principal = OPERATOR) -> list[str]:
        return self.hear(i.SkipStep(by, name))

    # How it stands.

    def step(self, name: str) -> StepItem:
        item = self.operation.step(name)
        assert item is not None
        return item

    def checkpoint(self, name: str) -> CheckpointItem:
        item = self.operation.checkpoint(name)
        assert item is not None
        return item

    def instance(self, name: str) -> int:
        return next(n for n, item in enumerate(self.flow.items, 1) if item.name == name)

    def outstanding(self) -> list[str]:
        return [self.line(effect) for effect in outstanding(self.operation)]

    def line(self, thing: object) -> str:
        """An event or an effect in a line."""
        return line_of(thing, self.operation)

    def standing(self) -> str:
        """The state in a line: the operation, the item it is at, the clocks."""
        operation = self.operation
        parts = [operation.state.value + _spent(operation.clock, self.now)]
        item = operation.current
        if item is not None:
            parts.append(f"{item.definition.name} {item.state.value}" + _spent(item.clock, self.now))
        match item:
            case StepItem():
                parts += [f"{item.failures} failed"] if item.failures else []
                parts += [f"{item.losses} lost"] if item.losses else []
            case CheckpointItem():
                parts += [f"assigned to {item.assigned_to}"] if item.assigned_to else []
                parts += [f"claimed by {item.claimed_by}"] if item.claimed_by else []
            case None:
                pass
        return ", ".join(parts)


@contextmanager
def rejected(code: str) -> Iterator[pytest.ExceptionInfo[Rejected]]:
    """What is told inside is rejected with this code, and in words."""
    with pytest.raises(Rejected) as caught:
        yield caught
    assert caught.value.code == code
    assert str(caught.value) == caught.value.sentence


def kinds(lines: Iterable[str]) -> list[str]:
    """Of every answer only what has happened."""
    return [line.split()[0] for line in lines]


# -- lines -------------------------------------------------------------------------------------------------------------


_LEFT_OUT = {"WakeAt": (), "RunStep": ("step",)}


def line_of(thing: object, operation: Operation) -> str:
    """Every field that says something, by its name; instances by the name of the item."""
    assert dataclasses.is_dataclass(thing)
    kind: str = getattr(thing, "kind", type(thing).__name__)
    words, said = [kind], []
    for field in dataclasses.fields(thing):
        value = getattr(thing, field.name)
        if value in (None, (), False) or field.name in _LEFT_OUT.get(kind, ("at",)):
            continue
        if field.name == "instance":
            words.append(operation.name_of(value) or "(operation)")
        elif isinstance(value, Principal):
            said += [f"by={value.subject}"] if value is not DAEMON else []
        else:
            said.append(f"{field.name}={_spelt(field.name, value, operation)}")
    return " ".join(words + said)


def _spelt(name: str, value: object, operation: Operation) -> str:
    match value:
        case int() if name == "at" or name.endswith("_at"):
            return "+" + _offset(value - EPOCH)
        case int() if name.endswith("_ms"):
            return duration.spell(value)
        case str() if name in ("digest", "seen"):
            return value[:8]
        case Payload(commitment=commitment):
            return commitment
        case Flow(name=flow):
            return flow
        case tuple():
            return ",".join(_reading(each, operation) for each in value)
        case _:
            return str(value)


def _reading(reading: ClockReading, operation: Operation) -> str:
    name = operation.name_of(reading.instance) or "(operation)"
    return f"{name}:{duration.spell(reading.used_ms)}/{duration.spell(reading.budget_ms)}"


def _offset(span_us: int) -> str:
    return duration.spell(span_us // 1000) if span_us % 1000 == 0 else f"{span_us}us"


def _spent(clock: SlaClock | None, now: int) -> str:
    if clock is None:
        return ""
    word = "of" if clock.running_since is not None else "stopped of"
    return f" ({_offset(clock.used_at(now))} {word} {duration.spell(clock.budget_ms)})"
