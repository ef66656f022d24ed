"""Refusals as users of the SDK and of the command line meet them: one clear error, every fault in it, no hang."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hmsact import (
    AlreadyExists,
    Checkpoint,
    InvalidArgument,
    NotFound,
    Orchestrator,
    PreconditionFailed,
    Refused,
    Step,
    Unauthenticated,
    Unavailable,
)
from hmsact.testing import Daemon

HMSACT = str(Path(sys.executable).with_name("hmsact"))
OFFICER = "dev:jdavis@fsa.gov"
UNKNOWN = "op_" + "0" * 26

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def act(daemon: Daemon) -> Iterator[Orchestrator]:
    with daemon.orchestrator(timeout=20) as act:
        yield act


@pytest.fixture
def run(daemon: Daemon, tmp_path: Path) -> Run:
    """Runs the command line, as whoever the token says."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("HMSACT_")}
    environment = mine | {"HMSACT_ADDRESS": daemon.address, "HMSACT_KNOWN": str(tmp_path / "known_daemons")}

    def command(*arguments: str, token: str = "") -> "subprocess.CompletedProcess[str]":
        variables = environment | {"HMSACT_TOKEN": token}
        return subprocess.run(
            [HMSACT, *arguments], env=variables, capture_output=True, text=True, timeout=40, check=False
        )

    return command


# -- the SDK -----------------------------------------------------------------------------------------------------------


def test_every_method_says_that_there_is_no_such_operation(act: Orchestrator) -> None:
    calls: list[Callable[[], object]] = [
        lambda: act.get(UNKNOWN),
        lambda: act.wait(UNKNOWN),
        lambda: list(act.events(UNKNOWN)),
        lambda: act.timeline(UNKNOWN),
        lambda: act.export(UNKNOWN),
        lambda: act.shown(UNKNOWN),
        lambda: act.pause(UNKNOWN),
        lambda: act.resume(UNKNOWN),
        lambda: act.cancel(UNKNOWN),
        lambda: act.retry(UNKNOWN, "check", "why"),
        lambda: act.skip(UNKNOWN, "check", "why"),
        lambda: act.approve(UNKNOWN, "review"),
        lambda: act.reject(UNKNOWN, "review"),
        lambda: act.claim(UNKNOWN, "review"),
        lambda: act.release(UNKNOWN, "review"),
        lambda: act.assign(UNKNOWN, "review", "dev:tlee@fsa.gov"),
    ]
    for call in calls:
        with pytest.raises(NotFound, match=UNKNOWN) as caught:
            call()
        assert caught.value.reason == "OPERATION_UNKNOWN"


def test_a_wrong_start_raises_every_fault_with_its_place(act: Orchestrator) -> None:
    definition = {"name": "Flow", "steps": [{"step": "a", "sla": "2 minutes"}, {"checkpoint": "a", "role": ""}]}
    with pytest.raises(InvalidArgument) as caught:
        act.start(steps=definition, key="k" * 256)
    assert [violation.field for violation in caught.value.violations] == [
        "definition/name",
        "definition/steps/0/sla",
        "definition/steps/0/svc",
        "definition/steps/1/checkpoint",
        "definition/steps/1/role",
        "key",
    ]
    for violation in caught.value.violations:
        assert violation.description in str(caught.value)


def test_each_refusal_is_an_error_of_its_own(daemon: Daemon, act: Orchestrator) -> None:
    review = [Checkpoint("review", role="fsa.officer")]
    operation = act.start(name="flow", steps=review, key="readable")
    with pytest.raises(AlreadyExists, match=operation.id):
        act.start(name="flow", steps=review, key="readable")
    with pytest.raises(Refused, match="started the operation"):
        act.approve(operation, "review")
    with pytest.raises(PreconditionFailed, match="not paused"):
        act.resume(operation)
    with daemon.orchestrator("nobody") as nobody, pytest.raises(Unauthenticated):
        nobody.get(operation)
    with Orchestrator("127.0.0.1:1", timeout=2) as nowhere, pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        nowhere.get(operation)


def test_threads_share_a_client_and_a_request_id(act: Orchestrator) -> None:
    steps = [Step("check", svc="Shared")]
    with ThreadPoolExecutor(8) as pool:
        started = pool.map(lambda _: act.start(name="flow", steps=steps, request_id="shared").id, range(8))
        assert len(set(started)) == 1


# -- the command line --------------------------------------------------------------------------------------------------


def test_every_command_ends_with_a_line_about_an_unknown_operation(run: Run, tmp_path: Path) -> None:
    commands: list[tuple[str, ...]] = [
        ("get",),
        ("events",),
        ("timeline",),
        ("pause",),
        ("resume",),
        ("cancel",),
        ("retry", "check", "--reason", "why"),
        ("skip", "check", "--reason", "why"),
        ("claim", "review"),
        ("release", "review"),
        ("assign", "review", "--to", "dev:tlee@fsa.gov"),
        ("approve", "review", "--yes"),
        ("reject", "review", "--yes"),
        ("export", "-o", str(tmp_path / "export.json")),
    ]
    with ThreadPoolExecutor(2) as pool:
        for ran in pool.map(lambda command: run(command[0], UNKNOWN, *command[1:]), commands):
            assert (ran.returncode, ran.stdout) == (1, ""), ran.args
            # An export says first that the daemon is new.
            assert ran.stderr.splitlines()[-1] == f"hmsact: there is no operation {UNKNOWN}"
            assert "Traceback" not in ran.stderr
    assert not (tmp_path / "export.json").exists()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{", "JSON"),
        ('{"name": "flow", "steps": []}', "definition/steps"),
        ('{"name": "flow", "steps": [{"step": "a", "svc": "b", "sla": 5}]}', "definition/steps/0/sla"),
    ],
)
def test_a_wrong_file_is_one_line_and_starts_nothing(
    run: Run, act: Orchestrator, tmp_path: Path, said: str, told: str
) -> None:
    before = act.count()
    file = tmp_path / "flow.json"
    file.write_text(said)
    ran = run("start", str(file))
    assert (ran.returncode, ran.stdout) in ((1, ""), (2, ""))
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr
    assert act.count() == before


def test_refusals_are_told_apart_from_wrong_usage(run: Run, act: Orchestrator) -> None:
    operation = act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
    cases: list[tuple[tuple[str, ...], str, int, str]] = [
        (("approve", operation.id, "review", "--yes"), "", 1, "started the operation"),
        (("approve", operation.id, "review", "--yes"), "dev:casebot", 1, "checkpoint.decide"),
        (("approve", operation.id, "nothing", "--yes"), OFFICER, 1, "nothing"),
        (("get", "op_"), "", 1, "more than one"),
        (("get", operation.id), "nobody", 1, "token"),
        (("skip", operation.id, "check"), OFFICER, 2, "--reason"),
        (("no-such-command",), "", 2, "no-such-command"),
        (("list", "--state", "odd"), "", 2, "odd"),
    ]
    act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
    for arguments, token, code, told in cases:
        ran = run(*arguments, token=token)
        assert ran.returncode == code, (arguments, ran.stderr)
        assert "Traceback" not in ran.stderr
        assert told in ran.stderr, arguments
    assert act.get(operation).state == "waiting"
