"""Why what is said with the token of an attempt does not count: the attempt is over, and who was quicker, if anybody.

A token is good for one attempt, for ever: whoever comes with it later is told what has become of that attempt.
"""

from __future__ import annotations

from datetime import UTC, datetime

from hmsactd.core.inputs import CompleteStep
from hmsactd.core.operation import Operation, StepItem
from hmsactd.core.rejected import Ground, Rejected
from hmsactd.core.transitions import StepState


def too_late(operation: Operation, told: CompleteStep) -> Rejected:
    """The rejection of a completion whose attempt is not under way."""
    item = operation.item(told.instance)
    if not isinstance(item, StepItem) or told.attempt > item.attempt:
        # Only after a backup was restored: tokens are made for attempts that are on the record.
        sentence = f"the operation knows of no attempt {told.attempt} at item {told.instance}"
        return Rejected(Ground.UNKNOWN, "ATTEMPT_UNKNOWN", sentence)
    name, state = item.definition.name, operation.state.value
    facts, kept = {"state": state, "step": name}, "what you said is kept on the record"
    earlier = item.completion(told.attempt)
    if earlier is not None:
        when = f"{datetime.fromtimestamp(earlier.at // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ} by {earlier.by}"
        facts |= {"completed_by": earlier.by, "completed_at_us": str(earlier.at)}
        if not earlier.is_late:
            outcome = "failed" if earlier.is_failure else "completed"
            sentence = f"attempt {told.attempt} of {name} was {outcome} before, at {when}"
            return Rejected(Ground.PRECONDITION, "ALREADY_COMPLETED", sentence, **facts)
        kept = f"what was said of it at {when} is kept on the record"
    if item.state is StepState.RUNNING and item.attempt == told.attempt:
        sentence = f"too late: the operation is {state}; {kept}"
        return Rejected(Ground.PRECONDITION, "OPERATION_FINAL", sentence, **facts)
    sentence = f"too late: attempt {told.attempt} of {name} is over, {_how(item, told.attempt)}; {kept}"
    return Rejected(Ground.PRECONDITION, "ATTEMPT_OVER", sentence, **facts)


def _how(item: StepItem, attempt: int) -> str:
    """What has become of the step since."""
    if item.state is StepState.RUNNING and item.attempt > attempt:
        return f"and attempt {item.attempt} is under way"
    is_unsolved = item.state not in (StepState.DONE, StepState.SKIPPED)
    return f"and the step is {item.state.value}" + (f" ({item.code})" if item.code and is_unsolved else "")
