"""The client of W1: keeps so many operations in flight, start and wait, and says how fast they completed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import grpc
from hmsact.v1 import operation_pb2, operation_pb2_grpc

FLOW = {
    "name": "loan_forgiveness",
    "steps": [
        {"step": name, "svc": "Bench"} for name in ("validate_form", "eligibility_check", "update_balance", "notify")
    ],
}
TOKEN = os.environ.get("HMSACT_TOKEN")
METADATA = (("authorization", f"Bearer {TOKEN}"),) if TOKEN else ()
INPUT = {
    "applicant": {"name": "Dana Whitfield", "email": "dana.whitfield@example.org", "state": "OH"},
    "loan": {"number": "FSA-2026-118-4471", "balance_cents": 1_845_200, "servicer": "northstar"},
    "employer": {"name": "Franklin County Schools", "ein": "31-0000000", "months": 121},
    "consent": True,
}


async def main(address: str, in_flight: int, seconds: float) -> None:
    """Run for so many seconds after a short warm-up, and print one JSON line."""
    definition, given = json.dumps(FLOW).encode(), json.dumps(INPUT).encode()
    async with grpc.aio.insecure_channel(address) as channel:
        stub = operation_pb2_grpc.OperationServiceStub(channel)
        started_at = time.perf_counter()
        counted_from, until = started_at + seconds * 0.2, started_at + seconds * 1.2
        taken_s: list[float] = []

        async def one_after_another() -> None:
            while (begun := time.perf_counter()) < until:
                request = operation_pb2.StartOperationRequest(definition=definition, input=given)
                started = await stub.StartOperation(request, metadata=METADATA)
                waited = operation_pb2.WaitOperationRequest(operation_id=started.operation_id)
                ended = await stub.WaitOperation(waited, metadata=METADATA)
                assert ended.operation.state == operation_pb2.OPERATION_STATE_COMPLETED, ended
                now = time.perf_counter()
                if counted_from <= now < until:
                    taken_s.append(now - begun)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(in_flight):
                tasks.create_task(one_after_another())
    taken_s.sort()
    print(
        json.dumps(
            {
                "operations_per_second": round(len(taken_s) / seconds, 1),
                "p50_ms": round(1000 * taken_s[len(taken_s) // 2], 2),
                "p99_ms": round(1000 * taken_s[int(len(taken_s) * 0.99)], 2),
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
