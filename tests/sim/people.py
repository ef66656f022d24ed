"""People and their programs: clients who start operations, officers who decide, an operator who interferes."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from grpc import StatusCode
from hmsact.v1 import checkpoint_pb2, operation_pb2

from tests.sim.caller import CHECKPOINTS, OPERATIONS, Caller, World
from tests.sim.oracle import SPACE
from tests.sim.wire import RpcError

STARTERS = ("", "dev:casebot", "dev:jdavis@fsa.gov", "dev:mgarcia@fsa.gov")
OFFICERS = ("dev:mgarcia@fsa.gov", "dev:jdavis@fsa.gov", "")
ASSIGNEES = ("dev:mgarcia@fsa.gov", "dev:jdavis@fsa.gov", "dev:developer", "dev:casebot", "dev:nobody")
OPERATOR = "dev:tlee@fsa.gov"
MEDDLING = ("Pause", "Pause", "Resume", "Resume", "Retry", "Skip", "Cancel", "Assign")
APT = {"operator": ("Retry", "Skip"), "decision": ("Assign", "Assign", "Pause"), "report": ("Cancel", "Pause")}
"""What an operator does when an operation awaits this."""

ROLES = ("fsa.officer", "fsa.counsel")


def service(number: int) -> str:
    """The name of a service."""
    return f"Svc{number}"


def step_name(number: int) -> str:
    """The name of a step."""
    return f"step_{number}"


def checkpoint_name(number: int) -> str:
    """The name of a checkpoint."""
    return f"review_{number}"


def some_definition(chance: random.Random, items_max: int, services: int) -> bytes:
    """A flow of a few steps and checkpoints, with such clocks as matter within seconds."""
    items: list[dict[str, Any]] = []
    for number in range(chance.randint(1, items_max)):
        item: dict[str, Any]
        if number and chance.random() < 0.3:
            item = {"checkpoint": checkpoint_name(number), "role": chance.choice(ROLES)}
        else:
            item = {"step": step_name(number), "svc": service(chance.randrange(services))}
            item["retries"] = chance.choice((0, 1, 3))
            item["retry_delay"] = chance.choice(("100ms", "1s", "3s"))
            item["retry_delay_max"] = "5s"
            item["on_exhausted"] = chance.choice(("stall", "stall", "fail"))
            if chance.random() < 0.4:
                item["timeout"] = chance.choice(("1s", "4s"))
            if chance.random() < 0.4:
                item["heartbeat"] = chance.choice(("1s", "2s"))
        if chance.random() < 0.4:
            item["sla"] = chance.choice(("500ms", "2s", "8s", "30s"))
        items.append(item)
    flow: dict[str, Any] = {"name": "case", "steps": items}
    if chance.random() < 0.4:
        flow["sla"] = chance.choice(("1s", "5s", "20s"))
    return json.dumps(flow).encode()


class Client(Caller):
    """Starts some operations, one after the other, and waits for the end of some."""

    def __init__(self, world: World, chance: random.Random, name: str, definitions: list[bytes]) -> None:
        super().__init__(world, chance, chance.choice(STARTERS))
        self.name = name
        self._definitions = definitions

    async def live(self) -> None:
        for number in range(self.world.plan.starts):
            await asyncio.sleep(self.chance.uniform(0, self.world.plan.seconds / self.world.plan.starts))
            operation = await self._start(f"{self.name}-{number}")
            if operation and self.chance.random() < 0.3:
                await self._wait(operation)

    async def _start(self, request_id: str) -> str:
        request = operation_pb2.StartOperationRequest(
            request_id=request_id,
            definition=self.chance.choice(self._definitions),
            input=json.dumps({"case": request_id}).encode(),
            labels={"by": self.name} if self.chance.random() < 0.3 else {},
        )
        if self.chance.random() < 0.2:
            request.key = f"key-{self.chance.randrange(2)}"
            request.key_policy = self.chance.choice(
                (operation_pb2.KEY_POLICY_REJECT_OPEN, operation_pb2.KEY_POLICY_RETURN_OPEN)
            )
        answer = await self.insist(f"{OPERATIONS}StartOperation", request)
        if answer is None:
            return ""
        # By key somebody else's may have been returned, which ends and lets the next one begin.
        self.world.oracle.started(
            request_id if not request.key else f"{request_id} by key {answer.operation_id}", answer.operation_id
        )
        if self.chance.random() < 0.2 and not request.key:
            # As a client that has forgotten the answer.
            again = await self.insist(f"{OPERATIONS}StartOperation", request)
            if again is not None:
                self.world.oracle.started(request_id, again.operation_id)
        return str(answer.operation_id)

    async def _wait(self, operation: str) -> None:
        request = operation_pb2.WaitOperationRequest(operation_id=operation)
        request.timeout.FromSeconds(5)
        while True:
            try:
                answer = await self.ask(f"{OPERATIONS}WaitOperation", request)
            except RpcError as error:
                if error.code is StatusCode.NOT_FOUND:
                    self.world.oracle.note(f"{operation} was acknowledged and is not known any more")
                    return
                await asyncio.sleep(self.chance.uniform(0.1, 1))
                continue
            if answer.operation.HasField("end_time"):
                return


class Officer(Caller):
    """Looks at what is to be decided, and decides."""

    def __init__(self, world: World, chance: random.Random, token: str) -> None:
        super().__init__(world, chance, token)
        self._decided = 0

    async def live(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(0.5, 2))
            try:
                listed = await self.ask(f"{CHECKPOINTS}ListCheckpoints", checkpoint_pb2.ListCheckpointsRequest())
                for pending in listed.checkpoints:
                    if self.world.is_calm or self.chance.random() < 0.5:
                        await self._decide(pending)
            except RpcError:
                continue

    async def _decide(self, pending: checkpoint_pb2.PendingCheckpoint) -> None:
        place = {"operation_id": pending.operation_id, "checkpoint": pending.checkpoint}
        shown = await self.ask(f"{CHECKPOINTS}GetCheckpoint", checkpoint_pb2.GetCheckpointRequest(**place))
        self._decided += 1
        named: dict[str, Any] = {**place, "request_id": f"{self.token}-{self._decided}"}
        if not self.world.is_calm and self.chance.random() < 0.2:
            # Claims block everybody else: only whoever would decide anyway takes one, and gives it back.
            if shown.may_decide:
                await self.insist(f"{CHECKPOINTS}ClaimCheckpoint", checkpoint_pb2.ClaimCheckpointRequest(**named))
                named["request_id"] += "-release"
                await self.insist(f"{CHECKPOINTS}ReleaseCheckpoint", checkpoint_pb2.ReleaseCheckpointRequest(**named))
            return
        if not shown.may_decide and self.chance.random() < 0.7:
            return
        if self.chance.random() < 0.8:
            named["seen"] = shown.digest
        if self.world.is_calm or self.chance.random() < 0.9:
            await self.insist(f"{CHECKPOINTS}ApproveCheckpoint", checkpoint_pb2.ApproveCheckpointRequest(**named))
        else:
            await self.insist(f"{CHECKPOINTS}RejectCheckpoint", checkpoint_pb2.RejectCheckpointRequest(**named))


class Operator(Caller):
    """Interferes while things go wrong; afterwards sets right what only an operator can."""

    def __init__(self, world: World, chance: random.Random) -> None:
        super().__init__(world, chance, OPERATOR)
        self._asked = 0

    async def live(self) -> None:
        while True:
            if self.world.is_calm:
                await asyncio.sleep(0.5)
                await self._mend()
            elif self.world.plan.meddling:
                await asyncio.sleep(self.chance.expovariate(self.world.plan.meddling))
                await self._meddle()
            else:
                await asyncio.sleep(1)

    async def _meddle(self) -> None:
        known = self.world.oracle.operations()
        if not known:
            return
        operation = self.chance.choice(known)
        kept = self.world.tower.disk.image()._kept.get((SPACE, operation))
        if kept is not None and kept.summary.awaits in APT and self.chance.random() < 0.5:
            what = self.chance.choice(APT[kept.summary.awaits])
        else:
            what = self.chance.choice(MEDDLING)
        await self._do(what, operation, kept.summary.awaits_name or step_name(0) if kept is not None else step_name(0))

    async def _mend(self) -> None:
        for kept in list(self.world.tower.disk.image()._kept.values()):
            summary = kept.summary
            if summary.state == "paused":
                await self._do("Resume", summary.operation)
            elif summary.awaits == "operator":
                await self._do(self.chance.choice(("Retry", "Skip")), summary.operation, summary.awaits_name)

    async def _do(self, what: str, operation: str, item: str = "") -> None:
        self._asked += 1
        named: dict[str, Any] = {
            "namespace": SPACE,
            "request_id": f"operator-{self._asked}",
            "operation_id": operation,
            "reason": "the simulation says so",
        }
        pb = operation_pb2
        match what:
            case "Pause":
                clock = self.chance.choice((pb.PAUSE_CLOCK_RUN, pb.PAUSE_CLOCK_STOP))
                await self.insist(f"{OPERATIONS}PauseOperation", pb.PauseOperationRequest(**named, clock=clock))
            case "Resume":
                await self.insist(f"{OPERATIONS}ResumeOperation", pb.ResumeOperationRequest(**named))
            case "Retry":
                await self.insist(f"{OPERATIONS}RetryStep", pb.RetryStepRequest(**named, step=item))
            case "Skip":
                await self.insist(f"{OPERATIONS}SkipStep", pb.SkipStepRequest(**named, step=item))
            case "Assign":
                request = checkpoint_pb2.AssignCheckpointRequest(
                    **named, checkpoint=item, assignee=self.chance.choice(ASSIGNEES)
                )
                await self.insist(f"{CHECKPOINTS}AssignCheckpoint", request)
            case _:
                await self.insist(f"{OPERATIONS}CancelOperation", pb.CancelOperationRequest(**named))
