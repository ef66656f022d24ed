"""Whether a log is the one that was sealed: what a start can tell, and what a look at all of it tells."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hmsact.note import TreeHead, VerifierKey

from hmsactd.store.errors import DataRefused
from hmsactd.store.sqlite import DATABASE_FILE, SqliteStore
from hmsactd.store.store import Log
from hmsactd.timeline import soundness
from hmsactd.timeline.keys import fresh_keys
from hmsactd.timeline.payloads import Keyring
from hmsactd.timeline.seal import is_sealed
from hmsactd.timeline.soundness import first_fault, last_recorded_at, sound_edge
from hmsactd.timeline.timeline import verifier_key_of
from hmsactd.timeline.tree import BLOCK
from tests.store.damage import tamper
from tests.timeline.samples import BEGAN, SECOND, append, running, started, step_started

KEYS = fresh_keys()
BATCH = 100
SIZE = 3 * BATCH
"""Enough for the tree to have a node that is kept."""


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    """A log under three seals, that nobody has open."""
    assert SIZE > BLOCK
    path = tmp_path / DATABASE_FILE
    async with running(SqliteStore(path), KEYS) as timelines:
        for number in range(3):
            at = BEGAN + number * SECOND
            await append(timelines.new("default", f"op_{number}"), started(at), *[step_started(at)] * (BATCH - 1))
    return path


@asynccontextmanager
async def reading(database: Path) -> AsyncIterator[tuple[SqliteStore, Log, VerifierKey]]:
    store = SqliteStore(database)
    try:
        log = await store.open_to_read()
        assert log is not None
        yield store, log, verifier_key_of(log.origin, KEYS)
    finally:
        await store.close()


async def refusal(database: Path, keyring: Keyring = Keyring(KEYS.payload)) -> str | None:  # noqa: B008
    """Why a start refuses it."""
    async with reading(database) as (store, log, key):
        try:
            edge = await sound_edge(store, log, key, keyring)
        except DataRefused as error:
            return str(error)
        assert edge.size == log.size
        return None


async def fault_in_all_of(database: Path) -> str | None:
    """The first fault that a look at all of it finds."""
    async with reading(database) as (store, log, key):
        return await first_fault(store, log, key)


@pytest.mark.parametrize("page", [7, BATCH, 5_000])
async def test_a_sound_log_is_found_sound(database: Path, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "PAGE", page)
    assert await refusal(database) is None
    assert await fault_in_all_of(database) is None


# What was done, why a start refuses it (None: it doesn't see it), and what a look at all of it says.
FAULTS: dict[str, tuple[tuple[str, ...], str | None, str]] = {
    "a record changed": (
        ("UPDATE event SET record = CAST(replace(record, 'IRS', 'FSA') AS BLOB) WHERE position = 120",),
        "record 120 of the log was changed: it is not what its hash says",
        "record 120 was changed: it is not what its hash says",
    ),
    "a record changed, and its hash": (
        ("UPDATE event SET record = x'7b7d', leaf = zeroblob(32) WHERE position = 120",),
        "record 120 of the log was changed",
        "record 120 was changed",
    ),
    "a record missing in the middle": (
        ("DELETE FROM event WHERE position = 120",),
        "the end of the log is not where its last seal says, after 300 records",
        "record 120 is missing",
    ),
    "records missing at the end": (
        ("DELETE FROM event WHERE position >= 299",),
        "records of the log, or nodes of its tree, are missing",
        "the seal over the first 300 records has no place in a log of 299",
    ),
    "the end missing, with its seal": (
        ("DELETE FROM event WHERE position >= 200", "DELETE FROM seal WHERE size > 200"),
        "records of the log, or nodes of its tree, are missing",
        "the log says that it has 300 records, and 200 are there",
    ),
    "a record too many": (
        ("INSERT INTO event SELECT 300, namespace, operation, 999, record, leaf FROM event WHERE position = 299",),
        "the end of the log is not where its last seal says, after 300 records",
        "the log says that it has 300 records, and 301 are there",
    ),
    "an early seal changed": (
        ("UPDATE seal SET note = (SELECT note FROM seal WHERE size = 200) WHERE size = 100",),
        None,
        "the seal over the first 100 records does not cover them: one was changed, or the seal",
    ),
    "the last seal torn": (
        ("UPDATE seal SET note = substr(note, 1, 40) WHERE size = 300",),
        "the last seal does not cover the log as it stands",
        "the seal over the first 300 records does not cover them: one was changed, or the seal",
    ),
    "every seal gone": (
        ("DELETE FROM seal",),
        "the log has 300 records and no seal over them",
        "the log has 300 records and no seal over them",
    ),
    "a node changed": (
        ("UPDATE node SET hash = zeroblob(32)",),
        "the last seal does not cover the log as it stands",
        "node 0 on level 8 of the tree is not what the records give",
    ),
    "a node gone": (
        ("DELETE FROM node",),
        "records of the log, or nodes of its tree, are missing",
        "node 0 on level 8 of the tree is not what the records give",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_is_named_with_its_place(database: Path, fault: str) -> None:
    statements, refused, found = FAULTS[fault]
    tamper(database, *statements)
    assert ((await refusal(database)) or "it is opened").startswith(refused or "it is opened")
    assert ((await fault_in_all_of(database)) or "").startswith(found)


async def test_of_a_long_log_a_start_looks_at_the_end_alone(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "LOOKED_AT", 20)
    tamper(database, "UPDATE event SET record = x'7b7d' WHERE position = 120")
    assert await refusal(database) is None
    assert await fault_in_all_of(database) == "record 120 was changed: it is not what its hash says"
    tamper(database, "UPDATE event SET record = x'7b7d' WHERE position = 280")
    assert "record 280 of the log was changed" in (await refusal(database) or "")


async def test_a_payload_key_that_opens_nothing_is_refused_as_long_as_there_is_something_to_open(
    database: Path,
) -> None:
    other = Keyring(fresh_keys().payload)
    refused = await refusal(database, other) or ""
    assert "does not open what was said in op_" in refused
    assert "put the payload.key that belongs to this log into the data directory" in refused
    tamper(database, "UPDATE operation SET payload_key = NULL")
    assert await refusal(database, other) is None


async def test_the_last_time_on_record_is_told(database: Path) -> None:
    async with reading(database) as (store, _, _):
        assert await last_recorded_at(store, SIZE) == BEGAN + 2 * SECOND
        assert await last_recorded_at(store, BATCH) == BEGAN
        assert await last_recorded_at(store, 0) is None


def test_what_is_no_note_seals_nothing() -> None:
    head = TreeHead("any/log/0", 1, bytes(32))
    assert not is_sealed("no note", head, verifier_key_of(head.origin, KEYS))
