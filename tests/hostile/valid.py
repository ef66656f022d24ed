"""Valid requests of every RPC, drawn from a seed and filled by the names and types of their fields.

A new RPC, and a new field, are in it without a word here; a field that means something needs one in WORDS.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from hmsactd.rpc.permissions import FILES

FLOW: dict[str, object] = {
    "name": "flow",
    "steps": [{"step": "check", "svc": "IRS"}, {"checkpoint": "review", "role": "fsa.officer"}],
}
DESK: dict[str, object] = {"name": "desk", "steps": [{"checkpoint": "review", "role": "fsa.officer"}]}
INPUT = {"applicant": "Jane Roe", "income": 41_250.5, "consent": True, "household": [{"age": 7}, None]}

SAID = 0.7
"""How often a field that may be left out is said."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC: its path, and the messages that it takes."""

    path: str
    request: type[Message]
    is_client_streaming: bool
    is_server_streaming: bool


def _rpcs() -> dict[str, Rpc]:
    found = (
        Rpc(
            f"/{service.full_name}/{method.name}",
            message_factory.GetMessageClass(method.input_type),
            method.client_streaming,
            method.server_streaming,
        )
        for file in FILES
        for service in file.services_by_name.values()
        for method in service.methods
    )
    return {rpc.path: rpc for rpc in found}


RPCS = _rpcs()
"""Every RPC that the daemon serves."""


@dataclass(slots=True)
class Valid:
    """Draws valid requests about operations and jobs that there are."""

    chance: Random
    operations: Sequence[str]
    jobs: Sequence[str] = ()
    _drawn: int = field(default=0)

    def request(self, rpc: Rpc) -> Message:
        """One request."""
        said = rpc.request()
        self._fill(said)
        return said

    def _fill(self, message: Message) -> None:
        descriptor = cast("Descriptor", message.DESCRIPTOR)
        for oneof in descriptor.oneofs:
            self._say(message, self.chance.choice(oneof.fields))
        for each in descriptor.fields:
            if each.containing_oneof is None and self.chance.random() < SAID:
                self._say(message, each)

    def _say(self, message: Message, each: FieldDescriptor) -> None:
        word = WORDS.get(each.name)
        target: Any = getattr(message, each.name)
        if each.message_type is not None and each.message_type.GetOptions().map_entry:
            target["office"] = "east"
        elif each.is_repeated and each.message_type is not None:
            for _ in range(self.chance.randint(1, 3)):
                self._fill(target.add())
        elif each.is_repeated:
            target.extend([word(self)] if word is not None else [])
        elif each.name == "timeout":
            target.seconds = 1
        elif each.message_type is not None:
            target.SetInParent()
            self._fill(target)
        elif word is not None:
            setattr(message, each.name, word(self))
        elif each.enum_type is not None:
            setattr(message, each.name, self.chance.choice(each.enum_type.values).number)
        elif each.type == FieldDescriptor.TYPE_BOOL:
            setattr(message, each.name, self.chance.random() < 0.5)

    def number(self) -> int:
        """A number that no other request has."""
        self._drawn += 1
        return self._drawn

    def operation(self) -> str:
        """An operation that there is."""
        return self.chance.choice(self.operations)

    def definition(self) -> bytes:
        """A definition of steps and checkpoints, or of checkpoints alone."""
        return json.dumps(self.chance.choice((FLOW, DESK))).encode()


WORDS: dict[str, Callable[[Valid], Any]] = {
    "request_id": lambda valid: f"r{valid.number()}",
    "reason": lambda _: "because",
    "comment": lambda _: "Income and payments check out",
    "operation_id": Valid.operation,
    "operation_ids": Valid.operation,
    "operations": Valid.operation,
    "checkpoint": lambda _: "review",
    "step": lambda _: "check",
    "steps": lambda _: "check",
    "svc": lambda _: "IRS",
    "role": lambda _: "fsa.officer",
    "assignee": lambda _: "dev:tlee@fsa.gov",
    "definition": Valid.definition,
    "input": lambda _: json.dumps(INPUT).encode(),
    "output": lambda _: b'{"eligible": true}',
    "key": lambda valid: f"k{valid.number()}",
    "requested_by": lambda _: "Jane Roe",
    "filter": lambda valid: valid.chance.choice(('state = "waiting"', 'name = "flow" AND labels.office = "east"', "")),
    "group_by": lambda _: "state",
    "order_by": lambda valid: valid.chance.choice(("start_time desc", "start_time", "")),
    "page_size": lambda valid: valid.chance.randint(0, 20),
    "job_id": lambda valid: valid.chance.choice(valid.jobs or ("job_" + "0" * 26,)),
    "kinds": lambda _: "operation_started",
    "definitions": lambda _: "flow",
    "subjects": lambda _: "check",
    "earlier_sizes": lambda _: 1,
    "batch": Valid.number,
    "max_in_flight": lambda _: 2,
    "no_follow": lambda _: True,
    "instance": lambda _: 1,
    "attempt": lambda _: 1,
}
"""What fields say that mean something. Any other is left empty, or drawn by its type."""
