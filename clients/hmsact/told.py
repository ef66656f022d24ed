"""What one record of an export says, and whether it may stand where it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hmsact.document import strict_json
from hmsact.layout import Header
from hmsact.note import TreeHead
from hmsact.record import (
    HASH,
    TIME,
    canonical_text,
    field_commitment,
    leaf_hash,
    payload_commitment,
    root_of_inclusion,
)
from hmsact.tampered import Tampered

_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Told:
    """A record in canonical form, every member in its own. Chain and place in the log are still to be checked."""

    sequence: int
    leaf: bytes
    index: int
    epoch: int
    at: str
    prev: str | None
    log: str
    namespace: str
    operation: str
    commitments: Mapping[str, str]

    def check_inclusion(self, proof: Sequence[bytes], tree: TreeHead) -> None:
        """Raises Tampered unless the record is in the tree at its index."""
        try:
            root = root_of_inclusion(self.index, tree.size, self.leaf, proof)
        except ValueError as error:
            raise Tampered(str(error), self.sequence) from error
        if root != tree.root:
            raise Tampered("the record or its proof was changed: they do not lead to the seal", self.sequence)


def told_of(record: str, sequence: int) -> Told:
    """Returns what a record says; raises Tampered if it is not a record in canonical form."""
    try:
        told = strict_json(record)
        is_canonical = record.isascii() and canonical_text(told) == record
    except ValueError as error:
        raise Tampered(f"the record is not JSON: {error}", sequence) from error
    if not is_canonical:
        raise Tampered("the record is not in canonical form", sequence)
    if not isinstance(told, dict) or told.keys() != _FORMS.keys():
        raise Tampered("the record does not have the members that a record has", sequence)
    wrong = next((name for name, is_right in _FORMS.items() if not is_right(told[name])), None)
    if wrong is not None:
        raise Tampered(f"the record's {wrong} is not in its form", sequence)
    return Told(
        told["sequence"],
        leaf_hash(record.encode("ascii")),
        told["index"],
        told["epoch"],
        told["at"],
        told["prev"],
        told["log"],
        told["namespace"],
        told["operation"],
        {name: said["commitment"] for name, said in told["payloads"].items()},
    )


def check_place(told: Told, before: Told | None, header: Header, sequence: int) -> None:
    """Raises Tampered unless a record follows the one before it."""
    if told.sequence != sequence:
        raise Tampered(f"here stands event {told.sequence}: events are missing, doubled or moved", sequence)
    if (told.log, told.namespace, told.operation) != (header.log, header.namespace, header.operation):
        raise Tampered("the record belongs to another timeline", sequence)
    if told.prev != (None if before is None else before.leaf.hex()):
        raise Tampered("the record does not follow the one before it", sequence)
    if before is None:
        return
    if told.index <= before.index:
        raise Tampered("the record stands before its predecessor in the log", sequence)
    if told.epoch < before.epoch:
        raise Tampered("the record is of an earlier epoch than its predecessor", sequence)
    if told.at < before.at:
        raise Tampered("the record is older than its predecessor", sequence)


def check_payloads(told: Told, payloads: Mapping[str, Sequence[Mapping[str, str]]]) -> None:
    """Raises Tampered unless everything that was said is what the record commits to."""
    for name, fields in payloads.items():
        if name not in told.commitments:
            raise Tampered(f"the record knows of no {name}", told.sequence)
        pointers = [_pointer(field["text"], told.sequence) for field in fields if "text" in field]
        is_whole = pointers == [""] and len(fields) == 1
        if not fields or (not is_whole and (len({*pointers}) < len(pointers) or "" in pointers)):
            raise Tampered(f"the fields of {name} are not those of one payload", told.sequence)
        if payload_commitment(list(map(_commitment, fields))).hex() != told.commitments[name]:
            raise Tampered(f"what is shown as {name} is not what was said", told.sequence)


def _commitment(field: Mapping[str, str]) -> bytes:
    if "commitment" in field:
        return bytes.fromhex(field["commitment"])
    return field_commitment(bytes.fromhex(field["salt"]), field["text"])


def _pointer(text: str, sequence: int) -> str:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, list) and len(told) == 2 and isinstance(told[0], str) and told[0][:1] in ("", "/"):
        return told[0]
    raise Tampered("a field is not a pointer and a value", sequence)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_principal(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() - {"responsible", "on_behalf_of"} != {
        "kind",
        "issuer",
        "subject",
        "roles",
        "method",
    }:
        return False
    roles = value["roles"]
    said = [value[name] for name in value.keys() - {"roles"}]
    return isinstance(roles, list) and all(map(_is_text, roles)) and all(map(_is_text, said))


def _is_subject(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, dict)
        and value.keys() - {"attempt"} == {"name", "instance"}
        and _is_text(value["name"])
        and all(_is_count(value[name]) and value[name] for name in value.keys() - {"name"})
    )


def _is_payloads(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(said, dict)
        and said.keys() == {"commitment", "size"}
        and _is_text(said["commitment"])
        and HASH.fullmatch(said["commitment"])
        and _is_count(said["size"])
        for said in value.values()
    )


_FORMS: Mapping[str, Callable[[Any], bool]] = {
    "at": lambda value: _is_text(value) and TIME.fullmatch(value) is not None,
    "data": lambda value: isinstance(value, dict),
    "epoch": _is_count,
    "index": _is_count,
    "kind": lambda value: _is_text(value) and _KIND.fullmatch(value) is not None,
    "log": _is_text,
    "namespace": _is_text,
    "operation": _is_text,
    "payloads": _is_payloads,
    "prev": lambda value: value is None or (_is_text(value) and HASH.fullmatch(value) is not None),
    "principal": _is_principal,
    "sequence": _is_count,
    "subject": _is_subject,
    "v": lambda value: value == 1 and _is_count(value),
    "version": lambda value: _is_count(value) and value > 0,
}
