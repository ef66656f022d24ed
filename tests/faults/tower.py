"""A daemon under test, in a process of its own, of which everything it says is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hmsact import Orchestrator, Worker
from hmsact.testing import Daemon

PATIENCE_S = 30.0


def until(holds: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
    """Returns once something holds."""
    gives_up_at = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < gives_up_at, f"{what} within {within_s:.0f} s"
        time.sleep(0.02)


@contextmanager
def serving(worker: Worker) -> Iterator[None]:
    """Runs a worker on a thread of its own; it finishes what it has in hand at the end."""
    with Daemon().serving(worker):
        yield


class Tower:
    """A daemon that may be started, stopped, and started again on the same data and ports."""

    def __init__(
        self,
        data: Path,
        *,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        arguments: Sequence[str] = (),
        program: Sequence[str] = ("-m", "hmsactd"),
    ) -> None:
        self.data = data
        self.environment = dict(environment or {})
        self.arguments = [*arguments]
        self.address = self.http = "127.0.0.1:0"
        self.prefix = prefix
        self.program = program
        self._log = data.with_name(f"{data.name}.log")
        self._process: subprocess.Popen[str] | None = None

    def start(self, *further: str) -> None:
        """Starts it; returns when it is ready, and fails with what it says if it doesn't get there."""
        assert self.begin(*further), self.said()

    def begin(self, *further: str) -> bool:
        """Starts it; returns whether it got ready."""
        command = [
            *(*self.prefix, sys.executable, *self.program, "serve", "--dev", "--ready-json"),
            *("--log-level", "warning", "--data", str(self.data), "--grpc", self.address, "--http", self.http),
        ]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*command, *self.arguments, *further],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | self.environment,
            )
        assert self._process.stdout is not None
        ready = self._process.stdout.readline()
        if not ready:
            self.ended()
            return False
        told = json.loads(ready)
        self.address, self.http = told["grpc"], told["http"]
        return True

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def ended(self) -> int:
        """Waits for its end; returns its exit code."""
        process, self._process = self._process, None
        assert process is not None
        assert process.stdout is not None
        code = process.wait(PATIENCE_S)
        process.stdout.close()
        return code

    def stop(self) -> int:
        """SIGTERM."""
        assert self._process is not None
        self._process.terminate()
        return self.ended()

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self.ended()

    def said(self) -> str:
        """All that it has said on standard error since it was started last."""
        return self._log.read_text("utf-8")

    def last_words(self) -> str:
        """The last line of that, in which it says why it doesn't run."""
        return self.said().splitlines()[-1]

    def lines(self, part: str) -> list[str]:
        """The lines that hold a part."""
        return [line for line in self.said().splitlines() if part in line]

    def readiness(self) -> tuple[int, Any]:
        """What /readyz answers."""
        try:
            with urllib.request.urlopen(f"http://{self.http}/readyz", timeout=PATIENCE_S) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.loads(refused.read())

    def is_ready(self) -> bool:
        """True if it takes requests."""
        return self.readiness()[0] == 200

    def metric(self, name: str) -> float:
        """The value of a series."""
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=PATIENCE_S) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))

    def orchestrator(self, token: str = "", **options: Any) -> Orchestrator:
        """A client of it."""
        return Orchestrator(self.address, token=token, **options)
