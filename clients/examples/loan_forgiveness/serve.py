"""A development daemon together with the four workers of the demo: `make serve`.

Ctrl-C, SIGTERM and a closed terminal end all of them.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
WORKERS = {"FSA": "fsa.py", "IRS": "irs.py", "Treasury": "treasury.py", "Email": "email_service.py"}


def main() -> int:
    arguments = read_arguments()
    signal.signal(signal.SIGTERM, interrupt)
    # Whoever uses nohup has said that a closed terminal is not to end it.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, interrupt)
    with ExitStack() as running:
        try:
            daemon = start(running, daemon_command(arguments), stdout=subprocess.PIPE)
            assert daemon.stdout is not None
            line = daemon.stdout.readline()
            if not line:
                return daemon.wait() or 1
            ready = json.loads(line)
            for file in WORKERS.values():
                start(running, [sys.executable, str(HERE / file)], env=os.environ | {"HMSACT_ADDRESS": ready["grpc"]})
            await_workers(ready["http"])
            tell(ready, arguments)
            if arguments.ready_json:
                threading.Thread(target=end_with_parent, daemon=True).start()
            return daemon.wait()
        except KeyboardInterrupt:
            return 0


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="hmsactd-data", help="the daemon's data directory (%(default)s)")
    parser.add_argument("--grpc", default="127.0.0.1:7400", help="where it listens (%(default)s)")
    parser.add_argument("--http", default="127.0.0.1:7480", help="where its metrics are (%(default)s)")
    parser.add_argument(
        "--ready-json", action="store_true", help="say where it listens in one line of JSON; end when stdin ends"
    )
    return parser.parse_args()


def await_workers(http: str) -> None:
    """Wait until the daemon counts them all, so that their greetings come before anything else is said."""
    gives_up_at = time.monotonic() + 10
    while time.monotonic() < gives_up_at:
        with urllib.request.urlopen(f"http://{http}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        connected = [line.rsplit(" ", 1)[1] for line in lines if line.startswith("hmsact_workers_connected{")]
        if sum(map(float, connected)) >= len(WORKERS):
            return
        time.sleep(0.05)


def daemon_command(arguments: argparse.Namespace) -> list[str]:
    command = [str(BIN / "hmsactd"), "serve", "--dev", "--ready-json", "--log-level", "warning"]
    return [*command, "--data", arguments.data, "--grpc", arguments.grpc, "--http", arguments.http]


def start(running: ExitStack, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Starts a process that ends with us, and not by the terminal's Ctrl-C before we have ended it in order."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    running.callback(end, process)
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def interrupt(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def end_with_parent() -> None:
    """Whoever started us holds the other end of stdin: it closes even when they are killed."""
    # Not by reading sys.stdin: whoever waits there holds a lock that the interpreter wants when it ends.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def tell(ready: dict[str, str], arguments: argparse.Namespace) -> None:
    if arguments.ready_json:
        print(json.dumps(ready), flush=True)
        return
    elsewhere = "" if ready["grpc"] == "127.0.0.1:7400" else f"HMSACT_ADDRESS={ready['grpc']} "
    print(
        f"hmsactd is ready, for development: anybody on this machine is let in.\n\n"
        f"  gRPC     {ready['grpc']}\n"
        f"  metrics  http://{ready['http']}/metrics\n"
        f"  data     {Path(arguments.data).resolve()}\n"
        f"  workers  {', '.join(WORKERS)}\n\n"
        f"Try, in another terminal:\n\n"
        f"  {elsewhere}{sys.executable} {HERE / 'start_loan_flow.py'}\n"
        f"  {elsewhere}{BIN / 'hmsact'} list\n"
        f"  {elsewhere}{BIN / 'hmsact'} inbox --token dev:jdavis@fsa.gov\n\n"
        f"Ctrl-C ends it.",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
