"""The words an actor hands on: its operation's input and the outputs so far, read from the store only when needed."""

from __future__ import annotations

from collections.abc import Sequence

from hmsactd.core.events import Event, OperationStarted, StepDone
from hmsactd.core.operation import Operation, StepItem
from hmsactd.core.transitions import StepState
from hmsactd.timeline.timeline import Timelines

OUTPUTS_SENT_MAX_BYTES = 262_144
"""Outputs that travel with a call, the latest first. A flow of a thousand steps would otherwise send every output a
thousand times; what is left out is named, and can be fetched."""

NULL = b"null"


class Contents:
    """The payloads of one operation, as far as its actor has seen them."""

    def __init__(self, timelines: Timelines, namespace: str, operation_id: str) -> None:
        self._timelines = timelines
        self._namespace = namespace
        self._operation_id = operation_id
        self._known: dict[int, bytes] = {}

    def remember(self, first_sequence: int, events: Sequence[Event]) -> None:
        """Keep what has just been recorded, since the next step will want it."""
        for sequence, event in enumerate(events, first_sequence):
            match event:
                case StepDone(output=payload) | OperationStarted(input=payload):
                    if payload.content is not None:
                        self._known[sequence] = payload.content
                case _:
                    pass

    async def for_call(self, operation: Operation) -> tuple[bytes, dict[str, bytes], tuple[str, ...], tuple[str, ...]]:
        """Input, outputs by step, names of skipped steps, names of steps whose outputs are left out for their size."""
        done = [
            item
            for item in operation.items[: operation.cursor]
            if isinstance(item, StepItem) and item.state is StepState.DONE
        ]
        wanted = [1, *[item.output_sequence for item in done]]
        if missing := [sequence for sequence in wanted if sequence not in self._known]:
            await self._fetch(missing)
        outputs: dict[str, bytes] = {}
        left_out: list[str] = []
        room = OUTPUTS_SENT_MAX_BYTES
        for item in reversed(done):
            # An erased payload reads as null, as does an output that was never given.
            content = self._known.get(item.output_sequence, NULL)
            room -= len(content)
            if room < 0:
                left_out.append(item.definition.name)
            else:
                outputs[item.definition.name] = content
        skipped = tuple(
            item.definition.name
            for item in operation.items[: operation.cursor]
            if isinstance(item, StepItem) and item.state is StepState.SKIPPED
        )
        outputs.update(dict.fromkeys(skipped, NULL))
        return self._known.get(1, NULL), outputs, skipped, tuple(left_out)

    async def _fetch(self, sequences: list[int]) -> None:
        said = await self._timelines.said(self._namespace, self._operation_id, sequences)
        for (sequence, name), content in said.items():
            if name in ("input", "output"):
                self._known[sequence] = content
