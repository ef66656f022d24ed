"""The key files of a data directory."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hmsactd.store.errors import DataRefused
from hmsactd.timeline.keys import (
    NAME_FILE,
    PAYLOAD_FILE,
    SIGNING_FILE,
    check_name,
    compare_name,
    keep_name,
    load_keys,
)


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


def test_keys_that_can_not_be_made_or_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match=r"keys can't be made in .*none: No such file"):
        load_keys(tmp_path / "none", may_make=True)
    load_keys(tmp_path, may_make=True)
    (tmp_path / PAYLOAD_FILE).unlink()
    (tmp_path / PAYLOAD_FILE).mkdir()
    with pytest.raises(DataRefused, match=f"{PAYLOAD_FILE} can't be read: Is a directory"):
        load_keys(tmp_path, may_make=False)


def test_a_signing_key_of_another_algorithm_is_refused(tmp_path: Path) -> None:
    load_keys(tmp_path, may_make=True)
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / SIGNING_FILE).write_bytes(pem)
    with pytest.raises(DataRefused, match=f"{SIGNING_FILE} is not an Ed25519 key"):
        load_keys(tmp_path, may_make=False)


def test_a_payload_key_that_is_no_base64_is_refused(tmp_path: Path) -> None:
    load_keys(tmp_path, may_make=True)
    (tmp_path / PAYLOAD_FILE).write_bytes(b"a key, honestly")
    with pytest.raises(DataRefused, match=f"{PAYLOAD_FILE} is not base64"):
        load_keys(tmp_path, may_make=False)


def test_the_name_of_the_log_is_kept_once_and_another_log_is_refused(tmp_path: Path) -> None:
    compare_name(tmp_path, "any/log/0")
    for _ in range(2):
        keep_name(tmp_path, "first/log/0")
        compare_name(tmp_path, "first/log/0")
    for refuse in (keep_name, compare_name):
        with pytest.raises(DataRefused, match=r"the database holds the log second/log/0, and .* has held first/log/0"):
            refuse(tmp_path, "second/log/0")
    assert (tmp_path / NAME_FILE).read_text() == "first/log/0\n"


def test_no_log_is_begun_where_one_was_and_its_database_is_gone(tmp_path: Path) -> None:
    database = tmp_path / "log.db"
    check_name(tmp_path, database)
    keep_name(tmp_path, "first/log/0")
    with pytest.raises(DataRefused, match=r"log\.db is missing, and .* has held the log first/log/0: restore it"):
        check_name(tmp_path, database)
    database.write_bytes(b"")
    with pytest.raises(DataRefused, match=r"log\.db is empty, and"):
        check_name(tmp_path, database)
    database.write_bytes(b"records")
    check_name(tmp_path, database)


def test_a_name_that_can_not_be_read_or_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match=f"{NAME_FILE} can't be written: No such file"):
        keep_name(tmp_path / "none", "first/log/0")
    (tmp_path / NAME_FILE).mkdir()
    with pytest.raises(DataRefused, match=f"{NAME_FILE} can't be read: Is a directory"):
        check_name(tmp_path, tmp_path / "log.db")
    with pytest.raises(DataRefused, match=f"{NAME_FILE} can't be read: Is a directory"):
        compare_name(tmp_path, "first/log/0")
