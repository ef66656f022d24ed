"""Whether an event, as it was sent, says what its record says."""

from __future__ import annotations

from typing import Any

from hmsact.plain import time_of, word
from hmsact.v1 import event_pb2, principal_pb2


def differences(event: event_pb2.Event, told: dict[str, Any]) -> list[str]:
    """Names of what an event says otherwise than its record.

    Names of services come from the flow, and what was said is only committed to: of these a record says nothing.
    """
    who, subject = told["principal"], told["subject"] or {}
    pairs = {
        "namespace": (event.namespace, told["namespace"]),
        "operation": (event.operation_id, told["operation"]),
        "sequence": (event.sequence, told["sequence"]),
        "kind": (event.kind, told["kind"]),
        "time": (f"{time_of(event.time):%Y-%m-%dT%H:%M:%S.%f}Z", told["at"]),
        "principal": (
            (event.principal.issuer, event.principal.subject, [*event.principal.roles], event.principal.method),
            (who["issuer"], who["subject"], who["roles"], who["method"]),
        ),
        "kind of principal": (word(principal_pb2.PrincipalKind.DESCRIPTOR, event.principal.kind), who["kind"]),
        "responsible": (event.principal.responsible, who.get("responsible", "")),
        "on behalf of": (event.principal.on_behalf_of, who.get("on_behalf_of", "")),
        "subject": (
            (event.subject.name, event.subject.instance, event.subject.attempt),
            (subject.get("name", ""), subject.get("instance", 0), subject.get("attempt", 0)),
        ),
        "payloads": (set(event.payloads) - told["payloads"].keys(), set()),
    }
    for name in _SAME_FACTS:
        said = told["data"].get(name)
        pairs[name] = (getattr(event.data, name), said if said is not None else type(getattr(event.data, name))())
    return [name for name, (said, recorded) in pairs.items() if said != recorded]


_SAME_FACTS = (
    "role",
    "code",
    "retry",
    "retries",
    "sla_ms",
    "late_ms",
    "count",
    "from_state",
    "session",
    "clock",
    "job",
)
"""Facts that have the same name and form in a record and in an event."""
