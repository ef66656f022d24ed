"""Whether an operation is one of those that a filter asks for: what every store's finding comes to."""

from __future__ import annotations

import json
from collections.abc import Iterable

from hmsactd.store.store import Summary
from hmsactd.store.where import SPANS, Span, Where
from hmsactd.store.words import begins


def matches(summary: Summary, where: Where) -> bool:
    """True if an operation is one of those."""
    return _is_what(summary, where) and _is_whose(summary, where) and _is_when(summary, where)


def alarms_of(summary: Summary) -> frozenset[str]:
    """What is wrong with an operation."""
    return frozenset(json.loads(summary.alarms)) if summary.alarms else frozenset()


def _is_what(summary: Summary, where: Where) -> bool:
    return (
        (not where.states or summary.state in where.states)
        and (not where.definitions or summary.definition in where.definitions)
        and where.key in (None, summary.key)
        and (where.key_prefix is None or (summary.key is not None and summary.key.startswith(where.key_prefix)))
        and set(where.labels) <= set(summary.labels)
        and set(where.labels_there) <= {name for name, _ in summary.labels}
        and (not where.words or _is_found(summary, where.words))
        and (not where.alarms or not alarms_of(summary).isdisjoint(where.alarms))
    )


def _is_whose(summary: Summary, where: Where) -> bool:
    return (
        where.started_by in (None, summary.started_by)
        and where.requested_by in (None, summary.requested_by)
        and (not where.awaits or summary.awaits in where.awaits)
        and (not where.awaits_who or (summary.awaits != "" and summary.awaits_who in where.awaits_who))
        and (not where.awaits_name or summary.awaits_name in where.awaits_name)
        and where.awaits_person in (None, summary.claimed_by or summary.assigned_to)
    )


def _is_when(summary: Summary, where: Where) -> bool:
    spans: list[tuple[Span | None, int | None]] = [(getattr(where, name), getattr(summary, at)) for name, at in SPANS]
    return all(span is None or span.holds(at) for span, at in spans)


def _is_found(summary: Summary, wanted: Iterable[str]) -> bool:
    words = summary.words
    return all(f" {word}" in words or begins(word, summary.definition) for word in wanted)
