"""`hmsactd conformance`: whether an agency's worker or service does what is asked of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hmsactd.commands.ending import REFUSED, WRONG_USAGE, end, say
from hmsactd.errors import StartRefused

if TYPE_CHECKING:
    from hmsactd.conformance.check import Result

PEM: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--worker", "svc", metavar="NAME", help="Check the worker of this service; otherwise ADDRESS is checked.")
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:7400", show_default=True, help="Where it connects.")
@click.option("--wait", "wait_s", metavar="SECONDS", default=300.0, help="How long the worker may take to connect.")
@click.option("--svc", "called_svc", metavar="NAME", default="Agency", help="The service that ADDRESS is called as.")
@click.option("--secret", metavar="SECRET", envvar="HMSACT_CONFORMANCE_SECRET", help="Signs what ADDRESS is sent.")
@click.option("--ca", "authorities", type=PEM, metavar="FILE", help="Authorities that vouch for ADDRESS, PEM.")
@click.option("--certificate", type=PEM, metavar="FILE", help="The certificate that ADDRESS is shown, PEM.")
@click.option("--key", type=PEM, metavar="FILE", help="Its key, PEM; the certificate's file may hold it.")
@click.option("--only", "names", metavar="CHECK", multiple=True, help="Only this check; may be given several times.")
@click.option("--patience", "patience_s", metavar="SECONDS", default=15.0, help="How long any answer may take.")
@click.option(
    "--grace", "grace_s", metavar="SECONDS", default=10.0, help="How long a worker may be away and keep its calls."
)
@click.option("--json", "is_json", is_flag=True, help="Print the results as JSON, at the end.")
@click.argument("arguments", nargs=-1, metavar="[ADDRESS | -- COMMAND...]")
def conformance(
    svc: str | None, arguments: tuple[str, ...], names: tuple[str, ...], is_json: bool, **others: Any
) -> None:
    """Check an agency's worker, or a service that the daemon calls: docs/implementing.md says what is asked for.

    With --worker, a test build of the worker connects to a daemon of the check's own. Start it with the address and the
    token that this prints, or let this start it: COMMAND gets them as HMSACT_ADDRESS and HMSACT_TOKEN, and is checked
    for leaving in order, too. ADDRESS is that of a called service, as in the settings:
    https://HOST/PATH or grpcs://HOST:PORT, http or grpc for one on this machine. Exits with 1 if a check failed.
    """
    from hmsactd import logs
    from hmsactd.conformance import report, service, worker

    if svc is None and len(arguments) != 1:
        end(WRONG_USAGE, "say what is to be checked: --worker NAME, or the address of one service")
    known = service.names_of(arguments[0]) if svc is None else [check.name for check in worker.CHECKS]
    if unknown := sorted(set(names) - set(known)):
        end(WRONG_USAGE, f"there is no check called {', '.join(unknown)}; there are {', '.join(known)}")
    logs.configure("error", "console")

    def tell(result: Result) -> None:
        for line in report.lines(result) if not is_json else ():
            say(line)
        sys.stdout.flush()

    if svc is None:
        results = _check_service(arguments[0], names, tell, **others)
    else:
        results = _check_worker(svc, arguments, names, tell, **others)
    subject = f"worker {svc}" if svc is not None else arguments[0]
    click.echo(report.as_json(subject, results) if is_json else report.summary(results))
    raise SystemExit(0 if report.passed(results) else REFUSED)


def _check_worker(
    svc: str,
    command: tuple[str, ...],
    names: tuple[str, ...],
    tell: Callable[[Result], None],
    *,
    listen: str,
    wait_s: float,
    patience_s: float,
    grace_s: float,
    **_: Any,
) -> list[Result]:
    import anyio

    from hmsactd.conformance.worker import Plan, play

    # As Ctrl-C does: the worker is ended and the data are removed.
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))

    def ready(address: str) -> None:
        say(f"Waiting for a worker of {svc} at {address} (token dev:svc/{svc})", err=True)

    try:
        return anyio.run(play, Plan(svc, listen, names, command, wait_s, patience_s, grace_s), ready, tell)
    except* StartRefused as refused:
        end(REFUSED, *(str(error) for error in refused.exceptions))
    except* BrokenPipeError:
        # Whoever read our output has had enough. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # Unlike a list that is cut off, a worker that was not checked to the end has not passed.
        end(REFUSED)


def _check_service(
    address: str,
    names: tuple[str, ...],
    tell: Callable[[Result], None],
    *,
    called_svc: str,
    secret: str | None,
    authorities: Path | None,
    certificate: Path | None,
    key: Path | None,
    patience_s: float,
    **_: Any,
) -> list[Result]:
    import anyio

    from hmsactd.conformance.service import ServicePlan, play_service
    from hmsactd.conformance.target import target_of

    faults: list[str] = []
    target = target_of(address, called_svc, secret, authorities, certificate, key, faults)
    if target is None:
        end(WRONG_USAGE, *faults)
    return anyio.run(play_service, ServicePlan(target, names, patience_s), tell)
