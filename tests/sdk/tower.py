"""The daemon's side of a worker's stream, led by a test: it hears what the worker says, and says what the test says."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc
from hmsact.v1 import worker_pb2 as pb

from tests.sdk.fake import OPERATION, Context, refuse

PATIENCE_S = 20.0
END = object()


class Tower:
    """The behaviour of Work: each connection of a worker comes up in `connection`."""

    def __init__(self) -> None:
        self._connections: queue.Queue[Connection] = queue.Queue()

    def __call__(self, requests: Iterator[pb.WorkRequest], context: Context) -> Iterator[pb.WorkResponse]:
        connection = Connection(requests, context)
        self._connections.put(connection)
        yield from connection.responses()

    async def connection(self) -> Connection:
        """The next connection, after its hello."""
        connection = await asyncio.to_thread(self._connections.get, timeout=PATIENCE_S)
        connection.hello = (await connection.hear()).hello
        return connection

    async def welcome(self, **facts: Any) -> Connection:
        """The next connection, welcomed."""
        connection = await self.connection()
        connection.say(welcome=pb.Welcome(**{"session": "wrk_1", "payload_max_bytes": 1000, **facts}))
        return connection


class Connection:
    """One stream of a worker."""

    def __init__(self, requests: Iterator[pb.WorkRequest], context: Context) -> None:
        self.hello = pb.Hello()
        self._context = context
        self._heard: queue.Queue[Any] = queue.Queue()
        self._to_say: queue.Queue[Any] = queue.Queue()
        context.add_callback(lambda: self._to_say.put(END))
        threading.Thread(target=self._listen, args=(requests,), name="tower listens", daemon=True).start()

    def _listen(self, requests: Iterator[pb.WorkRequest]) -> None:
        try:
            for request in requests:
                self._heard.put(request)
        except grpc.RpcError:
            pass
        self._heard.put(END)

    def responses(self) -> Iterator[pb.WorkResponse]:
        """What the test says, until it or the worker ends the stream."""
        while (said := self._to_say.get()) is not END:
            if isinstance(said, grpc.StatusCode):
                refuse(self._context, said, "the daemon says no", "NO")
            yield said

    # -- what the test does

    def say(self, **facts: Any) -> None:
        """Sends a message."""
        self._to_say.put(pb.WorkResponse(**facts))

    def end(self, code: grpc.StatusCode | None = None) -> None:
        """Ends the stream, with a status or in peace."""
        self._to_say.put(END if code is None else code)

    async def hear(self) -> pb.WorkRequest:
        """The next message."""
        heard = await asyncio.to_thread(self._heard.get, timeout=PATIENCE_S)
        assert heard is not END, "the worker has ended the stream"
        assert isinstance(heard, pb.WorkRequest)
        return heard

    async def report(self) -> pb.Report:
        """The next report, whatever is said besides."""
        while not (heard := await self.hear()).reports:
            pass
        assert len(heard.reports) == 1
        return heard.reports[0]

    async def goodbye(self) -> None:
        """Hears the worker out, until it ends its side; then ends the stream."""
        while await asyncio.to_thread(self._heard.get, timeout=PATIENCE_S) is not END:
            pass
        self.end()

    def judge(self, *attempts: pb.Attempt, kind: pb.VerdictKind.ValueType = pb.VERDICT_KIND_RECORDED) -> None:
        """Says what has become of reports."""
        self.say(verdicts=[pb.Verdict(attempt=attempt, kind=kind) for attempt in attempts])


def attempt(number: int = 1, operation_id: str = OPERATION) -> pb.Attempt:
    """An attempt at the first step."""
    return pb.Attempt(namespace="default", operation_id=operation_id, instance=1, attempt=number)


def call(step: str = "check", **facts: Any) -> pb.Call:
    """A call of a step."""
    told = {"attempt": attempt(), "idempotency_key": f"{OPERATION}/1", "input": b'{"income":5}', **facts}
    return pb.Call(step=step, **told)
