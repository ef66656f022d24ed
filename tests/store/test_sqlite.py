"""What only a store in a file can do wrong."""

import resource
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hmsactd.store import select, sqlite
from hmsactd.store.errors import DataRefused, Trouble, Unavailable
from hmsactd.store.migrate import Migration, known_migrations, migrate
from hmsactd.store.rollback import Rollback
from hmsactd.store.sqlite import DATABASE_FILE, SqliteStore
from hmsactd.store.store import Log, PayloadRow
from hmsactd.store.where import Where
from tests.store.batches import Writer, leaf, summary
from tests.store.damage import flip_first_page_of
from tests.store.stores import BIRTH


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / DATABASE_FILE


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(path)
    yield made
    await made.close()


@pytest.fixture
async def writer(store: SqliteStore) -> Writer:
    return Writer(store, await store.open(BIRTH))


@contextmanager
def full_disk(path: Path, room: int) -> Iterator[None]:
    """No file grows beyond the size that the journal has now, and a little."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = path.with_name(path.name + "-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.stat().st_size + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_letter(path: Path) -> None:
    path.write_bytes(b"this is a letter, and no database" * 100)


def tampering(path: Path, statement: str) -> str:
    """What the database says to somebody who writes past the store."""
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError) as refusal:
        connection.execute(statement)
    return str(refusal.value)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET record = x'00'",
        "DELETE FROM event",
        "UPDATE seal SET note = ''",
        "DELETE FROM seal",
    ],
)
async def test_what_is_written_stays_as_it_was_written(writer: Writer, path: Path, statement: str) -> None:
    await writer.keep(summary("op_1"))
    assert "never" in tampering(path, statement)


async def test_an_acknowledged_write_has_reached_the_disk(writer: Writer, store: SqliteStore, path: Path) -> None:
    await writer.keep(summary("op_1"))
    assert store._writer is not None
    settings = await store._writer.run(
        lambda connection: [
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        ]
    )
    assert settings == ["wal", 2]
    # A reader that knows nothing of our process sees it.
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM event").fetchone() == (1,)


async def test_the_files_are_their_owners_alone(writer: Writer, path: Path) -> None:
    await writer.keep(summary("op_1"))
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


async def test_readers_cannot_write(writer: Writer, store: SqliteStore) -> None:
    for reader in store._readers:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await reader.run(lambda connection: connection.execute("DELETE FROM label"))


async def test_a_fault_in_one_append_is_its_own(writer: Writer) -> None:
    faulty = summary("op_1", revision=2**70)
    refused = await writer.write(writer.append(faulty, 0), writer.append(summary("op_2"), 1))
    assert {position: type(error) for position, error in refused.items()} == {0: ValueError}
    unnamed = replace(summary("op_3"), state=None)  # type: ignore[arg-type]
    assert list(await writer.write(writer.append(summary("op_2"), 0), writer.append(unnamed, 1))) == [1]
    assert not await writer.write(writer.append(summary("op_2"), 0))


async def test_a_full_disk_fails_the_write_and_spoils_nothing(writer: Writer, store: SqliteStore, path: Path) -> None:
    await writer.keep(summary("op_1"))
    large = [PayloadRow(1, "input", bytes(1_000_000))]
    with full_disk(path, 4096):
        with pytest.raises(Unavailable, match="the disk reports an error"):
            await writer.keep(summary("op_2"), payloads=large)
        # What was acknowledged can be read meanwhile.
        assert len(await store.records("default", "op_1")) == 1
    assert (await store.reopen()).size == 1
    assert await store.summary("default", "op_2") is None
    await writer.keep(summary("op_2"), payloads=large)
    assert (await store.reopen()).size == 2


async def test_a_failed_write_is_not_tried_again_on_the_same_connection(
    writer: Writer, store: SqliteStore, path: Path
) -> None:
    await writer.keep(summary("op_1"))
    before = store._writer
    with full_disk(path, 0), pytest.raises(Unavailable):
        await writer.keep(summary("op_2"), payloads=[PayloadRow(1, "input", bytes(1_000_000))])
    await store.reopen()
    assert store._writer is not before


async def test_while_it_can_not_be_opened_anew_it_says_what_the_trouble_is(writer: Writer, store: SqliteStore) -> None:
    await writer.keep(summary("op_1"))
    await store._close_writer()
    store.condition.failed(Unavailable("the disk reports an error", Trouble.IO_ERROR))
    with pytest.raises(Unavailable, match="the disk reports an error") as refused:
        await store.erase("default", "op_1")
    assert refused.value.trouble is Trouble.IO_ERROR


async def test_it_can_be_opened_anew_once_the_file_can(writer: Writer, store: SqliteStore, path: Path) -> None:
    await writer.keep(summary("op_1"))
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    for file in path.parent.glob(f"{DATABASE_FILE}*"):
        file.rename(elsewhere / file.name)
    with pytest.raises(Unavailable, match="the database does not answer"):
        await store.reopen()
    with pytest.raises(Unavailable, match="closed"):
        await store.probe()
    for file in elsewhere.iterdir():
        file.rename(path.parent / file.name)
    assert (await store.reopen()).size == 1
    await store.probe()
    await writer.keep(summary("op_2"))


async def test_a_probe_finds_out_whether_something_can_be_written(
    writer: Writer, store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await writer.keep(summary("op_1"))
    await store.probe()
    with full_disk(path, 0), pytest.raises(Unavailable, match="the disk reports an error"):
        await store.probe()
    await store.reopen()
    monkeypatch.setattr(sqlite, "free_bytes", lambda _: 99_999)
    with pytest.raises(Unavailable, match=r"the disk is full \(99999 bytes are free\)") as refused:
        await store.probe()
    assert refused.value.trouble is Trouble.DISK_FULL
    monkeypatch.undo()
    await store.probe()


async def test_a_reader_sees_what_is_there_and_begins_nothing(store: SqliteStore, path: Path) -> None:
    reader = SqliteStore(path)
    with pytest.raises(Unavailable, match="unable to open database file"):
        await reader.open_to_read()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, known_migrations())
    assert await reader.open_to_read() is None
    await reader.close()
    writer = Writer(store, await store.open(BIRTH))
    await writer.keep(summary("op_1"))
    for _ in range(2):
        assert await reader.open_to_read() == Log(BIRTH.origin, BIRTH.verifier_key, 1, 1, "seal over 1")
        await reader.close()
    await writer.keep(summary("op_2"))


async def test_a_closed_store_reads_nothing_and_begins_no_incarnation(writer: Writer, store: SqliteStore) -> None:
    await store.close()
    with pytest.raises(Unavailable, match="closed"):
        await store.last_seal()
    with pytest.raises(Unavailable, match="closed"):
        await store.begin_incarnation(ROLLBACK)
    with pytest.raises(Unavailable, match="closed"):
        await store.probe()


async def test_whoever_reads_what_is_damaged_says_so_and_nothing_else_is_taken_for_damage(
    writer: Writer, store: SqliteStore, path: Path
) -> None:
    await writer.keep(summary("op_1", sequence=500))
    with pytest.raises(Unavailable) as refused:
        await store._read("SELECT none")
    assert (refused.value.trouble, store.condition.trouble) == (Trouble.UNAVAILABLE, None)
    await store.close()
    await store.open(BIRTH)
    flip_first_page_of(path, "event")
    with pytest.raises(Unavailable) as refused:
        await store.records("default", "op_1")
    assert refused.value.trouble is Trouble.CORRUPT
    assert store.condition.broken.is_set()


ROLLBACK = Rollback(at=5, size=1, seal="seal over 1", lost_size=9, lost_seal="seal over 9")


async def test_a_rollback_that_can_not_be_noted_begins_no_incarnation(
    writer: Writer, store: SqliteStore, path: Path
) -> None:
    await writer.keep(summary("op_1"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE rollback RENAME TO elsewhere")
    with pytest.raises(Unavailable, match="no such table"):
        await store.begin_incarnation(ROLLBACK)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE elsewhere RENAME TO rollback")
    await writer.keep(summary("op_2"))
    assert (await store.reopen()).epoch == 1
    assert await store.rollbacks() == []


async def test_erasing_that_fails_in_the_middle_forgets_nothing(writer: Writer, store: SqliteStore, path: Path) -> None:
    told = summary("op_1", requested_by="Jane Roe of 12 Elm Street")
    await writer.keep(told, payloads=[PayloadRow(1, "input", b"sealed")])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER stays BEFORE DELETE ON payload BEGIN SELECT raise(ABORT, 'it stays'); END")
    with pytest.raises(Unavailable, match="it stays"):
        await store.erase("default", "op_1")
    kept = await store.kept("default", "op_1")
    assert kept is not None
    assert (kept.summary, kept.payload_key) == (told, b"wrapped")
    await writer.keep(summary("op_2"))


async def test_erased_words_are_gone_from_the_files(writer: Writer, store: SqliteStore, path: Path) -> None:
    said = b"what Jane Roe has said" * 200
    key = b"the wrapped payload key"
    told = summary("op_1", requested_by="Jane Roe of 12 Elm Street")
    await writer.keep(told, payloads=[PayloadRow(1, "input", said)], key=key)
    await writer.keep(summary("op_1", sequence=2, state="completed"))
    assert any(said[:20] in file.read_bytes() for file in path.parent.iterdir())
    await store.erase("default", "op_1")
    for words in (said[:20], key, b"Elm Street"):
        assert not any(words in file.read_bytes() for file in path.parent.iterdir()), words


async def test_while_a_reader_keeps_erased_words_in_the_journal_erasing_is_not_done(
    writer: Writer, store: SqliteStore, path: Path
) -> None:
    await writer.keep(summary("op_1", requested_by="Jane Roe of 12 Elm Street"))
    assert store._writer is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM operation").fetchone() == (1,)
        # As long as it is patient for in fact, the test would wait.
        await store._writer.run(lambda connection: connection.execute("PRAGMA busy_timeout = 1").fetchall())
        with pytest.raises(Unavailable, match="readers keep the journal"):
            await store.erase("default", "op_1")
        reader.execute("COMMIT")
    assert await store.erase("default", "op_1")
    assert not any(b"Elm Street" in file.read_bytes() for file in path.parent.iterdir())


async def test_data_of_a_newer_version_is_refused(store: SqliteStore, path: Path) -> None:
    await store.open(BIRTH)
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO schema_migrations VALUES (99, '0099_later.sql', 'x')")
        connection.commit()
    with pytest.raises(DataRefused, match="newer hmsactd: its schema is 99, this version knows"):
        await store.open(BIRTH)


async def test_data_that_was_migrated_otherwise_is_refused(store: SqliteStore, path: Path) -> None:
    await store.open(BIRTH)
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE schema_migrations SET checksum = 'x'")
        connection.commit()
    with pytest.raises(DataRefused, match="migration 1 of the data"):
        await store.open(BIRTH)


async def test_what_is_no_database_is_refused(store: SqliteStore, path: Path) -> None:
    write_letter(path)
    with pytest.raises(DataRefused, match="is damaged"):
        await store.open(BIRTH)


async def test_a_place_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="can't be used"):
        await SqliteStore(tmp_path / "none" / DATABASE_FILE).open(BIRTH)


def broken(connection: sqlite3.Connection) -> None:
    migrate(
        connection,
        [
            *known_migrations(),
            Migration(len(known_migrations()) + 1, "broken.sql", "CREATE TABLE later (a TEXT) STRICT;\nSELECT none;\n"),
        ],
    )


def test_a_migration_is_applied_whole_or_not_at_all(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError):
            broken(connection)
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
        migrate(connection, known_migrations())
        with pytest.raises(sqlite3.OperationalError):
            broken(connection)
        assert connection.execute("SELECT version FROM schema_migrations").fetchall() == [
            (known.version,) for known in known_migrations()
        ]


async def test_operations_of_the_first_schema_are_found_after_its_migration(store: SqliteStore, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, known_migrations()[:1])
        connection.execute("INSERT INTO log VALUES (1, ?, ?, 1, 3)", (BIRTH.origin, BIRTH.verifier_key))
        for number, (state, ended_at, key) in enumerate((("waiting", None, "CASE-7"), ("completed", 9, None)), 1):
            awaits = ("decision", "officer") if ended_at is None else ("", "")
            connection.execute(
                "INSERT INTO operation VALUES ('default', ?, 'loan', 'd', ?, 1, 1, 5, 6, ?, NULL, ?, ?, '', 0, NULL,"
                " NULL, NULL, NULL, NULL, 'dev:x', ?, '[[\"office\", \"Zürich\"]]', NULL, 'dev:x', x'00', NULL)",
                (f"op_{number}", state, ended_at, *awaits, key),
            )
            connection.execute("INSERT INTO label VALUES ('default', 'office', 'Zürich', ?)", (f"op_{number}",))
    log = await store.open(BIRTH)
    assert (log.size, log.epoch) == (3, 2)
    for where, expected in (
        (Where(), ["op_2", "op_1"]),
        (Where(words=("zurich",)), ["op_2", "op_1"]),
        (Where(words=("case", "zur", "loan")), ["op_1"]),
        (Where(labels=(("office", "Zürich"),), states=("completed",)), ["op_2"]),
        (Where(key="CASE-7"), ["op_1"]),
        (Where(awaits_who=("officer",)), ["op_1"]),
    ):
        assert [each.operation for each in await store.operations("default", where)] == expected, where
        assert (await store.count("default", where)).count == len(expected), where
    assert [(tally.state, tally.count) for tally in await store.tallies()] == [("completed", 1), ("waiting", 1)]


async def test_words_that_are_erased_are_gone_from_what_is_searched(
    writer: Writer, store: SqliteStore, path: Path
) -> None:
    await writer.keep(summary("op_1", key="Quixotesque-77", labels=(("who", "Pseudonymous"),)))
    await writer.keep(summary("op_1", sequence=2, state="completed"))
    await store.erase("default", "op_1")
    assert (await store.count("default", Where(words=("quixotesque",)))).count == 0
    for words in (b"quixotesque", b"Quixotesque", b"pseudonymous", b"Pseudonymous"):
        assert not any(words in file.read_bytes() for file in path.parent.iterdir()), words


def test_migrations_are_numbered_from_one_each_once() -> None:
    names = [migration.name for migration in known_migrations()]
    assert [name.partition("_")[0] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]


@pytest.mark.parametrize("versions", [(1, 1), (1, 2, 2, 3), (1, 3), (2,), (2, 1)])
def test_migrations_that_are_numbered_otherwise_touch_no_data(path: Path, versions: tuple[int, ...]) -> None:
    migrations = [Migration(version, f"{version}.sql", "SELECT 1;") for version in versions]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(AssertionError, match="numbered from 1, each once"):
            migrate(connection, migrations)
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []


async def test_the_hot_reads_use_an_index(writer: Writer, store: SqliteStore) -> None:
    questions = [
        (select.DUE, (9, 9)),
        (select.NEXT_DUE, ()),
        (select.CALLS, ("", "", 9)),
        select.by_key("default", "k", (), 9),
        (select.ALARMED, ("", "", 9)),
        (select.SEAL_OVER, (9,)),
        select.kept("default", "op_1"),
        select.records("default", "op_1", 0, None, 9, backwards=True),
        select.queued("default", "IRS", ["check"], 9),
        select.queued("default", "IRS", None, 9),
        select.pending("default", None, (1, "op"), 9),
        select.payloads("default", "op_1", [1]),
    ]
    assert store._writer is not None
    for sql, parameters in questions:
        plan = await store._writer.run(
            lambda connection, sql=sql, parameters=parameters: [  # type: ignore[misc]
                row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
            ]
        )
        assert not any("SCAN operation" in line and "USING" not in line for line in plan), (sql, plan)
        assert not any("TEMP B-TREE" in line for line in plan), (sql, plan)


async def test_a_leaf_is_kept_as_it_was_given(writer: Writer, store: SqliteStore) -> None:
    await writer.keep(summary("op_1", sequence=2))
    assert [row.leaf for row in await store.records("default", "op_1")] == [leaf("op_1", 1), leaf("op_1", 2)]
