"""W1: four-step operations through real processes, all of it durable; the daemon against the floor, in turn.

Prints one JSON line a figure, the median of some rounds: a machine that others use changes its speed in between.
`--seconds` is how long each round of a figure is measured, `--in-flight` which loads.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
DAEMON = (
    *(sys.executable, "-m", "hmsactd", "serve", "--dev", "--ready-json"),
    *("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data"),
)
FLOOR = (sys.executable, str(HERE / "floor.py"))


@contextmanager
def process(*command: str, token: str = "") -> Iterator[str]:
    """A process that calls with a token, while the context lasts; gives the first line that it prints."""
    with subprocess.Popen(command, env=_with(token), stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            yield running.stdout.readline()
        finally:
            running.terminate()
            try:
                running.wait(15)
            except subprocess.TimeoutExpired:
                running.kill()


def figure(
    server: tuple[str, ...],
    in_flight: int,
    seconds: float,
    known: Callable[[Path], tuple[str, str]] = lambda _: ("", "dev:svc/Bench"),
) -> dict[str, float]:
    """One figure from a fresh server, worker and client. `known` gives the tokens of client and worker, and may write
    into the data directory what makes them good.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        client_token, worker_token = known(Path(directory))
        address = json.loads(stack.enter_context(process(*server, directory)))["grpc"]
        worker = process(sys.executable, str(HERE / "worker.py"), address, token=worker_token)
        assert stack.enter_context(worker).strip() == "ready"
        client = (sys.executable, str(HERE / "client.py"), address, str(in_flight), str(seconds))
        told = subprocess.run(client, env=_with(client_token), check=True, capture_output=True, text=True).stdout
        return dict(json.loads(told))


def _with(token: str) -> dict[str, str]:
    return os.environ | {"HMSACT_TOKEN": token}


def medians(figures: list[dict[str, float]]) -> dict[str, float]:
    """What is in the middle of each figure's rounds."""
    return {name: median(figure[name] for figure in figures) for name in figures[0]}


def main() -> None:
    """Measure every load in rounds of floor and daemon, and print the medians and the ratio of each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[1, 64, 256, 1024])
    said = parser.parse_args()
    for in_flight in said.in_flight:
        floor, daemon = [], []
        for _ in range(said.rounds):
            floor.append(figure(FLOOR, in_flight, said.seconds))
            daemon.append(figure(DAEMON, in_flight, said.seconds))
        rate = "operations_per_second"
        ratios = sorted(round(ours[rate] / least[rate], 3) for ours, least in zip(daemon, floor, strict=True))
        print(json.dumps({"bench": "W1", "in_flight": in_flight, "of": "floor", **medians(floor)}), flush=True)
        line = {"bench": "W1", "in_flight": in_flight, "of": "hmsactd", **medians(daemon)}
        print(json.dumps(line | {"ratio_to_floor": median(ratios), "ratios": ratios}), flush=True)


if __name__ == "__main__":
    main()
