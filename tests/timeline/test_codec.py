"""Events as records hold them, and back."""

import json
from dataclasses import dataclass, fields, replace
from typing import get_args

import pytest
import rfc8785
from hmsact.record import canonical, canonical_text
from hypothesis import given
from hypothesis import strategies as st

from hmsactd.core import events as e
from hmsactd.core.events import Event
from hmsactd.core.principal import DAEMON
from hmsactd.timeline import codec, moment
from hmsactd.timeline.codec import KINDS, Place
from tests.timeline.samples import BEGAN, IRS, JDAVIS, NAMES, one_of_every_kind, step_started

PLACE = Place("hmsactd-abcdefghijkl/log/0", 7, "default", "op_1")

SAMPLES = {f"{event.kind} {number}": event for number, event in enumerate(one_of_every_kind())}


def record_of(event: Event, sequence: int = 5) -> bytes:
    return codec.draft(event, NAMES.get(getattr(event, "instance", 0)), PLACE, sequence).record(41, f'"{"0f" * 32}"')


@pytest.mark.parametrize("event", SAMPLES.values(), ids=SAMPLES)
def test_every_event_is_read_back_as_it_was(event: Event) -> None:
    assert codec.decode(record_of(event)) == event


@pytest.mark.parametrize("event", SAMPLES.values(), ids=SAMPLES)
def test_every_record_is_canonical_json(event: Event) -> None:
    record = record_of(event)
    told = json.loads(record)
    assert rfc8785.dumps(told) == record
    assert canonical(told) == record


def test_the_samples_hold_every_kind_and_the_table_knows_it() -> None:
    classes = set(get_args(Event))
    assert {type(event) for event in one_of_every_kind()} == classes
    assert {kind.event_class for kind in KINDS.values()} == classes
    assert all(name == kind.event_class.kind for name, kind in KINDS.items())


def test_a_record_says_where_it_stands() -> None:
    told = json.loads(record_of(e.StepDone(BEGAN, IRS, 2, 3, one_of_every_kind()[0].input)))  # type: ignore[union-attr]
    said = told.pop("payloads")
    assert told == {
        "v": 1,
        "log": "hmsactd-abcdefghijkl/log/0",
        "index": 41,
        "epoch": 7,
        "namespace": "default",
        "operation": "op_1",
        "sequence": 5,
        "prev": "0f" * 32,
        "kind": "step_done",
        "version": 1,
        "at": "2026-10-02T11:54:56.123456Z",
        "principal": {"kind": "service", "issuer": "dev", "subject": "svc/IRS", "roles": [], "method": "dev"},
        "subject": {"name": "eligibility_check", "instance": 2, "attempt": 3},
        "data": {},
    }
    assert list(said) == ["output"]
    assert set(said["output"]) == {"commitment", "size"}


def test_a_first_record_follows_none() -> None:
    record = codec.draft(one_of_every_kind()[0], None, PLACE, 1).record(0, "null")
    assert json.loads(record)["prev"] is None


def test_the_start_holds_the_whole_flow_with_its_instances() -> None:
    told = json.loads(record_of(one_of_every_kind()[0]))["data"]
    assert set(told) == {"definition", "digest", "sla_ms", "items"}
    assert [(item["instance"], item["item"], item["name"]) for item in told["items"]] == [
        (1, "step", "validate_form"),
        (2, "step", "eligibility_check"),
        (3, "checkpoint", "human_review"),
    ]
    assert told["items"][0]["sla_ms"] is None


def test_only_what_is_not_as_by_default_is_written() -> None:
    assert json.loads(record_of(e.StepFailed(BEGAN, IRS, 2, 1, "X", 3)))["data"] == {"code": "X", "retries": 3}
    assert json.loads(record_of(e.StepFailed(BEGAN, IRS, 2, 1, "", 0, retry=1)))["data"] == {
        "code": "",
        "retries": 0,
        "retry": 1,
    }


def test_times_in_data_are_written_as_times() -> None:
    told = json.loads(record_of(e.SlaBreach(BEGAN, DAEMON, 2, 5, BEGAN + 1, 3)))["data"]
    assert told == {"sla_ms": 5, "due_at": "2026-10-02T11:54:56.123457Z", "late_ms": 3}


def test_events_of_the_whole_operation_have_no_subject() -> None:
    assert json.loads(record_of(e.SlaBreach(BEGAN, DAEMON, 0, 5, BEGAN, 3)))["subject"] is None
    assert json.loads(record_of(e.OperationPaused(BEGAN, JDAVIS, "run")))["subject"] is None
    assert json.loads(record_of(e.CheckpointClaimed(BEGAN, JDAVIS, 3)))["subject"] == {
        "name": "human_review",
        "instance": 3,
    }


def test_a_kind_that_is_not_known_is_passed_over() -> None:
    assert codec.decode(record_of(step_started()).replace(b"step_started", b"step_admired")) is None


def test_fields_that_are_not_known_are_left_aside() -> None:
    told = json.loads(record_of(step_started()))
    told["data"]["mood"] = "good"
    told["payloads"]["poem"] = {"commitment": "ab" * 32, "size": 1}
    assert codec.decode(canonical(told)) == step_started()


def test_fields_that_an_older_writer_left_out_are_as_by_default() -> None:
    event = e.StepFailed(BEGAN, IRS, 2, 1, "X", 3)
    told = json.loads(record_of(replace(event, retry=2, retry_at=BEGAN)))
    del told["data"]["retry"], told["data"]["retry_at"]
    assert codec.decode(canonical(told)) == event


def test_words_do_not_get_into_a_record() -> None:
    with pytest.raises(ValueError, match="only ASCII"):
        record_of(e.StepStalled(BEGAN, DAEMON, 2, "ÜBERLASTET"))


def test_what_needs_escaping_is_escaped_canonically() -> None:
    place = Place("hmsactd-abcdefghijkl/log/0", 1, 'a"b\\c', "op\x01\x7f")
    record = codec.draft(step_started(), 'x"y', place, 1).record(0, "null")
    assert rfc8785.dumps(json.loads(record)) == record


def test_no_class_has_a_field_that_records_cannot_hold() -> None:
    # Kind refuses such a class when it is made; here is what keeps that promise from being empty.
    for kind in KINDS.values():
        own = {field.name for field in fields(kind.event_class)} - {"at", "by", "instance", "attempt"}
        assert {*kind.data_names, *kind.payload_names} == own


def test_a_field_that_records_cannot_hold_is_refused_when_its_class_is_read() -> None:
    @dataclass
    class Weighed:
        weight: float

    with pytest.raises(TypeError, match="no record can hold the field weight of type"):
        codec._writer(fields(Weighed)[0])


def test_more_flows_than_are_remembered_are_written_and_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "FLOWS_REMEMBERED", 3)
    monkeypatch.setattr(codec, "_flow_texts", {})
    monkeypatch.setattr(codec, "_flows_read", {})
    begun = one_of_every_kind()[0]
    assert isinstance(begun, e.OperationStarted)
    # Two of each digest: what a record says counts.
    flows = [replace(begun.flow, name=f"flow_{number}", digest=f"{number // 2:064x}") for number in range(8)]
    for flow in [*flows, *flows]:
        assert codec.decode(record_of(replace(begun, flow=flow), 1)) == replace(begun, flow=flow)
        assert len(codec._flow_texts) <= 3
        assert len(codec._flows_read) <= 3


@given(st.integers(0, 4_000_000_000_000_000))
def test_times_are_read_back_as_they_were(at_us: int) -> None:
    assert moment.read(moment.written(at_us)) == at_us


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(max_codepoint=127)),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner),
    )
)
def test_our_canonical_form_is_that_of_rfc_8785(value: object) -> None:
    assert canonical_text(value).encode() == rfc8785.dumps(value)  # type: ignore[arg-type]
