"""The way in: every operation's timeline, to append to, read, follow, prove and export.

One `Timelines` has one log. What an event means is the core's business, how rows are kept the store's.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

from hmsact.note import VerifierKey, key_name

from hmsactd.core.events import Event
from hmsactd.store.errors import Unavailable
from hmsactd.store.job import JobWrite
from hmsactd.store.store import Birth, Log, LogRow, PayloadRow, RequestRow, Store, Summary
from hmsactd.timeline import codec, moment
from hmsactd.timeline.committer import Committed, Committer, Note, Observe, Submission
from hmsactd.timeline.entropy import random_bytes
from hmsactd.timeline.export import Exporter
from hmsactd.timeline.follow import WHOLE_LOG, Follower, Followers
from hmsactd.timeline.incarnation import Outside, held_against
from hmsactd.timeline.keys import Keys
from hmsactd.timeline.payloads import WRAPPED_BYTES, DataKey, Keyring, commit_words
from hmsactd.timeline.seal import Ed25519Signer, Signer
from hmsactd.timeline.soundness import sound_edge
from hmsactd.timeline.tree import Edge, Proofs, kept_hashes, perfect_parts
from hmsactd.value import value

PAGE: Final = 500

HEARD_AT_A_TIME: Final = 200
"""Events of one timeline that are decoded before others have their turn: a few milliseconds of them."""

JOB_WORDS: Final = "job"
"""The name under which a job's words are sealed, where those of events have the name of their field."""

SETTLES_WITHIN_S: Final = 0.25
"""How long anybody waits for the store to be opened anew. It takes milliseconds, unless it goes on failing."""

ORIGIN_BYTES: Final = 8
"""Enough for a name that no other log has."""


@value(frozen=True, slots=True)
class Receipt:
    """Evidence of what was recorded: the last record's place in the log, its leaf, and the seal that covers it."""

    log: str
    index: int
    leaf: bytes
    seal: str
    sequence: int


@value(frozen=True, slots=True)
class Recorded:
    """A record as it stands."""

    sequence: int
    index: int
    record: bytes
    leaf: bytes


class Timelines:
    """All timelines of one log."""

    def __init__(
        self, store: Store, log: Log, edge: Edge, signer: Signer, keyring: Keyring, observe: Observe | None = None
    ) -> None:
        self._store = store
        self._log = log
        self._keyring = keyring
        self._followers = Followers()
        self._committer = Committer(store, log, edge, signer, self._followers, observe)
        self._exporter = Exporter(store, signer, keyring, log.origin)
        self.erasures = 0
        """How often something was erased: whoever keeps what was said looks whether it has changed."""

    @classmethod
    async def open(
        cls, store: Store, keys: Keys, observe: Observe | None = None, outside: Outside | None = None
    ) -> Timelines:
        """Opens the log of a store, or begins one; raises DataRefused if it isn't what these keys have sealed.

        Held against a seal `outside`, it is refused, too, if it is older than that.
        """
        origin = _fresh_origin()
        log = await store.open(Birth(origin, str(_signer(origin, keys).verifier_key)))
        try:
            signer = _signer(log.origin, keys)
            keyring = Keyring(keys.payload)
            edge = await sound_edge(store, log, signer.verifier_key, keyring)
            if outside is not None:
                log = await held_against(outside, store, log, signer.verifier_key)
        except BaseException:
            await store.close()
            raise
        return cls(store, log, edge, signer, keyring, observe)

    @property
    def origin(self) -> str:
        """The name of the log."""
        return self._log.origin

    @property
    def verifier_key(self) -> str:
        """The key that verifies its seals, as a C2SP vkey."""
        return self._log.verifier_key

    @property
    def size(self) -> int:
        """How many records the log has."""
        return self._committer.size

    @property
    def last_seal(self) -> str | None:
        """The newest seal that is known to be kept."""
        return self._committer.last_seal

    async def settled(self) -> None:
        """Returns once no write is left that may yet turn out to be kept; raises Unavailable if that takes long."""
        if self._committer.settled.is_set():
            return
        try:
            async with asyncio.timeout(SETTLES_WITHIN_S):
                await self._committer.settled.wait()
        except TimeoutError:
            trouble = self._store.condition.trouble or Unavailable("it is not known yet what was kept")
            raise Unavailable(str(trouble), trouble.trouble) from None

    @property
    def epoch(self) -> int:
        """How often the log has been opened."""
        return self._log.epoch

    @property
    def follower_count(self) -> int:
        """How many readers follow a timeline."""
        return len(self._followers)

    async def run(self) -> None:
        """Commits what is appended, until `close`. Belongs in the daemon's task group, as a task of its own."""
        await self._committer.run()

    async def close(self) -> None:
        """Writes what waits, ends `run`, closes the store."""
        await self._committer.stop()
        await self._store.close()

    def new(self, namespace: str, operation: str) -> Timeline:
        """Returns the timeline of an operation that begins with the next append."""
        key = self._keyring.fresh(namespace, operation)
        return Timeline(self._committer, self._place(namespace, operation), key, None, None)

    async def load(self, namespace: str, operation: str, hear: Callable[[Sequence[Event]], None]) -> Timeline | None:
        """Returns a timeline; None if there is no such operation.

        `hear` is told its events, whose payloads have no content, page by page: in between others have their turn.
        """
        kept = await self._store.kept(namespace, operation)
        if kept is None:
            return None
        after, before = 0, kept.summary.sequence + 1
        while after + 1 < before:
            rows = await self._store.records(namespace, operation, after=after, before=before, limit=HEARD_AT_A_TIME)
            hear([event for row in rows if (event := codec.decode(row.record)) is not None])
            after = rows[-1].sequence
        place = self._place(namespace, operation)
        if kept.payload_key is None:
            # What was erased stays erased; what is said later gets a key of its own.
            key = self._keyring.fresh(namespace, operation)
            return Timeline(self._committer, place, key, kept.summary, kept.head)
        key = self._keyring.unwrap(kept.payload_key, namespace, operation)
        return Timeline(self._committer, place, key, kept.summary, kept.head, is_key_kept=True)

    async def records(
        self,
        namespace: str,
        operation: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = PAGE,
        backwards: bool = False,
    ) -> list[Recorded]:
        """Returns records with `after` < sequence < `before`, in order, or the last ones first."""
        rows = await self._store.records(
            namespace, operation, after=after, before=before, limit=limit, backwards=backwards
        )
        return [Recorded(row.sequence, row.index, row.record, row.leaf) for row in rows]

    async def log(self, start: int, end: int, bytes_max: int) -> list[LogRow]:
        """Returns the records of all operations from a position to before another, or as many as there is room for."""
        end = min(end, self.size)
        if start >= end:
            return []
        rows = self._committer.tail.rows(start, end, bytes_max)
        return rows if rows is not None else await self._store.log(start, end, bytes_max)

    async def position_at(self, time_us: int) -> int:
        """Returns the position of the first record of a time or later, as far as the log's times go forward."""
        first, beyond = 0, self.size
        while first < beyond:
            middle = (first + beyond) // 2
            row = (await self.log(middle, middle + 1, 1))[0]
            if moment.read(json.loads(row.record)["at"]) < time_us:
                first = middle + 1
            else:
                beyond = middle
        return first

    async def seal_within(self, after: int, until: int) -> tuple[int, str] | None:
        """Returns the last seal over more than `after` and at most `until` records, and over how many it is."""
        found = self._committer.tail.seal_within(after, until)
        return found or await self._store.seal_within(after, until)

    async def frontier(self, size: int) -> list[bytes]:
        """Returns the roots of the perfect subtrees that the log of a size is made of, from left to right."""
        proofs = Proofs(kept_hashes(self._store))
        return [await proofs.perfect(level, position) for level, position in perfect_parts(0, size)]

    async def consistency(self, size: int, later_size: int) -> list[bytes]:
        """Returns the proof that the log of a size begins the later one (RFC 9162, 2.1.4.1)."""
        return await Proofs(kept_hashes(self._store)).consistency(size, later_size)

    async def said(self, namespace: str, operation: str, sequences: Sequence[int]) -> dict[tuple[int, str], bytes]:
        """Returns what was said in some records, by sequence and name; what was erased is absent."""
        told = await self._exporter.opened(namespace, operation, sequences)
        return {place: content for place, (_, content) in told.items()}

    async def receipt(self, namespace: str, operation: str, sequence: int) -> Receipt:
        """Returns the receipt of a record; raises LookupError if there is none."""
        rows = await self._store.records(namespace, operation, after=sequence - 1, limit=1)
        seal = await self._store.seal_over(rows[0].index) if rows and rows[0].sequence == sequence else None
        if seal is None:
            raise LookupError(f"{operation} has no event {sequence}")
        return Receipt(self._log.origin, rows[0].index, rows[0].leaf, seal, sequence)

    def follow(self, namespace: str, operation: str) -> Follower:
        """Returns a follower of an operation, registered from now on; a context manager."""
        return self._followers.follow(namespace, operation)

    def follow_log(self) -> Follower:
        """Returns a follower of all operations, registered from now on; a context manager."""
        return self._followers.follow(*WHOLE_LOG)

    def export(
        self,
        namespace: str,
        operation: str,
        now_us: int,
        *,
        reveal: bool = True,
        earlier: Sequence[int] = (),
    ) -> AsyncIterator[bytes]:
        """Returns the parts of a file that proves a timeline; raises LookupError if there is no such operation.

        Without `reveal` it shows none of what was said. `earlier` are sizes of the log that seals held elsewhere
        name: the file then proves that the log has only grown since.
        """
        return self._exporter.parts(namespace, operation, now_us, reveal=reveal, earlier=earlier)

    async def note(self, write: JobWrite) -> None:
        """Returns once what has become of a job is kept; raises Unavailable if it isn't known whether it is."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._committer.note(Note(write, done))
        await done

    def sealed_words(self, namespace: str, job: str, words: str) -> bytes:
        """Returns what was said when a job was begun, encrypted under a key of its own, which comes with it."""
        key = self._keyring.fresh(namespace, job)
        return key.wrapped + key.seal(commit_words(words), namespace, job, 0, JOB_WORDS)

    def opened_words(self, namespace: str, job: str, sealed: bytes) -> str:
        """Returns what `sealed_words` has encrypted; raises Unreadable."""
        key = self._keyring.unwrap(sealed[:WRAPPED_BYTES], namespace, job)
        words: str = json.loads(key.open(sealed[WRAPPED_BYTES:], namespace, job, 0, JOB_WORDS)[1])
        return words

    async def erase(self, namespace: str, operation: str) -> bool:
        """Forgets for good everything that was said in an operation; its records go on proving that it was said."""
        try:
            return await self._store.erase(namespace, operation)
        finally:
            self.erasures += 1

    def _place(self, namespace: str, operation: str) -> codec.Place:
        return codec.Place(self._log.origin, self._log.epoch, namespace, operation)


class Timeline:
    """The timeline of one operation, in the hands of its actor. One append at a time."""

    __slots__ = ("_committer", "_is_key_kept", "_key", "_place", "_summary", "head", "sequence")

    def __init__(
        self,
        committer: Committer,
        place: codec.Place,
        key: DataKey,
        summary: Summary | None,
        head: bytes | None,
        *,
        is_key_kept: bool = False,
    ) -> None:
        self._committer = committer
        self._place = place
        self._key = key
        self._is_key_kept = is_key_kept
        self._summary = summary
        self.sequence = 0 if summary is None else summary.sequence
        self.head = head

    @property
    def namespace(self) -> str:
        """The namespace of the operation."""
        return self._place.namespace

    @property
    def operation(self) -> str:
        """The id of the operation."""
        return self._place.operation

    @property
    def summary(self) -> Summary | None:
        """The operation as last kept; None before the first append."""
        return self._summary

    async def append(
        self,
        events: Sequence[Event],
        names: Mapping[int, str],
        summary: Summary,
        requests: Sequence[RequestRow] = (),
    ) -> Receipt:
        """Returns once the events are kept, with the seal over them; `names` are those of instances.

        Raises Fenced if another owner has written: let go. Raises Unavailable if it isn't known whether they are
        kept, as after a cancellation: let go and load again.
        """
        assert events, "an append records something"
        assert summary.sequence == self.sequence + len(events), "a summary stands after the last event it sums up"
        drafts, payloads = self._drafted(events, names)
        done: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._committer.submit(
            Submission(
                self.namespace,
                self.operation,
                self.sequence,
                self.head,
                tuple(drafts),
                summary,
                self._summary,
                None if self._is_key_kept else self._key.wrapped,
                tuple(payloads),
                tuple(requests),
                done,
            )
        )
        committed = await done
        self.sequence, self.head, self._summary, self._is_key_kept = summary.sequence, committed.leaf, summary, True
        return Receipt(self._place.log, committed.index, committed.leaf, committed.seal, self.sequence)

    def _drafted(self, events: Sequence[Event], names: Mapping[int, str]) -> tuple[list[codec.Draft], list[PayloadRow]]:
        """Returns the records but for their place in the log, and what was said, encrypted."""
        place, seal = self._place, self._key.seal
        drafts, rows = list[codec.Draft](), list[PayloadRow]()
        at = 0 if self._summary is None else self._summary.updated_at
        for sequence, event in enumerate(events, self.sequence + 1):
            assert event.at >= at, "time does not go back on a timeline: whoever decides takes the later of the two"
            at = event.at
            said = codec.payloads(event)
            drafts.append(codec.draft(event, names.get(getattr(event, "instance", 0)), place, sequence, said))
            for name, payload in said:
                sealed = seal(payload, place.namespace, place.operation, sequence, name)
                rows.append(PayloadRow(sequence, name, sealed))
        return drafts, rows


def verifier_key_of(origin: str, keys: Keys) -> VerifierKey:
    """The key that verifies the seals of a log that these keys sign."""
    return _signer(origin, keys).verifier_key


def _signer(origin: str, keys: Keys) -> Signer:
    return Ed25519Signer(key_name(origin), keys.signing)


def _fresh_origin() -> str:
    return f"hmsactd-{base64.b32encode(random_bytes(ORIGIN_BYTES)).decode().rstrip('=').lower()}/log/0"
