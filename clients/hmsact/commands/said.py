"""The type of options that hold words: they may be left out, and not be empty."""

from __future__ import annotations

from typing import Any

import click


class _Said(click.ParamType):
    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == "":
            # A variable of a script that is not set, most likely: it must not mean that nothing was said.
            option = param.opts[-1] if param is not None else "an option"
            raise click.UsageError(f"{option} is empty", ctx)
        return str(value)


SAID = _Said()
