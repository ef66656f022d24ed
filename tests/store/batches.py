"""Batches as a committer would make them, without the cryptography: a leaf is any 32 bytes."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from hmsactd.store.store import Append, Batch, EventRow, Log, NodeRow, PayloadRow, RequestRow, Store, Summary

SECOND = 1_000_000


def summary(operation: str, **told: object) -> Summary:
    plain = Summary(
        namespace="default",
        operation=operation,
        definition="loan_forgiveness",
        digest="d" * 64,
        state="running",
        revision=1,
        sequence=1,
        started_at=SECOND,
        updated_at=SECOND,
        started_by="dev:portal",
    )
    return replace(plain, **told)  # type: ignore[arg-type]


def leaf(operation: str, sequence: int) -> bytes:
    return hashlib.sha256(f"{operation}/{sequence}".encode()).digest()


def request(operation: str, request_id: str, sequence: int = 1) -> RequestRow:
    return RequestRow(
        "default", "dev:portal", "StartOperation", request_id, "e" * 64, operation, sequence, "running", 1
    )


class Writer:
    """Writes to a store one batch after another, and knows the heads."""

    def __init__(self, store: Store, log: Log) -> None:
        self.store = store
        self.epoch = log.epoch
        self.size = log.size
        self.known: dict[tuple[str, str], Summary] = {}

    def append(
        self,
        now: Summary,
        index: int,
        *,
        payloads: Sequence[PayloadRow] = (),
        requests: Sequence[RequestRow] = (),
        key: bytes | None = b"wrapped",
    ) -> Append:
        """One append that brings an operation to `now`, its records from `index` of the log on."""
        place = (now.namespace, now.operation)
        before = self.known.get(place)
        after = before.sequence if before else 0
        events = tuple(
            EventRow(
                index + offset, sequence, f"record {now.operation} {sequence}".encode(), leaf(now.operation, sequence)
            )
            for offset, sequence in enumerate(range(after + 1, now.sequence + 1))
        )
        head = leaf(now.operation, after) if before else None
        fresh = key if before is None else None
        return Append(
            now.namespace, now.operation, after, head, events, now, before, fresh, tuple(payloads), tuple(requests)
        )

    def batch(self, *appends: Append, nodes: Sequence[NodeRow] = ()) -> Batch:
        size = self.size + sum(len(append.events) for append in appends)
        return Batch(self.epoch, self.size, size, appends, tuple(nodes), f"seal over {size}")

    async def write(self, *appends: Append, nodes: Sequence[NodeRow] = ()) -> dict[int, Exception]:
        batch = self.batch(*appends, nodes=nodes)
        refused = await self.store.write(batch)
        if not refused:
            self.size = batch.size
            self.known |= {(append.namespace, append.operation): append.summary for append in appends}
        return refused

    async def keep(self, now: Summary, **told: object) -> None:
        """Writes one operation in a batch of its own."""
        assert not await self.write(self.append(now, self.size, **told))  # type: ignore[arg-type]
