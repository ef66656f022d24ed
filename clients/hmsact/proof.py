"""Proves a stream over all operations: that nothing was missed, dropped, repeated, changed or moved.

Every stretch must begin where the last one has ended and bring a leaf for each of its positions; each record must hash
to its leaf; and the root over all leaves must be the one that the daemon has signed. Events are given out only when
that holds for them. What a filter withholds is there as a leaf alone: docs/record-format.md says what that proves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from hmsact.agreement import differences
from hmsact.bookmark import joined
from hmsact.chains import Chains
from hmsact.errors import InvalidArgument, NotProved
from hmsact.frontier import Frontier
from hmsact.note import Note, TreeHead, VerifierKey, key_name
from hmsact.record import is_consistent
from hmsact.tampered import Tampered
from hmsact.told import Told, told_of
from hmsact.v1 import timeline_pb2


@dataclass(frozen=True, slots=True)
class Proved:
    """An event whose record is under a seal, and the cursor that resumes after it."""

    placed: timeline_pb2.PlacedEvent
    cursor: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What a follower holds that has been proved: it goes on from here when the connection is lost."""

    cursor: str
    frontier: Frontier | None


class StreamProof:
    """Follows one stream, over as many connections as it takes."""

    def __init__(
        self,
        log: str,
        key: VerifierKey,
        namespace: str,
        frontier: Frontier | None = None,
        *,
        evidence: TreeHead | None = None,
        chains: Chains | None = None,
    ) -> None:
        self._log = log
        self._key = key
        self._namespace = namespace
        self._frontier = frontier
        self._chains = chains
        self._evidence = evidence
        self._pending: list[tuple[timeline_pb2.PlacedEvent, str, Told]] = []
        self._is_joined = evidence is None
        self._is_sealed = frontier is not None
        self._seal: TreeHead | None = None
        self.standing = Standing("", frontier)

    @property
    def size(self) -> int:
        """How many records of the log are proved."""
        return self.standing.frontier.size if self.standing.frontier is not None else 0

    @property
    def cursor(self) -> str:
        """The cursor of what is proved, with what proves it."""
        standing = self.standing
        if standing.frontier is None:
            return standing.cursor
        return joined(standing.cursor, self._log, standing.frontier)

    @property
    def is_joined(self) -> bool:
        """True once the log is known to have grown from the seal that was given, or if none was."""
        return self._is_joined

    @property
    def seal(self) -> TreeHead | None:
        """The last seal that was checked."""
        return self._seal

    def resumed(self) -> None:
        """The connection was lost: what was not yet proved will be sent again."""
        self._pending.clear()
        self._frontier = None if self.standing.frontier is None else self.standing.frontier.copy()

    def take(self, message: timeline_pb2.WatchEventsResponse) -> list[Proved]:
        """Returns what is proved by now; raises NotProved."""
        frontier = self._begun(message)
        first, beyond = message.from_position, message.to_position
        if first != frontier.size:
            what = "are missing" if first > frontier.size else "are sent again"
            low, high = sorted((first, frontier.size))
            raise NotProved(f"positions {low} to {high - 1} {what}", low)
        if beyond < first or message.size < beyond:
            raise NotProved(f"the log is said to have {message.size} records, the stretch to end at {beyond}", first)
        if len(message.leaves) != 32 * (beyond - first):
            count = len(message.leaves) // 32
            raise NotProved(f"{beyond - first} positions come with {count} leaves", first + min(count, beyond - first))
        self._add(message, frontier)
        if message.seal:
            self._check_seal(message.seal, frontier)
            self.standing = Standing(message.cursor, frontier.copy())
        elif not self.standing.cursor:
            # The stream began in the middle and nothing is proved yet: it can at least begin there again.
            self.standing = Standing(message.cursor, None if not self._is_sealed else frontier.copy())
        if message.consistency:
            self._check_consistency(message.consistency, first)
        return self._given_out() if message.seal else []

    def ended(self) -> None:
        """The daemon has ended the stream in order; raises NotProved if something is left that no seal covers."""
        if self._frontier is not None and self._frontier.size > self.size:
            raise NotProved(f"the stream ended before the seal over {self._frontier.size} records", self.size)
        if self._evidence is not None and not self._is_joined:
            raise NotProved(
                f"the log had {self._evidence.size} records when the seal was made that was given, and was shown only"
                f" up to {self.size}",
                self.size,
            )

    # -- one message ---------------------------------------------------------------------------------------------------

    def _begun(self, message: timeline_pb2.WatchEventsResponse) -> Frontier:
        """Where the follower stands; at the beginning of a stream, where the daemon says it does."""
        said: Frontier | None = None
        if message.frontier or (self._frontier is None and not message.from_position):
            try:
                said = Frontier(message.from_position, message.frontier)
            except ValueError as error:
                raise NotProved(f"what the stream begins with is not the edge of a tree: {error}", 0) from error
        if self._frontier is None:
            if said is None:
                raise NotProved("the stream does not begin with the edge of the tree", message.from_position)
            self._frontier = said
            self._pass_evidence(said)
        elif said is not None and said.size == self._frontier.size and said.roots != self._frontier.roots:
            raise NotProved("the log is not the one that was followed until here: it was rewritten", 0)
        return self._frontier

    def _add(self, message: timeline_pb2.WatchEventsResponse, frontier: Frontier) -> None:
        leaves = message.leaves
        first = message.from_position
        events = {placed.position: placed for placed in message.events}
        positions = [placed.position for placed in message.events]
        if positions != sorted(events):
            raise NotProved("events are repeated or out of order", positions[0])
        if positions and not first <= positions[0] <= positions[-1] < message.to_position:
            raise NotProved("an event is sent that lies outside its stretch", positions[0])
        for position in range(first, message.to_position):
            leaf = leaves[32 * (position - first) : 32 * (position - first) + 32]
            frontier.add(leaf)
            if position in events:
                told = self._told(events[position], leaf)
                cursor = joined(events[position].event.cursor, self._log, frontier)
                self._pending.append((events[position], cursor, told))
            self._pass_evidence(frontier)

    def _told(self, placed: timeline_pb2.PlacedEvent, leaf: bytes) -> Told:
        """What the record of an event says; raises NotProved unless it is the one at its place, and the event is it."""
        position, event = placed.position, placed.event
        try:
            text = event.record.decode("ascii")
            told = told_of(text, event.sequence)
        except (UnicodeDecodeError, Tampered) as error:
            raise NotProved(f"the record at position {position} can't be read: {error}", position) from error
        if told.leaf != leaf:
            raise NotProved(f"the record at position {position} does not hash to its leaf", position)
        if (told.log, told.index, told.namespace) != (self._log, position, self._namespace):
            raise NotProved(f"the record at position {position} belongs to another place", position)
        wrong = differences(event, json.loads(text))
        if wrong:
            raise NotProved(
                f"the event at position {position} is not what its record says: {', '.join(wrong)}", position
            )
        return told

    # -- seals ---------------------------------------------------------------------------------------------------------

    def _check_seal(self, text: str, frontier: Frontier) -> None:
        try:
            note = Note.parse(text)
            head = TreeHead.parse(note.body)
        except ValueError as error:
            raise NotProved(f"the seal over {frontier.size} records can't be read: {error}", self.size) from error
        if len(note.signatures) != 1 or not note.is_signed_by(self._key):
            raise NotProved(f"the seal over {frontier.size} records is not signed by {self._key.name}", self.size)
        if (head.origin, head.size) != (self._log, frontier.size):
            raise NotProved(
                f"the seal sent for {frontier.size} records is that of {head.origin} at {head.size}", self.size
            )
        if head.root != frontier.root():
            raise NotProved(
                f"positions {self.size} to {frontier.size - 1} are not as they were sealed: something is missing,"
                " changed or moved",
                self.size,
            )
        self._seal, self._is_sealed = head, True

    def _pass_evidence(self, frontier: Frontier) -> None:
        """The root as it was when a seal was made that the follower was given."""
        if self._evidence is None or frontier.size != self._evidence.size:
            return
        if frontier.root() != self._evidence.root:
            raise NotProved("the log is not the one that the seal covers that was given: it was rewritten", 0)
        self._is_joined = True

    def _check_consistency(self, proof: Sequence[bytes], position: int) -> None:
        evidence, seal = self._evidence, self._seal
        if evidence is None or seal is None or self._is_joined:
            return
        if not is_consistent(evidence.size, evidence.root, seal.size, seal.root, proof):
            raise NotProved("the log has not grown from the one that the seal covers that was given", position)
        self._is_joined = True

    def _given_out(self) -> list[Proved]:
        pending, self._pending = self._pending, []
        if self._chains is not None:
            for _, _, told in pending:
                self._chains.add(told)
        return [Proved(placed, cursor) for placed, cursor, _ in pending]


def key_of(log: str, told: str) -> VerifierKey:
    """The key of a log, from its text."""
    try:
        key = VerifierKey.parse(told.strip())
    except ValueError as error:
        raise InvalidArgument(f"the key can't be read: {error}", reason="BAD_KEY") from error
    if key.name != key_name(log):
        raise NotProved(f"the key is that of {key.name}, the log is {log}", 0)
    return key
