"""Fetches what an issuer publishes: over TLS, from nowhere else, not too much of it, and not for too long."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import anyio
import httpx2

from hmsactd.identity.key_set import KEY_SET_MAX_BYTES
from hmsactd.identity.key_source import Fetch, FetchFailed

PATIENCE_S: Final = 5.0
"""How long an answer may take as a whole: one that comes byte by byte would come for ever."""

# Read as it comes: 256 KiB that are packed may be 256 MiB.
HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity"}


def fetching(ca_file: Path | None) -> Fetch:
    """What fetches, believing the authorities in a file, or those of the system."""
    trusted = ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)

    async def fetch(address: str) -> bytes:
        try:
            with anyio.fail_after(PATIENCE_S):
                return await _fetched(address, trusted)
        except TimeoutError as error:
            raise FetchFailed(f"{address} has not answered within {PATIENCE_S:.0f} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise FetchFailed(f"{address}: {str(error) or type(error).__name__}") from error

    return fetch


async def _fetched(address: str, trusted: ssl.SSLContext) -> bytes:
    async with (
        httpx2.AsyncClient(verify=trusted, timeout=None, trust_env=False) as client,
        client.stream("GET", address, headers=HEADERS) as answer,
    ):
        if answer.status_code != httpx2.codes.OK:
            raise FetchFailed(f"{address} answers {answer.status_code}")
        body = b""
        async for part in answer.aiter_raw():
            body += part
            if len(body) > KEY_SET_MAX_BYTES:
                raise FetchFailed(f"{address} answers more than {KEY_SET_MAX_BYTES} bytes")
        return body
