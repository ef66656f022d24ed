"""A program: plays one check against each of many faulty workers, side by side, and prints what came of each as JSON.

Arguments: pairs of a fault and the check that is to catch it. They wait on clocks, most of all.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio

from hmsactd import logs
from hmsactd.conformance.worker import Plan, play

WORKER = Path(__file__).with_name("bare_worker.py")
AT_A_TIME = 8
PATIENCE_S = 5
GRACE_S = 4


async def main(faults: dict[str, str]) -> None:
    found: dict[str, dict[str, str]] = {}
    places = anyio.Semaphore(AT_A_TIME)

    async def judge(fault: str, check: str) -> None:
        command = (sys.executable, str(WORKER), "Agency", fault)
        plan = Plan("Agency", "127.0.0.1:0", (check,), command, patience_s=PATIENCE_S, grace_s=GRACE_S)
        async with places:
            (result,) = await play(plan, lambda _: None, lambda _: None)
        found[fault] = result.as_json()

    async with anyio.create_task_group() as tasks:
        for fault, check in faults.items():
            tasks.start_soon(judge, fault, check, name=fault)
    print(json.dumps(found))


if __name__ == "__main__":
    logs.configure("error", "console")
    anyio.run(main, dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True)))
