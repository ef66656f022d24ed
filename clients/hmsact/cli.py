"""The command line, `hmsact`: its commands, and what becomes of errors. The commands are in hmsact.commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

import hmsact
from hmsact.commands.faults import say_faults
from hmsact.commands.invocation import Invocation, global_options, silence_output
from hmsact.errors import HmsactError, InvalidArgument
from hmsact.render import visible

REFUSED = 1
"""Exit code: the daemon has refused, or could not be asked."""

WRONG_USAGE = 2
"""Exit code: the command makes no sense as it was written."""

INTERRUPTED = 130
"""Exit code: somebody pressed Ctrl-C (128 and the number of the signal)."""


# In the order in which one meets them; each is loaded when it is called, since not all of them need cryptography.
_COMMANDS = {
    "start": "start.start",
    "start-many": "start_many.start_many",
    "list": "find.list_operations",
    "get": "find.get",
    "events": "follow.events",
    "timeline": "follow.timeline",
    "why": "why.why",
    "watch": "watch.watch",
    "pause": "steer.pause",
    "resume": "steer.resume",
    "cancel": "steer.cancel",
    "retry": "steer.retry",
    "skip": "steer.skip",
    "bulk": "bulk.bulk",
    "jobs": "jobs.jobs",
    "job": "jobs.job",
    "complete": "complete.complete",
    "inbox": "decide.inbox",
    "claim": "decide.claim",
    "assign": "decide.assign",
    "release": "decide.release",
    "approve": "decide.approve",
    "reject": "decide.reject",
    "export": "evidence.export",
    "verify": "evidence.verify",
    "login": "login.login",
    "logout": "login.logout",
    "whoami": "identity.whoami",
}


class _Commands(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # Click would look only among those that are loaded already.
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            close = get_close_matches(args[0], _COMMANDS)
            meant = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
            ctx.fail(f"No such command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(".")
        command: click.Command = getattr(import_module(f"hmsact.commands.{module}"), name)
        return command


_EXIT_CODES = """\b
Exit codes:
  0    done; of verify: verified
  1    refused, or the daemon could not be asked; of verify: tampered with
  2    wrong usage
  3    of verify: the evidence asked for is missing
  130  Ctrl-C"""


@click.group(
    cls=_Commands,
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(hmsact.__version__, prog_name="hmsact")
@global_options
@click.pass_context
def commands(context: click.Context) -> None:
    """Start operations, watch them, decide, and prove what has happened.

    OP is an operation's id, or any part of it that no other id has.
    """
    context.ensure_object(Invocation)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and ends the process with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs a command; returns its exit code. Errors are one line on standard error."""
    try:
        told: Any = commands.main(args=list(arguments), prog_name="hmsact", standalone_mode=False)
    except InvalidArgument as error:
        if len(error.violations) < 2 and "violations_left_out" not in error.metadata:
            return _say("hmsact", str(error), REFUSED)
        say_faults(error, "the request")
        return REFUSED
    except HmsactError as error:
        how = " (as a person: `hmsact login`)" if error.reason == "TOKEN_MISSING" else ""
        return _say("hmsact", f"{error}{how}", REFUSED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return WRONG_USAGE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "hmsact"
        return _say(path, f"{error.format_message()} (see {path} --help)", WRONG_USAGE)
    except click.ClickException as error:
        return _say("hmsact", error.format_message(), REFUSED)
    except (KeyboardInterrupt, click.Abort):
        click.echo("", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        silence_output()
        return 0
    return told if isinstance(told, int) else 0


def _say(who: str, sentence: str, code: int) -> int:
    click.echo(f"{who}: {visible(sentence)}", err=True)
    return code
