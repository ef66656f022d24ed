"""Lives of operations that nobody planned: at every turn somebody chooses among what could be told now.

Most choices are likely ones; some are odd: too early, too late, twice, for the wrong attempt, by the wrong people.
Time stands still, jumps, and runs backwards. In the end all faults stop, and whoever does no more than what is
outstanding must bring the operation to its end. Who chooses is left open: chance from a seed, or hypothesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Protocol, TypeVar

from hmsactd.core import effects as f
from hmsactd.core import inputs as i
from hmsactd.core.legality import first_illegal
from hmsactd.core.operation import CheckpointItem, Operation, StepItem
from hmsactd.core.outstanding import outstanding
from hmsactd.core.principal import DAEMON, Principal
from hmsactd.core.transitions import CheckpointState, OperationState, StepState
from hmsactd.definition.flow import Flow, ItemDefinition
from tests.core.dialogue import (
    CASEBOT,
    CITIZEN,
    DESK,
    DEVELOPER,
    JDAVIS,
    MGARCIA,
    OPERATOR,
    checkpoint,
    flow_of,
    payload,
    service,
    step,
)
from tests.core.pair import Pair

T = TypeVar("T")

PEOPLE = (MGARCIA, JDAVIS, DEVELOPER, CASEBOT, OPERATOR, CITIZEN)
STARTERS = (CITIZEN, JDAVIS, CASEBOT, service("Portal"), DESK)
SPANS = ("1s", "2s", "5s", "10s")
SECOND = 1_000_000


class Choose(Protocol):
    """One of several, the simplest first."""

    def __call__(self, options: Sequence[T], /) -> T: ...


def live(choose: Choose, turns: int) -> Pair:
    """One life, from its start to its end."""
    pair = Pair()
    if choose((False, True)):
        pair.tell(i.TimerDue(DAEMON))
    pair.tell(i.Start(choose(STARTERS), some_flow(choose), payload("input")))
    for _ in range(turns):
        if at(pair).is_final and len(pair.told) % 10 == 0:
            break
        pair.now += choose(waits(pair))
        is_odd = choose((False, False, False, False, True))
        pair.tell(choose(odd(pair)) if is_odd else choose(likely(pair)))
    bring_to_its_end(pair)
    assert first_illegal(pair.events) is None
    return pair


def some_flow(choose: Choose) -> Flow:
    items = [some_item(choose, name) for name in "abcd"[: choose((1, 2, 3, 4))]]
    return flow_of(*items, sla=choose((None, *SPANS)))


def some_item(choose: Choose, name: str) -> ItemDefinition:
    sla = choose((None, *SPANS))
    if choose((True, False, False)):
        role, assigned_to = choose(("fsa.officer", "fsa.counsel")), choose((None, "dev:jdavis"))
        return checkpoint(name, role, sla=sla, assigned_to=assigned_to)
    return step(
        name,
        choose(("S", "T")),
        sla=sla,
        retries=choose((0, 1, 2)),
        timeout=choose((None, *SPANS)),
        on_exhausted=choose(("stall", "stall", "stall", "fail")),
        retry_delay=choose(("1ms", "1s", "2s")),
        retry_delay_max=choose(("2s", "3s")),
        unattended=choose(SPANS),
    )


# -- what could be told ------------------------------------------------------------------------------------------------


def waits(pair: Pair) -> Sequence[int]:
    """How long it may take until the next telling; sometimes just until something is due."""
    dues = [effect.at - pair.now for effect in outstanding(at(pair)) if isinstance(effect, f.WakeAt)]
    dues += [due + off for due in dues for off in (-1, 1, 7 * SECOND)]
    spans = [1, 1_000, 800_000, SECOND, SECOND, 4 * SECOND, 60 * SECOND, -1, -SECOND, -3600 * SECOND]
    return [0] * 8 + [due for due in dues if due > 0] * 2 + spans


def likely(pair: Pair) -> Sequence[i.Input]:
    """What belongs to the state that it is in."""
    operation = at(pair)
    item = operation.current or operation.items[-1]
    name = item.definition.name
    told: list[i.Input] = [i.TimerDue(DAEMON)]
    if isinstance(item, StepItem):
        told += likely_of_step(pair, item)
    elif item.state is CheckpointState.PENDING:
        told += [i.Decide(by, name, is_yes, item.digest) for by in PEOPLE for is_yes in (True, True, False)]
        told += [i.Decide(by, name, True, seen) for by in PEOPLE[:2] for seen in (None, "0" * 64)]
        told += [i.Claim(by, name) for by in PEOPLE]
        told += [i.Release(by, name) for by in PEOPLE if by.id == item.claimed_by] * 10
        told += [i.Assign(OPERATOR, name, to) for to in PEOPLE]
        told += [i.NoteRefusal(by, name, "X") for by in PEOPLE[:3]] * 2
        told += [i.NobodyEntitled(DAEMON, item.instance)] * 3
    if operation.state is OperationState.PAUSED:
        told += [i.Resume(OPERATOR)] * (1 + len(told) // 3)
    elif not operation.is_final:
        told += [i.Pause(OPERATOR, stop_clock=len(pair.told) % 2 == 0)]
        told += [i.Cancel(OPERATOR)] if len(pair.told) % 4 == 0 else []
    return told


def likely_of_step(pair: Pair, item: StepItem) -> list[i.Input]:
    by, instance, attempt, name = service(item.definition.svc), item.instance, item.attempt, item.definition.name
    match item.state:
        case StepState.QUEUED:
            return [i.StepTaken(by, instance, attempt + 1, f"session-{len(pair.told)}")] * 6
        case StepState.RUNNING if item.deferred_at is not None:
            said = completions(pair, instance, attempt) * 2 + completions(pair, instance, max(1, attempt - 1))
            said += [i.StepSucceeded(by, instance, attempt, payload("over")), i.WorkerLost(DAEMON, instance, attempt)]
            return [*said, i.StepDeferred(by, instance, attempt), i.HeartbeatMissed(DAEMON, instance, attempt)]
        case StepState.RUNNING:
            wishes = (None, None, 1, 2_500, 60_000)
            told: list[i.Input] = [i.StepSucceeded(by, instance, attempt, payload(f"output-{len(pair.told)}"))] * 3
            told += [i.StepErred(by, instance, attempt, "BUSY", error=payload("e"), retry_after_ms=w) for w in wishes]
            told += [i.StepErred(by, instance, attempt, "WRONG", is_permanent=True)]
            told += completions(pair, instance, attempt)
            if at(pair).is_final:
                return told
            told += [i.StepDeferred(by, instance, attempt, within) for within in (None, None, 1, 2_000, 60_000)]
            told += [i.WorkerLost(DAEMON, instance, attempt)] * 5
            told += [i.StepSucceeded(service("Other"), instance, attempt, payload("other"))]
            return [*told, i.HeartbeatMissed(DAEMON, instance, attempt)]
        case StepState.RETRYING if pair.events[-1].kind != "step_report_ignored":
            return [i.TimerDue(DAEMON), *completions(pair, instance, attempt)]
        case StepState.STALLED:
            return [told(who, name) for told in (i.RetryStep, i.SkipStep) for who in (OPERATOR, *PEOPLE)]
        case _:
            return []


def completions(pair: Pair, instance: int, attempt: int) -> list[i.Input]:
    """What can be said with a token; and what is noted of it when it is said too late."""
    by, output = service(f"Batch{len(pair.told) % 2}"), payload(f"batch-{len(pair.told)}")
    return [
        i.CompleteStep(by, instance, attempt, output),
        i.CompleteStep(by, instance, attempt, None, "NO_FILE", error=payload("e"), retry_after_ms=1_500),
        i.CompleteStep(by, instance, attempt, None, "NO_SUCH_LOAN", is_permanent=True),
        *late(pair, instance, attempt, i.NoteLateCompletion(by, instance, attempt, output)),
    ]


def late(pair: Pair, instance: int, attempt: int, note: i.Input) -> list[i.Input]:
    """The note, unless the attempt is under way: nothing tells it of one that is."""
    item = at(pair).item(instance)
    is_running = isinstance(item, StepItem) and item.state is StepState.RUNNING and item.attempt == attempt
    return [] if is_running and not at(pair).is_final else [note]


def odd(pair: Pair) -> Sequence[i.Input]:
    """What belongs to any state but perhaps not to this one; and what was told just before, once more."""
    operation = at(pair)
    names = [item.definition.name for item in operation.items] + ["nowhere"]
    told: list[i.Input] = [told for _, told in pair.told[-5:]] * 4
    for instance, off in product(range(-1, len(operation.items) + 2), (0, -1, 1)):
        item = operation.item(instance)
        attempt = off + (item.attempt if isinstance(item, StepItem) else 1)
        by = service(item.definition.svc) if isinstance(item, StepItem) else service("S")
        told += [
            i.StepTaken(by, instance, attempt, "odd"),
            i.StepSucceeded(by, instance, attempt, payload("odd")),
            i.StepErred(service("Other"), instance, attempt, "ODD"),
            i.WorkerLost(DAEMON, instance, attempt),
            i.HeartbeatMissed(DAEMON, instance, attempt),
            i.StepDeferred(by, instance, attempt, 500),
            *completions(pair, instance, attempt),
        ]
    for name, who in product(names, PEOPLE):
        told += [i.Decide(who, name, True), i.Claim(who, name), i.Release(who, name), i.Assign(OPERATOR, name, who)]
        told += [i.NoteRefusal(who, name, "Y"), i.RetryStep(who, name), i.SkipStep(who, name)]
    told += [i.NobodyEntitled(DAEMON, instance) for instance in range(len(names) + 1)]
    for revision in (None, 0, 1, 2):
        told += [i.Pause(OPERATOR, expected_revision=revision), i.Resume(OPERATOR, expected_revision=revision)]
    told += [i.Cancel(OPERATOR, expected_revision=2)] * 5
    told += [i.Start(CITIZEN, operation.flow, payload("input"))] * 5
    return told


# -- the end of all faults ---------------------------------------------------------------------------------------------


def bring_to_its_end(pair: Pair) -> None:
    """From here on everybody does what is outstanding, and nothing else."""
    turns_left = 100
    while not at(pair).is_final:
        turns_left -= 1
        assert turns_left, "it never ends"
        pair.tell(what_is_outstanding(pair))


def what_is_outstanding(pair: Pair) -> i.Input:
    operation = at(pair)
    name = operation.current.definition.name if operation.current is not None else ""
    if operation.state is OperationState.PAUSED:
        return i.Resume(OPERATOR)
    if operation.state is OperationState.STALLED:
        return i.RetryStep(OPERATOR, name)
    effects = outstanding(operation)
    effect = effects[0]
    if any(isinstance(each, f.WakeAt) and each.at <= pair.now for each in effects):
        return i.TimerDue(DAEMON)
    match effect:
        case f.RunStep():
            return i.StepTaken(service(effect.svc), effect.instance, effect.attempt, "last")
        case f.AwaitReport():
            return i.StepSucceeded(service(effect.svc), effect.instance, effect.attempt, payload("last"))
        case f.AwaitCompletion():
            return i.CompleteStep(service(effect.svc), effect.instance, effect.attempt, payload("last"))
        case f.AwaitDecision():
            return i.Decide(entitled(operation, effect.instance), name, True)
        case f.WakeAt():
            pair.now = max(pair.now, effect.at)
            return i.TimerDue(DAEMON)


def entitled(operation: Operation, instance: int) -> Principal:
    """Who has claimed the checkpoint, or else somebody who may decide anything."""
    item = operation.item(instance)
    assert isinstance(item, CheckpointItem)
    return next((who for who in PEOPLE if who.id == item.claimed_by), MGARCIA)


def at(pair: Pair) -> Operation:
    assert pair.operation is not None
    return pair.operation
