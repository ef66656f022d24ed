"""Timelines as lists of lines, to be read after the fact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from hmsact import render
from hmsact.event import Event
from hmsact.principal import subject_of

TOLD_AFTERWARDS = frozenset({"step_deferred"})
"""Kinds that a replay tells beside the narrated ones: what explains a silence of days."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a timeline: an event, and what makes it readable on its own.

    `holder` is who holds the decision that the event asks for: whoever claimed it, else whoever it is assigned to,
    without the issuer; empty if nobody does. `span` holds the first and last time of the whole timeline, in UTC.
    """

    event: Event
    holder: str
    span: tuple[datetime, datetime]

    def pretty(self, utc: bool = False, zone: bool = False) -> str:
        """The line for people: "[10:02:16] eligibility_check ❌ (retry 1)".

        Times are local, with the date if the operation spans days. With `utc` they are in UTC and say so; with `zone`
        local times name their zone.
        """
        return render.line_text(self, utc=utc, zone=zone)

    def __str__(self) -> str:
        return self.pretty()


def lines_of(events: Iterable[Event], *, is_final: bool, everything: bool, now: datetime | None = None) -> list[Line]:
    """The lines of a whole timeline, the narrated kinds and those told afterwards only, unless `everything`.

    An operation that is not final reaches until now.
    """
    told = list(events)
    if not told:
        return []
    last = told[-1].time if is_final else max(told[-1].time, now or datetime.now(UTC))
    holders = _holders(told)
    return [
        Line(event, subject_of(holders.get(event.sequence, "")), (told[0].time, last))
        for event in told
        if everything or event.is_narrated or event.kind in TOLD_AFTERWARDS
    ]


def _holders(events: Iterable[Event]) -> dict[int, str]:
    """Who held each pending decision in the end, by the sequence of the event that asked for it."""
    holders: dict[int, str] = {}
    asked: dict[int, Event] = {}
    assigned: dict[int, str] = {}
    for event in events:
        instance = event.instance
        match event.kind:
            case "checkpoint_pending":
                asked[instance] = event
                assigned[instance] = str(event.data.get("person", ""))
                holders[event.sequence] = assigned[instance]
            case "checkpoint_assigned" if instance in asked:
                assigned[instance] = str(event.data.get("person", ""))
                holders[asked[instance].sequence] = assigned[instance]
            case "checkpoint_claimed" if instance in asked:
                holders[asked[instance].sequence] = str(event.data.get("person", "")) or event.principal.id
            case "checkpoint_released" if instance in asked:
                holders[asked[instance].sequence] = assigned[instance]
    return holders
