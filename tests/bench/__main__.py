"""Every benchmark in turn, or those that are named: `python -m tests.bench [w1 …]`. One JSON line a figure.

Each also runs alone, with its own options: `python -m tests.bench.w1 --help`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

BENCHMARKS = {
    "w1": "operations through daemon, worker and client, against the floor",
    "w2": "the same, with followers of the whole stream",
    "identity": "W1 by people and programs that are known, against --dev",
    "bulk": "bulk starts with no worker, the drain when one comes, and W1's work over streams",
    "called": "called services against a worker",
    "writes": "what the store pays for an operation",
    "finding": "lists, searches and counts among a million operations",
}


def main() -> None:
    """Run them, each in a process of its own."""
    told = "\n".join(f"  {name:9}{what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=told, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], metavar="NAME")
    for name in parser.parse_args().names or BENCHMARKS:
        subprocess.run((sys.executable, "-m", f"tests.bench.{name}"), check=True)


if __name__ == "__main__":
    main()
