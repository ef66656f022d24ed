"""W2: the four-step operations of W1, done by a called service over gRPC and over HTTP, against the worker stream.

`python -m tests.bench.called`; one JSON line a figure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.bench.w1 import DAEMON, HERE, process


def figure(how: str, in_flight: int, seconds: float) -> dict[str, float]:
    """One figure from a fresh daemon, service and client."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = directory / "hmsactd.toml"
        settings.touch()
        if how != "worker":
            ports = json.loads(stack.enter_context(process(sys.executable, "-m", "tests.bench.agency")))
            address = f"{how}://127.0.0.1:{ports[how]}"
            settings.write_text(f'[services.Bench]\naddress = "{address}"\nconcurrency = {max(in_flight, 1)}\n')
        running = stack.enter_context(process(*DAEMON, str(directory / "data"), "--config", str(settings)))
        grpc_address = json.loads(running)["grpc"]
        if how == "worker":
            worker = stack.enter_context(process(sys.executable, str(HERE / "worker.py"), grpc_address))
            assert worker.strip() == "ready"
        client = (sys.executable, str(HERE / "client.py"), grpc_address, str(in_flight), str(seconds))
        return dict(json.loads(subprocess.run(client, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    """Measure each way at each load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[1, 64])
    said = parser.parse_args()
    for in_flight in said.in_flight:
        for how in ("worker", "grpc", "http"):
            line = {"bench": "W2", "in_flight": in_flight, "of": how, **figure(how, in_flight, said.seconds)}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
