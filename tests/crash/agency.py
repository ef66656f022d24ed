"""A program: a worker of a service, which is killed, stopped and started again by whoever started it.

Arguments: the service and its steps. One call in fifty fails at its first attempt, so that retries are under fire, too.
Each takes AGENCY_TAKES_S seconds.
"""

from __future__ import annotations

import asyncio
import os
import sys
import zlib

from hmsact import Call, StepError, Worker

svc, *steps = sys.argv[1:]
takes_s = float(os.environ.get("AGENCY_TAKES_S", "0"))
worker = Worker(svc, token=f"dev:svc/{svc}", max_in_flight=64)


async def work(call: Call) -> dict[str, object]:
    if call.attempt == 1 and zlib.crc32(call.operation_id.encode()) % 50 == 0:
        raise StepError("busy", code="BUSY")
    await asyncio.sleep(takes_s)
    return {"of": call.operation_id, "attempt": call.attempt}


for step in steps:
    worker.step(step)(work)
worker.run()
