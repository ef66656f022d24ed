"""What it costs W1 to know who calls: a signed-in person and a program with a token of its own, against --dev.

Prints one JSON line a load: the medians of some rounds, and their ratio. Both without TLS, which is another matter.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from hmsactd.identity.api_token import fresh
from hmsactd.identity.api_tokens import TokenFile
from tests.bench.w1 import DAEMON, figure
from tests.identity.issuing import EC, URL, key_set, said, token

SETTINGS = """
[identity.issuers.staff]
url = "{url}"
keys_file = "{keys}"
[identity.workloads.bench]
serves = ["Bench"]
"""


def tokens(data: Path) -> tuple[str, str]:
    """A person's access token, and the API token of the worker, which the data directory then knows."""
    data.chmod(0o700)
    worker, made = fresh("bench", days=1)
    TokenFile(data).add(made)
    now = int(time.time())
    return token(said(iss=URL, roles=["hmsact.operator"], iat=now, exp=now + 3600)), worker


def main() -> None:
    """Measure every load in rounds of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[64])
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        keys, settings = Path(folder) / "keys.json", Path(folder) / "settings.toml"
        keys.write_bytes(key_set(EC))
        settings.write_text(SETTINGS.format(url=URL, keys=keys))
        in_earnest = (
            *(sys.executable, "-m", "hmsactd", "serve", "--ready-json", "--config", str(settings)),
            *("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data"),
        )
        rate = "operations_per_second"
        for in_flight in told.in_flight:
            known, anybody = [], []
            for _ in range(told.rounds):
                anybody.append(figure(DAEMON, in_flight, told.seconds)[rate])
                known.append(figure(in_earnest, in_flight, told.seconds, tokens)[rate])
            ratios = sorted(round(ours / theirs, 3) for ours, theirs in zip(known, anybody, strict=True))
            line = {"bench": "identity", "in_flight": in_flight, "dev": median(anybody), "known": median(known)}
            print(json.dumps(line | {"ratio": median(ratios), "ratios": ratios}), flush=True)


if __name__ == "__main__":
    main()
