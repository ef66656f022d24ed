"""The filter of lists: terms `field = "value"` joined by AND, a subset of AIP-160."""

from __future__ import annotations

import json
import re

from hmsactd.core.transitions import OperationState
from hmsactd.errors import InvalidArgument, Violation
from hmsactd.store.store import Where

FILTER_MAX = 4096
FIELDS = ("state", "name", "key", "started_by", "labels.NAME")

TERM = re.compile(r'\s*(?P<field>[a-z_]+(?:\.[A-Za-z0-9_./-]+)?)\s*=\s*(?P<value>"(?:[^"\\]|\\.)*")\s*')
AND = re.compile(r"AND(?=\s)")


def parse(text: str) -> Where:
    """What a filter asks for. Raises `InvalidArgument` with everything that is wrong with it."""
    if len(text) > FILTER_MAX:
        raise _wrong([f"is longer than {FILTER_MAX} characters"])
    faults: list[str] = []
    found: dict[str, str] = {}
    labels: dict[str, str] = {}
    states: list[str] = []
    for field, value in _terms(text, faults):
        if field.startswith("labels."):
            if labels.setdefault(field.removeprefix("labels."), value) != value:
                faults.append(f"{field} is asked for twice, with different values")
        elif field == "state":
            if value not in set(OperationState):
                faults.append(f"{json.dumps(value)} is not a state: {', '.join(OperationState)}")
            states.append(value)
        elif field in FIELDS:
            if found.setdefault(field, value) != value:
                faults.append(f"{field} is asked for twice, with different values")
        else:
            faults.append(f"{field} can't be filtered by; {', '.join(FIELDS)} can")
    if len(set(states)) > 1:
        faults.append("state is asked for twice, with different values")
    if faults:
        raise _wrong(faults)
    return Where(
        states=tuple(states[:1]),
        definition=found.get("name"),
        key=found.get("key"),
        started_by=found.get("started_by"),
        labels=tuple(sorted(labels.items())),
    )


def _terms(text: str, faults: list[str]) -> list[tuple[str, str]]:
    terms: list[tuple[str, str]] = []
    position = 0
    while position < len(text.rstrip()):
        if terms:
            joint = AND.match(text, position)
            if joint is None:
                faults.append(f"at character {position + 1}: terms are joined by AND")
                return terms
            position = joint.end()
        term = TERM.match(text, position)
        if term is None:
            faults.append(f'at character {position + 1}: a term is written field = "value"')
            return terms
        try:
            value = json.loads(term["value"])
            # Half a surrogate pair can be said in JSON, and is no text that anything could have.
            value.encode()
        except ValueError:
            faults.append(f"at character {position + 1}: the value is not a JSON string")
            return terms
        terms.append((term["field"], value))
        position = term.end()
    return terms


def _wrong(faults: list[str]) -> InvalidArgument:
    return InvalidArgument([Violation("filter", fault, "BAD_FILTER") for fault in faults])
