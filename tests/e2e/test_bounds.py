"""Bounds that the settings have lowered hold as they say, and the answer at each names it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hmsact.testing import Daemon
from hmsact.v1 import operation_pb2, system_pb2, timeline_pb2, worker_pb2

from hmsactd.engine.session import UNANSWERED_MAX
from hmsactd.rpc.chosen import LIST_MAX
from tests.e2e.raw import Caller, RawWorker, checkpoint, definition, eventually, hello, reason_of, refused, step

SETTINGS = """
[workers]
sessions_max = 2
max_in_flight = 2
[bounds]
definition_max_bytes = 400
steps_max = 2
name_max = 8
svc_max = 4
role_max = 12
retries_max = 1
span_max = "1h"
depth_max = 3
payload_max_bytes = 20
comment_max_bytes = 10
label_key_max = 3
label_value_max = 4
labels_max = 2
key_max = 5
request_id_max = 6
page_max = 3
open_operations_per_namespace_max = 3
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with narrow bounds, on the clock of the machine."""
    config: Path = tmp_path_factory.mktemp("settings") / "hmsactd.toml"
    config.write_text(SETTINGS)
    with Daemon(test_clock=False, arguments=["--config", str(config)]) as daemon:
        yield daemon


@pytest.mark.parametrize(
    ("fields", "place", "bound"),
    [
        ({"definition": b" " * 401}, "definition", "400"),
        ({"definition": definition(step("a"), step("b"), step("c"))}, "definition/steps", "2"),
        ({"definition": definition(step("a" * 9))}, "definition/steps/0/step", "8"),
        ({"definition": definition(step("a", "Labor"))}, "definition/steps/0/svc", "4"),
        ({"definition": definition(checkpoint(role="r" * 13))}, "definition/steps/0/role", "12"),
        ({"definition": definition(step("a", retries=2))}, "definition/steps/0/retries", "1"),
        ({"definition": definition(step("a", sla="1h1ms"))}, "definition/steps/0/sla", "1h"),
        ({"definition": b'{"name":"f","steps":[{"step":[1]}]}'}, "definition", "3"),
        ({"input": b'"' + b"x" * 19 + b'"'}, "input", "20"),
        ({"input": b"[[[[]]]]"}, "input", "3"),
        ({"reason": "x" * 11}, "reason", "10"),
        ({"labels": {"abcd": "x"}}, "labels.abc", "3"),
        ({"labels": {"abc": "12345"}}, "labels.abc", "4"),
        ({"labels": {"a": "", "b": "", "c": ""}}, "labels", "2"),
        ({"key": "123456"}, "key", "5"),
        ({"request_id": "1234567"}, "request_id", "6"),
    ],
    ids=lambda case: str(case)[:50],
)
def test_what_passes_a_bound_is_told_which(developer: Caller, fields: dict[str, Any], place: str, bound: str) -> None:
    with refused("INVALID_ARGUMENT", "INVALID_REQUEST") as refusal:
        developer.started(**{"definition": definition(checkpoint()), "namespace": "narrow", **fields})
    assert [field for field, _ in refusal.violations] == [place]
    assert bound in refusal.sentence
    assert developer.count(namespace="narrow") == 0


def test_a_page_is_no_longer_than_its_bound(developer: Caller) -> None:
    operation_id = developer.start(checkpoint(), namespace="pages")
    for _ in range(2):
        developer.steer("pause", operation_id, namespace="pages")
        developer.steer("resume", operation_id, namespace="pages")
    request = timeline_pb2.ListEventsRequest(namespace="pages", operation_id=operation_id)
    page = developer.call(developer.timelines.ListEvents, request)
    assert (len(page.events), bool(page.next_page_token)) == (3, True)
    request.page_size = 4
    with refused("INVALID_ARGUMENT") as refusal:
        developer.call(developer.timelines.ListEvents, request)
    assert refusal.violations == [("page_size", "OUT_OF_RANGE")]
    assert "3" in refusal.sentence


def test_so_many_workers_are_connected_and_no_more(developer: Caller) -> None:
    def one_more() -> None:
        with RawWorker(developer, hello()) as third:
            third.hang_up()
            third.ended()

    with RawWorker(developer, hello()) as first, RawWorker(developer, hello()) as second:
        first.welcome()
        second.welcome()
        with refused("RESOURCE_EXHAUSTED", "SESSIONS_MAX") as refusal:
            one_more()
        assert "2" in refusal.sentence
        second.say(worker_pb2.WorkRequest(leaving=True))
        second.hang_up()
        second.ended()
        eventually(lambda: not reason_of(one_more))


def test_a_namespace_has_so_many_open_operations_and_no_more(developer: Caller, officer: Caller) -> None:
    namespace = "open"
    started = [developer.start(checkpoint(), namespace=namespace) for _ in range(3)]
    with refused("RESOURCE_EXHAUSTED") as refusal:
        developer.start(checkpoint(), namespace=namespace)
    assert "3" in refusal.sentence
    officer.steer("approve", started[0], namespace=namespace)
    developer.start(checkpoint(), namespace=namespace)


def test_the_clock_of_the_machine_is_not_moved(developer: Caller, officer: Caller) -> None:
    request = system_pb2.AdvanceClockRequest(by=Duration(seconds=1))
    with refused("FAILED_PRECONDITION", "NO_TEST_CLOCK"):
        developer.call(developer.system.AdvanceClock, request)
    with refused("PERMISSION_DENIED", "PERMISSION_MISSING"):
        officer.call(officer.system.AdvanceClock, request)


def test_what_meets_every_bound_is_taken(developer: Caller) -> None:
    operation_id = developer.start(
        definition=definition(step("a" * 8, "Home", retries=1, sla="1h"), checkpoint(role="r" * 12), name="n" * 8),
        namespace="exact",
        input=b"[[[" + b" " * 14 + b"]]]",
        reason="x" * 10,
        labels={"abc": "1234", "b": ""},
        key="12345",
        request_id="123456",
    )
    assert developer.get(operation_id, namespace="exact").state == operation_pb2.OPERATION_STATE_RUNNING


@pytest.mark.parametrize("count", [1_000, 100_000])
def test_what_lies_beyond_a_bound_is_not_looked_at(developer: Caller, count: int) -> None:
    """However many members a list has: each is looked at up to the bound, and the bound is one fault more."""

    def faults(request: Callable[[], object]) -> int:
        with refused("INVALID_ARGUMENT", "INVALID_REQUEST") as refusal:
            request()
        return len(refusal.violations) + int(refusal.metadata.get("violations_left_out", "0"))

    sizes = timeline_pb2.ExportOperationRequest(operation_id="op", earlier_sizes=[0] * count)
    assert faults(lambda: list(developer.stream(developer.timelines.ExportOperation, sizes))) == 16 + 1
    labels = {f"-{number}": "" for number in range(count)}
    assert faults(lambda: developer.started(checkpoint(), labels=labels)) == 2 + 1
    kinds = timeline_pb2.WatchEventsRequest(filter=timeline_pb2.EventFilter(kinds=["odd"] * count))
    assert faults(lambda: list(developer.stream(developer.timelines.WatchEvents, kinds))) == LIST_MAX + 1


def test_a_worker_has_as_many_calls_in_hand_as_it_can_have_been_given_or_have_reported(developer: Caller) -> None:
    most = 2 + UNANSWERED_MAX
    with RawWorker(developer, hello(in_hand=[worker_pb2.Attempt()] * most)) as worker:
        worker.welcome()
    with (
        refused("INVALID_ARGUMENT") as refusal,
        RawWorker(developer, hello(in_hand=[worker_pb2.Attempt()] * (most + 1))) as worker,
    ):
        worker.ended()
    assert refusal.violations == [("hello.in_hand", "TOO_MANY")]
    assert str(most) in refusal.sentence
