"""What is wrong with a definition, and where."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""A place in a JSON document: names of fields and indices of lists, from the top."""

SHOWN_MAX = 64
"""Longer text is shown cut short, so that an answer is never larger than the question."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `pointer` (RFC 6901) is its place: that of the field itself, also where the field is missing."""

    pointer: str
    sentence: str
    code: str


class DefinitionFaults(Exception):
    """Raised for a definition that can't be used, with every fault it has."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{fault.pointer or 'the definition'}: {fault.sentence}" for fault in self.faults))


def pointer(path: Path) -> str:
    """The JSON pointer of a place; of the object, where the name of the field is too long to show."""
    if path and len(str(path[-1])) > SHOWN_MAX:
        path = path[:-1]
    return "".join("/" + _printable(str(part)).replace("~", "~0").replace("/", "~1") for part in path)


def shown(value: object) -> str:
    """The value as JSON, in short."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number as large as that"
    text = value if isinstance(value, str) else json.dumps(value)
    cut = text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"
    return json.dumps(_printable(cut), ensure_ascii=False) if isinstance(value, str) else cut


def _printable(text: str) -> str:
    """The text with half a surrogate pair, which JSON can say and UTF-8 cannot, written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
