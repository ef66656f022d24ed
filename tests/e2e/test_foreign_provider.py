"""People of an identity provider that others wrote (oidc-provider), as its own tokens and keys have them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hmsact.errors import HmsactError

from tests.e2e.agency import Agency
from tests.identity.authority import Authority

PROGRAM = Path(__file__).parent / "provider" / "provider.mjs"


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What it says of itself: `issuer`, and the tokens of a `person`, one `exchanged` for another, of a `program`."""
    node = shutil.which("node")
    if node is None or not (PROGRAM.parent / "node_modules" / "ready").exists():
        pytest.skip("the identity provider is not installed (`make tools` does it where there are Node.js 20 and npm)")
    authority = Authority("provider")
    (tmp_path / "provider-ca.pem").write_bytes(authority.pem)
    pair = authority.write(tmp_path, "provider", authority.issue(hosts=["localhost"]))
    with (
        (tmp_path / "provider.log").open("w") as log,
        subprocess.Popen([node, str(PROGRAM), *map(str, pair)], stdout=subprocess.PIPE, stderr=log, text=True) as run,
    ):
        assert run.stdout is not None
        try:
            said = next((line for line in run.stdout if line.startswith("{")), "")
            assert said, (tmp_path / "provider.log").read_text()
            yield json.loads(said)
        finally:
            run.terminate()


def test_a_person_is_let_in_and_acted_for_and_a_program_is_not(foreign: dict[str, str], tmp_path: Path) -> None:
    office = Agency(tmp_path)
    path = tmp_path / "settings.toml"
    text = path.read_text().replace(f'keys_file = "{tmp_path}/keys', f'ca_file = "{tmp_path}/provider-ca')
    path.write_text(
        text.replace("provider-ca.json", "provider-ca.pem").replace("https://idp.fsa.gov", foreign["issuer"])
    )
    office.start()
    try:
        with office.act(foreign["person"]) as person:
            me = person.whoami()
            assert me.principal.id == f"{foreign['issuer']}:jdavis"
            assert me.principal.roles == ("hmsact.viewer",)
            assert person.count() == 0
        for token, reason in (("program", "TOKEN_OF_A_PROGRAM"), ("exchanged", "TOKEN_OF_AN_ACTOR")):
            with office.act(foreign[token]) as program, pytest.raises(HmsactError) as refused:
                program.whoami()
            assert refused.value.reason == reason
        with office.workload("spiffe://agency.gov/portal") as portal:
            for token, subject in (("person", "jdavis"), ("exchanged", "mgarcia")):
                me = portal.on_behalf_of(foreign[token]).whoami()
                assert (me.principal.id, me.principal.on_behalf_of) == (
                    "workload:portal",
                    f"{foreign['issuer']}:{subject}",
                )
    finally:
        office.stop()
