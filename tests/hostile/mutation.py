"""Makes a request hostile: its fields, then its bytes, as a seed has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

MANY = 100_000
"""How often something is repeated that is repeated."""

RARELY = 0.003
"""How often something is made that takes a tenth of a second to be read."""

TEXTS = (
    "",
    "\0",
    "check\0",
    "\u202egnp.exe",
    "‮⁦review⁩",
    "\ufeffcheck",
    "e\u0301" * 40,
    "\U0010ffff",
    "%s%n%x",
    "{0.__class__}",
    "'; DROP TABLE operation; --",
    "../../../../etc/passwd",
    "op_" + "z" * 26,
    "op_" + "0" * 26,
    "OP",
    "%",
    "\r\n\r\nHTTP/1.1 200 OK",
    "\x1b[2J",
    "x" * 70_000,
    "٣" * 30,
    "9" * 400,
    "W10=",
    "eyJhbGciOiJub25lIn0..",
    "(" * 3_000,
    'NOT NOT state = "',
    'key = "\\ud800"',
    'start_time > "9999999999-01-01T00:00:00Z"',
)
BYTES = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 33 + b"1" + b"}" * 33,
    b"NaN",
    b"1e999",
    b"-" + b"9" * 5_000,
    b'"\\ud800"',
    b'"\xed\xa0\x80"',
    b'{"__proto__": 1, "a": 1, "a": 2}',
    b'"' + b"x" * 300_000 + b'"',
    b'{"name": "flow", "steps": [{"step": "a", "svc": "b", "retries": 1e400}]}',
    b'{"name": "flow", "steps": {"step": "a"}}',
    b'{"name": "f\\u0000", "steps": [null, 1, "a", [], {}]}',
)
NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1, 99)


def mutated(message: Message, chance: Random) -> bytes:
    """The message as bytes, with something wrong in it, or several things."""
    hostile = type(message)()
    hostile.CopyFrom(message)
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        _spoil(chance.choice(list(_messages(hostile))), chance)
    raw = hostile.SerializeToString()
    for _ in range(chance.choice((0, 0, 1, 1, 2, 4))):
        raw = chance.choice(_ON_BYTES)(raw, chance)
    return raw


def _messages(message: Message) -> Iterator[Message]:
    """A message, and all that are in it."""
    yield message
    for each, value in message.ListFields():
        if each.message_type is None or each.message_type.GetOptions().map_entry:
            continue
        for inner in value if each.is_repeated else (value,):
            yield from _messages(inner)


# -- fields ------------------------------------------------------------------------------------------------------------


def _spoil(message: Message, chance: Random) -> None:
    """Something wrong in one of its fields."""
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    each = cast("FieldDescriptor", chance.choice(fields))
    if chance.random() < 0.1:
        message.ClearField(each.name)
        return
    times = MANY if chance.random() < RARELY else chance.choice((1, 2, 40, 2_000))
    target: Any = getattr(message, each.name)
    if each.message_type is not None and each.message_type.GetOptions().map_entry:
        for number in range(min(times, 2_000)):
            target[chance.choice(TEXTS)[:200] + str(number)] = chance.choice(TEXTS)[:400]
    elif each.message_type is not None and each.is_repeated:
        for _ in range(min(times, 2_000)):
            _spoil(target.add(), chance)
    elif each.message_type is not None:
        target.SetInParent()
        _spoil(target, chance)
    elif each.is_repeated:
        target.extend([_value(each, chance)] * times)
    else:
        setattr(message, each.name, _value(each, chance))


def _value(each: FieldDescriptor, chance: Random) -> Any:
    if each.type == FieldDescriptor.TYPE_STRING:
        return chance.choice(TEXTS)
    if each.type == FieldDescriptor.TYPE_BYTES:
        return chance.choice(BYTES)
    if each.type == FieldDescriptor.TYPE_BOOL:
        return chance.random() < 0.5
    if each.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return chance.choice((float("nan"), float("inf"), -0.0, 1e308))
    least, most = _RANGES.get(each.type, (-(2**63), 2**63 - 1))
    return min(max(chance.choice(NUMBERS), least), most)


_RANGES = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_ENUM: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}


# -- bytes -------------------------------------------------------------------------------------------------------------


def _flipped(raw: bytes, chance: Random) -> bytes:
    if not raw:
        return b"\xff"
    at = chance.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ (1 << chance.randrange(8))]) + raw[at + 1 :]


def _not_utf8(raw: bytes, chance: Random) -> bytes:
    letters = [at for at, byte in enumerate(raw[:2_000]) if 97 <= byte <= 122]
    if not letters:
        return raw
    at = chance.choice(letters)
    return raw[:at] + chance.choice((b"\xff", b"\x80", b"\0")) + raw[at + 1 :]


def _truncated(raw: bytes, chance: Random) -> bytes:
    return raw[: chance.randrange(len(raw) + 1)]


def _cut_out(raw: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + raw[at + chance.randint(1, 8) :]


def _put_in(raw: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + chance.randbytes(chance.randint(1, 8)) + raw[at:]


def _doubled(raw: bytes, chance: Random) -> bytes:
    """Every field is said twice, oneofs too."""
    return raw * 2


def _repeated(raw: bytes, chance: Random) -> bytes:
    """One field is said very often: of a number between 1 and 12, of any wire type that is short."""
    number = chance.randint(1, 12)
    times = MANY if chance.random() < RARELY * 10 else 1_000
    one = chance.choice((bytes([number << 3, 1]), bytes([number << 3 | 2, 0]), bytes([number << 3 | 2, 1, 97])))
    return raw + one * times


def _deep(raw: bytes, chance: Random) -> bytes:
    """A message in a message, and so on, in a field that there is or not."""
    tag, inner = bytes([chance.randint(1, 12) << 3 | 2]), b""
    for _ in range(chance.choice((5, 90, 110, 1_000))):
        inner = tag + _varint(len(inner)) + inner
    return raw + inner


def _groups(raw: bytes, chance: Random) -> bytes:
    """Groups in groups, of which protobuf skips what it does not know."""
    return raw + b"\x7b" * chance.choice((1, 99, 5_000)) + b"\x7c" * chance.choice((0, 99, 5_000))


def _noise(raw: bytes, chance: Random) -> bytes:
    return chance.randbytes(chance.randint(0, 300))


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


_ON_BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (
    _flipped,
    _flipped,
    _not_utf8,
    _truncated,
    _cut_out,
    _put_in,
    _doubled,
    _repeated,
    _deep,
    _groups,
    _noise,
)
