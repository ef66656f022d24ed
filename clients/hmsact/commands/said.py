"""The callback of options that hold words: they may be left out, and not be empty."""

from __future__ import annotations

import click


def not_empty(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Returns what was said; raises UsageError if it is empty."""
    if value == "":
        # A variable of a script that is not set, most likely: it must not mean that nothing was said.
        raise click.UsageError(f"{option.opts[-1]} is empty", context)
    return value
