"""The seal that is kept in a file outside the data directory."""

import asyncio
from pathlib import Path

import pytest
from hmsact.note import TreeHead
from structlog.testing import capture_logs

from hmsactd.store.errors import DataRefused
from hmsactd.timeline import outside
from hmsactd.timeline.keys import fresh_keys
from hmsactd.timeline.outside import SEAL_MAX_BYTES, OutsideSeal
from hmsactd.timeline.seal import Ed25519Signer, signed_note

SIGNER = Ed25519Signer("hmsactd-abcdefghijkl", fresh_keys().signing)
ORIGIN = "hmsactd-abcdefghijkl/log/0"


def head(size: int, origin: str = ORIGIN) -> TreeHead:
    return TreeHead(origin, size, bytes([size]) * 32)


def seal(size: int, origin: str = ORIGIN) -> str:
    return signed_note(head(size, origin).body(), SIGNER)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outside.seal"


async def test_what_was_kept_is_read_back(path: Path) -> None:
    kept = OutsideSeal(path)
    assert kept.head(ORIGIN, SIGNER.verifier_key) is None
    for size in (1, 2):
        await kept.keep(seal(size))
        assert OutsideSeal(path).head(ORIGIN, SIGNER.verifier_key) == head(size)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


async def test_what_is_there_already_is_not_written_again(path: Path) -> None:
    kept = OutsideSeal(path)
    await kept.keep(None)
    assert kept.note() is None
    await kept.keep(seal(1))
    await OutsideSeal(path).keep(seal(2))
    await kept.keep(seal(1))
    assert kept.note() == seal(2)


@pytest.mark.parametrize("content", ["", "a letter", seal(1)[:-9], seal(1).replace("/log/0\n1\n", "/log/0\n01\n")])
def test_what_is_no_seal_is_refused_with_what_to_do(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(DataRefused, match=r"is not a seal: .*\. Restore it, or, if you are sure"):
        OutsideSeal(path).head(ORIGIN, SIGNER.verifier_key)


def test_the_seal_of_another_log_or_another_key_is_refused(path: Path) -> None:
    path.write_text(seal(1, "other/log/0"))
    with pytest.raises(DataRefused, match=f"is the seal of another log, other/log/0, not of {ORIGIN}"):
        OutsideSeal(path).head(ORIGIN, SIGNER.verifier_key)
    path.write_text(seal(1))
    stranger = Ed25519Signer("hmsactd-abcdefghijkl", fresh_keys().signing)
    with pytest.raises(DataRefused, match="is the seal of another log"):
        OutsideSeal(path).head(ORIGIN, stranger.verifier_key)


def test_a_file_that_can_not_be_read_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(DataRefused, match=r"can't be read: Is a directory\. The log is not opened without it"):
        OutsideSeal(path).note()


def test_of_a_huge_file_no_more_is_read_than_a_seal_has(path: Path) -> None:
    path.write_bytes(b"x" * 10_000_000)
    assert len(OutsideSeal(path).note() or "") == SEAL_MAX_BYTES


async def test_that_it_can_not_be_written_is_said_once_and_so_that_it_can_again(tmp_path: Path) -> None:
    path = tmp_path / "not there yet" / "outside.seal"
    kept = OutsideSeal(path)
    with capture_logs() as lines:
        for size in (1, 2, 2):
            await kept.keep(seal(size))
        path.parent.mkdir()
        await kept.keep(seal(2))
        await kept.keep(seal(3))
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("error", "the outside seal can't be written"),
        ("warning", "the outside seal is written again"),
    ]
    assert path.read_text() == seal(3)


async def test_the_newest_seal_is_written_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "WRITTEN_EVERY_S", 0)
    kept, seen, seals = OutsideSeal(path), list[str | None](), [None, seal(1), seal(2), seal(2)]
    has_seen_all = asyncio.Event()

    def last_seal() -> str | None:
        seen.append(kept.note())
        if len(seen) > len(seals):
            has_seen_all.set()
        return seals[min(len(seen), len(seals)) - 1]

    writing = asyncio.get_running_loop().create_task(kept.run(last_seal))
    await has_seen_all.wait()
    writing.cancel()
    await asyncio.wait([writing])
    assert seen[:5] == [None, None, seal(1), seal(2), seal(2)]


async def test_after_an_accepted_rollback_what_is_kept_is_the_older_seal_or_none(path: Path) -> None:
    kept = OutsideSeal(path)
    await kept.keep(seal(9))
    await kept.begin_again(seal(4))
    assert kept.head(ORIGIN, SIGNER.verifier_key) == head(4)
    for _ in range(2):
        await kept.begin_again(None)
        assert kept.note() is None
    await kept.keep(seal(9))
    assert kept.head(ORIGIN, SIGNER.verifier_key) == head(9)
