"""The tale of an operation, as it hears its events one by one: what is told together, what is kept, what is folded.

However long a history is, a tale of it is short: it can be gathered page by page, and is never held as a whole.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import assert_never

from hmsactd.account.passage import Folded, Passage
from hmsactd.core import events as e
from hmsactd.core.apply import apply
from hmsactd.core.operation import CheckpointItem, Operation

PASSAGES_MAX = 40
"""Passages that are told; of more, those that say least are folded into one. Nobody reads more on the phone."""

QUOTED_PAYLOADS = ("reason", "comment", "error", "labels", "key", "requested_by")
"""What an account may quote; inputs and outputs are not told."""

KEPT_MAX = 100
"""Decisions that are kept for machines, and problems."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An event that is told on its own, with what was so before it: the digest and the wait of a checkpoint."""

    sequence: int
    event: e.Event
    checkpoint: CheckpointItem | None = None


class Tale:
    """Hears every event in order, with its sequence."""

    def __init__(self) -> None:
        self._operation: Operation | None = None
        self._passages: dict[tuple[object, ...], Passage] = {}
        self._round = 0
        self.folded = Folded()
        self.decisions: deque[Kept] = deque(maxlen=KEPT_MAX)
        self.decision_count = 0
        self.problems: deque[Kept] = deque(maxlen=KEPT_MAX)
        self.problem_count = 0
        self._start: Kept | None = None
        self.pause: Kept | None = None
        self.end: Kept | None = None
        self.failure: tuple[int, e.StepFailed] | None = None

    @property
    def operation(self) -> Operation:
        """The state after all that was heard."""
        assert self._operation is not None, "a tale begins with the start of its operation"
        return self._operation

    @property
    def start(self) -> Kept:
        """The first event."""
        assert self._start is not None, "a tale begins with the start of its operation"
        return self._start

    @property
    def passages(self) -> list[Passage]:
        """What is told, in the order in which it ended."""
        self._fold(PASSAGES_MAX)
        return list(self._passages.values())

    def hear(self, event: e.Event, sequence: int) -> None:
        """Hear the next event."""
        key = self._key(event, sequence)
        passage = self._passages.pop(key, None) or Passage(event, event, sequence)
        passage.add(event, sequence)
        # What goes on moves to the end: a tale is in the order in which things ended.
        self._passages[key] = passage
        self._keep(event, sequence)
        self._operation = apply(self._operation, event)
        if len(self._passages) > 2 * PASSAGES_MAX:
            self._fold(PASSAGES_MAX)

    def _key(self, event: e.Event, sequence: int) -> tuple[object, ...]:
        """Events with the same key are told together. Every kind has its place here."""
        match event:
            case (
                e.StepQueued()
                | e.StepStarted()
                | e.StepDeferred()
                | e.StepDone()
                | e.StepFailed()
                | e.StepLost()
                | e.StepStalled()
            ):
                # An operator's retry begins a new round: what was before it is told before it.
                return "step", event.instance, self._round
            case e.StepRetried():
                self._round += 1
                return ("event", sequence)
            case e.CheckpointPending() | e.CheckpointApproved() | e.CheckpointRejected():
                return "checkpoint", event.instance
            case e.SlaAtRisk() | e.SlaBreach():
                return "clock", event.instance
            case e.Unattended():
                return "unattended", event.instance
            case e.DecisionRefused():
                return "refused", event.instance, event.by.id, event.code
            case (
                e.OperationStarted()
                | e.StepSkipped()
                | e.StepReportIgnored()
                | e.CheckpointClaimed()
                | e.CheckpointReleased()
                | e.CheckpointAssigned()
                | e.OperationPaused()
                | e.OperationResumed()
                | e.OperationCancelled()
                | e.OperationCompleted()
                | e.OperationRejected()
                | e.OperationFailed()
            ):
                return ("event", sequence)
            case _:
                assert_never(event)

    def _keep(self, event: e.Event, sequence: int) -> None:
        """Keep what machines and the headline ask for."""
        match event:
            case e.CheckpointApproved() | e.CheckpointRejected():
                item = self.operation.item(event.instance)
                self._decided(Kept(sequence, event, item if isinstance(item, CheckpointItem) else None))
            case e.StepRetried() | e.StepSkipped() | e.OperationResumed():
                self._decided(Kept(sequence, event))
            case e.OperationStarted():
                self._start = Kept(sequence, event)
            case e.OperationPaused():
                self.pause = Kept(sequence, event)
                self._decided(self.pause)
            case e.OperationCancelled():
                self.end = Kept(sequence, event)
                self._decided(self.end)
            case e.OperationCompleted() | e.OperationRejected() | e.OperationFailed():
                self.end = Kept(sequence, event)
            case e.StepStalled() | e.SlaAtRisk() | e.SlaBreach() | e.Unattended():
                self.problems.append(Kept(sequence, event))
                self.problem_count += 1
            case e.StepFailed():
                self.failure = sequence, event
            case _:
                pass

    def _decided(self, kept: Kept) -> None:
        self.decisions.append(kept)
        self.decision_count += 1

    def _fold(self, most: int) -> None:
        """Fold the passages that say least, the oldest first: plain steps, then whatever is not the start."""
        for is_foldable in (lambda passage: passage.is_plain, lambda _: True):
            surplus = len(self._passages) - most
            if surplus <= 0:
                return
            oldest = [key for key, passage in self._passages.items() if passage.sequence > 1 and is_foldable(passage)]
            for key in oldest[:surplus]:
                self.folded.add(self._passages.pop(key))

    @property
    def quoted(self) -> list[int]:
        """The sequences of events whose words the account quotes, once everything is heard."""
        passages = self.passages
        kept = [*self.decisions, *filter(None, (self.start, self.end, self.pause))]
        told = [
            *((passage.sequence, passage.last) for passage in passages),
            *filter(None, (self.failure, *(passage.error for passage in passages))),
            *((one.sequence, one.event) for one in kept),
        ]
        return sorted({sequence for sequence, event in told if _has_words(event)})


def _has_words(event: e.Event) -> bool:
    return any(getattr(event, name, None) is not None for name in QUOTED_PAYLOADS)
