"""What the daemon says of itself: lines on standard error, in one shape whoever writes them.

Ours go through structlog, those of libraries through `logging`; both end in the same formatter. Events of operations
are on the timeline and not here: at the default level there is no line for one.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Format = Literal["auto", "json", "console"]

LIBRARY_LEVELS = {
    "uvicorn": logging.WARNING,
    "asyncio": logging.WARNING,
    "aiosqlite": logging.INFO,
    "httpcore2": logging.INFO,
}
"""The least important lines of libraries that are heard. Uvicorn tells of its start and stop, which is ours to do."""

GRPC = "grpc._cython.cygrpc"

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What could begin a new line, drive a terminal, or turn the reading order round, in words that a caller chose."""


def configure(level: str, format: Format, stream: TextIO | None = None) -> None:  # noqa: A002 -- as in the settings
    """Sets up all logging of the process. Called once, by the command line."""
    out = stream if stream is not None else sys.stderr
    is_console = format == "console" or (format == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(is_console, out)],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger(GRPC).addFilter(is_worth_a_line)
    for name, least in LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(max(least, root.level))


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """False for what gRPC calls an error whenever a connection is cut just before it answers a call."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "ExecuteBatchError"


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module."""
    found: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return found


def escape(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Writes control characters in a line's values as escapes: nobody forges a line by an operation's name."""
    return {
        name: (_traceback(value) if name == "exception" else printable(value)) if isinstance(value, str) else value
        for name, value in line.items()
    }


def printable(text: str) -> str:
    """The text with control characters written as escapes."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _traceback(text: str) -> str:
    """A traceback keeps its lines, but none of them can pass for a line of the log."""
    return "\n".join("  | " + printable(line) for line in text.split("\n"))


def _rendering(is_console: bool, out: TextIO) -> list[Processor]:
    if is_console:
        console = structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
        return [structlog.processors.format_exc_info, escape, console]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(default=str, ensure_ascii=True),
    ]
