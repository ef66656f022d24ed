"""Which events of the log a follower has chosen, and whether it may choose so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from difflib import get_close_matches
from typing import Any

from hmsact.v1 import principal_pb2
from hmsact.v1 import timeline_pb2 as pb

from hmsactd.core.principal import PrincipalKind
from hmsactd.rpc.desk import WHOLE_ID, Checked
from hmsactd.store.store import LogRow
from hmsactd.timeline.codec import KINDS

LIST_MAX = 100
"""Members of one list of a filter: more than there are kinds, and a cheap look for every event."""

NAME = re.compile(r"[a-z][a-z0-9_]*")

NARRATED = frozenset(
    {
        "step_done",
        "step_failed",
        "step_stalled",
        "step_skipped",
        "checkpoint_pending",
        "checkpoint_approved",
        "checkpoint_rejected",
        "sla_at_risk",
        "sla_breach",
        "operation_paused",
        "operation_resumed",
        "operation_completed",
        "operation_rejected",
        "operation_failed",
        "operation_cancelled",
    }
)
"""The kinds that tell the story of an operation; the SDK narrates the same."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is wanted: every part that is said must hold. An empty tuple says nothing."""

    kinds: tuple[str, ...] = ()
    definitions: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    principals: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The same for the same choice, in whatever order it was said."""
        return json.dumps([sorted(part) for part in astuple(self)])

    def may_let_through(self, row: LogRow) -> bool:
        """What can be said before the record is read."""
        return not self.operations or row.operation in self.operations

    def lets_through(self, told: dict[str, Any]) -> bool:
        """What the record says; of the definition it does not know."""
        return (
            (not self.kinds or told["kind"] in self.kinds)
            and (not self.subjects or (told["subject"] or {}).get("name") in self.subjects)
            and (not self.principals or told["principal"]["kind"] in self.principals)
        )


def chosen(checked: Checked, said: pb.EventFilter) -> Chosen:
    """Reads a filter. Every fault of it is noted in the check."""
    for name in ("kinds", "definitions", "operations", "subjects", "principal_kinds"):
        count = len(getattr(said, name))
        if count > LIST_MAX:
            checked.fault(f"filter.{name}", f"has {count} members; at most {LIST_MAX} are allowed", "TOO_MANY")
    for index, kind in enumerate(said.kinds[:LIST_MAX]):
        if kind not in KINDS:
            checked.fault(f"filter.kinds[{index}]", _unknown_kind(kind), "UNKNOWN_VALUE")
    for index, operation in enumerate(said.operations[:LIST_MAX]):
        if not WHOLE_ID.fullmatch(operation):
            checked.fault(f"filter.operations[{index}]", "is not the whole id of an operation", "BAD_OPERATION_ID")
    for field in ("definitions", "subjects"):
        for index, name in enumerate(getattr(said, field)[:LIST_MAX]):
            if len(name) > checked.bounds.name_max or not NAME.fullmatch(name):
                checked.fault(f"filter.{field}[{index}]", "is not a name that one can have", "BAD_NAME")
    principals = _principals(checked, said.principal_kinds[:LIST_MAX])
    kinds = set(said.kinds[:LIST_MAX])
    if said.narrated:
        kinds = kinds & NARRATED if kinds else set(NARRATED)
        if not kinds:
            checked.fault("filter.narrated", "lets none of the kinds through that the filter names", "NOTHING_LEFT")
    return Chosen(
        tuple(sorted(kinds)),
        tuple(sorted({*said.definitions[:LIST_MAX]})),
        tuple(sorted({*said.operations[:LIST_MAX]})),
        tuple(sorted({*said.subjects[:LIST_MAX]})),
        tuple(sorted(principals)),
    )


def _principals(checked: Checked, said: Iterable[principal_pb2.PrincipalKind.ValueType]) -> set[str]:
    known = {principal_pb2.PrincipalKind.Value(f"PRINCIPAL_KIND_{kind.name}"): kind.value for kind in PrincipalKind}
    found: set[str] = set()
    for index, number in enumerate(said):
        if number in known:
            found.add(known[number])
        else:
            names = ", ".join(f"PRINCIPAL_KIND_{kind.name}" for kind in PrincipalKind)
            checked.fault(f"filter.principal_kinds[{index}]", f"is {number}, which is none of {names}", "UNKNOWN_VALUE")
    return found


def _unknown_kind(kind: str) -> str:
    close = get_close_matches(kind[:64], KINDS, 1)
    return f"is no kind of event{f', did you mean {close[0]}?' if close else ''}"
