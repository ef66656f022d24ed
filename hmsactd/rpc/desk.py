"""What every servicer needs: the parts of the daemon, and the fields that all requests share, checked in one place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from hmsactd.clock import Clock
from hmsactd.core.operation import Operation
from hmsactd.core.payload import Payload
from hmsactd.definition.bounds import Bounds
from hmsactd.engine.engine import Engine
from hmsactd.engine.letter import RequestKey, Told
from hmsactd.engine.requests import Done, Requests
from hmsactd.errors import FailedPrecondition, InvalidArgument, NotFound, Violation
from hmsactd.identity.identity import Identity
from hmsactd.identity.permissions import PAYLOAD_READ
from hmsactd.jobs.jobs import Jobs
from hmsactd.rpc.caller import caller
from hmsactd.settings.settings import Settings
from hmsactd.store.store import IDS_LOOKED_AT_MAX, Store
from hmsactd.store.where import Where
from hmsactd.timeline.payloads import NotJson, TooDeep, TooLarge, commit, commit_words
from hmsactd.timeline.timeline import Timelines

DEFAULT_NAMESPACE = "default"
NAMESPACE = re.compile(r"[a-z][a-z0-9_-]{0,62}")
WHOLE_ID = re.compile(r"op_[0-9a-z]{26}")
ID_PART = re.compile(r"[a-z0-9_]{1,64}")
PAGE_DEFAULT = 50
PAGE_MAX_BYTES = 2 * 1024 * 1024
"""Entries that travel in one page: a thousand usual operations, or two hundred with all the labels they can have."""

T = TypeVar("T")
M = TypeVar("M", bound=Message)


class Choices(Protocol):
    """An enum of the API."""

    def keys(self) -> list[str]:
        """Returns the names."""
        ...

    def values(self) -> list[Any]:
        """Returns the numbers."""
        ...


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts of the daemon that servicers speak to."""

    settings: Settings
    bounds: Bounds
    clock: Clock
    identity: Identity
    store: Store
    timelines: Timelines
    engine: Engine
    requests: Requests
    jobs: Jobs

    async def resolve(self, namespace: str, said: str) -> str:
        """The id of the operation that a caller means: the whole id, or a part that no other id has. See `check`."""
        if WHOLE_ID.fullmatch(said):
            # Whether there is such an operation is found out by whatever is done with it.
            return said
        found = await self.store.find(namespace, said, 2)
        if not found:
            beside = f", nor one of the newest {IDS_LOOKED_AT_MAX:,} that has it as a part"
            raise NotFound("OPERATION_UNKNOWN", f"there is no operation {said}{beside}")
        if len(found) > 1:
            raise FailedPrecondition(
                "OPERATION_AMBIGUOUS", f"{said} is part of more than one id: {', '.join(found)}, …"
            )
        return found[0]

    async def known(self, namespace: str, said: str) -> str:
        """As `resolve`, for what would not find out by itself that there is no such operation."""
        operation_id = await self.resolve(namespace, said)
        if await self.store.summary(namespace, operation_id) is None:
            raise NotFound("OPERATION_UNKNOWN", f"there is no operation {operation_id}")
        return operation_id

    async def view(self, namespace: str, operation_id: str) -> Operation:
        """The state of an operation; raises `NotFound`."""
        operation = await self.engine.look(namespace, operation_id)
        if operation is None:
            raise NotFound("OPERATION_UNKNOWN", f"there is no operation {operation_id}")
        return operation

    @property
    def may_read_payloads(self) -> bool:
        """True if the caller may see what others said in their own words."""
        return self.identity.may(caller(), PAYLOAD_READ)

    def check_words(self, place: str, checked: Checked, wanted: Where) -> None:
        """Whoever may not read what callers said can't feel their way to it, a letter at a time."""
        if (wanted.words or wanted.key_prefix) and not self.may_read_payloads:
            checked.fault(place, f"text and key_prefix are for those who have {PAYLOAD_READ}", "NOT_ALLOWED")

    async def said(
        self, namespace: str, operation_id: str, sequences: Sequence[int]
    ) -> Mapping[tuple[int, str], bytes]:
        """What was said in some events, as far as the caller may see it."""
        if not self.may_read_payloads:
            return {}
        return await self.timelines.said(namespace, operation_id, sequences)

    async def tell(self, request: Any, rpc: str, checked: Checked, told: Told) -> Done:
        """Tell an existing operation something on behalf of the caller, once for each request id."""
        operation_id = await self.resolve(checked.namespace, request.operation_id)
        key = request_key(request, rpc, checked.namespace)
        return await self.requests.once(
            checked.namespace, key, lambda: self.engine.tell(checked.namespace, operation_id, told, key)
        )

    def page_size(self, asked: int) -> int:
        """How many entries a page has, for a request that was checked."""
        return min(asked or PAGE_DEFAULT, self.bounds.page_max)


@dataclass(slots=True)
class Checked:
    """A request being checked: every fault is gathered, and told at once by `done`."""

    bounds: Bounds
    namespace: str
    faults: list[Violation] = field(default_factory=list)

    def fault(self, place: str, sentence: str, reason: str) -> None:
        """Note something that is wrong."""
        self.faults.append(Violation(place, sentence, reason))

    def words(self, place: str, said: str, max_bytes: int | None = None) -> Payload | None:
        """Text in the caller's own words; None if there is none."""
        bound = self.bounds.comment_max_bytes if max_bytes is None else max_bytes
        size = len(said.encode("utf-8", "surrogatepass"))
        if size > bound:
            self.fault(place, f"has {size} bytes; at most {bound} are allowed", "TOO_LONG")
            return None
        return commit_words(said) if said else None

    def json(self, place: str, said: bytes) -> Payload | None:
        """A JSON text; null if there is none."""
        try:
            return commit(said or b"null", self.bounds.payload_max_bytes, self.bounds.depth_max)
        except NotJson as error:
            self.fault(place, str(error), "NOT_JSON")
        except TooLarge as error:
            self.fault(place, str(error), "TOO_LARGE")
        except TooDeep as error:
            self.fault(place, str(error), "TOO_DEEP")
        return None

    def demand(self, place: str, said: object, sentence: str) -> None:
        """A field that may not be empty."""
        if not said:
            self.fault(place, sentence, "REQUIRED")

    def choice(self, place: str, said: int, choices: Choices) -> None:
        """A field that is one of an enum. A value that this daemon does not know may mean anything but its default."""
        if said not in choices.values():
            self.fault(place, f"is {said}, which is none of {', '.join(choices.keys())}", "UNKNOWN_VALUE")

    def gather(self, read: Callable[[], T]) -> T | None:
        """What `read` returns. The faults that it raises are told with the others; then this returns None."""
        try:
            return read()
        except InvalidArgument as invalid:
            self.faults.extend(invalid.violations)
            return None

    def done(self) -> None:
        """Raises `InvalidArgument` with every fault found."""
        if self.faults:
            raise InvalidArgument(self.faults)


def check(desk: Desk, request: Any) -> Checked:
    """Begin to check a request: the fields that all have."""
    has = request.DESCRIPTOR.fields_by_name
    namespace = request.namespace if "namespace" in has else ""
    namespace = namespace or DEFAULT_NAMESPACE
    checked = Checked(desk.bounds, namespace)
    if not NAMESPACE.fullmatch(namespace):
        checked.fault("namespace", "is not a name: a letter, then letters, digits, _ and -, at most 63", "BAD_NAME")
    if "request_id" in has and len(request.request_id) > desk.bounds.request_id_max:
        sentence = f"has {len(request.request_id)} characters; at most {desk.bounds.request_id_max} are allowed"
        checked.fault("request_id", sentence, "TOO_LONG")
    if "operation_id" in has and not ID_PART.fullmatch(request.operation_id):
        sentence = "is not an operation id, nor a part of one" if request.operation_id else "says no operation"
        checked.fault("operation_id", sentence, "BAD_OPERATION_ID")
    if "page_size" in has and not 0 <= request.page_size <= desk.bounds.page_max:
        checked.fault("page_size", f"is not a size of a page: 0 to {desk.bounds.page_max}", "OUT_OF_RANGE")
    return checked


def namespace_of(desk: Desk, request: Any) -> str:
    """The namespace of a request that has nothing else to check."""
    checked = check(desk, request)
    checked.done()
    return checked.namespace


def fitting(entries: Iterable[M]) -> list[M]:
    """As many entries as a page has room for; at least one, if there are any. The rest is for the next page."""
    page: list[M] = []
    room = PAGE_MAX_BYTES
    for entry in entries:
        room -= entry.ByteSize()
        if page and room < 0:
            break
        page.append(entry)
    return page


def revision_of(request: Any) -> int | None:
    """The revision of the flow that the caller has seen, if they say so."""
    return request.expected_revision or None


def request_key(request: Any, rpc: str, namespace: str, **told: object) -> RequestKey | None:
    """The request, if it has an id: its digest is over everything but the id, with the namespace always said.

    For whom a program acts is part of what it asks, not of who asks: the same id for another person, or for nobody, is
    refused. Were it a request of its own, one that is repeated when the person's token has ended would be done twice.
    `told` are fields that were said elsewhere, for many requests at once.
    """
    if not request.request_id:
        return None
    return RequestKey(namespace, caller().id, rpc, request.request_id, _digest(request, namespace=namespace, **told))


def _digest(request: Any, **told: object) -> str:
    content = type(request)()
    content.CopyFrom(request)
    content.ClearField("request_id")
    for name, value in told.items():
        setattr(content, name, value)
    digest = hashlib.sha256(content.SerializeToString(deterministic=True)).hexdigest()
    person = caller().on_behalf_of
    return digest if person is None else hashlib.sha256(f"{digest} for {person}".encode()).hexdigest()
