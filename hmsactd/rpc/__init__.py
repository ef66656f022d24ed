"""The edge: protobuf in, protobuf out.

Nothing is decided here. A servicer converts, tells or reads, converts; the interceptor knows who is calling, asks
whether they may, and turns errors into statuses.
"""
