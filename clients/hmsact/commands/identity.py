"""hmsact whoami."""

from __future__ import annotations

from dataclasses import asdict

import click

from hmsact.commands.invocation import Invocation, global_options
from hmsact.commands.show import columns, heading


@click.command()
@global_options
@click.pass_obj
def whoami(invocation: Invocation) -> None:
    """Show who you are to the daemon, and what you may do."""
    with invocation.orchestrator() as act:
        identity = act.whoami()
    principal = identity.principal
    facts = [
        ("kind", principal.kind),
        ("roles", ", ".join(principal.roles) or "none"),
        ("may", ", ".join(identity.permissions) or "nothing"),
    ]
    if principal.responsible:
        facts.insert(1, ("responsible", principal.responsible))
    told = {"id": principal.id, **asdict(principal), "permissions": list(identity.permissions)}
    invocation.say(told, f"{heading(principal.id)}\n{columns(facts, indent='  ')}")
