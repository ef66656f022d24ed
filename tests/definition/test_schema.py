"""The published JSON Schema says the same as the reader, as far as a schema can."""

import json
import re
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from hmsactd.definition import duration
from hmsactd.definition.bounds import Bounds
from hmsactd.definition.fault import DefinitionFaults
from hmsactd.definition.read import Defaults, read
from hmsactd.definition.structure import SPANS, schema
from tests.definition.test_read import DEFINITIONS, GOOD, LOAN, REFUSED

PUBLISHED: dict[str, Any] = json.loads(resources.files("hmsactd.definition").joinpath("schema.json").read_text("utf-8"))

BEYOND_A_SCHEMA = {"SAID_TWICE", "NAME_TAKEN", "OUT_OF_RANGE", "BAD_DURATION", "MALFORMED"}
"""Faults that a document may have although the schema accepts it: the first two always; lengths of time that are
zero, too long, or contradict each other; and, because Python's `$` is lenient, a line break at the end."""


def is_accepted_by_schema(said: Any) -> bool:
    return bool(Draft202012Validator(PUBLISHED).is_valid(said))


def codes_of(text: bytes) -> set[str]:
    try:
        read(text, Defaults(), Bounds())
    except DefinitionFaults as refused:
        return {fault.code for fault in refused.faults}
    return set()


def test_the_published_schema_is_a_schema_with_the_default_bounds() -> None:
    Draft202012Validator.check_schema(PUBLISHED)
    assert schema(Bounds()) == PUBLISHED
    assert PUBLISHED["$id"] == "https://hmsact.dev/schema/definition-1.json"


def test_the_published_defaults_are_the_defaults() -> None:
    said = {
        name: rule["default"] for name, rule in PUBLISHED["$defs"]["step"]["properties"].items() if "default" in rule
    }
    silent = {"name": "n", "steps": [{"step": "a", "svc": "A"}]}
    outspoken = {"name": "n", "steps": [{"step": "a", "svc": "A", **said}]}
    flows = [read(json.dumps(definition).encode(), Defaults(), Bounds()) for definition in (silent, outspoken)]
    assert flows[0].items == flows[1].items
    assert said.keys() == {"retries", "retry_delay", "retry_delay_max", "on_exhausted"}


def test_every_field_is_described() -> None:
    for owner in (PUBLISHED, PUBLISHED["$defs"]["step"], PUBLISHED["$defs"]["checkpoint"]):
        assert owner["title"]
        assert owner["description"]
        assert all(rule["description"].endswith(".") for rule in owner["properties"].values())


def test_every_length_of_time_is_read_as_one() -> None:
    owners = (PUBLISHED, PUBLISHED["$defs"]["step"], PUBLISHED["$defs"]["checkpoint"])
    spans = {
        name for owner in owners for name, rule in owner["properties"].items() if rule.get("$ref") == "#/$defs/span"
    }
    assert spans == SPANS


def test_the_loan_of_the_chapter_is_accepted() -> None:
    assert is_accepted_by_schema(LOAN)


@given(GOOD)
def test_what_the_reader_reads_the_schema_accepts(said: Any) -> None:
    assert codes_of(json.dumps(said).encode()) == set()
    assert is_accepted_by_schema(said)


@given(DEFINITIONS)
def test_reader_and_schema_agree_but_for_what_a_schema_cannot_say(said: Any) -> None:
    text = json.dumps(said).replace("NaN", "0").replace("Infinity", "0")
    codes = codes_of(text.encode())
    if is_accepted_by_schema(json.loads(text)):
        assert codes <= BEYOND_A_SCHEMA
    else:
        assert codes


@pytest.mark.parametrize("text", [text for text, _ in REFUSED.values()], ids=list(REFUSED))
def test_reader_and_schema_agree_on_the_table(text: bytes) -> None:
    codes = codes_of(text)
    if codes & {"NOT_JSON", "NOT_UTF8", "TOO_LARGE", "TOO_DEEP"}:
        return
    if is_accepted_by_schema(json.loads(text, parse_int=float)):
        assert codes <= BEYOND_A_SCHEMA


@given(st.text(alphabet="0123456789PTWDHMSwdhms", max_size=10))
def test_the_pattern_of_a_length_of_time_is_what_the_reader_reads(text: str) -> None:
    pattern = PUBLISHED["$defs"]["span"]["pattern"]
    try:
        duration.parse(text)
        is_read = True
    except duration.DurationFault as refused:
        # Nothing but zeros has the right form and is still no time.
        is_read = "no time at all" in str(refused)
    assert bool(re.fullmatch(pattern, text)) is is_read
