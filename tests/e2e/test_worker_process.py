"""Workers as processes: they finish what they have in hand, and what is done outlives either side's end."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hmsact import Orchestrator, Step
from hmsact.testing import Daemon

# Says when it has begun, and goes on when it is told to.
PROGRAM = """
import sys
from hmsact import Worker

irs = Worker("IRS", token="dev:svc/IRS")

@irs.step("check")
def check(call):
    print("begun", call.attempt, flush=True)
    return sys.stdin.readline().strip()

irs.run()
"""


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon(test_clock=False) as daemon:
        yield daemon


@pytest.fixture
def act(daemon: Daemon) -> Iterator[Orchestrator]:
    with daemon.orchestrator() as act:
        yield act


@contextmanager
def worker(daemon: Daemon, program: str = PROGRAM) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"HMSACT_ADDRESS": daemon.address}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, env=environment, text=True) as ran:
        try:
            yield ran
        finally:
            ran.kill()


def begun(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str], said: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{said}\n")
    process.stdin.flush()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_running_step_finish(daemon: Daemon, act: Orchestrator, number: signal.Signals) -> None:
    operation = act.start(name="flow", steps=[Step("check", svc="IRS")])
    with worker(daemon) as process:
        assert begun(process) == "begun 1"
        process.send_signal(number)
        go_on(process, "finished")
        assert process.wait(timeout=20) == 0
    assert operation.wait("20s").output == "finished"
    assert operation.items[0].attempt == 1


def test_a_worker_says_in_a_line_that_it_serves(daemon: Daemon, act: Orchestrator) -> None:
    act.start(name="flow", steps=[Step("check", svc="IRS")])
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"HMSACT_ADDRESS": daemon.address},
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"IRS: serving check at {daemon.address}\n"
        process.terminate()


def test_a_signal_is_heard_though_threads_have_filled_the_socket_that_wakes_the_loop(
    daemon: Daemon, act: Orchestrator
) -> None:
    operation = act.start(name="flow", steps=[Step("check", svc="IRS")])
    filling = "[__import__('asyncio').get_running_loop().call_soon_threadsafe(bool) for _ in range(1_000)]"
    program = PROGRAM.replace("def check", "async def check").replace(
        "return sys.stdin", f"{filling}; import os, signal; os.kill(os.getpid(), signal.SIGTERM)\n    return sys.stdin"
    )
    with worker(daemon, program) as process:
        assert begun(process) == "begun 1"
        go_on(process, "finished")
        assert process.wait(timeout=20) == 0
    assert operation.wait("20s").output == "finished"


def test_a_second_signal_gives_up_what_is_in_hand(daemon: Daemon, act: Orchestrator) -> None:
    operation = act.start(name="flow", steps=[Step("check", svc="IRS")])
    program = PROGRAM.replace("def check", "async def check").replace(
        "return sys.stdin.readline().strip()", "await __import__('asyncio').Event().wait()"
    )
    with worker(daemon, program) as process:
        assert begun(process) == "begun 1"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        # Whichever of the two is noticed second.
        assert process.wait(timeout=20) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    with worker(daemon) as process:
        assert begun(process) == "begun 2"
    assert operation.refresh().state == "running"


def test_the_step_of_a_worker_that_was_killed_goes_to_another(daemon: Daemon, act: Orchestrator) -> None:
    operation = act.start(name="flow", steps=[Step("check", svc="IRS")])
    with worker(daemon) as process:
        assert begun(process) == "begun 1"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
    with worker(daemon) as process:
        assert begun(process) == "begun 2"
        go_on(process, "by the other")
        assert operation.wait("20s").output == "by the other"


@pytest.mark.parametrize("is_crash", [False, True])
def test_a_step_is_not_repeated_when_the_daemon_restarts(daemon: Daemon, act: Orchestrator, is_crash: bool) -> None:
    operation = act.start(name="flow", steps=[Step("check", svc="IRS")])
    told = act.events(operation, all=True)
    kinds = [next(told).kind]
    with worker(daemon) as process:
        assert begun(process) == "begun 1"
        kinds.append(next(told).kind)
        if is_crash:
            daemon.kill()
        else:
            assert daemon.stop() == 0
        go_on(process, "done meanwhile")
        daemon.start()
        kinds += [event.kind for event in told]
    assert kinds == ["operation_started", "step_started", "step_done", "operation_completed"]
    assert operation.refresh().output == "done meanwhile"
    assert operation.items[0].attempt == 1


def test_a_worker_that_may_not_serve_ends_with_the_reason(daemon: Daemon) -> None:
    program = PROGRAM.replace("dev:svc/IRS", "dev:svc/FSA")
    environment = os.environ | {"HMSACT_ADDRESS": daemon.address}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert line.startswith("IRS: ")
    assert "may not serve IRS" in line
