"""Services that the daemon calls: each a worker's session within the daemon, whose calls go out over gRPC or HTTPS.

Knows of operations only what a worker is told. Retries, clocks, losses and records are the engine's, as for any worker.
"""
