"""hmsact start."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from hmsact import json_text
from hmsact.commands.faults import say_faults
from hmsact.commands.invocation import Invocation, global_options
from hmsact.commands.said import not_empty
from hmsact.errors import InvalidArgument


@click.command()
@click.argument("file", metavar="FILE.json")
@click.option("--input", "input_text", metavar="JSON|@FILE", help="The input: JSON, or @ and a file that holds it.")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="A label to find it by. May be repeated.")
@click.option("--key", callback=not_empty, metavar="KEY", help="A business key, such as a case number.")
@click.option("--request-id", callback=not_empty, metavar="ID", help="Makes the start safe to repeat.")
@click.option("--reason", callback=not_empty, metavar="TEXT", help="Why.")
@click.option("--for", "requested_by", callback=not_empty, metavar="WHO", help="For whom, as you assert it.")
@global_options
@click.pass_obj
def start(
    invocation: Invocation,
    file: str,
    input_text: str | None,
    labels: tuple[str, ...],
    key: str | None,
    request_id: str | None,
    reason: str | None,
    requested_by: str | None,
) -> None:
    """Start an operation from a JSON definition, and print its id.

    \b
    For example, with this in flow.json:
      {"name": "loan_forgiveness",
       "steps": [
         {"step": "eligibility_check", "svc": "IRS", "sla": "2m"},
         {"checkpoint": "human_review", "role": "fsa.officer"}]}
    hmsact start flow.json --input '{"income": 41250}' --key case-7 --label office=east
    """
    definition = definition_in(file)
    with invocation.orchestrator() as act:
        try:
            operation = act.start(
                steps=definition,
                input=read_json(input_text, "--input"),
                key=key,
                labels=dict(map(label, labels)),
                request_id=request_id,
                reason=reason,
                requested_by=requested_by,
            )
        except InvalidArgument as error:
            if not is_of_definition(error):
                raise
            say_faults(error, file)
            raise click.exceptions.Exit(1) from error
        invocation.say(operation.as_json(), operation.id)


def definition_in(file: str) -> dict[str, Any]:
    """The definition that a file holds."""
    definition = _json(_contents(file), file)
    if not isinstance(definition, dict):
        raise click.UsageError(f"{file} holds no definition: it is not a JSON object")
    return definition


def is_of_definition(error: InvalidArgument) -> bool:
    """True if nothing is wrong but the definition."""
    return bool(error.violations) and all(fault.field.startswith("definition") for fault in error.violations)


def read_json(text: str | None, option: str) -> Any:
    """The value that an option holds: JSON, or @ and a file that holds it; None if it was not said."""
    if text is None:
        return None
    if text.startswith("@"):
        return _json(_contents(text[1:]), text[1:])
    return _json(text, option)


def _contents(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except OSError as error:
        raise click.UsageError(f"{file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{file} is not text in UTF-8") from error


def _json(text: str, place: str) -> Any:
    try:
        value = json.loads(text)
        # Python reads more than JSON has: NaN, numbers without end, half characters.
        json_text.write(value)
    except (ValueError, RecursionError, InvalidArgument) as error:
        raise click.UsageError(f"{place} is not JSON: {error}") from error
    return value


def label(text: str) -> tuple[str, str]:
    """Reads NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--label {text}: a label is written NAME=VALUE")
    return name, value
