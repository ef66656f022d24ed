"""Lengths of time as people write them: "500ms", "2m", "1h30m", "2d", or ISO 8601, "PT1H30M".

Whole numbers only, and no years or months, whose length nobody can tell without a calendar.
"""

from __future__ import annotations

import re
import string

from hmsactd.definition.fault import shown

UNITS_MS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
"""The units in the order in which they are written."""

TEXT_MAX = 64

_SHORT = re.compile(r"([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?")
_ISO = re.compile(r"P([0-9]+W)?([0-9]+D)?(?:T(?=[0-9])([0-9]+H)?([0-9]+M)?([0-9]+S)?)?")
_PART = re.compile(r"([0-9]+)([^0-9]*)")

_SUCH_AS = 'write a whole number and a unit, such as "500ms", "2m", "1h30m" or "2d"'


class DurationFault(ValueError):
    """Raised for text that is no length of time; says what is wrong and how to write it."""


def parse(text: str) -> int:
    """The length of time in milliseconds; at least 1, however long."""
    match = _SHORT.fullmatch(text) or _ISO.fullmatch(text)
    parts = [part for part in match.groups() if part] if match is not None and len(text) <= TEXT_MAX else []
    if not parts:
        raise DurationFault(_fault(text))
    span_ms = sum(int(number) * UNITS_MS[unit.lower()] for number, unit in map(_split, parts))
    if span_ms == 0:
        raise DurationFault(f'"{text}" is no time at all: the shortest is "1ms"')
    return span_ms


def spell(span_ms: int) -> str:
    """The same length of time as people write it, in days and less: `parse(spell(span_ms)) == span_ms`.

    What is left of a budget can be nothing, "0s", or less, "-2m".
    """
    sign, rest_ms = ("-", -span_ms) if span_ms < 0 else ("", span_ms)
    parts: list[str] = []
    for unit, unit_ms in UNITS_MS.items():
        if unit != "w":
            count, rest_ms = divmod(rest_ms, unit_ms)
            parts += [f"{count}{unit}"] if count else []
    return sign + ("".join(parts) or "0s")


def _split(part: str) -> tuple[str, str]:
    number = part.rstrip(string.ascii_letters)
    return number, part[len(number) :]


def _fault(text: str) -> str:
    """Why the text is no length of time, in a sentence."""
    if not text:
        return f"a length of time is empty: {_SUCH_AS}"
    if len(text) > TEXT_MAX:
        return f"a length of time has {len(text)} characters, more than {TEXT_MAX}: {_SUCH_AS}"
    said = shown(text)
    if text.startswith("-"):
        return f"{said} is negative: {_SUCH_AS}"
    if any(character.isspace() for character in text):
        return f"{said} has a space in it: {_SUCH_AS}"
    if re.search(r"[0-9][.,][0-9]", text):
        return f"{said} has a fraction: use a smaller unit, such as 1h30m for an hour and a half"
    if text.startswith("P"):
        return _iso_fault(text, said)
    if re.fullmatch(r"[0-9]+", text):
        return f'{said} has no unit: write "{text}s" for seconds or "{text}m" for minutes'
    units = [unit for _, unit in _PART.findall(text)]
    if not re.fullmatch(r"([0-9]+[^0-9]+)+", text):
        return f"{said} is not a length of time: {_SUCH_AS}"
    unknown = [unit for unit in units if unit not in UNITS_MS]
    if unknown:
        return f"{said} has a unit that is not known: the units are w, d, h, m, s and ms"
    if len(set(units)) < len(units):
        return f"{said} has a unit twice: name each once"
    return f"{said} has its units out of order: the longest comes first, as in 1h30m"


def _iso_fault(text: str, said: str) -> str:
    date, _, _ = text.partition("T")
    if "Y" in date or "M" in date:
        return f'{said} has years or months, which differ in length: write days, such as "P30D"'
    return f'{said} is not a length of time in ISO 8601: write it like "P2DT1H30M5S", in whole numbers'
