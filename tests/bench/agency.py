"""The called service of W2: answers every call at once, over gRPC and over HTTP. Prints its two ports."""

from __future__ import annotations

import asyncio
import json

from grpc import aio
from hmsact.v1 import step_pb2, step_pb2_grpc

from tests.bench.worker import OUTPUT

DONE = step_pb2.ExecuteResponse(done=step_pb2.ExecuteResponse.Done(output=OUTPUT))
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(OUTPUT), OUTPUT)


class Steps(step_pb2_grpc.StepServiceServicer):
    """Does every step at once."""

    async def Execute(self, request: step_pb2.ExecuteRequest, context: object) -> step_pb2.ExecuteResponse:  # noqa: N802
        return DONE


async def over_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: the least that an HTTP server can do."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
            await reader.readexactly(int(size))
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    """Serve until killed."""
    server = aio.server()
    step_pb2_grpc.add_StepServiceServicer_to_server(Steps(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    http = await asyncio.start_server(over_http, "127.0.0.1", 0)
    print(json.dumps({"grpc": port, "http": http.sockets[0].getsockname()[1]}), flush=True)
    await http.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
