"""What the other end of a connection may do to us: the options of gRPC's own part of the server.

Its defaults trust whoever connects: any number of streams, windows that grow to 256 MiB each, two minutes for a
handshake. Nothing here knows who is calling.
"""

from __future__ import annotations

from hmsactd.settings.sections import Grpc

WINDOW_BYTES = 256 * 1024
"""What may come in on a stream before anybody reads it. By gRPC's own estimate (BDP probes) it grows to 256 MiB for
who sends quickly. With a quarter of a MiB 12 MB a second come in over 20 ms; a larger message is still taken whole."""

HEADERS_MAX_BYTES = 16 * 1024
"""All headers of a request: twice the longest token. gRPC refuses some requests by chance between a soft limit, 8 KiB
unless told otherwise, and the hard one; here they are the same."""

HANDSHAKE_MS = 10_000
"""How long a connection may take until it speaks HTTP/2, TLS included. gRPC's own two minutes are a gift to whoever
opens connections and says nothing."""

IDLE_MS = 15 * 60_000
"""How long a connection without a call is kept. Clients of gRPC connect again by themselves, unseen."""

KEEPALIVE = (
    # A connection that is half open is found out within 80 s, whatever it carries.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients may ping every 10 s; by default gRPC cuts off whoever pings more than every five minutes.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


def options(settings: Grpc) -> list[tuple[str, int]]:
    """The options, as gRPC takes them."""
    return [
        *KEEPALIVE,
        # A second daemon on the port must fail, not share it.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.message_max_bytes),
        ("grpc.max_send_message_length", settings.message_max_bytes),
        # Beyond this many calls not yet accepted gRPC answers CANCELLED; its own default is 1,000.
        ("grpc.server.max_pending_requests", settings.pending_max),
        # Streams that were taken back count until we have let go of them: else a client that opens and resets them
        # (CVE-2023-44487) fills the queue of calls not yet accepted, and others are cancelled.
        ("grpc.max_concurrent_streams", settings.streams_per_connection_max),
        ("grpc.max_allowed_incoming_connections", settings.connections_max),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
        ("grpc.max_metadata_size", HEADERS_MAX_BYTES),
        ("grpc.absolute_max_metadata_size", HEADERS_MAX_BYTES),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", IDLE_MS),
    ]
