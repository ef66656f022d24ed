"""How an export is laid out: one JSON document, one record a line, every byte determined by what it says.

The daemon writes it with this, and hmsact.verify writes again what it has read and compares: a file that says the
same in other words has been touched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

FORMAT: Final = "hmsact-export/1"
CLOSING: Final = "\n]}\n"

_text = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


@dataclass(frozen=True, slots=True)
class Join:
    """A consistency proof: the log, when it had `size` records and this root, has only grown since."""

    size: int
    root: bytes
    proof: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the records."""

    log: str
    key: str
    namespace: str
    operation: str
    seal: str
    head: str
    joins: Sequence[Join]


@dataclass(frozen=True, slots=True)
class Entry:
    """A record, its inclusion proof, and by name the fields that were said: shown with salt and text, or hidden."""

    record: str
    proof: Sequence[bytes]
    payloads: Mapping[str, Sequence[Mapping[str, str]]]


def header_text(header: Header) -> str:
    """Returns the beginning of the file, up to the records."""
    joins = [
        {"size": join.size, "root": join.root.hex(), "proof": [node.hex() for node in join.proof]}
        for join in header.joins
    ]
    members: tuple[tuple[str, object], ...] = (
        ("format", FORMAT),
        ("log", header.log),
        ("key", header.key),
        ("namespace", header.namespace),
        ("operation", header.operation),
        ("seal", header.seal),
        ("head", header.head),
        ("joins", joins),
    )
    return "{" + "".join(f'"{name}":{_text(value)},\n' for name, value in members) + '"records":['


def entry_text(entry: Entry, *, is_first: bool) -> str:
    """Returns a line of the file; every line but the first follows a comma."""
    proof = [node.hex() for node in entry.proof]
    said = {name: list(map(_field, fields)) for name, fields in sorted(entry.payloads.items())}
    return ("\n" if is_first else ",\n") + _text({"record": entry.record, "proof": proof, "payloads": said})


def _field(field: Mapping[str, str]) -> dict[str, str]:
    return {name: field[name] for name in ("salt", "text", "commitment") if name in field}
