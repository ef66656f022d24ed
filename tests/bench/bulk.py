"""Bulk: so many starts over one stream with no worker there, a restart with all of them queued, and the drain when one
worker comes; then W1's work with starts and completions on streams.

Prints one JSON line a figure. The bystander is a client that starts one operation after the other meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.w1 import DAEMON, HERE, process

CLIENT = (sys.executable, "-m", "tests.bench.bulk_client")
WORKER = (sys.executable, str(HERE / "worker.py"))


class Tower:
    """A daemon, and how much memory it takes."""

    def __init__(self, running: subprocess.Popen[str]) -> None:
        assert running.stdout is not None
        self.address = json.loads(running.stdout.readline())["grpc"]
        self._pid = running.pid

    def memory(self, peak: bool = False) -> float:
        """What it holds now, or has held at most, in MiB."""
        status = Path(f"/proc/{self._pid}/status").read_text("utf-8")
        kib = status.split("VmHWM:" if peak else "VmRSS:")[1].split()[0]
        return round(int(kib) / 1024, 1)


@contextmanager
def tower(directory: str) -> Iterator[Tower]:
    """A daemon on a directory, while the context lasts."""
    with subprocess.Popen((*DAEMON, directory), stdout=subprocess.PIPE, text=True) as running:
        try:
            yield Tower(running)
        finally:
            running.terminate()
            running.wait(30)


def client(address: str, *said: str) -> dict[str, float]:
    """What a client has measured."""
    command = (*CLIENT, address, *said)
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))


def queued(count: int) -> Iterator[dict[str, object]]:
    """The figures of so many starts, from the first to the last end."""
    with tempfile.TemporaryDirectory() as directory:
        with tower(directory) as daemon:
            before = daemon.memory()
            figures = client(daemon.address, "start", str(count))
            memory = {"before_mib": before, "peak_mib": daemon.memory(peak=True)}
            yield {"what": "start", **figures, **memory}
            # What is queued is let go after a while of silence; then it costs nothing.
            time.sleep(8)
            yield {"what": "queued", "operations": count, "rss_mib": daemon.memory()}
        began = time.perf_counter()
        with tower(directory) as daemon:
            ready_s = round(time.perf_counter() - began, 2)
            yield {"what": "restart", "operations": count, "ready_s": ready_s, "rss_mib": daemon.memory()}
            command = (*CLIENT, daemon.address, "drain", str(count))
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
                assert following.stdout is not None
                assert following.stdout.readline().strip() == "ready"
                with process(*WORKER, daemon.address):
                    figures = json.loads(following.stdout.readline())
            yield {"what": "drain", **figures, "peak_mib": daemon.memory(peak=True)}


def flow(in_flight: int, seconds: float) -> dict[str, object]:
    """The figure of W1's work over streams."""
    with ExitStack() as stack:
        daemon = stack.enter_context(tower(stack.enter_context(tempfile.TemporaryDirectory())))
        assert stack.enter_context(process(*WORKER, daemon.address)).strip() == "ready"
        return {"what": "flow", **client(daemon.address, "flow", str(in_flight), str(seconds))}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[64, 256, 1024])
    parser.add_argument("--seconds", type=float, default=5)
    said = parser.parse_args()
    if said.operations:
        for line in queued(said.operations):
            print(json.dumps({"bench": "bulk", **line}), flush=True)
    for in_flight in said.in_flight:
        print(json.dumps({"bench": "bulk", **flow(in_flight, said.seconds)}), flush=True)


if __name__ == "__main__":
    main()
