"""Lists: pages that hold still while operations come and go, filters by every field, counts that agree, inboxes."""

from collections.abc import Iterator
from typing import Any

import pytest
from hmsact.testing import Daemon
from hmsact.v1 import checkpoint_pb2, operation_pb2, timeline_pb2

from tests.e2e.raw import Caller, RawWorker, checkpoint, definition, hello, step


def page_of(caller: Caller, **fields: Any) -> operation_pb2.ListOperationsResponse:
    request = operation_pb2.ListOperationsRequest(**fields)
    page: operation_pb2.ListOperationsResponse = caller.call(caller.operations.ListOperations, request)
    return page


def ids_of(caller: Caller, **fields: Any) -> list[str]:
    """All ids, page by page."""
    found: list[str] = []
    token = ""
    while True:
        page = page_of(caller, page_token=token, **fields)
        found += [operation.id for operation in page.operations]
        token = page.next_page_token
        if not token:
            return found


def inbox_of(caller: Caller, **fields: Any) -> list[checkpoint_pb2.PendingCheckpoint]:
    """All pending checkpoints, page by page."""
    found: list[checkpoint_pb2.PendingCheckpoint] = []
    token = ""
    while True:
        request = checkpoint_pb2.ListCheckpointsRequest(page_token=token, page_size=2, **fields)
        page = caller.call(caller.checkpoints.ListCheckpoints, request)
        found += page.checkpoints
        token = page.next_page_token
        if not token:
            return found


def inbox_size(caller: Caller, **fields: Any) -> int:
    request = checkpoint_pb2.CountCheckpointsRequest(**fields)
    return int(caller.call(caller.checkpoints.CountCheckpoints, request).count)


# -- operations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order_by", ["", "start_time desc", "start_time"])
def test_pages_neither_repeat_nor_skip_while_operations_come_and_go(
    developer: Caller, officer: Caller, order_by: str
) -> None:
    namespace = f"pages-{len(order_by)}"
    first = [developer.start(checkpoint(), namespace=namespace) for _ in range(10)]
    found: list[str] = []
    late: list[str] = []
    token = ""
    while True:
        page = page_of(developer, namespace=namespace, page_size=3, page_token=token, order_by=order_by)
        assert len(page.operations) <= 3
        found += [operation.id for operation in page.operations]
        token = page.next_page_token
        if not token:
            break
        if len(late) < 4:
            late.append(developer.start(checkpoint(), namespace=namespace))
        officer.steer("approve", first[len(late)], namespace=namespace)
    if order_by == "start_time":
        assert found == first + late
    else:
        assert found == first[::-1]
    assert developer.count(namespace=namespace) == len(first + late)


def test_a_page_is_as_long_as_asked_for(developer: Caller) -> None:
    namespace = "sizes"
    for _ in range(51):
        developer.start(checkpoint(), namespace=namespace)
    for page_size, length, is_last in (
        (0, 50, False),
        (1, 1, False),
        (50, 50, False),
        (51, 51, True),
        (1000, 51, True),
    ):
        page = page_of(developer, namespace=namespace, page_size=page_size)
        assert (len(page.operations), page.next_page_token == "") == (length, is_last)


def test_pages_stay_within_a_message_whatever_labels_operations_have(developer: Caller) -> None:
    namespace = "labelled"
    labels = {f"{number:02}".rjust(63, "l"): "v" * 255 for number in range(32)}
    started = [developer.start(checkpoint(), namespace=namespace, labels=labels) for _ in range(420)]
    first = page_of(developer, namespace=namespace, page_size=1000)
    assert 0 < len(first.operations) < len(started)
    assert ids_of(developer, namespace=namespace, page_size=1000) == started[::-1]


@pytest.fixture(scope="module")
def sorted_out(daemon: Daemon) -> Iterator[dict[str, str]]:
    """One operation in each state, and more that differ in one thing only."""
    with (
        Caller(daemon.address) as developer,
        Caller(daemon.address, "dev:jdavis@fsa.gov") as officer,
        Caller(daemon.address, "dev:svc/Sorted") as service,
    ):

        def start(*items: dict[str, Any], **fields: Any) -> str:
            return developer.start(*items, namespace="sorted", **fields)

        found = {"running": start(step(svc="Nobody"), key="k1", labels={"office": "east", "a/b.c": 'say "x" \\ é'})}
        for state, verb in (
            ("paused", "pause"),
            ("cancelled", "cancel"),
            ("completed", "approve"),
            ("rejected", "reject"),
        ):
            found[state] = start(checkpoint(), labels={"office": "west"})
            officer.steer(verb, found[state], namespace="sorted")
        found["waiting"] = officer.start(checkpoint(), namespace="sorted", key="k2", requested_by="a citizen")
        for state, on_exhausted in (("stalled", "stall"), ("failed", "fail")):
            found[state] = start(
                definition=definition(step(svc="Sorted", retries=0, on_exhausted=on_exhausted), name=state)
            )
        with RawWorker(service, hello("Sorted", namespace="sorted", max_in_flight=2)) as worker:
            for _ in range(2):
                worker.failed(worker.call().attempt)
                worker.verdict()
        yield found


@pytest.mark.parametrize(
    "state", ["running", "waiting", "paused", "stalled", "completed", "rejected", "failed", "cancelled"]
)
def test_operations_are_found_by_their_state(developer: Caller, sorted_out: dict[str, str], state: str) -> None:
    assert ids_of(developer, namespace="sorted", filter=f'state = "{state}"') == [sorted_out[state]]
    assert developer.count(namespace="sorted", filter=f'state="{state}"') == 1


@pytest.mark.parametrize(
    ("said", "states"),
    [
        ('name = "stalled"', {"stalled"}),
        ('key = "k1"', {"running"}),
        ('key = "k2" AND state = "waiting"', {"waiting"}),
        ('key = "k2" AND state = "running"', set()),
        ('started_by = "dev:jdavis@fsa.gov"', {"waiting"}),
        ('labels.office = "east"', {"running"}),
        ('labels.office = "west"', {"paused", "cancelled", "completed", "rejected"}),
        ('labels.office = "west" AND state = "paused" AND name = "flow"', {"paused"}),
        ('labels.a/b.c = "say \\"x\\" \\\\ \\u00e9"', {"running"}),
        ('labels.office = "east" AND labels.a/b.c = "other"', set()),
        ('labels.nothing = ""', set()),
        ('  name   =   "failed"  ', {"failed"}),
        ('name = "flow" AND name = "flow"', {"running", "paused", "cancelled", "completed", "rejected", "waiting"}),
        ('state = "stalled" OR state = "failed"', {"stalled", "failed"}),
        ('state = "stalled" OR state = "failed" AND name = "failed"', {"failed"}),
        ("labels.office:*", {"running", "paused", "cancelled", "completed", "rejected"}),
        ('labels.a/b.c:* AND labels.office = "east"', {"running"}),
        ('key_prefix = "k"', {"running", "waiting"}),
        ('key_prefix = "k%"', set()),
        ('requested_by = "a citizen"', {"waiting"}),
        ('text = "CITIZEN flow"', {"waiting"}),
        ('text = "e"', {"running"}),
        ("text = \"' OR * NEAR( \\\" e:\"", set()),
        ('text = "stal"', {"stalled"}),
        ('awaited.role = "fsa.officer"', {"waiting", "paused"}),
        ('awaited.service = "Sorted" OR awaited.service = "Nobody"', {"stalled", "running"}),
        ('awaited.who = "Sorted" AND state = "stalled"', {"stalled"}),
        ('awaited.kind = "operator"', {"stalled"}),
        ('awaited.name = "review" AND state = "waiting"', {"waiting"}),
        ('awaited.person = "dev:jdavis@fsa.gov"', {"paused"}),
        ('alarm = "stalled" OR alarm = "breached"', {"stalled"}),
        ('start_time > "2026-01-01T00:00:00Z" AND start_time < "2020-01-01T00:00:00+02:00"', set()),
        ('end_time >= "1970-01-01T00:00:00Z"', {"cancelled", "completed", "rejected", "failed"}),
        ("", {"running", "waiting", "paused", "stalled", "completed", "rejected", "failed", "cancelled"}),
        ('name = "\' OR 1=1 --"', set()),
        ('key = "k%"', set()),
    ],
)  # fmt: skip
def test_operations_are_found_by_every_field_and_counted_alike(
    developer: Caller, sorted_out: dict[str, str], said: str, states: set[str]
) -> None:
    found = ids_of(developer, namespace="sorted", filter=said, page_size=2)
    assert sorted(found) == sorted(sorted_out[state] for state in states)
    assert developer.count(namespace="sorted", filter=said) == len(found)
    assert ids_of(developer, namespace="sorted", filter=said, order_by="start_time") == found[::-1]


def test_operations_are_counted_in_groups(developer: Caller, sorted_out: dict[str, str]) -> None:
    def groups(group_by: str, said: str = "") -> dict[str, int]:
        request = operation_pb2.CountOperationsRequest(namespace="sorted", filter=said, group_by=group_by)
        counted = developer.call(developer.operations.CountOperations, request)
        assert not counted.is_at_least
        return {group.value: group.count for group in counted.groups}

    assert groups("state") == dict.fromkeys(sorted_out, 1)
    assert groups("name") == {"flow": 6, "stalled": 1, "failed": 1}
    assert groups("awaited.role") == {"fsa.officer": 2}
    assert groups("awaited.service") == {"Nobody": 1, "Sorted": 1}
    assert groups("state", 'text = "citizen"') == {"waiting": 1}
    assert groups("") == {}


@pytest.mark.parametrize("order_by", ["update_time", "end_time", "awaited.due_time"])
def test_operations_are_listed_in_the_order_of_every_time(
    developer: Caller, sorted_out: dict[str, str], order_by: str
) -> None:
    def times(said: str) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        token = ""
        while True:
            page = page_of(developer, namespace="sorted", page_size=2, order_by=said, page_token=token)
            for operation in page.operations:
                time = operation.awaited.due_time if "due" in said else getattr(operation, order_by)
                found.append((time.seconds, time.nanos))
            token = page.next_page_token
            if not token:
                return found

    up = times(order_by)
    assert up == sorted(up)
    assert times(f"{order_by} desc") == up[::-1]
    assert len(up) == {"update_time": len(sorted_out), "end_time": 4, "awaited.due_time": len(up)}[order_by]
    assert up


def test_lists_show_summaries(developer: Caller, sorted_out: dict[str, str]) -> None:
    (summary,) = page_of(developer, namespace="sorted", filter='key = "k2"').operations
    whole = developer.get(sorted_out["waiting"], namespace="sorted")
    assert (summary.id, summary.name, summary.key, summary.requested_by) == (whole.id, "flow", "k2", "a citizen")
    assert (summary.awaited.kind, summary.awaited.who, summary.awaited.name) == ("decision", "fsa.officer", "review")
    assert summary.awaited == whole.awaited
    assert (summary.state, summary.sequence, summary.revision) == (whole.state, whole.sequence, whole.revision)
    assert (summary.definition_digest, summary.start_time) == (whole.definition_digest, whole.start_time)
    assert summary.started_by.subject == "jdavis@fsa.gov"
    assert not summary.items
    assert not summary.input
    (done,) = page_of(developer, namespace="sorted", filter='state = "completed"').operations
    assert done.HasField("end_time")
    assert not done.awaited.kind


# -- timelines ---------------------------------------------------------------------------------------------------------


def test_a_timeline_reads_the_same_in_both_directions_and_pages_hold_still_while_it_grows(
    developer: Caller, officer: Caller
) -> None:
    operation_id = developer.start(checkpoint())
    for _ in range(5):
        officer.steer("pause", operation_id)
        officer.steer("resume", operation_id)
    forwards, backwards = list[int](), list[int]()
    for found, is_backwards in ((backwards, True), (forwards, False)):
        token = ""
        while True:
            request = timeline_pb2.ListEventsRequest(
                operation_id=operation_id, page_size=5, page_token=token, backwards=is_backwards
            )
            page = developer.call(developer.timelines.ListEvents, request)
            found += [event.sequence for event in page.events]
            token = page.next_page_token
            if not token:
                break
            officer.steer("claim", operation_id)
            officer.steer("release", operation_id)
    assert backwards == list(range(12, 0, -1))
    assert forwards == list(range(1, forwards[-1] + 1))
    assert developer.events(operation_id, backwards=True) == developer.events(operation_id)[::-1]


# -- inboxes -----------------------------------------------------------------------------------------------------------


def test_an_inbox_holds_what_the_callers_roles_decide_the_longest_waiting_first(
    developer: Caller, officer: Caller, other_officer: Caller
) -> None:
    namespace = "inbox"
    roles = ["fsa.officer", "fsa.counsel", "fsa.officer", "some.other", "fsa.officer"]
    started = [developer.start(checkpoint(role=role), namespace=namespace) for role in roles]
    by_officer = officer.start(checkpoint(), namespace=namespace)
    elsewhere = developer.start(checkpoint(), namespace="other-inbox")
    decided = developer.start(checkpoint(), namespace=namespace)
    officer.steer("approve", decided, namespace=namespace)

    def of(caller: Caller, **fields: Any) -> list[str]:
        pending = inbox_of(caller, namespace=namespace, **fields)
        assert inbox_size(caller, namespace=namespace, **fields) == len(pending)
        return [one.operation_id for one in pending]

    officers = [started[0], started[2], started[4], by_officer]
    assert of(officer) == officers
    assert of(other_officer) == [*started[:3], started[4], by_officer]
    assert of(developer) == [*started, by_officer]
    assert of(developer, role="fsa.officer") == of(officer, role="fsa.officer") == officers
    assert of(officer, role="some.other") == [started[3]]
    assert of(officer, role="nobody") == []
    assert [one.operation_id for one in inbox_of(officer, namespace="other-inbox")] == [elsewhere]
    assert [one.may_decide for one in inbox_of(officer, namespace=namespace)] == [True, True, True, False]
    assert not any(one.may_decide for one in inbox_of(developer, namespace=namespace)[:-1])


def test_an_inbox_does_not_offer_what_the_callers_own_agent_started(developer: Caller, agent: Caller) -> None:
    namespace = "inbox-agent"
    operation_id = agent.start(checkpoint(), namespace=namespace)
    request = checkpoint_pb2.GetCheckpointRequest(namespace=namespace, operation_id=operation_id)
    assert not developer.call(developer.checkpoints.GetCheckpoint, request).may_decide
    assert [one.may_decide for one in inbox_of(developer, namespace=namespace)] == [False]


def test_an_inbox_shows_who_has_a_checkpoint_and_who_is_to_have_it(
    developer: Caller, officer: Caller, other_officer: Caller
) -> None:
    namespace = "hands"
    operation_id = developer.start(checkpoint(sla="1h"), namespace=namespace)

    def shown(caller: Caller) -> tuple[str, str, bool]:
        (one,) = inbox_of(caller, namespace=namespace)
        checkpoint_shown = caller.call(
            caller.checkpoints.GetCheckpoint,
            checkpoint_pb2.GetCheckpointRequest(namespace=namespace, operation_id=operation_id),
        )
        status = checkpoint_shown.checkpoint.checkpoint
        assert (status.claimed_by, status.assigned_to) == (one.claimed_by, one.assigned_to)
        assert checkpoint_shown.may_decide == one.may_decide
        assert bool(checkpoint_shown.refusal) != one.may_decide
        return one.claimed_by, one.assigned_to, one.may_decide

    davis, garcia, lee = "dev:jdavis@fsa.gov", "dev:mgarcia@fsa.gov", "dev:tlee@fsa.gov"
    # The development settings assign what officers decide.
    assert shown(officer) == ("", davis, True)
    other_officer.steer("claim", operation_id, namespace=namespace)
    assert shown(officer) == (garcia, davis, False)
    assert shown(other_officer) == (garcia, davis, True)
    other_officer.steer("release", operation_id, namespace=namespace)
    assert shown(officer) == ("", davis, True)
    officer.steer("assign", operation_id, namespace=namespace)
    assert shown(officer) == ("", lee, True)
    assert shown(developer)[2] is False
    officer.steer("pause", operation_id, namespace=namespace)
    assert shown(officer)[1] == lee
    officer.steer("approve", operation_id, namespace=namespace)
    assert inbox_of(officer, namespace=namespace) == []
