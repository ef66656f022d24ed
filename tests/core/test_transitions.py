"""The tables of states: every row happens in some life story, nothing else does, and no state is a dead end."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import get_args

from hmsactd.core import events as e
from hmsactd.core.apply import apply
from hmsactd.core.operation import Operation
from hmsactd.core.transitions import (
    CHECKPOINT,
    ENDS,
    FAILED_LAST,
    FINAL,
    FOLLOWS,
    REACHED,
    RETRY_AHEAD,
    STEP,
    CheckpointState,
    OperationState,
    StepState,
)
from tests.core.dialogue import begun, checkpoint, step
from tests.core.scenario import play, stories

KINDS = {event.kind: event for event in get_args(e.Event)}

Row = tuple[StepState | CheckpointState, str, StepState | CheckpointState]


def lives() -> Iterator[list[Operation]]:
    """Every operation of the life stories, as it was after each of its events."""
    for path in stories():
        _, talk = play(path.read_text("utf-8"))
        life: list[Operation] = []
        for event in talk.events:
            life.append(apply(life[-1] if life else None, event))
        yield life


def happened() -> set[Row]:
    """The moves of all steps and checkpoints in the life stories, by what triggered them."""
    rows: set[Row] = set()
    for path in stories():
        _, talk = play(path.read_text("utf-8"))
        before = None
        for event in talk.events:
            after = apply(before, event)
            for number, item in enumerate(after.items):
                old = before.items[number].state if before else type(item.state)("ahead")
                if old is not item.state:
                    rows.add((old, trigger(event, item.instance), item.state))
            before = after
    return rows


def trigger(event: e.Event, instance: int) -> str:
    if getattr(event, "instance", None) != instance:
        return REACHED
    if isinstance(event, e.StepFailed):
        return FAILED_LAST if event.retry_at is None else RETRY_AHEAD
    return event.kind


def test_every_row_happens_in_a_life_story_and_nothing_else_does() -> None:
    rows: set[Row] = {(old, by, new) for (old, by), new in STEP.items()}
    rows |= {(old, by, new) for (old, by), new in CHECKPOINT.items()}
    assert happened() == rows


def test_the_state_of_an_open_operation_follows_from_its_item_in_every_row() -> None:
    seen = {
        (operation.current.state, operation.state)
        for life in lives()
        for operation in life
        if operation.current is not None and operation.pause is None and not operation.is_final
    }
    assert seen == set(FOLLOWS.items())


def test_every_end_is_reached_and_none_is_left() -> None:
    ends = set()
    for life in lives():
        for before, after in pairwise(life):
            assert not before.is_final or after.state is before.state
        ends.add(life[-1].state)
    assert ends == FINAL == set(ENDS.values())


def test_triggers_are_kinds_of_events_or_said_to_be_others() -> None:
    triggers = {by for _, by in STEP} | {by for _, by in CHECKPOINT} | set(ENDS)
    assert triggers - KINDS.keys() == {REACHED, RETRY_AHEAD, FAILED_LAST}


def test_every_open_state_leads_to_one_where_work_is_over() -> None:
    over: set[StepState | CheckpointState] = {
        StepState.DONE,
        StepState.SKIPPED,
        StepState.FAILED,
        CheckpointState.APPROVED,
        CheckpointState.REJECTED,
    }
    leads = {old: {new for (from_, _), new in (STEP | CHECKPOINT).items() if from_ is old} for old in FOLLOWS}
    for state in FOLLOWS:
        reached, ahead = set(), {state}
        while ahead:
            reached |= ahead
            ahead = set().union(*(leads.get(each, set()) for each in ahead)) - reached
        assert reached & over


def test_what_the_flow_has_gone_past_never_moves_again() -> None:
    past = {StepState.DONE, StepState.SKIPPED, CheckpointState.APPROVED}
    assert not past & {old for old, _ in STEP.keys() | CHECKPOINT.keys()}
    assert not past & FOLLOWS.keys()


def test_states_that_are_final_say_so() -> None:
    assert {state for state in OperationState if state.is_final} == FINAL


def test_kinds_are_the_names_of_their_classes() -> None:
    for kind, event in KINDS.items():
        assert kind == re.sub(r"(?<!^)(?=[A-Z])", "_", event.__name__).lower()


def test_items_begin_ahead() -> None:
    operation = begun(step("a"), step("b"), checkpoint("c")).operation
    assert [item.state.value for item in operation.items] == ["queued", "ahead", "ahead"]
