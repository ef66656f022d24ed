"""What the daemon is told, from three places, and what it says when it can't use it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from hmsactd.clock import SystemClock
from hmsactd.definition.bounds import Bounds
from hmsactd.definition.read import Defaults
from hmsactd.errors import SettingsRefused
from hmsactd.identity.build import sign_in
from hmsactd.settings.called import Called
from hmsactd.settings.load import load
from hmsactd.settings.settings import Settings
from hmsactd.settings.values import Address, Span


def faults(config: Path | None = None, flags: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(SettingsRefused) as refused:
        load(config, flags)
    return list(refused.value.faults)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hmsactd.toml"


def test_nothing_said_is_loopback_and_sqlite() -> None:
    settings = load()
    assert str(settings.grpc.listen) == "127.0.0.1:7400"
    assert str(settings.http.listen) == "127.0.0.1:7480"
    assert settings.data.store == "sqlite"
    assert settings.data.directory == Path("hmsactd-data")
    assert settings.assign == {}
    assert not settings.dev


def test_file_under_environment_under_flags(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('[grpc]\nlisten = "127.0.0.1:1"\n[http]\nlisten = "127.0.0.1:2"\n[workers]\ngrace = "3s"\n')
    monkeypatch.setenv("HMSACTD_GRPC__LISTEN", "127.0.0.1:11")
    monkeypatch.setenv("HMSACTD_HTTP__LISTEN", "127.0.0.1:12")
    settings = load(file, {"http": {"listen": "[::1]:22"}})
    assert settings.grpc.listen == Address("127.0.0.1", 11)
    assert settings.http.listen == Address("::1", 22)
    assert settings.workers.grace == Span(3000)
    assert str(settings.http.listen) == "[::1]:22"


def test_one_key_over_another_leaves_its_neighbours_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("[workers]\ngrace = '3s'\nmax_in_flight = 7\n")
    monkeypatch.setenv("HMSACTD_WORKERS__GRACE", "4s")
    settings = load(file)
    assert (settings.workers.grace, settings.workers.max_in_flight) == (Span(4000), 7)


def test_file_is_named_by_the_environment_unless_a_flag_names_another(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("[engine]\nmailbox_max = 5\n")
    other = tmp_path / "other.toml"
    other.write_text("[engine]\nmailbox_max = 6\n")
    monkeypatch.setenv("HMSACTD_CONFIG", str(file))
    assert load().engine.mailbox_max == 5
    assert load(other).engine.mailbox_max == 6


def test_every_fault_is_told_at_once_with_its_place(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('grp = 1\n[grpc]\nlistn = "x"\n[workers]\ngrace = 10\n[engine]\nidle = "5 s"\nmailbox_max = 0\n')
    monkeypatch.setenv("HMSACTD_HTTP__LISTN", "x")
    monkeypatch.setenv("HMSACTD_GRPC_LISTEN", "x")
    told = faults(file, {"http": {"listen": "7480"}, "log": {"level": "loud"}})
    assert [fault.split(": ")[0] for fault in told] == [
        "HMSACTD_GRPC_LISTEN",
        f"grpc.listn in {file}",
        "--http",
        "HMSACTD_HTTP__LISTN",
        f"workers.grace in {file}",
        f"engine.idle in {file}",
        f"engine.mailbox_max in {file}",
        "--log-level",
        f"grp in {file}",
    ]
    assert told[1].endswith("there is no such setting, did you mean grpc.listen?")
    assert told[-1].endswith("did you mean grpc?")


def test_unknown_key_alone_is_refused(file: Path) -> None:
    file.write_text("[data]\ndirektory = 'x'\n")
    assert faults(file) == [f"data.direktory in {file}: there is no such setting, did you mean data.directory?"]


def test_variables_that_kubernetes_sets_for_a_service_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMSACTD_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("HMSACTD_PORT", "tcp://10.0.0.1:7400")
    monkeypatch.setenv("HMSACTD_PORT_7400_TCP_ADDR", "10.0.0.1")
    load()


def test_missing_and_broken_files_are_refused(file: Path) -> None:
    assert faults(file) == [f"{file} can't be read: No such file or directory"]
    file.write_text("[grpc\n")
    assert faults(file)[0].startswith(f"{file} is not TOML: ")
    file.write_bytes(b"\xff")
    assert faults(file)[0].startswith(f"{file} is not TOML: ")


def test_variable_that_is_no_json_where_a_table_is_wanted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMSACTD_ASSIGN", "fsa.officer=dev:jdavis@fsa.gov")
    assert "assign" in faults()[0]


def test_assignments_come_as_json_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMSACTD_ASSIGN", '{"fsa.counsel": "idp:boss"}')
    assert load().assign == {"fsa.counsel": "idp:boss"}


@pytest.mark.parametrize("said", ["", "7400", ":7400", "host:", "host:port", "host:70000", "host:-1", "host:٣"])
def test_what_is_no_address_is_refused(said: str) -> None:
    assert faults(flags={"grpc": {"listen": said}}) == ['--grpc: is not HOST:PORT, such as "127.0.0.1:7400"']


def test_development_assigns_the_officers_checkpoints_unless_told_otherwise() -> None:
    assert load(flags={"dev": True}).assign == {"fsa.officer": "dev:jdavis@fsa.gov"}
    said = {"fsa.officer": "dev:tlee@fsa.gov", "irs.auditor": "dev:mgarcia@fsa.gov"}
    assert load(flags={"dev": True, "assign": said}).assign == said


@pytest.mark.parametrize("listen", ["0.0.0.0:7400", "[::]:7400", "10.1.2.3:7400", "tower.fsa.gov:7400"])
def test_development_stays_on_loopback(listen: str) -> None:
    told = faults(flags={"dev": True, "grpc": {"listen": listen}, "http": {"listen": listen}})
    assert [fault.split(": ")[0] for fault in told] == ["--grpc", "--http"]
    assert all("anybody is let in" in fault for fault in told)


@pytest.mark.parametrize("listen", ["0.0.0.0:7400", "[::]:7400", "10.1.2.3:7400", "tower.fsa.gov:7400"])
def test_elsewhere_it_takes_a_certificate_and_somebody_who_can_sign_in(listen: str, tmp_path: Path) -> None:
    told = faults(flags={"grpc": {"listen": listen}, "http": {"listen": listen}})
    assert [fault.split(": ")[0] for fault in told] == ["--grpc", "--http"]
    assert all("without a certificate_file" in fault for fault in told)
    pair = {"certificate_file": str(tmp_path / "c.pem"), "key_file": str(tmp_path / "k.pem")}
    (fault,) = faults(flags={"grpc": {"listen": listen, **pair}})
    assert "nobody can sign in" in fault
    load(flags={"grpc": {"listen": listen, **pair}, "identity": {"workloads": {"irs": {"serves": ["IRS"]}}}})


def test_a_certificate_and_its_key_go_together(tmp_path: Path) -> None:
    assert "certificate_file" in str(faults(flags={"grpc": {"key_file": str(tmp_path)}}))
    assert "certificate_file" in str(faults(flags={"http": {"certificate_file": str(tmp_path)}}))


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.1.2.3:1", "[::1]:7400", "localhost:7400"])
def test_loopback_goes_by_several_names(listen: str) -> None:
    load(flags={"dev": True, "grpc": {"listen": listen}})


def test_test_clock_is_for_development_only() -> None:
    assert faults(flags={"test_clock": True}) == ["--test-clock: is for development only: say dev as well"]
    assert load(flags={"dev": True, "test_clock": True}).test_clock


def test_reflection_is_on_in_development_unless_said() -> None:
    assert not load().has_reflection
    assert load(flags={"dev": True}).has_reflection
    assert load(flags={"grpc": {"reflection": True}}).has_reflection
    assert not load(flags={"dev": True, "grpc": {"reflection": False}}).has_reflection


def test_delays_that_contradict_each_other_are_refused() -> None:
    told = faults(flags={"defaults": {"retry_delay": "10s", "retry_delay_max": "5s"}})
    assert told == ["--defaults-retry-delay-max: 5s is shorter than retry_delay, 10s"]


def test_defaults_and_bounds_are_those_of_definitions() -> None:
    settings = Settings()
    assert settings.definition_defaults() == Defaults()
    assert settings.bounds.bounds() == Bounds()


def test_every_bound_can_be_set() -> None:
    # The shortest length of time is what "1ms" is: there is nothing to choose.
    names = set(asdict(Bounds())) - {"span_min_ms", "span_max_ms"} | {"span_max"}
    assert names == set(type(Settings().bounds).model_fields)


def test_every_setting_has_its_manual() -> None:
    assert list(without_manual(Settings, "")) == []


def test_every_setting_of_a_called_service_has_its_manual() -> None:
    assert list(without_manual(Called, "")) == []


def without_manual(model: type[BaseModel], path: str) -> list[str]:
    found: list[str] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += [path + name] if not field.annotation.__doc__ else []
            found += without_manual(field.annotation, f"{path}{name}.")
        elif not field.description or "Default" not in field.description:
            found.append(path + name)
    return found


# -- who may sign in ---------------------------------------------------------------------------------------------------


def test_development_has_no_second_address_where_others_are(tmp_path: Path) -> None:
    mutual = {"listen": "0.0.0.0:7401", "client_ca_file": str(tmp_path)}
    grpc = {"certificate_file": str(tmp_path), "key_file": str(tmp_path), "mutual": mutual}
    assert "with dev anybody is let in" in faults(flags={"dev": True, "grpc": grpc})[0]
    assert "nobody can sign in" in faults(flags={"grpc": grpc})[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [("https://idp.gov", "https://idp.gov:8443"), ("https://idp.gov/a:b", "https://idp.gov/a")],
)
def test_issuers_whose_people_could_be_taken_for_each_other_are_refused(one: str, other: str) -> None:
    """ "8443:7" of https://idp.gov would be "7" of https://idp.gov:8443."""
    told = faults(flags={"identity": {"issuers": {"one": {"url": one}, "other": {"url": other}}}})
    assert "could not be told apart" in told[0]


@pytest.mark.parametrize(
    "url", ["dev", "workload", "system", "dev:", "http://idp.gov", "https://", "https://a@idp.gov"]
)
def test_no_issuer_has_a_name_of_ours(url: str) -> None:
    assert "is not an address" in faults(flags={"identity": {"issuers": {"one": {"url": url}}}})[0]


def test_a_person_whose_subject_has_colons_is_of_their_issuer() -> None:
    url = "https://idp.gov/realms/staff"
    said = {"issuers": {"staff": {"url": url, "keys_url": f"{url}/keys"}}, "people": {f"{url}:f:8d1:jdavis": {}}}
    identity = sign_in(load(None, {"identity": said}).identity, None, SystemClock()).identity
    (person,) = identity.people()
    assert (person.issuer, person.subject) == (url, "f:8d1:jdavis")
