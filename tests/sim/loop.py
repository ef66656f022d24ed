"""An event loop in which time passes only when nothing else is left to do, and chance chooses who goes first.

What is permuted: the steps of tasks that are ready in the same turn, because each could have become ready a moment
earlier or later. What keeps its order: plain callbacks among themselves, timers by their times, and turns: what a step
makes ready runs in the next one, as in asyncio. Before it is permuted a turn is put in the order in which its tasks
were made, since asyncio and anyio go through sets of tasks, whose order changes from run to run.

`_ready`, `_scheduled` and `_run_once` are asyncio's own and have been the same from Python 3.8 to 3.14.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")

TURNS_AT_A_TIME_MAX = 50_000
"""Turns without a moment passing, after which something is busy for nothing."""


class Stuck(Exception):
    """Raised when nothing will ever happen any more, or something is busy for nothing."""


class NumberedTask(asyncio.Task[T]):
    """A task that knows how many were made before it."""

    number: int


class Loop(asyncio.BaseEventLoop):
    """Runs tasks. `disorder` is the share of turns whose order is left to chance."""

    _ready: Any
    _scheduled: Any

    def __init__(self, chance: random.Random, disorder: float) -> None:
        super().__init__()
        self._chance = chance
        self._disorder = disorder
        self._now = 0.0
        self._numbers = itertools.count()
        self._turns = 0
        self.steps = 0

    def time(self) -> float:
        """Returns the seconds that have passed since the loop was made."""
        return self._now

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Makes a task."""
        number = next(self._numbers)
        task = NumberedTask(coro, loop=self, name=str(name or number), context=context)
        task.number = number
        return task

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not ready:
            if not scheduled:
                raise Stuck("nothing will ever happen any more")
            self._now = max(self._now, scheduled[0]._when)
            self._turns = 0
        while scheduled and scheduled[0]._when <= self._now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                ready.append(handle)
        self._turns += 1
        if self._turns > TURNS_AT_A_TIME_MAX:
            raise Stuck(f"it is never quiet: {list(itertools.islice(ready, 5))}")
        turn = list(ready)
        ready.clear()
        self.steps += len(turn)
        for handle in self._in_order(turn) if len(turn) > 1 else turn:
            if not handle._cancelled:
                handle._run()

    def _in_order(self, turn: list[Any]) -> list[Any]:
        owners = [getattr(handle._callback, "__self__", None) for handle in turn]
        places = [place for place, owner in enumerate(owners) if isinstance(owner, NumberedTask)]
        if len(places) < 2:
            return turn
        steps = sorted((turn[place] for place in places), key=lambda handle: handle._callback.__self__.number)
        if self._chance.random() < self._disorder:
            self._chance.shuffle(steps)
        for place, handle in zip(places, steps, strict=True):
            turn[place] = handle
        return turn

    def _process_events(self, event_list: Any) -> None:
        """There are no files or sockets here."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a system call who would have to be woken."""
