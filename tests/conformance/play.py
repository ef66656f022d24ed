"""Runs `hmsactd conformance` as whoever writes a worker would: in a process, with the worker's command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HMSACTD = (sys.executable, "-m", "hmsactd", "conformance")


def run(*arguments: str, within_s: float = 100) -> subprocess.CompletedProcess[str]:
    """The command with these arguments, once it has ended."""
    return subprocess.run([*HMSACTD, *arguments], capture_output=True, text=True, timeout=within_s, check=False)


def judged(*command: str, only: tuple[str, ...] = (), patience: str = "15") -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and the checks of a worker by name."""
    named = [part for name in only for part in ("--only", name)]
    ran = run("--worker", "Agency", "--listen", "127.0.0.1:0", "--patience", patience, "--json", *named, "--", *command)
    assert ran.returncode in (0, 1), ran.stderr
    told = json.loads(ran.stdout)
    assert told["passed"] == (ran.returncode == 0)
    return ran.returncode, {check["name"]: check for check in told["checks"]}
