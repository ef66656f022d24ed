"""An agency as it is in earnest: TLS, an authority for certificates, an identity provider's keys, and nobody let in by
--dev."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from hmsact import Orchestrator, Worker
from hmsact.testing import Daemon

from tests.identity.authority import Authority
from tests.identity.issuing import EC, RSA, URL, key_set, said, token

SETTINGS = """
[grpc]
listen = "127.0.0.1:0"
certificate_file = "{directory}/server.pem"
key_file = "{directory}/server.key"
reflection = true
[grpc.mutual]
listen = "127.0.0.1:0"
client_ca_file = "{directory}/clients.pem"
[http]
listen = "127.0.0.1:0"
[data]
directory = "{directory}/data"
[log]
level = "warning"
[identity]
trust_domains = ["agency.gov"]
[identity.issuers.staff]
url = "https://idp.fsa.gov"
keys_file = "{directory}/keys.json"
leeway = "1s"
[identity.workloads.irs]
certificate = "spiffe://agency.gov/irs"
serves = ["IRS"]
[identity.workloads.portal]
certificate = "spiffe://agency.gov/portal"
clients = ["https://idp.fsa.gov:portal"]
[identity.workloads.desk]
certificate = "spiffe://agency.gov/desk"
clients = ["https://idp.fsa.gov:desk"]
roles = ["hmsact.operator"]
[identity.workloads.casebot]
kind = "agent"
certificate = "spiffe://agency.gov/casebot"
clients = ["https://idp.fsa.gov:portal"]
responsible = "https://idp.fsa.gov:operator"
[identity.roles."fsa.officer"]
[identity.roles."fsa.counsel"]
[identity.people."https://idp.fsa.gov:counsel"]
roles = ["fsa.counsel"]
"""


class Agency:
    """One daemon, and whoever has to do with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority("servers")
        self.clients = Authority("clients")
        self.address = self.mutual = self.http = ""
        self._process: subprocess.Popen[str] | None = None
        self.authority.write(directory, "server", self.authority.issue(hosts=["127.0.0.1", "localhost"]))
        (directory / "clients.pem").write_bytes(self.clients.pem)
        (directory / "keys.json").write_bytes(key_set(EC, RSA))
        (directory / "settings.toml").write_text(SETTINGS.format(directory=directory))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of `hmsactd` with the settings."""
        command = [sys.executable, "-m", "hmsactd", *arguments, "--config", str(self.directory / "settings.toml")]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)

    def start(self) -> None:
        command = [sys.executable, "-m", "hmsactd", "serve", "--ready-json"]
        with (self.directory / "log").open("w") as log:
            self._process = subprocess.Popen(
                [*command, "--config", str(self.directory / "settings.toml")],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, (self.directory / "log").read_text()
        ready = json.loads(line)
        self.address, self.mutual, self.http = ready["grpc"], ready["mutual"], ready["http"]

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdout is not None
            process.terminate()
            process.wait(20)
            process.stdout.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    # -- who calls -----------------------------------------------------------------------------------------------------

    def token(self, subject: str, *roles: str, lasts_s: float = 300, **claims: Any) -> str:
        """An access token of the identity provider."""
        return token(self._claims(subject, roles, lasts_s) | claims)

    def id_token(self, subject: str) -> str:
        """What the identity provider gives a client to say who has signed in."""
        return token(self._claims(subject, (), 300) | {"nonce": "n"}, typ="JWT")

    def _claims(self, subject: str, roles: Sequence[str], lasts_s: float) -> dict[str, Any]:
        now = int(time.time())
        return said(sub=subject, roles=list(roles), exp=int(now + lasts_s), iat=now, iss=URL)

    def act(self, shown: str | None) -> Orchestrator:
        """Whoever has a token, as the SDK calls."""
        return Orchestrator(self.address, token=shown or "", tls=self.trusted())

    def person(self, subject: str, *roles: str, **told: Any) -> Orchestrator:
        """Somebody who has signed in."""
        return self.act(self.token(subject, *roles, **told))

    def trusted(self, pair: tuple[bytes, bytes] | None = None) -> grpc.ChannelCredentials:
        """TLS to the daemon, with a certificate of one's own, or none."""
        return grpc.ssl_channel_credentials(self.authority.pem, pair and pair[1], pair and pair[0])

    def workload(self, *uris: str, authority: Authority | None = None, **told: Any) -> Orchestrator:
        """A program that shows a certificate."""
        pair = (authority or self.clients).issue(*uris, **told)
        return Orchestrator(self.mutual, token="", tls=self.trusted(pair))

    @contextmanager
    def serving(self, svc: str, step: str, *uris: str) -> Iterator[None]:
        """A worker that shows a certificate."""
        tls = self.trusted(self.clients.issue(*uris))
        worker = Worker(svc, address=self.mutual, token="", tls=tls)
        worker.step(step)(lambda call: {"by": svc})
        with Daemon().serving(worker):
            yield


@contextmanager
def agency(directory: Path) -> Iterator[Agency]:
    """One that runs."""
    found = Agency(directory)
    found.start()
    try:
        yield found
    finally:
        found.stop()
