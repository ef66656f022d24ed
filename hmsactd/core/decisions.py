"""What becomes of a checkpoint: people take it on, hand it over and decide it; or nobody is there who may."""

from __future__ import annotations

from typing import assert_never

from hmsactd.core import events as e
from hmsactd.core import inputs as i
from hmsactd.core.operation import CheckpointItem
from hmsactd.core.people import may_decide, may_hold
from hmsactd.core.principal import DAEMON
from hmsactd.core.rejected import Ground, Rejected
from hmsactd.core.story import Story, advance, still_open
from hmsactd.core.transitions import CheckpointState

REFUSALS_GATHERED_US = 60_000_000
"""Within a minute, the same refusal of the same person is one event."""


def _pending(story: Story, name: str) -> CheckpointItem:
    item = story.operation.checkpoint(name)
    if item is None:
        if story.operation.step(name) is not None:
            raise Rejected(Ground.PRECONDITION, "NOT_A_CHECKPOINT", f"{name} is a step: nobody decides it")
        raise Rejected(Ground.UNKNOWN, "CHECKPOINT_UNKNOWN", f"the operation has no checkpoint {name}")
    if item.decided_by is not None:
        raise Rejected(
            Ground.PRECONDITION,
            "ALREADY_DECIDED",
            f"{name} was {item.state.value} by {item.decided_by.id} before",
            state=item.state.value,
            decided_by=item.decided_by.id,
            decided_at_us=str(item.since),
        )
    still_open(story, None)
    if item.state is not CheckpointState.PENDING:
        raise Rejected(
            Ground.PRECONDITION,
            "CHECKPOINT_NOT_PENDING",
            f"{name} is {item.state.value}: the operation has not come to it",
            state=item.state.value,
        )
    return item


def decided(story: Story, told: i.Decide) -> None:
    """Somebody approves or rejects what is pending, if they may."""
    item = _pending(story, told.checkpoint)
    may_decide(story.operation, item, told.by)
    if told.seen is not None and told.seen != item.digest:
        raise Rejected(
            Ground.PRECONDITION,
            "STALE_DIGEST",
            f"what you were shown is not what {told.checkpoint} is about now; look again",
            digest=item.digest or "",
        )
    if told.is_approval:
        story.add(e.CheckpointApproved(story.now, told.by, item.instance, told.seen, told.comment))
        advance(story)
    else:
        story.add(e.CheckpointRejected(story.now, told.by, item.instance, told.seen, told.comment))
        story.add(e.OperationRejected(story.now, DAEMON, item.instance))


def note_refusal(story: Story, told: i.NoteRefusal) -> None:
    """Keep that somebody was refused a decision."""
    item = story.operation.checkpoint(told.checkpoint)
    if item is None or story.operation.is_final:
        return
    for person, code, at in item.refusals:
        if person == told.by.id and code == told.code and story.now - at < REFUSALS_GATHERED_US:
            return
    story.add(e.DecisionRefused(story.now, told.by, item.instance, told.code))


def handed(story: Story, told: i.Claim | i.Release | i.Assign) -> None:
    """Who is to decide changes hands."""
    item = _pending(story, told.checkpoint)
    match told:
        case i.Claim():
            may_decide(story.operation, item, told.by)
            if item.claimed_by != told.by.id:
                story.add(e.CheckpointClaimed(story.now, told.by, item.instance, told.reason))
        case i.Release():
            if item.claimed_by != told.by.id:
                holder = f"{item.claimed_by} holds it" if item.claimed_by else "nobody holds it"
                raise Rejected(Ground.PRECONDITION, "NOT_CLAIMED_BY_CALLER", f"you have not claimed it: {holder}")
            story.add(e.CheckpointReleased(story.now, told.by, item.instance, told.reason))
        case i.Assign():
            may_hold(story.operation, item, told.assignee)
            person = told.assignee.id
            story.add(e.CheckpointAssigned(story.now, told.by, item.instance, person, told.reason))
        case _:
            assert_never(told)


def nobody_entitled(story: Story, told: i.NobodyEntitled) -> None:
    """Nobody may decide what has been pending for too long."""
    item = story.operation.current
    if not isinstance(item, CheckpointItem) or item.instance != told.instance or item.is_unattended:
        return
    due_at = item.since + item.definition.unattended_ms * 1000
    if item.state is CheckpointState.PENDING and due_at <= story.now and not story.operation.is_final:
        late_ms = (story.now - due_at) // 1000
        story.add(e.Unattended(story.now, told.by, item.instance, due_at, late_ms))
