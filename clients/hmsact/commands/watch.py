"""hmsact watch: what happens to all operations, as lines, as it happens."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import click

from hmsact.client import Orchestrator
from hmsact.commands.follow import styled
from hmsact.commands.invocation import Invocation, global_options
from hmsact.commands.show import is_colourful
from hmsact.event import Event
from hmsact.render import visible
from hmsact.stream import EventStream

LETTERS = 8
"""The end of an id that is shown: forty random bits, and more of it for one that ends like another."""

SHOWN_MAX = 100_000
"""Operations whose shown ids are remembered, so that no two are shown alike."""


@click.command()
@click.option("--kind", "kinds", metavar="K", multiple=True, help="Only events of this kind; may be said again.")
@click.option("--name", "names", metavar="N", multiple=True, help="Only operations of this definition.")
@click.option("--item", "items", metavar="I", multiple=True, help="Only what is about this step or checkpoint.")
@click.option("--by", metavar="P", multiple=True, help="Only what a person, service, agent or the system has done.")
@click.option("--after", metavar="CURSOR", help="Only what follows this cursor (from --json), with the same filter.")
@click.option("--since", metavar="AGO", help='Begin so long ago, such as "1h".')
@click.option("--from-start", is_flag=True, help="Begin with the first event that there is.")
@click.option("--no-follow", is_flag=True, help="End after what is recorded now.")
@click.option("--all", "everything", is_flag=True, help="Every kind of event, not only those that tell the story.")
@click.option("--prove", is_flag=True, help="Check that nothing is left out, changed or moved, up to each seal.")
@click.option("--utc", is_flag=True, help="Times in UTC instead of local time.")
@global_options
@click.pass_obj
def watch(
    invocation: Invocation,
    kinds: tuple[str, ...],
    names: tuple[str, ...],
    items: tuple[str, ...],
    by: tuple[str, ...],
    after: str | None,
    since: str | None,
    from_start: bool,
    no_follow: bool,
    everything: bool,
    prove: bool,
    utc: bool,
) -> None:
    """Show what happens to all operations, as it happens.

    A line says when, the end of the operation's id, its definition, how long it had been under way, and what has
    happened. With --prove the daemon's key is remembered, as by `export`, and the first place that is not as it was
    sealed ends the command with exit code 1.
    """
    if sum((after is not None, since is not None, from_start)) > 1:
        raise click.UsageError("say where to begin once: --after, --since or --from-start")
    with invocation.orchestrator() as act:
        stream = act.stream(
            after=after,
            since=since,
            from_start=from_start,
            all=everything,
            kinds=kinds,
            names=names,
            items=items,
            by=by,
            follow=not no_follow,
            prove=prove,
            key=_known_key(act) if prove else None,
        )
        with stream:
            if invocation.json:
                for event in stream:
                    click.echo(json.dumps(event.as_json(), ensure_ascii=False))
            else:
                _show(stream, is_followed=not no_follow, utc=utc)
            if prove and not invocation.json:
                click.echo(f"Proved up to record {stream.proved_size}: nothing left out, changed or moved.", err=True)


def _known_key(act: Orchestrator) -> str:
    # Here, because it brings cryptography with it.
    from hmsact.commands.evidence import remember
    from hmsact.known import KnownDaemons
    from hmsact.note import VerifierKey

    key = VerifierKey.parse(act.info().verifier_key)
    remember(KnownDaemons.of_user(), key)
    return str(key)


def _show(stream: EventStream, *, is_followed: bool, utc: bool) -> None:
    ids = ShownIds()
    console: Any = None
    if is_colourful():
        from rich.console import Console

        console = Console(highlight=False, soft_wrap=True)
    with console.status("watching") if console is not None and is_followed else nullcontext():
        for event in stream:
            line = line_of(event, ids, utc=utc)
            if console is not None:
                console.print(styled(line, event.kind))
            else:
                click.echo(line)


def line_of(event: Event, ids: ShownIds, *, utc: bool) -> str:
    """An event among those of other operations."""
    time = event.time.astimezone(None) if not utc else event.time
    return visible(f"{time:%Y-%m-%d %H:%M:%S}  {ids.shown(event.operation_id)}  {event.operation_name}  {event}")


class ShownIds:
    """The ends of ids, long enough that no two operations are shown alike. Any of them will do for OP."""

    def __init__(self, letters: int = LETTERS, shown_max: int = SHOWN_MAX) -> None:
        self._letters = letters
        self._shown_max = shown_max
        self._owners: OrderedDict[str, str] = OrderedDict()

    def shown(self, operation_id: str) -> str:
        """The end of an id that no other operation was shown by."""
        for end in _ends(operation_id, self._letters):
            owner = self._owners.setdefault(end, operation_id)
            if owner == operation_id:
                self._owners.move_to_end(end)
                if len(self._owners) > self._shown_max:
                    self._owners.popitem(last=False)
                return end
        return operation_id


def _ends(operation_id: str, letters: int) -> Iterator[str]:
    for length in range(letters, len(operation_id)):
        yield operation_id[-length:]
