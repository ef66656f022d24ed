"""Who notices: SLAs at 80 and 100 %, each once, what nobody attends to, and the metrics that say so.

The time of the daemon goes on beside the jumps, so that nothing here is closer to a due time than a minute.
"""

from typing import Any

from hmsact.testing import Daemon
from hmsact.v1 import operation_pb2, principal_pb2

from tests.e2e.raw import Caller, RawWorker, checkpoint, definition, eventually, hello, step
from tests.e2e.scrape import scrape

HOUR_MS = 3_600_000
MINUTE_MS = 60_000


def sla_of(daemon: Daemon, name: str, item: str) -> tuple[float, float, float]:
    """At risk, breached, and breaches so far."""
    labels = f"{{definition={name},namespace=default,step={item}}}"
    found = scrape(daemon)
    at_risk, breached, breaches = (
        found[f"hmsact_sla_{said}{labels}"] for said in ("at_risk", "breached", "breaches_total")
    )
    return at_risk, breached, breaches


def unattended_of(daemon: Daemon, name: str, item: str) -> float:
    return scrape(daemon)[f"hmsact_unattended{{definition={name},namespace=default,step={item}}}"]


def named(name: str, *items: dict[str, Any], **fields: Any) -> dict[str, bytes]:
    """The definition field of a start, under a name of the test's own so that its metrics are its own."""
    return {"definition": definition(*items, **fields, name=name)}


def alarms(caller: Caller, operation_id: str) -> list[tuple[str, str]]:
    """Kind and subject of every event about time."""
    kinds = ("sla_at_risk", "sla_breach", "unattended")
    return [(event.kind, event.subject.name) for event in caller.events(operation_id) if event.kind in kinds]


def test_a_step_is_at_risk_at_four_fifths_and_breached_at_the_whole_each_once(
    daemon: Daemon, developer: Caller
) -> None:
    operation_id = developer.start(**named("sla_step", step(svc="Slow", sla="10h")))
    daemon.advance("14m")
    assert alarms(developer, operation_id) == []
    daemon.advance("7h44m")
    assert ("sla_at_risk", "check") not in alarms(developer, operation_id)
    assert sla_of(daemon, "sla_step", "check") == (0, 0, 0)
    daemon.advance("3m")
    assert alarms(developer, operation_id)[-1] == ("sla_at_risk", "check")
    assert sla_of(daemon, "sla_step", "check") == (1, 0, 0)
    daemon.advance("1h57m")
    assert alarms(developer, operation_id)[-1] == ("sla_at_risk", "check")
    daemon.advance("3m")
    assert alarms(developer, operation_id)[-1] == ("sla_breach", "check")
    assert sla_of(daemon, "sla_step", "check") == (0, 1, 1)
    daemon.advance("5d")
    assert alarms(developer, operation_id) == [
        ("unattended", "check"),
        ("sla_at_risk", "check"),
        ("sla_breach", "check"),
    ]
    assert sla_of(daemon, "sla_step", "check") == (0, 1, 1)
    with Caller(daemon.address, "dev:svc/Slow") as slow, RawWorker(slow, hello("Slow")) as worker:
        worker.done(worker.call().attempt)
        assert worker.judged() == ("RECORDED", "")
    assert sla_of(daemon, "sla_step", "check") == (0, 0, 1)
    assert sla_of(daemon, "sla_step", "") == (0, 0, 0)


def test_an_alarm_says_what_was_due_when_and_how_late_it_was_noticed(daemon: Daemon, developer: Caller) -> None:
    operation_id = developer.start(**named("sla_facts", checkpoint(sla="10h")))
    pending = developer.events(operation_id)[1]
    # One jump over both: each is still noticed when it is due.
    daemon.advance("3d")
    at_risk, breach = (event for event in developer.events(operation_id) if event.kind.startswith("sla_"))
    for event, after_ms in ((at_risk, 8 * HOUR_MS), (breach, 10 * HOUR_MS)):
        due_ms = pending.time.ToMilliseconds() + after_ms
        assert abs(event.data.due_time.ToMilliseconds() - due_ms) <= 1
        assert event.data.sla_ms == 10 * HOUR_MS
        assert 0 <= event.data.late_ms < MINUTE_MS
        assert due_ms - 1 <= event.time.ToMilliseconds() < due_ms + MINUTE_MS
        assert event.principal.kind == principal_pb2.PRINCIPAL_KIND_SYSTEM


def test_an_operation_has_an_sla_of_its_own_which_ends_with_it(
    daemon: Daemon, developer: Caller, officer: Caller
) -> None:
    name = "sla_whole"
    operation_id = developer.start(**named(name, checkpoint(), checkpoint("second"), sla="10h"))
    daemon.advance("7h")
    officer.steer("approve", operation_id)
    daemon.advance("2h")
    assert sla_of(daemon, name, "") == (1, 0, 0)
    daemon.advance("2h")
    assert alarms(developer, operation_id) == [("sla_at_risk", ""), ("sla_breach", "")]
    assert sla_of(daemon, name, "") == (0, 1, 1)
    officer.steer("cancel", operation_id)
    assert sla_of(daemon, name, "") == (0, 0, 1)
    daemon.advance("2d")
    assert developer.kinds(operation_id)[-1] == "operation_cancelled"


def test_an_sla_runs_on_across_retries_and_a_report_in_time_stops_it(daemon: Daemon, developer: Caller) -> None:
    flow = step(svc="Retrier", sla="10h", retry_delay="5h", retry_delay_max="5h")
    operation_id = developer.start(**named("sla_retry", flow))
    with Caller(daemon.address, "dev:svc/Retrier") as caller, RawWorker(caller, hello("Retrier")) as worker:
        worker.failed(worker.call().attempt)
        assert worker.judged() == ("RECORDED", "")
        daemon.advance("5h30m")
        second = worker.call().attempt
        assert second.attempt == 2
        daemon.advance("3h")
        assert alarms(developer, operation_id) == [("sla_at_risk", "check")]
        worker.done(second)
        assert worker.judged() == ("RECORDED", "")
    daemon.advance("2d")
    assert alarms(developer, operation_id) == [("sla_at_risk", "check")]
    assert sla_of(daemon, "sla_retry", "check") == (0, 0, 0)


def test_nobody_attends_a_step_without_a_worker_after_a_quarter_of_an_hour(daemon: Daemon, developer: Caller) -> None:
    operation_id = developer.start(**named("left_alone", step(svc="Nobody")))
    daemon.advance("14m")
    assert unattended_of(daemon, "left_alone", "check") == 0
    daemon.advance("2m")
    assert alarms(developer, operation_id) == [("unattended", "check")]
    assert unattended_of(daemon, "left_alone", "check") == 1
    daemon.advance("1d")
    assert alarms(developer, operation_id) == [("unattended", "check")]
    with Caller(daemon.address, "dev:svc/Nobody") as nobody, RawWorker(nobody, hello("Nobody")) as worker:
        worker.call()
        assert unattended_of(daemon, "left_alone", "check") == 0


def test_nobody_attends_a_checkpoint_that_nobody_may_decide(daemon: Daemon, developer: Caller, officer: Caller) -> None:
    # The developer has every role, and started it; the officers have not this one.
    operation_id = developer.start(**named("for_nobody", checkpoint(role="ghosts")))
    decidable = developer.start(**named("for_officers", checkpoint()))
    by_officer = officer.start(**named("for_the_developer", checkpoint(role="ghosts")))
    daemon.advance("14m")
    assert alarms(developer, operation_id) == []
    daemon.advance("2m")
    developer.happens(operation_id, "unattended")
    eventually(lambda: unattended_of(daemon, "for_nobody", "review") == 1)
    daemon.advance("1d")
    assert alarms(developer, operation_id) == [("unattended", "review")]
    assert alarms(developer, decidable) == alarms(developer, by_officer) == []


def test_nobody_attends_a_checkpoint_that_only_the_person_behind_the_agent_holds_the_role_for(
    daemon: Daemon, developer: Caller, agent: Caller
) -> None:
    operation_id = agent.start(**named("by_agent", checkpoint(role="ghosts")))
    other = developer.start(**named("by_its_person", checkpoint(role="ghosts")))
    daemon.advance("20m")
    # Both are looked at together, this one first.
    developer.happens(other, "unattended")
    assert alarms(developer, operation_id) == [("unattended", "review")]


def test_a_pause_that_stops_the_clock_stops_it_and_says_what_is_left(
    daemon: Daemon, developer: Caller, officer: Caller
) -> None:
    operation_id = developer.start(**named("stopped", checkpoint(sla="20h"), sla="10h"))
    daemon.advance("5h")
    officer.steer("pause", operation_id, clock=operation_pb2.PAUSE_CLOCK_STOP, reason="a court order")
    daemon.advance("4d")
    assert alarms(developer, operation_id) == []
    officer.steer("resume", operation_id)
    paused, resumed = (event for event in developer.events(operation_id) if event.data.clocks)
    assert (paused.kind, resumed.kind, paused.data.clock) == ("operation_paused", "operation_resumed", "stop")
    assert paused.payloads["reason"] == b'"a court order"'
    for event in (paused, resumed):
        assert {clock.scope: clock.budget_ms for clock in event.data.clocks} == {
            "operation": 10 * HOUR_MS,
            "review": 20 * HOUR_MS,
        }
        for clock in event.data.clocks:
            assert 5 * HOUR_MS <= clock.used_ms < 5 * HOUR_MS + MINUTE_MS
            assert clock.remaining_ms == clock.budget_ms - clock.used_ms
    daemon.advance("2h58m")
    assert alarms(developer, operation_id) == []
    daemon.advance("3m")
    assert alarms(developer, operation_id) == [("sla_at_risk", "")]


def test_a_pause_that_says_nothing_of_the_clock_lets_that_of_the_operation_run(
    daemon: Daemon, developer: Caller, officer: Caller
) -> None:
    operation_id = developer.start(**named("running_on", checkpoint(sla="10h"), sla="10h"))
    daemon.advance("5h")
    officer.steer("pause", operation_id)
    daemon.advance("1d")
    assert alarms(developer, operation_id) == [("sla_at_risk", ""), ("sla_breach", "")]
    officer.steer("resume", operation_id)
    daemon.advance("4h")
    assert alarms(developer, operation_id)[2:] == [("sla_at_risk", "review")]
    daemon.advance("2h")
    assert alarms(developer, operation_id)[3:] == [("sla_breach", "review")]
