"""How the faults of a request are told: each on a line of its own, with its place."""

from __future__ import annotations

import click

from hmsact.errors import InvalidArgument
from hmsact.render import visible


def say_faults(error: InvalidArgument, what: str) -> None:
    """Prints every fault on standard error; `what` has them."""
    left_out = int(error.metadata.get("violations_left_out", "0"))
    faults = [visible(str(violation)) for violation in error.violations]
    if len(faults) + left_out == 1:
        click.echo(f"hmsact: {visible(what)} has a fault: {faults[0]}", err=True)
        return
    click.echo(f"hmsact: {visible(what)} has {len(faults) + left_out} faults:", err=True)
    for fault in faults:
        click.echo(f"  {fault}", err=True)
    if left_out:
        click.echo(f"  … and {left_out} more", err=True)
