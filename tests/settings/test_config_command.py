"""`hmsactd config`: what is in force, as a file that says the same."""

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from hmsactd.cli import main
from hmsactd.commands.config import _toml
from hmsactd.settings.load import load
from hmsactd.settings.settings import Settings
from hmsactd.settings.values import Section


def test_printed_settings_say_the_same_when_they_are_read(tmp_path: Path) -> None:
    directory = 'a "dir"\\ é\x7f'
    printed = CliRunner().invoke(main, ["config", "--dev", "--grpc", "127.0.0.1:0", "--data", directory])
    assert printed.exit_code == 0
    file = tmp_path / "printed.toml"
    file.write_text(printed.output)
    again = load(file)
    assert again == load(
        flags={"dev": True, "grpc": {"listen": "127.0.0.1:0"}, "data": {"directory": 'a "dir"\\ é\x7f'}}
    )
    assert again.assign == {"fsa.officer": "dev:jdavis@fsa.gov"}


def test_explained_settings_are_the_same_with_comments() -> None:
    plain = CliRunner().invoke(main, ["config"]).output
    explained = CliRunner().invoke(main, ["config", "--explain"]).output
    assert tomllib.loads(explained) == tomllib.loads(plain)
    assert "# How long a worker may be gone" in explained


def test_secrets_are_masked() -> None:
    class Vault(Section):
        token: SecretStr = SecretStr("hunter2")

    class WithSecret(Settings):
        vault: Vault = Vault()

    printed = "\n".join(_toml(WithSecret(), explain=False))
    assert "hunter2" not in printed
    assert 'token = "**********"' in printed


def test_faults_are_lines_on_standard_error_and_exit_2(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("colour = 1\n[grpc]\nlisten = 7\n")
    for command in ("config", "serve"):
        ran = CliRunner().invoke(main, [command, "--config", str(file)])
        assert ran.exit_code == 2
        assert ran.stdout == ""
        assert ran.stderr.splitlines() == [
            f'hmsactd: grpc.listen in {file}: is not HOST:PORT, such as "127.0.0.1:7400"',
            f"hmsactd: colour in {file}: there is no such setting",
        ]


def test_no_flag_lets_the_environment_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMSACTD_DEV", "true")
    assert "dev = true" in CliRunner().invoke(main, ["config"]).output
