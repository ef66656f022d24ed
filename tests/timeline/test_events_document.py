"""docs/events.md lists every kind with its fields, as the code has them."""

from dataclasses import MISSING, fields
from pathlib import Path

from hmsactd.timeline.codec import KINDS, Kind

DOCUMENT = Path(__file__).parents[2] / "docs" / "events.md"


def listed() -> dict[str, tuple[str, list[str], list[str]]]:
    rows = [line.split(" | ") for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    return {kind.strip("| `"): (subject, names(data), names(said)) for kind, subject, data, said, *_ in rows}


def names(cell: str) -> list[str]:
    return [name.strip("` ") for name in cell.split(",") if name.strip("` ")]


def in_code(kind: Kind) -> tuple[str, list[str], list[str]]:
    own = {field.name: field for field in fields(kind.event_class)}
    subject = "attempt" if "attempt" in own else "item" if "instance" in own else "operation"
    marked = {name: name if field.default is MISSING else f"{name}?" for name, field in own.items()}
    data = [marked[name] for name in kind.data_names]
    if kind.event_class.kind == "operation_started":
        data = ["definition", "digest", "sla_ms", "items"]
    return subject, data, [mark for name, mark in marked.items() if name in kind.payload_names]


def test_every_kind_stands_in_the_document_with_its_fields() -> None:
    assert listed() == {name: in_code(kind) for name, kind in KINDS.items()}
