"""The ports: free for a daemon that is stopped, answered by one that runs."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from hmsactd.doctor.finding import Finding, fail, ok, warn
from hmsactd.settings.settings import Settings
from hmsactd.settings.values import Address

WITHIN_S: Final = 5.0
JUMPS: Final = "hmsact_clock_jumps_total{"


def of_doors(settings: Settings, *, is_running: bool) -> Iterator[Finding]:
    """Looks at every door."""
    mutual = settings.grpc.mutual
    doors = [("gRPC", settings.grpc.listen), ("HTTP", settings.http.listen)]
    if mutual is not None:
        doors.insert(1, ("gRPC mutual", mutual.listen))
    for name, address in doors:
        if address.port == 0:
            yield ok(name, "takes any free port")
        elif not is_running:
            yield _free(name, address)
        elif name == "HTTP":
            yield from _asked(address, is_encrypted=settings.http.files is not None)
        else:
            yield _answered(name, address)


def _free(name: str, address: Address) -> Finding:
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((address.host, address.port))
    except OSError as error:
        return fail(name, f"{address} can't be had ({error.strerror}): stop whoever has it, or set another address")
    return ok(name, f"{address} is free")


def _answered(name: str, address: Address) -> Finding:
    try:
        with socket.create_connection((address.host, address.port), WITHIN_S):
            return ok(name, f"{address} is answered")
    except OSError as error:
        return warn(
            name, f"{address} is not answered ({error.strerror or error}): was it started with another address?"
        )


def _asked(address: Address, *, is_encrypted: bool) -> Iterator[Finding]:
    """/readyz, and what the daemon itself has seen of the clock."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=WITHIN_S)
    if is_encrypted:
        # Nothing is told, and it is this machine that answers: whose certificate it has, another check says.
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(address.host, address.port, timeout=WITHIN_S, context=trusting)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        told = json.loads(answer.read())
        connection.request("GET", "/metrics")
        page = connection.getresponse()
        metrics = page.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException, ValueError) as error:
        yield warn("HTTP", f"{address} is not answered ({error}): was the daemon started with another address?")
        return
    finally:
        connection.close()
    if answer.status == http.client.OK:
        yield ok("HTTP", f"{address} says that the daemon is ready")
    else:
        reason = told.get("reason") if isinstance(told, dict) else told
        yield fail("HTTP", f"{address} says that the daemon is not ready: {reason}; see docs/operating.md")
    if page.status != http.client.OK:
        yield ok("clock jumps", "are told to whoever has the permission metrics.read")
        return
    jumps = sum(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(JUMPS))
    if jumps:
        yield warn(
            "clock jumps", f"{jumps:.0f} times the clock was set while the daemon ran: see its log, and who does it"
        )
    else:
        yield ok("clock jumps", "the clock was not set while the daemon ran")
