"""The loan-forgiveness operation from start to proof, with real processes: `make demo`.

An officer approves from another terminal; without a terminal, or with YES=1, the demo does so as dev:jdavis@fsa.gov.
Exits with 0 only if the operation was completed and its exported timeline verified offline.
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from hmsact import Checkpoint, Event, Operation, Orchestrator, Step
from hmsact.verify import MissingEvidence, Tampered, verify

HERE = Path(__file__).parent
HMSACT = str(Path(sys.executable).parent / "hmsact")
OFFICER = "dev:jdavis@fsa.gov"
COMMENT = "Income and payments check out"
FLOW = [
    Step("validate_form", svc="FSA"),
    Step("eligibility_check", svc="IRS", sla="2m"),
    Checkpoint("human_review", role="fsa.officer"),
    Step("update_balance", svc="Treasury"),
    Step("notify_applicant", svc="Email"),
]


def main() -> int:
    # However it ends, its processes end and its directory is removed: also when its terminal is closed.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    # Whatever this shell is set up for, the demo is about its own daemon.
    for name in [name for name in os.environ if name.startswith(("HMSACT_", "HMSACTD_"))]:
        del os.environ[name]
    is_asked = sys.stdin.isatty() and os.environ.get("YES") != "1"
    with tempfile.TemporaryDirectory(prefix="hmsact-demo-") as directory:
        export = Path(directory, "timeline.json")
        with serving(directory) as address, Orchestrator(address) as act:
            application = json.loads((HERE / "application.json").read_text("utf-8"))
            operation = act.start(name="loan_forgiveness", steps=FLOW, input=application)
            say(f"A borrower submits the form. Operation ID: {operation.id}")
            for event in act.events(operation):
                print(event, flush=True)
                if event.kind == "checkpoint_pending":
                    have_it_approved(event, address, is_asked)
            replay(act, operation)
            explain(operation, address)
            export.write_bytes(act.export(operation))
            key = act.info().verifier_key
        is_verified = prove(export, key)
        state = operation.state
    if state != "completed":
        say(f"The operation is {state}: it was not completed.")
    return 0 if state == "completed" and is_verified else 1


@contextmanager
def serving(directory: str) -> Iterator[str]:
    """A daemon and its workers, for as long as it takes. Yields the daemon's address."""
    say("Starting a daemon and the workers of FSA, IRS, Treasury and Email …")
    command = [sys.executable, str(HERE / "serve.py"), "--ready-json", "--data", f"{directory}/data"]
    command += ["--grpc", free("127.0.0.1", 7400), "--http", free("127.0.0.1", 7480)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                sys.exit("demo: the daemon did not start")
            address: str = json.loads(line)["grpc"]
            print(f"  they are ready, the daemon on {address}")
            yield address
        finally:
            process.terminate()
            # Not before all that it has started is gone: the directory is removed next.
            process.wait()


def interrupt(number: int, frame: FrameType | None) -> None:
    """Ends the demo as Ctrl-C does, once: what is being cleaned up is not disturbed."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def free(host: str, port: int) -> str:
    """The address if nobody has it, else one that the machine chooses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return f"{host}:0"
    return f"{host}:{port}"


def have_it_approved(event: Event, address: str, is_asked: bool) -> None:
    command = hmsact(
        "approve", event.operation_id, event.name, "--token", OFFICER, "--comment", COMMENT, address=address
    )
    if is_asked:
        say("The flow waits for an officer. Be one, in another terminal, in any directory (Ctrl-C ends this):")
        say(f"  {shlex.join(command)}\n")
        return
    say(f"The flow waits for an officer. {OFFICER} is played for you:\n")
    print(f"$ {shlex.join([*command, '--yes'])}", flush=True)
    subprocess.run([*command, "--yes"], check=True)
    print(flush=True)


def replay(act: Orchestrator, operation: Operation) -> None:
    say("What happened, as the record has it:")
    for line in act.timeline(operation):
        print(line.pretty())
    operation.refresh()
    if operation.state == "completed":
        say("What the applicant was told:")
        print("\n".join(f"  {line}".rstrip() for line in operation.output["body"].splitlines()))


def explain(operation: Operation, address: str) -> None:
    command = hmsact("why", operation.id, address=address)
    say("The applicant calls and asks. Whoever answers reads it to them:\n")
    print(f"$ {shlex.join(command)}", flush=True)
    subprocess.run(command, check=True)


def hmsact(*arguments: str, address: str) -> list[str]:
    """The command for the daemon of the demo."""
    return [HMSACT, *arguments, *(["--address", address] if address != "127.0.0.1:7400" else [])]


def prove(export: Path, key: str) -> bool:
    """Verifies the exported timeline, now that the daemon is gone."""
    say("The daemon is stopped. Can what it recorded be trusted? Its exported timeline, checked offline:")
    try:
        found = verify(export, key=key)
    except (Tampered, MissingEvidence) as error:
        print(f"  {error}")
        return False
    print(f"  {found.events} events, none changed, missing or moved\n  {found.level}")
    return True


def say(text: str) -> None:
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
