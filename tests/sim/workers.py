"""A worker at the other end of the `Work` stream: honest at heart, as the SDK's is, and faulty as the plan has it.

Honest is: to say which calls it has, to send a report until there is a verdict, to give signs of life. It crashes,
falls silent, reports twice or late; and it lies: about attempts of others, about attempts that never were.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass

from hmsact.v1 import worker_pb2 as pb

from tests.sim.caller import AGAIN, COMPLETE, WORK, Caller, World
from tests.sim.oracle import Key
from tests.sim.wire import RpcError, Stream

LIE = "lie"


@dataclass(slots=True)
class Hand:
    """A call in hand, and its report once there is one."""

    attempt: pb.Attempt
    step: str
    token: str
    report: pb.Report | None = None


def key_of(attempt: pb.Attempt) -> Key:
    return attempt.operation_id, attempt.instance, attempt.attempt


class Worker(Caller):
    """One process after the other, of one service."""

    def __init__(
        self, world: World, chance: random.Random, name: str, svc: str, steps: list[str], tasks: asyncio.TaskGroup
    ) -> None:
        super().__init__(world, chance, f"dev:svc/{svc}")
        self.name = name
        self._svc = svc
        self._steps = steps
        self._tasks = tasks
        self._principal = f"dev:svc/{svc}"
        self._ticket = ""
        self._hands: dict[Key, Hand] = {}
        self._stream: Stream | None = None
        self._process = 0
        self._silent_until = 0.0
        self._has_claimed = False

    async def live(self) -> None:
        while True:
            try:
                stream = self.world.wire.stream(WORK, token=self.token)
            except RpcError:
                await asyncio.sleep(self.chance.uniform(0.1, 1))
                continue
            await self._converse(stream)
            await asyncio.sleep(self.chance.uniform(0.05, 1))

    async def _converse(self, stream: Stream) -> None:
        stream.send(pb.WorkRequest(hello=self._hello()))
        self._stream = stream
        beats = self._tasks.create_task(self._beat(stream), name="sim beats")
        try:
            while (message := await stream.receive()) is not None:
                self._hear(message)
                if self.happens(self.world.plan.worker_crashes):
                    self._crash()
                    return
                if self.happens(self.world.plan.worker_cuts):
                    return
        except RpcError:
            return
        finally:
            beats.cancel()
            self._stream = None
            stream.hang_up()

    def _hello(self) -> pb.Hello:
        in_hand = [hand.attempt for hand in self._hands.values()]
        if self.happens(self.world.plan.worker_lies) and self.world.oracle.given:
            operation_id, instance, attempt = self.chance.choice(list(self.world.oracle.given))
            in_hand.append(pb.Attempt(operation_id=operation_id, instance=instance, attempt=attempt))
            self._has_claimed = True
        return pb.Hello(
            svc=self._svc,
            steps=self._steps,
            max_in_flight=self.chance.choice((1, 2, 10)),
            session=self._ticket,
            in_hand=in_hand,
        )

    def _crash(self) -> None:
        self._process += 1
        self._hands.clear()
        self._ticket = ""

    async def _beat(self, stream: Stream) -> None:
        while True:
            await asyncio.sleep(0.4)
            if self.world.is_calm and self._has_claimed:
                # What it claims to have takes its places. An honest process takes over.
                self._has_claimed = False
                self._crash()
                stream.hang_up()
            if asyncio.get_running_loop().time() >= self._silent_until or self.world.is_calm:
                beats = [pb.Beat(attempt=hand.attempt) for hand in self._hands.values() if hand.report is None]
                if beats:
                    stream.send(pb.WorkRequest(beats=beats))

    # -- what it is told -----------------------------------------------------------------------------------------------

    def _hear(self, message: pb.WorkResponse) -> None:
        if message.HasField("welcome"):
            self._ticket = message.welcome.session
            for attempt in message.welcome.gone:
                hand = self._hands.get(key_of(attempt))
                if hand is not None and hand.report is None:
                    del self._hands[key_of(attempt)]
            for hand in self._hands.values():
                self._send(hand)
        for verdict in message.verdicts:
            self._judged(verdict)
        for withdrawn in message.withdrawn:
            hand = self._hands.get(key_of(withdrawn.attempt))
            if hand is not None and hand.report is None and self.chance.random() < 0.5:
                self._finish(hand, self._failure("CANCELLED", permanent=False))
        for call in message.calls:
            self._begin(call)

    def _judged(self, verdict: pb.Verdict) -> None:
        key = key_of(verdict.attempt)
        hand = self._hands.get(key)
        match verdict.kind:
            case pb.VERDICT_KIND_AGAIN:
                if hand is not None:
                    self._tasks.create_task(self._send_later(hand, self._process), name="sim again")
            case kind:
                if hand is not None and hand.report is not None and hand.report.HasField("deferred"):
                    self._tasks.create_task(self._complete(hand), name="sim completion")
                elif kind == pb.VERDICT_KIND_RECORDED:
                    self.world.oracle.recorded[key] = self._principal
                self._hands.pop(key, None)

    def _begin(self, call: pb.Call) -> None:
        key = key_of(call.attempt)
        self.world.oracle.was_given(key, f"{self.name}.{self._process}")
        if key in self._hands:
            return
        hand = self._hands[key] = Hand(call.attempt, call.step, call.completion_token)
        self._tasks.create_task(self._work(hand, self._process), name="sim work")
        if self.happens(self.world.plan.worker_lies):
            self._lie(call.attempt)

    # -- what it does --------------------------------------------------------------------------------------------------

    async def _work(self, hand: Hand, process: int) -> None:
        plan = self.world.plan
        if self.happens(plan.worker_silences):
            self._silent_until = asyncio.get_running_loop().time() + self.chance.uniform(1, 8)
        longest = 0.2 if self.world.is_calm else 15 if self.happens(plan.worker_late) else 1.5
        await asyncio.sleep(self.chance.uniform(0, longest))
        if process == self._process and hand.report is None:
            if plan.worker_defers and self.happens(plan.worker_defers):
                self._finish(hand, pb.Report(deferred=pb.Deferred()))
            elif self.happens(plan.step_fails):
                permanent = self.chance.random() < 0.1
                self._finish(hand, self._failure("BUSY", permanent=permanent))
            else:
                output = json.dumps({"by": self.name, "n": self.chance.randrange(1_000_000)}, separators=(",", ":"))
                self._finish(hand, pb.Report(done=pb.Done(output=output.encode())))

    async def _complete(self, hand: Hand) -> None:
        """Say later, from wherever, that what was deferred is done, until there is an answer."""
        output = json.dumps({"by": "a clerk", "n": self.chance.randrange(1_000_000)}, separators=(",", ":"))
        self.world.oracle.reported[key_of(hand.attempt)].add(output)
        request = pb.CompleteStepRequest(completion_token=hand.token, done=pb.Done(output=output.encode()))
        while True:
            await asyncio.sleep(self.chance.uniform(0.1, 3))
            try:
                await self.ask(COMPLETE, request)
            except RpcError as error:
                if error.code in AGAIN:
                    continue
            return

    def _failure(self, code: str, *, permanent: bool) -> pb.Report:
        return pb.Report(failed=pb.Failed(message="it did not work", code=code, permanent=permanent))

    def _finish(self, hand: Hand, report: pb.Report) -> None:
        report.attempt.CopyFrom(hand.attempt)
        hand.report = report
        if report.HasField("done"):
            self.world.oracle.reported[key_of(hand.attempt)].add(report.done.output.decode())
        self._send(hand)
        if self.happens(self.world.plan.worker_twice):
            self._send(hand)

    def _send(self, hand: Hand) -> None:
        if self._stream is not None and hand.report is not None:
            self._stream.send(pb.WorkRequest(reports=[hand.report]))

    async def _send_later(self, hand: Hand, process: int) -> None:
        await asyncio.sleep(self.chance.uniform(0.2, 0.8))
        if process == self._process and self._hands.get(key_of(hand.attempt)) is hand:
            self._send(hand)

    def _lie(self, attempt: pb.Attempt) -> None:
        """Say that something is done which is not ours, or is not at all."""
        operation_id, instance, number = self.chance.choice(
            (
                (attempt.operation_id, attempt.instance, attempt.attempt + 100),
                (attempt.operation_id, attempt.instance + 1, attempt.attempt),
                ("op_" + "0" * 26, 1, 1),
                *list(self.world.oracle.given)[-3:],
            )
        )
        if (operation_id, instance, number) in self._hands or self._stream is None:
            return
        told = pb.Attempt(operation_id=operation_id, instance=instance, attempt=number)
        done = pb.Done(output=json.dumps(LIE).encode())
        self._stream.send(pb.WorkRequest(reports=[pb.Report(attempt=told, done=done)]))
