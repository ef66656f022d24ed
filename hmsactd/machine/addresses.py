"""Where a name leads: "localhost" is what the machine's own files say it is."""

from __future__ import annotations

import socket
from ipaddress import ip_address


def leads_elsewhere(host: str) -> list[str]:
    """The addresses of a host that are not this machine's own; raises OSError if it has none at all."""
    found = {str(address[0]) for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    return sorted(address for address in found if not ip_address(address.partition("%")[0]).is_loopback)
