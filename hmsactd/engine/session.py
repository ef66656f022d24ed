"""A worker's session: the calls it holds and what it has yet to be sent.

A session outlives its connection: a worker that reconnects within the grace finds its calls as they were. Written
and read on the event loop only. Knows nothing of queues: those are in hmsactd.engine.dispatch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from hmsactd.core.principal import Principal
from hmsactd.value import value

UNANSWERED_MAX = 1_000
"""Reports of a session that wait for their verdict, or whose verdict waits to be sent; no more are read meanwhile."""


class AttemptKey(NamedTuple):
    """Names one attempt of one step of one operation."""

    operation_id: str
    instance: int
    attempt: int


@value(frozen=True, slots=True)
class Call:
    """One attempt of one step, with everything a worker needs to do it. Payloads are JSON texts."""

    key: AttemptKey
    step: str
    definition: str
    idempotency_key: str
    deadline_at: int | None
    heartbeat_ms: int | None
    input: bytes
    outputs: dict[str, bytes]
    skipped: tuple[str, ...]
    left_out: tuple[str, ...]
    completion_token: str = ""


class Verdict(NamedTuple):
    """The answer to a report: kind is "recorded", "stale", "refused" or "again"."""

    key: AttemptKey
    kind: str
    code: str = ""
    reason: str = ""


@dataclass(slots=True)
class Held:
    """A call that the session holds. `beat_at` is the last sign of life; `is_withdrawn` once nobody waits for it."""

    heartbeat_ms: int | None
    beat_at: int
    is_withdrawn: bool = False


@dataclass(slots=True)
class Outbox:
    """What the connection has to send next, in batches."""

    calls: list[Call] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    withdrawn: list[tuple[AttemptKey, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.calls or self.verdicts or self.withdrawn)


class Session:
    """One worker, from its first hello until it leaves or is gone for longer than the grace."""

    def __init__(
        self,
        session_id: str,
        principal: Principal,
        namespace: str,
        svc: str,
        steps: Collection[str],
        max_in_flight: int,
    ) -> None:
        self.id = session_id
        self.principal = principal
        self.namespace = namespace
        self.svc = svc
        self.steps = steps
        self.max_in_flight = max_in_flight
        self.held: dict[AttemptKey, Held] = {}
        self.reported: dict[AttemptKey, Held] = {}
        self.reserved = 0
        self.is_leaving = False
        self.gone_at: int | None = None
        self.connection = 0
        self._outbox = Outbox()
        self._news = asyncio.Event()
        self._asked = 0
        self._answered = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        """True if nothing would be lost with it: it has no call, no place reserved for one, nothing left to be told."""
        return not (self.held or self.reported or self.reserved or self._outbox)

    @property
    def free(self) -> int:
        """How many more calls it takes now."""
        if self.is_leaving or self.gone_at is not None:
            return 0
        return self.max_in_flight - len(self.held) - self.reserved

    def give(self, call: Call, now: int) -> None:
        """Hand it a call that is on the record."""
        self.held[call.key] = Held(call.heartbeat_ms, now)
        self._outbox.calls.append(call)
        self._news.set()

    def report(self, key: AttemptKey) -> bool:
        """Take note that it has reported a call, which frees the place; False if it does not hold the call."""
        held = self.held.pop(key, None)
        if held is None:
            return False
        self.reported[key] = held
        return True

    def asked(self) -> None:
        """A report is on its way to its operation; `answered` follows."""
        self._asked += 1

    def answered(self) -> None:
        """A report has been heard, or never will be."""
        self._asked -= 1
        self._answered.set()

    @property
    def may_be_heard(self) -> bool:
        """True unless too many of its reports wait for a verdict, or for their verdict to be sent."""
        return self._asked + len(self._outbox.verdicts) < UNANSWERED_MAX

    async def hearing(self) -> None:
        """Wait until another report may be heard."""
        while not self.may_be_heard:
            self._answered.clear()
            await self._answered.wait()

    def has(self, key: AttemptKey) -> bool:
        """True if the call is in its hands, or its report on the way to the record."""
        return key in self.held or key in self.reported

    def hold(self, key: AttemptKey, now: int) -> None:
        """It has kept a call from before a restart of the daemon."""
        self.held[key] = Held(None, now)

    def judge(self, verdict: Verdict) -> None:
        """Tell it what became of a report. A call that could not be recorded now is still in its hands."""
        held = self.reported.pop(verdict.key, None)
        if verdict.kind == "again" and held is not None:
            self.held[verdict.key] = held
        self._outbox.verdicts.append(verdict)
        self._news.set()

    def withdraw(self, key: AttemptKey, code: str) -> None:
        """Tell it that nobody waits for an attempt. It keeps its place until the worker lets go of it."""
        held = self.held.get(key)
        if held is not None and not held.is_withdrawn:
            held.is_withdrawn = True
            self._outbox.withdrawn.append((key, code))
            self._news.set()

    def connect(self) -> int:
        """A connection takes the session over; the number returned tells it from earlier ones."""
        self.connection += 1
        self.gone_at = None
        self.is_leaving = False
        self._news.set()
        return self.connection

    def wake(self) -> None:
        """Make a waiting connection look up."""
        self._news.set()

    async def news(self) -> None:
        """Wait until there is something to send."""
        await self._news.wait()

    def is_unsent(self, key: AttemptKey) -> bool:
        """True for a call that no connection has taken to send yet."""
        return any(call.key == key for call in self._outbox.calls)

    def take_outbox(self) -> Outbox:
        """What is to be sent now."""
        self._news.clear()
        self._answered.set()
        outbox, self._outbox = self._outbox, Outbox()
        return outbox
