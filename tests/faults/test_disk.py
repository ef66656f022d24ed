"""A disk that fills, fails or is read-only: callers learn which, nothing acknowledged is lost, it goes on by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hmsact import Checkpoint
from hmsact.v1 import operation_pb2

from tests.crash import record
from tests.crash.test_sigkill import HERE as CRASH
from tests.crash.test_sigkill import STEPS, Acknowledged, program
from tests.e2e.raw import Caller, Refusal
from tests.faults.faults import Faults
from tests.faults.tower import Tower, until

FLOW = b'{"name": "flow", "steps": [{"checkpoint": "review", "role": "fsa.officer"}]}'


@contextmanager
def under_load(tower: Tower, path: Path) -> Iterator[Acknowledged]:
    """Workers and a client that insists; all have got their answers when the context ends."""
    acknowledged = Acknowledged(path)
    with ExitStack() as stack:
        for svc, steps in STEPS.items():
            stack.enter_context(program(str(CRASH / "agency.py"), svc, *steps, address=tower.address))
        client = stack.enter_context(program(str(CRASH / "client.py"), tower.address, str(path), "8", "100"))
        until(lambda: acknowledged.count() >= 20, "there is load")
        yield acknowledged
        assert client.stdin is not None
        client.stdin.close()
        assert client.wait(30) == 0, "every start was answered in the end"
        with tower.orchestrator() as act:
            until(lambda: act.count(state="completed") == act.count(), "every operation completes")


def check_record(tower: Tower, acknowledged: Acknowledged) -> None:
    """Nothing acknowledged is lost, and nothing stands twice."""
    with tower.orchestrator() as act:
        key = act.info().verifier_key
    assert tower.stop() == 0
    log = record.read(tower.data)
    record.check_seal(log, key)
    record.check_operations(log, steps=3)
    lines = acknowledged.lines()
    assert all(log.leaves[index] == leaf for _, index, leaf in lines)
    assert len({operation for operation, *_ in lines}) == len(lines) == len(log.rows)


def refused_start(tower: Tower) -> Refusal:
    """What a start is answered that can't be recorded."""
    with Caller(tower.address) as caller:
        refusal = Refusal()
        try:
            caller.operations.StartOperation(operation_pb2.StartOperationRequest(definition=FLOW), timeout=20)
        except grpc.RpcError as error:
            refusal.read(error)
        return refusal


def health(tower: Tower) -> int:
    with grpc.insecure_channel(tower.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        status: int = stub.Check(health_pb2.HealthCheckRequest(), timeout=20).status
        return status


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("fault", "over", "reason"),
    [
        ({"is_full": 1}, {"is_full": 0}, "DISK_FULL"),
        ({"is_read_only": 1}, {"is_read_only": 0}, "STORE_READ_ONLY"),
        ({"fsync_fails": -1}, {"fsync_fails": 0}, "STORE_IO_ERROR"),
        ({"write_fails": -1}, {"write_fails": 0}, "STORE_IO_ERROR"),
    ],
    ids=["full", "read-only", "fsync", "write"],
)
def test_while_the_disk_fails_callers_are_told_why_and_when_it_is_well_everything_completes(
    tower: Tower, faults: Faults, tmp_path: Path, fault: dict[str, int], over: dict[str, int], reason: str
) -> None:
    tower.environment["HMSACTD_STORE__FREE_BYTES_MIN"] = "0"
    tower.start()
    with under_load(tower, tmp_path / "acknowledged") as acknowledged:
        faults.set(**fault)
        until(lambda: not tower.is_ready(), "it says that it is not ready")
        status, told = tower.readiness()
        assert (status, told["reason"].partition(":")[0]) == (503, reason)
        assert tower.metric("hmsact_ready") == 0
        until(lambda: health(tower) == health_pb2.HealthCheckResponse.NOT_SERVING, "health says so, too")
        refusal = refused_start(tower)
        assert (refusal.name, refusal.reason) == ("UNAVAILABLE", reason)
        assert refusal.retry_after_s
        before = acknowledged.count()
        with tower.orchestrator() as act:
            # What is kept can be read all the time.
            assert act.count() >= before
        faults.set(**over)
        until(tower.is_ready, "it is ready again, without a restart")
        assert tower.metric("hmsact_ready") == 1
        until(lambda: health(tower) == health_pb2.HealthCheckResponse.SERVING, "health says so, too")
        until(lambda: acknowledged.count() >= before + 20, "starts are acknowledged again")
    assert len(tower.lines("the store can't be written")) == 1
    assert len(tower.lines("the store can be written again")) == 1
    check_record(tower, acknowledged)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", ["fsync_fails", "write_fails"])
def test_one_error_of_the_disk_is_looked_into_and_its_write_is_not_taken_for_done(
    tower: Tower, faults: Faults, tmp_path: Path, fault: str
) -> None:
    tower.start()
    with under_load(tower, tmp_path / "acknowledged") as acknowledged:
        for _ in range(5):
            faults.set(**{fault: 1})
            until(lambda: faults.get(fault) == 0, "an error has come about")
            before = acknowledged.count()
            until(lambda before=before: acknowledged.count() >= before + 5, "it goes on")  # type: ignore[misc]
        assert tower.is_ready()
    check_record(tower, acknowledged)


@pytest.mark.timeout(60)
def test_below_the_floor_nothing_new_starts_and_what_is_under_way_goes_on(tower: Tower, faults: Faults) -> None:
    tower.start()
    with tower.orchestrator() as act, tower.orchestrator("dev:jdavis@fsa.gov") as officer:
        operation = act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
        faults.set(free_bytes=1_000_000)
        until(lambda: refused_start(tower).reason == "DISK_NEARLY_FULL", "starts are refused")
        refusal = refused_start(tower)
        assert refusal.name == "UNAVAILABLE"
        assert refusal.retry_after_s
        assert "store.free_bytes_min" in refusal.sentence
        assert tower.metric("hmsact_data_free_bytes") <= 1_000_000
        assert tower.is_ready()
        officer.approve(operation.id, "review")
        assert act.wait(operation.id, "20s").state == "completed"
        faults.set(free_bytes=-1)
        until(lambda: not refused_start(tower).reason, "starts are taken again")
    assert len(tower.lines("the disk is nearly full")) == 1
    assert len(tower.lines("the disk has room again")) == 1


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"is_full": 1}, "make room on its disk"),
        ({"is_read_only": 1}, "can't be used: Read-only file system"),
        ({"fsync_fails": -1}, "look at the disk"),
    ],
    ids=["full", "read-only", "fsync"],
)
def test_a_disk_that_fails_at_the_start_is_told_in_a_sentence(
    tower: Tower, faults: Faults, fault: dict[str, int], sentence: str
) -> None:
    tower.start()
    assert tower.stop() == 0
    faults.set(**fault)
    assert not tower.begin()
    assert tower.last_words().startswith("hmsactd: ")
    assert sentence in tower.last_words()
    faults.set(**dict.fromkeys(fault, 0))
    tower.start()


@pytest.mark.timeout(120)
def test_a_bulk_start_waits_out_a_disk_that_is_full_and_starts_everything_once(tower: Tower, faults: Faults) -> None:
    tower.environment["HMSACTD_STORE__FREE_BYTES_MIN"] = "0"
    tower.start()

    def items() -> Iterator[dict[str, object]]:
        for number in range(2_000):
            if number == 1_000:
                faults.set(is_full=1)
                until(lambda: refused_start(tower).reason == "DISK_FULL", "single starts are refused")
                Timer(2, lambda: faults.set(is_full=0)).start()
            yield {"input": number}

    with tower.orchestrator() as act:
        results = list(act.start_many(items(), steps=json.loads(FLOW)))
        assert [str(result.error) for result in results if result.error is not None] == []
        assert len({result.operation for result in results}) == act.count() == 2_000
    assert tower.stop() == 0
