"""Flows in code make the JSON definition of the contract, and say everything that is wrong with them."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hmsact import Checkpoint, InvalidArgument, Step
from hmsact.flow import definition

from hmsactd.definition.bounds import Bounds
from hmsactd.definition.read import read
from hmsactd.settings.settings import Settings

LOAN_FORGIVENESS = {
    "name": "loan_forgiveness",
    "steps": [
        {"step": "validate_form", "svc": "FSA"},
        {"step": "eligibility_check", "svc": "IRS", "sla": "2m"},
        {"checkpoint": "human_review", "role": "fsa.officer"},
        {"step": "update_balance", "svc": "Treasury"},
        {"step": "notify_applicant", "svc": "Email"},
    ],
}
ITEMS = [
    Step("validate_form", svc="FSA"),
    Step("eligibility_check", svc="IRS", sla="2m"),
    Checkpoint("human_review", role="fsa.officer"),
    Step("update_balance", svc="Treasury"),
    Step("notify_applicant", svc="Email"),
]


def faults_of(name: Any, steps: Any, sla: Any = None) -> list[str]:
    with pytest.raises(InvalidArgument) as caught:
        definition(name, steps, sla)
    return [violation.field for violation in caught.value.violations]


def test_items_make_exactly_the_definition_of_the_contract() -> None:
    made = definition("loan_forgiveness", ITEMS)
    assert made == LOAN_FORGIVENESS
    assert list(made) == ["name", "steps"]
    assert [list(item) for item in made["steps"]] == [list(item) for item in LOAN_FORGIVENESS["steps"]]


def test_everything_that_was_said_is_written_and_defaults_are_left_out() -> None:
    step = Step(
        "a",
        svc="B",
        sla="1h30m",
        retries=0,
        timeout=timedelta(seconds=90),
        heartbeat="500ms",
        retry_delay="1s",
        retry_delay_max="1m",
        on_exhausted="fail",
    )
    assert definition("flow", [step, Checkpoint("c", role="r", sla="2d")], "3d") == {
        "name": "flow",
        "steps": [
            {
                "step": "a",
                "svc": "B",
                "sla": "1h30m",
                "retries": 0,
                "timeout": "1m30s",
                "heartbeat": "500ms",
                "retry_delay": "1s",
                "retry_delay_max": "1m",
                "on_exhausted": "fail",
            },
            {"checkpoint": "c", "role": "r", "sla": "2d"},
        ],
        "sla": "3d",
    }
    assert definition("flow", [Step("a", svc="B", retries=3, on_exhausted="stall")])["steps"] == [
        {"step": "a", "svc": "B"}
    ]


def test_a_whole_definition_may_be_given_and_its_items_may_be_of_either_form() -> None:
    assert definition(None, LOAN_FORGIVENESS) == LOAN_FORGIVENESS
    assert definition("other", LOAN_FORGIVENESS)["name"] == "other"
    assert definition("mixed", [Step("a", svc="B"), {"checkpoint": "c", "role": "r"}])["steps"][1] == {
        "checkpoint": "c",
        "role": "r",
    }


def test_definition_that_was_given_is_left_as_it_was() -> None:
    given: dict[str, Any] = {"name": "a", "steps": [{"step": "s", "svc": "S", "sla": timedelta(minutes=2)}]}
    assert definition(None, given)["steps"][0]["sla"] == "2m"
    assert given["steps"][0]["sla"] == timedelta(minutes=2)


def test_every_fault_is_told_with_its_place() -> None:
    steps: list[Any] = [
        Step("a", svc="B", sla=120),  # type: ignore[arg-type]
        "c",
        Checkpoint("d", role="r", sla=timedelta(microseconds=1)),
    ]
    assert set(faults_of(None, steps, 5)) == {
        "definition/name",
        "definition/steps/0/sla",
        "definition/steps/1",
        "definition/steps/2/sla",
        "definition/sla",
    }
    assert faults_of("flow", "validate_form") == ["definition/steps"]


def test_items_are_frozen_and_compare_by_what_they_say() -> None:
    assert Step("a", svc="B") == Step("a", svc="B")
    step = Step("a", svc="B")
    with pytest.raises(AttributeError):
        step.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        Step("a", "B")  # type: ignore[call-arg]


def test_the_daemon_reads_what_the_items_make() -> None:
    text = json.dumps(definition("loan_forgiveness", ITEMS)).encode()
    flow = read(text, Settings(dev=True).definition_defaults(), Bounds())
    assert [item.name for item in flow.items] == [item.name for item in ITEMS]
