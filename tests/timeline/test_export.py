"""The file that proves a timeline, from every store, while the log grows."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hmsact.verify import verify

from hmsactd.store.memory import MemoryStore
from hmsactd.store.sqlite import DATABASE_FILE, SqliteStore
from hmsactd.store.store import Store
from hmsactd.timeline.keys import fresh_keys
from tests.timeline.samples import BEGAN, SECOND, append, exported, one_of_every_kind, running, started, step_started

KEYS = fresh_keys()
MADE: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "sqlite": lambda directory: SqliteStore(directory / DATABASE_FILE),
}


@pytest.fixture(params=MADE)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MADE[request.param](tmp_path)


async def test_an_export_verifies_across_epochs_and_blocks(store: Store) -> None:
    for epoch in range(3):
        async with running(store, KEYS) as timelines:
            loaded = await timelines.load("default", "op_main", lambda _: None)
            main = loaded or timelines.new("default", "op_main")
            for number in range(4):
                await append(
                    main, *(one_of_every_kind() if not main.sequence else [step_started(BEGAN + 1000 * SECOND)])
                )
                other = timelines.new("default", f"op_{epoch}_{number}")
                await append(other, started(), *(step_started() for _ in range(70)))
    async with running(store, KEYS) as timelines:
        assert timelines.size > 800
        found = verify(await exported(timelines, "op_main"), key=timelines.verifier_key)
        assert (found.events, found.size) == (54, timelines.size)
        assert found.complete_as_of == "2026-10-02T13:18:16.123456Z"


async def test_the_same_timeline_gives_the_same_file(store: Store) -> None:
    async with running(store, KEYS) as timelines:
        await append(timelines.new("default", "op_1"), *one_of_every_kind())
        assert await exported(timelines, "op_1") == await exported(timelines, "op_1")


async def test_a_long_timeline_comes_in_parts(store: Store) -> None:
    async with running(store, KEYS) as timelines:
        timeline = timelines.new("default", "op_1")
        await append(timeline, started(), *(step_started() for _ in range(999)))
        parts = [part async for part in timelines.export("default", "op_1", BEGAN)]
        assert len(parts) > 10
        assert max(map(len, parts)) < 256 * 1024
        assert verify(b"".join(parts), key=timelines.verifier_key).events == 1000


async def test_an_export_made_while_the_log_grows_verifies(store: Store) -> None:
    async with running(store, KEYS) as timelines:
        timeline = timelines.new("default", "op_1")
        await append(timeline, *one_of_every_kind())
        files: list[bytes] = []

        async def grow() -> None:
            while len(files) < 5:
                await append(timeline, step_started(BEGAN + 1000 * SECOND))
                await append(timelines.new("default", f"op_{timelines.size}"), started())

        async def export() -> None:
            while len(files) < 5:
                files.append(await exported(timelines, "op_1"))

        async with asyncio.TaskGroup() as group:
            group.create_task(grow())
            group.create_task(export())
        for file in files:
            verify(file, key=timelines.verifier_key)


async def test_what_is_not_to_be_revealed_is_not_in_the_file(store: Store) -> None:
    async with running(store, KEYS) as timelines:
        await append(timelines.new("default", "op_1"), *one_of_every_kind())
        assert b"Jane Roe" in await exported(timelines, "op_1")
        hidden = await exported(timelines, "op_1", reveal=False)
        assert b"Jane Roe" not in hidden
        assert verify(hidden, key=timelines.verifier_key).withheld > 0


async def test_what_was_erased_is_not_in_the_file_and_the_rest_verifies(store: Store) -> None:
    async with running(store, KEYS) as timelines:
        await append(timelines.new("default", "op_1"), *one_of_every_kind())
        await timelines.erase("default", "op_1")
        file = await exported(timelines, "op_1")
        assert b"Jane Roe" not in file
        assert verify(file, key=timelines.verifier_key).shown == 0


async def test_a_statement_is_never_older_than_what_it_states(store: Store) -> None:
    async with running(store, KEYS) as timelines:
        await append(timelines.new("default", "op_1"), started(BEGAN))
        parts = [part async for part in timelines.export("default", "op_1", BEGAN - SECOND)]
        assert (
            verify(b"".join(parts), key=timelines.verifier_key).complete_as_of
            == json.loads(json.loads(b"".join(parts))["records"][0]["record"])["at"]
        )


async def test_a_held_seal_is_joined_on_request(store: Store) -> None:
    async with running(store, KEYS) as timelines:
        timeline = timelines.new("default", "op_1")
        seals = {}
        for number in range(30):
            receipt = await append(
                timeline, started() if not number else step_started(), *(step_started() for _ in range(20))
            )
            seals[timelines.size] = receipt.seal
        # Sizes that the log never had are left out, not proved.
        file = await exported(timelines, "op_1", earlier=[0, *seals, 10_000])
        for seal in seals.values():
            assert verify(file, key=timelines.verifier_key, head=seal).is_joined


async def test_what_does_not_exist_is_not_exported(store: Store) -> None:
    async with running(store, KEYS) as timelines:
        with pytest.raises(LookupError):
            await exported(timelines, "op_1")
        await append(timelines.new("default", "op_1"), started())
        with pytest.raises(LookupError):
            await exported(timelines, "op_2")
