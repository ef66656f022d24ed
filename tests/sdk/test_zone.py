"""Which time zone this machine is in."""

import pytest
from hmsact.zone import local_zone


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Asia/Tokyo", "Asia/Tokyo"),
        (":Asia/Tokyo", "Asia/Tokyo"),
        ("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("UTC", "UTC"),
        ("", "UTC"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "UTC"),
        ("Mars/Olympus", "UTC"),
        ("America", "UTC"),
        ("../../etc/passwd", "UTC"),
    ],
)
def test_a_zone_that_is_set_goes_by_its_name_or_is_utc(said: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", said)
    assert local_zone() == name


def test_a_zone_that_is_not_set_is_the_one_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TZ", raising=False)
    monkeypatch.setattr("os.path.realpath", lambda _: "/usr/share/zoneinfo/America/New_York")
    assert local_zone() == "America/New_York"
    monkeypatch.setattr("os.path.realpath", lambda _: "/etc/localtime")
    assert local_zone() == "UTC"
