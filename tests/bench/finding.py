"""Finding among a million operations, while a writer commits: fifty definitions, nine in ten over, labels, five roles.

Prints one JSON line a figure, in milliseconds as a caller of the store waits for them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from hmsactd.store.sqlite import SqliteStore
from hmsactd.store.store import Batch, Birth, By, Log
from hmsactd.store.where import Order, Span, Where
from hmsactd.store.words import words_of
from tests.bench.writes import append, life

SECOND = 1_000_000
BEGUN = 1_700_000_000 * SECOND
ROLES = ("fsa.officer", "fsa.counsel", "irs.examiner", "va.adjudicator", "ssa.reviewer")
SERVICES = ("FSA", "IRS", "Treasury", "Email", "VA", "SSA")
NAMES = ("loan", "grant", "claim", "permit", "appeal")
FINAL = ("completed",) * 8 + ("rejected", "failed", "cancelled")


def rows(count: int) -> Iterator[tuple[Any, ...]]:
    """Rows of the operation table, in a spread like that of an agency's year."""
    chance = random.Random(11)
    for number in range(1, count + 1):
        at = BEGUN + number * 30 * SECOND
        name = f"{NAMES[number % 5]}_{min(int(chance.expovariate(0.12)), 49):02}"
        key = f"CASE-{2020 + number * 6 // count}-{number:07}"
        labels = [["office", f"office {min(int(chance.expovariate(0.2)), 99)}"], ["channel", chance.choice("wpm")]]
        asked = f"{chance.choice('abcdefgh')}citizen {chance.randrange(200_000)}"
        words = words_of(key, asked, [value for _, value in labels])
        is_open = chance.random() < 0.1
        state, awaits, who, item = chance.choice(FINAL), "", "", ""
        if is_open and chance.random() < 0.6:
            state, awaits, who, item = "waiting", "decision", chance.choice(ROLES), "review"
        elif is_open:
            awaits = "operator" if chance.random() < 0.05 else "worker"
            state, who, item = ("stalled" if awaits == "operator" else "running"), chance.choice(SERVICES), "check"
        updated = at + chance.randrange(86_400) * SECOND
        yield (
            *(number, "default", f"op_{at:014x}{chance.getrandbits(48):012x}", name, "d" * 64, state, 1, 9, at),
            *(updated, None if is_open else updated, updated + 86_400 * SECOND if is_open else None),
            *(awaits, who, item, 1 if is_open else 0, updated if is_open else None, None, None),
            "dev:kim" if awaits == "decision" and chance.random() < 0.01 else None,
            '{"breached": ["review"]}' if is_open and chance.random() < 0.02 else None,
            *(f"dev:svc/portal_{min(int(chance.expovariate(0.5)), 9)}", key, json.dumps(labels), asked, None, words),
            *(number.to_bytes(32, "big"), None),
        )


def fill(path: Path, count: int) -> None:
    """Puts the rows into a database that a store has made, past the store."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        made = rows(count)
        while some := [row for row, _ in zip(made, range(50_000), strict=False)]:
            connection.execute("BEGIN")
            connection.executemany(f"INSERT INTO operation VALUES ({', '.join('?' * 29)})", some)
            connection.executemany(
                "INSERT INTO label VALUES (?, ?, ?, ?, ?)",
                [(row[1], *label, row[8], row[0]) for row in some for label in json.loads(row[23])],
            )
            connection.executemany(
                "INSERT INTO word VALUES (?, ?, ?)",
                [(row[1], word, row[0]) for row in some for word in row[26].split()],
            )
            connection.execute("COMMIT")
        connection.execute(
            "INSERT INTO tally SELECT namespace, definition, state, count(*) FROM operation GROUP BY 1, 2, 3"
        )


async def write_on(store: SqliteStore, log: Log, number: int) -> None:
    """Goes on committing batches of eight operations, as a daemon at work does."""
    chance = random.Random(number)
    size = 0
    while True:
        lives = [life(number + each, chance) for each in range(8)]
        for stage in range(5):
            index = size
            appends = []
            for each in lives:
                appends.append(append(each[stage - 1] if stage else None, each[stage], index))
                index += 2
            assert not await store.write(Batch(log.epoch, size, index, tuple(appends), (), f"seal {index}"))
            size = index
            await asyncio.sleep(0.005)
        number += 8


def questions(store: SqliteStore, count: int) -> dict[str, Callable[[random.Random], Awaitable[Any]]]:
    """What is asked, by name."""

    def page(where: Where = Where(), **told: Any) -> Callable[[random.Random], Awaitable[Any]]:  # noqa: B008
        return lambda _: store.operations("default", where, **told)

    def number(chance: random.Random) -> int:
        return chance.randrange(1, count)

    def key(at: int) -> str:
        return f"CASE-{2020 + at * 6 // count}-{at:07}"

    def counted(where: Where = Where(), by: By | None = None) -> Callable[[random.Random], Awaitable[Any]]:  # noqa: B008
        return lambda _: store.count("default", where, by)

    def somewhere(chance: random.Random) -> tuple[int, int]:
        at = number(chance)
        return BEGUN + at * 30 * SECOND, at

    rare, common = "loan_45", "loan_00"
    return {
        "first page": page(),
        "page in the middle": lambda chance: store.operations("default", after=somewhere(chance)),
        "state, common": page(Where(states=("completed",))),
        "state, rare": page(Where(states=("stalled",))),
        "open, oldest first": page(Where(states=("running", "waiting", "stalled", "paused")), oldest_first=True),
        "definition, common": page(Where(definitions=(common,))),
        "definition, rare": page(Where(definitions=(rare,))),
        "definition and state": page(Where(definitions=(common,), states=("waiting",))),
        "label, common": page(Where(labels=(("channel", "w"),))),
        "label, rare": page(Where(labels=(("office", "office 30"),))),
        "two labels and state": page(
            Where(labels=(("channel", "w"), ("office", "office 1")), states=("failed",)), oldest_first=True
        ),
        "label there": page(Where(labels_there=("office",))),
        "key": lambda chance: store.operations("default", Where(key=key(number(chance)))),
        "key prefix, narrow": lambda chance: store.operations("default", Where(key_prefix=key(number(chance))[:-2])),
        "key prefix, wide": page(Where(key_prefix="CASE-2021")),
        "text, one word": lambda chance: store.operations("default", Where(words=(f"{number(chance):07}",))),
        "text, common words": page(Where(words=("case", "office"))),
        "text, common and rare": lambda chance: store.operations(
            "default", Where(words=("loan", str(chance.randrange(200_000))))
        ),
        "role": page(Where(awaits=("decision",), awaits_who=(ROLES[1],))),
        "service": page(Where(awaits=("worker", "report", "clock", "operator"), awaits_who=("IRS",))),
        "stalled at a service": page(Where(states=("stalled",), awaits_who=("IRS",))),
        "person": page(Where(awaits_person="dev:kim")),
        "alarm": page(Where(alarms=("breached",))),
        "starter": page(Where(started_by="dev:svc/portal_3")),
        "started, a day": page(Where(started=Span(BEGUN + 10**7 * SECOND, BEGUN + 10**7 * SECOND + 86_400 * SECOND))),
        "nothing matches": page(Where(states=("completed",), alarms=("breached",), labels=(("channel", "w"),))),
        "by update": page(order=Order.UPDATED),
        "by update, state rare": page(Where(states=("stalled",)), order=Order.UPDATED),
        "by update, open": page(Where(states=("waiting",)), order=Order.UPDATED),
        "by end": page(order=Order.ENDED),
        "by end, definition": page(Where(definitions=(common,)), order=Order.ENDED),
        "by due": page(order=Order.DUE, oldest_first=True),
        "by due, role": page(Where(awaits=("decision",), awaits_who=(ROLES[1],)), order=Order.DUE, oldest_first=True),
        "count": counted(),
        "count by state": counted(by=By.STATE),
        "count by role": counted(by=By.ROLE),
        "count of a state": counted(Where(states=("completed",))),
        "count of a label, common": counted(Where(labels=(("channel", "w"),))),
        "count of words": counted(Where(words=("case", "office"))),
        "count of a label by state": counted(Where(labels=(("office", "office 30"),)), By.STATE),
        "count of two": counted(Where(labels=(("channel", "w"),), key_prefix="CASE-2021")),
        "id by its beginning": lambda chance: store.find("default", f"op_{BEGUN + number(chance) * 30 * SECOND:014x}"),
        "id by a part": lambda chance: store.find("default", f"{chance.getrandbits(48):012x}"),
    }


async def measure(path: Path, count: int, times: int) -> None:
    """Ask everything many times, and print what it took."""
    store = SqliteStore(path)
    await store.open(Birth("bench", "bench"))
    await store.close()
    begun = time.perf_counter()
    fill(path, count)
    print(json.dumps({"bench": "finding", "filled": count, "s": round(time.perf_counter() - begun, 1)}), flush=True)
    log = await store.open(Birth("bench", "bench"))
    async with asyncio.TaskGroup() as tasks:
        writer = tasks.create_task(write_on(store, log, count * 100), name="writer")
        chance = random.Random(5)
        for name, ask in questions(store, count).items():
            taken = []
            for _ in range(times):
                begun = time.perf_counter()
                await ask(chance)
                taken.append((time.perf_counter() - begun) * 1000)
            taken.sort()
            p50, p99 = round(taken[len(taken) // 2], 2), round(taken[min(int(len(taken) * 0.99), len(taken) - 1)], 2)
            line = {"bench": "finding", "what": name, "operations": count, "p50_ms": p50, "p99_ms": p99}
            print(json.dumps(line), flush=True)
        writer.cancel()
    await store.close()


def main() -> None:
    """Fill and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=100)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(Path(directory) / "bench.db", said.operations, said.times))


if __name__ == "__main__":
    main()
