"""Jobs over many operations against the real daemon: through crashes, beside other work, refused where they must be."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from hmsact import Checkpoint, Orchestrator
from hmsact.errors import InvalidArgument, NotFound, PreconditionFailed, Refused, ResourceExhausted
from hmsact.testing import Daemon
from hmsact.verify import verify

REVIEW = [Checkpoint("review", role="fsa.officer")]
MANY = 2_000


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(test_clock=False) as daemon:
        yield daemon


@pytest.fixture
def act(daemon: Daemon, request: pytest.FixtureRequest) -> Iterator[Orchestrator]:
    """A client in a namespace of the test's own."""
    namespace = request.node.name.removeprefix("test_")[:60]
    with daemon.orchestrator(namespace=namespace) as act:
        yield act


def started(act: Orchestrator, count: int, name: str = "flow") -> list[str]:
    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(lambda _: act.start(name=name, steps=REVIEW).id, range(count)))


def test_a_job_killed_in_the_middle_gives_each_operation_its_one_event_while_others_come_and_go(tmp_path: Path) -> None:
    with Daemon(tmp_path, test_clock=False) as daemon:
        with daemon.orchestrator() as act:
            chosen = started(act, MANY)
            others = started(act, 20, "other")
            job = act.cancel_many(name="flow", reason="the form was wrong")
            for now in job.progress():
                if now.taken:
                    break
            assert job.taken < MANY
            later = started(act, 20)
            daemon.kill()
        daemon.start()
        with daemon.orchestrator() as act:
            ended = act.job(job.id).wait("60s")
            assert (ended.state, ended.done, ended.refused) == ("completed", MANY, 0)
            results = list(ended.results())
            assert sorted(result.operation_id for result in results) == sorted(chosen)
            assert {act.get(operation).state for operation in (*others, *later)} == {"waiting"}
            assert act.count(state="cancelled") == MANY
            by_job = list(act.stream(from_start=True, follow=False, kinds="operation_cancelled"))
            assert sorted(event.operation_id for event in by_job) == sorted(chosen), "each has exactly one event"
            assert {event.data["job"] for event in by_job} == {job.id}
            assert {str(event.principal.id) for event in by_job} == {"dev:developer"}
            assert verify(act.export(chosen[0]), key=act.info().verifier_key).operation == chosen[0]
            first = results[0].recorded
            assert first is not None
            assert first.receipt.seal


def test_progress_and_results_are_told_and_the_reason_is_recorded(act: Orchestrator) -> None:
    operations = started(act, 3)
    job = act.pause_many(operations, reason="audit", clock="stop")
    assert [now.state for now in job.progress()][-1] == "completed"
    assert (job.action, job.reason, job.done, job.total) == ("pause", "audit", 3, 3)
    event = next(event for event in act.events(operations[0], all=True, follow=False) if "paused" in event.kind)
    assert (event.payloads["reason"], event.data["clock"]) == ("audit", "stop")
    assert [found.id for found in act.jobs()] == [job.id]
    again = act.pause_many(operations, reason="audit").wait()
    assert (again.done, again.skipped) == (0, 3)
    assert {result.reason for result in again.results("skipped")} == {"OPERATION_PAUSED"}


def test_a_dry_run_says_how_many_and_does_nothing(act: Orchestrator) -> None:
    started(act, 4)
    trial = act.cancel_many(name="flow", dry_run=True)
    assert (trial.expected, trial.is_expected_exact, trial.id) == (4, True, "")
    assert act.count(state="waiting") == 4
    assert list(act.jobs()) == []


def test_everything_that_is_wrong_is_said_at_once(act: Orchestrator) -> None:
    with pytest.raises(InvalidArgument) as raised:
        act.cancel_many(["op_1", "nonsense"], name="flow", everything=True, reason="x" * 5_000, count_max=-1)
    fields = [violation.field for violation in raised.value.violations]
    assert fields == [
        "selection",
        "selection.count_max",
        "selection.operation_ids[0]",
        "selection.operation_ids[1]",
        "reason",
    ]
    with pytest.raises(InvalidArgument) as raised:
        act.cancel_many(state=["completed", "nowhere"], alarm="loud")
    assert {violation.field for violation in raised.value.violations} == {"selection.filter"}
    assert len(raised.value.violations) == 2
    with pytest.raises(InvalidArgument, match="says which operations"):
        act.cancel_many()
    with pytest.raises(InvalidArgument, match="leaves nothing to resume"):
        act.resume_many(state="running")
    with pytest.raises(InvalidArgument, match="at most 10000"):
        act.cancel_many(["op_" + "0" * 26] * 10_001)


def test_who_may_not_do_it_to_one_may_not_do_it_to_many(act: Orchestrator, daemon: Daemon) -> None:
    started(act, 1)
    job = act.pause_many(everything=True).wait()
    with daemon.orchestrator("dev:casebot", namespace=act.namespace) as agent:
        for begin in (agent.pause_many, agent.resume_many, agent.cancel_many, agent.retry_many):
            with pytest.raises(Refused, match="lacks the permission"):
                begin(everything=True)
        with pytest.raises(Refused, match=r"job\.cancel"):
            agent.cancel_job(job)
        assert agent.job(job).done == 1


def test_a_job_is_cancelled_and_what_it_has_not_reached_stays(act: Orchestrator) -> None:
    started(act, 1_000)
    job = act.cancel_many(everything=True)
    ended = job.cancel("the wrong ones")
    assert (ended.state, ended.ended_by) == ("cancelled", "dev:developer")
    assert act.count(state="cancelled") == ended.done < 1_000
    assert act.count(state="waiting") == 1_000 - ended.done
    assert job.cancel().state == "cancelled"
    completed = act.cancel_many(everything=True).wait()
    with pytest.raises(PreconditionFailed, match="is completed"):
        completed.cancel()
    with pytest.raises(NotFound):
        act.job("job_" + "0" * 26)


def test_more_than_expected_and_too_many_jobs_are_refused(tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("[bounds]\nopen_jobs_per_namespace_max = 1\n[jobs]\nin_flight_max = 1\n")
    with Daemon(arguments=["--config", str(settings)], test_clock=False) as daemon, daemon.orchestrator() as act:
        started(act, 500)
        with pytest.raises(PreconditionFailed, match="500 operations match"):
            act.cancel_many(everything=True, count_max=499)
        first = act.pause_many(everything=True, request_id="r")
        assert act.pause_many(everything=True, request_id="r").id == first.id
        with pytest.raises(ResourceExhausted, match="open_jobs_per_namespace_max"):
            act.cancel_many(everything=True)
        first.wait()
        act.cancel_many(everything=True).wait()


async def test_the_client_for_coroutines_does_the_same(daemon: Daemon) -> None:
    async with daemon.async_orchestrator(namespace="coroutines") as act:
        for _ in range(5):
            await act.start(name="flow", steps=REVIEW)
        job = await act.pause_many(everything=True, reason="audit")
        assert [now.state async for now in job.progress()][-1] == "completed"
        assert [result.outcome async for result in job.results()] == ["done"] * 5
        assert (await act.resume_many(name="flow")).action == "resume"
        assert [found.action async for found in act.jobs()] == ["resume", "pause"]
        assert (await (await act.job(job)).wait()).done == 5
        ended = await (await act.cancel_many(everything=True)).wait()
        assert ended.done == 5


def test_without_a_selection_the_wire_is_refused_too(daemon: Daemon) -> None:
    from hmsact.v1 import job_pb2, job_pb2_grpc

    with grpc.insecure_channel(daemon.address) as channel:
        stub = job_pb2_grpc.JobServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.CancelOperations(job_pb2.CancelOperationsRequest())
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_pages_of_jobs_go_on_where_they_ended_newest_first(daemon: Daemon) -> None:
    from hmsact.v1 import job_pb2, job_pb2_grpc

    with grpc.insecure_channel(daemon.address) as channel:
        stub = job_pb2_grpc.JobServiceStub(channel)
        selection = job_pb2.JobSelection(everything=True)
        asked = job_pb2.CancelOperationsRequest(namespace="pages", selection=selection)
        begun = [stub.CancelOperations(asked).job.id for _ in range(5)]
        listed, request = list[str](), job_pb2.ListJobsRequest(namespace="pages", page_size=2)
        while not listed or request.page_token:
            page = stub.ListJobs(request)
            listed += [job.id for job in page.jobs]
            request.page_token = page.next_page_token
    assert listed == begun[::-1]


# -- the command line --------------------------------------------------------------------------------------------------


def said(daemon: Daemon, *arguments: str, answer: str = "") -> tuple[int, str, str]:
    command = [sys.executable, "-c", "from hmsact.cli import main; main()", *arguments, "--address", daemon.address]
    done = subprocess.run(command, input=answer, text=True, capture_output=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_command_line_asks_shows_progress_and_ends_with_totals(act: Orchestrator, daemon: Daemon) -> None:
    started(act, 300)
    space = ("--namespace", act.namespace)
    code, out, err = said(daemon, "bulk", "pause", "--name", "flow", "--reason", "audit", *space, answer="n\n")
    assert (code, out) == (1, "")
    assert "Pause 300 operations?" in err
    assert err.endswith("Nothing was done.\n")
    code, out, err = said(daemon, "bulk", "pause", "--name", "flow", "--reason", "audit", *space, answer="y\n")
    assert code == 0
    assert out.rstrip().endswith("completed: 300 done")
    assert "300 of 300" in err
    job = next(act.jobs()).id
    assert job in said(daemon, "jobs", *space)[1]
    assert "300 done" in said(daemon, "job", job, *space)[1]
    assert len(said(daemon, "job", job, "--results", *space)[1].splitlines()) == 300
    code, _, err = said(daemon, "job", job, "--cancel", *space)
    assert (code, "has ended before" in err) == (1, True)
    code, _, err = said(daemon, "bulk", "cancel", "--reason", "x", *space)
    assert (code, "in one way" in err) == (2, True)
    assert said(daemon, "bulk", "resume", "--everything", "--reason", "x", "--dry-run", *space)[1].startswith("300 ")


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(act: Orchestrator, daemon: Daemon) -> None:
    started(act, 2_000)
    command = [sys.executable, "-c", "from hmsact.cli import main; main()", "bulk", "cancel", "--everything"]
    command += ["--reason", "x", "--yes", "--address", daemon.address, "--namespace", act.namespace]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(2)
        _, err = process.communicate(timeout=30)
    assert process.returncode in (0, 130)
    job = next(act.jobs())
    if process.returncode == 130:
        assert f"hmsact job {job.id} --watch" in err
    assert job.wait("30s").done == 2_000


def test_the_metrics_tell_what_jobs_have_done(act: Orchestrator, daemon: Daemon) -> None:
    import urllib.request

    started(act, 3)
    act.cancel_many(everything=True).wait()
    deadline = time.monotonic() + 10
    wanted = f'hmsact_job_operations_total{{action="cancel",namespace="{act.namespace}",outcome="done"}} 3.0'
    while True:
        with urllib.request.urlopen(f"http://{daemon.http}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        if wanted in text:
            break
        assert time.monotonic() < deadline, wanted
    assert 'hmsact_jobs{action="cancel",namespace="default",state="running"} 0.0' in text
