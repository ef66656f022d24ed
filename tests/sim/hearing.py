"""Hears what the daemon logs: what it calls an error is one, unless it speaks of a fault that the simulation made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

EXPECTED = ("the store can't be written", "the clock is behind the last record")
"""How lines begin that speak of what the simulation did."""

BAD = frozenset(("error", "exception", "critical"))


@contextmanager
def heard(note: Callable[[str], None], say: Callable[[str], None] | None) -> Iterator[None]:
    """Every line goes to `say`, if there is one; errors that nobody expects are noted."""
    before = structlog.get_config()

    def hear(_logger: WrappedLogger, level: str, line: EventDict) -> EventDict:
        event = str(line.get("event"))
        if level in BAD and not event.startswith(EXPECTED):
            told = structlog.processors.format_exc_info(_logger, level, dict(line))
            note(f"the daemon logs: {told}")
        if say is not None:
            say(f"log {level}: {line}")
        raise structlog.DropEvent

    structlog.configure(processors=[hear], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)


def of_loop(note: Callable[[str], None]) -> Callable[[Any, dict[str, Any]], None]:
    """What asyncio has to complain about: tasks that were forgotten, errors that nobody looked at."""

    def hear(_: Any, context: dict[str, Any]) -> None:
        whose = context.get("task") or context.get("future") or ""
        note(f"asyncio says: {context.get('message')} {context.get('exception')!r} {whose}")

    return hear
