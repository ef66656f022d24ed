"""Writes the file that proves a timeline to somebody who trusts nothing but a key (docs/record-format.md).

Reads page by page and yields part by part, so that a long timeline neither fills memory nor holds up the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from hmsact.layout import CLOSING, Entry, Header, Join, entry_text, header_text
from hmsact.note import HeadStatement, Note, TreeHead

from hmsactd.store.store import EventRow, Store
from hmsactd.timeline import moment
from hmsactd.timeline.payloads import Keyring, field_pairs
from hmsactd.timeline.seal import Signer, signed_note
from hmsactd.timeline.tree import Proofs, kept_hashes

PAGE: Final = 100


class Exporter:
    """Makes exports, and opens what was said for them and for other readers."""

    def __init__(self, store: Store, signer: Signer, keyring: Keyring, origin: str) -> None:
        self._store = store
        self._signer = signer
        self._keyring = keyring
        self._origin = origin

    async def parts(
        self, namespace: str, operation: str, now_us: int, *, reveal: bool, earlier: Sequence[int]
    ) -> AsyncIterator[bytes]:
        """Yields the file; raises LookupError if there is no such operation."""
        kept = await self._store.kept(namespace, operation)
        # The seal is read after the head: whatever was visible then is under it.
        seal = await self._store.last_seal()
        if kept is None or seal is None:
            raise LookupError(f"there is no operation {operation} in {namespace}")
        size = TreeHead.parse(Note.parse(seal).body).size
        proofs = Proofs(kept_hashes(self._store))
        sequence = kept.summary.sequence
        # The clock may have been set back since the last event; a statement older than what it states would be doubted.
        time = moment.written(max(now_us, kept.summary.updated_at))
        statement = HeadStatement(self._origin, namespace, operation, sequence, kept.head.hex(), size, time)
        head = signed_note(statement.body(), self._signer)
        joins = [
            Join(early, await proofs.root(early), await proofs.consistency(early, size))
            for early in sorted({*earlier})
            if 0 < early < size
        ]
        yield header_text(
            Header(self._origin, str(self._signer.verifier_key), namespace, operation, seal, head, joins)
        ).encode()
        after = 0
        while after < sequence:
            rows = await self._store.records(namespace, operation, after=after, before=sequence + 1, limit=PAGE)
            said = await self._fields(namespace, operation, rows) if reveal else {}
            entries = [
                Entry(row.record.decode("ascii"), await proofs.inclusion(row.index, size), said.get(row.sequence, {}))
                for row in rows
            ]
            yield "".join(
                entry_text(entry, is_first=row.sequence == 1) for row, entry in zip(rows, entries, strict=True)
            ).encode()
            after = rows[-1].sequence
        yield CLOSING.encode()

    async def opened(
        self, namespace: str, operation: str, sequences: Sequence[int]
    ) -> dict[tuple[int, str], tuple[bytes, bytes]]:
        """Returns salt and content of what was said in some records, by sequence and name."""
        kept = await self._store.kept(namespace, operation)
        if kept is None or kept.payload_key is None:
            return {}
        key = self._keyring.unwrap(kept.payload_key, namespace, operation)
        rows = await self._store.payloads(namespace, operation, sequences)
        return {
            (row.sequence, row.name): key.open(row.sealed, namespace, operation, row.sequence, row.name) for row in rows
        }

    async def _fields(
        self, namespace: str, operation: str, rows: Sequence[EventRow]
    ) -> dict[int, dict[str, list[dict[str, str]]]]:
        opened = await self.opened(namespace, operation, [row.sequence for row in rows])
        fields: dict[int, dict[str, list[dict[str, str]]]] = {}
        for (sequence, name), (salt, content) in sorted(opened.items()):
            shown = [{"salt": salt.hex(), "text": text} for salt, text in field_pairs(content, salt)]
            fields.setdefault(sequence, {})[name] = shown
        return fields
