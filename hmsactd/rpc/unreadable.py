"""Requests that are no message at all. gRPC would answer with UNKNOWN and the text of protobuf's exception."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import DecodeError

from hmsactd.errors import InvalidArgument, Violation


class Unreadable:
    """Stands in for a request whose bytes are no message, until somebody is there to refuse it."""


UNREADABLE = Unreadable()


def reading(read: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """A deserialiser that raises nothing; none where requests are taken as bytes."""
    if read is None:
        return None

    def read_or_not(raw: bytes) -> Any:
        try:
            return read(raw)
        except DecodeError:
            return UNREADABLE

    return read_or_not


def refuse_unreadable(request: Any) -> None:
    """Raises `InvalidArgument` for what could not be read."""
    if request is UNREADABLE:
        sentence = "its bytes are no such message of protobuf, or a string in it is not UTF-8"
        raise InvalidArgument([Violation("", sentence, "NOT_PROTOBUF")])


class Readable:
    """The requests of a stream, up to the first that could not be read, which raises `InvalidArgument`."""

    def __init__(self, requests: AsyncIterator[Any]) -> None:
        self._requests = requests.__aiter__()

    def __aiter__(self) -> Readable:
        return self

    async def __anext__(self) -> Any:
        request = await anext(self._requests)
        refuse_unreadable(request)
        return request
