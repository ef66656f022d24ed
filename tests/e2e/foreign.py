"""An identity provider that others wrote (oidc-provider), in a process of its own, and an agency that trusts it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.agency import Agency
from tests.identity.authority import Authority

PROGRAM = Path(__file__).parent / "provider" / "provider.mjs"


@dataclass(frozen=True, slots=True)
class Foreign:
    """The provider, its tokens of a person, of a person for whom a program uses it, of a program, and its agency."""

    issuer: str
    person: str
    exchanged: str
    program: str
    ca_file: Path
    office: Agency
    process: subprocess.Popen[str]

    def let_in(self, code: str) -> None:
        """Somebody enters the code of a device, and signs in."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{code}\n")
        self.process.stdin.flush()


@contextmanager
def foreign(directory: Path, *, lasts_s: int = 300) -> Iterator[Foreign]:
    """Both, while the context lasts. Tokens last for so many seconds."""
    node = shutil.which("node")
    if node is None or not (PROGRAM.parent / "node_modules" / "ready").exists():
        pytest.skip("the identity provider is not installed (`make tools` does it where there are Node.js 20 and npm)")
    authority = Authority("provider")
    ca_file = directory / "provider-ca.pem"
    ca_file.write_bytes(authority.pem)
    pair = authority.write(directory, "provider", authority.issue(hosts=["localhost"]))
    with (
        (directory / "provider.log").open("w") as log,
        subprocess.Popen(
            [node, str(PROGRAM), *map(str, pair), str(lasts_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as run,
    ):
        assert run.stdout is not None
        try:
            line = next((line for line in run.stdout if line.startswith("{")), "")
            assert line, (directory / "provider.log").read_text()
            said = json.loads(line)
            office = _office(directory, said["issuer"], ca_file)
            try:
                tokens = (said["person"], said["exchanged"], said["program"])
                yield Foreign(said["issuer"], *tokens, ca_file, office, run)
            finally:
                office.stop()
        finally:
            run.terminate()


def _office(directory: Path, issuer: str, ca_file: Path) -> Agency:
    office = Agency(directory)
    path = directory / "settings.toml"
    keys = f'keys_file = "{directory}/keys.json"'
    assert keys in path.read_text()
    path.write_text(path.read_text().replace(keys, f'ca_file = "{ca_file}"').replace("https://idp.fsa.gov", issuer))
    office.start()
    return office
