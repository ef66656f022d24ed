"""The fields of a filter: what each may say, and what the store is then asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from hmsactd.core.transitions import OperationState
from hmsactd.store.where import Span, Where
from hmsactd.store.words import words_in

LABEL = "labels."

KINDS = ("worker", "report", "completion", "decision", "operator", "clock")
OF_A_ROLE = frozenset({"decision"})
OF_A_SERVICE = frozenset(KINDS) - OF_A_ROLE
ALARMS = ("breached", "at_risk", "stalled", "unattended")

SEVERAL: Mapping[str, Sequence[str] | None] = {
    "state": tuple(OperationState),
    "name": None,
    "alarm": ALARMS,
    "awaited.kind": KINDS,
    "awaited.who": None,
    "awaited.role": None,
    "awaited.service": None,
    "awaited.name": None,
}
"""Fields that may have alternatives, and the words for each; None is any word."""

ONE = ("key", "key_prefix", "started_by", "requested_by", "awaited.person", "text")
TIMES = {"start_time": "started", "update_time": "updated", "end_time": "ended", "awaited.due_time": "due"}
FIELDS = (*SEVERAL, *ONE, *TIMES)

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Said:
    """What a term says of its field: a sign, and a value or alternatives."""

    sign: str
    values: tuple[str, ...]

    def or_(self, value: str) -> Said:
        """The same with one more alternative."""
        return replace(self, values=(*self.values, value))


def where_of(said: Mapping[str, Sequence[Said]], faults: list[str]) -> Where:
    """What all terms ask for together. What is wrong with them is added to the faults."""
    known = {field: terms for field, terms in said.items() if _is_well_said(field, terms, faults)}
    several = {field: _several(field, terms, faults) for field, terms in known.items() if field in SEVERAL}
    one = {field: _one(field, terms, faults) for field, terms in known.items() if field in ONE}
    labels = {field: terms for field, terms in known.items() if field.startswith(LABEL)}
    spans = {name: _span(field, known[field], faults) for field, name in TIMES.items() if field in known}
    return Where(
        states=several.get("state", ()),
        definitions=several.get("name", ()),
        key=one.get("key"),
        key_prefix=one.get("key_prefix"),
        started_by=one.get("started_by"),
        requested_by=one.get("requested_by"),
        labels=tuple(
            sorted(
                (field.removeprefix(LABEL), value)
                for field, terms in labels.items()
                if (value := _one(field, [term for term in terms if term.sign == "="], faults)) is not None
            )
        ),
        labels_there=tuple(sorted(field.removeprefix(LABEL) for field, terms in labels.items() if _has_only(terms))),
        words=_words(one.get("text"), faults),
        awaits=_kinds(several, faults),
        awaits_who=_who(several, faults),
        awaits_name=several.get("awaited.name", ()),
        awaits_person=one.get("awaited.person"),
        alarms=several.get("alarm", ()),
        **spans,
    )


def _is_well_said(field: str, terms: Sequence[Said], faults: list[str]) -> bool:
    signs = ("=", ":") if field.startswith(LABEL) else ("<", "<=", ">", ">=") if field in TIMES else ("=",)
    for term in terms:
        if term.sign not in signs:
            faults.append(f"{field} is compared by {' '.join(signs)}, and not by {term.sign}")
            return False
        if len(set(term.values)) > 1 and field not in SEVERAL:
            faults.append(f"{field} has no alternatives: only {', '.join(SEVERAL)} may be joined by OR")
            return False
    return True


def _several(field: str, terms: Sequence[Said], faults: list[str]) -> tuple[str, ...]:
    """What all terms of a field leave: the alternatives that each of them names."""
    words = SEVERAL[field]
    for value in dict.fromkeys(value for term in terms for value in term.values):
        if words is not None and value not in words:
            what = "a state" if field == "state" else f"what {field} can be"
            faults.append(f"{json.dumps(value)} is not {what}: {', '.join(words)}")
    left = [value for value in dict.fromkeys(terms[0].values) if all(value in term.values for term in terms)]
    if not left:
        faults.append(f"{field} is asked for twice, with different values")
    return tuple(left)


def _one(field: str, terms: Sequence[Said], faults: list[str]) -> str | None:
    values = {value for term in terms for value in term.values}
    if len(values) > 1:
        faults.append(f"{field} is asked for twice, with different values")
    return terms[0].values[0] if terms else None


def _has_only(terms: Sequence[Said]) -> bool:
    return all(term.sign == ":" for term in terms)


def _words(text: str | None, faults: list[str]) -> tuple[str, ...]:
    if text is None:
        return ()
    words = words_in(text)
    if not words:
        faults.append("text has no letter and no digit to be found by")
    if len(words) > WORDS_MAX:
        faults.append(f"text has {len(words)} words; at most {WORDS_MAX} are allowed")
    return words


WORDS_MAX = 16


def _kinds(several: Mapping[str, tuple[str, ...]], faults: list[str]) -> tuple[str, ...]:
    asked = [frozenset(several["awaited.kind"])] if "awaited.kind" in several else []
    asked += [kinds for field, kinds in _WHOSE.items() if field in several]
    if not asked:
        return ()
    left = frozenset.intersection(*asked)
    if not left:
        faults.append(
            "an operation awaits one thing at a time: awaited.kind, .role and .service ask for different ones"
        )
    return tuple(kind for kind in KINDS if kind in left)


def _who(several: Mapping[str, tuple[str, ...]], faults: list[str]) -> tuple[str, ...]:
    asked = [several[field] for field in ("awaited.who", *_WHOSE) if field in several]
    if not asked:
        return ()
    left = tuple(who for who in asked[0] if all(who in others for others in asked))
    if not left:
        faults.append("an operation awaits one thing at a time: awaited.who, .role and .service ask for different ones")
    return left


_WHOSE = {"awaited.role": OF_A_ROLE, "awaited.service": OF_A_SERVICE}


def _span(field: str, terms: Sequence[Said], faults: list[str]) -> Span | None:
    since: list[int] = []
    until: list[int] = []
    for term in terms:
        at = _microseconds(term.values[0])
        if at is None:
            faults.append(f"{field} is compared with a time of RFC 3339, such as 2026-11-23T09:30:00Z")
            continue
        # Times are whole microseconds, so that what is after one is not before the next.
        (since if term.sign[0] == ">" else until).append(at + (term.sign in (">", "<=")))
    return Span(max(since, default=None), min(until, default=None))


def _microseconds(text: str) -> int | None:
    if not RFC_3339.fullmatch(text):
        return None
    try:
        past = datetime.fromisoformat(text.upper()) - EPOCH
    except (ValueError, OverflowError):
        return None
    return (past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds
