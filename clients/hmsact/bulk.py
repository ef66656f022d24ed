"""Makes the calls that start many operations, on both stacks of gRPC. What is sent and when is in hmsact.many."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import grpc

from hmsact.errors import HmsactError
from hmsact.many import UNHURRIED_S, Item, Many, StartResult
from hmsact.operation import AsyncOperation, Operation
from hmsact.status import error_of

_END: Any = object()


def run(
    many: Many[Operation], items: Iterable[Item], call: Callable[[Iterator[Any]], Any], address: str
) -> Iterator[StartResult[Operation]]:
    """The results, in the order of the items."""
    source = iter(items)
    failure: Exception | None = None
    while not many.is_done():
        outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        stream = call(iter(outbox.get, None))
        delay_s = 0.0
        try:
            while not many.is_done():
                yield from many.results()
                unhurried_at = time.monotonic() + UNHURRIED_S
                while many.wants_items and time.monotonic() < unhurried_at:
                    try:
                        # Not by gRPC's thread: what the caller's items raise is the caller's to see.
                        many.take(item) if (item := next(source, _END)) is not _END else many.end()
                    except Exception as raised:  # noqa: BLE001 -- raised again when all before it has its result
                        failure = raised
                        many.end()
                    if many.is_batch_full:
                        _send(many, outbox)
                _send(many, outbox)
                if many.awaits_results:
                    many.hear(next(stream, None))
                else:
                    time.sleep(many.pause_s)
            outbox.put(None)
            next(stream, None)
        except grpc.RpcError as lost:
            delay_s = many.lost_s(error_of(lost, address))
        except HmsactError as error:
            delay_s = many.lost_s(error)
        finally:
            outbox.put(None)
            stream.cancel()
        time.sleep(delay_s)
    if failure is not None:
        raise failure


async def run_async(
    many: Many[AsyncOperation],
    items: Iterable[Item] | AsyncIterable[Item],
    call: Callable[[], Any],
    address: str,
) -> AsyncIterator[StartResult[AsyncOperation]]:
    """The same from coroutines."""
    source = aiter(items) if isinstance(items, AsyncIterable) else _each(items)
    failure: Exception | None = None
    while not many.is_done():
        stream = call()
        delay_s = 0.0
        try:
            while not many.is_done():
                for result in many.results():
                    yield result
                unhurried_at = time.monotonic() + UNHURRIED_S
                while many.wants_items and time.monotonic() < unhurried_at:
                    try:
                        many.take(item) if (item := await anext(source, _END)) is not _END else many.end()
                    except Exception as raised:  # noqa: BLE001 -- raised again when all before it has its result
                        failure = raised
                        many.end()
                    if many.is_batch_full:
                        await _write(many, stream)
                await _write(many, stream)
                if many.awaits_results:
                    response = await stream.read()
                    many.hear(None if response is grpc.aio.EOF else response)
                else:
                    await asyncio.sleep(many.pause_s)
            await stream.done_writing()
            await stream.read()
        except grpc.RpcError as lost:
            delay_s = many.lost_s(error_of(lost, address))
        except HmsactError as error:
            delay_s = many.lost_s(error)
        finally:
            stream.cancel()
        await asyncio.sleep(delay_s)
    if failure is not None:
        raise failure


def _send(many: Many[Operation], outbox: queue.SimpleQueue[Any]) -> None:
    while (message := many.message()) is not None:
        outbox.put(message)


async def _write(many: Many[AsyncOperation], stream: Any) -> None:
    while (message := many.message()) is not None:
        await stream.write(message)


async def _each(items: Iterable[Item]) -> AsyncIterator[Item]:
    for item in items:
        yield item
