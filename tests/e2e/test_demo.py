"""`make demo` and `make serve`: what a newcomer sees first, and that nothing is left behind."""

import os
import pty
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "clients" / "examples" / "loan_forgiveness"


def children_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def are_gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=20)
    return not alive


def demo(**options: object) -> subprocess.Popen[str]:
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT, **options}
    return subprocess.Popen([sys.executable, "-u", EXAMPLE / "demo.py"], **settings)  # type: ignore[call-overload, no-any-return]


def test_without_a_terminal_the_demo_approves_by_itself_and_proves_the_record() -> None:
    with demo(stdin=subprocess.DEVNULL) as running:
        said, _ = running.communicate(timeout=50)
    assert running.returncode == 0, said
    for line in (
        "00:00 VALIDATE_FORM → done",
        "00:00 ELIGIBILITY_CHECK → failed, retry 1/3",
        "HUMAN_REVIEW → pending (waiting on officer)",
        "HUMAN_REVIEW → approved by jdavis@fsa.gov",
        "LOAN_FORGIVENESS → completed",
        "human_review ✋ waiting  (Officer: jdavis@fsa.gov)",
        "Dear Maria Ortiz,",
        "It was asked twice and answered with an error once: “502 Bad Gateway from the income service”.",
        "jdavis@fsa.gov, as an officer (fsa.officer), approved “human review”: “Income and payments check out”.",
        "15 events, none changed, missing or moved",
        "verified against the key that was given",
    ):
        assert line in said, said
    assert "Python" not in said


@pytest.mark.parametrize(("verb", "code"), [("approve", 0), ("reject", 1)])
def test_at_a_terminal_the_demo_waits_for_the_officer_and_says_how_to_be_one(verb: str, code: int) -> None:
    terminal, other_end = pty.openpty()
    try:
        with demo(stdin=other_end) as running:
            assert running.stdout is not None
            said: list[str] = []
            for line in running.stdout:
                said.append(line)
                if "hmsact approve" in line:
                    command = shlex.split(line.replace("approve", verb))
                    assert Path(command[0]).is_absolute()
                    assert "Income and payments check out" in command
                    subprocess.run([*command, "--yes"], cwd=ROOT, check=True, capture_output=True, timeout=30)
        assert running.returncode == code, said
        assert ("The operation is rejected: it was not completed.\n" in said) == (verb == "reject")
    finally:
        os.close(terminal)
        os.close(other_end)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_demo_that_is_stopped_half_way_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    terminal, other_end = pty.openpty()
    try:
        with demo(stdin=other_end, env=os.environ | {"TMPDIR": str(tmp_path)}) as running:
            assert running.stdout is not None
            for line in running.stdout:
                if "hmsact approve" in line:
                    break
            started = children_of(running)
            # serve.py, the daemon, four workers
            assert len(started) == 6
            running.send_signal(number)
            assert are_gone(started)
            running.wait(timeout=20)
        # Nobody can clean up who is killed.
        assert number is signal.SIGKILL or not list(tmp_path.iterdir())
    finally:
        os.close(terminal)
        os.close(other_end)


def test_serve_runs_a_daemon_and_four_workers_until_it_is_told_to_stop(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE / "serve.py"), "--data", str(tmp_path / "data")]
    command += ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as serve:
        assert serve.stdout is not None
        lines = [serve.stdout.readline()]
        while "Ctrl-C" not in lines[-1]:
            lines.append(serve.stdout.readline())
        started = children_of(serve)
        assert len(started) == 5
        (start,) = [line.strip() for line in lines if "start_loan_flow.py" in line]
        ran = subprocess.run(start, shell=True, capture_output=True, text=True, timeout=30, check=True)
        assert ran.stdout.startswith("Operation ID: op_")
        serve.send_signal(signal.SIGTERM)
        assert serve.wait(timeout=30) == 0
        assert are_gone(started)


def test_serve_says_so_when_its_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, str(EXAMPLE / "serve.py"), "--grpc", address, "--http", "127.0.0.1:0", "--data"]
        ran = subprocess.run([*command, tmp_path], capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode != 0
    assert address in ran.stderr
