"""hmsact export, verify."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

from hmsact.commands.invocation import Invocation, global_options
from hmsact.document import is_like_an_export
from hmsact.known import KeyChanged, KnownDaemons
from hmsact.note import Note, TreeHead, VerifierKey
from hmsact.render import visible
from hmsact.verify import MissingEvidence, Tampered, Trust, Verification
from hmsact.verify import verify as verify_export

TAMPERED = 1
"""Exit code: the file is not as its daemon signed it."""

MISSING = 3
"""Exit code: the file may be good, but does not show what was asked."""


@click.command()
@click.argument("operation", metavar="OP")
@click.option("-o", "--output", metavar="FILE", required=True, help='Where to write it; "-" is standard output.')
@click.option(
    "--seal",
    "seals",
    metavar="FILE",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A seal kept elsewhere, as from a receipt: prove that the log has only grown since.",
)
@global_options
@click.pass_obj
def export(invocation: Invocation, operation: str, output: str, seals: tuple[Path, ...]) -> None:
    """Write an operation's timeline to a file, with its proofs.

    The key of the daemon is remembered, so that `verify` knows it; one that has changed is refused.
    """
    sizes = [_size_in(path) for path in seals]
    known = KnownDaemons.of_user()
    with invocation.orchestrator() as act:
        key = VerifierKey.parse(act.info().verifier_key)
        remember(known, key)
        exported = act.export(operation, earlier_sizes=sizes)
    if output == "-":
        sys.stdout.buffer.write(exported)
        return
    _write(Path(output), exported)
    found = verify_export(exported, known=known)
    told = {"file": output, "operation_id": found.operation, "events": found.events, "key": str(key)}
    invocation.say(told, f"{output}: {found.operation}, {found.events} events, complete as of {found.complete_as_of}")


def _size_in(path: Path) -> int:
    try:
        return TreeHead.parse(Note.parse(path.read_text("utf-8")).body).size
    except ValueError as fault:
        raise click.BadParameter(f"{path} is not a seal: {fault}") from fault


def remember(known: KnownDaemons, key: VerifierKey) -> None:
    """Remembers the key of a daemon; says so if it is new, refuses one that has changed."""
    try:
        if known.remember(key):
            click.echo(f"The daemon {key.name} is new; its key is remembered in {known.path}:\n  {key}", err=True)
    except KeyChanged as changed:
        raise click.ClickException(
            f"{changed}: another daemon has its name, or somebody stands between; remove the line if you know why"
        ) from changed


def _write(path: Path, exported: bytes) -> None:
    """Whole or not at all: half an export would read as a tampered one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(exported)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise click.UsageError(f"{path} can't be written: {error.strerror}") from error


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--key", metavar="FILE", help="A file with the daemon's verifier key, which you trust.")
@click.option("--head", metavar="FILE", help="A file with a seal or head statement that you kept.")
@global_options
@click.pass_obj
def verify(invocation: Invocation, file: str, key: str | None, head: str | None) -> None:
    """Verify an exported timeline, offline; say what is proved.

    Exits with 0 if it is verified, 1 if it was tampered with (or cut off), 2 if it never was an export, 3 if it does
    not show what was asked.
    """
    exported = _contents(file)
    if not is_like_an_export(exported):
        raise click.UsageError(f"{file} is not an export")
    try:
        found = verify_export(
            exported,
            key=None if key is None else _contents(key).decode("utf-8"),
            head=None if head is None else _contents(head).decode("utf-8"),
            known=KnownDaemons.of_user(),
        )
    except Tampered as error:
        told = {"verified": False, "reason": str(error), "sequence": error.sequence}
        _end(invocation, TAMPERED, told, f"{file}: TAMPERED: {visible(str(error))}")
    except MissingEvidence as error:
        told = {"verified": None, "reason": str(error)}
        _end(invocation, MISSING, told, f"{file}: not proved: {visible(str(error))}")
    except ValueError as error:
        raise click.UsageError(f"the key, the head or the list of known daemons can't be read: {error}") from error
    told = {"verified": True, "level": found.level, **asdict(found), "trust": found.trust.value}
    invocation.say(told, _report(file, found))


def _report(file: str, found: Verification) -> str:
    lines = [
        f"{file}: {found.level}",
        f"  operation  {found.operation} in {found.namespace}: {found.events} events, none changed, missing or moved",
        f"  log        {found.log}, sealed at {found.size} records",
        f"  key        {found.key}",
    ]
    if found.hidden or found.withheld:
        lines.append(f"  payloads   {found.hidden} fields hidden, {found.withheld} payloads withheld")
    if found.trust is Trust.OWN:
        lines.append("  This daemon is new to you: compare its key with one from a source you trust (--key).")
    return "\n".join(lines)


def _end(invocation: Invocation, code: int, told: dict[str, object], text: str) -> NoReturn:
    if invocation.json:
        invocation.say(told, text)
    else:
        click.echo(text, err=True)
    sys.exit(code)


def _contents(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise click.UsageError(f"{file} can't be read: {error.strerror}") from error
