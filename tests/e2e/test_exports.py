"""An export is joined to seals that were kept elsewhere, and shows what a reader may see."""

import subprocess
import sys
from pathlib import Path

import pytest
from hmsact import InvalidArgument, Step
from hmsact.note import Note, TreeHead
from hmsact.testing import Daemon
from hmsact.verify import verify

FLOW = [Step("check", svc="IRS")]


def test_an_export_agrees_with_the_seal_of_a_receipt_however_the_log_has_grown(daemon: Daemon, tmp_path: Path) -> None:
    with daemon.orchestrator() as act:
        operation = act.start(name="flow", steps=FLOW, input={"case": 1})
        assert operation.recorded is not None
        seal = operation.recorded.receipt.seal
        for _ in range(20):
            act.start(name="flow", steps=FLOW)
        act.cancel(operation, reason="withdrawn")
        size = TreeHead.parse(Note.parse(seal).body).size
        export, key = act.export(operation, earlier_sizes=[size]), act.info().verifier_key
    found = verify(export, key=key, head=seal)
    assert found.is_joined
    (tmp_path / "receipt.seal").write_text(seal, "utf-8")
    told = _hmsact(daemon, "export", operation.id, "-o", "case.json", "--seal", "receipt.seal", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    told = _hmsact(daemon, "verify", "case.json", "--head", "receipt.seal", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "agrees with the head that was given" in told.stdout


def test_sizes_that_the_log_never_had_are_refused_each_at_its_place(daemon: Daemon) -> None:
    with daemon.orchestrator() as act:
        operation = act.start(name="flow", steps=FLOW)
        with pytest.raises(InvalidArgument) as refused:
            act.export(operation, earlier_sizes=[0, 1, 10**9])
        assert [violation.field for violation in refused.value.violations] == ["earlier_sizes[0]", "earlier_sizes[2]"]


def _hmsact(daemon: Daemon, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    run = "from hmsact.cli import main; main()"
    command = [sys.executable, "-c", run, *words, *(["--address", daemon.address] if words[0] == "export" else [])]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=30, env={"HMSACT_KNOWN": str(cwd / "known")}
    )
