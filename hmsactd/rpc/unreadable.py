"""Requests that don't come, or are no message. gRPC would wait for ever, or tell the text of protobuf's exception."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc.aio import EOF

from hmsactd.errors import DeadlineExceeded, HmsactdError, InvalidArgument, Violation
from hmsactd.rpc.status import abort
from hmsactd.rpc.streams import Streams

REQUEST_WITHIN_S = 60.0
"""How long a request may take from its headers to its end: the largest message over half a megabit a second."""


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


async def only_request(context: Any) -> Any:
    """The one request of a call; raises `InvalidArgument` if there is none, or none that can be read."""
    try:
        async with asyncio.timeout(REQUEST_WITHIN_S):
            request = await context.read()
    except TimeoutError:
        raise DeadlineExceeded(
            "REQUEST_SLOW", f"the request has not come within {REQUEST_WITHIN_S:.0f} s of its headers"
        ) from None
    if request is EOF:
        raise InvalidArgument([Violation("", "there is none", "NO_REQUEST")])
    refuse_unreadable(request)
    return request


def open_to_all(handler: Any, streams: Streams) -> Any:
    """A handler that is gRPC's own, for callers who are not asked who they are: they share the places of one principal.

    It refuses what it can't read, and has no guard to do so.
    """
    codecs = {
        "request_deserializer": reading(handler.request_deserializer),
        "response_serializer": handler.response_serializer,
    }

    async def answer(_requests: Any, context: Any) -> Any:
        try:
            with streams.one_of_nobody():
                return await handler.unary_unary(await only_request(context), context)
        except HmsactdError as error:
            await abort(context, error)

    async def stream(_requests: Any, context: Any) -> None:
        try:
            with streams.one_of_nobody():
                await handler.unary_stream(await only_request(context), context)
        except HmsactdError as error:
            await abort(context, error)

    async def converse(requests: Any, context: Any) -> AsyncIterator[Any]:
        try:
            with streams.one_of_nobody():
                async for response in handler.stream_stream(Readable(requests), context):
                    yield response
        except HmsactdError as error:
            await abort(context, error)

    match handler.request_streaming, handler.response_streaming:
        case False, False:
            return grpc.stream_unary_rpc_method_handler(answer, **codecs)
        case False, True:
            return grpc.stream_stream_rpc_method_handler(stream, **codecs)
        case _:
            return grpc.stream_stream_rpc_method_handler(converse, **codecs)
