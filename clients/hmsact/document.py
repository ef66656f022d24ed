"""Reads an export: strict JSON, the members it must have and no others, laid out byte by byte as it was written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from hmsact.layout import CLOSING, FORMAT, Entry, Header, Join, entry_text, header_text
from hmsact.record import HASH, INTEGER_MAX
from hmsact.tampered import Tampered

HEADER_LINES = 9


@dataclass(frozen=True, slots=True)
class Document:
    """An export as read; nothing in it has been verified yet."""

    header: Header
    entries: tuple[Entry, ...]


def read_document(export: bytes) -> Document:
    """Returns what a file says; raises Tampered where it isn't an export, or isn't laid out as one."""
    try:
        text = export.decode("ascii")
        told = strict_json(text)
    except ValueError as error:
        if _is_cut_off(export, error):
            raise Tampered("the file ends too early: it is cut off") from error
        at = error.lineno if isinstance(error, json.JSONDecodeError) else 0
        raise Tampered(f"this is not an export: {error}", _sequence(at)) from error
    header, entries = _header(told), list[Entry]()
    for sequence, each in enumerate(told["records"], 1):
        entries.append(_entry(each, sequence))
    document = Document(header, tuple(entries))
    _check_layout(text, document)
    return document


def is_like_an_export(file: bytes) -> bool:
    """True if a file was an export, whatever has happened to it since; False if it is something else."""
    return f'"{FORMAT}"'.encode() in file[:256]


def _is_cut_off(export: bytes, error: ValueError) -> bool:
    is_open = isinstance(error, json.JSONDecodeError) and not error.msg.startswith("Extra data")
    return is_open and is_like_an_export(export) and not export.endswith(CLOSING.encode())


def strict_json(text: str) -> Any:
    """Parses JSON without floats, unsafe integers or the names that Python adds; raises ValueError."""
    try:
        return json.loads(text, parse_float=_refuse, parse_constant=_refuse, parse_int=_integer)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _header(told: Any) -> Header:
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise Tampered(f"this is not an export in the format {FORMAT}")
    names = ("log", "key", "namespace", "operation", "seal", "head")
    _members(told, {"format", "joins", "records", *names}, None)
    for name in names:
        _check(isinstance(told[name], str), f"{name} is not a text", None)
    _check(isinstance(told["records"], list), "records is not a list", None)
    texts = {name: told[name] for name in names}
    return Header(**texts, joins=_list(told["joins"], _join, "joins", None))


def _join(told: Any) -> Join:
    _members(told, {"size", "root", "proof"}, None)
    _check(isinstance(told["size"], int) and not isinstance(told["size"], bool), "a size is not a number", None)
    return Join(
        told["size"], _hash(told["root"], None), _list(told["proof"], lambda node: _hash(node, None), "proof", None)
    )


def _entry(told: Any, sequence: int) -> Entry:
    _members(told, {"record", "proof", "payloads"}, sequence)
    _check(isinstance(told["record"], str), "the record is not a text", sequence)
    _check(isinstance(told["payloads"], dict), "payloads is not an object", sequence)
    proof = _list(told["proof"], lambda node: _hash(node, sequence), "the proof", sequence)
    payloads = {
        name: _list(fields, lambda field: _field(field, sequence), "a payload", sequence)
        for name, fields in told["payloads"].items()
    }
    return Entry(told["record"], proof, payloads)


def _field(told: Any, sequence: int) -> Mapping[str, str]:
    _check(isinstance(told, dict), "a field is not an object", sequence)
    if "commitment" in told:
        _members(told, {"commitment"}, sequence)
        _hash(told["commitment"], sequence)
    else:
        _members(told, {"salt", "text"}, sequence)
        _hash(told["salt"], sequence)
        _check(isinstance(told["text"], str) and told["text"].isascii(), "a field's text is not ASCII", sequence)
    return {str(name): str(value) for name, value in told.items()}


def _members(told: Any, names: set[str], sequence: int | None) -> None:
    _check(
        isinstance(told, dict) and told.keys() == names,
        f"an object does not have the members {sorted(names)}",
        sequence,
    )


def _list(told: Any, read: Callable[[Any], Any], what: str, sequence: int | None) -> Sequence[Any]:
    _check(isinstance(told, list), f"{what} is not a list", sequence)
    return tuple(map(read, told))


def _hash(told: Any, sequence: int | None) -> bytes:
    _check(isinstance(told, str) and HASH.fullmatch(told) is not None, "a hash is not written in hex", sequence)
    return bytes.fromhex(told)


def _check(holds: bool, problem: str, sequence: int | None) -> None:
    if not holds:
        raise Tampered(problem, sequence)


def _check_layout(text: str, document: Document) -> None:
    """What says the same in other bytes was touched, be it by a space; duplicate members are found here, too."""
    parts = [header_text(document.header)]
    parts += (entry_text(entry, is_first=position == 0) for position, entry in enumerate(document.entries))
    parts.append(CLOSING)
    expected = "".join(parts)
    if text == expected:
        return
    lines = zip(text.split("\n"), expected.split("\n"), strict=False)
    line = next((number for number, (found, right) in enumerate(lines, 1) if found != right), 0)
    raise Tampered("the file is not laid out as it was written", _sequence(line))


def _sequence(line: int) -> int | None:
    """The event that a line of the file holds."""
    return line - HEADER_LINES if line > HEADER_LINES else None


def _integer(text: str) -> int:
    # Longer numbers are refused unread: Python has a limit of its own, with a fault of its own.
    value = int(text) if len(text) <= 17 else INTEGER_MAX + 1
    if abs(value) > INTEGER_MAX:
        raise ValueError("a number is beyond what JSON keeps exactly")
    return value


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number that a record may hold")
