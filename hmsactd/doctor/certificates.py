"""What the doors are secured with: usable, whole, and for how long; and whether API tokens can be read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from hmsactd.doctor.finding import Finding, fail, ok, warn
from hmsactd.identity.api_tokens import TokenFile, TokensRefused
from hmsactd.machine.certificates import Files, Unusable, read
from hmsactd.settings.settings import Settings

SOON: Final = timedelta(days=14)
SHORT_LIVED: Final = timedelta(days=28)
"""What lives no longer is made anew by a program, and is late only when little of its life is left."""


def of_certificates(settings: Settings) -> Iterator[Finding]:
    """Looks at the certificates of both servers and at the authorities of clients."""
    mutual = settings.grpc.mutual
    doors = (
        ("gRPC TLS", settings.grpc.files(mutual.client_ca_file if mutual is not None else None)),
        ("HTTP TLS", settings.http.files),
    )
    for about, files in doors:
        if files is not None:
            yield from _of_files(about, files)


def of_tokens(settings: Settings) -> Finding:
    """Looks whether a daemon could read the tokens of programs."""
    try:
        count = len(TokenFile(settings.data.directory).tokens())
    except TokensRefused as refused:
        return fail("API tokens", str(refused))
    return ok("API tokens", f"{count} were made, of which `hmsactd token list` tells")


def _of_files(about: str, files: Files) -> Iterator[Finding]:
    try:
        parts = read(files)
    except Unusable as error:
        yield fail(about, str(error))
        return
    yield _until(about, f"{files.certificate}", parts.begins_at, parts.ends_at)
    if parts.clients_end_at is not None:
        yield _until("client CA", f"{files.client_ca}", None, parts.clients_end_at)


def _until(about: str, file: str, begins_at: datetime | None, ends_at: datetime) -> Finding:
    now, day = datetime.now(UTC), f"{ends_at:%Y-%m-%d %H:%M} UTC"
    if begins_at is not None and now < begins_at:
        return fail(
            about, f"{file} is not valid before {begins_at:%Y-%m-%d %H:%M} UTC: nobody connects; is the clock right?"
        )
    if now >= ends_at:
        return fail(about, f"{file} has expired on {day}: nobody connects; put another in its place")
    life = ends_at - begins_at if begins_at is not None else SHORT_LIVED
    if ends_at - now < (life / 10 if life < SHORT_LIVED else SOON):
        return warn(about, f"{file} expires on {day}: put another in its place, which is read without a restart")
    return ok(about, f"{file} can be used until {day}")
