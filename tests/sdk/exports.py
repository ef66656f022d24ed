"""Exports to verify: of a real log in memory, where operations grow side by side."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hmsactd.core.events import Event
from hmsactd.store.memory import MemoryStore
from hmsactd.timeline.keys import Keys, fresh_keys
from tests.timeline.samples import append, exported, one_of_every_kind, running, started, step_started

KEYS = fresh_keys()


@dataclass(frozen=True, slots=True)
class Exports:
    """The file of every operation, the key, and the seals that were held on the way."""

    key: str
    files: dict[str, bytes]
    early: bytes
    seals: dict[int, str]
    joined: bytes


def made(keys: Keys = KEYS, operations: int = 12) -> Exports:
    return asyncio.run(_made(keys, operations))


async def _made(keys: Keys, operations: int) -> Exports:
    async with running(MemoryStore(), keys) as timelines:
        seals: dict[int, str] = {}
        main = timelines.new("default", "op_main")
        others = [timelines.new("default", f"op_{number}") for number in range(operations)]
        early = b""
        for number, some in enumerate(_parts(one_of_every_kind(), 5)):
            receipt = await append(main, *some)
            seals[timelines.size] = receipt.seal
            for at, other in enumerate(others):
                if not other.sequence:
                    await append(other, started(said=json.dumps({"n": at, "words": "ü" * at}).encode()))
                elif at % 3 == number % 3:
                    await append(other, *(step_started(attempt=number) for _ in range(at + 1)))
            if number == 2:
                early = await exported(timelines, "op_main")
        files = {name: await exported(timelines, name) for name in ("op_main", *(other.operation for other in others))}
        joined = await exported(timelines, "op_main", earlier=list(seals))
        return Exports(timelines.verifier_key, files, early, seals, joined)


def _parts(events: Sequence[Event], size: int) -> list[Sequence[Event]]:
    return [events[at : at + size] for at in range(0, len(events), size)]


def parsed(export: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(export)
    return document
