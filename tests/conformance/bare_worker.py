"""A program: the test build of a worker on nothing but the generated code, which may be told to have one fault.

Arguments: the service, and the fault. Without a fault it is correct, and as short as a correct worker gets.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc import aio
from hmsact.v1 import worker_pb2 as pb
from hmsact.v1 import worker_pb2_grpc

Key = tuple[str, int, int]

FAULTS = (
    "names_too_few_steps",
    "reports_before_hello",
    "wraps_the_output",
    "stays_silent",
    "calls_every_failure_permanent",
    "calls_no_failure_permanent",
    "loses_codes",
    "goes_by_the_attempt",
    "does_one_at_a_time",
    "never_beats",
    "does_a_repeated_call_again",
    "dies_of_unknown_fields",
    "forgets_what_it_has_reported",
    "does_it_again_after_a_cut",
    "takes_again_for_recorded",
    "keeps_what_is_stale",
    "ends_on_stale",
    "ignores_withdrawal",
    "shows_no_ticket",
    "drops_its_calls_on_a_drain",
    "ignores_what_is_gone",
    "ends_when_the_daemon_is_gone",
    "leaves_without_a_word",
    "leaves_with_calls_in_hand",
    "exits_badly",
    "does_what_it_should_defer",
    "keeps_what_it_deferred",
    "never_completes",
)


class BareWorker:
    def __init__(self, svc: str, fault: str) -> None:
        self.svc = svc
        self.fault = fault
        self.session = ""
        self.attempts: dict[Key, pb.Attempt] = {}
        self.work: dict[Key, asyncio.Task[None]] = {}
        self.reports: dict[Key, pb.Report] = {}
        self.receipts: dict[str, str] = {}
        self.says: asyncio.Queue[pb.WorkRequest | None] = asyncio.Queue()
        self.one = asyncio.Semaphore(1 if fault == "does_one_at_a_time" else 1000)
        self.is_leaving = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.leave)
        metadata = (("authorization", f"Bearer {os.environ['HMSACT_TOKEN']}"),)
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
        async with aio.insecure_channel(os.environ["HMSACT_ADDRESS"], options) as channel, asyncio.TaskGroup() as tasks:
            self.tasks = tasks
            while not (self.is_leaving and not self.attempts):
                stream = worker_pb2_grpc.WorkerServiceStub(channel).Work(self.requests(), metadata=metadata)
                try:
                    async for response in stream:
                        self.hear(response)
                except aio.AioRpcError as error:
                    if self.fault == "ends_when_the_daemon_is_gone":
                        raise SystemExit(1) from None
                    if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED):
                        raise SystemExit(str(error.details())) from None
                finally:
                    stream.cancel()
                await asyncio.sleep(0.1)
        if self.fault == "exits_badly":
            raise SystemExit(3)

    # -- what it says --------------------------------------------------------------------------------------------------

    async def requests(self) -> AsyncIterator[pb.WorkRequest]:
        says = self.says = asyncio.Queue()
        steps = (
            ["echo", "slow", "fail"]
            if self.fault == "names_too_few_steps"
            else ["echo", "slow", "fail", "once", "later"]
        )
        if self.fault == "reports_before_hello":
            yield pb.WorkRequest(beats=[pb.Beat()])
        session = "" if self.fault == "shows_no_ticket" else self.session
        in_hand = list(self.attempts.values())
        hello = pb.Hello(svc=self.svc, steps=steps, max_in_flight=4, session=session, in_hand=in_hand)
        yield pb.WorkRequest(hello=hello)
        while (request := await says.get()) is not None:
            yield request

    def say(self, request: pb.WorkRequest) -> None:
        self.says.put_nowait(request)

    def leave(self) -> None:
        self.is_leaving = True
        if self.fault == "leaves_without_a_word":
            raise SystemExit(0)
        self.say(pb.WorkRequest(leaving=True))
        if self.fault == "leaves_with_calls_in_hand":
            asyncio.get_running_loop().call_later(0.2, os._exit, 0)
        self.rest()

    def rest(self) -> None:
        """With nothing in hand a worker that leaves ends its side."""
        if self.is_leaving and not self.attempts:
            self.says.put_nowait(None)

    # -- what it hears -------------------------------------------------------------------------------------------------

    def hear(self, response: pb.WorkResponse) -> None:
        if self.fault == "dies_of_unknown_fields" and b"later" in response.SerializeToString():
            raise SystemExit("what is that?")
        if response.HasField("welcome"):
            self.session = response.welcome.session
            for attempt in response.welcome.gone if self.fault != "ignores_what_is_gone" else ():
                self.withdraw(key_of(attempt))
            for report in self.reports.values():
                self.say(pb.WorkRequest(reports=[report]))
        for verdict in response.verdicts:
            self.judge(verdict)
        for withdrawn in response.withdrawn if self.fault != "ignores_withdrawal" else ():
            self.withdraw(key_of(withdrawn.attempt))
        for call in response.calls:
            self.take(call)
        if response.drain:
            if self.fault == "drops_its_calls_on_a_drain":
                for key in list(self.work):
                    self.forget(key)
            self.says.put_nowait(None)

    def judge(self, verdict: pb.Verdict) -> None:
        key = key_of(verdict.attempt)
        if self.fault == "keeps_what_it_deferred" and key in self.reports and self.reports[key].HasField("deferred"):
            return
        match verdict.kind:
            case pb.VERDICT_KIND_AGAIN if self.fault != "takes_again_for_recorded":
                self.say(pb.WorkRequest(reports=[self.reports[key]]))
            case pb.VERDICT_KIND_STALE if self.fault == "keeps_what_is_stale":
                pass
            case pb.VERDICT_KIND_STALE if self.fault == "ends_on_stale":
                raise SystemExit("stale?")
            case _:
                self.forget(key)

    def take(self, call: pb.Call) -> None:
        key = key_of(call.attempt)
        if key in self.attempts and self.fault != "does_a_repeated_call_again":
            return
        self.attempts[key] = call.attempt
        self.work[key] = self.tasks.create_task(self.do(key, call))

    def withdraw(self, key: Key) -> None:
        if key in self.work and key not in self.reports:
            self.work[key].cancel()

    def forget(self, key: Key) -> None:
        self.attempts.pop(key, None)
        self.reports.pop(key, None)
        work = self.work.pop(key, None)
        if work is not None:
            work.cancel()
        self.rest()

    # -- what it does --------------------------------------------------------------------------------------------------

    async def do(self, key: Key, call: pb.Call) -> None:
        beating = self.tasks.create_task(self.beat(call))
        try:
            async with self.one:
                report = await self.outcome(call)
        except asyncio.CancelledError:
            if key not in self.attempts:
                return
            report = pb.Report(failed=pb.Failed(message="stopped", code="CANCELLED", permanent=True))
        finally:
            beating.cancel()
        if self.fault == "stays_silent":
            return
        report.attempt.CopyFrom(call.attempt)
        self.reports[key] = report
        self.say(pb.WorkRequest(reports=[report]))
        if self.fault == "forgets_what_it_has_reported":
            self.forget(key)
        if self.fault == "does_it_again_after_a_cut" and call.step == "slow":
            report.done.output = json.dumps({"run": str(uuid.uuid4())}).encode()

    async def beat(self, call: pb.Call) -> None:
        if call.HasField("heartbeat") and self.fault != "never_beats":
            while True:
                await asyncio.sleep(call.heartbeat.ToTimedelta().total_seconds() / 3)
                self.say(pb.WorkRequest(beats=[pb.Beat(attempt=call.attempt)]))

    async def outcome(self, call: pb.Call) -> pb.Report:
        said, attempt = json.loads(call.input), call.attempt.attempt
        match call.step:
            case "echo":
                return done({"output": said} if self.fault == "wraps_the_output" else said)
            case "slow":
                run = str(uuid.uuid4())
                await asyncio.sleep(said["seconds"])
                return done({"run": run})
            case "fail":
                if said.get("permanent") or attempt < said.get("until", 1):
                    return self.failed(said["message"], said["code"], bool(said.get("permanent")))
                return done({"attempt": attempt})
            case "later":
                if self.fault == "does_what_it_should_defer":
                    return done({"attempt": attempt})
                if self.fault != "never_completes":
                    self.tasks.create_task(self.complete(call.completion_token, said["seconds"], attempt))
                return pb.Report(deferred=pb.Deferred())
            case _:
                key = f"{call.idempotency_key} {attempt if self.fault == 'goes_by_the_attempt' else ''}"
                receipt = self.receipts.setdefault(key, str(uuid.uuid4()))
                if attempt < said.get("until", 1):
                    return self.failed(receipt, "AFTERWARDS", False)
                return done({"receipt": receipt})

    async def complete(self, token: str, after_s: float, attempt: int) -> None:
        await asyncio.sleep(after_s)
        completed = pb.CompleteStepRequest(completion_token=token, done=done({"attempt": attempt}).done)
        metadata = (("authorization", f"Bearer {os.environ['HMSACT_TOKEN']}"),)
        async with aio.insecure_channel(os.environ["HMSACT_ADDRESS"]) as channel:
            await worker_pb2_grpc.WorkerServiceStub(channel).CompleteStep(completed, metadata=metadata)

    def failed(self, message: str, code: str, permanent: bool) -> pb.Report:
        match self.fault:
            case "calls_every_failure_permanent":
                permanent = True
            case "calls_no_failure_permanent":
                permanent = False
            case "loses_codes":
                code = ""
            case _:
                pass
        return pb.Report(failed=pb.Failed(message=message, code=code, permanent=permanent))


def done(output: Any) -> pb.Report:
    return pb.Report(done=pb.Done(output=json.dumps(output).encode()))


def key_of(attempt: pb.Attempt) -> Key:
    return attempt.operation_id, attempt.instance, attempt.attempt


if __name__ == "__main__":
    svc, fault = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    assert fault == "" or fault in FAULTS
    asyncio.run(BareWorker(svc, fault).run())
