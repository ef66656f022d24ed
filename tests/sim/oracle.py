"""Knows what everybody was promised, and holds the disk against it when a run is over. Every `must` names an invariant.

What is checked by reading the disk needs no part of the daemon that lived; what replays uses the core, which has its
own tests against a model.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from hmsact.note import TreeHead
from hmsact.record import leaf_hash
from hmsact.verify import Tampered, verify

from hmsactd.core import events as e
from hmsactd.core.apply import replay
from hmsactd.core.legality import first_illegal
from hmsactd.core.transitions import FINAL
from hmsactd.engine.summary import given_in, summarise
from hmsactd.store.memory import MemoryStore
from hmsactd.store.store import LogRow, Summary
from hmsactd.timeline import codec
from hmsactd.timeline.payloads import Keyring
from hmsactd.timeline.seal import is_sealed
from hmsactd.timeline.timeline import Timelines, verifier_key_of
from hmsactd.timeline.tree import Edge
from tests.sdk import second_verifier
from tests.sim.tower import Tower

SPACE = "default"

Key = tuple[str, int, int]
"""An attempt: operation, instance, attempt."""

ENDS = frozenset(
    (e.OperationCompleted.kind, e.OperationRejected.kind, e.OperationFailed.kind, e.OperationCancelled.kind)
)

EXPORTED = 3
"""Operations of a thorough run that are exported and verified."""

LATE_MS_MAX = 1_000
"""How late a due time may be noticed while all is well."""


class Broken(Exception):
    """Raised when something that must hold does not."""


def must(holds: object, claim: str, *facts: object) -> None:
    """Says what is broken."""
    if not holds:
        raise Broken(": ".join([claim, *map(str, facts)]))


@dataclass(frozen=True, slots=True)
class Promise:
    """What a caller was told is recorded."""

    what: str
    operation: str
    sequence: int
    index: int
    leaf: bytes


@dataclass(slots=True)
class Seen:
    """What one follower has been sent of one operation."""

    operation: str
    sequences: list[int] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    is_final: bool = False


@dataclass(slots=True)
class Oracle:
    """Everything that was promised, and everything that was said."""

    promises: list[Promise] = field(default_factory=list)
    starts: dict[str, str] = field(default_factory=dict)
    """Operation by request id: the same request is never two operations."""
    reported: dict[Key, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Outputs that some worker gave for an attempt it had been given, by principal."""
    recorded: dict[Key, str] = field(default_factory=dict)
    """Attempts whose report was said to be recorded, with who reported."""
    given: dict[Key, str] = field(default_factory=dict)
    """Attempts that workers were given, with the session's worker."""
    seen: list[Seen] = field(default_factory=list)
    log_seen: list[dict[int, bytes]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    well_since: tuple[int, int] | None = None
    """From which record on, and which time, nothing may be late."""

    def note(self, fault: str) -> None:
        """Something went wrong that nobody may expect."""
        self.faults.append(fault)

    def started(self, request_id: str, operation: str) -> None:
        """A start was acknowledged."""
        before = self.starts.setdefault(request_id, operation)
        if before != operation:
            self.note(f"request {request_id} has started {before} and {operation}")

    def was_given(self, key: Key, worker: str) -> None:
        """A worker was given an attempt."""
        before = self.given.setdefault(key, worker)
        if before != worker:
            self.note(f"two workers have the attempt {key}: {before} and {worker}")

    def operations(self) -> list[str]:
        """Those that somebody knows of."""
        return list(dict.fromkeys(self.starts.values()))


async def check(oracle: Oracle, tower: Tower, image: MemoryStore, principals: frozenset[str], is_thorough: bool) -> str:
    """Raises Broken; returns the hash over everything that is on the record."""
    must(not oracle.faults, "nobody meets a fault of the daemon", *oracle.faults[:3])
    rows = await image.log(0, 1_000_000, 1 << 40)
    summaries = {kept.summary.operation: kept.summary for kept in image._kept.values()}
    await _check_log(tower, image, rows, is_thorough)
    histories = _histories(rows)
    must(set(histories) == set(summaries), "every operation has a row, and every row an operation")
    for operation, records in histories.items():
        _check_history(operation, records, summaries[operation], principals, oracle)
    _check_promises(oracle, rows)
    _check_keys(histories, summaries)
    _check_outcomes(oracle, image, histories, tower)
    _check_followers(oracle, rows, histories)
    if is_thorough:
        await _check_exports(tower, image)
    return hashlib.sha256(b"\n".join(row.record for row in rows)).hexdigest()


async def _check_log(tower: Tower, image: MemoryStore, rows: list[LogRow], is_thorough: bool) -> None:
    """Invariant 5: chain, tree and seals."""
    log = image._log
    must(log is not None, "there is a log")
    assert log is not None
    must(log.size == len(rows), "the log is as long as it says")
    key = verifier_key_of(log.origin, tower.keys)
    seals = dict(image._seals)
    edge = Edge()
    last: dict[str, tuple[int, bytes]] = {}
    for index, row in enumerate(rows):
        told = json.loads(row.record)
        sequence, head = last.get(row.operation, (0, None))
        must(row.index == index and row.sequence == sequence + 1, "records have no gap", row.operation, row.sequence)
        must(leaf_hash(row.record) == row.leaf, "a record is what its hash says", index)
        must(told["prev"] == (head.hex() if head else None), "records form a chain", row.operation, row.sequence)
        must(told["index"] == index, "a record knows its place", index)
        last[row.operation] = row.sequence, row.leaf
        edge.add(row.leaf, [])
        if is_thorough and edge.size in seals:
            head_then = TreeHead(log.origin, edge.size, edge.root())
            must(is_sealed(seals[edge.size], head_then, key), "every seal covers its records", edge.size)
    if rows:
        whole = TreeHead(log.origin, edge.size, edge.root())
        must(log.seal and is_sealed(log.seal, whole, key), "the last seal covers the log")


def _histories(rows: list[LogRow]) -> dict[str, list[LogRow]]:
    histories: dict[str, list[LogRow]] = {}
    for row in rows:
        histories.setdefault(row.operation, []).append(row)
    return histories


def _check_history(
    operation: str, records: list[LogRow], summary: Summary, principals: frozenset[str], oracle: Oracle
) -> None:
    """Invariants 2, 3, 4 and the clocks: one timeline by itself."""
    found = [codec.decode(row.record) for row in records]
    history = [event for event in found if event is not None]
    must(len(history) == len(records), "every record is known")
    illegal = first_illegal(history)
    must(illegal is None, "a timeline follows the rules", operation, illegal)
    state = replay(history)
    assert state is not None
    replayed = summarise(SPACE, operation, state, given_in(summary))
    must(replayed == summary, "replay gives the state that is kept", replayed, summary)
    must(state.state in FINAL, "every operation comes to its end", operation, state.state)
    strangers = {event.by.id for event in history} - principals
    must(not strangers, "no event without an authenticated principal", strangers)
    outcomes = Counter(
        (event.instance, event.attempt)
        for event in history
        if isinstance(event, e.StepDone | e.StepFailed | e.StepLost)
    )
    must(set(outcomes.values()) <= {1}, "an attempt has one outcome", operation, outcomes)
    done = Counter(event.instance for event in history if isinstance(event, e.StepDone | e.StepSkipped))
    must(set(done.values()) <= {1}, "a step has one outcome", operation, done)
    since = oracle.well_since
    _check_clocks(operation, history)
    if since is not None:
        _check_in_time(
            operation, [event for event, row in zip(history, records, strict=True) if row.index >= since[0]], since[1]
        )


def _check_clocks(operation: str, history: list[e.Event]) -> None:
    alarms = Counter[tuple[str, int]]()
    for event in history:
        if isinstance(event, e.SlaAtRisk | e.SlaBreach):
            alarms[event.kind, event.instance] += 1
        if isinstance(event, e.SlaAtRisk | e.SlaBreach | e.Unattended):
            must(event.at >= event.due_at, "no clock goes off early", operation, event)
    must(set(alarms.values()) <= {1}, "every alarm goes off once", operation, alarms)


def _check_in_time(operation: str, history: list[e.Event], since_us: int) -> None:
    for event in history:
        if isinstance(event, e.SlaAtRisk | e.SlaBreach | e.Unattended) and event.due_at >= since_us:
            must(event.late_ms <= LATE_MS_MAX, "a due time is noticed in time", operation, event)


def _check_promises(oracle: Oracle, rows: list[LogRow]) -> None:
    """Invariant 1."""
    for promise in oracle.promises:
        row = rows[promise.index] if promise.index < len(rows) else None
        is_kept = row is not None and (row.operation, row.sequence, row.leaf) == (
            promise.operation,
            promise.sequence,
            promise.leaf,
        )
        must(is_kept, "nothing acknowledged is lost", promise)


def _check_keys(histories: dict[str, list[LogRow]], summaries: dict[str, Summary]) -> None:
    """Every start by business key here asks that no two open operations have it."""
    holders: dict[str, tuple[str, int]] = {}
    for operation, records in sorted(histories.items(), key=lambda each: each[1][0].index):
        if (key := summaries[operation].key) is None:
            continue
        before, ended_at = holders.get(key, ("", -1))
        must(records[0].index > ended_at, "a business key has one open operation", key, before, operation)
        kinds = {row.index: json.loads(row.record)["kind"] for row in records}
        holders[key] = operation, next(index for index, kind in kinds.items() if kind in ENDS)


def _check_outcomes(oracle: Oracle, image: MemoryStore, histories: dict[str, list[LogRow]], tower: Tower) -> None:
    """Invariants 1 and 2 for workers: what was said to be recorded is; what is recorded was reported by who had it."""
    keyring = Keyring(tower.keys.payload)
    outcomes: dict[Key, str] = {}
    for operation, records in histories.items():
        kept = image._kept[SPACE, operation]
        assert kept.payload_key is not None
        data_key = keyring.unwrap(kept.payload_key, SPACE, operation)
        sealed = {(row.sequence, row.name): row.sealed for row in image._payloads.get((SPACE, operation), [])}
        for row in records:
            event = codec.decode(row.record)
            if isinstance(event, e.StepDone):
                _, content = data_key.open(sealed[row.sequence, "output"], SPACE, operation, row.sequence, "output")
                key = (operation, event.instance, event.attempt)
                must(content.decode() in oracle.reported[key], "an output is from who had the attempt", key, content)
            if isinstance(event, e.StepDone | e.StepFailed):
                outcomes[operation, event.instance, event.attempt] = event.by.id
            if isinstance(event, e.StepReportIgnored):
                outcomes.setdefault((operation, event.instance, event.attempt), event.by.id)
    for key, by in oracle.recorded.items():
        must(outcomes.get(key) == by, "what a worker was told is recorded is on the record", key, by, outcomes.get(key))


def _check_followers(oracle: Oracle, rows: list[LogRow], histories: dict[str, list[LogRow]]) -> None:
    """Invariant 8."""
    for seen in oracle.seen:
        records = [row.record for row in histories[seen.operation]]
        must(seen.sequences == list(range(1, len(seen.sequences) + 1)), "a follower sees all in order", seen.sequences)
        must(seen.records == records[: len(seen.records)], "a follower is shown what is on the record")
        must(seen.is_final, "a follower sees the end", seen.operation, len(seen.records), len(records))
    for leaves in oracle.log_seen:
        must(
            list(leaves) == list(range(len(rows))), "a follower of the log sees all of it, in order", list(leaves)[-3:]
        )
        must(list(leaves.values()) == [row.leaf for row in rows], "a follower of the log is shown what is there")


async def _check_exports(tower: Tower, image: MemoryStore) -> None:
    """Invariant 5, by those who know nothing of the daemon: the SDK's verifier, and one that shares no code with it."""
    timelines = await Timelines.open(image, tower.keys)
    for operation in list(image._kept)[:EXPORTED]:
        export = b"".join([part async for part in timelines.export(*operation, tower.clock.now())])
        try:
            second_verifier.verify(export, timelines.verifier_key)
            verify(export, key=timelines.verifier_key)
        except (second_verifier.Bad, Tampered) as bad:
            must(False, "an export can be verified", operation, bad)
