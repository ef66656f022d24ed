"""What a daemon's /metrics says, read as Prometheus reads it."""

from http.client import HTTPConnection

from hmsact.testing import Daemon
from prometheus_client.parser import text_string_to_metric_families


def fetch(daemon: Daemon, path: str) -> tuple[int, str]:
    """Status and body of a page of the daemon."""
    connection = HTTPConnection(daemon.http, timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def scrape(daemon: Daemon) -> dict[str, float]:
    """Every sample, by its name with its labels in order: `hmsact_operations{definition=flow,…}`."""
    status, text = fetch(daemon, "/metrics")
    assert status == 200
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            key = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found
