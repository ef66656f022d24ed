"""Where requests come in as bytes, and how each has ended: of a daemon in this process, or of one at a socket."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

DETAILS = "grpc-status-details-bin"

Said = Iterable[bytes] | AsyncIterable[bytes]
"""The requests of a call: all there are, or as they come to mind."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call has ended; `code` is "" if the caller hung up on it."""

    code: str
    sentence: str = ""
    messages: list[bytes] = field(default_factory=list)
    trailers: tuple[tuple[str, str | bytes], ...] = ()

    @property
    def reason(self) -> str:
        """Why it was refused, for machines; "" if nothing says so."""
        raw = dict(self.trailers).get(DETAILS, b"")
        assert isinstance(raw, bytes)
        info = error_details_pb2.ErrorInfo()
        for detail in status_pb2.Status.FromString(raw).details:
            if detail.Unpack(info):
                assert info.domain == "hmsact"
                return str(info.reason)
        return ""


class Door(Protocol):
    """Takes requests."""

    async def ask(self, path: str, said: Said, token: str = "", heard: Callable[[bytes], Any] | None = None) -> Answer:
        """Calls an RPC, and returns how that ended; each message of the answer goes to `heard` as it comes."""
        ...
