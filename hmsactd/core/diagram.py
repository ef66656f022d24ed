"""The state diagrams, drawn from the tables in hmsactd.core.transitions. For readers of ARCHITECTURE.md only.

`python -m hmsactd.core.diagram` prints them as Mermaid in Markdown; with `--write FILE` they replace what stands
between the two markers in that file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from hmsactd.core.transitions import CHECKPOINT, ENDS, FOLLOWS, STEP, CheckpointState, OperationState, StepState

BEGIN, END = "<!-- diagram -->", "<!-- /diagram -->"

State = TypeVar("State", StepState, CheckpointState)


class MarkersMissing(Exception):
    """Raised when a file has no place for the diagrams."""


def draw() -> str:
    """The diagrams of an operation, a step and a checkpoint, as Markdown."""
    sections = {
        "An operation: while it is open its state follows from the item it is at.": _operation(),
        "A step:": _item(STEP),
        "A checkpoint:": _item(CHECKPOINT),
    }
    return "\n\n".join(f"{title}\n\n{_mermaid(lines)}" for title, lines in sections.items())


def replaced(text: str) -> str:
    """The text with the diagrams between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MarkersMissing(f"there is no line {BEGIN} followed by a line {END} to put the diagrams between")
    return f"{before}{BEGIN}\n{draw()}\n{END}{after}"


def _mermaid(lines: Iterable[str]) -> str:
    return "\n".join(["```mermaid", "stateDiagram-v2", *(f"    {line}" for line in lines), "```"])


def _item(table: Mapping[tuple[State, str], State]) -> Iterator[str]:
    """The table itself; states that nothing leads out of are ends."""
    yield "[*] --> ahead"
    yield from _arrows((old, new, trigger) for (old, trigger), new in table.items())
    left = {old for old, _ in table}
    yield from _arrows((state, "[*]", "") for state in dict.fromkeys(table.values()) if state not in left)


def _operation() -> Iterator[str]:
    """What the items' moves mean for the operation, how it is paused, and how it ends."""
    moves: list[tuple[str, str, str]] = []
    for (old, trigger), new in (STEP | CHECKPOINT).items():
        # Past an item that is over the next one is entered: a step is queued, a checkpoint lies ahead.
        follows = FOLLOWS.get(new, OperationState.RUNNING)
        if FOLLOWS[old] is not follows:
            moves.append((FOLLOWS[old], follows, trigger))
    yield "[*] --> open: operation_started"
    yield "state open {"
    yield f"    [*] --> {FOLLOWS[StepState.AHEAD]}"
    open_states = dict.fromkeys(FOLLOWS.values())
    moves += [(state, OperationState.PAUSED, "operation_paused") for state in open_states]
    moves += [(OperationState.PAUSED, state, "operation_resumed") for state in open_states]
    yield from (f"    {arrow}" for arrow in _arrows(moves))
    yield "}"
    yield from _arrows(("open", state, kind) for kind, state in ENDS.items())
    yield from _arrows((state, "[*]", "") for state in ENDS.values())


def _arrows(moves: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """One arrow for each pair of states, with all that moves between them."""
    triggers: dict[tuple[str, str], list[str]] = {}
    for old, new, trigger in moves:
        triggers.setdefault((old, new), []).append(trigger)
    for (old, new), all_triggers in triggers.items():
        label = " / ".join(trigger for trigger in dict.fromkeys(all_triggers) if trigger)
        yield f"{old} --> {new}" + (f": {label}" if label else "")


def main(arguments: list[str] | None = None) -> None:
    """Print the diagrams, or write them to where they belong."""
    parser = argparse.ArgumentParser(prog="python -m hmsactd.core.diagram", description="Draws the state diagrams.")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace what is between the markers of this file")
    path: Path | None = parser.parse_args(arguments).write
    if path is None:
        sys.stdout.write(draw() + "\n")
        return
    try:
        path.write_text(replaced(path.read_text("utf-8")), "utf-8")
    except (OSError, MarkersMissing) as fault:
        parser.error(f"{path}: {fault}")


if __name__ == "__main__":
    main()
