"""The data directory: keys, database, schema, log, the seal kept outside, and the clock against the last record."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from hmsact.note import VerifierKey

from hmsactd.doctor.finding import Finding, fail, ok, warn
from hmsactd.settings.settings import Settings
from hmsactd.store.errors import DataRefused, Unavailable
from hmsactd.store.look import READ_WHOLE_MAX_BYTES, connected, cut_off, faults, refusal
from hmsactd.store.migrate import applied_migrations, known_migrations, refuse_unknown
from hmsactd.store.rollback import incarnation_of
from hmsactd.store.sqlite import DATABASE_FILE, SqliteStore
from hmsactd.store.store import Log
from hmsactd.timeline.incarnation import difference_from
from hmsactd.timeline.keys import Keys, check_name, compare_name, load_keys
from hmsactd.timeline.outside import OutsideSeal
from hmsactd.timeline.payloads import Keyring
from hmsactd.timeline.soundness import first_fault, last_recorded_at, sound_edge
from hmsactd.timeline.timeline import verifier_key_of

CLOCK_BEHIND_S: Final = 60
SAFE_SINCE: Final = (3, 51, 3)
SAFE_BEFORE: Final = ((3, 44, 6), (3, 50, 7))
"""SQLite without the fault by which two connections that write at once can damage a WAL."""


async def of_directory(settings: Settings, *, is_full: bool) -> AsyncIterator[Finding]:
    """Everything in the directory, as far as one thing does not hide the next."""
    directory, database = settings.data.directory, settings.data.directory / DATABASE_FILE
    yield _sqlite()
    try:
        check_name(directory, database)
    except DataRefused as refused:
        yield fail("database", str(refused))
        return
    if not database.exists() or not database.stat().st_size:
        yield ok("database", "is not there yet: the first start begins it")
        return
    keys: Keys | None = None
    try:
        keys = load_keys(directory, may_make=False)
        yield ok("keys", "are there, and nobody else's to read")
    except DataRefused as refused:
        yield fail("keys", str(refused))
    is_readable = True
    for finding in _of_database(database, is_full=is_full):
        is_readable = is_readable and finding.level.value != "FAIL"
        yield finding
    if is_readable and keys is not None:
        async for finding in _of_log(settings, database, keys, is_full=is_full):
            yield finding


def _sqlite() -> Finding:
    version = sqlite3.sqlite_version_info
    if version >= SAFE_SINCE or version in SAFE_BEFORE:
        return ok("sqlite", f"{sqlite3.sqlite_version}")
    return ok(
        "sqlite",
        f"{sqlite3.sqlite_version}, which can damage a database that two programs write: the daemon is the only one "
        "as long as no other tool opens it for writing",
    )


def _of_database(database: Path, *, is_full: bool) -> Iterator[Finding]:
    size = database.stat().st_size
    is_whole = is_full or size <= READ_WHOLE_MAX_BYTES
    try:
        with closing(connected(database)) as connection:
            found = [*filter(None, [cut_off(connection, database)])]
            found += faults(connection, is_whole=is_whole, is_thorough=is_full)
            refuse_unknown(applied_migrations(connection), known_migrations())
    except (sqlite3.Error, OSError) as error:
        yield fail("database", str(refusal(database, error)))
        return
    except DataRefused as refused:
        yield fail("schema", f"{refused}: run the hmsactd that wrote it, or a newer one")
        return
    for fault in found:
        yield fail("database", f"is damaged: {fault}; restore the data directory from a backup")
    if not found:
        how = (
            "every page and index was read" if is_full else "every page was read" if is_whole else "in part; see --full"
        )
        yield ok("database", f"{size / 1024 / 1024:,.1f} MiB, sound ({how})")
    yield ok("schema", "is one that this version knows")


async def _of_log(settings: Settings, database: Path, keys: Keys, *, is_full: bool) -> AsyncIterator[Finding]:
    store = SqliteStore(database)
    try:
        log = await store.open_to_read()
        if log is None:
            yield ok("log", "was not begun yet")
            return
        key = verifier_key_of(log.origin, keys)
        try:
            compare_name(database.parent, log.origin)
            await sound_edge(store, log, key, Keyring(keys.payload))
        except DataRefused as refused:
            yield fail("log", str(refused))
            # What the last seal does not cover can be told more closely.
            if is_full and log.verifier_key == str(key) and (fault := await first_fault(store, log, key)):
                yield fail("records", fault)
            return
        incarnation = incarnation_of(log.epoch)
        again = f", {incarnation} rollbacks accepted" if incarnation else ""
        yield ok(
            "log", f"{log.origin}: {log.size:,} records under its last seal, opened {log.epoch % 10**6} times{again}"
        )
        if is_full:
            fault = await first_fault(store, log, key)
            yield fail("records", fault) if fault else ok("records", "every one, and every seal, is as it was made")
        yield await _clock(store, log)
        yield await _outside(settings.timeline.outside_seals, store, log, key)
    except Unavailable as error:
        yield fail("log", f"can't be read: {error}")
    finally:
        await store.close()


async def _clock(store: SqliteStore, log: Log) -> Finding:
    last = await last_recorded_at(store, log.size)
    if last is None:
        return ok("clock", "there is no record to compare it with")
    behind_s = last / 1e6 - time.time()
    if behind_s > CLOCK_BEHIND_S:
        return fail("clock", f"is {behind_s:,.0f} s behind the last record: set it right before you start the daemon")
    return ok("clock", f"the last record was made {max(0.0, -behind_s):,.0f} s ago by it")


async def _outside(path: Path | None, store: SqliteStore, log: Log, key: VerifierKey) -> Finding:
    about = "outside seal"
    if path is None:
        return warn(about, "is not kept: older data in place of newer would go unnoticed; set timeline.outside_seals")
    try:
        head = OutsideSeal(path).head(log.origin, key)
    except DataRefused as refused:
        return fail(about, str(refused))
    if head is None:
        return warn(about, f"{path} is not there: it is written once the daemon runs")
    difference = await difference_from(head, store, log.size)
    if difference is not None:
        return fail(about, f"{difference}: restore newer data, or start once with --accept-rollback")
    if _is_on_one_disk(path, store.path):
        return warn(about, f"covers {head.size:,} records, but lies on the disk of the data: put it on another one")
    return ok(about, f"covers {head.size:,} of the {log.size:,} records")


def _is_on_one_disk(first: Path, second: Path) -> bool:
    return first.stat().st_dev == second.stat().st_dev
