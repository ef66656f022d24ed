"""The key files of a data directory."""

import stat
from pathlib import Path

import pytest

from hmsactd.store.errors import DataRefused
from hmsactd.timeline.keys import PAYLOAD_FILE, SIGNING_FILE, load_keys


def test_keys_are_made_once_and_read_ever_after(tmp_path: Path) -> None:
    made = load_keys(tmp_path, may_make=True)
    for may_make in (True, False):
        again = load_keys(tmp_path, may_make=may_make)
        assert again.payload == made.payload
        assert again.signing.private_bytes_raw() == made.signing.private_bytes_raw()
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    assert {file.name for file in tmp_path.iterdir()} == {SIGNING_FILE, PAYLOAD_FILE}


@pytest.mark.parametrize("name", [SIGNING_FILE, PAYLOAD_FILE])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, name: str, mode: int) -> None:
    load_keys(tmp_path, may_make=True)
    (tmp_path / name).chmod(mode)
    with pytest.raises(DataRefused, match=rf"{name} can be read by others \(mode {mode:04o}\): chmod 600 it"):
        load_keys(tmp_path, may_make=False)


@pytest.mark.parametrize("name", [SIGNING_FILE, PAYLOAD_FILE])
def test_a_key_that_is_missing_is_not_replaced(tmp_path: Path, name: str) -> None:
    load_keys(tmp_path, may_make=True)
    (tmp_path / name).unlink()
    with pytest.raises(DataRefused, match=f"{name} is missing"):
        load_keys(tmp_path, may_make=False)


@pytest.mark.parametrize("name", [SIGNING_FILE, PAYLOAD_FILE])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"AAAA\n"])
def test_a_key_that_cannot_be_read_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    load_keys(tmp_path, may_make=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataRefused, match=name):
        load_keys(tmp_path, may_make=False)


def test_a_key_half_written_before_a_crash_is_made_again(tmp_path: Path) -> None:
    (tmp_path / f"{SIGNING_FILE}.new").write_bytes(b"half")
    load_keys(tmp_path, may_make=True)
    assert {file.name for file in tmp_path.iterdir()} == {SIGNING_FILE, PAYLOAD_FILE}
