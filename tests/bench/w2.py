"""W2: W1 at one load while so many follow everything; the ratio is to the same load with nobody following.

`python -m tests.bench.w2` measures it alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from tests.bench.w1 import DAEMON, HERE, process

FOLLOWERS = [1, 10, 100]


def figure(followers: int, in_flight: int, seconds: float) -> dict[str, float]:
    """One figure from a fresh daemon, worker, client and followers."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        address = json.loads(stack.enter_context(process(*DAEMON, directory)))["grpc"]
        assert stack.enter_context(process(sys.executable, str(HERE / "worker.py"), address)).strip() == "ready"
        following: subprocess.Popen[str] | None = None
        if followers:
            command = (sys.executable, str(HERE / "followers.py"), address, str(followers))
            following = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(following.kill)
            assert following.stdout is not None
            assert following.stdout.readline().strip() == "ready"
        client = (sys.executable, str(HERE / "client.py"), address, str(in_flight), str(seconds))
        printed = subprocess.run(client, check=True, capture_output=True, text=True).stdout
        figures = dict(json.loads(printed))
        if following is not None:
            told, _ = following.communicate("")
            figures |= json.loads(told)
        return figures


def lines(seconds: float, in_flight: int, numbers: Sequence[int]) -> Iterator[dict[str, object]]:
    """The figures: with nobody first, then with each number of followers."""
    alone = figure(0, in_flight, seconds)["operations_per_second"]
    for number in numbers:
        followed = figure(number, in_flight, seconds)
        ratio = round(followed["operations_per_second"] / alone, 3)
        yield {"bench": "W2", "followers": number, "in_flight": in_flight, **followed, "ratio_to_nobody": ratio}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--followers", type=int, nargs="*", default=FOLLOWERS)
    said = parser.parse_args()
    for line in lines(said.seconds, said.in_flight, said.followers):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
