"""hmsact complete."""

from __future__ import annotations

import click

from hmsact.commands.invocation import Invocation, global_options
from hmsact.commands.recorded import say_recorded
from hmsact.commands.said import not_empty
from hmsact.commands.start import read_json
from hmsact.duration import milliseconds
from hmsact.errors import InvalidArgument


@click.command()
@click.argument("completion_token", metavar="TOKEN")
@click.option("--output", "output_text", metavar="JSON|@FILE", help="Its output: JSON, or @ and a file; else null.")
@click.option("--error", callback=not_empty, metavar="TEXT", help="It has failed, for this reason.")
@click.option("--code", callback=not_empty, metavar="CODE", help="With --error: the reason for machines, UPPER_SNAKE.")
@click.option("--no-retry", is_flag=True, help="With --error: another attempt is of no use; the operation fails.")
@click.option(
    "--retry-after",
    callback=not_empty,
    metavar="TIME",
    help="With --error: how long to leave it alone; at most the step's longest retry delay.",
)
@click.option("--request-id", callback=not_empty, metavar="ID", help="Makes it safe to repeat.")
@global_options
@click.pass_obj
def complete(
    invocation: Invocation,
    completion_token: str,
    output_text: str | None,
    error: str | None,
    code: str | None,
    no_retry: bool,
    retry_after: str | None,
    request_id: str | None,
) -> None:
    """Say what came of a deferred step, with the token that it was deferred with.

    \b
    hmsact --token dev:svc/IRS complete done_kX2… --output '{"eligible": true}'
    hmsact --token dev:svc/IRS complete done_kX2… --error "the tape could not be read"
    """
    if error is None and (code or no_retry or retry_after):
        raise click.UsageError("--code, --no-retry and --retry-after belong to --error")
    if error is not None and output_text is not None:
        raise click.UsageError("a step has either an --output or an --error")
    output = read_json(output_text, "--output")
    if retry_after is not None:
        _check_length("--retry-after", retry_after)
    with invocation.orchestrator() as act:
        if error is None:
            completed = act.complete_step(completion_token, output, request_id=request_id)
        else:
            completed = act.fail_step(
                completion_token,
                error,
                retryable=not no_retry,
                code=code,
                retry_after=retry_after,
                request_id=request_id,
            )
        done = "step done" if error is None else "step failed"
        say_recorded(invocation, completed.operation_id, done, completed)


def _check_length(option: str, text: str) -> None:
    try:
        milliseconds(text)
    except InvalidArgument as error:
        raise click.UsageError(f"{option} {text} is not how long (30s, 5m, 2h)") from error
