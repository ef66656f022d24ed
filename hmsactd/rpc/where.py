"""The filter of lists: terms joined by AND, a subset of AIP-160. What each field may say is in hmsactd.rpc.fields.

    state = "stalled" OR state = "waiting" AND awaited.service = "IRS" AND start_time >= "2026-11-01T00:00:00Z"

OR stands between terms of one field and, as AIP-160 has it, binds more tightly than AND.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass

from hmsactd.errors import InvalidArgument, Violation
from hmsactd.rpc.fields import FIELDS, LABEL, Said, where_of
from hmsactd.store.where import Where

FILTER_MAX = 4096
TERMS_MAX = 100

TERM = re.compile(
    r"\s*(?P<field>[a-z_]+(?:\.[A-Za-z0-9_./-]+)?)\s*"
    r'(?:(?P<sign><=|>=|=|<|>)\s*(?P<value>"(?:[^"\\]|\\.)*")|(?P<has>:\s*\*))\s*'
)
JOINT = re.compile(r"(?P<word>AND|OR)(?=\s)")


@dataclass(frozen=True, slots=True)
class Term:
    """A field, a sign and a value; and whether it is an alternative to the term before it."""

    field: str
    sign: str
    value: str
    is_or: bool


def parse(text: str) -> Where:
    """What a filter asks for. Raises `InvalidArgument` with everything that is wrong with it."""
    if len(text) > FILTER_MAX:
        raise _wrong([f"is longer than {FILTER_MAX} characters"])
    faults: list[str] = []
    said: dict[str, list[Said]] = defaultdict(list)
    before: Term | None = None
    for term in _terms(text, faults):
        if not (term.field in FIELDS or term.field.startswith(LABEL)):
            faults.append(f"{term.field} can't be filtered by; {', '.join(FIELDS)}, labels.NAME can")
        elif term.is_or and before is not None and before.field != term.field:
            faults.append(f"OR stands between terms of one field, and not between {before.field} and {term.field}")
        elif term.is_or and said[term.field]:
            said[term.field][-1] = said[term.field][-1].or_(term.value)
        else:
            said[term.field].append(Said(term.sign, (term.value,)))
        before = term
    where = where_of(said, faults)
    if faults:
        raise _wrong(faults)
    return where


def _terms(text: str, faults: list[str]) -> list[Term]:
    terms: list[Term] = []
    position = 0
    while position < len(text.rstrip()):
        is_or = False
        if terms:
            joint = JOINT.match(text, position)
            if joint is None:
                faults.append(f"at character {position + 1}: terms are joined by AND, or by OR")
                return terms
            position, is_or = joint.end(), joint["word"] == "OR"
        term = TERM.match(text, position)
        if term is None:
            faults.append(f'at character {position + 1}: a term is written field = "value", or labels.NAME:*')
            return terms
        try:
            value = json.loads(term["value"]) if term["value"] else ""
            # Half a surrogate pair can be said in JSON, and is no text that anything could have.
            value.encode()
        except ValueError:
            faults.append(f"at character {position + 1}: the value is not a JSON string")
            return terms
        terms.append(Term(term["field"], term["sign"] or ":", value, is_or))
        position = term.end()
    if len(terms) > TERMS_MAX:
        faults.append(f"has {len(terms)} terms; at most {TERMS_MAX} are allowed")
    return terms


def _wrong(faults: list[str]) -> InvalidArgument:
    return InvalidArgument([Violation("filter", fault, "BAD_FILTER") for fault in faults])
