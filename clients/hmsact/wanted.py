"""What operations are listed and counted by, and the filter (AIP-160) that says so to the daemon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, TypedDict

OrderBy = Literal[
    "start_time",
    "start_time desc",
    "update_time",
    "update_time desc",
    "end_time",
    "end_time desc",
    "awaited.due_time",
    "awaited.due_time desc",
]
"""In which order operations are listed. By end_time and awaited.due_time come only those that have one."""

GroupBy = Literal["state", "name", "awaited.role", "awaited.service"]
"""What operations are counted by."""

Several = str | Sequence[str]
"""One value, or alternatives."""

Time = datetime | str
"""A time: a datetime that knows its zone, or a text of RFC 3339 such as "2026-11-23T09:30:00Z"."""


class Wanted(TypedDict, total=False):
    """Which operations: all that is said must hold; what is left out or None says nothing.

    `state`, `name` (of the definition), `alarm` ("breached", "at_risk", "stalled", "unattended") and what is awaited
    may be several words, of which any will do: `awaiting` is a service or a role, `role` a role that owes a decision,
    `service` a service at whose step the operation is, be it stalled, `at` the step or checkpoint. `awaited_kind` is
    what of them: "worker", "report", "completion" (of a deferred step), "decision", "operator" or "clock". `person` has
    claimed the decision or is to have it. `labels` are values by name, None for any value. `text` is words that begin
    words of the name, the key, labels' values or `requested_by`. Times are from `since` to before `until`.
    """

    state: Several | None
    name: Several | None
    key: str | None
    key_prefix: str | None
    started_by: str | None
    requested_by: str | None
    labels: Mapping[str, str | None] | None
    text: str | None
    awaiting: Several | None
    awaited_kind: Several | None
    role: Several | None
    service: Several | None
    at: Several | None
    person: str | None
    alarm: Several | None
    since: Time | None
    until: Time | None
    updated_since: Time | None
    updated_until: Time | None
    ended_since: Time | None
    ended_until: Time | None
    due_since: Time | None
    due_until: Time | None


_FIELDS = {
    "state": "state",
    "name": "name",
    "key": "key",
    "key_prefix": "key_prefix",
    "started_by": "started_by",
    "requested_by": "requested_by",
    "text": "text",
    "awaiting": "awaited.who",
    "awaited_kind": "awaited.kind",
    "role": "awaited.role",
    "service": "awaited.service",
    "at": "awaited.name",
    "person": "awaited.person",
    "alarm": "alarm",
}
_TIMES = {
    "since": "start_time >=",
    "until": "start_time <",
    "updated_since": "update_time >=",
    "updated_until": "update_time <",
    "ended_since": "end_time >=",
    "ended_until": "end_time <",
    "due_since": "awaited.due_time >=",
    "due_until": "awaited.due_time <",
}


def filter_of(wanted: Wanted) -> str:
    """The filter of a list: every term that was said, joined by AND.

    Raises TypeError for a word that is none, and ValueError for alternatives of which there are none: left out, they
    would mean more operations, not fewer.
    """
    if unknown := sorted(set(wanted) - {*_FIELDS, *_TIMES, "labels"}):
        raise TypeError(f"operations can't be chosen by {', '.join(unknown)}")
    said = {word: value for word, value in wanted.items() if value is not None}
    terms = [_any(field, said[word]) for word, field in _FIELDS.items() if word in said]
    terms += [
        f"labels.{label}:*" if value is None else f"labels.{label} = {_quoted(value)}"
        for label, value in (wanted.get("labels") or {}).items()
    ]
    terms += [f"{term} {_quoted(_time(word, said[word]))}" for word, term in _TIMES.items() if word in said]
    return " AND ".join(term for term in terms if term)


def _any(field: str, value: object) -> str:
    several: list[object] = [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
    if not several:
        raise ValueError(f"{field} is one of none: leave it out if any will do")
    return " OR ".join(f"{field} = {_quoted(str(one))}" for one in several)


def _time(word: str, time: object) -> str:
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise ValueError(f"{word} is a time without a zone: add one, such as datetime.UTC")
        return time.isoformat()
    return str(time)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
