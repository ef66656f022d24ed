"""What every command is told: which daemon, who is calling, and whether the answer is for a program."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from hmsact.client import Orchestrator
from hmsact.connect import ADDRESS
from hmsact.signed_in import SignIns

# What gRPC calls a target may stand there, too: a socket of this machine, or a resolver and its name.
_ADDRESS = re.compile(r"unix(-abstract)?:.+|(dns:///|ipv4:|ipv6:)?[^\s/]+:[0-9]{1,5}")

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(slots=True)
class Invocation:
    """The global options, wherever they stood; what is None comes from the environment, or is the default."""

    json: bool = False
    address: str | None = None
    token: str | None = None
    namespace: str | None = None
    on_behalf_of: str | None = None

    @property
    def reached(self) -> str:
        """Where the daemon is; raises UsageError for what is no address."""
        address = self.address or os.environ.get("HMSACT_ADDRESS") or ADDRESS
        if not _ADDRESS.fullmatch(address):
            raise click.UsageError(f"the address {address} is not written HOST:PORT")
        return address

    @contextmanager
    def orchestrator(self) -> Iterator[Orchestrator]:
        """A client of the daemon, while a command needs it: as the token says, else as whoever has signed in there."""
        address, token, person = self.reached, self.token, self._person()
        if token is None and "HMSACT_TOKEN" not in os.environ:
            token = SignIns.of_user().token_for(address)
        with Orchestrator(address, token=token, namespace=self.namespace) as act:
            yield act if person is None else act.on_behalf_of(person)

    def _person(self) -> str | None:
        """The token of whom the caller acts for. It is in a file or the environment: arguments are shown by `ps`."""
        if self.on_behalf_of is None:
            return os.environ.get("HMSACT_ON_BEHALF_OF") or None
        try:
            with click.open_file(self.on_behalf_of) as file:
                return str(file.read()).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{self.on_behalf_of} can't be read: {error}") from error

    def say(self, value: Any, text: str) -> None:
        """Prints the value as one line of JSON, or the text, whichever was asked for."""
        click.echo(json.dumps(value, ensure_ascii=False) if self.json else text)


def global_options(command: Command) -> Command:
    """Adds the global options, which may stand before the command or after it."""
    for option in (
        click.option(
            "--namespace", metavar="NAME", help="Where to work [HMSACT_NAMESPACE, else default].", **_REMEMBERED
        ),
        click.option(
            "--on-behalf-of",
            metavar="FILE",
            help="For programs: the token of the person you act for [HMSACT_ON_BEHALF_OF, else for nobody].",
            **_REMEMBERED,
        ),
        click.option(
            "--token",
            metavar="TOKEN",
            help="Who is calling [HMSACT_TOKEN, else whoever has signed in, else none].",
            **_REMEMBERED,
        ),
        click.option(
            "--address", metavar="HOST:PORT", help=f"The daemon [HMSACT_ADDRESS, else {ADDRESS}].", **_REMEMBERED
        ),
        click.option("--json", is_flag=True, default=None, help="Answer in JSON, for programs.", **_REMEMBERED),
    ):
        command = option(command)
    return command


def silence_output() -> None:
    """Whoever read standard output has had enough: Python would complain once more when it flushes at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    invocation = context.ensure_object(Invocation)
    if value is not None and option.name is not None:
        setattr(invocation, option.name, value)


_REMEMBERED: dict[str, Any] = {"expose_value": False, "callback": _remember}
