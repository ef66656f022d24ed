"""Where scenarios are played: a daemon with data of its own, the relay before it, and a caller of operations."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import grpc
from google.protobuf.duration_pb2 import Duration
from grpc import aio
from hmsact.v1 import operation_pb2, operation_pb2_grpc
from hmsact.v1 import worker_pb2 as pb

from hmsactd.conformance.agency import Agency
from hmsactd.conformance.meddling import Meddling
from hmsactd.conformance.relay import Relay
from hmsactd.conformance.tower import Tower
from hmsactd.conformance.transcript import Ended, Line, Transcript
from hmsactd.conformance.unmet import Unmet

RETRY_DELAY: Final = "100ms"


@dataclass(slots=True)
class Stage:
    """What a scenario has to hand. Times are how long anything may take that ought to come at once."""

    svc: str
    patience_s: float
    grace_s: float
    transcript: Transcript
    relay: Relay
    listen: str
    tower: Tower
    agency: Agency | None = None
    _started: int = 0
    _begun: list[str] = field(default_factory=list)

    # -- operations ----------------------------------------------------------------------------------------------------

    async def start(
        self, step: str, said: Any, meddling: type[Meddling] | None = None, heartbeat: str | None = None
    ) -> str:
        """Start an operation of one step, with `said` as its input and a meddling about it; returns its id."""
        item = {"step": step, "svc": self.svc, "retry_delay": RETRY_DELAY}
        if heartbeat is not None:
            item["heartbeat"] = heartbeat
        self._started += 1
        name = f"{step}_{self._started}"
        if meddling is not None:
            self.relay.meddling = meddling(name)
        definition = {"name": name, "steps": [item]}
        request = operation_pb2.StartOperationRequest(
            definition=json.dumps(definition).encode(), input=json.dumps(said).encode(), request_id=str(uuid.uuid4())
        )
        async with self._operations() as operations:
            operation_id = (await operations.StartOperation(request, wait_for_ready=True)).operation_id
        self._begun.append(operation_id)
        return operation_id

    async def cancel(self, operation_id: str) -> None:
        """End an operation, unless it has ended already."""
        request = operation_pb2.CancelOperationRequest(operation_id=operation_id, reason="the check is over")
        async with self._operations() as operations:
            try:
                await operations.CancelOperation(request, wait_for_ready=True)
            except aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                    raise

    async def ended(self, operation_id: str, state: str, within_s: float | None = None) -> operation_pb2.Operation:
        """The operation, once it is final. Raises Unmet if it comes to another end, or to none in time."""
        wait = Duration(seconds=int(within_s or self.patience_s))
        request = operation_pb2.WaitOperationRequest(operation_id=operation_id, timeout=wait)
        async with self._operations() as operations:
            await operations.WaitOperation(request, wait_for_ready=True)
            asked = operation_pb2.GetOperationRequest(operation_id=operation_id)
            operation = (await operations.GetOperation(asked, wait_for_ready=True)).operation
        found = operation_pb2.OperationState.Name(operation.state).removeprefix("OPERATION_STATE_").lower()
        if found != state:
            (item,) = operation.items
            step = operation_pb2.StepState.Name(item.step.state).removeprefix("STEP_STATE_").lower()
            happened = f"it is {found}, its step {step} in attempt {item.step.attempt}"
            raise Unmet(f"the operation to be {state} in the end", happened)
        return operation

    # -- what is said --------------------------------------------------------------------------------------------------

    async def call(self, operation_id: str, attempt: int = 1) -> pb.Call:
        """The call of an operation's step, once the worker has been given it."""

        def pick(line: Line) -> pb.Call | None:
            calls = line.said.calls if isinstance(line.said, pb.WorkResponse) else ()
            return next((call for call in calls if _is_of(call.attempt, operation_id, attempt)), None)

        expected = f"a worker with room for the call of attempt {attempt}"
        return await self.transcript.find(pick, expected, self.patience_s)

    async def report(
        self, operation_id: str, attempt: int = 1, after: int = 0, within_s: float | None = None, expected: str = ""
    ) -> pb.Report:
        """What the worker reports of an attempt, from a mark on."""

        def pick(line: Line) -> pb.Report | None:
            return next(iter(_reports(line, operation_id, attempt)), None)

        expected = expected or f"a report of attempt {attempt}"
        return await self.transcript.find(pick, expected, within_s or self.patience_s, after)

    def reports(self, operation_id: str, after: int = 0) -> list[pb.Report]:
        """Everything that has been reported of an operation, from a mark on."""
        lists = self.transcript.pick(lambda line: _reports(line, operation_id) or None, after)
        return [report for reports in lists for report in reports]

    async def verdict(self, operation_id: str, after: int = 0) -> pb.Verdict:
        """The daemon's word on a report, once the worker has been told it."""

        def pick(line: Line) -> pb.Verdict | None:
            verdicts = line.said.verdicts if isinstance(line.said, pb.WorkResponse) else ()
            return next((verdict for verdict in verdicts if verdict.attempt.operation_id == operation_id), None)

        return await self.transcript.find(pick, "a report that the daemon can judge", self.patience_s, after)

    async def hello(self, after: int, within_s: float | None = None) -> pb.Hello:
        """The next hello from a mark on: the worker connects."""

        def pick(line: Line) -> pb.Hello | None:
            return line.said.hello if isinstance(line.said, pb.WorkRequest) and line.said.HasField("hello") else None

        return await self.transcript.find(pick, "a worker that connects", within_s or self.patience_s, after)

    def hellos(self) -> list[pb.Hello]:
        """Every hello so far."""

        def pick(line: Line) -> pb.Hello | None:
            return line.said.hello if isinstance(line.said, pb.WorkRequest) and line.said.HasField("hello") else None

        return self.transcript.pick(pick)

    async def welcome(self, after: int = 0) -> pb.Welcome:
        """The daemon's answer to the next hello. Raises Unmet if it is refused."""

        def pick(line: Line) -> pb.Welcome | Ended | None:
            match line.said:
                case pb.WorkResponse() if line.said.HasField("welcome"):
                    return line.said.welcome
                case Ended(code=code) if code not in ("", "UNAVAILABLE", "CANCELLED"):
                    return line.said
                case _:
                    return None

        answer: pb.Welcome | Ended = await self.transcript.find(
            pick, "a hello that the daemon welcomes", self.patience_s, after
        )
        if isinstance(answer, Ended):
            raise Unmet("a hello that the daemon welcomes", f"it was refused with {answer.code}: {answer.sentence}")
        return answer

    def tickets(self, before: int) -> list[str]:
        """The tickets that the worker was given up to a mark, in order."""

        def pick(line: Line) -> str | None:
            is_welcome = isinstance(line.said, pb.WorkResponse) and line.said.HasField("welcome")
            return line.said.welcome.session if is_welcome else None  # type: ignore[union-attr]

        return self.transcript.pick(pick, before=before)

    # -- what becomes of the daemon ------------------------------------------------------------------------------------

    async def restart(self, in_order: bool) -> None:
        """The daemon goes and comes back: in order with a drain, or without a word."""
        if not in_order:
            await self.relay.down()
        await self.tower.stop()
        await self.relay.down()
        await self.tower.start()
        await self.relay.reach(self.tower.address)
        await self.relay.up(self.listen)

    async def tidy(self) -> None:
        """After a scenario: nothing is meddled with, nothing of it goes on."""
        self.relay.meddling = Meddling()
        begun, self._begun = self._begun, []
        for operation_id in begun:
            await self.cancel(operation_id)

    @asynccontextmanager
    async def _operations(self) -> AsyncIterator[operation_pb2_grpc.OperationServiceAsyncStub]:
        async with aio.insecure_channel(self.tower.address) as channel:
            yield operation_pb2_grpc.OperationServiceStub(channel)


@asynccontextmanager
async def opened(svc: str, listen: str, data: Path, patience_s: float, grace_s: float) -> AsyncIterator[Stage]:
    """A stage that listens, with a daemon that is ready."""
    transcript = Transcript()
    relay = Relay(transcript)
    async with anyio.create_task_group() as tasks:
        tower = Tower(data, tasks, grace_s)
        await tower.start()
        await relay.reach(tower.address)
        stage = Stage(svc, patience_s, grace_s, transcript, relay, await relay.up(listen), tower)
        try:
            yield stage
        finally:
            with anyio.CancelScope(shield=True):
                await relay.down()
                await relay.reach(None)
                await tower.stop()


def _is_of(attempt: pb.Attempt, operation_id: str, number: int | None) -> bool:
    return attempt.operation_id == operation_id and number in (None, attempt.attempt)


def _reports(line: Line, operation_id: str, attempt: int | None = None) -> list[pb.Report]:
    reports = line.said.reports if isinstance(line.said, pb.WorkRequest) else ()
    return [report for report in reports if _is_of(report.attempt, operation_id, attempt)]
