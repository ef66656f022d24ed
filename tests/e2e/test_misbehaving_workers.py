"""Workers that do what they should not: they are told so, lose nothing of others, and the record stays right."""

import threading
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hmsact.testing import Daemon
from hmsact.v1 import operation_pb2, system_pb2, worker_pb2

from tests.e2e.proxy import Proxy
from tests.e2e.raw import Caller, RawWorker, checkpoint, done, eventually, hello, refused, step

GRACE = "10s"
UNKNOWN = worker_pb2.Attempt(operation_id="op_" + "0" * 26, instance=1, attempt=1)

numbers = count()


class Agency:
    """A service that no other test has, its principal, and its workers."""

    def __init__(self, daemon: Daemon, developer: Caller) -> None:
        self.svc = f"Agency{next(numbers)}"
        self.caller = Caller(daemon.address, f"dev:svc/{self.svc}")
        self._daemon = daemon
        self._developer = developer

    def worker(self, *further: worker_pb2.WorkRequest, via: Caller | None = None, **said: Any) -> RawWorker:
        """A worker that has said hello."""
        return RawWorker(via or self.caller, hello(self.svc, **said), *further)

    def start(self, **said: Any) -> str:
        """An operation whose one step this service does."""
        return self._developer.start(step(svc=self.svc, **said))


@pytest.fixture
def agency(daemon: Daemon, developer: Caller) -> Iterator[Agency]:
    agency = Agency(daemon, developer)
    with agency.caller:
        yield agency


@pytest.fixture
def other_agency(daemon: Daemon, developer: Caller) -> Iterator[Agency]:
    agency = Agency(daemon, developer)
    with agency.caller:
        yield agency


def state_of(developer: Caller, operation_id: str) -> str:
    return operation_pb2.OperationState.Name(developer.get(operation_id).state).removeprefix("OPERATION_STATE_")


# -- hello -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "faults"),
    [
        ({"steps": []}, [("hello.steps", "REQUIRED")]),
        ({"steps": ["a", "b", "a"]}, [("hello.steps[2]", "NAME_TAKEN")]),
        ({"steps": ["", "A", "a" * 65]}, [(f"hello.steps[{index}]", "BAD_NAME") for index in range(3)]),
        ({"steps": [f"s{number}" for number in range(1001)]}, [("hello.steps", "TOO_MANY")]),
        ({"max_in_flight": 0}, [("hello.max_in_flight", "OUT_OF_RANGE")]),
        ({"max_in_flight": -1}, [("hello.max_in_flight", "OUT_OF_RANGE")]),
        ({"svc": ""}, [("hello.svc", "BAD_NAME")]),
        ({"svc": "s" * 65}, [("hello.svc", "BAD_NAME")]),
        (
            {"namespace": "No", "svc": "a b", "steps": [], "max_in_flight": 0},
            [
                ("namespace", "BAD_NAME"),
                ("hello.svc", "BAD_NAME"),
                ("hello.steps", "REQUIRED"),
                ("hello.max_in_flight", "OUT_OF_RANGE"),
            ],
        ),
    ],
    ids=lambda case: str(case)[:60],
)
def test_a_wrong_hello_is_told_all_its_faults(developer: Caller, said: Any, faults: Any) -> None:
    with RawWorker(developer, hello(**said)) as worker, refused("INVALID_ARGUMENT", "INVALID_REQUEST") as refusal:
        worker.ended()
    assert refusal.violations == faults


def test_a_worker_says_hello_first(agency: Agency) -> None:
    for said in ([worker_pb2.WorkRequest(reports=[done(UNKNOWN)])], [worker_pb2.WorkRequest()], []):
        with RawWorker(agency.caller, *said) as worker, refused("INVALID_ARGUMENT") as refusal:
            worker.hang_up()
            worker.ended()
        assert refusal.violations == [("hello", "REQUIRED")]


def test_a_worker_says_hello_once_and_keeps_its_calls_when_it_is_cut_off_for_that(
    agency: Agency, developer: Caller
) -> None:
    operation_id = agency.start()
    with agency.worker() as worker:
        session, call = worker.welcome().session, worker.call()
        worker.say(hello(agency.svc))
        with refused("INVALID_ARGUMENT") as refusal:
            worker.ended()
    assert refusal.violations == [("hello", "HELLO_TWICE")]
    with agency.worker(session=session, in_hand=[call.attempt]) as worker:
        worker.done(call.attempt)
        assert worker.judged() == ("RECORDED", "")
    assert state_of(developer, operation_id) == "COMPLETED"


def test_a_service_is_served_by_itself_only(developer: Caller, officer: Caller, agent: Caller, agency: Agency) -> None:
    operation_id = developer.start(step(svc="IRS"))
    with RawWorker(agency.caller, hello("IRS")) as worker, refused("PERMISSION_DENIED", "MAY_NOT_SERVE"):
        worker.ended()
    for nobody in (officer, agent):
        with RawWorker(nobody, hello("IRS")) as worker, refused("PERMISSION_DENIED", "PERMISSION_MISSING"):
            worker.ended()
    assert developer.kinds(operation_id) == ["operation_started"]


def test_a_number_of_calls_beyond_all_measure_is_taken_down_to_the_bound(agency: Agency) -> None:
    for _ in range(3):
        agency.start()
    with agency.worker(max_in_flight=2**31 - 1) as worker:
        assert len({worker.call().attempt.operation_id for _ in range(3)}) == 3
        worker.say(worker_pb2.WorkRequest(max_in_flight=-1))
        with refused("INVALID_ARGUMENT") as refusal:
            worker.ended()
        assert refusal.violations == [("max_in_flight", "OUT_OF_RANGE")]


def test_a_worker_is_given_no_more_than_it_takes_until_it_takes_more(agency: Agency) -> None:
    operations = {agency.start() for _ in range(3)}
    with agency.worker() as worker:
        first = worker.call()
        worker.beat(first.attempt)
        worker.done(UNKNOWN)
        assert worker.judged() == ("REFUSED", "OPERATION_UNKNOWN")
        assert not worker.has_calls
        worker.say(worker_pb2.WorkRequest(max_in_flight=3))
        given = [first, worker.call(), worker.call()]
    assert {call.attempt.operation_id for call in given} == operations


# -- reports -----------------------------------------------------------------------------------------------------------


def test_every_report_gets_the_verdict_it_deserves(agency: Agency, other_agency: Agency, developer: Caller) -> None:
    operation_id = agency.start()
    with agency.worker() as worker, other_agency.worker() as other:
        attempt = worker.call().attempt
        other.done(attempt, b'"stolen"')
        assert other.judged() == ("STALE", "NOT_HELD")
        for changes in ({"attempt": 2}, {"attempt": 0}, {"attempt": -1}, {"instance": 2}, {"instance": 0}):
            wrong = worker_pb2.Attempt()
            wrong.CopyFrom(attempt)
            for name, value in changes.items():
                setattr(wrong, name, value)
            worker.done(wrong, b'"wrong"')
            assert worker.judged() == ("STALE", "NOT_HELD")
        for unknown in ("", "op", "OP", "x" * 64, "ü", "op_" + "z" * 26, "a\nb"):
            worker.done(worker_pb2.Attempt(operation_id=unknown, instance=1, attempt=1))
            assert worker.judged() == ("REFUSED", "OPERATION_UNKNOWN")
        worker.say(worker_pb2.WorkRequest(reports=[worker_pb2.Report(attempt=attempt)]))
        assert worker.judged() == ("REFUSED", "NO_OUTCOME")
        assert developer.kinds(operation_id) == ["operation_started", "step_started"]
        worker.say(worker_pb2.WorkRequest(reports=[done(attempt, b'"mine"'), done(attempt, b'"again"')]))
        assert worker.judged() == ("RECORDED", "")
        worker.done(attempt, b'"once more"')
        assert worker.judged() == ("STALE", "NOT_HELD")
    assert developer.get(operation_id).output == b'"mine"'
    assert developer.kinds(operation_id) == ["operation_started", "step_started", "step_done", "operation_completed"]


def test_a_report_on_what_can_be_no_operation_ends_the_stream_and_takes_no_call_away(
    agency: Agency, developer: Caller
) -> None:
    operation_id = agency.start()
    with agency.worker() as worker:
        session, attempt = worker.welcome().session, worker.call().attempt
        endless = worker_pb2.Attempt(operation_id="x" * 3_000_000, instance=1, attempt=1)
        worker.say(worker_pb2.WorkRequest(reports=[worker_pb2.Report(attempt=attempt), done(endless)]))
        with refused("INVALID_ARGUMENT") as refusal:
            worker.ended()
    assert refusal.violations == [("reports[1].attempt.operation_id", "BAD_OPERATION_ID")]
    with agency.worker(session=session, in_hand=[attempt]) as worker:
        worker.done(attempt)
        verdicts = [worker.judged()]
        if verdicts == [("REFUSED", "NO_OUTCOME")]:
            # That of the first report was still to be sent.
            verdicts.append(worker.judged())
        assert verdicts[-1] == ("RECORDED", "")
    assert state_of(developer, operation_id) == "COMPLETED"


@pytest.mark.parametrize(
    "output",
    [b"{", b"\xff", b"NaN", b"1e999", b"[" * 33 + b"]" * 33, b'"' + b"x" * 262_143 + b'"'],
    ids=lambda output: repr(output[:10]),
)
def test_an_output_that_is_no_payload_fails_the_step_and_says_why(
    agency: Agency, developer: Caller, output: bytes
) -> None:
    operation_id = agency.start()
    with agency.worker() as worker:
        worker.done(worker.call().attempt, output)
        assert worker.judged() == ("REFUSED", "BAD_OUTPUT")
        kinds = developer.happens(operation_id, "operation_failed")
    assert kinds == ["operation_started", "step_started", "step_failed", "operation_failed"]
    assert developer.events(operation_id)[2].data.code == "BAD_OUTPUT"


def test_an_output_of_exactly_the_bound_and_an_endless_error_are_taken(agency: Agency, developer: Caller) -> None:
    first, second = agency.start(), agency.start(retries=0)
    output = b'"' + b"x" * 262_142 + b'"'
    with agency.worker() as worker:
        worker.done(worker.call().attempt, output)
        assert worker.judged() == ("RECORDED", "")
        retry_after = Duration(seconds=-5, nanos=-1)
        worker.failed(worker.call().attempt, message="ä" * 1_000_000, code="no code", retry_after=retry_after)
        assert worker.judged() == ("RECORDED", "")
    assert developer.get(first).output == output
    event = next(event for event in developer.events(second) if event.kind == "step_failed")
    assert event.data.code == "ERROR"
    assert len(event.payloads["error"]) < 20_000


def test_a_late_report_is_kept_beside_what_has_ended_and_changes_nothing(
    agency: Agency, developer: Caller, officer: Caller
) -> None:
    operation_id = agency.start()
    with agency.worker() as worker:
        attempt = worker.call().attempt
        officer.steer("cancel", operation_id)
        assert worker.withdrawn().attempt == attempt
        worker.done(attempt, b'{"paid": true}')
        assert worker.judged() == ("STALE", "OPERATION_FINAL")
        worker.done(attempt, b'{"paid": false}')
        assert worker.judged()[0] == "STALE"
    ignored = developer.events(operation_id)[-1]
    assert (ignored.kind, ignored.payloads["output"]) == ("step_report_ignored", b'{"paid":true}')
    assert state_of(developer, operation_id) == "CANCELLED"


@pytest.mark.parametrize("end", ["cancel", "timeout"])
def test_a_worker_is_told_that_nobody_waits_any_more_even_after_a_long_time(
    daemon: Daemon, agency: Agency, developer: Caller, officer: Caller, end: str
) -> None:
    operation_id = agency.start(timeout="1m")
    with agency.worker() as worker:
        attempt = worker.call().attempt
        # Long enough for an operation that only waits to be let go from memory.
        daemon.advance("30s")
        developer.start(checkpoint())
        if end == "cancel":
            officer.steer("cancel", operation_id)
        else:
            daemon.advance("30s")
        assert worker.withdrawn().attempt == attempt


def test_a_flood_of_bogus_reports_is_judged_one_by_one_and_others_are_served_meanwhile(
    agency: Agency, other_agency: Agency, developer: Caller
) -> None:
    flood, batch = 10_000, 1_000
    slowest_s = 0.0
    over = threading.Event()
    with agency.worker() as worker, other_agency.worker() as other:
        worker.welcome()

        def judge() -> None:
            for _ in range(flood):
                assert worker.judged() == ("REFUSED", "OPERATION_UNKNOWN")
            over.set()

        judge_thread = threading.Thread(target=judge)
        judge_thread.start()
        for first in range(0, flood, batch):
            bogus = (
                worker_pb2.Attempt(operation_id=f"op_{first + n:026}", instance=1, attempt=1) for n in range(batch)
            )
            worker.say(worker_pb2.WorkRequest(reports=[done(attempt) for attempt in bogus]))
        while not over.is_set() and judge_thread.is_alive():
            began = time.monotonic()
            operation_id = other_agency.start()
            other.done(other.call().attempt)
            assert other.judged() == ("RECORDED", "")
            assert state_of(developer, operation_id) == "COMPLETED"
            slowest_s = max(slowest_s, time.monotonic() - began)
        judge_thread.join()
    assert over.is_set()
    assert slowest_s < 5


# -- silence -----------------------------------------------------------------------------------------------------------


def test_an_attempt_that_is_never_reported_times_out(daemon: Daemon, agency: Agency, developer: Caller) -> None:
    operation_id = agency.start(timeout="1m", retries=1, retry_delay="1s")
    with agency.worker() as worker:
        call = worker.call()
        assert call.HasField("deadline")
        daemon.advance("59s")
        assert developer.kinds(operation_id)[-1] == "step_started"
        daemon.advance("1s")
        assert developer.events(operation_id)[-1].data.code == "TIMEOUT"
        worker.done(call.attempt)
        assert worker.judged()[0] == "STALE"
        daemon.advance("2s")
        assert worker.call().attempt.attempt == 2
    assert developer.kinds(operation_id).count("step_done") == 0


def test_beats_keep_an_attempt_and_their_absence_gives_it_to_another(
    daemon: Daemon, agency: Agency, developer: Caller
) -> None:
    operation_id = agency.start(heartbeat="30s", retry_delay="1s")
    with agency.worker() as silent, agency.worker() as other:
        holder, idle = (
            (silent, other)
            if eventually(lambda: silent.has_calls or other.has_calls) and (silent.has_calls)
            else (other, silent)
        )
        attempt = holder.call().attempt
        for _ in range(3):
            daemon.advance("20s")
            holder.beat(attempt)
            # A report that is judged was heard after the beat before it.
            holder.done(UNKNOWN)
            assert holder.judged() == ("REFUSED", "OPERATION_UNKNOWN")
        assert developer.kinds(operation_id) == ["operation_started", "step_started"]
        daemon.advance("31s")
        developer.happens(operation_id, "step_failed")
        assert developer.events(operation_id)[2].data.code == "HEARTBEAT_TIMEOUT"
        daemon.advance("2s")
        second = idle.call().attempt
        assert second.attempt == 2
        holder.done(attempt, b'"late"')
        assert holder.judged()[0] == "STALE"
        idle.done(second, b'"in time"')
        assert idle.judged() == ("RECORDED", "")
    assert developer.get(operation_id).output == b'"in time"'


def test_a_worker_that_is_gone_for_its_grace_loses_its_calls_to_another(
    daemon: Daemon, agency: Agency, developer: Caller
) -> None:
    operation_id = agency.start()
    with agency.worker() as worker:
        session, call = worker.welcome().session, worker.call()
    with agency.worker() as other:
        # The daemon notices the cut in its own time; only from then on does the grace run.
        for _ in range(20):
            daemon.advance("6s")
            if "step_lost" in developer.kinds(operation_id):
                break
        second = other.call()
        assert (second.attempt.attempt, second.idempotency_key) == (2, call.idempotency_key)
        with agency.worker(session=session, in_hand=[call.attempt]) as back:
            assert list(back.welcome().gone) == [call.attempt]
            back.done(call.attempt, b'"too late"')
            assert back.judged() == ("STALE", "NOT_HELD")
            other.done(second.attempt, b'"other"')
            assert other.judged() == ("RECORDED", "")
    assert developer.kinds(operation_id) == [
        "operation_started",
        "step_started",
        "step_lost",
        "step_started",
        "step_done",
        "operation_completed",
    ]


# -- lost connections --------------------------------------------------------------------------------------------------


def test_a_worker_that_is_cut_off_comes_back_to_its_calls(agency: Agency, developer: Caller) -> None:
    operations = [agency.start() for _ in range(3)]
    with agency.worker(max_in_flight=3) as worker:
        session = worker.welcome().session
        attempts = [worker.call().attempt for _ in operations]
    with agency.worker(session=session, in_hand=attempts, max_in_flight=3) as worker:
        welcome = worker.welcome()
        assert (welcome.session, list(welcome.gone)) == (session, [])
        for attempt in attempts:
            worker.done(attempt)
            assert worker.judged() == ("RECORDED", "")
    for operation_id in operations:
        assert developer.get(operation_id).items[0].step.attempt == 1


def test_a_call_that_a_returning_worker_knows_nothing_of_is_given_anew(agency: Agency, developer: Caller) -> None:
    operation_id = agency.start()
    with agency.worker() as worker:
        session = worker.welcome().session
        worker.call()
    with agency.worker(session=session) as worker:
        assert worker.welcome().session == session
        again = worker.call().attempt
        assert again.attempt == 2
        worker.done(again)
        assert worker.judged() == ("RECORDED", "")
    assert developer.kinds(operation_id).count("step_lost") == 1


def test_a_session_belongs_to_whoever_opened_it(agency: Agency, other_agency: Agency, developer: Caller) -> None:
    operation_id = agency.start()
    with agency.worker() as worker:
        session, attempt = worker.welcome().session, worker.call().attempt
        with other_agency.worker(session=session, in_hand=[attempt]) as thief:
            welcome = thief.welcome()
            assert welcome.session != session
            assert list(welcome.gone) == [attempt]
            thief.done(attempt, b'"stolen"')
            assert thief.judged() == ("STALE", "NOT_HELD")
        worker.done(attempt, b'"mine"')
        assert worker.judged() == ("RECORDED", "")
    assert developer.get(operation_id).output == b'"mine"'


def test_the_session_that_the_record_names_resumes_nothing(agency: Agency, developer: Caller) -> None:
    operation_id = agency.start()
    with agency.worker() as worker:
        attempt = worker.call().attempt
        recorded = developer.events(operation_id)[1].data.session
        assert recorded
        with agency.worker(session=recorded, in_hand=[attempt]) as reader:
            assert list(reader.welcome().gone) == [attempt]
            reader.done(attempt, b'"read"')
            assert reader.judged() == ("STALE", "NOT_HELD")
        worker.done(attempt, b'"mine"')
        assert worker.judged() == ("RECORDED", "")
    assert developer.get(operation_id).output == b'"mine"'


def test_a_session_that_is_awaited_after_a_restart_is_nobody_elses_either() -> None:
    with Daemon() as daemon:
        with Caller(daemon.address) as developer, Caller(daemon.address, "dev:svc/IRS") as irs:
            operation_id = developer.start(step())
            with RawWorker(irs, hello()) as worker:
                session, attempt = worker.welcome().session, worker.call().attempt
        daemon.kill()
        daemon.start()
        with (
            Caller(daemon.address) as developer,
            Caller(daemon.address, "dev:svc/IRS") as irs,
            Caller(daemon.address, "dev:svc/FSA") as fsa,
            RawWorker(fsa, hello("FSA", session=session, in_hand=[attempt])) as thief,
        ):
            taken = thief.welcome()
            with RawWorker(irs, hello(session=session, in_hand=[attempt])) as worker:
                welcome = worker.welcome()
                assert (taken.session == session, list(welcome.gone)) == (False, [])
                worker.done(attempt)
                assert worker.judged() == ("RECORDED", "")
            assert state_of(developer, operation_id) == "COMPLETED"


def test_a_half_open_connection_holds_nobody_up(daemon: Daemon, agency: Agency, developer: Caller) -> None:
    operation_id = agency.start(heartbeat="30s", retry_delay="1s")
    with (
        Proxy(daemon.address) as proxy,
        Caller(proxy.address, f"dev:svc/{agency.svc}") as far,
        agency.worker(via=far) as cut_off,
    ):
        session, attempt = cut_off.welcome().session, cut_off.call().attempt
        proxy.freeze()
        with agency.worker() as other:
            other.welcome()
            daemon.advance("31s")
            developer.happens(operation_id, "step_failed")
            daemon.advance("2s")
            other.done(other.call().attempt, b'"other"')
            assert other.judged() == ("RECORDED", "")
        with agency.worker(session=session, in_hand=[attempt]) as back:
            assert back.welcome().session == session
            back.done(attempt, b'"late"')
            assert back.judged()[0] == "STALE"
    assert developer.get(operation_id).output == b'"other"'


def test_a_worker_whose_connection_is_half_open_takes_its_session_along_to_a_new_one(
    daemon: Daemon, agency: Agency, developer: Caller
) -> None:
    operation_id = agency.start()
    with (
        Proxy(daemon.address) as proxy,
        Caller(proxy.address, f"dev:svc/{agency.svc}") as far,
        agency.worker(via=far) as cut_off,
    ):
        session, attempt = cut_off.welcome().session, cut_off.call().attempt
        proxy.freeze()
        with agency.worker(session=session, in_hand=[attempt]) as back:
            assert list(back.welcome().gone) == []
            back.done(attempt)
            assert back.judged() == ("RECORDED", "")
    assert developer.get(operation_id).items[0].step.attempt == 1


def test_a_worker_that_leaves_finishes_what_it_has_and_is_given_nothing_more(agency: Agency, developer: Caller) -> None:
    first = agency.start()
    with agency.worker(max_in_flight=5) as worker:
        attempt = worker.call().attempt
        worker.say(worker_pb2.WorkRequest(leaving=True))
        worker.done(UNKNOWN)
        assert worker.judged() == ("REFUSED", "OPERATION_UNKNOWN")
        second = agency.start()
        worker.done(attempt)
        assert worker.judged() == ("RECORDED", "")
        worker.hang_up()
        worker.ended()
        assert not worker.has_calls
    assert state_of(developer, first) == "COMPLETED"
    assert developer.kinds(second) == ["operation_started"]


def test_a_flood_of_reports_holds_nobody_up(agency: Agency, developer: Caller) -> None:
    flood = [
        worker_pb2.WorkRequest(
            reports=[
                done(worker_pb2.Attempt(operation_id=f"op_{message:013}{number:013}", instance=1, attempt=1))
                for number in range(10_000)
            ]
        )
        for message in range(3)
    ]
    with agency.worker(*flood) as worker:
        worker.welcome()
        for _ in range(5):
            began = time.monotonic()
            developer.call(developer.system.Whoami, system_pb2.WhoamiRequest())
            assert time.monotonic() - began < 1
        assert worker.judged() == ("REFUSED", "OPERATION_UNKNOWN")


def test_a_person_still_decides_while_workers_misbehave(agency: Agency, developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(checkpoint(), step(svc=agency.svc))
    with agency.worker() as worker:
        worker.done(worker_pb2.Attempt(operation_id=operation_id, instance=1, attempt=1), b'"decided by me"')
        assert worker.judged() == ("STALE", "NOT_HELD")
        worker.done(worker_pb2.Attempt(operation_id=operation_id, instance=2, attempt=1))
        assert worker.judged() == ("STALE", "NOT_HELD")
        assert state_of(developer, operation_id) == "WAITING"
        officer.steer("approve", operation_id)
        worker.done(worker.call().attempt)
        assert worker.judged() == ("RECORDED", "")
    assert state_of(developer, operation_id) == "COMPLETED"
