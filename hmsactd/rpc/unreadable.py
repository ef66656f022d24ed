"""Requests that are no message at all. gRPC would answer with UNKNOWN and the text of protobuf's exception."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from hmsactd.errors import InvalidArgument, Violation
from hmsactd.rpc.status import abort


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


def refusing(handler: Any) -> Any:
    """A handler that is gRPC's own, in the same shape, which refuses what it can't read; it has no guard to do so."""
    codecs = {
        "request_deserializer": reading(handler.request_deserializer),
        "response_serializer": handler.response_serializer,
    }

    async def answer(request: Any, context: Any) -> Any:
        await _refuse(request, context)
        return await handler.unary_unary(request, context)

    async def stream(request: Any, context: Any) -> None:
        await _refuse(request, context)
        await handler.unary_stream(request, context)

    async def converse(requests: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for response in handler.stream_stream(Readable(requests), context):
                yield response
        except InvalidArgument as error:
            await abort(context, error)

    match handler.request_streaming, handler.response_streaming:
        case False, False:
            return grpc.unary_unary_rpc_method_handler(answer, **codecs)
        case False, True:
            return grpc.unary_stream_rpc_method_handler(stream, **codecs)
        case _:
            return grpc.stream_stream_rpc_method_handler(converse, **codecs)


async def _refuse(request: Any, context: Any) -> None:
    try:
        refuse_unreadable(request)
    except InvalidArgument as error:
        await abort(context, error)
