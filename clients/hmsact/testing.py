"""A real daemon inside a test: `with Daemon() as daemon:`.

Needs the daemon's package (`pip install hmsactd`) beside this one. As a pytest fixture: see hmsact.fixtures.
"""

from __future__ import annotations

import asyncio
import json
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from hmsact.aio import AsyncOrchestrator
from hmsact.client import Orchestrator
from hmsact.connect import target
from hmsact.duration import Duration
from hmsact.errors import HmsactError
from hmsact.plain import time_of
from hmsact.requests import Requests
from hmsact.status import error_of
from hmsact.v1 import system_pb2_grpc
from hmsact.worker import Worker

START_S = 30.0
STOP_S = 15.0


class DaemonNotStarted(HmsactError):
    """Raised when there is no daemon to start, or it ended at once; the message says why."""


class Daemon:
    """A daemon of a test's own: development identities, free ports, a clock that the test moves.

    `data` is its data directory (else a temporary one, removed in the end), `arguments` are further ones of
    `hmsactd serve`. With test_clock=False its time is that of the machine. It may be stopped and started again on the
    same data and ports.
    """

    def __init__(
        self, data: str | Path | None = None, *, test_clock: bool = True, arguments: Sequence[str] = ()
    ) -> None:
        self.data = None if data is None else Path(data)
        """Its data directory, once it is started."""
        self._is_temporary = data is None
        self._arguments = [*(["--test-clock"] if test_clock else []), *arguments]
        self._process: subprocess.Popen[str] | None = None
        self.address = "127.0.0.1:0"
        """Where clients and workers connect, once it is started."""
        self.http = "127.0.0.1:0"
        """Where its metrics are, once it is started."""

    def start(self) -> Self:
        """Starts it, and returns when it is ready. Raises DaemonNotStarted."""
        command = [find_hmsactd(), "serve", "--dev", "--ready-json", "--log-level", "warning"]
        self.data = self.data or Path(tempfile.mkdtemp(prefix="hmsactd-test-"))
        command += ["--data", str(self.data), "--grpc", self.address, "--http", self.http, *self._arguments]
        errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - the process writes to it after this returns
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)  # noqa: S603
            try:
                ready = _line(process, START_S)
            except BaseException:
                _end(process)
                raise
            if not ready:
                _end(process)
                self.close()
                errors.seek(0)
                raise DaemonNotStarted(f"hmsactd did not start: {errors.read().strip() or 'it says nothing'}")
        finally:
            errors.close()
        self._process = process
        addresses = json.loads(ready)
        self.address, self.http = addresses["grpc"], addresses["http"]
        return self

    def stop(self) -> int:
        """Stops it in order (SIGTERM), or kills it if it takes too long; returns its exit code."""
        process, self._process = self._process, None
        return 0 if process is None else _end(process)

    def close(self) -> None:
        """Stops it for good, and removes its data if they were temporary."""
        self.stop()
        if self._is_temporary and self.data is not None:
            shutil.rmtree(self.data)
            self.data = None

    def kill(self) -> None:
        """Ends it without warning (SIGKILL), as a crash does."""
        if self._process is not None:
            self._process.kill()
            self.stop()

    @property
    def pid(self) -> int | None:
        """Its process id; None while it is stopped."""
        return None if self._process is None else self._process.pid

    def orchestrator(self, token: str | None = "", **options: Any) -> Orchestrator:
        """A client of it, `developer` without a token; close it in the end. `options` are those of Orchestrator."""
        return Orchestrator(self.address, token=token, **options)

    def async_orchestrator(self, token: str | None = "", **options: Any) -> AsyncOrchestrator:
        """A client for coroutines, as `orchestrator`."""
        return AsyncOrchestrator(self.address, token=token, **options)

    def worker(self, svc: str, **options: Any) -> Worker:
        """A worker of a service, with the development token for it. `options` are those of Worker."""
        return Worker(svc, address=self.address, **{"token": f"dev:svc/{svc}", **options})

    @contextmanager
    def serving(self, *workers: Worker) -> Iterator[None]:
        """Runs workers on a thread of their own while a test goes on; they finish what they have in hand at the end."""
        stopping: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        failures: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(_serve(workers, stopping))
            except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
                failures.append(error)
                if not stopping.done():
                    stopping.set_exception(error)

        thread = threading.Thread(target=run, name="hmsact workers of a test")
        thread.start()
        try:
            loop, is_over = stopping.result()
            yield
        finally:
            if thread.is_alive() and stopping.done() and stopping.exception() is None:
                loop.call_soon_threadsafe(is_over.set)
            thread.join()
        if failures:
            raise failures[0]

    def advance(self, by: Duration) -> datetime:
        """Moves its clock on, "2d" for two days; every due time on the way is dealt with. Returns its time, in UTC."""
        with grpc.insecure_channel(self.address, target(self.address, token="").options) as channel:
            try:
                answer = system_pb2_grpc.SystemServiceStub(channel).AdvanceClock(
                    Requests("default").advance(by, "test", None), timeout=START_S
                )
            except grpc.RpcError as failure:
                raise error_of(failure, self.address) from None
        return time_of(answer.time)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _serve(workers: Sequence[Worker], stopping: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    is_over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(worker.serve(), name=f"worker {worker.svc}") for worker in workers]
        stopping.set_result((asyncio.get_running_loop(), is_over))
        over = group.create_task(is_over.wait(), name="end of the test")
        await asyncio.wait([over, *tasks], return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        for worker in workers:
            worker.stop()


def find_hmsactd(interpreter: str = sys.executable, path: str | None = None) -> str:
    """The command of the daemon that is installed beside an interpreter, else of the first one on the path.

    Raises DaemonNotStarted if there is none.
    """
    beside = Path(interpreter).with_name("hmsactd")
    found = str(beside) if beside.exists() else shutil.which("hmsactd", path=path)
    if found is None:
        raise DaemonNotStarted("there is no hmsactd to start: install it beside this package (pip install hmsactd)")
    return found


def _line(process: subprocess.Popen[str], within_s: float) -> str:
    """The first line that a process says; empty if it has ended, or says nothing in time."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], within_s)
    return process.stdout.readline() if readable else ""


def _end(process: subprocess.Popen[str]) -> int:
    process.terminate()
    try:
        code = process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    if process.stdout is not None:
        process.stdout.close()
    return code
