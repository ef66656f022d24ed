"""People of an identity provider that others wrote, by its own tokens and keys, and by signing in at a terminal."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hmsact.errors import HmsactError

from tests.e2e.foreign import Foreign, foreign

HMSACT = str(Path(sys.executable).with_name("hmsact"))


def test_a_person_is_let_in_and_acted_for_and_a_program_is_not(tmp_path: Path) -> None:
    with foreign(tmp_path) as there:
        with there.office.act(there.person) as person:
            me = person.whoami()
            assert me.principal.id == f"{there.issuer}:jdavis"
            assert me.principal.roles == ("hmsact.viewer",)
            assert person.count() == 0
        for token, reason in ((there.program, "TOKEN_OF_A_PROGRAM"), (there.exchanged, "TOKEN_OF_AN_ACTOR")):
            with there.office.act(token) as program, pytest.raises(HmsactError) as refused:
                program.whoami()
            assert refused.value.reason == reason
        with there.office.workload("spiffe://agency.gov/portal") as portal:
            for token, subject in ((there.person, "jdavis"), (there.exchanged, "mgarcia")):
                me = portal.on_behalf_of(token).whoami()
                assert me.principal.id == "workload:portal"
                assert me.principal.on_behalf_of == f"{there.issuer}:{subject}"


class Terminal:
    """Somebody at a terminal of their own."""

    def __init__(self, there: Foreign, directory: Path) -> None:
        self.kept = directory / "home" / "signed_in.json"
        self._there = there
        (directory / "server-ca.pem").write_bytes(there.office.authority.pem)
        # As whoever logs in has it: no token in the environment, nor a certificate.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HMSACT_")}
        self._environment = kept | {
            "HMSACT_ADDRESS": there.office.address,
            "HMSACT_CA": str(directory / "server-ca.pem"),
            "HMSACT_SIGNED_IN": str(self.kept),
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of `hmsact`."""
        command = [HMSACT, *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False, timeout=50)

    def sign_in(self, *arguments: str) -> tuple[int, str]:
        """Signs in with a browser elsewhere. Returns the exit code and everything that was said."""
        command = [HMSACT, "login", *arguments]
        with subprocess.Popen(
            command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as run:
            assert run.stdout is not None
            said = ""
            for line in run.stdout:
                said += line
                if code := re.search(r"shows the code ([A-Z-]+)", line):
                    self._there.let_in(code[1])
        return run.returncode, said


def test_a_person_signs_in_at_a_terminal_is_known_from_then_on_and_signs_out(tmp_path: Path) -> None:
    # So short that each command has to renew it.
    with foreign(tmp_path, lasts_s=20) as there:
        terminal = Terminal(there, tmp_path)
        about = ("--issuer", there.issuer, "--client-id", "terminal", "--scope", "openid offline_access operations")
        code, said = terminal.sign_in(*about, "--resource", "urn:hmsactd", "--issuer-ca", str(there.ca_file))
        assert code == 0, said
        assert f"Signed in at {there.office.address} as {there.issuer}:jdavis, renewed by itself." in said
        assert stat.S_IMODE(terminal.kept.stat().st_mode) == 0o600
        first = json.loads(terminal.kept.read_text())["daemons"][there.office.address]
        assert first["access"] not in said
        assert first["refresh"] not in said

        me = terminal.run("whoami", "--json")
        assert json.loads(me.stdout)["id"] == f"{there.issuer}:jdavis", me.stderr
        assert terminal.run("list").returncode == 0
        renewed = json.loads(terminal.kept.read_text())["daemons"][there.office.address]
        assert renewed["access"] != first["access"]
        assert renewed["refresh"] != first["refresh"]

        elsewhere = terminal.run("whoami", "--address", "127.0.0.1:1")
        assert renewed["access"] not in elsewhere.stdout + elsewhere.stderr
        assert terminal.run("logout").stdout == f"Signed out at {there.office.address}.\n"
        refused = terminal.run("whoami")
        assert refused.returncode == 1
        assert "hmsact login" in refused.stderr
