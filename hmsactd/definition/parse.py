"""JSON text to values, without the lenience of parsers: UTF-8 only, no field twice, no NaN, no bottomless nesting."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn

from hmsactd.definition.bounds import Bounds
from hmsactd.definition.fault import DefinitionFaults, Fault, Path, pointer, shown

SAFE_INTEGER = 2**53 - 1
"""Larger ones are not the same number to every reader of JSON (RFC 8785)."""


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its fields were said more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]


def parse(text: bytes, bounds: Bounds) -> tuple[Any, list[Fault]]:
    """The value, and the fields that are said twice in it. Raises `DefinitionFaults` for what is no JSON at all."""
    if len(text) > bounds.definition_max_bytes:
        _refuse("TOO_LARGE", f"the text has {len(text)} bytes, more than {bounds.definition_max_bytes}")
    try:
        # Some editors begin a file with a byte order mark; it says nothing here.
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        _refuse("NOT_UTF8", f"the text is not UTF-8: byte {fault.start} can't be read")
    try:
        value = json.loads(
            decoded,
            object_pairs_hook=_Object,
            parse_int=_number,
            parse_float=_number,
            parse_constant=_no_number,
        )
    except json.JSONDecodeError as fault:
        _refuse("NOT_JSON", f"the text is not JSON at line {fault.lineno}, column {fault.colno}: {fault.msg}")
    except _NoNumber as fault:
        _refuse("NOT_JSON", f"the text is not JSON: {fault} is not a number there")
    except RecursionError:
        _refuse("TOO_DEEP", f"the text is nested deeper than {bounds.depth_max} levels")
    return value, list(_said_twice(value, bounds.depth_max))


class _NoNumber(Exception):
    """Raised for NaN and the infinities, which Python reads and JSON has not."""


def _no_number(constant: str) -> NoReturn:
    raise _NoNumber(constant)


def _number(text: str) -> int | float:
    """A whole number as such however it was written, 3, 3.0 or 3e0; one that is not safe as a float."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) <= SAFE_INTEGER else number


def _said_twice(value: Any, depth_max: int) -> Iterator[Fault]:
    """Walk all objects and lists, without recursion; the walk ends where the nesting is too deep."""
    waiting: list[tuple[Path, Any]] = [((), value)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict | list) and len(path) >= depth_max:
            _refuse("TOO_DEEP", f"the text is nested deeper than {depth_max} levels")
        if isinstance(value, _Object):
            for name in value.twice:
                yield Fault(pointer((*path, name)), f"{shown(name)} is said more than once", "SAID_TWICE")
            waiting += [((*path, name), child) for name, child in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, index), child) for index, child in enumerate(value)]


def _refuse(code: str, sentence: str) -> NoReturn:
    raise DefinitionFaults([Fault("", sentence, code)])
