"""A disk that is full in truth: a small file system of its own, filled to the last byte."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from shutil import copytree

import pytest

from tests.crash import record
from tests.crash.test_sigkill import check_exports, check_kept
from tests.faults.test_disk import refused_start, under_load
from tests.faults.tower import Tower, until

SIZE = "24m"


@contextmanager
def small_disk(at: Path, unshare: list[str]) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A mount namespace with a small disk in it, which goes with the process that keeps it."""
    script = 'mount -t tmpfs -o size="$1",mode=700 tmpfs "$2" && echo mounted && exec cat'
    with subprocess.Popen(
        [*unshare, "sh", "-c", script, "sh", SIZE, str(at)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as keeper:
        try:
            assert keeper.stdout is not None
            if keeper.stdout.readline() != "mounted\n":
                pytest.skip("nobody here may mount a file system: neither as root, nor in a user namespace")
            yield keeper.pid, keeper
        finally:
            keeper.kill()


def fill(ballast: FileIO) -> None:
    """Writes until there is no room for another byte."""
    with suppress(OSError):
        while ballast.write(bytes(65_536)):
            pass


def may_unshare(*options: str) -> bool:
    return subprocess.run(["unshare", *options, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.timeout(120)
def test_a_full_disk_loses_nothing_and_with_room_again_everything_completes(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    enter = ["-m"] if may_unshare("-m") else ["-rm"]
    with small_disk(mounted, ["unshare", *enter]) as (pid, _):
        inside = ["nsenter", "-t", str(pid), "-m", *(["-U", "--preserve-credentials"] if "-rm" in enter else [])]
        tower = Tower(tmp_path / "outside", prefix=inside)
        tower.arguments = ["--data", str(mounted / "data")]
        tower.environment = {"HMSACTD_STORE__FREE_BYTES_MIN": "0"}
        # What the daemon's disk looks like from here.
        seen = Path(f"/proc/{pid}/root{mounted}")
        try:
            tower.start()
            with under_load(tower, tmp_path / "acknowledged") as acknowledged:
                for _ in range(2):
                    with (seen / "ballast").open("wb", buffering=0) as ballast:
                        fill(ballast)
                        until(lambda: not tower.is_ready(), "it says that it is not ready")
                        refusal = refused_start(tower)
                        assert (refusal.name, refusal.reason) == ("UNAVAILABLE", "DISK_FULL")
                    (seen / "ballast").unlink()
                    until(tower.is_ready, "with room again it is ready again")
                    before = acknowledged.count()
                    until(lambda before=before: acknowledged.count() >= before + 20, "it goes on")  # type: ignore[misc]
            with tower.orchestrator() as act:
                key = act.info().verifier_key
                check_exports(act, key, acknowledged.lines())
            assert tower.stop() == 0
            # SQLite follows links to where they lead, and this one leads out of the small disk's world.
            found = Path(copytree(seen / "data", tmp_path / "found"))
            check_kept(record.read(found), key, acknowledged.lines())
        finally:
            tower.kill()
