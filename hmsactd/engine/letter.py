"""What is put into an actor's mailbox, and the answer that comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hmsactd.core.events import Event
from hmsactd.core.inputs import Input
from hmsactd.core.operation import Operation
from hmsactd.timeline.timeline import Receipt
from hmsactd.value import value

Told = Input | Callable[[Operation], Input | None]
"""An input, or a question to the state that gives one (or none) when the letter is read."""


@value(frozen=True, slots=True)
class RequestKey:
    """The request that a letter carries out: who asked for what, under which id, with which content."""

    namespace: str
    principal: str
    rpc: str
    request_id: str
    digest: str


@value(frozen=True, slots=True)
class Answer:
    """What a letter has led to: what it recorded, if anything, and the operation after everything read with it."""

    operation_id: str
    operation: Operation
    events: tuple[Event, ...]
    receipt: Receipt | None
    is_repeated: bool = False


Heard = Callable[[Answer | Exception], None]
"""Is told once what became of a letter: the answer, or why there is none. Must be quick and must not fail."""

Post = Callable[[str, str, Told, Heard | None], None]
"""Puts a letter into the mailbox of an operation: namespace, id, what it is told, who hears what became of it."""


class Letter:
    """Something an operation is told, and who hears what became of it."""

    __slots__ = ("_heard", "request", "told")

    def __init__(self, told: Told, heard: Heard | None, request: RequestKey | None = None) -> None:
        self.told = told
        self.request = request
        self._heard = heard

    def settle(self, outcome: Answer | Exception) -> None:
        """Say what became of it. Whoever has been told is not told otherwise later."""
        heard, self._heard = self._heard, None
        if heard is None:
            return
        if isinstance(outcome, Exception):
            # A turn later: whoever tries again at once must not do so in the middle of what has just failed.
            asyncio.get_running_loop().call_soon(heard, outcome)
        else:
            heard(outcome)


def promised(future: asyncio.Future[Answer]) -> Heard:
    """Let a future hear what becomes of a letter, unless whoever waited for it has left."""

    def heard(outcome: Answer | Exception) -> None:
        if future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    return heard
