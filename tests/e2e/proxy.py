"""A TCP proxy that can stop forwarding without closing anything: a connection that is half open."""

import selectors
import socket
import threading
from typing import Self


class Proxy:
    """Forwards to an address until it is frozen; from then on both sides hear nothing more, not even an end."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._behind = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._frozen = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._thread = threading.Thread(target=self._run, name="proxy")

    def __enter__(self) -> Self:
        for watched in (self._listener, self._woken):
            self._selector.register(watched, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._wake.send(b"x")
        self._thread.join()
        self._selector.close()
        for opened in (*self._peers, self._listener, self._wake, self._woken):
            opened.close()

    def freeze(self) -> None:
        """Stop forwarding."""
        self._frozen.set()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if ready is self._woken:
                    return
                if ready is self._listener:
                    self._accept()
                else:
                    self._forward(ready)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(self._behind)
        self._peers |= {near: far, far: near}
        for side in (near, far):
            self._selector.register(side, selectors.EVENT_READ)

    def _forward(self, side: socket.socket) -> None:
        try:
            said = side.recv(65_536)
        except OSError:
            said = b""
        if not said:
            self._selector.unregister(side)
        elif not self._frozen.is_set():
            self._peers[side].sendall(said)
