"""`hmsactd serve`: the daemon, until it is told to stop."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING

import click

from hmsactd.commands.ending import REFUSED, STOPPED, end
from hmsactd.commands.settings import settings_options
from hmsactd.errors import StartRefused, Stopped

if TYPE_CHECKING:
    from hmsactd.daemon import Running
    from hmsactd.settings.settings import Settings


@click.command()
@settings_options
@click.option("--ready-json", is_flag=True, help="Print one line of JSON with the addresses when ready.")
@click.option(
    "--accept-rollback", is_flag=True, help="Go on from data that are older than the last outside seal. Say it once."
)
def serve(settings: Settings, ready_json: bool, accept_rollback: bool) -> None:
    """Run the daemon until SIGTERM."""
    from hmsactd import logs
    from hmsactd.daemon import run

    logs.configure(settings.log.level, settings.log.format)

    def ready(running: Running) -> None:
        if ready_json:
            addresses = {"grpc": str(running.grpc), "http": str(running.http)}
            if running.mutual is not None:
                addresses["mutual"] = str(running.mutual)
            click.echo(json.dumps(addresses | {"log": running.log, "key": running.verifier_key}))
        elif sys.stdout.isatty():
            click.echo("\n".join(_banner(settings, running)))
        # Whoever started us may wait for this line through a pipe.
        sys.stdout.flush()

    try:
        run(settings, ready, is_rollback_accepted=accept_rollback)
    except StartRefused as refused:
        end(REFUSED, str(refused))
    except Stopped as stopped:
        end(STOPPED, str(stopped))


def _banner(settings: Settings, running: Running) -> Iterator[str]:
    """What a person wants to know who has just started a daemon."""
    kept = (
        "in memory: gone when it stops" if settings.data.store == "memory" else str(settings.data.directory.resolve())
    )
    yield f"hmsactd {version('hmsactd')} is ready"
    yield f"  gRPC   {running.grpc}"
    if running.mutual is not None:
        yield f"         {running.mutual}, with client certificates"
    yield f"  HTTP   {'https' if settings.http.certificate_file else 'http'}://{running.http}/metrics"
    yield f"  data   {kept}"
    yield f"  log    {running.log}"
    yield f"  key    {running.verifier_key}"
    if settings.dev:
        yield "Development: no token is developer; HMSACT_TOKEN=dev:jdavis@fsa.gov is an officer."
        yield f"  HMSACT_ADDRESS={running.grpc} hmsact whoami"
    elif not settings.identity.lets_somebody_in:
        yield "No way of signing in is configured: every request will be refused. See [identity], or try --dev."
