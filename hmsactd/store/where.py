"""Which operations: a filter as a value, which can be kept as JSON and asked again; and in which order they come."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final, Self


@dataclass(frozen=True, slots=True)
class Span:
    """Times from `since` to before `until`, in microseconds since the epoch; None is without end."""

    since: int | None = None
    until: int | None = None

    def holds(self, at: int | None) -> bool:
        """True for a time within it; no time is within no span."""
        return at is not None and (self.since is None or at >= self.since) and (self.until is None or at < self.until)


@dataclass(frozen=True, slots=True)
class Where:
    """Which operations: all that is said must hold. An empty tuple or None says nothing; of several, any will do."""

    states: tuple[str, ...] = ()
    definitions: tuple[str, ...] = ()
    key: str | None = None
    key_prefix: str | None = None
    started_by: str | None = None
    requested_by: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    """Labels that it has, all of them."""
    labels_there: tuple[str, ...] = ()
    """Names of labels that it has, whatever they say; all of them."""
    words: tuple[str, ...] = ()
    """Words as hmsactd.store.words has them; each begins one of the operation's."""
    awaits: tuple[str, ...] = ()
    awaits_who: tuple[str, ...] = ()
    """Services or roles that are awaited: whoever has what the operation is at, unless it is paused there."""
    awaits_name: tuple[str, ...] = ()
    awaits_person: str | None = None
    """Who has claimed the decision, else who it is assigned to."""
    alarms: tuple[str, ...] = ()
    """breached, at_risk, stalled, unattended."""
    started: Span | None = None
    updated: Span | None = None
    ended: Span | None = None
    due: Span | None = None

    def as_json(self) -> str:
        """What is said, as JSON: two filters that say the same in the same order are the same text."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        told = {name: _plain(value) for name, value in said.items() if value not in ((), None)}
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def of_json(cls, text: str) -> Self:
        """The filter that `as_json` has written. Raises TypeError for what a later version has written."""
        return cls(**{name: _frozen(name, value) for name, value in json.loads(text).items()})


EVERYTHING: Final = Where()


class Order(StrEnum):
    """By which time operations are listed; of two at the same time, the one that was recorded first is the earlier.

    By end and by due time only those come that have one.
    """

    STARTED = "started_at"
    UPDATED = "updated_at"
    ENDED = "ended_at"
    DUE = "due_at"


SPANS: Final = (
    ("started", Order.STARTED),
    ("updated", Order.UPDATED),
    ("ended", Order.ENDED),
    ("due", Order.DUE),
)
"""Fields of Where that are spans, and the column that each is of."""


def _plain(value: Any) -> Any:
    return [value.since, value.until] if isinstance(value, Span) else value


def _frozen(name: str, value: Any) -> Any:
    if name in ("started", "updated", "ended", "due"):
        return Span(*value)
    if isinstance(value, list):
        return tuple(tuple(each) if isinstance(each, list) else each for each in value)
    return value
