"""A definition from its JSON text to the model that operations run by, or every fault it has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hmsactd.definition import duration
from hmsactd.definition.bounds import Bounds
from hmsactd.definition.fault import DefinitionFaults, Fault, Path, pointer, shown
from hmsactd.definition.flow import CheckpointDefinition, Flow, ItemDefinition, OnExhausted, StepDefinition
from hmsactd.definition.parse import parse
from hmsactd.definition.structure import SPANS, structure_faults


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where a definition is silent. `assign` says to whom the checkpoints of a role go at first."""

    retries: int = 3
    retry_delay_ms: int = 2_000
    retry_delay_max_ms: int = 300_000
    unattended_ms: int = 900_000
    assign: Mapping[str, str] = field(default_factory=dict)


def read(text: bytes, defaults: Defaults, bounds: Bounds) -> Flow:
    """The flow that the text defines, all defaults filled in. Raises `DefinitionFaults`."""
    said, faults = parse(text, bounds)
    faults += structure_faults(said, bounds)
    # What is said of items can be judged one by one, however wrong the rest is.
    for path, item in _objects(said, bounds):
        faults += _span_faults(path, item, bounds)
        faults += _delay_faults(path, item)
    faults += _name_faults(said, bounds)
    if faults:
        raise DefinitionFaults(_gathered(faults, bounds))
    return Flow(
        name=said["name"],
        items=tuple(_item(item, defaults) for item in said["steps"]),
        sla_ms=_span(said, "sla"),
        digest=digest(said),
    )


def digest(said: Any) -> str:
    """SHA-256, in hex, over the canonical JSON (RFC 8785) of what the author of a valid definition said.

    Such a definition has ASCII text and whole numbers only; for those, sorted and compact is canonical.
    """
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


# -- the model ---------------------------------------------------------------------------------------------------------


def _item(said: dict[str, Any], defaults: Defaults) -> ItemDefinition:
    if "checkpoint" in said:
        return CheckpointDefinition(
            name=said["checkpoint"],
            role=said["role"],
            sla_ms=_span(said, "sla"),
            assigned_to=defaults.assign.get(said["role"]),
            unattended_ms=defaults.unattended_ms,
        )
    delay_ms = _span(said, "retry_delay")
    # Whoever says one of the two means it: the other gives way.
    delay_max_ms = _span(said, "retry_delay_max") or max(defaults.retry_delay_max_ms, delay_ms or 0)
    return StepDefinition(
        name=said["step"],
        svc=said["svc"],
        sla_ms=_span(said, "sla"),
        retries=said.get("retries", defaults.retries),
        retry_delay_ms=delay_ms or min(defaults.retry_delay_ms, delay_max_ms),
        retry_delay_max_ms=delay_max_ms,
        timeout_ms=_span(said, "timeout"),
        heartbeat_ms=_span(said, "heartbeat"),
        on_exhausted=OnExhausted(said.get("on_exhausted", OnExhausted.STALL)),
        unattended_ms=defaults.unattended_ms,
    )


def _span(said: dict[str, Any], name: str) -> int | None:
    return duration.parse(said[name]) if name in said else None


# -- what the schema cannot say ----------------------------------------------------------------------------------------


def _objects(said: Any, bounds: Bounds) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The definition itself, then its items, as far as they are objects."""
    if isinstance(said, dict):
        yield (), said
        steps = said.get("steps")
        for index, item in enumerate(steps[: bounds.steps_max] if isinstance(steps, list) else ()):
            if isinstance(item, dict):
                yield ("steps", index), item


def _span_faults(path: Path, said: dict[str, Any], bounds: Bounds) -> Iterator[Fault]:
    for name in sorted(SPANS & said.keys()):
        if not isinstance(said[name], str):
            continue
        place = pointer((*path, name))
        try:
            span_ms = duration.parse(said[name])
        except duration.DurationFault as fault:
            yield Fault(place, str(fault), "BAD_DURATION")
            continue
        if not bounds.span_min_ms <= span_ms <= bounds.span_max_ms:
            least, most = duration.spell(bounds.span_min_ms), duration.spell(bounds.span_max_ms)
            yield Fault(place, f"{shown(said[name])} is out of range: {least} to {most}", "OUT_OF_RANGE")


def _delay_faults(path: Path, said: dict[str, Any]) -> Iterator[Fault]:
    try:
        first_ms, most_ms = _span(said, "retry_delay"), _span(said, "retry_delay_max")
    except (duration.DurationFault, TypeError):
        return
    if first_ms is not None and most_ms is not None and first_ms > most_ms:
        sentence = f"the delay begins at {shown(said['retry_delay'])} and can't be capped below that"
        yield Fault(pointer((*path, "retry_delay_max")), sentence, "OUT_OF_RANGE")


def _name_faults(said: Any, bounds: Bounds) -> Iterator[Fault]:
    """Names that were given before: within a flow, a name means one item."""
    places: dict[str, str] = {}
    for path, item in _objects(said, bounds):
        kind = "step" if "step" in item else "checkpoint"
        name = item.get(kind)
        if path and isinstance(name, str):
            place = pointer((*path, kind))
            if name in places:
                yield Fault(place, f"{shown(name)} is the name of {places[name]} as well", "NAME_TAKEN")
            places.setdefault(name, place)


def _gathered(faults: list[Fault], bounds: Bounds) -> list[Fault]:
    """Each fault once, in the order of their places, and not more of them than anybody can use."""
    ordered = sorted(dict.fromkeys(faults), key=_order)
    left_out = len(ordered) - bounds.faults_max
    if left_out > 0:
        ordered[bounds.faults_max :] = [Fault("", f"there are {left_out} more faults than these", "MORE_FAULTS")]
    return ordered


def _order(fault: Fault) -> tuple[tuple[int, int, str], ...]:
    parts = fault.pointer.split("/")[1:]
    return tuple((0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part) for part in parts)
