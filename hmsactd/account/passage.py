"""A passage of a tale: events that are told together, and as much of them as their sentence needs. Bounded."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from hmsactd.core import events as e

SEQUENCES_MAX = 10
"""Sequences kept of the beginning of a passage, and as many of its end."""

SILENT = frozenset(("TIMEOUT", "HEARTBEAT_TIMEOUT"))
"""Codes of attempts that failed because nothing was heard of them in time."""

LOST = "WORKER_LOST"


# Not frozen: it grows with every event.
@dataclass(slots=True)
class Passage:
    """Events in order, from the first to the last. `error` is the last answer of a service that was one."""

    first: e.Event
    last: e.Event
    sequence: int
    """That of the last event."""
    count: int = 0
    starts: int = 0
    errors: int = 0
    silences: int = 0
    losses: int = 0
    error: tuple[int, e.StepFailed] | None = None
    _early: list[int] = field(default_factory=list)
    _late: deque[int] = field(default_factory=lambda: deque(maxlen=SEQUENCES_MAX))

    def add(self, event: e.Event, sequence: int) -> None:
        """Take one more event in."""
        self.last, self.sequence = event, sequence
        self.count += 1
        if len(self._early) < SEQUENCES_MAX:
            self._early.append(sequence)
        else:
            self._late.append(sequence)
        match event:
            case e.StepStarted():
                self.starts += 1
            case e.StepLost():
                self.losses += 1
            case e.StepFailed() if event.code in SILENT:
                self.silences += 1
            case e.StepFailed() if event.code == LOST:
                self.losses += 1
            case e.StepFailed():
                self.errors += 1
                self.error = sequence, event
            case _:
                pass

    @property
    def sequences(self) -> tuple[int, ...]:
        """The sequences that are kept."""
        return (*self._early, *self._late)

    @property
    def is_plain(self) -> bool:
        """True for a step that was done at once: what is said of many such, goes into one sentence."""
        return isinstance(self.last, e.StepDone) and self.starts == 1


@dataclass(slots=True)
class Folded:
    """Passages that are only counted, because there were so many."""

    kinds: Counter[str] = field(default_factory=Counter)
    first_at: int = 0
    last_at: int = 0
    first_sequence: int = 0
    last_sequence: int = 0
    count: int = 0

    def add(self, passage: Passage) -> None:
        """Take one more passage in. They come in no particular order."""
        if not self.kinds or passage.sequences[0] < self.first_sequence:
            self.first_at, self.first_sequence = passage.first.at, passage.sequences[0]
        if passage.sequence > self.last_sequence:
            self.last_at, self.last_sequence = passage.last.at, passage.sequence
        self.kinds[passage.last.kind] += 1
        self.count += passage.count
