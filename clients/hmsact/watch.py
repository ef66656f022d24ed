"""Following a timeline through absences of the daemon: where a reader stands, and how long it keeps trying.

Shared by both clients; it makes no calls itself.
"""

from __future__ import annotations

import logging
import time

from hmsact.backoff import delays_s
from hmsact.errors import HmsactError, ResourceExhausted, Unavailable
from hmsact.event import Event, Reader
from hmsact.recorded import state_of
from hmsact.requests import Requests
from hmsact.v1 import timeline_pb2

log = logging.getLogger("hmsact.watch")

PATIENCE_S = 600.0
"""How long a reader waits for a daemon that has gone: longer than a restart or an upgrade, shorter than a night."""


class Patience:
    """Says how long to wait after a failure, and when to give up."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self.regained()

    def regained(self) -> None:
        """The daemon has answered."""
        self._delays_s = delays_s()
        self._lost_at: float | None = None

    def lost_s(self, error: HmsactError) -> float:
        """The seconds to wait before the next attempt; raises the error if it is not one that passes, or lasts."""
        now = time.monotonic()
        self._lost_at = self._lost_at or now
        if not passes(error) or now - self._lost_at > self._patience_s:
            raise error from None
        delay_s = next(self._delays_s)
        asked_s = error.retry_delay.total_seconds() if error.retry_delay else 0.0
        return max(delay_s, asked_s)


def passes(error: HmsactError) -> bool:
    """True for an error after which it is worth trying again."""
    return isinstance(error, Unavailable) or (isinstance(error, ResourceExhausted) and error.retry_delay is not None)


class Watch:
    """Where a reader of one timeline stands: what it has had, and what it asks for next."""

    def __init__(
        self,
        reader: Reader,
        requests: Requests,
        *,
        after: str | Event | None,
        everything: bool,
        follow: bool,
        records: bool,
        address: str,
    ) -> None:
        self._patience = Patience()
        self._address = address
        self._is_lost = False
        self._reader = reader
        self._requests = requests
        self._cursor = after.cursor if isinstance(after, Event) else after or ""
        self._sequence = 0
        self._everything = everything
        self._follow = follow
        self._records = records

    def request(self) -> timeline_pb2.WatchOperationRequest:
        """Asks for all that follows what was had."""
        return self._requests.watch(self._reader.operation.id, self._cursor, follow=self._follow, records=self._records)

    def lost_s(self, error: HmsactError) -> float:
        """The seconds to wait before asking again; raises the error as Patience does. An absence is told once."""
        delay_s = self._patience.lost_s(error)
        if not self._is_lost:
            self._is_lost = True
            log.warning("lost the connection to the daemon at %s; trying again", self._address)
        return delay_s

    def take(self, frame: timeline_pb2.WatchOperationResponse) -> Event | None:
        """The event in the frame; None if there is none, if it was had before, or if it is not to be told."""
        self._patience.regained()
        self._is_lost = False
        if frame.WhichOneof("frame") == "heartbeat":
            self._cursor = frame.heartbeat.cursor or self._cursor
            return None
        message = frame.event
        if message.sequence <= self._sequence:
            return None
        self._sequence = message.sequence
        self._cursor = message.cursor
        event = self._reader.read(message, state_of(frame.state))
        return event if self._everything or event.is_narrated else None
