"""A data directory has one daemon at a time."""

import multiprocessing
import os
import resource
import stat
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from hmsactd.store.errors import DataRefused
from hmsactd.store.lock import LOCK_FILE, held, holder


def hold(directory: Path, line: Connection) -> None:
    with held(directory):
        line.send("held")
        line.recv()


def test_a_second_daemon_is_refused_in_a_sentence_that_names_the_first(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    other = context.Process(target=hold, args=(tmp_path, theirs))
    other.start()
    assert ours.recv() == "held"
    with (
        pytest.raises(DataRefused, match=rf"another hmsactd \(process {other.pid}\) is using the data directory"),
        held(tmp_path),
    ):
        pass
    # However the first one ends, the directory is free.
    other.kill()
    other.join()
    ours.close()
    with held(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"


def test_a_second_holder_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(DataRefused), held(tmp_path):
        pass
    with held(tmp_path):
        pass


def test_a_new_directory_is_its_owners_alone(tmp_path: Path) -> None:
    with held(tmp_path / "data"):
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataRefused, match="can't be used"), held(tmp_path / "file"):
        pass


def test_who_has_a_directory_can_be_asked_without_taking_it(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    with held(tmp_path):
        assert holder(tmp_path) == os.getpid()
        os.truncate(tmp_path / LOCK_FILE, 0)
        assert holder(tmp_path) == 0
    assert holder(tmp_path) is None


def test_on_a_disk_without_room_for_a_name_the_directory_is_held_all_the_same(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with held(tmp_path):
            assert holder(tmp_path) == 0
            with pytest.raises(DataRefused, match="another hmsactd is using the data directory"), held(tmp_path):
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
