"""Events as records hold them, and back. One table of kinds, drawn from the event classes themselves.

A record is assembled from fragments in the order of canonical JSON, since it is written for every event there is;
the tests compare it with the plain way. Sequence decides which event a record is, so no field is left to chance.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from functools import lru_cache
from typing import Any, Final, get_args

from hmsact.record import canonical_text

from hmsactd.core.events import ClockReading, Event
from hmsactd.core.payload import Payload
from hmsactd.core.principal import Principal, PrincipalKind
from hmsactd.definition.flow import CheckpointDefinition, Flow, ItemDefinition, OnExhausted, StepDefinition
from hmsactd.timeline import moment

VERSION: Final = 1

FLOWS_REMEMBERED: Final = 1_024
"""Flows that are kept with their text. One of four steps takes longer to write or read than the rest of its record."""


# Not frozen: made thousands of times a second, and a frozen one takes several times as long to make.
@dataclass(slots=True)
class Draft:
    """A record that lacks only its place: its index in the log, and the leaf before it on its timeline."""

    opening: str
    middle: str
    closing: str

    def record(self, index: int, previous: str) -> bytes:
        """Returns the record; `previous` is `null` or a quoted hash."""
        return f"{self.opening}{index}{self.middle}{previous}{self.closing}".encode("ascii")


class Place:
    """Where the drafts of one operation are going, and the parts of them that follow from that."""

    __slots__ = ("after_data", "after_kind", "log", "namespace", "operation")

    def __init__(self, log: str, epoch: int, namespace: str, operation: str) -> None:
        self.log = log
        self.namespace = namespace
        self.operation = operation
        self.after_data = f',"epoch":{epoch},"index":'
        self.after_kind = (
            f',"log":{canonical_text(log)},"namespace":{canonical_text(namespace)}'
            f',"operation":{canonical_text(operation)},"payloads":'
        )


def draft(
    event: Event, name: str | None, place: Place, sequence: int, said: Sequence[tuple[str, Payload]] | None = None
) -> Draft:
    """Drafts the record of an event; `name` is that of its step or checkpoint. Raises ValueError if it isn't ASCII.

    `said` are its `payloads`, for whoever has them already.
    """
    kind = KINDS[event.kind]
    said = payloads(event) if said is None else said
    made = Draft(
        f'{{"at":"{moment.written(event.at)}","data":{kind.data(event)}{place.after_data}',
        f',"kind":"{event.kind}"{place.after_kind}{_commitments(said)},"prev":',
        f',"principal":{_principal(event.by)},"sequence":{sequence},"subject":{kind.subject(event, name)}'
        f',"v":{VERSION},"version":{VERSION}}}',
    )
    if not (made.opening.isascii() and made.middle.isascii() and made.closing.isascii()):
        raise ValueError("a record holds only ASCII; words that people chose belong in a payload")
    return made


def decode(record: bytes) -> Event | None:
    """Returns the event of a record, its payloads without content; None for a kind that isn't known here."""
    return next(iter(decoded([record])), None)


def decoded(records: Iterable[bytes]) -> list[Event]:
    """Returns the events of records, as `decode` does, without those of kinds that aren't known here."""
    told = json.loads(b"[" + b",".join(records) + b"]")
    return [kind.event(each) for each in told if (kind := KINDS.get(each["kind"])) is not None]


def payloads(event: Event) -> list[tuple[str, Payload]]:
    """Returns what was said in an event, by name."""
    names = KINDS[event.kind].payload_names
    if not names:
        return []
    return [(name, payload) for name in names if (payload := getattr(event, name)) is not None]


class Kind:
    """How events of one class are written and read."""

    __slots__ = ("_data", "_has_attempt", "_has_instance", "_readers", "event_class", "payload_names")

    def __init__(self, event_class: type[Event]) -> None:
        self.event_class = event_class
        own = [field for field in fields(event_class) if field.name not in ("at", "by", "instance", "attempt")]
        names = {field.name for field in fields(event_class)}
        self._has_instance = "instance" in names
        self._has_attempt = "attempt" in names
        # In the order of canonical JSON.
        self.payload_names = tuple(sorted(field.name for field in own if _is_payload(field)))
        facts = sorted((field for field in own if not _is_payload(field)), key=lambda field: field.name)
        self._data = tuple((field.name, _default(field), _writer(field)) for field in facts)
        self._readers = {field.name: _reader(field) for field in own if not _is_payload(field)}

    @property
    def data_names(self) -> tuple[str, ...]:
        """The fields that stand under `data`."""
        return tuple(self._readers)

    def data(self, event: Event) -> str:
        """Returns the JSON of the fields that are not what they are by default."""
        said = [write(name, value) for name, default, write in self._data if (value := getattr(event, name)) != default]
        return "{" + ",".join(said) + "}"

    def subject(self, event: Event, name: str | None) -> str:
        """Returns the JSON of the step or checkpoint that the event is about; null for the operation as a whole."""
        instance = event.instance if self._has_instance else 0  # type: ignore[union-attr]
        if not instance:
            return "null"
        assert name is not None, f"{event.kind} is about instance {instance}, whose name was not given"
        attempt = event.attempt if self._has_attempt else 0  # type: ignore[union-attr]
        counted = f'"attempt":{attempt},' if attempt else ""
        return f'{{{counted}"instance":{instance},"name":{canonical_text(name)}}}'

    def event(self, told: Mapping[str, Any]) -> Event:
        """Returns the event of a parsed record. Fields that aren't known here are left aside."""
        values: dict[str, Any] = {"at": moment.read(told["at"]), "by": _read_principal(told["principal"])}
        subject = told["subject"] or {}
        if self._has_instance:
            values["instance"] = subject.get("instance", 0)
        if self._has_attempt:
            values["attempt"] = subject.get("attempt", 0)
        data = told["data"]
        if self.event_class.kind == "operation_started":
            values["flow"] = _read_flow(data)
        else:
            values |= {name: read(data[name]) for name, read in self._readers.items() if name in data}
        values |= {
            name: Payload(said["commitment"], said["size"])
            for name, said in told["payloads"].items()
            if name in self.payload_names
        }
        return self.event_class(**values)


def _commitments(said: Sequence[tuple[str, Payload]]) -> str:
    """Returns the JSON of what was said, by commitment and size."""
    if not said:
        return "{}"
    members = [f'"{name}":{{"commitment":"{payload.commitment}","size":{payload.size}}}' for name, payload in said]
    return "{" + ",".join(members) + "}"


def _default(field: Field[Any]) -> object:
    # What has no default is always written: nothing equals a fresh object.
    return object() if field.default is MISSING else field.default


def _is_payload(field: Field[Any]) -> bool:
    return str(field.type).split(" | ")[0] == "Payload"


def _writer(field: Field[Any]) -> Callable[[str, Any], str]:
    """Returns what writes a field as a member, or several, of `data`."""
    match str(field.type):
        case "Flow":
            return lambda _, flow: _flow_text(flow)
        case "tuple[ClockReading, ...]":
            return lambda name, clocks: f'"{name}":{canonical_text([_write_clock(clock) for clock in clocks])}'
        case "int" | "int | None" if field.name.endswith("_at"):
            return lambda name, at_us: f'"{name}":"{moment.written(at_us)}"'
        case "int" | "int | None":
            return lambda name, value: f'"{name}":{value}'
        case "str" | "str | None":
            return lambda name, value: f'"{name}":{canonical_text(value)}'
        case unknown:
            raise TypeError(f"no record can hold the field {field.name} of type {unknown}")


def _reader(field: Field[Any]) -> Callable[[Any], Any]:
    if field.name.endswith("_at"):
        return moment.read
    if field.name == "clocks":
        return lambda clocks: tuple(map(_read_clock, clocks))
    return lambda value: value


def _write_clock(clock: ClockReading) -> dict[str, object]:
    return {"instance": clock.instance, "budget_ms": clock.budget_ms, "used_ms": clock.used_ms}


def _read_clock(told: Mapping[str, Any]) -> ClockReading:
    return ClockReading(told["instance"], told["budget_ms"], told["used_ms"])


# The same few principals act over and over.
@lru_cache(4096)
def _principal(principal: Principal) -> str:
    said: dict[str, object] = {
        "kind": principal.kind.value,
        "issuer": principal.issuer,
        "subject": principal.subject,
        "roles": list(principal.roles),
        "method": principal.method,
    }
    if principal.responsible is not None:
        said["responsible"] = principal.responsible
    if principal.on_behalf_of is not None:
        said["on_behalf_of"] = principal.on_behalf_of
    return canonical_text(said)


def _read_principal(told: Mapping[str, Any]) -> Principal:
    people = told.get("responsible"), told.get("on_behalf_of")
    return _known_principal(
        told["kind"], told["issuer"], told["subject"], tuple(told["roles"]), told["method"], *people
    )


@lru_cache(4096)
def _known_principal(
    kind: str,
    issuer: str,
    subject: str,
    roles: tuple[str, ...],
    method: str,
    responsible: str | None,
    on_behalf_of: str | None,
) -> Principal:
    return Principal(PrincipalKind(kind), issuer, subject, roles, method, responsible, on_behalf_of)


def _flow_text(flow: Flow) -> str:
    """The members of a flow. A service starts the same few flows over and over, each of them one object."""
    known = _flow_texts.get(id(flow))
    if known is None:
        if len(_flow_texts) >= FLOWS_REMEMBERED:
            _flow_texts.clear()
        # The flow is kept beside its text, so that no other can get its identity.
        known = _flow_texts[id(flow)] = (flow, canonical_text(_write_flow(flow))[1:-1])
    return known[1]


_flow_texts: dict[int, tuple[Flow, str]] = {}


def _write_flow(flow: Flow) -> dict[str, object]:
    return {
        "definition": flow.name,
        "digest": flow.digest,
        "sla_ms": flow.sla_ms,
        "items": [_write_item(instance, item) for instance, item in enumerate(flow.items, 1)],
    }


def _write_item(instance: int, item: ItemDefinition) -> dict[str, object]:
    said = {field.name: getattr(item, field.name) for field in fields(item)}
    return {"item": "step" if isinstance(item, StepDefinition) else "checkpoint", "instance": instance, **said}


def _read_flow(data: Mapping[str, Any]) -> Flow:
    """The flow of a record; one object for all operations that have the same."""
    place = data["digest"], data["sla_ms"]
    known = _flows_read.get(place)
    # What the record says counts, whatever its digest is.
    if known is None or known[0] != data:
        if len(_flows_read) >= FLOWS_REMEMBERED:
            _flows_read.clear()
        flow = Flow(data["definition"], tuple(map(_read_item, data["items"])), data["sla_ms"], data["digest"])
        known = _flows_read[place] = (data, flow)
    return known[1]


_flows_read: dict[tuple[str, int | None], tuple[Mapping[str, Any], Flow]] = {}


def _read_item(told: Mapping[str, Any]) -> ItemDefinition:
    item_class = StepDefinition if told["item"] == "step" else CheckpointDefinition
    said = {field.name: told[field.name] for field in fields(item_class) if field.name in told}
    if item_class is StepDefinition:
        said["on_exhausted"] = OnExhausted(said["on_exhausted"])
    return item_class(**said)


KINDS: Final[Mapping[str, Kind]] = {event_class.kind: Kind(event_class) for event_class in get_args(Event)}
