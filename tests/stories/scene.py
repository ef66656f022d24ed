"""Where a story happens: a real daemon, agencies as processes, and every place where an operator would look."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hmsact import Operation, Orchestrator, Step
from hmsact.testing import Daemon
from hmsact.verify import Trust, verify
from prometheus_client.parser import text_string_to_metric_families

from hmsactd.core.legality import first_illegal
from hmsactd.timeline import codec
from tests.e2e.raw import eventually
from tests.e2e.scrape import fetch, scrape

HERE = Path(__file__).parent
HMSACT = str(Path(sys.executable).with_name("hmsact"))
FLOW = "flow"
SVC = "Irs"
GRACE = "10s"
"""How long a worker that is gone is waited for, unless settings say otherwise."""


@dataclass(frozen=True)
class Board:
    """What monitoring shows of one service and the flows that wait for it; what is 0 is left out of the two tables."""

    queued: int = 0
    workers: int = 0
    stalled: int = 0
    unattended: int = 0
    at_risk: int = 0
    breached: int = 0
    attempts: Mapping[str, int] = field(default_factory=dict)
    operations: Mapping[str, int] = field(default_factory=dict)


class Scene:
    """A daemon, and what can be seen of it from outside."""

    def __init__(self, daemon: Daemon, act: Orchestrator) -> None:
        self.daemon = daemon
        self.act = act

    # -- what happens --------------------------------------------------------------------------------------------------

    def start(self, case: str, **said: Any) -> Operation:
        """An operation of one step, known by its case: key and input."""
        return self.act.start(name=FLOW, steps=[Step("work", svc=SVC, **said)], input=case, key=case)

    @contextmanager
    def agency(self, *poisons: str, at_a_time: int = 1) -> Iterator[Agency]:
        """A process of the agency's that does what it is told; killed at the end, whatever became of it."""
        with subprocess.Popen(
            [sys.executable, str(HERE / "agency.py"), SVC, str(at_a_time), *poisons],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"HMSACT_ADDRESS": self.daemon.address},
            text=True,
        ) as process:
            try:
                yield Agency(process)
            finally:
                process.kill()

    def serves_others(self) -> None:
        """Another agency's work goes on as if nothing were the matter."""
        treasury = self.daemon.worker("Treasury")
        treasury.step("pay")(lambda call: "paid")
        with self.daemon.serving(treasury):
            other = self.act.start(name="other", steps=[Step("pay", svc="Treasury")])
            assert other.wait("20s").state == "completed"

    # -- what is seen --------------------------------------------------------------------------------------------------

    def shows(self, board: Board) -> None:
        """The metrics come to say just this."""
        try:
            eventually(lambda: self.board() == board)
        except AssertionError:
            # Says where they differ.
            assert self.board() == board

    def board(self) -> Board:
        """The metrics as they are."""
        status, text = fetch(self.daemon, "/metrics")
        assert status == 200
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

        def table(name: str, by: str, **labels: str) -> dict[str, int]:
            counted: Counter[str] = Counter()
            for sample in samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    counted[sample.labels[by]] += int(sample.value)
            return dict(+counted)

        def total(name: str, **labels: str) -> int:
            return sum(table(name, "namespace", **labels).values())

        return Board(
            queued=total("hmsact_steps_queued", svc=SVC),
            workers=total("hmsact_workers_connected", svc=SVC),
            stalled=total("hmsact_stalled_steps", definition=FLOW),
            unattended=total("hmsact_unattended", definition=FLOW),
            at_risk=total("hmsact_sla_at_risk", definition=FLOW),
            breached=total("hmsact_sla_breached", definition=FLOW),
            attempts=table("hmsact_step_attempts_total", "outcome", svc=SVC),
            operations=table("hmsact_operations", "state", definition=FLOW),
        )

    def oldest_queued_s(self) -> float:
        """How long the oldest step of the service has waited for a worker."""
        return scrape(self.daemon)[f"hmsact_oldest_queued_seconds{{namespace=default,svc={SVC}}}"]

    def listed(self, *options: str) -> list[str]:
        """What `hmsact list` prints, in the order of keys: `KEY STATE WAITS FOR`, without ids, names and times."""
        rows = self.hmsact("list", "--name", FLOW, *options).splitlines()
        shown = [re.split(r" {2,}", row.rstrip()) for row in rows[1:]]
        assert rows == [] or rows[0].split() == ["ID", "NAME", "STATE", "STARTED", "KEY", "WAITS", "FOR"]
        told = [" ".join([key, state, *waits]) for _, _, state, _, key, *waits in shown]
        return sorted(re.sub(r" for [0-9a-z]+$", "", line) for line in told)

    def hmsact(self, *arguments: str, token: str | None = None) -> str:
        """Runs the command line, which succeeds; returns what it prints."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HMSACT_")}
        environment["HMSACT_ADDRESS"] = self.daemon.address
        if token is not None:
            environment["HMSACT_TOKEN"] = token
        ran = subprocess.run(
            [HMSACT, *arguments], env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def story(self, operation: Operation) -> list[str]:
        """The life of an operation from its export, which verifies against the daemon's key and is by the rules."""
        export = self.act.export(operation)
        assert verify(export, key=self.act.info().verifier_key).trust is Trust.GIVEN
        texts = [entry["record"] for entry in json.loads(export)["records"]]
        events = [event for text in texts if (event := codec.decode(text.encode())) is not None]
        assert len(events) == len(texts)
        assert first_illegal(events) is None
        return [_told(json.loads(text)) for text in texts]


class Agency:
    """A process of the agency's."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def begun(self) -> tuple[str, int, str]:
        """Case, attempt and idempotency key of the next call that it begins."""
        assert self._process.stdout is not None
        _, case, attempt, key = self._process.stdout.readline().split()
        return case, int(attempt), key

    def cases(self, count: int) -> dict[str, int]:
        """The attempts of the next calls that it begins, by case."""
        return {case: attempt for case, attempt, _ in (self.begun() for _ in range(count))}

    def go_on(self, *cases: str) -> None:
        """Lets it go on with cases."""
        assert self._process.stdin is not None
        self._process.stdin.writelines(f"{case}\n" for case in cases)
        self._process.stdin.flush()

    def dies(self) -> None:
        """Returns once it has been killed by what it did."""
        assert self._process.wait(20) == -signal.SIGKILL

    def kill(self) -> None:
        """Ends it without a word (SIGKILL)."""
        self._process.kill()
        self.dies()

    def freeze(self) -> None:
        """Lets it do nothing more, and keep its connection (SIGSTOP)."""
        self._process.send_signal(signal.SIGSTOP)


def _told(record: Mapping[str, Any]) -> str:
    """A record in a line: `step_failed 3 WORKER_LOST retry 1/1`. Who did it, unless it was the daemon, comes last."""
    subject, data = record["subject"] or {}, record["data"]
    facts = [record["kind"], subject.get("attempt"), data.get("code")]
    facts.append(f"retry {data['retry']}/{data['retries']}" if "retry" in data else None)
    facts.append(f"count {data['count']}" if "count" in data else None)
    by = record["principal"]["subject"]
    facts.append(f"by {by}" if by not in ("hmsactd", "developer") else None)
    return " ".join(str(fact) for fact in facts if fact is not None)
