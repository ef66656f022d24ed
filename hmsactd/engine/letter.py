"""What is put into an actor's mailbox, and the answer that comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from hmsactd.core.events import Event
from hmsactd.core.inputs import Input
from hmsactd.core.operation import Operation
from hmsactd.timeline.timeline import Receipt

Told = Input | Callable[[Operation], Input | None]
"""An input, or a question to the state that gives one (or none) when the letter is read."""


@dataclass(frozen=True, slots=True)
class RequestKey:
    """The request that a letter carries out: who asked for what, under which id, with which content."""

    namespace: str
    principal: str
    rpc: str
    request_id: str
    digest: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a letter has led to: what it recorded, if anything, and the operation after everything read with it."""

    operation_id: str
    operation: Operation
    events: tuple[Event, ...]
    receipt: Receipt | None
    is_repeated: bool = False


@dataclass(slots=True)
class Letter:
    """Something an operation is told, and where its answer goes."""

    told: Told
    answered: asyncio.Future[Answer]
    request: RequestKey | None = None
