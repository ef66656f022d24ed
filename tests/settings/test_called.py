"""What may be said of services that the daemon calls: every fault at once, and no secret among the settings."""

import base64
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hmsactd.cli import main
from hmsactd.errors import SettingsRefused
from hmsactd.services.credentials import credentials_of
from hmsactd.settings.called import Called
from hmsactd.settings.load import load
from hmsactd.settings.settings import Settings
from hmsactd.settings.values import Address
from tests.services.certificates import Authority


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hmsactd.toml"


def faults(file: Path, settings: str) -> list[str]:
    file.write_text(settings)
    with pytest.raises(SettingsRefused) as refused:
        load(file)
    return [fault.replace(f" in {file}", "") for fault in refused.value.faults]


def service(file: Path, settings: str, address: str = "https://treasury.gov/steps") -> Called:
    file.write_text(f'[services.Treasury]\naddress = "{address}"\n{settings}')
    return load(file).services["Treasury"]


def test_an_address_is_all_that_has_to_be_said(file: Path) -> None:
    said = service(file, "")
    assert (str(said.deadline), said.concurrency, said.rate, said.steps) == ("30s", 16, None, ())
    assert (said.is_grpc, said.is_encrypted, said.place) == (False, True, Address("treasury.gov", 443))
    assert said.serves("default", "anything")
    assert not said.serves("other", "anything")


def test_steps_may_be_named(file: Path) -> None:
    said = service(file, 'steps = ["pay"]\nnamespace = "state_of_ohio"\n')
    assert said.serves("state_of_ohio", "pay")
    assert not said.serves("state_of_ohio", "refund")


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("https://treasury.gov", "treasury.gov:443"),
        ("https://treasury.gov:8443/a/b?c=d", "treasury.gov:8443"),
        ("http://127.0.0.1/x", "127.0.0.1:80"),
        ("http://localhost:7/x", "localhost:7"),
        ("grpcs://treasury.gov:50051", "treasury.gov:50051"),
        ("grpcs://treasury.gov:50051/", "treasury.gov:50051"),
        ("grpc://[::1]:50051", "[::1]:50051"),
    ],
)
def test_addresses_are_urls_of_four_schemes(file: Path, address: str, place: str) -> None:
    assert str(service(file, "", address).place) == place


@pytest.mark.parametrize(
    "address",
    [
        *(
            "",
            "treasury.gov",
            "treasury.gov:443",
            "ftp://treasury.gov",
            "https://",
            "https:///steps",
            "grpcs://treasury.gov",
        ),
        *(
            "https://treasury.gov:99999",
            "https://treasury.gov:x",
            "https://treasury .gov",
            "https://trea\\u0007sury.gov",
        ),
        *("https://[::1", "https://user@treasury.gov", "https://user:hunter2@treasury.gov", "https://treasury.gov/#a"),
        *("grpcs://treasury.gov:1/steps", "grpcs://treasury.gov:1?a=b", "unix:/run/x", "file:///etc/passwd"),
        "https://treasury\\u0435.gov",
    ],
)
def test_what_is_no_address_is_refused_and_no_password_repeated(file: Path, address: str) -> None:
    (told,) = faults(file, f'[services.Treasury]\naddress = "{address}"\n')
    assert told.startswith("services.Treasury.address: ")
    assert "hunter2" not in told


@pytest.mark.parametrize("address", ["http://treasury.gov/", "grpc://treasury.gov:1", "http://10.0.0.7/"])
def test_another_machine_is_called_in_the_clear_only_if_that_is_said(file: Path, address: str) -> None:
    (told,) = faults(file, f'[services.Treasury]\naddress = "{address}"\n')
    assert told.startswith("services.Treasury.insecure: ")
    assert "say insecure = true" in told
    assert service(file, "insecure = true\n", address).address == address


def test_every_fault_of_every_service_is_told_at_once_with_its_place(file: Path) -> None:
    told = faults(
        file,
        """
        [services.Treasury]
        adress = "https://treasury.gov"
        concurrency = 0
        rate = 0
        deadline = "0s"
        steps = ["pay", "pay"]
        pause = "2s"
        pause_max = "1s"
        namespace = "No Name"
        secret = "whsec_hunter2"
        [services.IRS]
        address = "grpcs://irs.gov:443"
        proxy = "http://proxy.gov:3128"
        secret_variable = "IRS_SECRET"
        key_file = "irs.key"
        [services.FSA]
        address = "http://localhost/"
        ca_file = "ca.pem"
        proxy = "socks5://proxy.gov:1"
        secret_file = "a"
        secret_variable = "B"
        rate = inf
        [services."4"]
        address = "https://four.gov"
        """,
    )
    assert sorted(fault.split(": ")[0] for fault in told) == sorted(
        [
            *(
                f"services.Treasury.{name}"
                for name in ("address", "adress", "concurrency", "rate", "deadline", "steps")
            ),
            *(f"services.Treasury.{name}" for name in ("pause_max", "namespace", "secret")),
            *(f"services.IRS.{name}" for name in ("proxy", "secret_variable", "key_file")),
            *(f"services.FSA.{name}" for name in ("ca_file", "proxy", "secret_variable", "rate")),
            "services.4",
        ]
    )
    assert any(fault.endswith("did you mean services.Treasury.address?") for fault in told)
    assert "hunter2" not in " ".join(told)


def test_printed_settings_say_the_same_when_they_are_read_and_hold_no_secret(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREASURY_SECRET", "whsec_" + base64.b64encode(b"hunter2" * 4).decode())
    file.write_text(
        '[services.Treasury]\naddress = "https://treasury.gov"\nsecret_variable = "TREASURY_SECRET"\nrate = 2.5\n'
        '[services."I.R-S"]\naddress = "grpcs://irs.gov:443"\nsteps = ["ask"]\nca_file = "/etc/ca.pem"\n'
    )
    for words in (["config"], ["config", "--explain"]):
        printed = CliRunner().invoke(main, [*words, "--config", str(file)])
        assert printed.exit_code == 0
        assert "whsec" not in printed.output.replace('("whsec_…")', "")
        again = tmp_path / "again.toml"
        again.write_text(printed.output)
        assert load(again) == load(file)
        assert tomllib.loads(printed.output)["services"]["Treasury"]["secret_variable"] == "TREASURY_SECRET"


def test_services_come_as_json_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMSACTD_SERVICES", '{"IRS": {"address": "https://irs.gov"}}')
    assert load().services["IRS"].address == "https://irs.gov"


@given(st.text(max_size=40))
def test_no_address_breaks_the_reading_of_it(said: str) -> None:
    try:
        found = Settings(services={"IRS": {"address": said, "insecure": True}})
    except ValueError:
        return
    assert found.services["IRS"].place.port > 0


# -- files and secrets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        *(
            "",
            "  \n",
            "hunter2hunter2hunter2hunter2hunter2",
            "whsec_",
            "whsec_hunter2",
            "whsec_hunter2!hunter2!hunter2!hunter2!hunter2",
        ),
        *("whsec_" + base64.b64encode(b"x" * 32).decode() + " whsec_hunter2", "whsec_" + "hunter2x" * 20),
        " ".join(["whsec_" + base64.b64encode(b"x" * 32).decode()] * 3),
    ],
)
def test_what_is_no_secret_is_refused_and_not_repeated(file: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "secret").write_text(content)
    told: list[str] = []
    credentials_of(service(file, f'secret_file = "{tmp_path}/secret"\n'), told)
    (fault,) = told
    assert fault.startswith(f"secret_file: {tmp_path}/secret ")
    assert "hunter2" not in fault


def test_files_that_cannot_be_used_are_all_told(file: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours, other = authority.issue("ours"), authority.issue("other")
    (tmp_path / "empty.pem").write_text("")
    said = (
        f'ca_file = "{tmp_path}/empty.pem"\ncertificate_file = "{ours.certificate}"\nkey_file = "{other.key}"\n'
        f'secret_file = "{tmp_path}"\n'
    )
    told: list[str] = []
    credentials_of(service(file, said), told)
    assert [fault.split(": ")[0] for fault in told] == ["secret_file", "ca_file", "certificate_file"]


def test_a_certificate_s_file_may_hold_its_key(file: Path, tmp_path: Path) -> None:
    ours = Authority(tmp_path).issue("ours")
    both = tmp_path / "both.pem"
    both.write_bytes(ours.certificate.read_bytes() + ours.key.read_bytes())
    for address in ("https://treasury.gov", "grpcs://treasury.gov:1"):
        told: list[str] = []
        credentials_of(service(file, f'certificate_file = "{both}"\n', address), told)
        assert told == []
