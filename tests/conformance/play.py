"""Runs `hmsactd conformance` as whoever writes a worker or a service would, or one check without the command line."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hmsactd.conformance.service import ServicePlan, play_service
from hmsactd.conformance.target import target_of

HERE = Path(__file__).parent
HMSACTD = (sys.executable, "-m", "hmsactd", "conformance")


def run(*arguments: str, within_s: float = 100) -> subprocess.CompletedProcess[str]:
    """The command with these arguments, once it has ended."""
    return subprocess.run([*HMSACTD, *arguments], capture_output=True, text=True, timeout=within_s, check=False)


def judged(*command: str, only: tuple[str, ...] = ()) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and the checks of a worker by name."""
    named = [part for name in only for part in ("--only", name)]
    ran = run("--worker", "Agency", "--listen", "127.0.0.1:0", "--grace", "4", "--json", *named, "--", *command)
    assert ran.returncode in (0, 1), ran.stderr
    told = json.loads(ran.stdout)
    assert told["passed"] == (ran.returncode == 0)
    return ran.returncode, {check["name"]: check for check in told["checks"]}


@contextmanager
def nobody_at() -> Iterator[str]:
    """A place where nobody listens, and nobody can begin to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def said_of_service(
    check: str,
    address: str,
    secret: str | None = None,
    authorities: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
) -> dict[str, str]:
    """What one check says of a service."""
    faults: list[str] = []
    target = target_of(address, "Agency", secret, authorities, certificate, key, faults)
    assert target is not None, faults
    (result,) = asyncio.run(play_service(ServicePlan(target, (check,), patience_s=3), lambda _: None))
    return result.as_json()
