"""The largest payloads that are taken, kept three times as long, still fit into every message that shows them."""

from collections.abc import Iterator

import pytest
from hmsact.testing import Daemon
from hmsact.v1 import checkpoint_pb2, event_pb2, timeline_pb2

from tests.e2e.raw import Caller, RawWorker, checkpoint, hello, step

LARGEST = ('"' + "é" * 131_000 + '"').encode()
"""262,002 bytes as they are sent, 786,002 as they are kept: everything but ASCII is escaped."""

KEPT_BYTES = 786_002
PART_MAX_BYTES = 1024 * 1024
NAMES = [f"s{number}" for number in range(6)]


@pytest.fixture(scope="module")
def operation_id(daemon: Daemon) -> Iterator[str]:
    """An operation of which everything is as large as it may be, at a checkpoint."""
    with Caller(daemon.address) as developer, Caller(daemon.address, "dev:svc/IRS") as irs:
        operation_id = developer.start(*map(step, NAMES), checkpoint(), input=LARGEST)
        with RawWorker(irs, hello(steps=NAMES)) as worker:
            for _ in NAMES:
                worker.done(worker.call().attempt, LARGEST)
                assert worker.judged() == ("RECORDED", "")
        developer.happens(operation_id, "checkpoint_pending")
        yield operation_id


def test_an_operation_shows_the_last_output_and_says_which_were_left_out(developer: Caller, operation_id: str) -> None:
    request = checkpoint_pb2.GetCheckpointRequest(operation_id=operation_id)
    pending = developer.call(developer.checkpoints.GetCheckpoint, request).operation
    for operation in (developer.get(operation_id), pending):
        shown = [(len(item.step.output), item.step.is_output_left_out) for item in operation.items[:-1]]
        assert shown == [(0, True)] * 5 + [(KEPT_BYTES, False)]
        assert (len(operation.input), len(operation.output)) == (KEPT_BYTES, KEPT_BYTES)


def test_an_output_that_is_asked_for_is_shown(developer: Caller, operation_id: str) -> None:
    operation = developer.get(operation_id, outputs_of=["s2"])
    assert [len(item.step.output) for item in operation.items[:4]] == [0, 0, KEPT_BYTES, 0]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_page_of_events_ends_before_what_does_not_fit(developer: Caller, operation_id: str, backwards: bool) -> None:
    events = developer.events(operation_id, backwards=backwards, with_records=True)
    numbers = [event.sequence for event in events]
    assert numbers == sorted(range(1, 15), reverse=backwards)
    assert sum(map(_said_bytes, events)) >= 7 * KEPT_BYTES


def test_every_event_is_watched(developer: Caller, operation_id: str) -> None:
    request = timeline_pb2.WatchOperationRequest(operation_id=operation_id, no_follow=True, with_records=True)
    frames = list(developer.stream(developer.timelines.WatchOperation, request))
    assert [frame.event.sequence for frame in frames] == list(range(1, 15))
    assert sum(_said_bytes(frame.event) for frame in frames) >= 7 * KEPT_BYTES


def test_an_export_comes_in_pieces(developer: Caller, operation_id: str) -> None:
    request = timeline_pb2.ExportOperationRequest(operation_id=operation_id)
    pieces = [len(answer.part) for answer in developer.stream(developer.timelines.ExportOperation, request)]
    assert max(pieces) == PART_MAX_BYTES
    assert sum(pieces) > 7 * KEPT_BYTES


def _said_bytes(event: event_pb2.Event) -> int:
    return sum(map(len, event.payloads.values()))
