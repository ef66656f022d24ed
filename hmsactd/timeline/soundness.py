"""Whether a log is the one that was sealed: what can be told at every start, and what a look at all of it tells.

At a start the work is bounded: the tree's right edge, the last records, one payload key. The rest is what
`hmsactd doctor --full` is for.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Final

from hmsact.note import TreeHead, VerifierKey
from hmsact.record import leaf_hash

from hmsactd.store.errors import RESTORE, DataRefused
from hmsactd.store.store import EventRow, Log, NodeRow, Store
from hmsactd.timeline import moment
from hmsactd.timeline.keys import PAYLOAD_FILE, SIGNING_FILE
from hmsactd.timeline.payloads import Keyring, Unreadable
from hmsactd.timeline.seal import is_sealed
from hmsactd.timeline.tree import Edge, kept_hashes, rebuilt_edge

LOOKED_AT: Final = 1_000
"""Records at the end of the log that are hashed again at each start. It takes a few milliseconds."""

PAGE: Final = 5_000


async def sound_edge(store: Store, log: Log, key: VerifierKey, keyring: Keyring) -> Edge:
    """Returns the right edge of the tree; raises DataRefused if the log isn't what was sealed last with this key."""
    if log.verifier_key != str(key):
        raise DataRefused(
            f"the signing key is not the one that this log was begun with: put the {SIGNING_FILE} of "
            f"{log.origin} into the data directory"
        )
    try:
        edge = await rebuilt_edge(log.size, kept_hashes(store))
    except (AssertionError, IndexError) as error:
        raise DataRefused(f"records of the log, or nodes of its tree, are missing: {RESTORE}") from error
    if log.seal is None:
        if log.size:
            raise DataRefused(f"the log has {log.size} records and no seal over them: {RESTORE}")
    elif not is_sealed(log.seal, TreeHead(log.origin, log.size, edge.root()), key):
        raise DataRefused(
            f"the last seal does not cover the log as it stands: records were changed, added or lost; {RESTORE}"
        )
    await _check_end(store, log.size)
    await _check_payload_key(store, keyring)
    return edge


async def last_recorded_at(store: Store, size: int) -> int | None:
    """The latest time among the last records, in microseconds; None for an empty log."""
    rows = await store.entries(max(0, size - LOOKED_AT), size)
    return max((moment.read(json.loads(row.record)["at"]) for row in rows), default=None)


async def first_fault(store: Store, log: Log, key: VerifierKey) -> str | None:
    """Reads the whole log, computes its tree anew and verifies every seal; returns the first fault as a sentence."""
    edge, nodes = Edge(), list[NodeRow]()
    seals = _seals(store)
    seal = await anext(seals, None)
    async for row in _rows(store):
        if row.index != edge.size:
            return f"record {edge.size} is missing"
        if leaf_hash(row.record) != row.leaf:
            return f"record {row.index} was changed: it is not what its hash says"
        edge.add(row.leaf, nodes)
        if seal is not None and seal[0] == edge.size:
            if not is_sealed(seal[1], TreeHead(log.origin, edge.size, edge.root()), key):
                return f"the seal over the first {edge.size} records does not cover them: one was changed, or the seal"
            seal = await anext(seals, None)
    if seal is not None:
        return f"the seal over the first {seal[0]} records has no place in a log of {edge.size}"
    if edge.size != log.size:
        return f"the log says that it has {log.size} records, and {edge.size} are there"
    if log.size and log.seal is None:
        return f"the log has {log.size} records and no seal over them"
    return await _first_wrong_node(store, nodes)


async def _first_wrong_node(store: Store, nodes: list[NodeRow]) -> str | None:
    for node in nodes:
        if await store.nodes(node.level, node.position, node.position + 1) != [node.hash]:
            return f"node {node.position} on level {node.level} of the tree is not what the records give"
    return None


async def _rows(store: Store) -> AsyncIterator[EventRow]:
    at = 0
    while rows := await store.entries(at, at + PAGE):
        for row in rows:
            yield row
        at += PAGE


async def _seals(store: Store) -> AsyncIterator[tuple[int, str]]:
    after = 0
    while page := await store.seals(after, PAGE):
        for size, note in page:
            yield size, note
        after = page[-1][0]


async def _check_end(store: Store, size: int) -> None:
    rows = await store.entries(max(0, size - LOOKED_AT), size + 1)
    expected = list(range(max(0, size - LOOKED_AT), size))
    if [row.index for row in rows] != expected:
        raise DataRefused(f"the end of the log is not where its last seal says, after {size} records: {RESTORE}")
    changed = next((row.index for row in rows if leaf_hash(row.record) != row.leaf), None)
    if changed is not None:
        raise DataRefused(f"record {changed} of the log was changed: it is not what its hash says; {RESTORE}")


async def _check_payload_key(store: Store, keyring: Keyring) -> None:
    found = await store.wrapped_key()
    if found is None:
        return
    namespace, operation, wrapped = found
    try:
        keyring.unwrap(wrapped, namespace, operation)
    except Unreadable as error:
        raise DataRefused(
            f"the key in {PAYLOAD_FILE} does not open what was said in {operation}: put the {PAYLOAD_FILE} that "
            "belongs to this log into the data directory"
        ) from error
