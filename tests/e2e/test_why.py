"""Why an operation stands where it stands, as a real daemon tells it: to the SDK and on the command line."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from hmsact import Call, Checkpoint, InvalidArgument, NotFound, Operation, Orchestrator, Step, StepError
from hmsact.testing import Daemon
from hmsact.v1 import timeline_pb2

from hmsactd.store import write
from hmsactd.store.sqlite import DATABASE_FILE
from tests.e2e.raw import OFFICER, Caller, RawWorker, eventually, hello, refused, step

HMSACT = str(Path(sys.executable).with_name("hmsact"))


@pytest.fixture
def act(daemon: Daemon) -> Iterator[Orchestrator]:
    with daemon.orchestrator() as act:
        yield act


def hmsact(daemon: Daemon, *arguments: str, zone: str = "UTC") -> "subprocess.CompletedProcess[str]":
    mine = {name: value for name, value in os.environ.items() if not name.startswith("HMSACT_")}
    environment = mine | {"HMSACT_ADDRESS": daemon.address, "TZ": zone}
    return subprocess.run(
        [HMSACT, *arguments], env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def is_asked_after(daemon: Daemon, operation: Operation) -> bool:
    """True once the decision is asked for; time passes until then, so that retries fall due."""
    daemon.advance("1s")
    return operation.refresh().awaited.kind == "decision"


def test_the_account_of_a_whole_life_names_what_happened_who_decided_and_what_they_said(
    daemon: Daemon, act: Orchestrator
) -> None:
    irs = daemon.worker("LifeIRS")

    @irs.step("eligibility_check")
    def eligibility_check(call: Call) -> dict[str, bool]:
        if call.attempt < 3:
            raise StepError("502 Bad Gateway from the income service", code="HTTP_502")
        return {"eligible": True}

    steps = [
        Step("eligibility_check", svc="LifeIRS", retry_delay="1ms"),
        Checkpoint("human_review", role="fsa.officer", sla="2h"),
    ]
    operation = act.start(
        name="loan_forgiveness", steps=steps, key="CASE-17", labels={"office": "east"}, requested_by="Jane Roe"
    )
    with daemon.serving(irs):
        eventually(lambda: is_asked_after(daemon, operation))
    pending = act.why(operation)
    assert pending.state == "waiting"
    assert pending.headline.startswith("The operation “loan forgiveness” (key “CASE-17”) is waiting: since ")
    assert "an officer (fsa.officer) has been asked to decide “human review”." in pending.headline
    assert "It is assigned to jdavis@fsa.gov." in pending.headline
    assert "developer, who started the operation, may not decide it." in pending.headline
    assert pending.wait is not None
    assert (pending.wait.kind, pending.wait.who, pending.wait.excluded) == ("decision", "fsa.officer", "dev:developer")
    assert pending.wait.due_time is not None
    assert pending.wait.since_time is not None
    assert pending.wait.due_time - pending.wait.since_time == timedelta(hours=2)

    with daemon.orchestrator(OFFICER) as officer:
        shown = officer.shown(operation)
        officer.approve(operation, "human_review", "Income and payments check out", shown)
    done = act.why(operation)
    assert done.wait is None
    sentences = [entry.sentence for entry in done.entries]
    assert "for “Jane Roe”, with the key “CASE-17”, labelled “office=east”." in sentences[0]
    assert "LifeIRS finished “eligibility check”" in sentences[1]
    last_error = "“502 Bad Gateway from the income service”"
    assert sentences[1].endswith(f"It was asked 3 times and answered with an error twice, the last time: {last_error}.")
    assert sentences[2].endswith(": “Income and payments check out”.")
    assert sentences[3].endswith("the operation was completed.")
    (decision,) = done.decisions
    assert (decision.kind, decision.principal.id, decision.role) == (
        "checkpoint_approved",
        "dev:jdavis@fsa.gov",
        "fsa.officer",
    )
    assert (decision.words, decision.words_state) == ("Income and payments check out", "shown")
    assert (decision.digest, decision.unseen) == (shown.digest, False)
    assert str(done).splitlines() == [done.headline, "", *sentences]


def test_every_event_belongs_to_one_entry_so_that_a_reader_can_go_from_a_sentence_to_its_events(
    act: Orchestrator,
) -> None:
    operation = act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
    act.pause(operation, "Lunch")
    act.resume(operation)
    act.cancel(operation, "Withdrawn")
    account = act.why(operation)
    events = {event.sequence: event for event in act.events(operation, all=True)}
    assert sorted(sequence for entry in account.entries for sequence in entry.sequences) == sorted(events)
    for entry in account.entries:
        last = events[entry.sequences[-1]]
        assert (entry.kind, entry.name, entry.time) == (last.kind, last.name, last.time)
    assert [(decision.kind, decision.words) for decision in account.decisions] == [
        ("operation_paused", "Lunch"),
        ("operation_resumed", ""),
        ("operation_cancelled", "Withdrawn"),
    ]
    assert account.sequence == max(events)


async def test_coroutines_get_the_same_account(daemon: Daemon, act: Orchestrator) -> None:
    operation = act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
    act.cancel(operation)
    async with daemon.async_orchestrator() as other:
        assert str(await other.why(operation.id)) == str(act.why(operation))


def test_a_queued_step_says_whether_a_worker_is_there(daemon: Daemon, developer: Caller, act: Orchestrator) -> None:
    operation_id = developer.start(step("check", svc="WhyQueued"))
    alone = act.why(operation_id)
    assert alone.wait is not None
    assert (alone.wait.kind, alone.wait.workers) == ("worker", 0)
    assert "No worker that could take it is connected." in alone.headline
    with Caller(daemon.address, "dev:svc/WhyQueued") as caller, RawWorker(caller, hello("WhyQueued")) as worker:
        worker.call()
        busy = act.why(developer.start(step("check", svc="WhyQueued")))
        assert busy.wait is not None
        assert busy.wait.workers == 1
        assert "1 worker that could take it is connected, none free." in busy.headline
        working = act.why(operation_id)
        assert working.wait is not None
        assert (working.wait.kind, working.wait.who, working.wait.workers) == ("report", "WhyQueued", None)


def test_a_step_with_a_heartbeat_says_when_its_worker_was_last_heard_of(
    daemon: Daemon, developer: Caller, act: Orchestrator
) -> None:
    operation_id = developer.start(step("check", svc="WhyBeats", heartbeat="1h"))
    with Caller(daemon.address, "dev:svc/WhyBeats") as caller, RawWorker(caller, hello("WhyBeats")) as worker:
        worker.call()
        account = act.why(operation_id)
        assert account.wait is not None
        assert account.wait.heard_time is not None
        assert "A sign of life came at" in account.headline


def test_a_breach_that_passed_while_the_daemon_was_down_says_when_it_was_due_and_how_late_it_was_noticed() -> None:
    with Daemon() as daemon, daemon.orchestrator() as act:
        operation = act.start(name="flow", steps=[Step("check", svc="Slow", sla="1m")])
        daemon.advance("30s")
        daemon.stop()
        daemon.start()
        daemon.advance("10m")
        account = act.why(operation)
        (at_risk, breach) = [problem for problem in account.problems if problem.kind.startswith("sla")]
        assert (at_risk.kind, breach.kind, breach.is_open) == ("sla_at_risk", "sla_breach", True)
        assert breach.due_time is not None
        assert breach.principal.id == "system:hmsactd"
        assert breach.noticed_time - breach.due_time >= timedelta(milliseconds=breach.late_ms)
        sentence = next(entry.sentence for entry in account.entries if entry.kind == "sla_breach")
        assert "hmsactd noticed that “check” was overdue: it had 1 minute, until " in sentence
        assert account.wait is not None
        assert account.wait.overdue_ms > 0
        assert " overdue." in account.headline


def test_what_was_erased_is_said_to_be_erased_and_the_rest_is_still_told() -> None:
    with Daemon() as daemon:
        with daemon.orchestrator() as act:
            operation = act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")], key="CASE-17")
            act.cancel(operation, "The applicant withdrew")
            daemon.stop()
            assert daemon.data is not None
            with closing(sqlite3.connect(daemon.data / DATABASE_FILE)) as database, database:
                write.erase(database, "default", operation.id)
            daemon.start()
            account = act.why(operation)
        assert "(key" not in account.headline
        assert account.headline.endswith(", by developer (the reason has been erased).")
        assert "with a key that has been erased" in account.entries[0].sentence
        assert [(decision.words, decision.words_state) for decision in account.decisions] == [("", "erased")]


def test_times_are_told_in_the_zone_that_is_asked_for(act: Orchestrator) -> None:
    operation = act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
    plain, there = act.why(operation), act.why(operation, time_zone="Asia/Kolkata")
    assert (plain.time_zone, there.time_zone) == ("UTC", "Asia/Kolkata")
    assert f"{plain.entries[0].time.astimezone(UTC):%H:%M:%S} UTC" in plain.entries[0].sentence
    assert " IST" in there.headline
    assert " UTC" not in str(there)
    assert plain.entries[0].time == there.entries[0].time


@pytest.mark.parametrize(
    "zone", ["Europe/Nowhere", "America", "america/", "../etc/passwd", "/etc/localtime", "UTC\x00", "ü", "x" * 5000]
)
def test_a_zone_that_is_none_is_refused_with_everything_else_that_is_wrong(developer: Caller, zone: str) -> None:
    request = timeline_pb2.ExplainOperationRequest(namespace="No", operation_id="no id", time_zone=zone)
    with refused("INVALID_ARGUMENT") as refusal:
        developer.call(developer.timelines.ExplainOperation, request)
    assert refusal.violations == [
        ("namespace", "BAD_NAME"),
        ("operation_id", "BAD_OPERATION_ID"),
        ("time_zone", "TIME_ZONE_UNKNOWN"),
    ]


def test_an_unknown_operation_and_a_wrong_zone_have_their_errors_in_the_sdk(act: Orchestrator) -> None:
    with pytest.raises(NotFound):
        act.why("op_00000000000000000000000000")
    operation = act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
    with pytest.raises(InvalidArgument, match="time_zone"):
        act.why(operation, time_zone="Mars/Olympus")


# -- on the command line -----------------------------------------------------------------------------------------------


def test_the_command_tells_the_account_a_line_for_each_entry_in_a_pipe(daemon: Daemon, act: Orchestrator) -> None:
    operation = act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
    act.cancel(operation, "The applicant \x1b[31mwithdrew")
    account = act.why(operation)
    said = hmsact(daemon, "why", operation.id)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.splitlines() == [account.headline, "", *(f"  {entry.sentence}" for entry in account.entries)]
    assert "\x1b" not in said.stdout


def test_the_command_tells_local_time_or_utc(daemon: Daemon, act: Orchestrator) -> None:
    operation = act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
    assert " JST" in hmsact(daemon, "why", operation.id, zone="Asia/Tokyo").stdout
    assert " UTC" in hmsact(daemon, "why", "--utc", operation.id, zone="Asia/Tokyo").stdout
    assert " UTC" in hmsact(daemon, "why", operation.id, zone="Nowhere/AtAll").stdout


def test_the_command_gives_programs_the_whole_account(daemon: Daemon, act: Orchestrator) -> None:
    operation = act.start(name="flow", steps=[Step("check", svc="Nobody"), Checkpoint("review", role="fsa.officer")])
    found = json.loads(hmsact(daemon, "why", operation.id, "--json").stdout)
    assert (found["operation_id"], found["state"], found["name"]) == (operation.id, "running", "flow")
    assert found["wait"]["kind"] == "worker"
    assert found["entries"][0]["kind"] == "operation_started"


def test_the_command_refuses_in_a_line(daemon: Daemon) -> None:
    said = hmsact(daemon, "why", "op_00000000000000000000000000")
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == "hmsact: there is no operation op_00000000000000000000000000\n"
