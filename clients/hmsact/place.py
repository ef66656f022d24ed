"""Where a follower of all operations stands: what it has had, what it asks for next, how long it keeps trying.

Shared by both clients; it makes no calls itself.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from hmsact.bookmark import parted
from hmsact.choice import Choice
from hmsact.errors import HmsactError, InternalError, InvalidArgument
from hmsact.event import Event, streamed_event
from hmsact.frontier import Frontier
from hmsact.requests import Requests
from hmsact.system import SystemInfo
from hmsact.v1 import timeline_pb2
from hmsact.watch import Patience

if TYPE_CHECKING:
    from hmsact.note import TreeHead
    from hmsact.proof import StreamProof

log = logging.getLogger("hmsact.watch")


@dataclass(frozen=True, slots=True)
class Demand:
    """What a follower wants proved: against which key, and from which seal held elsewhere; None takes the daemon's."""

    key: str | None = None
    seal: str | None = None


def demand_of(key: str | None, seal: str | None, *, prove: bool) -> Demand | None:
    """What was asked to be proved."""
    if not prove and (key is not None or seal is not None):
        raise InvalidArgument("a key and a seal are for streams that are proved: say prove=True", reason="NO_PROOF")
    return Demand(key, seal) if prove else None


class Place:
    """One follower. `cursor` is that of what it has given out; `position` where the log is read up to."""

    def __init__(
        self,
        requests: Requests,
        choice: Choice,
        start: str | datetime | bool,
        demand: Demand | None,
        *,
        namespace: str,
        address: str,
    ) -> None:
        self._requests = requests
        self._choice = choice
        self._start: str | datetime | bool = start
        self._held: tuple[str, Frontier] | None = None
        if isinstance(start, str):
            self._start, self._held = parted(start)
        self._demand = demand
        self._namespace = namespace
        self._address = address
        self._patience = Patience()
        self._is_lost = False
        self._proof: StreamProof | None = None
        self._evidence = _evidence(demand)
        self._ready: deque[tuple[Event | None, str]] = deque()
        self._reached = ""
        self._position: int | None = None
        self.cursor = start if isinstance(start, str) else ""
        self.size = 0

    @property
    def needs_key(self) -> bool:
        """True until it knows by which key the log is signed."""
        return self._demand is not None and self._proof is None

    @property
    def proved_size(self) -> int:
        """How many records of the log are proved to be as they were sealed."""
        return self._proof.size if self._proof is not None else 0

    @property
    def lag(self) -> int:
        """How many records of the log were not looked at yet, as far as the daemon has said."""
        return max(0, self.size - (self._position or 0))

    def meet(self, info: SystemInfo) -> None:
        """Learns which log it is; the key of the daemon is taken unless another was given."""
        # Here, because they bring cryptography with them, which a stream without proof can do without.
        from hmsact.chains import Chains
        from hmsact.note import Note
        from hmsact.proof import StreamProof, key_of

        demand = self._demand
        assert demand is not None, "who wants no proof needs no key"
        frontier: Frontier | None = None
        if self._held is not None:
            held_log, frontier = self._held
            if held_log != info.log:
                raise InvalidArgument(f"the cursor is of {held_log}, the daemon has {info.log}", reason="BAD_CURSOR")
        key = key_of(info.log, demand.key or info.verifier_key)
        if demand.seal is not None and not Note.parse(demand.seal).is_signed_by(key):
            raise InvalidArgument(f"the seal is not signed by {key}", reason="BAD_SEAL")
        chains = Chains(from_beginning=self._start is True) if self._choice.is_unfiltered else None
        self._proof = StreamProof(info.log, key, self._namespace, frontier, evidence=self._evidence, chains=chains)

    def request(self) -> timeline_pb2.WatchEventsRequest:
        """Asks for all that follows what was had."""
        proof = self._proof
        start: str | datetime | bool = self._reached or self._start
        earlier = self._evidence.size if self._evidence is not None else 0
        if proof is not None:
            proof.resumed()
            start = proof.standing.cursor or self._start
            self._position = proof.standing.frontier.size if proof.standing.frontier is not None else None
            earlier = 0 if proof.is_joined else earlier
        return self._requests.stream(self._choice, start, prove=proof is not None, earlier_size=earlier)

    def take(self, message: timeline_pb2.WatchEventsResponse) -> None:
        """Takes what the daemon has sent."""
        self._patience.regained()
        self._is_lost = False
        self.size = message.size
        if self._proof is not None:
            proved = self._proof.take(message)
            self._ready.extend((streamed_event(each.placed, each.cursor), each.cursor) for each in proved)
            self._ready.append((None, self._proof.cursor))
        else:
            if self._position is not None and message.from_position != self._position:
                raise InternalError(
                    f"the stream goes on at {message.from_position} where {self._position} was expected"
                )
            self._ready.extend((streamed_event(placed), placed.event.cursor) for placed in message.events)
            self._ready.append((None, message.cursor))
            self._reached = message.cursor
        self._position = message.to_position

    def next(self) -> Event | None:
        """The next event that is ready; None if more must be taken first. What was given out before is done with."""
        while self._ready:
            event, cursor = self._ready.popleft()
            self.cursor = cursor
            if event is not None:
                return event
        return None

    def ended(self) -> None:
        """The daemon has ended the stream in order."""
        if self._proof is not None:
            self._proof.ended()

    def lost_s(self, error: HmsactError) -> float:
        """The seconds to wait before asking again; raises the error as Patience does. An absence is told once."""
        delay_s = self._patience.lost_s(error)
        if not self._is_lost:
            self._is_lost = True
            log.warning("lost the connection to the daemon at %s; trying again", self._address)
        return delay_s


def _evidence(demand: Demand | None) -> TreeHead | None:
    if demand is None or demand.seal is None:
        return None
    from hmsact.note import Note, TreeHead

    try:
        return TreeHead.parse(Note.parse(demand.seal).body)
    except ValueError as error:
        raise InvalidArgument(f"the seal can't be read: {error}", reason="BAD_SEAL") from error
