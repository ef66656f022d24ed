"""What an approver is shown, reduced to one digest: the definition, the input, the outputs so far, what it releases.

Built from commitments, never from words, so that it can be computed again from the records alone.
"""

from __future__ import annotations

import hashlib
import json

from hmsactd.core.operation import CheckpointItem, Operation, StepItem


def released_by(operation: Operation, checkpoint: CheckpointItem) -> tuple[str, ...]:
    """The items that an approval lets run: up to and including the next checkpoint."""
    names: list[str] = []
    for item in operation.items[checkpoint.instance :]:
        names.append(item.definition.name)
        if isinstance(item, CheckpointItem):
            break
    return tuple(names)


def shown_digest(operation: Operation, checkpoint: CheckpointItem) -> str:
    """SHA-256, in hex, over the canonical JSON of what is shown."""
    outputs = {
        item.definition.name: item.output_commitment
        for item in operation.items[: checkpoint.instance - 1]
        if isinstance(item, StepItem)
    }
    shown = {
        "checkpoint": checkpoint.definition.name,
        "definition": operation.flow.digest,
        "input": operation.input_commitment,
        "instance": checkpoint.instance,
        "outputs": outputs,
        "releases": released_by(operation, checkpoint),
        "revision": operation.revision,
        "role": checkpoint.definition.role,
    }
    return hashlib.sha256(json.dumps(shown, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
