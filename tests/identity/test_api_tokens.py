"""The file of tokens is whole whatever happens to whoever writes it, and the daemon's whoever that was."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hmsactd.identity.api_token import fresh
from hmsactd.identity.api_tokens import FILE, LOCK_FILE, TokenFile, TokensRefused

ADD = """
import sys
from pathlib import Path
from hmsactd.identity.api_token import fresh
from hmsactd.identity.api_tokens import TokenFile
for _ in range(int(sys.argv[2])):
    TokenFile(Path(sys.argv[1])).add(fresh("irs", 1)[1])
    print("added", flush=True)
"""


def adding(directory: Path, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ADD, str(directory), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_of_two_who_write_at_once_neither_loses_a_token_and_a_reader_sees_a_whole_file(tmp_path: Path) -> None:
    writers = [adding(tmp_path, 30) for _ in range(3)]
    reader = TokenFile(tmp_path)
    seen = 0
    while any(writer.poll() is None for writer in writers):
        reader.look()
        count = len(reader.tokens())
        assert count >= seen
        seen = count
    assert [writer.communicate()[0].count("added") for writer in writers] == [30, 30, 30]
    assert len(reader.tokens()) == 90


def test_a_writer_that_is_killed_leaves_every_token_that_it_said_it_had_kept(tmp_path: Path) -> None:
    for _ in range(3):
        before = len(TokenFile(tmp_path).tokens())
        with adding(tmp_path, 10_000) as writer:
            assert writer.stdout is not None
            for _ in range(5):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
            told = 5 + writer.stdout.read().count("added")
        kept = len(TokenFile(tmp_path).tokens()) - before
        assert told <= kept <= told + 1
    TokenFile(tmp_path).add(fresh("irs", 1)[1])


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = TokenFile(tmp_path)
    for _ in range(20):
        file.add(fresh("irs", 1)[1])
    before = (tmp_path / FILE).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(TokensRefused, match="can't be written"):
            file.add(fresh("irs", 1)[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, heard)
    assert (tmp_path / FILE).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE, LOCK_FILE]


def test_what_lies_where_the_file_is_written_is_neither_written_into_nor_kept(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    draft = tmp_path / f"{FILE}.new"
    draft.symlink_to(victim)
    TokenFile(tmp_path).add(fresh("irs", 1)[1])
    assert victim.read_text() == "untouched"
    draft.write_text("left by a writer that was killed")
    draft.chmod(0o644)
    TokenFile(tmp_path).add(fresh("irs", 1)[1])
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert len(TokenFile(tmp_path).tokens()) == 2
    (tmp_path / LOCK_FILE).unlink()
    (tmp_path / LOCK_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TokensRefused):
        TokenFile(tmp_path).add(fresh("irs", 1)[1])


def test_what_root_writes_is_the_daemons(tmp_path: Path) -> None:
    # Whoever is not root can't give it away, and need not.
    owner = 54_321 if os.geteuid() == 0 else os.geteuid()
    os.chown(tmp_path, owner, -1)
    TokenFile(tmp_path).add(fresh("irs", 1)[1])
    assert {path.stat().st_uid for path in tmp_path.iterdir()} == {owner}


@pytest.mark.parametrize(
    "changed", [{"expires_at": None}, {"expires_at": "soon"}, {"revoked_at": "x"}, {"digest": 7}, {"created_at": True}]
)
def test_a_token_of_the_wrong_shape_is_found_when_it_is_read(tmp_path: Path, changed: dict[str, object]) -> None:
    file = TokenFile(tmp_path)
    file.add(fresh("irs", 1)[1])
    path = tmp_path / FILE
    told = json.loads(path.read_text())
    told["tokens"][0] |= changed
    path.write_text(json.dumps(told))
    with pytest.raises(TokensRefused, match="damaged"):
        file.look()
