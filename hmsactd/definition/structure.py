"""Whether a definition has the structure that its JSON Schema demands, told in sentences of ours.

The published schema has the default bounds; with other bounds its numbers change, and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from hmsactd.definition.bounds import Bounds
from hmsactd.definition.fault import Fault, Path, pointer, shown

SPANS = frozenset(("sla", "timeout", "heartbeat", "retry_delay", "retry_delay_max"))
"""The fields that hold a length of time."""

_TYPES = {"object": "an object", "array": "a list", "string": "a string", "integer": "a whole number"}

_WANTED = {
    "name": "what operations of this kind are called",
    "steps": "the list of steps and checkpoints",
    "svc": "the service that does the step",
    "role": "the role of those who may decide",
}

_LOWER = "a lower-case letter, then lower-case letters, digits and _"
_SPELLING = {
    "name": _LOWER,
    "step": _LOWER,
    "checkpoint": _LOWER,
    "svc": "a letter, then letters, digits, _ . and -",
    "role": "a lower-case letter, then lower-case letters, digits, _ . and -",
}


def schema(bounds: Bounds) -> dict[str, Any]:
    """The JSON Schema of definitions, with these bounds."""
    text = resources.files("hmsactd.definition").joinpath("schema.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    parts = document["$defs"]
    document["properties"]["steps"]["maxItems"] = bounds.steps_max
    parts["name"]["maxLength"] = bounds.name_max
    parts["service"]["maxLength"] = bounds.svc_max
    parts["role"]["maxLength"] = bounds.role_max
    parts["step"]["properties"]["retries"]["maximum"] = bounds.retries_max
    return document


def structure_faults(definition: Any, bounds: Bounds) -> Iterator[Fault]:
    """Every place where the structure is not that of the schema. What is in a length of time is not looked at."""
    steps = definition.get("steps") if isinstance(definition, dict) else None
    if isinstance(steps, list) and len(steps) > bounds.steps_max:
        sentence = f"a definition has at most {bounds.steps_max} steps and checkpoints, not {len(steps)}"
        yield Fault("/steps", sentence, "TOO_MANY")
        definition = {**definition, "steps": steps[: bounds.steps_max]}
    for error in _validator(bounds).iter_errors(definition):
        yield from _translated(error)


@lru_cache(maxsize=8)
def _validator(bounds: Bounds) -> Validator:
    strict: type[Validator] = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]
    return strict(schema(bounds))


def _pattern(_validator: object, pattern: str, value: object, _rules: object) -> Iterator[ValidationError]:
    """The rule "pattern", without Python's habit of letting `$` match before a line break at the end."""
    if isinstance(value, str) and not re.fullmatch(pattern, value):
        yield ValidationError("malformed")


def _translated(error: ValidationError) -> Iterator[Fault]:
    path: Path = tuple(error.absolute_path)
    field = path[-1] if path else ""
    value: Any = error.instance
    rule: Any = error.validator_value
    match error.validator:
        case "type":
            yield Fault(pointer(path), f"this must be {_TYPES[rule]}, not {shown(value)}", "WRONG_TYPE")
        case "required":
            yield from _missing(path, value, error.schema)
        case "additionalProperties":
            yield from _unknown(path, value, error.schema)
        case "minItems":
            yield Fault(pointer(path), "a definition has at least one step or checkpoint", "EMPTY")
        case "minLength":
            yield Fault(pointer(path), f"{field} is empty", "EMPTY")
        case "maxLength" if field not in SPANS:
            yield Fault(pointer(path), f"{field} has {len(value)} characters, more than {rule}", "TOO_LONG")
        case "pattern" if field not in SPANS and value:
            yield Fault(pointer(path), f"{shown(value)} can't be a {field}: write {_SPELLING[str(field)]}", "MALFORMED")
        case "enum":
            choice = " or ".join(shown(known) for known in rule)
            yield Fault(pointer(path), f"{field} is {choice}, not {shown(value)}", "UNKNOWN_VALUE")
        case "minimum" | "maximum":
            yield Fault(pointer(path), _range(error, str(field)), "OUT_OF_RANGE")
        case _:
            assert field in SPANS or value == "", f"no sentence for the rule {error.validator} of the schema"


def _range(error: ValidationError, field: str) -> str:
    rules: Any = error.schema
    return f"{field} go from {rules['minimum']} to {rules['maximum']}, not {shown(error.instance)}"


def _missing(path: Path, value: Any, rules: Any) -> Iterator[Fault]:
    """Fields that have to be there. An item without its name has one fault, since nobody knows what it should be."""
    if path and "step" not in value and "checkpoint" not in value:
        yield Fault(pointer(path), 'an item has a "step" or a "checkpoint", which names it', "STEP_OR_CHECKPOINT")
    elif not _is_both(value):
        for name in rules["required"]:
            if name not in value:
                yield Fault(pointer((*path, name)), f"{name} is missing: {_WANTED[name]}", "MISSING")


def _unknown(path: Path, value: Any, rules: Any) -> Iterator[Fault]:
    """Fields that are not known. Of an item that is both or neither, only those that no item has."""
    known = set(rules["properties"])
    owner = "a definition" if not path else "a step" if "step" in value else "a checkpoint"
    if path and ("step" in value) is ("checkpoint" in value):
        known |= {"step", "checkpoint", "svc", "role", "retries", "on_exhausted", *SPANS}
        owner = "an item"
    if _is_both(value):
        yield Fault(pointer(path), 'an item has a "step" or a "checkpoint", not both', "STEP_OR_CHECKPOINT")
    for name in value:
        if name not in known:
            yield Fault(pointer((*path, name)), f"{owner} has no field {shown(name)}", "UNKNOWN_FIELD")


def _is_both(value: Any) -> bool:
    return "step" in value and "checkpoint" in value
