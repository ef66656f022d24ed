"""How a daemon is reached: arguments, environment, defaults, and no token in plain text over a network."""

import json
from pathlib import Path

import grpc
import pytest
from hmsact import InvalidArgument
from hmsact.connect import Target, target


def told(address: str | None = None, **options: object) -> Target:
    return target(address, **{"environment": {}, **options})  # type: ignore[arg-type]


def test_defaults_are_those_of_the_contract() -> None:
    found = told()
    assert (found.address, found.namespace, found.token, found.timeout_s) == ("127.0.0.1:7400", "default", None, 20.0)
    assert found.metadata == ()
    assert found.credentials is None


def test_arguments_come_before_the_environment_and_it_before_defaults() -> None:
    environment = {"HMSACT_ADDRESS": "localhost:1", "HMSACT_TOKEN": "from-env", "HMSACT_NAMESPACE": "loans"}
    found = told(environment=environment)
    assert (found.address, found.token, found.namespace) == ("localhost:1", "from-env", "loans")
    found = told("localhost:2", token="mine", namespace="own", environment=environment)
    assert (found.address, found.token, found.namespace) == ("localhost:2", "mine", "own")
    assert found.metadata == (("authorization", "Bearer mine"),)


def test_an_empty_token_is_none_whatever_the_environment_says() -> None:
    assert told(token="", environment={"HMSACT_TOKEN": "other"}).token is None


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.8.9.1:1", "localhost:1", "[::1]:1", "unix:/run/hmsact"])
def test_this_machine_is_reached_in_plain_text_and_past_any_proxy(address: str) -> None:
    found = told(address, token="t")
    assert found.credentials is None
    assert dict(found.options)["grpc.enable_http_proxy"] == 0


@pytest.mark.parametrize("address", ["10.0.0.1:1", "example.org:7400", "dns:///example.org:1", "localhost.evil.org:1"])
def test_other_machines_are_reached_by_tls(address: str) -> None:
    assert told(address, token="t").credentials is not None


def test_plain_text_to_another_machine_has_to_be_asked_for() -> None:
    assert told("example.org:1", token="t", tls=False).credentials is None
    assert told(tls=True).credentials is not None


def test_an_authority_in_the_environment_means_tls(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    assert told(environment={"HMSACT_CA": str(authority)}).credentials is not None
    assert told(tls=authority).credentials is not None
    with pytest.raises(InvalidArgument, match="No such file"):
        told(tls=tmp_path / "none.pem")


def test_credentials_of_grpc_are_taken_as_they_are() -> None:
    credentials = grpc.ssl_channel_credentials()
    assert told(tls=credentials).credentials is credentials


def test_a_token_is_never_shown() -> None:
    assert "secret" not in repr(told(token="secret"))
    with pytest.raises(InvalidArgument) as caught:
        told(token="secret\n")
    assert "secret" not in str(caught.value)


def test_only_unreachable_daemons_are_asked_again() -> None:
    config = json.loads(str(dict(told().options)["grpc.service_config"]))
    streams, others = config["methodConfig"]
    assert others["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    # Of workers only what carries a request id; their stream resumes by its session.
    assert {"service": "hmsact.v1.WorkerService", "method": "CompleteStep"} in others["name"]
    whole = [name["service"] for name in others["name"] if "method" not in name]
    assert "hmsact.v1.WorkerService" not in whole
    assert "hmsact.v1.OperationService" in whole
    # Whoever watches resumes by itself; with retries of gRPC's besides, a stream may hang for ever.
    assert "retryPolicy" not in streams
    assert {name["method"] for name in streams["name"]} == {
        "WatchOperation",
        "WatchEvents",
        "ExportOperation",
        "StartOperations",
        "WatchJob",
    }
