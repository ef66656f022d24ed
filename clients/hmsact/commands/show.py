"""How values look on a terminal: columns, times, JSON, colours."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from hmsact.duration import text_of
from hmsact.render import visible

_COLOURS = {
    "running": "blue",
    "retrying": "yellow",
    "waiting": "cyan",
    "pending": "cyan",
    "paused": "yellow",
    "stalled": "red",
    "completed": "green",
    "done": "green",
    "approved": "green",
    "rejected": "red",
    "failed": "red",
    "cancelled": "magenta",
    "ahead": "bright_black",
}


def is_colourful() -> bool:
    """True if the output is a terminal that wants colours (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def columns(rows: Iterable[Sequence[str]], *, indent: str = "") -> str:
    """Rows in aligned columns, two blanks apart. Words for states are coloured where colours are wanted."""
    lines = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_row(cells, widths, indent) for cells in lines)


def _row(cells: Sequence[str], widths: Sequence[int], indent: str) -> str:
    padded = [state(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return (indent + "  ".join(padded)).rstrip()


def state(word: str, width: int = 0) -> str:
    """The word, padded, in its colour if it is that of a state."""
    colour = _COLOURS.get(word) if is_colourful() else None
    padded = word.ljust(width)
    return click.style(padded, fg=colour) if colour else padded


def heading(text: str) -> str:
    """Text that stands out."""
    return click.style(text, bold=True) if is_colourful() else text


def local(time: datetime | None) -> str:
    """The time on this machine's clock, with the date unless it is today; empty for none."""
    if time is None:
        return ""
    here, today = time.astimezone(), datetime.now().astimezone().date()
    return here.strftime("%H:%M:%S" if here.date() == today else "%Y-%m-%d %H:%M:%S")


def ago(time: datetime | None) -> str:
    """How long ago it was, roughly: the two largest units; empty for none."""
    if time is None:
        return ""
    seconds = max(int((datetime.now(UTC) - time).total_seconds()), 0)
    for unit_s, rest_s in ((86_400, 3600), (3600, 60), (60, 1)):
        if seconds >= unit_s:
            seconds -= seconds % rest_s
            break
    return text_of(timedelta(seconds=seconds) // timedelta(milliseconds=1))


def json_block(value: Any, indent: str = "  ") -> str:
    """The value as indented JSON, harmless to a terminal."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return "\n".join(indent + visible(line) for line in text.split("\n"))
