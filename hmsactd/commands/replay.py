"""`hmsactd replay`: what an export tells, by the rules of the core."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hmsactd.commands.ending import REFUSED, UNKNOWN_KIND, WRONG_USAGE, end, say

if TYPE_CHECKING:
    from hmsactd.core.events import Event
    from hmsactd.core.operation import Operation


@click.command()
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
        say(_told(sequence, record, event))
    for line in _standing(operation) if operation is not None else ():
        say(line)
    if illegal is not None:
        end(REFUSED, f"event {illegal.sequence} breaks the rules: {illegal.sentence}")
    if unknown is not None:
        end(UNKNOWN_KIND, f"event {unknown} is a {records[unknown - 1][0]['kind']}, which this version doesn't know")
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
        end(WRONG_USAGE, f"{file} can't be read: {error.strerror or error}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        end(WRONG_USAGE, f"{file} is not an export: it doesn't hold the records of an operation")
    if sequences != list(range(1, len(sequences) + 1)):
        end(REFUSED, f"{file} doesn't hold every event once and in order, from 1 on")
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
