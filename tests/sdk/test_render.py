"""How events and timelines read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hmsact import Orchestrator
from hmsact.event import NARRATED_KINDS, Event, Reader
from hmsact.render import _HAPPENINGS, elapsed_text, event_text, visible
from hmsact.timeline import lines_of
from hmsact.v1 import operation_pb2

from hmsactd.core import events as core
from tests.sdk.fake import START, FakeDaemon, event, frame, operation

OFFICER = "dev:jdavis@fsa.gov"
READ = Reader(operation()).read


def text(kind: str, name: str = "", **facts: Any) -> str:
    return event_text(READ(event(9, kind, name, **facts)))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (event(1, "step_done", "validate_form"), "00:00 VALIDATE_FORM → done"),
        (event(1, "step_deferred", "eligibility_check"), "00:00 ELIGIBILITY_CHECK → deferred"),
        (
            event(1, "step_deferred", "eligibility_check", due_time=Timestamp(seconds=1_772_532_134)),
            "00:00 ELIGIBILITY_CHECK → deferred, to be completed by 2026-03-03 10:02 UTC",
        ),
        (
            event(1, "step_failed", "eligibility_check", after_s=1.9, retry=1, retries=3),
            "00:01 ELIGIBILITY_CHECK → failed, retry 1/3",
        ),
        (
            event(1, "step_failed", "eligibility_check", after_s=2, retries=3, code="HTTP_502"),
            "00:02 ELIGIBILITY_CHECK → failed (HTTP_502)",
        ),
        (
            event(1, "step_stalled", "eligibility_check", code="HTTP_502"),
            "00:00 ELIGIBILITY_CHECK → stalled (needs an operator; HTTP_502)",
        ),
        (
            event(1, "step_skipped", "eligibility_check", by=OFFICER),
            "00:00 ELIGIBILITY_CHECK → skipped by jdavis@fsa.gov",
        ),
        (
            event(1, "checkpoint_pending", "human_review", after_s=3, role="fsa.officer"),
            "00:03 HUMAN_REVIEW → pending (waiting on officer)",
        ),
        (
            event(1, "checkpoint_approved", "human_review", by=OFFICER),
            "00:00 HUMAN_REVIEW → approved by jdavis@fsa.gov",
        ),
        (
            event(1, "checkpoint_rejected", "human_review", by=OFFICER, unseen=True),
            "00:00 HUMAN_REVIEW → rejected by jdavis@fsa.gov, unseen",
        ),
        (
            event(1, "sla_breach", "eligibility_check", after_s=121, sla_ms=120_000, late_ms=400),
            "02:01 ELIGIBILITY_CHECK → sla_breach (2m)",
        ),
        (
            event(1, "sla_breach", after_s=9000, sla_ms=3_600_000, late_ms=5_400_500),
            "2:30:00 LOAN_FORGIVENESS → sla_breach (1h), noticed 1h30m late",
        ),
        (event(1, "unattended", "eligibility_check"), "00:00 ELIGIBILITY_CHECK → unattended (no worker of IRS)"),
        (
            event(1, "unattended", "human_review"),
            "00:00 HUMAN_REVIEW → unattended (nobody can decide as officer)",
        ),
        (event(1, "operation_paused", by=OFFICER), "00:00 LOAN_FORGIVENESS → paused by jdavis@fsa.gov"),
        (event(1, "operation_completed", after_s=5), "00:05 LOAN_FORGIVENESS → completed"),
        (event(1, "operation_rejected", "human_review"), "00:00 LOAN_FORGIVENESS → rejected"),
        (
            event(1, "operation_failed", "eligibility_check", code="HTTP_502"),
            "00:00 LOAN_FORGIVENESS → failed at eligibility_check (HTTP_502)",
        ),
        (event(1, "coffee_spilt", "human_review"), "00:00 HUMAN_REVIEW → coffee_spilt"),
    ],
)
def test_events_read_as_they_happen(told: Any, expected: str) -> None:
    assert event_text(READ(told)) == expected


def test_every_kind_that_the_daemon_records_has_its_own_words() -> None:
    kinds = {kind.kind for kind in core.Event.__args__}
    assert kinds <= set(_HAPPENINGS)
    assert kinds >= NARRATED_KINDS
    for kind in kinds:
        assert "→ " in text(kind, "human_review" if kind.startswith("checkpoint") else "validate_form")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "00:00"), (59.9, "00:59"), (60, "01:00"), (3599, "59:59"), (3600, "1:00:00"), (90_061, "25:01:01")],
)
def test_elapsed_time_counts_hours_from_the_first_hour_on(seconds: float, expected: str) -> None:
    assert elapsed_text(timedelta(seconds=seconds)) == expected


def test_a_clock_that_was_set_back_shows_no_negative_time() -> None:
    assert text("step_done", "validate_form", after_s=-5).startswith("00:00 ")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("fine ✅", "fine ✅"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("right\u202eleft", "right\\u202eleft"),
        ("👩\u200d⚖️", "👩\u200d⚖️"),
    ],
)
def test_what_others_said_cannot_command_the_terminal(said: str, shown: str) -> None:
    assert visible(said) == shown


# -- replays -----------------------------------------------------------------------------------------------------------

CHAPTER = [
    event(1, "operation_started", by="dev:developer"),
    event(2, "step_done", "validate_form", after_s=1),
    event(3, "step_failed", "eligibility_check", after_s=2, retry=1, retries=3),
    event(4, "step_done", "eligibility_check", after_s=4),
    event(5, "checkpoint_pending", "human_review", after_s=51, role="fsa.officer"),
]


def told(*events: Any) -> list[Event]:
    return [READ(each) for each in events]


def replay(*events: Any, is_final: bool = True, everything: bool = False, now: datetime | None = None) -> list[str]:
    lines = lines_of(told(*events), is_final=is_final, everything=everything, now=now)
    return [line.pretty(utc=True) for line in lines]


def test_a_replay_reads_as_in_the_chapter() -> None:
    assigned = event(5, "checkpoint_pending", "human_review", after_s=51, role="fsa.officer", person=OFFICER)
    assert replay(*CHAPTER[:4], assigned) == [
        "[10:02:15 UTC] validate_form ✅",
        "[10:02:16 UTC] eligibility_check ❌ (retry 1)",
        "[10:02:18 UTC] eligibility_check ✅",
        "[10:03:05 UTC] human_review ✋ waiting  (Officer: jdavis@fsa.gov)",
    ]


def test_times_are_local_and_without_a_zone_unless_asked_for() -> None:
    (line,) = lines_of(told(CHAPTER[1]), is_final=True, everything=False)
    local = (START + timedelta(seconds=1)).astimezone()
    assert line.pretty() == f"[{local:%H:%M:%S}] validate_form ✅"
    assert line.pretty(zone=True) == f"[{local:%H:%M:%S} {local.tzname()}] validate_form ✅"
    assert str(line) == line.pretty()


def test_dates_are_shown_when_the_operation_spans_days() -> None:
    late = event(6, "step_done", "update_balance", after_s=86_400)
    assert replay(CHAPTER[0], CHAPTER[1], late)[0] == "[2026-03-02 10:02:15 UTC] validate_form ✅"


def test_an_open_operation_spans_to_this_day() -> None:
    days_later = START + timedelta(days=3)
    assert replay(*CHAPTER[:2], is_final=False, now=days_later)[0].startswith("[2026-03-02 10:02:15")
    assert replay(*CHAPTER[:2], is_final=False, now=START)[0].startswith("[10:02:15")
    assert replay(*CHAPTER[:2], is_final=True, now=days_later)[0].startswith("[10:02:15")


CLAIMED = event(6, "checkpoint_claimed", "human_review", by="dev:mgarcia@fsa.gov", after_s=60)
RELEASED = event(7, "checkpoint_released", "human_review", by="dev:mgarcia@fsa.gov", after_s=61)
ASSIGNED = event(8, "checkpoint_assigned", "human_review", by=OFFICER, person="dev:tlee@fsa.gov", after_s=62)


@pytest.mark.parametrize(
    ("then", "decider"),
    [
        ((), "Role: fsa.officer"),
        ((CLAIMED,), "Officer: mgarcia@fsa.gov"),
        ((CLAIMED, RELEASED), "Role: fsa.officer"),
        ((ASSIGNED,), "Officer: tlee@fsa.gov"),
        ((CLAIMED, RELEASED, ASSIGNED), "Officer: tlee@fsa.gov"),
    ],
)
def test_a_waiting_line_names_who_holds_the_decision(then: tuple[Any, ...], decider: str) -> None:
    assert replay(*CHAPTER, *then)[3] == f"[10:03:05 UTC] human_review ✋ waiting  ({decider})"


def test_decisions_name_the_person_and_quote_the_comment() -> None:
    approved = event(
        6, "checkpoint_approved", "human_review", by=OFFICER, after_s=70, payloads={"comment": b'"Income\\nfits"'}
    )
    assert replay(approved) == ["[10:03:24 UTC] human_review ✅ approved  (Officer: jdavis@fsa.gov) “Income\\nfits”"]


def test_interventions_quote_their_reason() -> None:
    skipped = event(6, "step_skipped", "eligibility_check", by=OFFICER, payloads={"reason": b'"IRS is shut"'})
    assert replay(skipped) == ["[10:02:14 UTC] eligibility_check ⏭ skipped by jdavis@fsa.gov “IRS is shut”"]


def test_all_events_are_listed_when_asked_for() -> None:
    assert len(replay(*CHAPTER)) == 4
    assert replay(*CHAPTER, everything=True)[0] == "[10:02:14 UTC] loan_forgiveness 🚀 started by developer"
    assert lines_of([], is_final=False, everything=True) == []


def test_the_client_reads_a_timeline_as_lines(fake: FakeDaemon, act: Orchestrator) -> None:
    final = operation(state=operation_pb2.OPERATION_STATE_CANCELLED)
    fake.on("GetOperation", operation_pb2.GetOperationResponse(operation=final))
    fake.on("WatchOperation", lambda *_: map(frame, CHAPTER))
    assert [line.pretty(utc=True) for line in act.timeline("01jnz")] == replay(*CHAPTER)
    assert len(act.timeline("01jnz", all=True)) == 5
    assert fake.requests("WatchOperation")[0].no_follow


def test_an_event_as_json_says_everything() -> None:
    failed = READ(
        event(
            3,
            "step_failed",
            "eligibility_check",
            attempt=1,
            after_s=2,
            retry=1,
            retries=3,
            code="HTTP_502",
            payloads={"error": b'"502"'},
        ),
        "running",
    )
    assert failed.as_json() == {
        "namespace": "default",
        "operation_id": failed.operation_id,
        "operation_name": "loan_forgiveness",
        "sequence": 3,
        "time": "2026-03-02T10:02:16.000Z",
        "elapsed_ms": 2000,
        "kind": "step_failed",
        "principal": "dev:svc/FSA",
        "data": {"code": "HTTP_502", "retry": 1, "retries": 3},
        "payloads": {"error": "502"},
        "cursor": "cursor-3",
        "name": "eligibility_check",
        "instance": 2,
        "attempt": 1,
        "state": "running",
    }
    assert failed.time == datetime(2026, 3, 2, 10, 2, 16, tzinfo=UTC)
