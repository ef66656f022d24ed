"""What becomes of an attempt that was deferred: nobody has it in hand, and whoever has its token says what came of it.

Why a token comes too late is said in hmsactd.core.completion.
"""

from __future__ import annotations

from hmsactd.core import events as e
from hmsactd.core import inputs as i
from hmsactd.core.attempts import check_holder, fail, in_hand, running
from hmsactd.core.completion import too_late
from hmsactd.core.operation import StepItem
from hmsactd.core.story import Story, advance


def deferred(story: Story, told: i.StepDeferred) -> None:
    """Whoever holds the attempt says that what came of it will be said later, with its token."""
    item = in_hand(story, told.instance, told.attempt)
    if item is None:
        return
    check_holder(item, told.by)
    due_at = None
    if told.within_ms is not None:
        due_at = story.now + told.within_ms * 1000
    elif item.definition.timeout_ms is not None:
        due_at = item.since + item.definition.timeout_ms * 1000
    elif item.definition.sla_ms is None and told.otherwise_ms is not None:
        due_at = story.now + told.otherwise_ms * 1000
    story.add(e.StepDeferred(story.now, told.by, told.instance, told.attempt, due_at))


def completed(story: Story, told: i.CompleteStep) -> None:
    """Take what is said with the token of an attempt that is under way, deferred or not.

    Whoever was given the token may use it before the worker's word that it defers is on the record.
    """
    item = running(story, told.instance, told.attempt)
    if item is None:
        raise too_late(story.operation, told)
    if told.output is None:
        fail(story, item, told.by, told.code, told.error, told.is_permanent, told.retry_after_ms, e.VIA_COMPLETION)
    else:
        story.add(e.StepDone(story.now, told.by, told.instance, told.attempt, told.output, e.VIA_COMPLETION))
        advance(story)


def note_late_completion(story: Story, told: i.NoteLateCompletion) -> None:
    """Keep the first completion of an attempt that came too late: the world may have changed."""
    item = story.operation.item(told.instance)
    if isinstance(item, StepItem) and told.attempt <= item.attempt and item.completion(told.attempt) is None:
        code, via = told.code or "DONE", e.VIA_COMPLETION
        story.add(
            e.StepReportIgnored(story.now, told.by, told.instance, told.attempt, code, told.output, told.error, via)
        )
