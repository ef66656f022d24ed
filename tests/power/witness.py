"""A program: follows the whole log, and writes down how far it was shown, by which leaf, and when.

Arguments: the address and the file. It ends when the stream does.
"""

from __future__ import annotations

import os
import sys
import time

import grpc
from hmsact.v1 import timeline_pb2, timeline_pb2_grpc

LEAF_BYTES = 32


def main(address: str, path: str) -> None:
    shown = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with grpc.insecure_channel(address) as channel:
        stub = timeline_pb2_grpc.TimelineServiceStub(channel)
        try:
            for frame in stub.WatchEvents(timeline_pb2.WatchEventsRequest(from_beginning=True, with_proof=True)):
                if frame.leaves:
                    leaf = frame.leaves[-LEAF_BYTES:].hex()
                    os.write(shown, f"{frame.to_position - 1} {leaf} {time.monotonic_ns()}\n".encode())
        except grpc.RpcError:
            # The daemon was killed: what was shown until then is what counts.
            return


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
