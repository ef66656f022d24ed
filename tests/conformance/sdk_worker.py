"""A program: the test build of a worker on the SDK. Argument: the service."""

from __future__ import annotations

import asyncio
import sys
import threading
import uuid
from typing import Any

from hmsact import Call, Orchestrator, StepError, Worker

worker = Worker(sys.argv[1], max_in_flight=4)
receipts: dict[str, str] = {}


@worker.step("echo")
def echo(call: Call) -> Any:
    return call.input


@worker.step("slow")
async def slow(call: Call) -> dict[str, str]:
    run = str(uuid.uuid4())
    await asyncio.sleep(call.input["seconds"])
    return {"run": run}


@worker.step("fail")
def fail(call: Call) -> dict[str, int]:
    said = call.input
    if said.get("permanent") or call.attempt < said.get("until", 1):
        raise StepError(said["message"], code=said["code"], retryable=not said.get("permanent"))
    return {"attempt": call.attempt}


@worker.step("once")
def once(call: Call) -> dict[str, str]:
    receipt = receipts.setdefault(call.idempotency_key, str(uuid.uuid4()))
    if call.attempt < call.input.get("until", 1):
        raise StepError(receipt, code="AFTERWARDS")
    return {"receipt": receipt}


@worker.step("later")
def later(call: Call) -> None:
    completed = threading.Timer(call.input["seconds"], complete, (call.defer(), {"attempt": call.attempt}))
    completed.daemon = True
    completed.start()


def complete(token: str, output: Any) -> None:
    with Orchestrator() as agency:
        agency.complete_step(token, output)


worker.run()
