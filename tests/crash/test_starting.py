"""What a daemon refuses to start on, and how it ends: in order, in time, whoever is connected."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import grpc
import pytest
from hmsact import Call, Checkpoint, Orchestrator, Step
from hmsact.testing import Daemon
from hmsact.v1 import operation_pb2, operation_pb2_grpc, timeline_pb2, timeline_pb2_grpc

from hmsactd.store.sqlite import DATABASE_FILE
from hmsactd.timeline.keys import PAYLOAD_FILE, SIGNING_FILE
from tests.crash.test_sigkill import HERE, STEPS, Acknowledged, program, until

FREE = "127.0.0.1:0"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def daemon(data: Path) -> Iterator[Daemon]:
    with Daemon(data, test_clock=False) as daemon:
        yield daemon


def refused(data: Path, *, grpc: str = FREE, http: str = FREE) -> str:
    """What a daemon says that does not start, and that it says nothing else."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "hmsactd", "serve", "--dev", "--ready-json", "--log-level", "warning"),
            *("--data", str(data), "--grpc", grpc, "--http", http),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    # gRPC adds lines of its own about a port that it can't have; the last one is the daemon's.
    said = ran.stderr.splitlines()[-1]
    assert said.startswith("hmsactd: ")
    return said


def test_a_second_daemon_on_the_same_data_is_refused(daemon: Daemon, data: Path) -> None:
    assert f"another hmsactd (process {daemon.pid}) is using" in refused(data)
    with daemon.orchestrator() as act:
        assert act.start(name="flow", steps=[Step("ask", svc="Irs")]).state == "running"


@pytest.mark.parametrize("door", ["grpc", "http"])
def test_a_second_daemon_on_the_same_port_is_refused(daemon: Daemon, door: str, tmp_path: Path) -> None:
    address = {"grpc": daemon.address, "http": daemon.http}[door]
    assert address in refused(tmp_path / "other", **{door: address})
    with daemon.orchestrator() as act:
        assert act.info().log_size == 0


@pytest.mark.parametrize("file", [SIGNING_FILE, PAYLOAD_FILE])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, file: str) -> None:
    with Daemon(tmp_path, test_clock=False):
        assert (tmp_path / file).stat().st_mode & 0o777 == 0o600
    (tmp_path / file).chmod(0o640)
    said = refused(tmp_path)
    assert f"{file} can be read by others (mode 0640)" in said
    (tmp_path / file).chmod(0o600)
    with Daemon(tmp_path, test_clock=False) as daemon:
        assert daemon.pid is not None


@pytest.mark.parametrize("file", [SIGNING_FILE, PAYLOAD_FILE])
def test_data_without_its_key_is_refused_and_no_new_key_is_made(tmp_path: Path, file: str) -> None:
    with Daemon(tmp_path, test_clock=False):
        pass
    (tmp_path / file).rename(tmp_path / "taken")
    assert f"{file} is missing" in refused(tmp_path)
    assert not (tmp_path / file).exists()


def test_data_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    with Daemon(tmp_path, test_clock=False):
        pass
    with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as database:
        database.execute("INSERT INTO schema_migrations VALUES (9999, '9999_later.sql', 'abc')")
        database.commit()
        (epoch,) = database.execute("SELECT epoch FROM log").fetchone()
    assert "9999" in refused(tmp_path)
    with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as database:
        assert database.execute("SELECT epoch FROM log").fetchone() == (epoch,)


def test_a_log_that_lost_its_last_records_is_refused(tmp_path: Path) -> None:
    with Daemon(tmp_path, test_clock=False) as daemon, daemon.orchestrator() as act:
        act.start(name="flow", steps=[Step("ask", svc="Irs")])
    with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as database:
        database.execute("DROP TRIGGER event_is_not_changed")
        database.execute("UPDATE event SET leaf = zeroblob(32) WHERE position = 0")
        database.commit()
    assert "the last seal does not cover the log" in refused(tmp_path)


def test_a_port_in_use_by_another_program_is_refused(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in refused(tmp_path, grpc=f"127.0.0.1:{port}")


# -- the end -----------------------------------------------------------------------------------------------------------


@contextmanager
def in_threads(*every: Callable[[], None]) -> Iterator[list[BaseException]]:
    """Runs each in a thread of its own; all must have ended when the context does."""
    failures: list[BaseException] = []

    def run(one: Callable[[], None]) -> None:
        try:
            one()
        except BaseException as error:  # noqa: BLE001 -- looked at by the test
            failures.append(error)

    threads = [threading.Thread(target=run, args=(one,), daemon=True) for one in every]
    for thread in threads:
        thread.start()
    yield failures
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "a stream outlived the daemon"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_within_ten_seconds_whoever_is_connected(
    daemon: Daemon, tmp_path: Path, number: signal.Signals
) -> None:
    acknowledged = Acknowledged(tmp_path / "acknowledged")
    with ExitStack() as stack:
        act = stack.enter_context(daemon.orchestrator())
        operation = act.start(name="long", steps=[Step("ask", svc="Nobody"), Checkpoint("review", role="fsa.officer")])
        for svc, steps in STEPS.items():
            stack.enter_context(program(str(HERE / "agency.py"), svc, *steps, address=daemon.address))
        channel = stack.enter_context(grpc.insecure_channel(daemon.address))
        watched, waited = threading.Semaphore(0), threading.Semaphore(0)
        watchers = [lambda: watch(channel, operation.id, watched)] * 30
        pollers = [lambda: wait(channel, operation.id, waited)] * 30
        failures = stack.enter_context(in_threads(*watchers, *pollers))
        client = stack.enter_context(
            program(str(HERE / "client.py"), daemon.address, str(acknowledged.path), "64", "1000")
        )
        until(lambda: acknowledged.count() >= 200, "there is load")
        for _ in range(30):
            assert watched.acquire(timeout=20)
            assert waited.acquire(timeout=20)
        assert daemon.pid is not None
        began = time.monotonic()
        os.kill(daemon.pid, number)
        assert daemon.stop() == 0
        took_s = time.monotonic() - began
        assert took_s < 10
        client.kill()
    # Who followed or waited was told that the daemon went, and not cut off.
    assert {error.code() for error in failures if isinstance(error, grpc.RpcError)} <= {grpc.StatusCode.UNAVAILABLE}
    assert len(failures) == 60
    daemon.start()
    with daemon.orchestrator() as act:
        kept = {each.id for each in act.operations()}
        assert {operation for operation, *_ in acknowledged.lines()} <= kept
    print({"ended_in_s": round(took_s, 2), "acknowledged": acknowledged.count()})


def watch(channel: grpc.Channel, operation_id: str, begun: threading.Semaphore) -> None:
    request = timeline_pb2.WatchOperationRequest(operation_id=operation_id)
    is_first = True
    for _ in timeline_pb2_grpc.TimelineServiceStub(channel).WatchOperation(request):
        if is_first:
            begun.release()
        is_first = False
    raise AssertionError("the stream of an open operation ended as if all were said")


def wait(channel: grpc.Channel, operation_id: str, begun: threading.Semaphore) -> None:
    request = operation_pb2.WaitOperationRequest(operation_id=operation_id)
    request.timeout.FromSeconds(60)
    begun.release()
    answer = operation_pb2_grpc.OperationServiceStub(channel).WaitOperation(request, timeout=60)
    raise AssertionError(f"it is not over: {answer}")


@pytest.mark.timeout(60)
def test_a_step_in_hand_is_not_repeated_over_a_restart_in_order(daemon: Daemon) -> None:
    begun, go_on = threading.Event(), threading.Event()
    irs = daemon.worker("Irs")

    @irs.step("ask")
    def ask(call: Call) -> str:
        begun.set()
        assert go_on.wait(30)
        return f"attempt {call.attempt}"

    with daemon.orchestrator() as act, daemon.serving(irs):
        operation = act.start(name="flow", steps=[Step("ask", svc="Irs")])
        assert begun.wait(20)
        assert daemon.stop() == 0
        daemon.start()
        go_on.set()
        assert finished(act, operation.id) == "attempt 1"


def finished(act: Orchestrator, operation_id: str) -> object:
    return act.wait(operation_id, "20s").output
