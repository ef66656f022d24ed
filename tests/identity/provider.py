"""The site of an identity provider in the hands of a test: over TLS, and as unpleasant as it is told to be."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from joserfc.jwk import Key

from tests.identity.authority import Authority
from tests.identity.issuing import key_set

DESCRIPTION = "/realms/staff/.well-known/openid-configuration"
KEYS = "/realms/staff/keys"


class Provider:
    """Answers with pages, or does with a request whatever a function does."""

    def __init__(self, directory: Path) -> None:
        authority = Authority("provider")
        self.ca_file = directory / "provider-ca.pem"
        self.ca_file.write_bytes(authority.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.write(directory, "provider", authority.issue(hosts=["localhost"])))
        self.asked: list[str] = []
        self.pages: dict[str, bytes | Callable[[BaseHTTPRequestHandler], None]] = {}
        self.has_ended = threading.Event()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                page = provider.pages.get(self.path)
                try:
                    if callable(page):
                        page(self)
                    else:
                        answer(self, page)
                except OSError:
                    # Whoever asked has had enough.
                    self.close_connection = True

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("localhost", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.site = f"https://localhost:{self._server.server_port}"
        self.url = f"{self.site}/realms/staff"
        self.pages[DESCRIPTION] = json.dumps({"issuer": self.url, "jwks_uri": self.site + KEYS}).encode()

    def publish(self, *keys: Key) -> None:
        self.pages[KEYS] = key_set(*keys)

    def hang(self, request: BaseHTTPRequestHandler) -> None:
        """Takes the request and says nothing."""
        self.has_ended.wait()

    def drip(self, request: BaseHTTPRequestHandler) -> None:
        """Says a byte now and then, for ever."""
        request.send_response(200)
        request.end_headers()
        while not self.has_ended.wait(0.2):
            request.wfile.write(b" ")
            request.wfile.flush()

    def flood(self, request: BaseHTTPRequestHandler) -> None:
        """Says more than anybody wants to hear, for ever."""
        request.send_response(200)
        request.end_headers()
        while not self.has_ended.is_set():
            request.wfile.write(b" " * 65_536)

    def redirect(self, request: BaseHTTPRequestHandler) -> None:
        """Sends whoever asks elsewhere."""
        request.send_response(302)
        request.send_header("location", f"{self.site}/elsewhere")
        request.end_headers()

    @contextmanager
    def serving(self) -> Iterator[Provider]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self.has_ended.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def answer(request: BaseHTTPRequestHandler, page: bytes | None) -> None:
    request.send_response(200 if page is not None else 404)
    request.send_header("content-length", str(len(page or b"")))
    request.end_headers()
    request.wfile.write(page or b"")
