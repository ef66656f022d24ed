"""What the doors are secured with: nothing old, half, open to others, or about to end unseen."""

from __future__ import annotations

import json
import socket
import ssl
import time
import warnings
from datetime import timedelta
from pathlib import Path

import pytest

from tests.e2e.agency import Agency
from tests.identity.authority import Authority


def http_over_tls(office: Agency) -> None:
    """Gives HTTP the certificate of gRPC."""
    path, pair = office.directory / "settings.toml", office.directory / "server"
    files = f'certificate_file = "{pair}.pem"\nkey_file = "{pair}.key"\n'
    path.write_text(path.read_text().replace("[http]\n", f"[http]\n{files}"))


def shown(address: str, context: ssl.SSLContext) -> bytes:
    """The certificate that is shown there."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as plain, context.wrap_socket(plain) as secured:
        return secured.getpeercert(True) or b""


def trusting_anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def outdated(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = trusting_anybody()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    return context


def doctor(office: Agency) -> dict[str, tuple[str, str]]:
    told = json.loads(office.run("doctor", "--json").stdout)
    return {each["check"]: (each["result"], each["sentence"]) for each in told["findings"]}


def test_no_door_speaks_tls_of_the_last_century(tmp_path: Path) -> None:
    office = Agency(tmp_path)
    http_over_tls(office)
    office.start()
    try:
        for address in (office.address, office.http):
            assert shown(address, trusting_anybody())
            for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
                with pytest.raises((ssl.SSLError, ConnectionResetError)):
                    shown(address, outdated(version))
    finally:
        office.stop()


def test_http_shows_a_new_certificate_and_keeps_the_old_one_while_the_new_one_is_half_there(tmp_path: Path) -> None:
    office = Agency(tmp_path)
    http_over_tls(office)
    office.start()
    try:
        doors = (office.address, office.http)
        before = [shown(address, trusting_anybody()) for address in doors]
        certificate, key = office.authority.issue(hosts=["127.0.0.1"])
        (tmp_path / "server.pem").write_bytes(certificate)
        deadline = time.monotonic() + 20
        while (tmp_path / "log").read_text().count("can't be read again") < 2:
            assert [shown(address, trusting_anybody()) for address in doors] == before
            assert time.monotonic() < deadline, "both doors have looked"
        assert "is not the key of" in (tmp_path / "log").read_text()
        (tmp_path / "server.key").write_bytes(key)
        while any(shown(address, trusting_anybody()) in before for address in doors):
            assert time.monotonic() < deadline, "both doors show the new one"
        log = (tmp_path / "log").read_text()
        assert "PRIVATE KEY" not in log
        assert "Traceback" not in log
    finally:
        office.stop()


@pytest.mark.parametrize("fault", ["readable", "another's", "passphrase"])
def test_a_key_of_http_that_is_no_good_is_refused_at_the_start(tmp_path: Path, fault: str) -> None:
    office = Agency(tmp_path)
    path = tmp_path / "settings.toml"
    pair = Authority().write(tmp_path, "pages", Authority().issue(hosts=["127.0.0.1"]))
    files = f'certificate_file = "{pair[0]}"\nkey_file = "{pair[1]}"\n'
    path.write_text(path.read_text().replace("[http]\n", f"[http]\n{files}"))
    match fault:
        case "readable":
            pair[1].chmod(0o640)
        case "another's":
            pair[1].write_bytes(Authority().issue()[1])
        case _:
            pair[1].write_text(pair[1].read_text().replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE"))
    refused = office.run("serve")
    assert refused.returncode == 1
    assert str(pair[1]) in refused.stderr
    assert "Traceback" not in refused.stderr
    assert doctor(office)["HTTP TLS"][0] == "FAIL"


def test_doctor_says_when_certificates_end(tmp_path: Path) -> None:
    office = Agency(tmp_path)
    http_over_tls(office)
    issue = office.authority.issue
    found = {}
    for begins, ends, level in (
        (-1, 90, "ok"),
        (-80, 10, "warn"),
        (-0.5, 0.5, "ok"),
        (-0.95, 0.05, "warn"),
        (-90, -1, "FAIL"),
        (1, 90, "FAIL"),
    ):
        pair = issue(hosts=["127.0.0.1"], begins=timedelta(days=begins), ends=timedelta(days=ends))
        office.authority.write(tmp_path, "server", pair)
        found = doctor(office)
        assert (found["gRPC TLS"][0], found["HTTP TLS"][0]) == (level, level), (begins, ends)
    assert found["client CA"][0] == "warn", "the authority of the test ends tomorrow"
    assert found["gRPC mutual"][0] == "ok"


def test_doctor_asks_a_daemon_that_speaks_tls(tmp_path: Path) -> None:
    office = Agency(tmp_path)
    http_over_tls(office)
    path = tmp_path / "settings.toml"
    office.start()
    try:
        text = path.read_text()
        path.write_text(text.replace('key"\nlisten = "127.0.0.1:0"', f'key"\nlisten = "{office.http}"'))
        assert "the daemon is ready" in doctor(office)["HTTP"][1]
    finally:
        office.stop()
