"""What the store's writing costs: four-step operations with a key and two labels, in batches of one and of sixty-four.

Prints one JSON line a figure. It speaks to the store alone, so that two versions of it can be compared: run it with the
other version's code on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from hmsactd.store.sqlite import SqliteStore
from hmsactd.store.store import Append, Batch, Birth, EventRow, PayloadRow, Summary

SERVICES = ("FSA", "IRS", "Treasury", "Email")
RECORD, SEALED = os.urandom(720), os.urandom(330)


def life(number: int, chance: random.Random) -> list[Summary]:
    """The five rows that an operation is at, one after the other."""
    at = 1_700_000_000_000_000 + number * 500
    born = Summary(
        namespace="default",
        operation=f"op_{at:014x}{chance.getrandbits(48):012x}",
        definition=f"definition_{number % 50}",
        digest="d" * 64,
        state="running",
        revision=1,
        sequence=2,
        started_at=at,
        updated_at=at,
        due_at=at + 3_600_000_000,
        awaits="report",
        awaits_who=SERVICES[0],
        awaits_name="step_0",
        awaits_instance=1,
        awaits_since=at,
        session="ses_000000000000000000000001",
        started_by="dev:svc/portal",
        key=f"CASE-2026-{number:07}",
        labels=(("office", f"office {number % 20}"), ("year", "2026")),
    )
    rows = [born]
    for step, svc in enumerate(SERVICES[1:], 1):
        rows.append(
            replace(
                rows[-1],
                sequence=2 + 2 * step,
                updated_at=at + step * 1000,
                due_at=at + 3_600_000_000 + step * 1000,
                awaits_who=svc,
                awaits_name=f"step_{step}",
                awaits_instance=step + 1,
                awaits_since=at + step * 1000,
            )
        )
    rows.append(
        replace(
            rows[-1],
            state="completed",
            sequence=10,
            updated_at=at + 5000,
            ended_at=at + 5000,
            due_at=None,
            awaits="",
            awaits_who="",
            awaits_name="",
            awaits_instance=0,
            awaits_since=None,
            session=None,
        )
    )
    return rows


def append(before: Summary | None, now: Summary, index: int) -> Append:
    """The append that brings an operation from one row to the next."""
    after = before.sequence if before else 0
    place = now.operation.encode().ljust(30)
    events = tuple(
        EventRow(index + offset, sequence, RECORD, place + sequence.to_bytes(2, "big"))
        for offset, sequence in enumerate(range(after + 1, now.sequence + 1))
    )
    head = place + after.to_bytes(2, "big") if before else None
    payloads = (PayloadRow(now.sequence, "output", SEALED),)
    return Append(now.namespace, now.operation, after, head, events, now, before, None, payloads)


async def measure(operations: int, together: int, filled: int) -> float:
    """Microseconds an operation, of the writing alone."""
    chance = random.Random(7)
    with tempfile.TemporaryDirectory() as directory:
        store = SqliteStore(Path(directory) / "bench.db")
        log = await store.open(Birth("bench", "bench"))
        size, spent, number = 0, 0.0, 0
        while number < filled + operations:
            width = together if number >= filled else 1000
            lives = [life(number + each, chance) for each in range(width)]
            for stage in range(5):
                appends = []
                index = size
                for rows in lives:
                    appends.append(append(rows[stage - 1] if stage else None, rows[stage], index))
                    index += 2
                batch = Batch(log.epoch, size, index, tuple(appends), (), f"seal {index}".ljust(200))
                begun = time.perf_counter()
                assert not await store.write(batch)
                spent += time.perf_counter() - begun if number >= filled else 0.0
                size = index
            number += width
        await store.close()
    return spent / operations * 1e6


def main() -> None:
    """Measure both sizes of batches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=6400)
    parser.add_argument("--filled", type=int, default=20_000)
    said = parser.parse_args()
    for together in (1, 64):
        operations = said.operations if together > 1 else said.operations // 4
        taken = asyncio.run(measure(operations, together, said.filled))
        line = {"bench": "writes", "together": together, "us_per_operation": round(taken, 1)}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
