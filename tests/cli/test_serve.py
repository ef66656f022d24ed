"""`hmsactd serve`: what is said when it is ready, and when it can't be. The daemon itself is a fake here."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from hmsactd import cli, daemon
from hmsactd.commands import serve
from hmsactd.daemon import Running
from hmsactd.errors import StartRefused
from hmsactd.settings.load import load
from hmsactd.settings.settings import Settings
from hmsactd.settings.values import Address

RUNNING = Running(Address("127.0.0.1", 7400), None, Address("127.0.0.1", 7480), "tower/log/0", "tower+1234+key")


@pytest.fixture(autouse=True)
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    told: list[Settings] = []

    def run(settings: Settings, ready: Callable[[Running], None], *, is_rollback_accepted: bool) -> None:
        told.append(settings)
        ready(RUNNING)

    monkeypatch.setattr(daemon, "run", run)
    monkeypatch.setattr("hmsactd.logs.configure", lambda *_told: None)
    return told


def test_flags_become_settings(served: list[Settings], tmp_path: Path) -> None:
    flags = ["--dev", "--data", str(tmp_path), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--test-clock"]
    assert CliRunner().invoke(cli.main, ["serve", *flags]).exit_code == 0
    (settings,) = served
    assert settings.dev
    assert settings.test_clock
    assert settings.data.directory == tmp_path
    assert {str(settings.grpc.listen), str(settings.http.listen)} == {"127.0.0.1:0"}


def test_ready_is_one_line_of_json_for_programs() -> None:
    ran = CliRunner().invoke(cli.main, ["serve", "--ready-json"])
    assert json.loads(ran.stdout) == {
        "grpc": "127.0.0.1:7400",
        "http": "127.0.0.1:7480",
        "log": "tower/log/0",
        "key": "tower+1234+key",
    }
    assert ran.stdout.count("\n") == 1


def test_nothing_is_printed_where_nobody_looks() -> None:
    assert CliRunner().invoke(cli.main, ["serve"]).output == ""


def test_banner_says_where_it_is_and_how_to_call_it() -> None:
    told = "\n".join(serve._banner(load(flags={"dev": True}), RUNNING))
    for part in ("127.0.0.1:7400", "http://127.0.0.1:7480", "hmsactd-data", "tower/log/0", "tower+1234+key"):
        assert part in told
    assert "HMSACT_TOKEN=dev:jdavis@fsa.gov" in told
    assert "try --dev" in "\n".join(serve._banner(load(), RUNNING))
    in_memory = load(flags={"data": {"store": "memory"}})
    assert "gone when it stops" in "\n".join(serve._banner(in_memory, RUNNING))


def test_refusal_to_start_is_a_sentence_and_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(settings: Settings, ready: Callable[[Running], None], *, is_rollback_accepted: bool) -> None:
        raise StartRefused("the data directory is in use by process 7")

    monkeypatch.setattr(daemon, "run", refuse)
    ran = CliRunner().invoke(cli.main, ["serve"])
    assert (ran.exit_code, ran.stdout, ran.stderr) == (1, "", "hmsactd: the data directory is in use by process 7\n")


@pytest.mark.parametrize("arguments", [["serve", "--colour"], ["sereve"], ["replay"], ["serve", "--grpc"]])
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli.main, arguments).exit_code == 2


def test_version_is_told() -> None:
    assert CliRunner().invoke(cli.main, ["--version"]).output.startswith("hmsactd, version ")


def test_looking_at_settings_does_not_load_the_daemon() -> None:
    # A look at the settings, or at --version, is answered at once.
    code = "import sys, hmsactd.cli, hmsactd.settings.load; print({'grpc', 'jsonschema'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
