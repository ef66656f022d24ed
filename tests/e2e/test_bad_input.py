"""Bad input is answered with every fault at its place, and leaves no trace; what meets a bound is taken."""

import base64
import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hmsact.v1 import checkpoint_pb2, operation_pb2, system_pb2, timeline_pb2

from tests.e2e.raw import Caller, checkpoint, definition, refused, step

Faults = list[tuple[str, str]]

KIB = 1024
TEN_YEARS_D = 3650

numbers = count()


@pytest.fixture
def namespace(developer: Caller) -> Iterator[str]:
    """A namespace of the test's own, in which nothing may be recorded."""
    name = f"bad-input-{next(numbers)}"
    yield name
    assert developer.count(namespace=name) == 0


def shown(case: object) -> str:
    """The beginning of what is said, and its length, for the name of a test."""
    return f"{case[:40]!r} of {len(case)}" if isinstance(case, bytes) else str(case)[:40]


def faults_of(developer: Caller, namespace: str, **fields: Any) -> Faults:
    with refused("INVALID_ARGUMENT", "INVALID_REQUEST") as refusal:
        developer.started(**{"definition": definition(checkpoint()), "namespace": namespace, **fields})
    return refusal.violations


# -- definitions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "faults"),
    [
        (b"", [("definition", "NOT_JSON")]),
        (b"{", [("definition", "NOT_JSON")]),
        (b"\xff\xfe", [("definition", "NOT_UTF8")]),
        (b'{"name": "flow", "steps": [NaN]}', [("definition", "NOT_JSON")]),
        (b"[" * 40 + b"]" * 40, [("definition", "TOO_DEEP")]),
        (b"[" * 100_000, [("definition", "TOO_DEEP")]),
        (b" " * (512 * KIB + 1), [("definition", "TOO_LARGE")]),
        (b"[]", [("definition", "WRONG_TYPE")]),
        (b"{}", [("definition/name", "MISSING"), ("definition/steps", "MISSING")]),
        (definition(), [("definition/steps", "EMPTY")]),
        (definition(step(), name=""), [("definition/name", "EMPTY")]),
        (definition(step(), name="Flow"), [("definition/name", "MALFORMED")]),
        (definition(step(), name="flow\n"), [("definition/name", "MALFORMED")]),
        (definition(step(), name="f" * 65), [("definition/name", "TOO_LONG")]),
        (definition(step(), colour="red"), [("definition/colour", "UNKNOWN_FIELD")]),
        (definition(step(""), step("Ab"), step("c" * 65)), [
            ("definition/steps/0/step", "EMPTY"),
            ("definition/steps/1/step", "MALFORMED"),
            ("definition/steps/2/step", "TOO_LONG"),
        ]),
        (definition(step(), checkpoint("check")), [("definition/steps/1/checkpoint", "NAME_TAKEN")]),
        (definition(step(svc=""), step("b", svc="a b"), step("c", svc="s" * 65)), [
            ("definition/steps/0/svc", "EMPTY"),
            ("definition/steps/1/svc", "MALFORMED"),
            ("definition/steps/2/svc", "TOO_LONG"),
        ]),
        (definition({"svc": "IRS"}, {"step": "a"}, {"checkpoint": "b"}, {**step("c"), **checkpoint("d")}), [
            ("definition/steps/0", "STEP_OR_CHECKPOINT"),
            ("definition/steps/1/svc", "MISSING"),
            ("definition/steps/2/role", "MISSING"),
            ("definition/steps/3", "STEP_OR_CHECKPOINT"),
        ]),
        (definition(step(role="x"), checkpoint(svc="y")), [
            ("definition/steps/0/role", "UNKNOWN_FIELD"),
            ("definition/steps/1/svc", "UNKNOWN_FIELD"),
        ]),
        (definition(step(retries=-1), step("b", retries=101), step("c", retries="3"), step("d", retries=1.5)), [
            ("definition/steps/0/retries", "OUT_OF_RANGE"),
            ("definition/steps/1/retries", "OUT_OF_RANGE"),
            ("definition/steps/2/retries", "WRONG_TYPE"),
            ("definition/steps/3/retries", "WRONG_TYPE"),
        ]),
        (definition(*(step(f"s{number}") for number in range(1001))), [("definition/steps", "TOO_MANY")]),
        (b'{"name": "a", "name": "b", "steps": [{"step": "a", "svc": "b"}]}', [("definition/name", "SAID_TWICE")]),
    ],
    ids=shown,
)  # fmt: skip
def test_a_wrong_definition_is_told_every_fault_at_its_place(
    developer: Caller, namespace: str, said: bytes, faults: Faults
) -> None:
    assert faults_of(developer, namespace, definition=said) == faults


@pytest.mark.parametrize("field", ["sla", "timeout", "heartbeat", "retry_delay", "retry_delay_max"])
def test_a_wrong_length_of_time_is_told_in_every_field_that_has_one(
    developer: Caller, namespace: str, field: str
) -> None:
    wrong = ["2 minutes", "-1s", "5", "", "1.5h", "5S", "1s1m", "0s", "1e3s"]
    too_long = ["11000d", f"{TEN_YEARS_D}d1ms", "9" * 63 + "w"]
    steps = [step(f"s{index}", **{field: said}) for index, said in enumerate([*wrong, *too_long])]
    found = faults_of(developer, namespace, definition=definition(*steps, {**step("number"), field: 5}))
    assert sorted(found) == sorted(
        [(f"definition/steps/{index}/{field}", "BAD_DURATION") for index in range(len(wrong))]
        + [(f"definition/steps/{index + len(wrong)}/{field}", "OUT_OF_RANGE") for index in range(len(too_long))]
        + [(f"definition/steps/{len(steps)}/{field}", "WRONG_TYPE")]
    )


def test_more_faults_than_a_status_holds_are_counted(developer: Caller, namespace: str) -> None:
    steps = [step(f"S{index}") for index in range(1000)]
    with refused("INVALID_ARGUMENT") as refusal:
        developer.started(*steps, namespace=namespace)
    assert refusal.violations[0] == ("definition/steps/0/step", "MALFORMED")
    assert len(refusal.violations) + int(refusal.metadata["violations_left_out"]) == len(steps)


# -- what comes with it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"{", "NOT_JSON"),
        (b" ", "NOT_JSON"),
        (b"\xff", "NOT_JSON"),
        (b"\xef\xbb\xbf1", "NOT_JSON"),
        (b"NaN", "NOT_JSON"),
        (b"[-Infinity]", "NOT_JSON"),
        (b"1e999", "NOT_JSON"),
        (b'{"income": -1e999}', "NOT_JSON"),
        (b"9" * 5000, "NOT_JSON"),
        (b"1 2", "NOT_JSON"),
        (b"'a'", "NOT_JSON"),
        (b"[" * 33 + b"]" * 33, "TOO_DEEP"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "TOO_DEEP"),
        (b"[" * 200_000, "TOO_DEEP"),
        (b'"' + b"x" * (256 * KIB - 1) + b'"', "TOO_LARGE"),
    ],
    ids=shown,
)
def test_wrong_input_is_refused(developer: Caller, namespace: str, said: bytes, reason: str) -> None:
    assert faults_of(developer, namespace, input=said) == [("input", reason)]


def test_all_faults_of_a_start_are_told_at_once(developer: Caller) -> None:
    found = faults_of(
        developer,
        "No Namespace",
        definition=definition(step("Bad"), step("a", sla="2 minutes")),
        request_id="r" * 65,
        input=b"{",
        key="k" * 256,
        key_policy=99,
        requested_by="r" * 256,
        reason="x" * (4 * KIB + 1),
        labels={"": "a", "a b": "c", "x" * 64: "d", "office": "e" * 256, "9": "f"},
    )
    assert sorted(found) == [
        ("definition/steps/0/step", "MALFORMED"),
        ("definition/steps/1/sla", "BAD_DURATION"),
        ("input", "NOT_JSON"),
        ("key", "TOO_LONG"),
        ("key_policy", "UNKNOWN_VALUE"),
        ("labels.", "BAD_NAME"),
        ("labels.9", "BAD_NAME"),
        ("labels.a b", "BAD_NAME"),
        ("labels.office", "TOO_LONG"),
        ("labels." + "x" * 63, "BAD_NAME"),
        ("namespace", "BAD_NAME"),
        ("reason", "TOO_LONG"),
        ("request_id", "TOO_LONG"),
        ("requested_by", "TOO_LONG"),
    ]


def test_too_many_labels_are_refused(developer: Caller, namespace: str) -> None:
    labels = {f"l{number}": "v" for number in range(33)}
    assert faults_of(developer, namespace, labels=labels) == [("labels", "TOO_MANY")]


@pytest.mark.parametrize("name", ["A", "9a", "_a", "a b", "a.b", "a/b", "ü", "a\n", "a" * 64, "-"])
def test_a_namespace_is_a_name(developer: Caller, name: str) -> None:
    assert faults_of(developer, name) == [("namespace", "BAD_NAME")]
    for rpc, request in (
        (developer.operations.ListOperations, operation_pb2.ListOperationsRequest(namespace=name)),
        (developer.operations.CountOperations, operation_pb2.CountOperationsRequest(namespace=name)),
        (developer.checkpoints.ListCheckpoints, checkpoint_pb2.ListCheckpointsRequest(namespace=name)),
        (developer.checkpoints.CountCheckpoints, checkpoint_pb2.CountCheckpointsRequest(namespace=name)),
    ):
        with refused("INVALID_ARGUMENT") as refusal:
            developer.call(rpc, request)
        assert refusal.violations == [("namespace", "BAD_NAME")]


# -- the bounds themselves ---------------------------------------------------------------------------------------------


def test_every_bound_of_a_start_can_be_met_exactly(developer: Caller) -> None:
    long = step(
        "s" * 64,
        svc="S" * 64,
        retries=100,
        sla=f"{TEN_YEARS_D}d",
        timeout="1ms",
        heartbeat=f"{TEN_YEARS_D}d",
        retry_delay="1ms",
        retry_delay_max=f"{TEN_YEARS_D}d",
    )
    steps = [long, *(step(f"s{number}", retries=0) for number in range(998)), checkpoint("c" * 64, role="r" * 64)]
    said = b'"' + b"x" * (256 * KIB - 2) + b'"'
    operation_id = developer.start(
        definition=definition(*steps, name="f" * 64, sla=f"{TEN_YEARS_D}d"),
        namespace="n" * 63,
        request_id="r" * 64,
        input=said,
        key="k" * 255,
        requested_by="r" * 255,
        reason="x" * (4 * KIB),
        labels={f"{number:02}".rjust(63, "l"): "v" * 255 for number in range(32)},
    )
    operation = developer.get(operation_id, namespace="n" * 63)
    assert (len(operation.items), operation.input, operation.key) == (1000, said, "k" * 255)
    assert len(operation.labels) == 32
    assert operation.items[0].clock.budget_ms == TEN_YEARS_D * 86_400_000


@pytest.mark.parametrize("said", [b"[" * 32 + b"]" * 32, b'{"a":' * 32 + b"1" + b"}" * 32, b"", b"null", b"1.5e3"])
def test_input_up_to_the_bounds_is_taken(developer: Caller, said: bytes) -> None:
    operation = developer.get(developer.start(checkpoint(), input=said))
    assert json.loads(operation.input) == json.loads(said or b"null")


def test_comments_of_exactly_the_bound_are_kept_whole(developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    said = "ä" * (2 * KIB)
    with refused("INVALID_ARGUMENT") as refusal:
        officer.call(officer.checkpoints.ApproveCheckpoint, approve(operation_id, comment=said + "x"))
    assert refusal.violations == [("comment", "TOO_LONG")]
    officer.call(officer.checkpoints.ApproveCheckpoint, approve(operation_id, comment=said))
    approved = developer.events(operation_id)[-2]
    assert json.loads(approved.payloads["comment"]) == said


def approve(operation_id: str, **fields: Any) -> checkpoint_pb2.ApproveCheckpointRequest:
    return checkpoint_pb2.ApproveCheckpointRequest(operation_id=operation_id, checkpoint="review", **fields)


def test_a_message_over_the_limit_is_refused_and_others_go_on(developer: Caller, namespace: str) -> None:
    with refused("RESOURCE_EXHAUSTED"):
        developer.started(checkpoint(), namespace=namespace, input=b'"' + b"x" * 5_000_000 + b'"')
    assert developer.get(developer.start(checkpoint())).state == operation_pb2.OPERATION_STATE_WAITING


def test_the_bounds_in_force_are_told(developer: Caller) -> None:
    limits = developer.call(developer.system.GetSystemInfo, system_pb2.GetSystemInfoRequest()).limits
    assert limits["steps_max"] == 1000
    assert limits["payload_max_bytes"] == 256 * KIB
    assert limits["streams_per_principal_max"] == 200


# -- lists -------------------------------------------------------------------------------------------------------------


def test_all_faults_of_a_list_are_told_at_once(developer: Caller) -> None:
    with refused("INVALID_ARGUMENT") as refusal:
        developer.call(
            developer.operations.ListOperations,
            operation_pb2.ListOperationsRequest(
                namespace="No", page_size=-1, page_token="%", order_by="name", filter='colour = "red" AND state = "odd"'
            ),
        )
    assert sorted(refusal.violations) == [
        ("filter", "BAD_FILTER"),
        ("filter", "BAD_FILTER"),
        ("namespace", "BAD_NAME"),
        ("order_by", "BAD_ORDER"),
        ("page_size", "OUT_OF_RANGE"),
        ("page_token", "BAD_CURSOR"),
    ]


@pytest.mark.parametrize(
    "said",
    [
        "state",
        'state = "odd"',
        "state = running",
        'state = "running" OR name = "failed"',
        'key = "a" OR key = "b"',
        "state : *",
        'labels.office > "east"',
        'text = "- %"',
        'text = "' + "a b c d e f g h i j k l m n o p q" + '"',
        'awaited.kind = "nobody"',
        'awaited.role = "fsa.officer" AND awaited.service = "IRS"',
        'alarm = "red"',
        'start_time >= "yesterday"',
        'start_time >= "2026-13-01T00:00:00Z"',
        'start_time = "2026-11-01T00:00:00Z"',
        'state = "running" state = "failed"',
        'state = "running" AND state = "failed"',
        'state = "running" AND',
        'AND state = "running"',
        'name = "a" AND name = "b"',
        'labels.office = "east" AND labels.office = "west"',
        'labels. = "east"',
        'colour = "red"',
        'name = "\\ud800"',
        'name = "\\x"',
        'name > "a"',
        "x" * 4097,
        "'; DROP TABLE operation; --",
    ],
)
def test_a_wrong_filter_is_refused_by_lists_and_counts(developer: Caller, said: str) -> None:
    for rpc, request in (
        (developer.operations.ListOperations, operation_pb2.ListOperationsRequest(filter=said)),
        (developer.operations.CountOperations, operation_pb2.CountOperationsRequest(filter=said)),
    ):
        with refused("INVALID_ARGUMENT") as refusal:
            developer.call(rpc, request)
        assert set(refusal.violations) == {("filter", "BAD_FILTER")}


def test_a_page_token_of_another_query_is_refused(developer: Caller) -> None:
    first, second = (developer.start(checkpoint(), namespace="tokens") for _ in range(2))

    def page(**fields: Any) -> Any:
        request = operation_pb2.ListOperationsRequest(**{"namespace": "tokens", "page_size": 1, **fields})
        return developer.call(developer.operations.ListOperations, request)

    token = page().next_page_token
    assert [operation.id for operation in page(page_token=token).operations] == [first]
    for other in ({"filter": 'state = "waiting"'}, {"order_by": "start_time"}, {"namespace": "other"}):
        with refused("INVALID_ARGUMENT") as refusal:
            page(page_token=token, **other)
        assert refusal.violations == [("page_token", "CURSOR_OF_ANOTHER_QUERY")]
    listed = developer.call(
        developer.timelines.ListEvents,
        timeline_pb2.ListEventsRequest(namespace="tokens", operation_id=first, page_size=1),
    )
    for request in (
        timeline_pb2.ListEventsRequest(
            namespace="tokens", operation_id=first, backwards=True, page_token=listed.next_page_token
        ),
        timeline_pb2.ListEventsRequest(namespace="tokens", operation_id=second, page_token=listed.next_page_token),
    ):
        with refused("INVALID_ARGUMENT") as refusal:
            developer.call(developer.timelines.ListEvents, request)
        assert refusal.violations == [("page_token", "CURSOR_OF_ANOTHER_QUERY")]


def forged(token: str, *position: int | str) -> str:
    """A token with the mark of a genuine one and a position that nobody gave."""
    genuine = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    return base64.urlsafe_b64encode(json.dumps([genuine[0], *position]).encode()).rstrip(b"=").decode()


def test_garbage_and_forgeries_are_no_page_tokens(developer: Caller) -> None:
    for _ in range(2):
        developer.start(checkpoint(), namespace="forgery")
    request = operation_pb2.ListOperationsRequest(namespace="forgery", page_size=1)
    token = developer.call(developer.operations.ListOperations, request).next_page_token
    for garbage in (
        "x",
        "ü",
        "A" * 600,
        token[:-1],
        token + "A",
        token.lower(),
        base64.urlsafe_b64encode(b"[" * 380).decode().rstrip("="),
        forged(token),
        forged(token, 1),
        forged(token, "1", "op"),
        forged(token, 2**63, "op"),
        forged(token, -1, "op"),
        forged(token, 1, "\ud800"),
        forged(token, 1, "op", 1),
    ):
        request.page_token = garbage
        with refused("INVALID_ARGUMENT") as refusal:
            developer.call(developer.operations.ListOperations, request)
        assert refusal.violations == [("page_token", "BAD_CURSOR")]


def test_everything_that_is_wrong_with_reading_a_timeline_is_told_at_once(developer: Caller) -> None:
    wrong: dict[str, Any] = {"namespace": "No Namespace", "operation_id": "no id"}
    shared = [("namespace", "BAD_NAME"), ("operation_id", "BAD_OPERATION_ID")]
    watch = timeline_pb2.WatchOperationRequest(after="garbage", **wrong)
    with refused("INVALID_ARGUMENT") as refusal:
        next(developer.stream(developer.timelines.WatchOperation, watch))
    assert refusal.violations == [*shared, ("after", "BAD_CURSOR")]
    listing = timeline_pb2.ListEventsRequest(page_token="garbage", page_size=-1, **wrong)
    with refused("INVALID_ARGUMENT") as refusal:
        developer.call(developer.timelines.ListEvents, listing)
    assert refusal.violations == [*shared, ("page_size", "OUT_OF_RANGE"), ("page_token", "BAD_CURSOR")]
    export = timeline_pb2.ExportOperationRequest(earlier_sizes=[0], **wrong)
    with refused("INVALID_ARGUMENT") as refusal:
        next(developer.stream(developer.timelines.ExportOperation, export))
    assert [place for place, _ in refusal.violations] == ["namespace", "operation_id", "earlier_sizes[0]"]


def test_an_unknown_assignee_is_told_with_everything_else_that_is_wrong(developer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    with refused("INVALID_ARGUMENT") as refusal:
        developer.steer("assign", operation_id, assignee="dev:nobody", reason="x" * 70_000)
    assert refusal.violations == [("reason", "TOO_LONG"), ("assignee", "PERSON_UNKNOWN")]


def test_a_wrong_cursor_of_a_watch_is_refused(developer: Caller) -> None:
    mine, other = developer.start(checkpoint()), developer.start(checkpoint())
    cursor = developer.events(mine)[0].cursor
    for operation_id, after, reason in (
        (mine, "garbage", "BAD_CURSOR"),
        (mine, forged(cursor, 2**70), "BAD_CURSOR"),
        (mine, forged(cursor, -1), "BAD_CURSOR"),
        (other, cursor, "CURSOR_OF_ANOTHER_QUERY"),
    ):
        request = timeline_pb2.WatchOperationRequest(operation_id=operation_id, after=after)
        with refused("INVALID_ARGUMENT") as refusal:
            next(developer.stream(developer.timelines.WatchOperation, request))
        assert refusal.violations == [("after", reason)]


# -- spans and enums ---------------------------------------------------------------------------------------------------


def test_spans_out_of_range_are_refused(developer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    wait = operation_pb2.WaitOperationRequest(operation_id=operation_id, timeout=Duration(seconds=-1))
    with refused("INVALID_ARGUMENT") as refusal:
        developer.call(developer.operations.WaitOperation, wait)
    assert refusal.violations == [("timeout", "OUT_OF_RANGE")]
    for seconds in (-1, 0, TEN_YEARS_D * 86_400 + 1, 315_576_000_000):
        advance = system_pb2.AdvanceClockRequest(by=Duration(seconds=seconds))
        with refused("INVALID_ARGUMENT") as refusal:
            developer.call(developer.system.AdvanceClock, advance)
        assert refusal.violations == [("by", "OUT_OF_RANGE")]


def test_an_export_is_joined_only_to_sizes_that_the_log_has_had(developer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    for sizes, fields in (
        ([1, 0, 2**40, -1], [f"earlier_sizes[{index}]" for index in (1, 2, 3)]),
        ([1] * 17, ["earlier_sizes"]),
    ):
        request = timeline_pb2.ExportOperationRequest(operation_id=operation_id, earlier_sizes=sizes)
        with refused("INVALID_ARGUMENT") as refusal:
            list(developer.stream(developer.timelines.ExportOperation, request))
        assert [field for field, _ in refusal.violations] == fields


def test_an_unknown_value_of_an_enum_is_refused_and_not_taken_for_another(developer: Caller, namespace: str) -> None:
    policy: Any = 99
    assert faults_of(developer, namespace, key="k", key_policy=policy) == [("key_policy", "UNKNOWN_VALUE")]
    operation_id = developer.start(checkpoint())
    pause = operation_pb2.PauseOperationRequest(operation_id=operation_id, clock=policy)
    with refused("INVALID_ARGUMENT") as refusal:
        developer.call(developer.operations.PauseOperation, pause)
    assert refusal.violations == [("clock", "UNKNOWN_VALUE")]
    assert developer.get(operation_id).state == operation_pb2.OPERATION_STATE_WAITING


def test_demanded_fields_are_asked_for_all_at_once(developer: Caller) -> None:
    at_operation = ("operation_id", "BAD_OPERATION_ID")
    cases: list[tuple[Callable[..., Any], Any, Faults]] = [
        (
            developer.operations.SkipStep,
            operation_pb2.SkipStepRequest(namespace="No", request_id="r" * 65),
            [
                ("namespace", "BAD_NAME"),
                ("request_id", "TOO_LONG"),
                at_operation,
                ("step", "REQUIRED"),
                ("reason", "REQUIRED"),
            ],
        ),
        (
            developer.operations.RetryStep,
            operation_pb2.RetryStepRequest(operation_id="*"),
            [at_operation, ("step", "REQUIRED")],
        ),
        (
            developer.operations.PauseOperation,
            operation_pb2.PauseOperationRequest(clock=operation_pb2.PAUSE_CLOCK_STOP),
            [at_operation, ("reason", "REQUIRED")],
        ),
        (
            developer.checkpoints.ApproveCheckpoint,
            checkpoint_pb2.ApproveCheckpointRequest(comment="x" * 4097),
            [at_operation, ("checkpoint", "REQUIRED"), ("comment", "TOO_LONG")],
        ),
        (
            developer.checkpoints.AssignCheckpoint,
            checkpoint_pb2.AssignCheckpointRequest(),
            [at_operation, ("checkpoint", "REQUIRED"), ("assignee", "REQUIRED")],
        ),
        (
            developer.timelines.ListEvents,
            timeline_pb2.ListEventsRequest(operation_id="OP", page_size=-1),
            [at_operation, ("page_size", "OUT_OF_RANGE")],
        ),
    ]
    for rpc, request, faults in cases:
        with refused("INVALID_ARGUMENT") as refusal:
            developer.call(rpc, request)
        assert refusal.violations == faults


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/grpc.health.v1.Health/Check", "unary_unary"),
        ("/grpc.health.v1.Health/Watch", "unary_stream"),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "stream_stream"),
    ],
)
@pytest.mark.parametrize("raw", [b"\x0a\xff", b"\x0a\x02\xff\xfe"])
def test_bytes_that_are_no_message_are_refused_as_such_also_by_health_and_reflection(
    developer: Caller, path: str, shape: str, raw: bytes
) -> None:
    call = getattr(developer.channel, shape)(path)
    with refused("INVALID_ARGUMENT", "INVALID_REQUEST") as refusal:
        list(call(iter([raw]) if shape.startswith("stream") else raw, timeout=10))
    assert refusal.violations == [("", "NOT_PROTOBUF")]
    assert "DecodeError" not in refusal.sentence
