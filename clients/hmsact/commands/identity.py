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
        ("responsible", principal.responsible),
        ("on behalf of", principal.on_behalf_of),
        ("roles", ", ".join(principal.roles) or "none"),
        ("may", ", ".join(identity.permissions) or "nothing"),
    ]
    said = [fact for fact in facts if fact[1]]
    told = {"id": principal.id, **asdict(principal), "permissions": list(identity.permissions)}
    invocation.say(told, f"{heading(principal.id)}\n{columns(said, indent='  ')}")
