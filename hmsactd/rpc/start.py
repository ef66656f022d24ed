"""Starting an operation: the request checked whole, its definition read, its business key looked up."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice

import anyio
import anyio.to_thread
from hmsact.v1 import operation_pb2

from hmsactd.core.inputs import Start
from hmsactd.core.payload import Payload
from hmsactd.core.transitions import FINAL, OperationState
from hmsactd.definition.fault import DefinitionFaults, Fault
from hmsactd.definition.flow import Flow
from hmsactd.definition.read import read
from hmsactd.engine.letter import Answer
from hmsactd.engine.requests import Begun, Done
from hmsactd.engine.summary import Given
from hmsactd.errors import AlreadyExists, HmsactdError
from hmsactd.rpc.caller import caller
from hmsactd.rpc.desk import Checked, Desk, check, request_key
from hmsactd.store.store import Summary
from hmsactd.timeline.payloads import commit

LABEL_KEY = re.compile(r"[A-Za-z]([A-Za-z0-9_./-]*[A-Za-z0-9])?")
FLOWS_REMEMBERED = 512
"""Definitions kept as read. A service starts the same few over and over."""

READ_AT_ONCE_MAX_BYTES = 16 * 1024
"""Definitions up to this size are read on the event loop: it takes a few milliseconds, once for each."""

RPC = "StartOperation"

OPEN_STATES = tuple(state.value for state in OperationState if state not in FINAL)


class Starter:
    """Starts operations. Keeps the definitions it has read, and the business keys being started."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        defaults = desk.settings.definition_defaults()
        self._read = lru_cache(FLOWS_REMEMBERED)(lambda text: read(text, defaults, desk.bounds))
        self._last_read: tuple[bytes | None, Flow | tuple[Fault, ...]] = (None, ())
        self._starting: dict[tuple[str, str], asyncio.Event] = {}

    async def start(self, request: operation_pb2.StartOperationRequest) -> Done:
        """Start an operation, or return the one that the request or the key stands for."""
        return await self._desk.requests.finish(await self.begin(request, request.definition))

    async def begin(self, request: operation_pb2.StartOperationRequest, definition: bytes) -> Begun:
        """Begin to start an operation by a definition, which the request need not hold itself."""
        # Before its words are parsed: a refusal must not cost the memory that is short.
        self._desk.engine.intake.admit()
        checked = check(self._desk, request)
        flow = await self._flow(checked, definition)
        asked = self._told(checked, request, flow)
        given = Given(request.key or None, tuple(sorted(request.labels.items())), request.requested_by or None)
        key = request_key(request, RPC, checked.namespace, definition=definition)
        place = (checked.namespace, request.key)
        await self._turn(place)
        told: asyncio.Future[Answer] | None = None

        def begin() -> asyncio.Future[Answer]:
            nonlocal told
            told = self._desk.engine.start(checked.namespace, asked, given, key)
            return told

        try:
            return await self._desk.requests.begin(
                checked.namespace,
                key,
                begin,
                is_start=True,
                before=(lambda: self._key_holder(checked.namespace, request)) if request.key else None,
            )
        finally:
            # A caller who gives up does not stop what they asked for: the key is theirs until that has ended.
            if told is None or told.done():
                self._leave(place)
            elif request.key:
                told.add_done_callback(lambda _: self._leave(place))

    async def _flow(self, checked: Checked, text: bytes) -> Flow | None:
        last, known = self._last_read
        # A batch brings the same one a thousand times, right or wrong.
        if last != text:
            if len(text) > READ_AT_ONCE_MAX_BYTES:
                # Half a second for the worst of them, in which nobody else would be heard.
                known = await anyio.to_thread.run_sync(self._read_or_fault, text)
            else:
                known = self._read_or_fault(text)
            self._last_read = text, known
        if isinstance(known, Flow):
            return known
        for fault in known:
            checked.fault(f"definition{fault.pointer}", fault.sentence, fault.code)
        return None

    def _read_or_fault(self, text: bytes) -> Flow | tuple[Fault, ...]:
        try:
            return self._read(text)
        except DefinitionFaults as faults:
            return faults.faults

    def _told(self, checked: Checked, request: operation_pb2.StartOperationRequest, flow: Flow | None) -> Start:
        given = checked.json("input", request.input)
        key_max, label_max = checked.bounds.key_max, checked.bounds.label_value_max
        _check_length(checked, "key", request.key, key_max)
        checked.choice("key_policy", request.key_policy, operation_pb2.KeyPolicy)
        _check_length(checked, "requested_by", request.requested_by, label_max)
        _check_labels(checked, request.labels)
        reason = checked.words("reason", request.reason)
        checked.done()
        assert flow is not None and given is not None
        return Start(
            by=caller(),
            flow=flow,
            input=given,
            labels=_committed(dict(request.labels)) if request.labels else None,
            key=_committed(request.key) if request.key else None,
            requested_by=_committed(request.requested_by) if request.requested_by else None,
            reason=reason,
        )

    # -- business keys -------------------------------------------------------------------------------------------------

    async def _turn(self, place: tuple[str, str]) -> None:
        """Wait for one's turn: one start at a time for a business key; starts without one wait for nobody."""
        if not place[1]:
            return
        while (before := self._starting.get(place)) is not None:
            await before.wait()
        self._starting[place] = asyncio.Event()

    def _leave(self, place: tuple[str, str]) -> None:
        if place[1]:
            self._starting.pop(place).set()

    async def _key_holder(
        self, namespace: str, request: operation_pb2.StartOperationRequest
    ) -> Done | HmsactdError | None:
        """The operation that has the business key, if that is to be returned; the refusal if it stands in the way."""
        match request.key_policy:
            case operation_pb2.KEY_POLICY_ALLOW:
                return None
            case operation_pb2.KEY_POLICY_REJECT_ANY:
                states: tuple[str, ...] = ()
            case _:
                states = OPEN_STATES
        # Whoever began before may have the key.
        await self._desk.timelines.settled()
        rows = await self._desk.store.by_key(namespace, request.key, states, limit=1)
        if not rows:
            return None
        if request.key_policy != operation_pb2.KEY_POLICY_RETURN_OPEN:
            return _key_taken(request.key, rows[0])
        receipt = await self._desk.timelines.receipt(namespace, rows[0].operation, rows[0].sequence)
        return Done(rows[0].operation, rows[0].state, rows[0].revision, receipt, is_repeated=True)


def _key_taken(key: str, row: Summary) -> HmsactdError:
    return AlreadyExists(
        "KEY_IN_USE",
        f"{row.operation}, which is {row.state}, has the key {json.dumps(key)}",
        metadata={"operation_id": row.operation, "state": row.state},
    )


def _committed(value: object) -> Payload:
    return commit(json.dumps(value))


def _check_length(checked: Checked, place: str, said: str, most: int) -> None:
    if len(said) > most:
        checked.fault(place, f"has {len(said)} characters; at most {most} are allowed", "TOO_LONG")


def _check_labels(checked: Checked, labels: Mapping[str, str]) -> None:
    bounds = checked.bounds
    if len(labels) > bounds.labels_max:
        checked.fault("labels", f"are {len(labels)}; at most {bounds.labels_max} are allowed", "TOO_MANY")
    for name, value in islice(labels.items(), bounds.labels_max):
        place = f"labels.{name[: bounds.label_key_max]}"
        if len(name) > bounds.label_key_max or not LABEL_KEY.fullmatch(name):
            sentence = (
                "is not the name of a label: a letter, then letters, digits and _ . / - up to "
                f"{bounds.label_key_max} characters, ending in a letter or digit"
            )
            checked.fault(place, sentence, "BAD_NAME")
        _check_length(checked, place, value, bounds.label_value_max)
