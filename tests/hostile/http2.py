"""A client that writes HTTP/2 frames by hand (RFC 9113), and so can say what no library would: half of it, or too much.

Header blocks are literals without compression (RFC 7541, 6.2.2). Of what comes back only the frames are read.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple, Self

from google.protobuf.message import Message

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
CANCEL = 8
INITIAL_WINDOW_SIZE = 4
WINDOW_MAX = 2**31 - 1
WINDOW_USUAL = 65_535
PATIENCE_S = 20.0


class Kind(IntEnum):
    """Types of frames."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Frame(NamedTuple):
    """What the other side says."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def ends_stream(self) -> bool:
        """True if nothing more comes on its stream."""
        return self.kind == Kind.RST_STREAM or bool(self.kind in (Kind.DATA, Kind.HEADERS) and self.flags & END_STREAM)


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """A frame as it is sent."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def enclosed(message: Message) -> bytes:
    """A message with the prefix that gRPC gives it."""
    text = message.SerializeToString()
    return struct.pack(">BI", 0, len(text)) + text


def header_block(path: str, token: str = "") -> bytes:
    """The headers of a call."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "daemon",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    if token:
        headers["authorization"] = f"Bearer {token}"
    return b"".join(literal(name, value) for name, value in headers.items())


def literal(name: str, value: str) -> bytes:
    """A header, spelled out."""
    return b"\0" + b"".join(_length(len(text)) + text for text in (name.encode(), value.encode()))


def _length(number: int) -> bytes:
    if number < 127:
        return bytes([number])
    said, number = bytearray([127]), number - 127
    while number >= 128:
        said.append(number % 128 + 128)
        number //= 128
    said.append(number)
    return bytes(said)


class Connection:
    """One connection. `window` is what the daemon may send on a stream, and on all of them, before it is asked to."""

    def __init__(self, address: str, *, window: int = WINDOW_USUAL, tls: ssl.SSLContext | None = None) -> None:
        self._socket = connected(address)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname="localhost")
        self._stream = -1
        self._heard = bytearray()
        said = PREFACE + frame(Kind.SETTINGS, payload=struct.pack(">HI", INITIAL_WINDOW_SIZE, window))
        if window > WINDOW_USUAL:
            said += frame(Kind.WINDOW_UPDATE, payload=struct.pack(">I", window - WINDOW_USUAL))
        self.send(said)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._socket.close()

    def send(self, said: bytes) -> None:
        """Say something, whatever it is."""
        self._socket.sendall(said)

    def call(self, path: str, request: Message | None = None, *, token: str = "", ends: bool = True) -> int:
        """Open a stream with its headers, and its request if there is one; returns its number."""
        self.send(self.calling(path, request, token=token, ends=ends))
        return self._stream

    def calling(self, path: str, request: Message | None = None, *, token: str = "", ends: bool = True) -> bytes:
        """The frames that do so."""
        self._stream += 2
        said = frame(Kind.HEADERS, END_HEADERS, self._stream, header_block(path, token))
        if request is not None:
            said += frame(Kind.DATA, END_STREAM if ends else 0, self._stream, enclosed(request))
        return said

    def reset(self, stream: int | None = None) -> bytes:
        """The frame that takes back a stream, the last one if none is named."""
        return frame(Kind.RST_STREAM, 0, self._stream if stream is None else stream, struct.pack(">I", CANCEL))

    def frames(self, within_s: float = PATIENCE_S) -> Iterator[Frame]:
        """What comes, until the connection or the time is over. Acknowledges what has to be."""
        until = time.monotonic() + within_s
        while True:
            while (heard := self._next()) is not None:
                if heard.kind in (Kind.SETTINGS, Kind.PING) and not heard.flags & ACK:
                    payload = heard.payload if heard.kind == Kind.PING else b""
                    self._try_to_send(frame(heard.kind, ACK, 0, payload))
                yield heard
            self._socket.settimeout(max(until - time.monotonic(), 0.001))
            try:
                said = self._socket.recv(1 << 16)
            except TimeoutError:
                return
            except ConnectionError:
                said = b""
            finally:
                self._socket.settimeout(PATIENCE_S)
            if not said:
                return
            self._heard += said

    def ended(self, streams: Iterable[int], within_s: float = PATIENCE_S) -> bool:
        """True once all of these streams have ended."""
        open_streams = set(streams)
        for heard in self.frames(within_s):
            if heard.ends_stream:
                open_streams.discard(heard.stream)
            if not open_streams:
                return True
        return not open_streams

    def is_cut(self, within_s: float = PATIENCE_S) -> bool:
        """True once the daemon has closed the connection; what it says until then is passed over."""
        until = time.monotonic() + within_s
        for _ in self.frames(within_s):
            pass
        return time.monotonic() < until

    def _try_to_send(self, said: bytes) -> None:
        try:
            self._socket.sendall(said)
        except ConnectionError:
            pass

    def _next(self) -> Frame | None:
        if len(self._heard) < 9:
            return None
        size = int.from_bytes(self._heard[:3], "big")
        if len(self._heard) < 9 + size:
            return None
        kind, flags, stream = struct.unpack(">BBI", self._heard[3:9])
        payload = bytes(self._heard[9 : 9 + size])
        del self._heard[: 9 + size]
        return Frame(kind, flags, stream & WINDOW_MAX, payload)


def connected(address: str) -> socket.socket:
    """A bare connection to HOST:PORT."""
    host, _, port = address.rpartition(":")
    found = socket.create_connection((host, int(port)), PATIENCE_S)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found
