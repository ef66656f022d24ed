"""hmsact start-many."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import click

from hmsact.commands.faults import say_faults
from hmsact.commands.invocation import Invocation, global_options, silence_output
from hmsact.commands.said import not_empty
from hmsact.commands.start import definition_in, is_of_definition, label
from hmsact.errors import HmsactError, InvalidArgument
from hmsact.many import Item, Start, StartResult
from hmsact.operation import Operation
from hmsact.render import visible

SHOWN_EVERY_S = 0.2

_OF_A_FLOW = ("name", "steps", "sla")
"""With one of these a start has a flow of its own."""


@click.command("start-many")
@click.argument("file", metavar="FILE.json")
@click.option("--inputs", metavar="FILE.jsonl", help="A file, or - for standard input, with an input in each line.")
@click.option("--starts", metavar="FILE.jsonl", help="The same with an object in each line: input, key, labels, …")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="A label for all of them. May be repeated.")
@click.option(
    "--request-id",
    callback=not_empty,
    metavar="PREFIX",
    help="Makes the whole run safe to repeat: nothing is started twice.",
)
@click.option("--reason", callback=not_empty, metavar="TEXT", help="Why.")
@click.option("--for", "requested_by", callback=not_empty, metavar="WHO", help="For whom, as you assert it.")
@global_options
@click.pass_obj
def start_many(
    invocation: Invocation,
    file: str,
    inputs: str | None,
    starts: str | None,
    labels: tuple[str, ...],
    request_id: str | None,
    reason: str | None,
    requested_by: str | None,
) -> int:
    """Start many operations by one JSON definition, and print their ids, in order.

    \b
    For example, with a JSON value in each line of cases.jsonl:
      hmsact start-many flow.json --inputs cases.jsonl --request-id nightly-2026-05-01
    or with whole starts, such as {"input": {"income": 41250}, "key": "case-7"}, in each line:
      hmsact start-many flow.json --starts cases.jsonl

    A line that is refused is told on standard error and does not stop the others; the exit code is then 1. Run again
    with the same file and --request-id, it starts what was not started before. The n-th start (blank lines are none)
    has the request id PREFIX-n. With --json there is a line of JSON for each, with its line in the file and its
    operation or its error.
    """
    if (inputs is None) == (starts is None):
        raise click.UsageError("say either --inputs or --starts")
    definition = definition_in(file)
    told = _Told(invocation)
    with invocation.orchestrator() as act, _opened(inputs or starts or "-") as source, told:
        items = _items(source, told.awaited, is_input=inputs is not None)
        for result in act.start_many(
            items,
            steps=definition,
            labels=dict(map(label, labels)),
            request_id=request_id,
            reason=reason,
            requested_by=requested_by,
        ):
            has_own_flow = told.has_own_flow
            if isinstance(result.error, InvalidArgument) and is_of_definition(result.error) and not has_own_flow:
                # It is the same for all of them.
                say_faults(result.error, file)
                raise click.exceptions.Exit(1)
            told.add(result)
    return 1 if told.refused else 0


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the file whose result is awaited."""

    number: int
    has_own_flow: bool


class _Told:
    """Says what became of each line, how far it has come, and, however it ends, how far it came."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._is_watched = sys.stderr.isatty()
        self._shown_at = 0.0
        self.awaited: deque[_Line] = deque()
        self.started = 0
        self.repeated = 0
        self.refused = 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        click.echo(f"{self._clear}{self._sentence()}", err=True)
        if kind is not None and issubclass(kind, BrokenPipeError):
            silence_output()
            # To stop reading is not an error for who only reads; here some were not started.
            raise click.ClickException("the output was closed; more may have been started than were told")

    @property
    def has_own_flow(self) -> bool:
        """True if the line whose result is next does not go by the flow of all."""
        return self.awaited[0].has_own_flow

    def add(self, result: StartResult[Operation]) -> None:
        line, operation = self.awaited.popleft().number, result.operation
        said: dict[str, Any] = {"line": line, "request_id": result.request_id}
        if operation is not None:
            is_repeated = operation.recorded is not None and operation.recorded.is_repeated
            self.started, self.repeated = self.started + 1, self.repeated + is_repeated
            self._invocation.say(said | {"repeated": is_repeated, "operation": operation.as_json()}, operation.id)
        elif result.error is not None:
            self.refused += 1
            if self._invocation.json:
                self._invocation.say(said | {"error": _error(result.error)}, "")
            else:
                click.echo(f"{self._clear}hmsact: line {line}: {visible(str(result.error))}", err=True)
        if self._is_watched and time.monotonic() - self._shown_at >= SHOWN_EVERY_S:
            self._shown_at = time.monotonic()
            click.echo(f"{self._clear}{self._sentence()}", err=True, nl=False)

    @property
    def _clear(self) -> str:
        return "\r\x1b[K" if self._is_watched else ""

    def _sentence(self) -> str:
        before = f" ({self.repeated:,} of them before)" if self.repeated else ""
        return f"{self.started:,} started{before}, {self.refused:,} refused"


def _opened(path: str) -> Any:
    try:
        return nullcontext(sys.stdin.buffer) if path == "-" else Path(path).open("rb")
    except OSError as error:
        raise click.UsageError(f"{path} can't be read: {error.strerror}") from error


def _items(source: IO[bytes], awaited: deque[_Line], *, is_input: bool) -> Iterator[Item]:
    """A start for each line that is not blank."""
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        item = _item(line, is_input=is_input)
        awaited.append(_Line(number, isinstance(item, Mapping) and not item.keys().isdisjoint(_OF_A_FLOW)))
        yield item


def _item(line: bytes, *, is_input: bool) -> Item:
    """What a line says, or what is wrong with it."""
    try:
        # Windows begins a file with a mark.
        value = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return InvalidArgument("it is not text in UTF-8", reason="NOT_JSON")
    except (ValueError, RecursionError) as error:
        return InvalidArgument(f"it is not JSON: {error}", reason="NOT_JSON")
    if is_input:
        return Start(value)
    if isinstance(value, Mapping):
        return value
    return InvalidArgument('it is no object, such as {"input": {"income": 41250}}', reason="BAD_ITEM")


def _error(error: HmsactError) -> dict[str, Any]:
    return {
        "code": error.code,
        "reason": error.reason,
        "message": error.message,
        "violations": [asdict(violation) for violation in error.violations],
    }
