"""Notices pending checkpoints that nobody may decide: silence is never an answer.

Every checkpoint is looked at once, when it has been pending for the limit. The position moves on with time, so that a
million decisions that are awaited cost nothing but the few that come of age.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

import structlog

from hmsactd.clock import Clock
from hmsactd.core.inputs import NobodyEntitled
from hmsactd.core.operation import CheckpointItem, Operation
from hmsactd.core.principal import DAEMON
from hmsactd.core.transitions import CheckpointState
from hmsactd.engine.letter import Answer, Post
from hmsactd.errors import ResourceExhausted, Unavailable
from hmsactd.store.errors import Unavailable as StoreUnavailable
from hmsactd.store.store import Store

log = structlog.get_logger(__name__)

LOOK_EVERY_US = 30_000_000
"""How often pending checkpoints are looked through: the limit is a matter of minutes."""

PAGE = 500


class Directory(Protocol):
    """Knows who holds which role."""

    def anyone_entitled(self, role: str, except_people: Collection[str]) -> bool:
        """True if somebody else than these people holds the role."""


class Attendance:
    """One coroutine over all namespaces. `namespaces` is read anew each time."""

    def __init__(
        self, store: Store, clock: Clock, directory: Directory, post: Post, limit_us: int, namespaces: Iterable[str]
    ) -> None:
        self._store = store
        self._clock = clock
        self._directory = directory
        self._post = post
        self._limit_us = limit_us
        self._namespaces = namespaces
        self._position: dict[str, tuple[int, str]] = {}
        self._again: dict[tuple[str, str], None] = {}
        self._looked_at = 0

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            try:
                await self._look()
            except StoreUnavailable as error:
                log.warning("pending checkpoints could not be read", error=str(error))
            await self._clock.sleep_until(self._clock.now() + LOOK_EVERY_US)

    async def _look(self) -> None:
        again, self._again = self._again, {}
        for namespace, operation_id in again:
            self._ask(namespace, operation_id)
        now = self._clock.now()
        if now < self._looked_at:
            # The clock was set back: what becomes pending now is dated before what was looked at already.
            self._position.clear()
        self._looked_at = now
        until = now - self._limit_us
        for namespace in list(self._namespaces):
            while True:
                page = await self._store.pending(namespace, after=self._position.get(namespace), limit=PAGE)
                ripe = [summary for summary in page if (summary.awaits_since or 0) <= until]
                for summary in ripe:
                    self._position[namespace] = (summary.awaits_since or 0, summary.operation)
                    if not self._directory.anyone_entitled(summary.awaits_who, summary.people):
                        self._ask(namespace, summary.operation)
                if len(ripe) < PAGE:
                    break

    def _ask(self, namespace: str, operation_id: str) -> None:
        place = (namespace, operation_id)
        self._post(*place, self._nobody_entitled, lambda outcome: self._heard(place, outcome))

    def _nobody_entitled(self, operation: Operation) -> NobodyEntitled | None:
        item = operation.current
        if not isinstance(item, CheckpointItem):
            return None
        if self._directory.anyone_entitled(item.definition.role, operation.started_by.people):
            return None
        return NobodyEntitled(DAEMON, item.instance)

    def _heard(self, place: tuple[str, str], outcome: Answer | Exception) -> None:
        """Ask again where it came to nothing: the store failed, or the limit on the record is longer than today's."""
        if isinstance(outcome, Exception):
            is_open = isinstance(outcome, Unavailable | ResourceExhausted)
        else:
            is_open = _is_pending_unsaid(outcome.operation)
        if is_open:
            self._again[place] = None


def _is_pending_unsaid(operation: Operation) -> bool:
    """True for a checkpoint that may still have to be said to be unattended."""
    item = operation.current
    if not isinstance(item, CheckpointItem) or operation.is_final:
        return False
    return item.state is CheckpointState.PENDING and not item.is_unattended
