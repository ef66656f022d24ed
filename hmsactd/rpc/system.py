"""`SystemService`: what the daemon is, and who the caller is to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from grpc import aio
from hmsact.v1 import system_pb2 as pb
from hmsact.v1 import system_pb2_grpc

from hmsactd.definition import duration
from hmsactd.errors import AlreadyExists, FailedPrecondition, InvalidArgument, Violation
from hmsactd.rpc import convert
from hmsactd.rpc.caller import caller
from hmsactd.rpc.desk import Desk
from hmsactd.rpc.times import span_ms, timestamp

Context = aio.ServicerContext[Any, Any]


class SystemServicer(system_pb2_grpc.SystemServiceServicer):
    """Says what the daemon is. `advance` moves the clock where that is allowed."""

    def __init__(self, desk: Desk, version: str, advance: Callable[[int], Awaitable[None]] | None) -> None:
        self._desk = desk
        self._version = version
        self._advance = advance
        self._started_at = desk.clock.now()
        self._advanced: dict[tuple[str, str], int] = {}
        """Spans by caller and request id. A clock that is moved by hand lives as long as its test."""

    async def GetSystemInfo(self, request: pb.GetSystemInfoRequest, context: Context) -> pb.GetSystemInfoResponse:
        timelines = self._desk.timelines
        return pb.GetSystemInfoResponse(
            version=self._version,
            log=timelines.origin,
            verifier_key=timelines.verifier_key,
            log_size=timelines.size,
            start_time=timestamp(self._started_at),
            time=timestamp(self._desk.clock.now()),
            dev=self._desk.settings.dev,
            limits=asdict(self._desk.bounds),
        )

    async def Whoami(self, request: pb.WhoamiRequest, context: Context) -> pb.WhoamiResponse:
        permissions = sorted(self._desk.identity.permissions_of(caller()))
        return pb.WhoamiResponse(principal=convert.principal(caller()), permissions=permissions)

    async def AdvanceClock(self, request: pb.AdvanceClockRequest, context: Context) -> pb.AdvanceClockResponse:
        if self._advance is None:
            raise FailedPrecondition("NO_TEST_CLOCK", "the clock is the machine's: start the daemon with --test-clock")
        by_ms, most_ms = span_ms(request.by), self._desk.bounds.span_max_ms
        if not 0 < by_ms <= most_ms:
            # Beyond the year 9999 the record has no way to write a time.
            sentence = f"is not a positive span of at most {duration.spell(most_ms)}"
            raise InvalidArgument([Violation("by", sentence, "OUT_OF_RANGE")])
        asked = (caller().id, request.request_id)
        if request.request_id and asked in self._advanced:
            if self._advanced[asked] != by_ms:
                raise AlreadyExists("REQUEST_ID_REUSED", f"request id {request.request_id} was used for another span")
        else:
            self._advanced[asked] = by_ms
            await self._advance(by_ms * 1000)
        return pb.AdvanceClockResponse(time=timestamp(self._desk.clock.now()))
