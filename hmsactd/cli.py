"""The command line, `hmsactd`: its commands are in hmsactd.commands; what a daemon is made of is in hmsactd.daemon."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

import click

from hmsactd.commands.config import config
from hmsactd.commands.conformance import conformance
from hmsactd.commands.doctor import doctor
from hmsactd.commands.replay import replay
from hmsactd.commands.serve import serve
from hmsactd.commands.token import token

COMMANDS: Final = (serve, token, doctor, config, replay, conformance)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("hmsactd"), prog_name="hmsactd")
def main() -> None:
    """Operations orchestrator: it carries operations through services and people, and keeps a timeline."""


for command in COMMANDS:
    main.add_command(command)
