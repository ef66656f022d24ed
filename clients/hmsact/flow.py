"""Flows in code: Step, Checkpoint, and the JSON definition they make.

A definition says what its author said and leaves defaults out; the daemon fills them in, and it alone judges. Here
only that is refused which cannot be written down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from datetime import timedelta
from typing import Any, Literal

from hmsact.duration import Duration, text_of
from hmsact.errors import InvalidArgument, Violation
from hmsact.json_text import pointer


class Item:
    """What a flow is made of: a Step or a Checkpoint."""

    __slots__ = ()
    name: str


@dataclass(frozen=True, slots=True)
class Step(Item):
    """A task that a service performs.

    `name` is unique in the flow (`[a-z][a-z0-9_]*`, up to 64 characters), `svc` the service whose workers do it.
    `sla` is the time it may take from when it is reached until it is done, over all attempts; the work goes on past
    it. `retries` is the number of further attempts after the first, `retry_delay` the pause before the first of them
    (about 2 s; it grows up to `retry_delay_max`). `timeout` bounds one attempt. With `heartbeat`, an attempt that
    gives no sign of life for so long counts as failed. `on_exhausted` says what follows when the retries are used up:
    "stall" (an operator decides) or "fail" (the operation fails). Lengths of time are texts or timedeltas.
    """

    name: str
    _: KW_ONLY
    svc: str
    sla: Duration | None = None
    retries: int = 3
    timeout: Duration | None = None
    heartbeat: Duration | None = None
    retry_delay: Duration | None = None
    retry_delay_max: Duration | None = None
    on_exhausted: Literal["stall", "fail"] = "stall"


@dataclass(frozen=True, slots=True)
class Checkpoint(Item):
    """A decision that a person makes before the flow goes on.

    `name` is unique in the flow, `role` the role that a person must hold to decide, such as "fsa.officer"; `sla` is
    the time a decision may take.
    """

    name: str
    _: KW_ONLY
    role: str
    sla: Duration | None = None


Steps = Sequence[Item | Mapping[str, Any]] | Mapping[str, Any]
"""A flow: its items in order, each as an object or in its JSON form; or a whole definition in its JSON form."""


ROOT = "definition"
"""Places are told as the daemon tells them: the field of the request, then the JSON pointer in it."""

STEPS = pointer(ROOT, "steps")


def definition(name: str | None, steps: object, sla: Duration | None = None) -> dict[str, Any]:
    """The definition, as a value that can be written as JSON.

    `steps` is a list of items, or a whole definition (then `name` and `sla` may be left out, and win where given).
    Raises InvalidArgument listing everything that cannot be written down, each with its place.
    """
    faults: list[Violation] = []
    whole: dict[str, Any] = {}
    if isinstance(steps, Mapping):
        whole.update(steps)
    elif isinstance(steps, Sequence) and not isinstance(steps, str | bytes):
        whole["steps"] = list(steps)
    else:
        faults.append(Violation(STEPS, "is neither a list of steps and checkpoints nor a definition"))
    if name is not None:
        whole = {"name": name, **{key: value for key, value in whole.items() if key != "name"}}
    if not isinstance(whole.get("name"), str):
        faults.append(Violation(pointer(ROOT, "name"), "a flow needs a name, which is a text"))
    if sla is not None:
        whole["sla"] = sla
    items = whole.get("steps")
    if isinstance(items, list | tuple):
        whole["steps"] = [_item(item, pointer(STEPS, index), faults) for index, item in enumerate(items)]
    _write_durations(whole, ROOT, faults)
    if faults:
        raise InvalidArgument("the flow cannot be written down", reason="BAD_DEFINITION", violations=tuple(faults))
    return whole


def _item(item: object, at: str, faults: list[Violation]) -> dict[str, Any]:
    match item:
        case Step():
            said: dict[str, Any] = {"step": item.name, **_said(item)}
        case Checkpoint():
            said = {"checkpoint": item.name, **_said(item)}
        case Mapping():
            said = dict(item)
        case _:
            faults.append(Violation(at, f"a {type(item).__name__} is neither a step nor a checkpoint"))
            said = {}
    _write_durations(said, at, faults)
    return said


def _said(item: Step | Checkpoint) -> dict[str, Any]:
    """Every field but the name that differs from its default."""
    told = ((field, getattr(item, field.name)) for field in fields(item) if field.name != "name")
    return {field.name: value for field, value in told if value != field.default}


_DURATIONS = ("sla", "timeout", "heartbeat", "retry_delay", "retry_delay_max")


def _write_durations(said: dict[str, Any], at: str, faults: list[Violation]) -> None:
    """Replaces timedeltas by their texts; texts stay as they were said."""
    for key in _DURATIONS:
        duration = said.get(key)
        if duration is None or isinstance(duration, str):
            continue
        if not isinstance(duration, timedelta):
            faults.append(
                Violation(pointer(at, key), f'{duration!r} is no length of time, which is a text such as "2m"')
            )
        elif duration % timedelta(milliseconds=1):
            faults.append(Violation(pointer(at, key), "a length of time is a whole number of milliseconds"))
        else:
            said[key] = text_of(duration // timedelta(milliseconds=1))
