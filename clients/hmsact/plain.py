"""Messages as plain values: what `--json` prints, and what an event's `data` holds.

Names are those of the proto files, enums their lower-case words, times RFC 3339 texts in UTC, JSON texts the values
they hold, hashes hex. What was not said is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from hmsact import json_text

_HASHES = {"leaf"}
_TEXTS = {"record"}


def plain(message: Message) -> dict[str, Any]:
    """The fields of a message that were said, as values that can be written as JSON."""
    return {field.name: _field(field, value) for field, value in message.ListFields()}


def time_of(stamp: Timestamp) -> datetime:
    """The time, in UTC."""
    # ToDatetime costs four times as much, and every event has a time.
    return datetime.fromtimestamp(stamp.seconds, UTC) + timedelta(microseconds=stamp.nanos // 1000)


def time_or_none(message: Message, field: str) -> datetime | None:
    """The time in a field, in UTC; None if it was not said."""
    return time_of(getattr(message, field)) if message.HasField(field) else None


def time_text(time: datetime) -> str:
    """The time as RFC 3339 text in UTC, to the millisecond."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def word(enum: EnumDescriptor, number: int) -> str:
    """The lower-case word of an enum's value, without its prefix: "running" for OPERATION_STATE_RUNNING."""
    value = enum.values_by_number.get(number)
    if value is None:
        return str(number)  # A newer daemon knows more of them.
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return "" if number == 0 else value.name.removeprefix(prefix).lower()


def _field(field: FieldDescriptor, value: Any) -> Any:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        convert = _converter(message.fields_by_name["value"], field.name)
        return {key: convert(value[key]) for key in sorted(value)}
    convert = _converter(field, field.name)
    return [convert(member) for member in value] if field.is_repeated else convert(value)


def _converter(field: FieldDescriptor, name: str) -> Callable[[Any], Any]:
    if field.message_type is not None:
        return _message
    if field.enum_type is not None:
        enum = field.enum_type
        return lambda number: word(enum, number)
    if field.type == FieldDescriptor.TYPE_BYTES:
        if name in _HASHES:
            return bytes.hex
        return bytes.decode if name in _TEXTS else json_text.read
    return lambda value: value


def _message(message: Message) -> Any:
    match message:
        case Timestamp():
            return time_text(time_of(message))
        case Duration():
            return (message.seconds * 1_000_000_000 + message.nanos) / 1_000_000_000
        case _:
            return plain(message)
