"""Damaged, foreign or older data: the daemon doesn't start, and says in one sentence what it is and what to do."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hmsact import Checkpoint, Step

from hmsactd.store.rollback import INCARNATION
from hmsactd.store.sqlite import DATABASE_FILE
from hmsactd.timeline.keys import NAME_FILE, PAYLOAD_FILE, SIGNING_FILE, load_keys
from tests.faults.tower import Tower, until
from tests.store import damage

OPERATIONS = 120


def write_some(tower: Tower, count: int = 1) -> None:
    with tower.orchestrator() as act:
        for _ in range(count):
            act.start(
                name="flow", steps=[Step("ask", svc="Irs"), Checkpoint("review", role="fsa.officer")], input="x" * 99
            )


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a few hundred records, left in order."""
    tower = Tower(tmp_path_factory.mktemp("kept") / "data")
    tower.start()
    write_some(tower, OPERATIONS)
    assert tower.stop() == 0
    return tower.data


@pytest.fixture
def tower(kept: Path, tmp_path: Path) -> Iterator[Tower]:
    """A daemon on a copy of it, not started."""
    tower = Tower(tmp_path / "data")
    shutil.copytree(kept, tower.data)
    yield tower
    tower.kill()


def database(data: Path) -> Path:
    return data / DATABASE_FILE


def tamper(data: Path, *statements: str) -> None:
    damage.tamper(database(data), *statements)


def swap_key(data: Path, name: str) -> None:
    """A key of another daemon, in good order."""
    other = data.with_name("other")
    other.mkdir()
    load_keys(other, may_make=True)
    shutil.copy2(other / name, data / name)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut to a third": (lambda data: _cut(data, 3), "is damaged"),
    "cut within a page": (lambda data: database(data).write_bytes(database(data).read_bytes()[:-100]), "is damaged"),
    "cut to a header": (lambda data: database(data).write_bytes(database(data).read_bytes()[:100]), "is damaged"),
    "empty": (lambda data: database(data).write_bytes(b""), "is empty, and"),
    "gone": (lambda data: database(data).unlink(), "is missing, and"),
    "no database": (lambda data: database(data).write_bytes(b"Dear Sir or Madam,\n" * 999), "is damaged"),
    "header flipped": (lambda data: _flip(data, 0, 16), "is damaged"),
    "events flipped": (lambda data: damage.flip_first_page_of(database(data), "event"), "is damaged"),
    "operations flipped": (lambda data: damage.flip_first_page_of(database(data), "operation"), "is damaged"),
    "log flipped": (lambda data: damage.flip_first_page_of(database(data), "log"), "is damaged"),
    "a directory": (lambda data: _make_directory(database(data)), "can't be used"),
    "record changed": (
        lambda data: tamper(
            data, "UPDATE event SET record = CAST(replace(record, 'Irs', 'Fsa') AS BLOB) WHERE position = 100"
        ),
        "record 100 of the log was changed",
    ),
    "last record gone": (
        lambda data: tamper(data, "DELETE FROM event WHERE position = (SELECT max(position) FROM event)"),
        "are missing",
    ),
    "a record too many": (
        lambda data: tamper(
            data,
            "INSERT INTO event SELECT position + 1, namespace, operation, 999, record, leaf FROM event"
            " ORDER BY position DESC LIMIT 1",
        ),
        "the end of the log is not where its last seal says",
    ),
    "tail gone with its seals": (
        lambda data: tamper(
            data,
            "DELETE FROM event WHERE position > 100",
            "DELETE FROM seal WHERE size > 101",
            "UPDATE log SET size = 99",
        ),
        "the last seal does not cover the log",
    ),
    "seal torn": (
        lambda data: tamper(
            data, "UPDATE seal SET note = substr(note, 1, 40) WHERE size = (SELECT max(size) FROM seal)"
        ),
        "the last seal does not cover the log",
    ),
    "seals gone": (lambda data: tamper(data, "DELETE FROM seal"), "no seal over them"),
    "newer schema": (
        lambda data: tamper(data, "INSERT INTO schema_migrations VALUES (9999, 'later', 'x')"),
        "written by a newer hmsactd",
    ),
    "another log's": (
        lambda data: (data / NAME_FILE).write_text("hmsactd-someotherlog/log/0\n"),
        "has held hmsactd-someotherlog/log/0",
    ),
    "signing key swapped": (lambda data: swap_key(data, SIGNING_FILE), "the signing key is not the one"),
    "payload key swapped": (lambda data: swap_key(data, PAYLOAD_FILE), "does not open what was said"),
    "signing key garbled": (
        lambda data: (data / SIGNING_FILE).write_bytes(b"key\n"),
        "is not a private key in PEM form",
    ),
    "payload key short": (
        lambda data: (data / PAYLOAD_FILE).write_bytes(b"c2hvcnQ=\n"),
        "does not hold a key of 32 bytes",
    ),
    "signing key gone": (lambda data: (data / SIGNING_FILE).unlink(), "is missing"),
    "payload key open": (lambda data: (data / PAYLOAD_FILE).chmod(0o644), "chmod 600"),
}


def _make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _cut(data: Path, to_a: int) -> None:
    content = database(data).read_bytes()
    database(data).write_bytes(content[: len(content) // to_a // 4096 * 4096])


def _flip(data: Path, start: int, end: int) -> None:
    content = bytearray(database(data).read_bytes())
    content[start:end] = bytes(byte ^ 0xFF for byte in content[start:end])
    database(data).write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGE)
def test_it_does_not_start_and_says_what_it_is_and_so_does_the_doctor(tower: Tower, damage: str) -> None:
    do, sentence = DAMAGE[damage]
    do(tower.data)
    assert not tower.begin()
    said = tower.said().splitlines()
    assert said[-1].startswith("hmsactd: ")
    assert sentence in said[-1]
    assert not any("Traceback" in line for line in said)
    code, findings = doctor(tower)
    assert code == 1
    assert [each for each in findings if each["result"] == "FAIL"], "the doctor sees it, too"


def doctor(tower: Tower, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """What the doctor says of a daemon's data and doors: its exit code, and its findings."""
    command = [sys.executable, "-m", "hmsactd", "doctor", "--json", "--data", str(tower.data)]
    command += ["--grpc", tower.address, "--http", tower.http, *tower.arguments, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout, ran.stderr
    told = json.loads(ran.stdout)
    assert told["ok"] is (ran.returncode == 0)
    return ran.returncode, told["findings"]


# -- the seal outside --------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(tower: Tower, tmp_path: Path) -> tuple[Tower, Path]:
    """The same with a seal outside."""
    outside = tmp_path / "elsewhere" / "seal"
    outside.parent.mkdir()
    tower.environment["HMSACTD_TIMELINE__OUTSIDE_SEALS"] = str(outside)
    return tower, outside


@pytest.mark.timeout(90)
def test_older_data_are_refused_until_somebody_accepts_it_and_then_the_record_shows_it(
    guarded: tuple[Tower, Path], tmp_path: Path
) -> None:
    tower, outside = guarded
    tower.start()
    write_some(tower)
    assert tower.stop() == 0
    older = tmp_path / "older"
    shutil.copytree(tower.data, older)
    tower.start()
    write_some(tower, 3)
    assert tower.stop() == 0
    lost = outside.read_text("utf-8")
    shutil.rmtree(tower.data)
    shutil.copytree(older, tower.data)
    assert not tower.begin()
    assert "the data are older" in tower.last_words()
    assert "--accept-rollback" in tower.last_words()
    assert outside.read_text("utf-8") == lost
    tower.start("--accept-rollback")
    assert tower.lines("a rollback was accepted")
    write_some(tower)
    assert tower.stop() == 0
    with closing(sqlite3.connect(f"file:{database(tower.data)}?mode=ro", uri=True)) as connection:
        ((record,),) = connection.execute("SELECT record FROM event ORDER BY position DESC LIMIT 1").fetchall()
        ((lost_seal,),) = connection.execute("SELECT lost_seal FROM rollback").fetchall()
    assert lost_seal == lost
    assert json.loads(record)["epoch"] > INCARNATION
    assert not tower.begin("--accept-rollback")
    assert "there is no rollback to accept" in tower.last_words()
    tower.start()
    assert not tower.lines("rollback")


def test_a_journal_that_was_taken_away_is_noticed_by_the_seal_outside(guarded: tuple[Tower, Path]) -> None:
    tower, outside = guarded
    tower.start()
    until(outside.exists, "a seal is outside")
    before = outside.read_text("utf-8")
    write_some(tower)
    until(lambda: outside.read_text("utf-8") != before, "the next one is, too")
    tower.kill()
    database(tower.data).with_name(DATABASE_FILE + "-wal").unlink()
    assert not tower.begin()
    assert "the data are older" in tower.last_words()


def test_a_log_that_forked_from_the_seal_outside_is_refused(guarded: tuple[Tower, Path], tmp_path: Path) -> None:
    tower, outside = guarded
    older = tmp_path / "older"
    shutil.copytree(tower.data, older)
    tower.start()
    write_some(tower)
    assert tower.stop() == 0
    held = outside.read_text("utf-8")
    shutil.rmtree(tower.data)
    shutil.copytree(older, tower.data)
    outside.unlink()
    tower.start()
    write_some(tower, 5)
    assert tower.stop() == 0
    outside.write_text(held, "utf-8")
    assert not tower.begin()
    assert "are not those that its last seal kept outside covers" in tower.last_words()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not a seal"),
        (b"\xff\xfe\x00", "is not a seal"),
        (None, "can't be read"),
        (f"hmsactd-other/log/0\n1\n{'A' * 43}=\n\n— hmsactd-other {'A' * 91}=\n".encode(), "the seal of another log"),
    ],
    ids=["empty", "garbage", "directory", "foreign"],
)
def test_an_outside_seal_that_is_none_of_its_own_is_refused(
    guarded: tuple[Tower, Path], content: bytes | None, sentence: str
) -> None:
    tower, outside = guarded
    if content is None:
        outside.mkdir()
    else:
        outside.write_bytes(content)
    assert not tower.begin()
    assert "(timeline.outside_seals)" in tower.last_words()
    assert sentence in tower.last_words()
    assert not tower.begin("--accept-rollback"), "what is not known can't be accepted"


def test_an_outside_seal_that_can_not_be_written_stops_nothing(guarded: tuple[Tower, Path]) -> None:
    tower, outside = guarded
    outside.parent.rmdir()
    tower.start()
    write_some(tower, 2)
    until(lambda: bool(tower.lines("the outside seal can't be written")), "it says so")
    outside.parent.mkdir()
    until(outside.exists, "it is written as soon as it can be")
    assert tower.is_ready()
    assert len(tower.lines("the outside seal can't be written")) == 1


# -- while it runs -----------------------------------------------------------------------------------------------------


def test_damage_found_while_it_runs_ends_it_with_a_sentence(tower: Tower) -> None:
    tower.start()
    damage.flip_first_page_of(database(tower.data), "operation")
    with tower.orchestrator() as act:
        until(lambda: not (_answers(act.count) and _answers(lambda: write_some(tower))), "it is found out")
    assert tower.ended() == 4
    assert tower.last_words().startswith("hmsactd: stopped, because the data can't be trusted any more")
    assert "doctor --full" in tower.last_words()


def test_a_database_that_is_replaced_under_it_ends_it_with_a_sentence(tower: Tower) -> None:
    tower.start()
    database(tower.data).rename(tower.data / "aside.db")
    assert tower.ended() == 4
    assert "was moved, deleted or replaced" in tower.last_words()


def _answers(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except Exception:  # noqa: BLE001 -- whatever it is told, it is told that it can't be done
        return False
    return True
