"""The chapter's three blocks of code run as written, in one interpreter, and print what the chapter prints."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hmsact.testing import Daemon

ROOT = Path(__file__).parents[2]
BLOCKS = ROOT / "tests" / "data" / "chapter"
EXAMPLE = ROOT / "clients" / "examples" / "loan_forgiveness"
HMSACT = str(Path(sys.executable).with_name("hmsact"))
WORKERS = ("fsa.py", "irs.py", "treasury.py", "email_service.py")
OFFICER = "dev:jdavis@fsa.gov"

IN_ORDER = """
import sys
namespace = {}
for block in sys.argv[1:]:
    exec(compile(open(block, encoding="utf-8").read(), block, "exec"), namespace)
"""


@pytest.fixture
def address() -> Iterator[str]:
    """A daemon that serves the chapter's flow with the four workers of the example."""
    with Daemon(test_clock=False) as daemon, ExitStack() as processes:
        for file in WORKERS:
            process = subprocess.Popen([sys.executable, EXAMPLE / file], env=environment(daemon.address))
            processes.callback(process.wait)
            processes.callback(process.terminate)
        yield daemon.address


def environment(address: str) -> dict[str, str]:
    """The shell of somebody who follows the chapter."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("HMSACT_")}
    return mine | {"HMSACT_ADDRESS": address, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}


def approve(address: str, operation_id: str) -> None:
    command = [HMSACT, "approve", operation_id, "human_review", "--yes", "--token", OFFICER]
    subprocess.run(command, env=environment(address), check=True, capture_output=True)


def test_the_chapters_scripts_run_as_written_and_print_what_it_prints(address: str) -> None:
    blocks = [BLOCKS / f"{name}.py.txt" for name in ("start_loan_flow", "poll", "replay")]
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", IN_ORDER, *blocks], env=environment(address), stdout=subprocess.PIPE, text=True
    ) as scripts:
        assert scripts.stdout is not None
        for line in scripts.stdout:
            lines.append(line.rstrip("\n"))
            if "pending" in line:
                approve(address, lines[0].removeprefix("Operation ID: "))
    assert scripts.returncode == 0
    assert re.fullmatch(r"Operation ID: op_[a-z0-9]+", lines[0])
    assert lines_without_times(lines[1:]) == [
        "mm:ss VALIDATE_FORM → done",
        "mm:ss ELIGIBILITY_CHECK → failed, retry 1/3",
        "mm:ss ELIGIBILITY_CHECK → done",
        "mm:ss HUMAN_REVIEW → pending (waiting on officer)",
        "mm:ss HUMAN_REVIEW → approved by jdavis@fsa.gov",
        "mm:ss UPDATE_BALANCE → done",
        "mm:ss NOTIFY_APPLICANT → done",
        "mm:ss LOAN_FORGIVENESS → completed",
        "[hh:mm:ss] validate_form ✅",
        "[hh:mm:ss] eligibility_check ❌ (retry 1)",
        "[hh:mm:ss] eligibility_check ✅",
        "[hh:mm:ss] human_review ✋ waiting  (Officer: jdavis@fsa.gov)",
        "[hh:mm:ss] human_review ✅ approved  (Officer: jdavis@fsa.gov)",
        "[hh:mm:ss] update_balance ✅",
        "[hh:mm:ss] notify_applicant ✅",
        "[hh:mm:ss] loan_forgiveness 🏁 completed",
    ]


def lines_without_times(lines: list[str]) -> list[str]:
    # A run over midnight shows dates, too.
    replayed = (re.sub(r"^\[(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\]", "[hh:mm:ss]", line) for line in lines)
    return [re.sub(r"^\d\d:\d\d ", "mm:ss ", line) for line in replayed]


def test_the_files_of_the_example_are_the_blocks_of_the_chapter() -> None:
    """They differ only by their own Orchestrator() and an id from the command line; layout and comments don't count."""
    start = (EXAMPLE / "start_loan_flow.py").read_text("utf-8")
    assert code_of(start) == code_of((BLOCKS / "start_loan_flow.py.txt").read_text("utf-8"))
    for name in ("poll", "replay"):
        own = "import sys\nfrom hmsact import Orchestrator\nact = Orchestrator()\n"
        block = (BLOCKS / f"{name}.py.txt").read_text("utf-8").replace("op.id", "sys.argv[1]")
        assert code_of((EXAMPLE / f"{name}.py").read_text("utf-8")) == code_of(own + block)


def code_of(text: str) -> str:
    """The program as such, its imported names in order."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            node.names.sort(key=lambda alias: alias.name)
    return ast.dump(tree)
