"""The record format: canonical form, hashes, proofs, commitments to payloads. docs/record-format.md says it in words.

Shared by the daemon, which writes records, and by hmsact.verify, which judges them. Knows no kind of event, opens no
file; what is signed is in hmsact.note.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import lru_cache

INTEGER_MAX = 2**53 - 1
HASH = re.compile(r"[0-9a-f]{64}")
TIME = re.compile(r"[0-9]{4}-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z")

# RFC 8785 for what a record may hold: ASCII keys sort by byte, and integers are the only numbers.
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode


KEY_REMEMBERED_MAX = 64
"""Length of the keys whose texts are kept: the same few stand in payload after payload."""


def _compact(value: object) -> str:
    # Most members are strings, numbers and truth values, and these need no encoder made for them.
    kind = type(value)
    if kind is str:
        return json.encoder.encode_basestring_ascii(value)  # type: ignore[arg-type]
    if kind is int:
        return str(value)
    return _CONSTANTS[value] if kind is bool or value is None else _encode(value)  # type: ignore[index]


_CONSTANTS = {True: "true", False: "false", None: "null"}


def canonical_text(value: object) -> str:
    """Returns the canonical JSON text of a value that holds no floats and no unsafe integers."""
    return _canonical(value)


def canonical(value: object) -> bytes:
    """Returns the canonical JSON of a value; raises ValueError where it isn't ASCII."""
    return _canonical(value).encode("ascii")


def leaf_hash(record: bytes) -> bytes:
    """Returns the leaf hash of RFC 9162: what `prev` names, and what the log's tree is built of."""
    return hashlib.sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Returns the hash of an inner node of RFC 9162."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """Returns the root that an inclusion proof leads to (RFC 9162, 2.1.3.2); raises ValueError if it can't be one."""
    if not 0 <= index < size:
        raise ValueError("the index lies outside the tree")
    node, last, root = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ValueError("the inclusion proof is too long")
        if node & 1 or node == last:
            root = node_hash(sibling, root)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ValueError("the inclusion proof is too short")
    return root


def is_consistent(size: int, root: bytes, later_size: int, later_root: bytes, proof: Sequence[bytes]) -> bool:
    """True if the proof shows that the later tree begins with the whole of the earlier one (RFC 9162, 2.1.4.2)."""
    if not 0 < size <= later_size:
        return False
    if size == later_size:
        return root == later_root and not proof
    path = list(proof) if size & (size - 1) else [root, *proof]
    if not path:
        return False
    node, last = size - 1, later_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    earlier = later = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            earlier, later = node_hash(sibling, earlier), node_hash(sibling, later)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            later = node_hash(later, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and earlier == root and later == later_root


def fields_and_whole(value: object) -> tuple[str, list[str]]:
    """Returns a payload's compact JSON, and the texts of its fields: `[pointer,value]`, one a member of an object."""
    if not isinstance(value, dict) or not value:
        whole = _compact(value)
        return whole, [f'["",{whole}]']
    members, texts = [], []
    for key, member in value.items():
        text = _compact(member)
        written, pointed = _known_key(key) if len(key) <= KEY_REMEMBERED_MAX else _key(key)
        members.append(f"{written}:{text}")
        texts.append(f"[{pointed},{text}]")
    return f"{{{','.join(members)}}}", texts


def _key(key: str) -> tuple[str, str]:
    """Returns the texts of a key and of its pointer."""
    return _compact(key), _compact(pointer(key))


_known_key = lru_cache(4096)(_key)


def field_texts(value: object) -> list[str]:
    """Returns the texts of a payload's fields, in order."""
    return fields_and_whole(value)[1]


def pointer(key: str) -> str:
    """Returns the JSON pointer (RFC 6901) of a top-level member."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def field_salt(payload_salt: bytes, position: int) -> bytes:
    """Returns the salt of the field at a position, so that one field can be shown and its neighbours kept."""
    return hashlib.sha256(b"\x04" + payload_salt + position.to_bytes(4, "big")).digest()


def field_commitment(salt: bytes, text: str) -> bytes:
    """Returns the commitment to one field."""
    return hashlib.sha256(b"\x02" + salt + text.encode("ascii")).digest()


def field_commitments(payload_salt: bytes, texts: Sequence[str]) -> list[bytes]:
    """Returns the commitments to all fields of a payload, in order."""
    sha256, opening = hashlib.sha256, b"\x04" + payload_salt
    return [
        sha256(b"\x02" + sha256(opening + position.to_bytes(4, "big")).digest() + text.encode("ascii")).digest()
        for position, text in enumerate(texts)
    ]


def payload_commitment(fields: Sequence[bytes]) -> bytes:
    """Returns the commitment to a payload from those to its fields, in order."""
    return hashlib.sha256(b"\x03" + b"".join(fields)).digest()
