"""How a command says a line, and how it ends."""

from __future__ import annotations

from typing import Final, NoReturn

import click

REFUSED: Final = 1
"""Exit code: the daemon can't start, or a history breaks the rules."""

WRONG_USAGE: Final = 2
"""Exit code: arguments, settings or a file that can't be used."""

UNKNOWN_KIND: Final = 3
"""Exit code: a history goes on in a way that this version doesn't know."""

STOPPED: Final = 4
"""Exit code: the daemon has stopped by itself, since its data can't be trusted any more; a start won't help."""


def say(line: str, err: bool = False) -> None:
    """Writes one line, and only one, whatever is in it: an export is somebody else's words."""
    from hmsactd.logs import printable

    click.echo(printable(line), err=err)


def end(code: int, *sentences: str) -> NoReturn:
    """Ends with a sentence on standard error, or several if there are several faults."""
    for sentence in sentences:
        say(f"hmsactd: {sentence}", err=True)
    raise SystemExit(code)
