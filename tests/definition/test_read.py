"""Definitions from JSON: what is understood, and that every fault is told at its place."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from hmsactd.definition.bounds import Bounds
from hmsactd.definition.fault import DefinitionFaults, Fault
from hmsactd.definition.flow import CheckpointDefinition, Flow, OnExhausted, StepDefinition
from hmsactd.definition.read import Defaults, read

DEFAULTS = Defaults(assign={"fsa.officer": "dev:jdavis@fsa.gov"})
BOUNDS = Bounds()

LOAN: dict[str, Any] = {
    "name": "loan_forgiveness",
    "steps": [
        {"step": "validate_form", "svc": "FSA"},
        {"step": "eligibility_check", "svc": "IRS", "sla": "2m"},
        {"checkpoint": "human_review", "role": "fsa.officer"},
        {"step": "update_balance", "svc": "Treasury"},
        {"step": "notify_applicant", "svc": "Email"},
    ],
}


def encoded(said: Any) -> bytes:
    return json.dumps(said).encode()


def faults_of(text: bytes, bounds: Bounds = BOUNDS) -> list[Fault]:
    with pytest.raises(DefinitionFaults) as refused:
        read(text, DEFAULTS, bounds)
    return list(refused.value.faults)


def places_of(text: bytes, bounds: Bounds = BOUNDS) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.code) for fault in faults_of(text, bounds)]


def step(**said: Any) -> dict[str, Any]:
    return {"step": "a", "svc": "A", **said}


def flow(*items: Any, **said: Any) -> dict[str, Any]:
    return {"name": "n", "steps": list(items), **said}


def only_step(**said: Any) -> StepDefinition:
    item = read(encoded(flow(step(**said))), DEFAULTS, BOUNDS).items[0]
    assert isinstance(item, StepDefinition)
    return item


# -- what is understood ------------------------------------------------------------------------------------------------


def test_the_loan_of_the_chapter_is_read_with_every_default_filled_in() -> None:
    loan = read(encoded(LOAN), DEFAULTS, BOUNDS)
    assert (loan.name, loan.sla_ms) == ("loan_forgiveness", None)
    assert loan.items[1] == StepDefinition(
        name="eligibility_check",
        svc="IRS",
        sla_ms=120_000,
        retries=3,
        retry_delay_ms=2_000,
        retry_delay_max_ms=300_000,
        timeout_ms=None,
        heartbeat_ms=None,
        on_exhausted=OnExhausted.STALL,
        unattended_ms=900_000,
    )
    assert loan.items[2] == CheckpointDefinition("human_review", "fsa.officer", None, "dev:jdavis@fsa.gov", 900_000)
    assert [item.name for item in loan.items] == [
        "validate_form",
        "eligibility_check",
        "human_review",
        "update_balance",
        "notify_applicant",
    ]


def test_everything_that_can_be_said_is_heard() -> None:
    said = step(
        sla="1h",
        retries=0,
        timeout="10m",
        heartbeat="30s",
        retry_delay="500ms",
        retry_delay_max="PT1M",
        on_exhausted="fail",
    )
    read_flow = read(encoded(flow(said, {"checkpoint": "c", "role": "r", "sla": "2d"}, sla="1w")), DEFAULTS, BOUNDS)
    assert read_flow.sla_ms == 604_800_000
    assert read_flow.items == (
        StepDefinition("a", "A", 3_600_000, 0, 500, 60_000, 600_000, 30_000, OnExhausted.FAIL, 900_000),
        CheckpointDefinition("c", "r", 172_800_000, None, 900_000),
    )


def test_a_first_delay_beyond_the_default_cap_lifts_the_cap() -> None:
    item = only_step(retry_delay="1h")
    assert (item.retry_delay_ms, item.retry_delay_max_ms) == (3_600_000, 3_600_000)


def test_a_cap_below_the_default_first_delay_lowers_the_delay() -> None:
    item = only_step(retry_delay_max="1s")
    assert (item.retry_delay_ms, item.retry_delay_max_ms) == (1_000, 1_000)


@pytest.mark.parametrize("written", ["2", "2.0", "2e0", "0.2e1"])
def test_a_whole_number_is_one_however_it_is_written(written: str) -> None:
    text = b'{"name": "n", "steps": [{"step": "a", "svc": "A", "retries": %s}]}' % written.encode()
    loan = read(text, DEFAULTS, BOUNDS)
    item = loan.items[0]
    assert isinstance(item, StepDefinition)
    assert item.retries == 2
    assert loan.digest == read(encoded(flow(step(retries=2))), DEFAULTS, BOUNDS).digest


def test_a_byte_order_mark_says_nothing() -> None:
    assert read(b"\xef\xbb\xbf" + encoded(LOAN), DEFAULTS, BOUNDS) == read(encoded(LOAN), DEFAULTS, BOUNDS)


def test_the_digest_is_that_of_the_canonical_json_of_what_was_said() -> None:
    digest = read(encoded(LOAN), DEFAULTS, BOUNDS).digest
    assert digest == hashlib.sha256(rfc8785.dumps(LOAN)).hexdigest()
    backwards = {"steps": [dict(reversed(item.items())) for item in LOAN["steps"]], "name": LOAN["name"]}
    assert read(json.dumps(backwards, indent=4).encode(), DEFAULTS, BOUNDS).digest == digest


def test_the_digest_tells_what_was_said_from_what_is_the_default() -> None:
    silent = read(encoded(flow(step())), DEFAULTS, BOUNDS)
    said = read(encoded(flow(step(retries=3))), DEFAULTS, BOUNDS)
    assert silent.items == said.items
    assert silent.digest != said.digest


def test_names_and_lists_may_be_as_long_as_their_bounds() -> None:
    items = [
        {"step": f"{'a' * 60}{index:04}", "svc": "S" * 64, "sla": "3650d", "retries": 100} for index in range(1000)
    ]
    read_flow = read(encoded({"name": "n" * 64, "steps": items}), DEFAULTS, BOUNDS)
    assert len(read_flow.items) == 1000


# -- what is refused ---------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[bytes, list[tuple[str, str]]]] = {
    "no text": (b"", [("", "NOT_JSON")]),
    "not UTF-8": (b'{"name": "\xff"}', [("", "NOT_UTF8")]),
    "UTF-16": (json.dumps(LOAN).encode("utf-16"), [("", "NOT_UTF8")]),
    "cut off": (encoded(LOAN)[:-1], [("", "NOT_JSON")]),
    "two documents": (encoded(LOAN) * 2, [("", "NOT_JSON")]),
    "NaN": (b'{"name": NaN}', [("", "NOT_JSON")]),
    "infinity": (b"-Infinity", [("", "NOT_JSON")]),
    "a comment": (b"{} // nothing", [("", "NOT_JSON")]),
    "too large": (b" " * (BOUNDS.definition_max_bytes + 1), [("", "TOO_LARGE")]),
    "deeper than the bound": (b"[" * 33 + b"]" * 33, [("", "TOO_DEEP")]),
    "deeper than the parser goes": (b"[" * 200_000, [("", "TOO_DEEP")]),
    "a list": (b"[]", [("", "WRONG_TYPE")]),
    "null": (b"null", [("", "WRONG_TYPE")]),
    "a number past all bounds": (b"1" * 10_000, [("", "WRONG_TYPE")]),
    "an empty object": (b"{}", [("/name", "MISSING"), ("/steps", "MISSING")]),
    "no items": (encoded(flow()), [("/steps", "EMPTY")]),
    "steps that are no list": (encoded({"name": "n", "steps": {}}), [("/steps", "WRONG_TYPE")]),
    "an item that is no object": (encoded(flow("a")), [("/steps/0", "WRONG_TYPE")]),
    "too many items": (
        encoded(flow(*({"step": f"s{index}", "svc": "A"} for index in range(1001)))),
        [("/steps", "TOO_MANY")],
    ),
    "a field said twice": (
        b'{"name": "n", "name": "n", "steps": [{"step": "a", "svc": "A", "svc": "B"}]}',
        [("/name", "SAID_TWICE"), ("/steps/0/svc", "SAID_TWICE")],
    ),
    "an unknown field at the top": (encoded(flow(step(), version=1)), [("/version", "UNKNOWN_FIELD")]),
    "an unknown field of a step": (encoded(flow(step(role="r"))), [("/steps/0/role", "UNKNOWN_FIELD")]),
    "an unknown field of a checkpoint": (
        encoded(flow({"checkpoint": "c", "role": "r", "svc": "A", "retries": 1})),
        [("/steps/0/retries", "UNKNOWN_FIELD"), ("/steps/0/svc", "UNKNOWN_FIELD")],
    ),
    "a field whose name needs escaping": (
        encoded(flow(step(**{"a/b~c": 1}))),
        [("/steps/0/a~1b~0c", "UNKNOWN_FIELD")],
    ),
    "a field whose name is too long to point with": (
        encoded(flow(step(**{"x" * 65: 1}))),
        [("/steps/0", "UNKNOWN_FIELD")],
    ),
    "half a surrogate pair": (
        b'{"name": "\\ud800", "\\udfff": 1, "steps": [7]}',
        [
            ("/\\udfff", "UNKNOWN_FIELD"),
            ("/name", "MALFORMED"),
            ("/steps/0", "WRONG_TYPE"),
        ],
    ),
    "both a step and a checkpoint": (
        encoded(flow({"step": "a", "checkpoint": "b", "role": "r", "more": 1})),
        [("/steps/0", "STEP_OR_CHECKPOINT"), ("/steps/0/more", "UNKNOWN_FIELD")],
    ),
    "neither a step nor a checkpoint": (
        encoded(flow({"svc": "A", "sla": 5, "more": 1})),
        [("/steps/0", "STEP_OR_CHECKPOINT"), ("/steps/0/more", "UNKNOWN_FIELD"), ("/steps/0/sla", "WRONG_TYPE")],
    ),
    "a step without a service": (encoded(flow({"step": "a"})), [("/steps/0/svc", "MISSING")]),
    "a checkpoint without a role": (encoded(flow({"checkpoint": "a"})), [("/steps/0/role", "MISSING")]),
    "two steps of one name": (encoded(flow(step(), step())), [("/steps/1/step", "NAME_TAKEN")]),
    "a step and a checkpoint of one name": (
        encoded(flow(step(), {"checkpoint": "a", "role": "r"}, step())),
        [("/steps/1/checkpoint", "NAME_TAKEN"), ("/steps/2/step", "NAME_TAKEN")],
    ),
    "empty names": (
        encoded({"name": "", "steps": [{"step": "", "svc": ""}, {"checkpoint": "", "role": ""}]}),
        [
            ("/name", "EMPTY"),
            ("/steps/0/step", "EMPTY"),
            ("/steps/0/svc", "EMPTY"),
            ("/steps/1/checkpoint", "EMPTY"),
            ("/steps/1/checkpoint", "NAME_TAKEN"),
            ("/steps/1/role", "EMPTY"),
        ],
    ),
    "malformed names": (
        encoded({"name": "N", "steps": [{"step": "1a", "svc": "1"}, {"checkpoint": "a-b", "role": "R"}]}),
        [
            ("/name", "MALFORMED"),
            ("/steps/0/step", "MALFORMED"),
            ("/steps/0/svc", "MALFORMED"),
            ("/steps/1/checkpoint", "MALFORMED"),
            ("/steps/1/role", "MALFORMED"),
        ],
    ),
    "names that end in a line break": (
        encoded({"name": "n\n", "steps": [{"step": "a\n", "svc": "A\n"}, {"checkpoint": "c\n", "role": "r\n"}]}),
        [
            ("/name", "MALFORMED"),
            ("/steps/0/step", "MALFORMED"),
            ("/steps/0/svc", "MALFORMED"),
            ("/steps/1/checkpoint", "MALFORMED"),
            ("/steps/1/role", "MALFORMED"),
        ],
    ),
    "names that look like letters": (
        encoded(flow(step(svc="Ａ", step="é"))),
        [
            ("/steps/0/step", "MALFORMED"),
            ("/steps/0/svc", "MALFORMED"),
        ],
    ),
    "overlong names": (
        encoded(
            {
                "name": "n" * 65,
                "steps": [{"step": "a" * 65, "svc": "A" * 65}, {"checkpoint": "C" * 65, "role": "r" * 65}],
            }
        ),
        [
            ("/name", "TOO_LONG"),
            ("/steps/0/step", "TOO_LONG"),
            ("/steps/0/svc", "TOO_LONG"),
            ("/steps/1/checkpoint", "MALFORMED"),
            ("/steps/1/checkpoint", "TOO_LONG"),
            ("/steps/1/role", "TOO_LONG"),
        ],
    ),
    "bad lengths of time": (
        encoded(
            flow(
                step(sla="2 minutes", timeout="-1s", heartbeat="5", retry_delay="", retry_delay_max="1.5h"),
                {"checkpoint": "c", "role": "r", "sla": "3651d"},
                sla="0s",
            )
        ),
        [
            ("/sla", "BAD_DURATION"),
            ("/steps/0/heartbeat", "BAD_DURATION"),
            ("/steps/0/retry_delay", "BAD_DURATION"),
            ("/steps/0/retry_delay_max", "BAD_DURATION"),
            ("/steps/0/sla", "BAD_DURATION"),
            ("/steps/0/timeout", "BAD_DURATION"),
            ("/steps/1/sla", "OUT_OF_RANGE"),
        ],
    ),
    "lengths of time that are no strings": (
        encoded(flow(step(sla=120, timeout=None, heartbeat=1.5), sla=True)),
        [
            ("/sla", "WRONG_TYPE"),
            ("/steps/0/heartbeat", "WRONG_TYPE"),
            ("/steps/0/sla", "WRONG_TYPE"),
            ("/steps/0/timeout", "WRONG_TYPE"),
        ],
    ),
    "a length of time past all bounds": (
        encoded(flow(step(sla="9" * 63 + "w", timeout="9" * 80))),
        [("/steps/0/sla", "OUT_OF_RANGE"), ("/steps/0/timeout", "BAD_DURATION")],
    ),
    "a cap below the first delay": (
        encoded(flow(step(retry_delay="1m", retry_delay_max="59s"))),
        [("/steps/0/retry_delay_max", "OUT_OF_RANGE")],
    ),
    "retries below 0": (encoded(flow(step(retries=-1))), [("/steps/0/retries", "OUT_OF_RANGE")]),
    "retries past 100": (encoded(flow(step(retries=101))), [("/steps/0/retries", "OUT_OF_RANGE")]),
    "half a retry": (encoded(flow(step(retries=0.5))), [("/steps/0/retries", "WRONG_TYPE")]),
    "true retries": (encoded(flow(step(retries=True))), [("/steps/0/retries", "WRONG_TYPE")]),
    "another end": (encoded(flow(step(on_exhausted="explode"))), [("/steps/0/on_exhausted", "UNKNOWN_VALUE")]),
    "types all wrong": (
        encoded({"name": 1, "steps": [{"step": [], "svc": {}, "retries": "3", "on_exhausted": None}], "sla": []}),
        [
            ("/name", "WRONG_TYPE"),
            ("/sla", "WRONG_TYPE"),
            ("/steps/0/on_exhausted", "UNKNOWN_VALUE"),
            ("/steps/0/retries", "WRONG_TYPE"),
            ("/steps/0/step", "WRONG_TYPE"),
            ("/steps/0/svc", "WRONG_TYPE"),
        ],
    ),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=list(REFUSED))
def test_every_fault_is_told_at_its_place(text: bytes, expected: list[tuple[str, str]]) -> None:
    assert sorted(places_of(text)) == sorted(expected)


@pytest.mark.parametrize("text", [text for text, _ in REFUSED.values()], ids=list(REFUSED))
def test_faults_are_sentences_that_fit_into_an_answer(text: bytes) -> None:
    for fault in faults_of(text):
        assert 0 < len(fault.sentence.encode()) < 500
        assert len(fault.pointer.encode()) < 200
        assert fault.sentence[0].islower() or fault.sentence[0] == '"'
        assert not fault.sentence.endswith(".")


def test_faults_come_in_the_order_of_the_items() -> None:
    items = [{"step": f"S{index}", "svc": "A"} for index in range(12)]
    pointers = [fault.pointer for fault in faults_of(encoded(flow(*items)))]
    assert pointers == [f"/steps/{index}/step" for index in range(12)]


def test_a_thousand_faults_are_told_and_the_rest_counted() -> None:
    items = [{"step": f"S{index}", "svc": "$"} for index in range(600)]
    faults = faults_of(encoded(flow(*items)))
    assert len(faults) == 1001
    assert faults[-1] == Fault("", "there are 200 more faults than these", "MORE_FAULTS")


def test_the_error_says_all_faults_in_one_line() -> None:
    with pytest.raises(DefinitionFaults, match=r"^/name: name is missing: .*; /steps: steps is missing: .*$"):
        read(b"{}", DEFAULTS, BOUNDS)
    with pytest.raises(DefinitionFaults, match=r"^the definition: the text is not JSON"):
        read(b"", DEFAULTS, BOUNDS)


NARROW = replace(
    BOUNDS, steps_max=1, name_max=3, svc_max=2, role_max=2, retries_max=1, span_min_ms=1000, span_max_ms=60_000
)


def test_lowered_bounds_hold() -> None:
    items = [
        {"step": "four", "svc": "FSA", "retries": 2, "sla": "999ms", "timeout": "61s"},
        {"checkpoint": "b", "role": "r"},
    ]
    assert places_of(encoded({"name": "four", "steps": items}), NARROW) == [
        ("/name", "TOO_LONG"),
        ("/steps", "TOO_MANY"),
        ("/steps/0/retries", "OUT_OF_RANGE"),
        ("/steps/0/sla", "OUT_OF_RANGE"),
        ("/steps/0/step", "TOO_LONG"),
        ("/steps/0/svc", "TOO_LONG"),
        ("/steps/0/timeout", "OUT_OF_RANGE"),
    ]
    assert places_of(encoded({"name": "a", "steps": [{"checkpoint": "b", "role": "fsa"}]}), NARROW) == [
        ("/steps/0/role", "TOO_LONG")
    ]


def test_raised_bounds_hold() -> None:
    wide = replace(BOUNDS, steps_max=1001, name_max=65, retries_max=101)
    items = [{"step": f"s{index}", "svc": "A", "retries": 101} for index in range(1001)]
    assert len(read(encoded({"name": "n" * 65, "steps": items}), DEFAULTS, wide).items) == 1001


# -- anything at all ---------------------------------------------------------------------------------------------------

SPANS = st.sampled_from(["2m", "500ms", "PT1H", "0s", "5", "", "-1s", "1.5h", "4000d", "1m1m"])
NAMES = st.sampled_from(["a", "b", "c_1", "A", "", "a" * 65, "FSA", "fsa.officer"])
ODDITIES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("step", "checkpoint", "svc", "role"), NAMES),
    **dict.fromkeys(("sla", "timeout", "heartbeat", "retry_delay", "retry_delay_max"), SPANS),
    "retries": st.integers(-2, 120),
    "on_exhausted": st.sampled_from(["stall", "fail", "no"]),
    "extra": ODDITIES,
}
ITEMS = st.fixed_dictionaries({}, optional={name: values | ODDITIES for name, values in VALUES.items()}) | ODDITIES
DEFINITIONS = st.fixed_dictionaries(
    {},
    optional={"name": NAMES | ODDITIES, "steps": st.lists(ITEMS, max_size=4) | ODDITIES, "sla": SPANS | ODDITIES},
)


def flow_or_faults(text: bytes) -> Flow | tuple[Fault, ...]:
    try:
        return read(text, DEFAULTS, BOUNDS)
    except DefinitionFaults as refused:
        return refused.faults


def assert_points_into(said: Any, fault: Fault) -> None:
    """A pointer leads to a place that is there, or to a field that is missing in an object that is."""
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in fault.pointer.split("/")[1:]] or [""]
    for part in parents:
        said = said[int(part)] if isinstance(said, list) else said[part]
    if fault.code == "MISSING":
        assert last not in said
    elif isinstance(said, list):
        assert int(last) < len(said)
    elif fault.pointer:
        assert last in said


@given(DEFINITIONS)
def test_any_definition_is_a_flow_or_has_faults(said: Any) -> None:
    text = json.dumps(said).replace("NaN", "0").replace("Infinity", "0")
    told = flow_or_faults(text.encode())
    assert told
    for fault in told if isinstance(told, tuple) else ():
        assert_points_into(json.loads(text), fault)


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,\\ aens0123456789.-tp', max_size=60).map(str.encode))
def test_any_bytes_are_a_flow_or_have_faults(text: bytes) -> None:
    assert flow_or_faults(text)


GOOD_NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True)
GOOD_SPANS = st.sampled_from(["1ms", "2m", "1h30m", "PT5M", "P1W", "3650d"])
GOOD_STEPS = st.fixed_dictionaries(
    {"step": GOOD_NAMES, "svc": st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", fullmatch=True)},
    optional={
        "sla": GOOD_SPANS,
        "timeout": GOOD_SPANS,
        "heartbeat": GOOD_SPANS,
        "retries": st.integers(0, 100),
        "retry_delay": GOOD_SPANS,
        "on_exhausted": st.sampled_from(["stall", "fail"]),
    },
)
GOOD_CHECKPOINTS = st.fixed_dictionaries(
    {"checkpoint": GOOD_NAMES, "role": st.from_regex(r"[a-z][a-z0-9_.-]{0,63}", fullmatch=True)},
    optional={"sla": GOOD_SPANS},
)


def name_of(item: dict[str, Any]) -> str:
    return str(item.get("step", item.get("checkpoint")))


GOOD_ITEMS: st.SearchStrategy[dict[str, Any]] = GOOD_STEPS | GOOD_CHECKPOINTS
GOOD: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": GOOD_NAMES, "steps": st.lists(GOOD_ITEMS, min_size=1, max_size=5, unique_by=name_of)},
    optional={"sla": GOOD_SPANS},
)


@given(GOOD)
def test_what_is_well_said_is_read_as_said(said: dict[str, Any]) -> None:
    read_flow = read(encoded(said), DEFAULTS, BOUNDS)
    assert read_flow.name == said["name"]
    assert [item.name for item in read_flow.items] == [name_of(item) for item in said["steps"]]
    assert read_flow.digest == hashlib.sha256(rfc8785.dumps(said)).hexdigest()
    assert read(rfc8785.dumps(said), DEFAULTS, BOUNDS) == read_flow
