"""The daemon at its socket, as whoever sends raw bytes meets it: no stub, no types, whatever number of requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeGuard

from grpc import StatusCode, aio

from tests.hostile.door import Answer, Said

WITHIN_S = 20.0
"""How long an answer may take before it counts as none."""

LOST = "Internal error from Core"
"""What grpc.aio says in place of the daemon's answer when the daemon has ended a stream on which it went on writing."""

Metadata = tuple[tuple[str, str | bytes], ...]


class WireDoor:
    """One connection. To gRPC every call looks like a stream both ways; what the daemon takes it for is its affair."""

    def __init__(self, channel: aio.Channel) -> None:
        self._channel = channel

    async def ask(
        self,
        path: str,
        said: Said,
        token: str = "",
        heard: Callable[[bytes], Any] | None = None,
        *,
        metadata: Metadata = (),
        deadline_s: float | None = WITHIN_S,
        hangs_up_after_s: float = WITHIN_S,
    ) -> Answer:
        """Call an RPC; hangs up on what goes on for too long."""
        if token:
            metadata = (*metadata, ("authorization", f"Bearer {token}"))
        messages: list[bytes] = []
        channel: Any = self._channel
        # One request goes out together with the end of them: there is nothing left to write when the daemon answers.
        ask, asked = (channel.unary_stream, said[0]) if _is_one(said) else (channel.stream_stream, said)
        call = ask(path)(asked, metadata=metadata, timeout=deadline_s)
        try:
            async with asyncio.timeout(hangs_up_after_s):
                async for message in call:
                    messages.append(message)
                    if heard is not None:
                        heard(message)
                code = await call.code()
        except TimeoutError:
            call.cancel()
            return Answer("", "", messages)
        except aio.AioRpcError as error:
            if error.code() is StatusCode.INTERNAL and error.details() == LOST:
                return Answer("", "", messages)
            trailers = tuple((name, value) for name, value in error.trailing_metadata() or ())
            return Answer(error.code().name, error.details() or "", messages, trailers)
        assert code is StatusCode.OK
        return Answer("OK", "", messages, tuple(await call.trailing_metadata()))


def _is_one(said: Said) -> TypeGuard[list[bytes]]:
    return isinstance(said, list) and len(said) == 1


@asynccontextmanager
async def at(address: str) -> AsyncIterator[WireDoor]:
    """A connection of its own, which sends messages of any size and takes them, too."""
    options = (
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_metadata_size", 16 * 1024 * 1024),
        ("grpc.enable_retries", 0),
    )
    async with aio.insecure_channel(address, options) as channel:
        yield WireDoor(channel)
