"""The command line: `hmsactd serve`, `token`, `doctor`, `config`, `replay`, `conformance`.

Arguments, file and environment become settings here; what a daemon is made of is in hmsactd.daemon.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial, wraps
from importlib.metadata import version
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from hmsactd.errors import SettingsRefused, StartRefused, Stopped

if TYPE_CHECKING:
    from hmsactd.conformance.check import Result
    from hmsactd.core.events import Event
    from hmsactd.core.operation import Operation
    from hmsactd.daemon import Running
    from hmsactd.doctor.finding import Finding
    from hmsactd.identity.api_tokens import TokenFile
    from hmsactd.settings.settings import Settings

T = TypeVar("T")

TOKEN_DAYS_MAX = 366
"""A token that lasts longer is forgotten where it lies."""

REFUSED = 1
"""Exit code: the daemon can't start, or a history breaks the rules."""

WRONG_USAGE = 2
"""Exit code: arguments, settings or a file that can't be used."""

UNKNOWN_KIND = 3
"""Exit code: a history goes on in a way that this version doesn't know."""


STOPPED = 4
"""Exit code: the daemon has stopped by itself, since its data can't be trusted any more; a start won't help."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("hmsactd"), prog_name="hmsactd")
def main() -> None:
    """Operations orchestrator: it carries operations through services and people, and keeps a timeline."""


def _as_wrong_usage(refused: SettingsRefused, **_others: Any) -> NoReturn:
    _end(WRONG_USAGE, *refused.faults)


def settings_options(
    command: Callable[..., None], refused: Callable[..., NoReturn] = _as_wrong_usage
) -> Callable[..., None]:
    """The options by which settings are told; the command gets them as Settings, `refused` what is wrong with them."""

    @click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Settings, in TOML.")
    @click.option("--data", metavar="DIR", help="Where the database and the keys are.")
    @click.option("--grpc", metavar="HOST:PORT", help="Where clients and workers connect.")
    @click.option("--http", metavar="HOST:PORT", help="Where /metrics, /healthz and /readyz are.")
    @click.option("--dev", is_flag=True, default=None, help="Development: anybody on this machine is let in.")
    @click.option("--test-clock", is_flag=True, default=None, hidden=True, help="A clock that tests can move.")
    @click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
    @wraps(command)
    def told(
        config: Path | None,
        data: str | None,
        grpc: str | None,
        http: str | None,
        dev: bool | None,
        test_clock: bool | None,
        log_level: str | None,
        **others: Any,
    ) -> None:
        from hmsactd.settings.load import load

        flags = {
            "data": {"directory": data},
            "grpc": {"listen": grpc},
            "http": {"listen": http},
            "log": {"level": log_level},
            "dev": dev,
            "test_clock": test_clock,
        }
        try:
            settings = load(config, _said(flags))
        except SettingsRefused as faulty:
            refused(faulty, **others)
        command(settings=settings, **others)

    return told


# -- serve -------------------------------------------------------------------------------------------------------------


@main.command()
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
        _end(REFUSED, str(refused))
    except Stopped as stopped:
        _end(STOPPED, str(stopped))


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


# -- token -------------------------------------------------------------------------------------------------------------


@main.group()
def token() -> None:
    """API tokens for programs: make them, list them, end them. The daemon may run meanwhile."""


@token.command("create")
@click.argument("workload")
@click.option(
    "--days", type=click.IntRange(1, TOKEN_DAYS_MAX), default=90, show_default=True, help="How long it lasts."
)
@click.option("--note", default="", metavar="TEXT", help="What it is for, such as the host that has it.")
@settings_options
def token_create(settings: Settings, workload: str, days: int, note: str) -> None:
    """Make a token for a WORKLOAD of the settings, and print it: it is shown this once, and kept nowhere."""
    from hmsactd.identity.api_token import fresh

    if workload not in settings.identity.workloads:
        known = ", ".join(settings.identity.workloads) or "none"
        _end(WRONG_USAGE, f"{workload}: the settings have no such workload ([identity.workloads]); there are: {known}")
    text, made = fresh(workload, days, note)
    _with_tokens(settings, lambda file: file.add(made))
    click.echo(text)
    click.echo(f"{made.id} for {workload}, until {_day(made.expires_at)}. It is not shown again.", err=True)


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@settings_options
def token_list(settings: Settings, as_json: bool) -> None:
    """List all tokens, ended ones too, without what they are."""
    from hmsactd.identity.api_token import standing

    found = _with_tokens(settings, lambda file: file.tokens())
    if as_json:
        told = [
            {name: value for name, value in asdict(each).items() if name != "digest"} | {"state": standing(each)}
            for each in found
        ]
        click.echo(json.dumps({"tokens": told}, indent=1))
        return
    for each in found:
        _say(f"{each.id}  {standing(each):8}  until {_day(each.expires_at)}  {each.principal}  {each.note}".rstrip())


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@settings_options
def token_revoke(settings: Settings, token_id: str) -> None:
    """End a token. A daemon that runs knows within two seconds, and ends the streams that were opened with it."""
    from hmsactd.clock import real_time

    ended = _with_tokens(settings, lambda file: file.revoke(token_id, real_time()))
    _say(f"{ended.id} of {ended.principal} lets nobody in any more")


def _with_tokens(settings: Settings, work: Callable[[TokenFile], T]) -> T:
    from hmsactd.identity.api_tokens import TokenFile, TokensRefused

    directory = settings.data.directory
    if not directory.is_dir():
        _end(REFUSED, f"{directory} is no data directory yet: start the daemon once, or say another with --data")
    try:
        return work(TokenFile(directory))
    except TokensRefused as refused:
        _end(REFUSED, str(refused))


def _day(at: int) -> str:
    return datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")


# -- doctor ------------------------------------------------------------------------------------------------------------


def _as_a_finding(refused: SettingsRefused, as_json: bool = False, **_others: Any) -> NoReturn:
    """Settings that can't be used are the first thing that a doctor finds, and the last that can be looked at."""
    from hmsactd.doctor.finding import fail

    _tell_findings((fail("settings", fault) for fault in refused.faults), as_json)


@main.command()
@partial(settings_options, refused=_as_a_finding)
@click.option("--full", is_flag=True, help="Read the whole log: every page, record and seal. Takes a minute a GB.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(settings: Settings, full: bool, as_json: bool) -> None:
    """Look at settings, keys, clock, disk, schema and seals, and say what to do. Changes nothing.

    Give it the settings of the daemon, which may run meanwhile. Exits with 1 if something is a FAIL.
    """
    import asyncio

    from hmsactd.doctor.examine import examine

    async def collect() -> list[Finding]:
        return [finding async for finding in examine(settings, is_full=full)]

    _tell_findings(asyncio.run(collect()), as_json)


def _tell_findings(findings: Iterable[Finding], as_json: bool) -> NoReturn:
    from hmsactd.doctor.finding import Level

    found = list(findings)
    is_well = all(finding.level is not Level.FAIL for finding in found)
    if as_json:
        told = [{"check": each.about, "result": each.level.value, "sentence": each.sentence} for each in found]
        click.echo(json.dumps({"ok": is_well, "findings": told}, indent=1))
    else:
        for finding in found:
            _say(str(finding))
    raise SystemExit(0 if is_well else REFUSED)


# -- config ------------------------------------------------------------------------------------------------------------


@main.command()
@settings_options
@click.option("--explain", is_flag=True, help="With the manual of each setting.")
def config(settings: Settings, explain: bool) -> None:
    """Print the effective settings as a settings file, secrets masked."""
    click.echo("\n".join(_toml(settings, explain)))


def _toml(settings: Settings, explain: bool) -> Iterator[str]:
    """The settings as TOML."""
    return _table((), settings, settings.model_dump(mode="json"), explain)


def _table(path: tuple[str, ...], part: Any, told: Mapping[str, Any], explain: bool) -> Iterator[str]:
    """A part of the settings: what belongs to no table within it first."""
    # A table whose keys the operator chooses has no fields, and nothing to say of them.
    fields = {} if isinstance(part, Mapping) else type(part).model_fields
    for name, value in told.items():
        if not isinstance(value, dict):
            yield from _comment(fields[name].description if fields else None, explain)
            yield _entry(name, value)
    for name, value in told.items():
        if isinstance(value, dict):
            inner = getattr(part, name) if fields else part[name]
            yield ""
            yield from _comment((fields[name].description or type(inner).__doc__) if fields else None, explain)
            yield f"[{'.'.join(map(_key, (*path, name)))}]"
            yield from _table((*path, name), inner, value, explain)


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() and name.isascii() else _quoted(name)


def _entry(name: str, value: object) -> str:
    # What is not said has no spelling in TOML.
    key = _key(name)
    if value is None:
        return f"# {key} ="
    return f"{key} = {_quoted(value) if isinstance(value, str) else json.dumps(value)}"


def _quoted(text: str) -> str:
    # JSON's strings are TOML's, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str | None, explain: bool) -> Iterator[str]:
    for line in wrap(" ".join((text or "").split()), 100) if explain else ():
        yield f"# {line}"


# -- replay ------------------------------------------------------------------------------------------------------------


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def replay(file: Path) -> None:
    """Replay an export: tell what happened, where the operation stands, and whether the rules allow it.

    Takes the records as they are: `hmsact verify` proves that they are the daemon's own. Exits with 1 if an event
    breaks the rules (the first is named), with 3 if there is one of a kind that this version doesn't know.
    """
    from hmsactd.core.apply import apply
    from hmsactd.core.legality import first_illegal

    records = _records(file)
    history = [event for _, event in records if event is not None]
    unknown = next((sequence for sequence, (_, event) in enumerate(records, 1) if event is None), None)
    known = history if unknown is None else history[: unknown - 1]
    illegal = first_illegal(known, is_whole=unknown is None)
    until = illegal.sequence - 1 if illegal is not None else len(known)
    operation: Operation | None = None
    for sequence, (record, event) in enumerate(records[:until], 1):
        assert event is not None
        operation = apply(operation, event)
        _say(_told(sequence, record, event))
    for line in _standing(operation) if operation is not None else ():
        _say(line)
    if illegal is not None:
        _end(REFUSED, f"event {illegal.sequence} breaks the rules: {illegal.sentence}")
    if unknown is not None:
        _end(UNKNOWN_KIND, f"event {unknown} is a {records[unknown - 1][0]['kind']}, which this version doesn't know")
    click.echo(f"{len(records)} events, all by the rules. Whether they are the daemon's own: hmsact verify {file}")


def _records(file: Path) -> list[tuple[dict[str, Any], Event | None]]:
    """The records of an export, each with its event, None for a kind that isn't known."""
    from hmsactd.timeline import codec

    try:
        export = json.loads(file.read_bytes())
        texts = [entry["record"] for entry in export["records"]]
        records = [(json.loads(text), codec.decode(text.encode())) for text in texts]
        sequences = [record["sequence"] for record, _ in records]
    except OSError as error:
        _end(WRONG_USAGE, f"{file} can't be read: {error.strerror or error}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        _end(WRONG_USAGE, f"{file} is not an export: it doesn't hold the records of an operation")
    if sequences != list(range(1, len(sequences) + 1)):
        _end(REFUSED, f"{file} doesn't hold every event once and in order, from 1 on")
    return records


def _told(sequence: int, record: Mapping[str, Any], event: Event) -> str:
    """An event in a line: when, what, to what, by whom, and what else its record says."""
    subject = record["subject"] or {}
    facts = {name: value for name, value in record["data"].items() if not isinstance(value, list | dict)}
    attempt = {"attempt": subject["attempt"]} if "attempt" in subject else {}
    said = " ".join(f"{name}={value}" for name, value in (attempt | facts).items())
    name = subject.get("name", "")
    return f"{sequence:>5} {record['at']} {event.kind:<20} {name:<24} {event.by.id:<20} {said}".rstrip()


def _standing(operation: Operation) -> Iterator[str]:
    """Where an operation stands, and each of its items."""
    yield f"{operation.flow.name} is {operation.state.value}"
    for item in operation.items:
        yield f"  {item.definition.name:<24} {item.state.value}"


# -- conformance -------------------------------------------------------------------------------------------------------


PEM: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@main.command()
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
        _end(WRONG_USAGE, "say what is to be checked: --worker NAME, or the address of one service")
    known = service.names_of(arguments[0]) if svc is None else [check.name for check in worker.CHECKS]
    if unknown := sorted(set(names) - set(known)):
        _end(WRONG_USAGE, f"there is no check called {', '.join(unknown)}; there are {', '.join(known)}")
    logs.configure("error", "console")

    def tell(result: Result) -> None:
        for line in report.lines(result) if not is_json else ():
            _say(line)
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
        _say(f"Waiting for a worker of {svc} at {address} (token dev:svc/{svc})", err=True)

    try:
        return anyio.run(play, Plan(svc, listen, names, command, wait_s, patience_s, grace_s), ready, tell)
    except* StartRefused as refused:
        _end(REFUSED, *(str(error) for error in refused.exceptions))
    except* BrokenPipeError:
        # Whoever read our output has had enough. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # Unlike a list that is cut off, a worker that was not checked to the end has not passed.
        _end(REFUSED)


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
        _end(WRONG_USAGE, *faults)
    return anyio.run(play_service, ServicePlan(target, names, patience_s), tell)


# -- all of them -------------------------------------------------------------------------------------------------------


def _said(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were given."""
    given = {name: _said(value) if isinstance(value, dict) else value for name, value in flags.items()}
    return {name: value for name, value in given.items() if value is not None and value != {}}


def _say(line: str, err: bool = False) -> None:
    """Writes one line, and only one, whatever is in it: an export is somebody else's words."""
    from hmsactd.logs import printable

    click.echo(printable(line), err=err)


def _end(code: int, *sentences: str) -> NoReturn:
    """Ends with a sentence on standard error, or several if there are several faults."""
    for sentence in sentences:
        _say(f"hmsactd: {sentence}", err=True)
    raise SystemExit(code)
