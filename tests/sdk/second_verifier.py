"""A second verifier of exports, written from docs/record-format.md alone. It shares no code with the first.

Standard library and `cryptography` only; it may be copied and run by itself: `python second_verifier.py FILE KEY`.
"""

import base64
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

RECORD = {
    "v": int, "log": str, "index": int, "epoch": int, "namespace": str, "operation": str, "sequence": int,
    "prev": (str, type(None)), "kind": str, "version": int, "at": str, "principal": dict, "subject": (dict, type(None)),
    "data": dict, "payloads": dict,
}  # fmt: skip
HEX = r"[0-9a-f]{64}"
MOMENT = r"\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d\.\d{6}Z"


class Bad(Exception):
    def __init__(self, why: str, event: int | None = None) -> None:
        super().__init__(why)
        self.event = event


def need(holds: object, why: str, event: int | None = None) -> None:
    if not holds:
        raise Bad(why, event)


def h(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def render(document: dict[str, Any]) -> str:
    """The layout: a member a line, then a record a line, members of payloads in the order of their names."""
    names = ("format", "log", "key", "namespace", "operation", "seal", "head", "joins")
    lines = [f'"{name}":{dump(document[name])},' for name in names]
    entries = [
        dump({"record": one["record"], "proof": one["proof"], "payloads": dict(sorted(one["payloads"].items()))})
        for one in document["records"]
    ]
    return "{" + "\n".join(lines) + '\n"records":[\n' + ",\n".join(entries) + "\n]}\n"


def b64(text: str) -> bytes:
    raw = base64.b64decode(text, validate=True)
    need(base64.b64encode(raw).decode() == text, "base64 has one spelling")
    return raw


def parse_key(text: str) -> tuple[str, bytes, bytes]:
    name, key_id, encoded = text.split("+", 2)
    raw = b64(encoded)
    need(len(raw) == 33 and raw[0] == 1, "an Ed25519 key")
    need(h(name.encode(), b"\n", raw)[:4].hex() == key_id, "the id of the key")
    return name, raw[:1], raw[1:]


def open_note(text: str, key: str) -> list[str]:
    name, algorithm, public = parse_key(key)
    body, _, signatures = text.rpartition("\n\n")
    match = re.fullmatch(r"— (\S+) ([A-Za-z0-9+/=]+)\n", signatures)
    if match is None or match[1] != name:
        raise Bad("not one signature, by the key's name")
    signature = b64(match[2])
    need(signature[:4] == h(name.encode(), b"\n", algorithm, public)[:4], "the signature names the key")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], (body + "\n").encode())
    except InvalidSignature:
        raise Bad("the signature is wrong") from None
    return body.split("\n")


def natural(text: str) -> int:
    need(re.fullmatch(r"0|[1-9][0-9]*", text), "a number in decimal")
    return int(text)


def climb(index: int, size: int, leaf: bytes, proof: list[bytes]) -> bytes:
    """RFC 9162 by recursion over the shape of the tree, where the first verifier counts bits."""
    if size == 1:
        need(not proof, "a proof that is too long")
        return leaf
    need(proof, "a proof that is too short")
    split = 1
    while split * 2 < size:
        split *= 2
    if index < split:
        return h(b"\x01", climb(index, split, leaf, proof[:-1]), proof[-1])
    return h(b"\x01", proof[-1], climb(index - split, size - split, leaf, proof[:-1]))


def join(old: int, new: int, old_root: bytes, proof: list[bytes]) -> tuple[bytes, bytes]:
    """Both roots that a consistency proof leads to: (earlier, later)."""

    def walk(size: int, total: int, rest: list[bytes], whole: bool) -> tuple[bytes, bytes]:
        if size == total:
            if whole:
                need(not rest, "a consistency proof that is too long")
                return old_root, old_root
            need(len(rest) == 1, "a consistency proof of the wrong length")
            return rest[0], rest[0]
        need(rest, "a consistency proof that is too short")
        split = 1
        while split * 2 < total:
            split *= 2
        if size <= split:
            earlier, later = walk(size, split, rest[:-1], whole)
            return earlier, h(b"\x01", later, rest[-1])
        earlier, later = walk(size - split, total - split, rest[:-1], False)
        return h(b"\x01", rest[-1], earlier), h(b"\x01", rest[-1], later)

    return walk(old, new, proof, True)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    need(len({name for name, _ in pairs}) == len(pairs), "a member stands twice")
    return dict(pairs)


def hashes(told: Any, event: int | None) -> list[bytes]:
    need(
        isinstance(told, list) and all(isinstance(each, str) and re.fullmatch(HEX, each) for each in told),
        "hashes",
        event,
    )
    return [bytes.fromhex(each) for each in told]


def check_record(entry: Any, event: int, document: dict[str, Any], last: dict[str, Any] | None) -> dict[str, Any]:
    need(isinstance(entry, dict) and set(entry) == {"record", "proof", "payloads"}, "members of an entry", event)
    text = entry["record"]
    try:
        told = json.loads(text, object_pairs_hook=unique)
    except (ValueError, TypeError):
        raise Bad("a record that is not JSON", event) from None
    need(isinstance(told, dict) and set(told) == set(RECORD), "members of a record", event)
    for name, kind in RECORD.items():
        need(isinstance(told[name], kind) and not isinstance(told[name], bool), f"the type of {name}", event)  # type: ignore[arg-type]
    need(
        json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False) == text and text.isascii(),
        "canonical form",
        event,
    )
    need(told["v"] == 1 and told["sequence"] == event, "version and sequence", event)
    need(all(told[name] == document[name] for name in ("log", "namespace", "operation")), "another timeline", event)
    need(re.fullmatch(MOMENT, told["at"]), "the time", event)
    leaf = h(b"\x00", text.encode())
    if last is None:
        need(told["prev"] is None, "the first record follows none", event)
    else:
        need(told["prev"] == last["leaf"].hex(), "the chain", event)
        need(
            told["index"] > last["index"] and told["epoch"] >= last["epoch"] and told["at"] >= last["at"],
            "order",
            event,
        )
    for name, fields in entry["payloads"].items():
        need(name in told["payloads"], "a payload that the record does not know", event)
        parts = []
        for field in fields:
            if set(field) == {"commitment"}:
                parts.append(bytes.fromhex(field["commitment"]))
            else:
                need(set(field) == {"salt", "text"} and re.fullmatch(HEX, field["salt"]), "a field", event)
                parts.append(h(b"\x02", bytes.fromhex(field["salt"]), field["text"].encode("ascii")))
        need(h(b"\x03", *parts).hex() == told["payloads"][name]["commitment"], "what was said", event)
    return {**told, "leaf": leaf}


def verify(export: bytes, key: str) -> int:
    """The number of events; raises Bad, which names the first bad one where it is one."""
    try:
        text = export.decode("ascii")
        document = json.loads(text, object_pairs_hook=unique)
    except ValueError:
        raise Bad("not a document") from None
    names = {"format", "log", "key", "namespace", "operation", "seal", "head", "joins", "records"}
    need(isinstance(document, dict) and set(document) == names and document["format"] == "hmsact-export/1", "members")
    need(document["key"] == key, "another key")
    need(parse_key(key)[0] == document["log"].split("/")[0], "a key of another log")
    seal, head = open_note(document["seal"], key), open_note(document["head"], key)
    need(len(seal) == 3 and seal[0] == document["log"], "the seal")
    size, root = natural(seal[1]), b64(seal[2])
    need(
        len(head) == 8 and head[:4] == ["hmsact-head/1", document["log"], document["namespace"], document["operation"]],
        "the head",
    )
    need(natural(head[6]) == size, "one size")
    for each in document["joins"]:
        need(0 < each["size"] <= size, "the size of a join")
        earlier, later = join(each["size"], size, bytes.fromhex(each["root"]), hashes(each["proof"], None))
        need(earlier.hex() == each["root"] and later == root, "a join")
    last: dict[str, Any] | None = None
    for event, entry in enumerate(document["records"], 1):
        last = check_record(entry, event, document, last)
        need(0 <= last["index"] < size, "the index", event)
        need(climb(last["index"], size, last["leaf"], hashes(entry["proof"], event)) == root, "inclusion", event)
    need(last is not None, "no record", 1)
    assert last is not None
    need(natural(head[4]) == last["sequence"], "the end", last["sequence"] + 1)
    need(head[5] == last["leaf"].hex() and head[7] >= last["at"], "the end", last["sequence"])
    need(render(document) == text, "layout")
    return len(document["records"])


if __name__ == "__main__":
    try:
        print(verify(Path(sys.argv[1]).read_bytes(), sys.argv[2]), "events, verified")
    except (Bad, ValueError, KeyError, TypeError) as error:
        print(f"event {getattr(error, 'event', None)}: {error}", file=sys.stderr)
        sys.exit(1)
