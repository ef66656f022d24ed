"""Random lives of operations: whatever anybody might tell them, at any time. The same seed gives the same life."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from hmsactd.core import inputs as i
from hmsactd.core.decide import decide
from hmsactd.core.due import next_due
from hmsactd.core.events import Event
from hmsactd.core.operation import CheckpointItem, Operation, StepItem
from hmsactd.core.principal import DAEMON, Principal
from hmsactd.core.rejected import Rejected
from hmsactd.core.transitions import StepState
from hmsactd.definition.flow import Flow, ItemDefinition
from tests.core.dialogue import CITIZEN, EPOCH, JDAVIS, MGARCIA, OPERATOR, checkpoint, payload, service, step

SPANS = (None, "10s", "1m", "5m")


@dataclass(frozen=True, slots=True)
class Change:
    """What was recorded at once."""

    before: Operation | None
    after: Operation
    events: tuple[Event, ...]


def a_flow(chance: Random, name: str) -> Flow:
    items: list[ItemDefinition] = []
    for index in range(chance.randint(1, 4)):
        sla = chance.choice(SPANS)
        if chance.randrange(3) == 0:
            items.append(checkpoint(f"check_{index}", chance.choice(("fsa.officer", "fsa.counsel")), sla=sla))
        else:
            items.append(
                step(
                    f"step_{index}",
                    chance.choice(("IRS", "FSA")),
                    sla=sla,
                    retries=chance.randint(0, 2),
                    timeout=chance.choice((None, "30s")),
                    on_exhausted=chance.choice(("stall", "stall", "fail")),
                )
            )
    return Flow(name, tuple(items), chance.choice((None, 60_000, 600_000)), f"{chance.getrandbits(256):064x}")


def a_life(chance: Random, flow: Flow, turns: int = 40) -> Iterator[Change]:
    """What becomes of an operation within some turns."""
    now = EPOCH
    operation = None
    told: i.Input = i.Start(CITIZEN, flow, payload("input"))
    for _ in range(turns):
        try:
            outcome = decide(operation, told, now)
        except Rejected:
            pass
        else:
            assert outcome.operation is not None
            if outcome.events:
                yield Change(operation, outcome.operation, outcome.events)
            operation = outcome.operation
        assert operation is not None
        now = _later(chance, operation, now)
        told = _something(chance, operation)


def _later(chance: Random, operation: Operation, now: int) -> int:
    due = next_due(operation)
    if due is not None and chance.randrange(4) == 0:
        return max(now, due.at)
    return now + chance.choice((0, 1_000, 1_000_000, 20_000_000, 1_000_000_000))


def _something(chance: Random, operation: Operation) -> i.Input:
    """What somebody may say next: mostly what helps, sometimes anything."""
    item = operation.current if chance.randrange(5) else chance.choice(operation.items)
    rare: list[i.Input] = [
        i.TimerDue(DAEMON),
        i.Pause(OPERATOR, stop_clock=chance.choice((True, False))),
        i.Cancel(OPERATOR),
    ]
    if operation.pause is not None:
        rare += [i.Resume(OPERATOR)] * 6
    if item is None or chance.randrange(6) == 0:
        return chance.choice(rare)
    return chance.choice(_to_step(item) if isinstance(item, StepItem) else _to_checkpoint(item))


def _to_step(item: StepItem) -> list[i.Input]:
    instance, attempt, worker = item.instance, item.attempt, service(item.definition.svc)
    match item.state:
        case StepState.QUEUED:
            return [i.StepTaken(worker, instance, attempt + 1, "session")]
        case StepState.STALLED:
            name = item.definition.name
            return [i.RetryStep(OPERATOR, name), i.SkipStep(OPERATOR, name), *[i.TimerDue(DAEMON)] * 8]
        case StepState.RETRYING:
            return [i.TimerDue(DAEMON)]
        case _:
            return [
                i.StepSucceeded(worker, instance, attempt, payload("output")),
                i.StepSucceeded(worker, instance, attempt, payload("output")),
                i.StepErred(worker, instance, attempt, "TIMEOUT"),
                i.StepErred(worker, instance, attempt, "NO_SUCH_CITIZEN", is_permanent=True),
                i.WorkerLost(DAEMON, instance, attempt),
                i.HeartbeatMissed(DAEMON, instance, attempt),
                i.StepDeferred(worker, instance, attempt, 20_000),
                i.CompleteStep(worker, instance, attempt, payload("by batch")),
            ]


def _to_checkpoint(item: CheckpointItem) -> list[i.Input]:
    name = item.definition.name
    who: Principal
    told: list[i.Input] = [i.NobodyEntitled(DAEMON, item.instance)]
    for who in (JDAVIS, MGARCIA):
        told += [i.Decide(who, name, is_approval=True), i.Claim(who, name), i.Assign(OPERATOR, name, who)]
        told += [i.NoteRefusal(who, name, "ROLE_MISSING"), i.Release(who, name)]
    return [*told, i.Decide(MGARCIA, name, is_approval=False)]
