"""The command line against a real daemon: at a terminal, in a pipe, and with evidence in files."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hmsact import Checkpoint, Operation, Orchestrator
from hmsact.note import VerifierKey
from hmsact.testing import Daemon
from hmsact.zone import local_zone

HMSACT = str(Path(sys.executable).with_name("hmsact"))
OFFICER = "dev:jdavis@fsa.gov"

Hmsact = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon() as daemon:
        yield daemon


@pytest.fixture
def act(daemon: Daemon) -> Iterator[Orchestrator]:
    with daemon.orchestrator() as act:
        yield act


@pytest.fixture
def operation(act: Orchestrator) -> Operation:
    return act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")], input={"income": 5})


@pytest.fixture
def environment(daemon: Daemon, tmp_path: Path) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("HMSACT_", "NO_COLOR"))}
    known = str(tmp_path / "known_daemons")
    return mine | {"HMSACT_ADDRESS": daemon.address, "HMSACT_KNOWN": known, "TERM": "xterm-256color"}


@pytest.fixture
def hmsact(environment: dict[str, str], tmp_path: Path) -> Hmsact:
    def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [HMSACT, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
        )

    return command


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._end, other = pty.openpty()
        self.process = subprocess.Popen(
            command, env=environment, stdin=other, stdout=other, stderr=other, start_new_session=True
        )
        os.close(other)
        self.said = ""

    def until(self, text: str) -> str:
        """Everything that was shown up to a text."""
        while text not in self.said:
            shown = self._read()
            assert shown, self.said
            self.said += shown
        return self.said

    def type(self, text: str) -> None:
        """Types."""
        os.write(self._end, text.encode())

    def close(self) -> int:
        """The exit code, when the command has ended."""
        while shown := self._read():
            self.said += shown
        os.close(self._end)
        return self.process.wait(timeout=20)

    def _read(self) -> str:
        try:
            return os.read(self._end, 65536).decode(errors="replace")
        except OSError:
            return ""  # The other side has closed it.


# -- at a terminal -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code", "state"),
    [("y\n", 0, "completed"), ("n\n", 1, "waiting"), ("\x04", 130, "waiting")],
)
def test_approve_shows_asks_and_does_as_it_is_told(
    environment: dict[str, str], operation: Operation, answer: str, code: int, state: str
) -> None:
    terminal = Terminal([HMSACT, "approve", operation.id, "review", "--token", OFFICER], environment)
    shown = terminal.until("Approve? [y/N]:")
    assert '"income": 5' in shown
    assert "Digest of all this:" in shown
    terminal.type(answer)
    assert terminal.close() == code
    assert ("Nothing was decided." in terminal.said) == (code != 0)
    assert operation.refresh().state == state


def test_an_account_is_wrapped_between_words_and_what_was_said_moves_no_cursor(
    act: Orchestrator, environment: dict[str, str], operation: Operation
) -> None:
    act.cancel(operation, "The applicant \x1b[31mwithdrew " + "very " * 30)
    terminal = Terminal([HMSACT, "why", operation.id], environment | {"COLUMNS": "60"})
    assert terminal.close() == 0
    said = re.sub("\x1b\\[[01]m", "", terminal.said)
    assert "\x1b" not in said
    assert max(map(len, said.splitlines())) <= 60
    told = act.why(operation, time_zone=local_zone())
    assert said.split() == str(told).split()


def test_whoever_may_not_decide_is_told_so_once_and_not_asked(
    environment: dict[str, str], operation: Operation
) -> None:
    terminal = Terminal([HMSACT, "approve", operation.id, "review"], environment)
    assert terminal.close() == 1
    assert terminal.said.count("started the operation") == 1
    assert "Approve?" not in terminal.said


def test_what_is_decided_is_shown_as_it_was(daemon: Daemon, act: Orchestrator, hmsact: Hmsact) -> None:
    steps = [Checkpoint("review", role="fsa.officer"), Checkpoint("second", role="fsa.officer")]
    operation = act.start(name="flow", steps=steps)
    with daemon.orchestrator("dev:mgarcia@fsa.gov") as officer:
        officer.approve(operation, "review")
    said = hmsact("approve", operation.id, "review", "--yes", "--token", OFFICER)
    assert said.returncode == 1
    assert re.search(r"approved +by mgarcia@fsa.gov at .*\d\d:\d\d:\d\d", said.stdout)
    for word in ("pending", "releases", "Digest", "second"):
        assert word not in said.stdout
    assert len(said.stderr.splitlines()) == 1


def test_events_are_shown_live_in_colour_with_what_is_awaited(
    environment: dict[str, str], daemon: Daemon, operation: Operation
) -> None:
    terminal = Terminal([HMSACT, "events", operation.id], environment)
    shown = terminal.until("waiting for officer: hmsact approve")
    assert "\x1b[36m00:00 REVIEW → pending (waiting on officer)" in shown
    with daemon.orchestrator(OFFICER) as officer:
        officer.reject(operation, "review")
    assert terminal.close() == 0
    assert "FLOW → rejected" in terminal.said


def test_ctrl_c_ends_events_without_a_word(environment: dict[str, str], operation: Operation) -> None:
    terminal = Terminal([HMSACT, "events", operation.id], environment)
    terminal.until("waiting for officer")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.close() == 130
    assert "Traceback" not in terminal.said


# -- in a pipe ---------------------------------------------------------------------------------------------------------


def test_output_in_a_pipe_is_plain_and_may_be_cut_short(environment: dict[str, str], operation: Operation) -> None:
    ran = subprocess.run(
        f"{HMSACT} events {operation.id} --no-follow | cat; {HMSACT} --help | head -1",
        shell=True,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.stdout == "00:00 REVIEW → pending (waiting on officer)\nUsage: hmsact [OPTIONS] COMMAND [ARGS]...\n"
    assert ran.stderr == ""


def test_start_list_get_and_cancel(hmsact: Hmsact, tmp_path: Path) -> None:
    (tmp_path / "flow.json").write_text('{"name": "flow", "steps": [{"checkpoint": "review", "role": "fsa.officer"}]}')
    started = hmsact("start", "flow.json", "--input", '{"a": 1}', "--key", "case-7", "--label", "office=east")
    operation_id = started.stdout.strip()
    assert re.fullmatch(r"op_[a-z0-9]+", operation_id)
    (listed,) = hmsact("list", "--key", "case-7", "--json").stdout.splitlines()
    assert json.loads(listed)["id"] == operation_id
    assert json.loads(hmsact("get", operation_id[5:], "--json").stdout)["input"] == {"a": 1}
    again = hmsact("start", "flow.json", "--key", "case-7")
    assert (again.returncode, again.stdout) == (1, "")
    assert operation_id in again.stderr
    assert hmsact("cancel", operation_id, "--reason", "enough").returncode == 0
    assert hmsact("cancel", operation_id).returncode == 1


def test_every_fault_of_a_definition_is_told_in_a_line_of_its_own(hmsact: Hmsact, tmp_path: Path) -> None:
    (tmp_path / "flow.json").write_text('{"name": "Flow", "steps": [{"step": "a", "sla": "5 m"}]}')
    said = hmsact("start", "flow.json")
    assert said.returncode == 1
    first, *faults = said.stderr.splitlines()
    assert first == "hmsact: flow.json has 3 faults:"
    for place, fault in zip(
        ("definition/name", "definition/steps/0/sla", "definition/steps/0/svc"), faults, strict=True
    ):
        assert fault.startswith(f"  {place}: ")
    (tmp_path / "flow.json").write_text('{"name": "flow", "steps": [{"step": "a", "svc": "B", "sla": 5}]}')
    said = hmsact("start", "flow.json")
    assert said.stderr == (
        'hmsact: flow.json has a fault: definition/steps/0/sla: 5 is no length of time, which is a text such as "2m"\n'
    )


def test_an_absence_of_the_daemon_is_told_once(environment: dict[str, str]) -> None:
    with Daemon() as daemon:
        with daemon.orchestrator() as act:
            operation = act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
        told = subprocess.Popen(
            [HMSACT, "events", operation.id, "--address", daemon.address],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with told:
            assert told.stdout is not None
            told.stdout.readline()
            daemon.stop()
            daemon.start()
            with daemon.orchestrator(OFFICER) as officer:
                officer.approve(operation, "review")
            out, beside = told.communicate(timeout=30)
    assert "FLOW → completed" in out
    assert beside == f"lost the connection to the daemon at {daemon.address}; trying again\n"


def test_an_assignee_of_the_callers_own_issuer_needs_no_issuer(hmsact: Hmsact, operation: Operation) -> None:
    said = hmsact("assign", operation.id, "review", "--to", "tlee@fsa.gov")
    assert "assigned to dev:tlee@fsa.gov" in said.stdout


# -- evidence ----------------------------------------------------------------------------------------------------------


def test_an_export_is_verified_and_its_daemon_remembered(
    hmsact: Hmsact, operation: Operation, act: Orchestrator, tmp_path: Path
) -> None:
    first = hmsact("export", operation.id, "-o", "timeline.json")
    assert first.returncode == 0
    assert "is new; its key is remembered" in first.stderr
    assert hmsact("export", operation.id, "-o", "again.json").stderr == ""
    known = hmsact("verify", "timeline.json")
    assert (known.returncode, known.stderr) == (0, "")
    assert "verified against the key that this daemon is known by" in known.stdout
    (tmp_path / "key").write_text(act.info().verifier_key)
    assert "against the key that was given" in hmsact("verify", "timeline.json", "--key", "key").stdout
    (tmp_path / "known_daemons").unlink()
    unknown = hmsact("verify", "timeline.json")
    assert "proves nothing about who wrote it" in unknown.stdout
    assert "This daemon is new to you" in unknown.stdout
    assert hmsact("export", operation.id, "-o", "-").stdout.startswith("{")


def test_tampering_is_named_and_missing_evidence_told_apart(
    hmsact: Hmsact, operation: Operation, act: Orchestrator, tmp_path: Path
) -> None:
    hmsact("export", operation.id, "-o", "timeline.json")
    text = (tmp_path / "timeline.json").read_text("ascii")
    (tmp_path / "forged.json").write_text(text.replace("checkpoint_pending", "checkpoint_claimed"))
    forged = hmsact("verify", "forged.json")
    assert (forged.returncode, forged.stdout) == (1, "")
    assert "TAMPERED: event 2" in forged.stderr
    assert json.loads(hmsact("verify", "forged.json", "--json").stdout)["sequence"] == 2
    recorded = act.cancel(operation)
    (tmp_path / "head").write_text(recorded.receipt.seal)
    older = hmsact("verify", "timeline.json", "--head", "head")
    assert older.returncode == 3
    assert "not proved: the file is older than the seal that was given" in older.stderr
    assert hmsact("verify", "no-such.json").returncode == 2
    (tmp_path / "cut.json").write_text(text[: len(text) // 2])
    cut = hmsact("verify", "cut.json")
    assert (cut.returncode, "ends too early: it is cut off" in cut.stderr) == (1, True)
    (tmp_path / "other.json").write_text('{"name": "flow"}')
    other = hmsact("verify", "other.json")
    assert (other.returncode, "other.json is not an export" in other.stderr) == (2, True)
    (tmp_path / "key").write_text("no key")
    assert hmsact("verify", "timeline.json", "--key", "key").returncode == 2


def test_a_daemon_with_another_key_under_a_known_name_is_refused(
    hmsact: Hmsact, operation: Operation, tmp_path: Path
) -> None:
    hmsact("export", operation.id, "-o", "timeline.json")
    known = tmp_path / "known_daemons"
    name = known.read_text().split()[0]
    known.write_text(f"{name} {VerifierKey(name, bytes(32))}\n")
    refused = hmsact("export", operation.id, "-o", "other.json")
    assert refused.returncode == 1
    assert "another daemon has its name, or somebody stands between" in refused.stderr
    assert not (tmp_path / "other.json").exists()


def test_a_portal_acts_for_somebody_who_may_not_decide_then(hmsact: Hmsact, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{OFFICER}\n")
    (tmp_path / "flow.json").write_text('{"name":"flow","steps":[{"checkpoint":"review","role":"fsa.officer"}]}')
    portal = ("--token", "dev:svc/portal", "--on-behalf-of", "token")
    operation = hmsact("start", "flow.json", *portal).stdout.strip()
    assert f"on behalf of  {OFFICER}" in hmsact("whoami", *portal).stdout
    assert "by svc/portal for jdavis@fsa.gov, who had signed in" in hmsact("get", operation).stdout
    refused = hmsact("approve", operation, "review", "--yes", "--token", OFFICER)
    assert refused.returncode == 1
    assert "started on behalf of dev:jdavis@fsa.gov" in refused.stderr
