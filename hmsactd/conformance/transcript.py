"""What a worker and the daemon have said to each other, in order, and waiting for what has not been said yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio
from hmsact.v1 import worker_pb2 as pb

from hmsactd.conformance.unmet import Unmet

LINES_MAX = 100_000
"""Far more than all checks together need: a worker that says more floods."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Ended:
    """A connection has ended: with which status of gRPC, empty if the worker hung up."""

    code: str = ""
    sentence: str = ""


Said = pb.WorkRequest | pb.WorkResponse | Ended


@dataclass(frozen=True, slots=True)
class Line:
    """One message, or the end of a connection. Connections are counted from 1; `at_s` is on the loop's clock."""

    connection: int
    at_s: float
    said: Said


Pick = Callable[[Line], Found | None]


class Transcript:
    """Everything said, from the first connection on."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._closed = ""
        self._news = asyncio.Event()

    @property
    def mark(self) -> int:
        """The place from which on to look for what is said from now on."""
        return len(self.lines)

    def note(self, connection: int, said: Said) -> None:
        """Add what was said. Raises Unmet for a flood."""
        if len(self.lines) >= LINES_MAX:
            raise Unmet("a worker that speaks when it has something to say", f"more than {LINES_MAX:,} messages")
        self.lines.append(Line(connection, asyncio.get_running_loop().time(), said))
        self._news.set()

    def close(self, why: str) -> None:
        """Nothing more will be said: whoever waits is told why."""
        self._closed = why
        self._news.set()

    def pick(self, pick: Pick[Found], after: int = 0, before: int | None = None) -> list[Found]:
        """Everything of a kind that has been said from a mark on, and before another."""
        return [found for line in self.lines[after:before] if (found := pick(line)) is not None]

    async def find(self, pick: Pick[Found], expected: str, within_s: float, after: int = 0) -> Found:
        """The first of a kind from a mark on, waiting for it if need be. Raises Unmet if it does not come."""
        place = after
        with anyio.move_on_after(within_s):
            while True:
                for line in self.lines[place:]:
                    if (found := pick(line)) is not None:
                        return found
                place = len(self.lines)
                if self._closed:
                    raise Unmet(expected, self._closed)
                self._news.clear()
                await self._news.wait()
        raise Unmet(expected, f"it did not come within {within_s:g} s; {self.summary(after)}")

    def summary(self, after: int) -> str:
        """What was said from a mark on, in a few words."""
        told = [words for line in self.lines[after:] if (words := _words(line.said))]
        if not told:
            return "nothing was said"
        shown = told[-8:]
        return ("… " if len(told) > len(shown) else "") + ", ".join(shown)


def _words(said: Said) -> str:
    match said:
        case pb.WorkRequest():
            parts = [
                "hello" if said.HasField("hello") else "",
                *(f"report of attempt {report.attempt.attempt}" for report in said.reports[:3]),
                f"{len(said.beats)} beats" if said.beats else "",
                "leaving" if said.leaving else "",
            ]
            return f"worker: {' + '.join(filter(None, parts))}" if any(parts) else "worker: a message without content"
        case pb.WorkResponse():
            parts = [
                "welcome" if said.HasField("welcome") else "",
                *(f"call {call.step} attempt {call.attempt.attempt}" for call in said.calls[:3]),
                *(pb.VerdictKind.Name(verdict.kind).rpartition("_")[2].lower() for verdict in said.verdicts[:3]),
                *(f"withdrawn {withdrawn.code}" for withdrawn in said.withdrawn[:3]),
                "drain" if said.drain else "",
            ]
            return f"daemon: {' + '.join(filter(None, parts))}" if any(parts) else ""
        case Ended():
            return f"ended {said.code}: {said.sentence}" if said.code else "the worker hung up"
