"""What happens around every request: who is calling, may they, the servicer, its errors, the measure. In one place.

It is the outermost interceptor; no exception gets past it, because gRPC would send its text to the caller.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Protocol, cast

import grpc
from grpc.aio import AbortError

from hmsactd.core.principal import Principal
from hmsactd.errors import HmsactdError, PermissionDenied, ResourceExhausted
from hmsactd.identity.authenticate import Metadata
from hmsactd.identity.credential import Asked, Credential, NotKnownYet
from hmsactd.rpc.caller import called_by
from hmsactd.rpc.status import abort, error_of, unless_gone
from hmsactd.rpc.streams import Streams
from hmsactd.rpc.unreadable import Readable, only_request, open_to_all, reading

OURS = "/hmsact."
"""How the names of our RPCs begin. Health and reflection are gRPC's own: monitoring needs no token for them."""

NEARLY_OVER_S = 0.05
"""The caller's clock for the same time started earlier, by the request's way here, and its end may arrive first."""

LOOKED_AT_EVERY_S = 2.0
"""How long a stream may outlast its credential."""

WAITS = "/hmsact.v1.OperationService/WaitOperation"
"""Has one answer, minutes later: it ends with its credential, too. It only reads, so that nothing is done by then."""

TRY_AGAIN_AFTER_MS = 1_000
"""When to try again where too many have asked at once."""

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Any
Behaviour = Callable[[Any, Context], Any]
Take = Callable[[Any, Context], Awaitable[Any]]

Measure = Callable[[str, str, float], None]
"""Told of every request that has ended: its RPC ("/package.Service/Method"), the name of its status, seconds."""


class Gatekeeper(Protocol):
    """Knows who is calling and what they may do; see hmsactd.identity."""

    def credential_of(self, metadata: Metadata, certificate: bytes | None, asked: Asked) -> Credential:
        """Returns whom the headers and the certificate stand for; raises Unauthenticated."""
        ...

    def may(self, principal: Principal, permission: str) -> bool:
        """Returns True if the principal has the permission."""
        ...


class Interceptor(grpc.aio.ServerInterceptor):
    """Stands before all servicers."""

    def __init__(
        self,
        identity: Gatekeeper,
        permissions: Mapping[str, str],
        callers: Mapping[str, Asked],
        measure: Measure,
        requests_max: int,
        streams: Streams,
        *,
        has_certificates: bool = False,
    ) -> None:
        self._callers = callers
        self._has_certificates = has_certificates
        self._requests_max = requests_max
        self._streams = streams
        self._under_way = 0
        self._identity = identity
        self._permissions = permissions
        self._measure = measure
        self._guarded: dict[str, tuple[object, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Puts the guard before the handler of a request."""
        handler = await continuation(handler_call_details)
        rpc = handler_call_details.method
        if handler is None:
            return None
        known = self._guarded.get(rpc)
        if known is None or known[0] is not handler:
            guarded = self._guard(rpc, handler) if rpc.startswith(OURS) else open_to_all(handler, self._streams)
            known = self._guarded[rpc] = (handler, guarded)
        return known[1]

    def _guard(self, rpc: str, handler: Handler) -> Handler:
        """The handler behind the guard.

        It takes a stream of requests, whatever the RPC does: for any other gRPC would wait for the one request, and
        keep what has come of it, before anybody could ask who is calling.
        """
        codecs = {
            "request_deserializer": reading(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        take = _all_requests if handler.request_streaming else _one_request
        if handler.response_streaming:
            codecs["response_serializer"] = _written_once(handler.response_serializer)
            behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
            return grpc.stream_stream_rpc_method_handler(self._streaming(rpc, take, behaviour), **codecs)
        behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
        return grpc.stream_unary_rpc_method_handler(self._answering(rpc, take, behaviour), **codecs)

    def _answering(self, rpc: str, take: Take, behaviour: Behaviour) -> Any:
        """A servicer's method that gives one answer."""

        async def serve(requests: Any, context: Context) -> Any:
            self._refuse_too_many()
            return await behaviour(await take(requests, context), context)

        async def wait(requests: Any, context: Context) -> Any:
            async with self._as_long_as_admitted(rpc, context):
                return await serve(requests, context)

        answer = wait if rpc == WAITS else serve

        async def guarded(requests: Any, context: Context) -> Any:
            self._under_way += 1
            try:
                return await self._pass(rpc, context, lambda: answer(requests, context))
            finally:
                self._under_way -= 1

        return guarded

    def _streaming(self, rpc: str, take: Take, behaviour: Behaviour) -> Any:
        """A servicer's method that gives a stream of answers."""

        async def taken(requests: Any, context: Context) -> Any:
            # It is no stream yet: until its request is there it counts among those.
            self._under_way += 1
            try:
                self._refuse_too_many()
                return await take(requests, context)
            finally:
                self._under_way -= 1

        async def guarded(requests: Any, context: Context) -> None:
            async def send() -> None:
                request = await taken(requests, context)
                # Closed whatever happens: the servicer's own cleanup must not wait for the garbage collector.
                async with self._as_long_as_admitted(rpc, context), aclosing(behaviour(request, context)) as answers:
                    async for answer in answers:
                        with unless_gone():
                            await context.write(answer)

            await self._pass(rpc, context, send)

        return guarded

    def _refuse_too_many(self) -> None:
        if self._under_way > self._requests_max:
            raise ResourceExhausted(
                "REQUESTS_MAX",
                f"{self._requests_max} requests are under way, the most allowed (grpc.requests_max)",
                retry_after_ms=TRY_AGAIN_AFTER_MS,
            )

    async def _pass(self, rpc: str, context: Context, serve: Callable[[], Awaitable[Any]]) -> Any:
        """Lets one request through, or aborts it; measures it in either case."""
        started = time.perf_counter()
        code = "OK"
        try:
            try:
                self._admit(rpc, context)
            except NotKnownYet as unknown:
                await unknown.ask()
                self._admit(rpc, context)
            return await serve()
        except asyncio.CancelledError:
            code = _why_cancelled(context)
            raise
        except AbortError:
            code = context.code().name
            raise
        except Exception as raised:  # noqa: BLE001 -- whatever it is, its text must not reach the caller
            error = error_of(raised)
            code = error.code
            await abort(context, error)
        finally:
            self._measure(rpc, code, time.perf_counter() - started)

    def _admit(self, rpc: str, context: Context) -> None:
        """Says who is calling; raises Unauthenticated or PermissionDenied."""
        principal = self._credential(rpc, context).principal
        permission = self._permissions[rpc]
        if not self._identity.may(principal, permission):
            raise PermissionDenied(
                "PERMISSION_MISSING",
                f"{principal.id} lacks the permission {permission}",
                metadata={"permission": permission, "principal": principal.id},
            )
        called_by(principal)

    def _credential(self, rpc: str, context: Context) -> Credential:
        metadata = cast("Metadata", context.invocation_metadata() or ())
        certificate = None
        if self._has_certificates:
            (certificate,) = context.auth_context().get("x509_pem_cert") or (None,)
        return self._identity.credential_of(metadata, certificate, self._callers[rpc])

    @asynccontextmanager
    async def _as_long_as_admitted(self, rpc: str, context: Context) -> AsyncIterator[None]:
        """Ends what lasts with its credential: when that expires, is revoked, or loses its permission."""
        loop = asyncio.get_running_loop()
        ended: HmsactdError | None = None
        next_look: asyncio.TimerHandle

        def look() -> None:
            nonlocal ended, next_look
            try:
                self._admit(rpc, context)
            except Exception as raised:  # noqa: BLE001 -- whoever can't be looked at any more doesn't go on unseen
                ended = error_of(raised)
                patience.reschedule(loop.time())
            else:
                next_look = loop.call_later(LOOKED_AT_EVERY_S, look)

        next_look = loop.call_later(LOOKED_AT_EVERY_S, look)
        try:
            async with asyncio.timeout(None) as patience:
                yield
        except TimeoutError:
            if ended is None:
                raise
            raise ended from None
        finally:
            next_look.cancel()


async def _all_requests(requests: AsyncIterator[Any], _context: Context) -> Readable:
    """The requests of a stream, none of which could not be read."""
    return Readable(requests)


async def _one_request(_requests: AsyncIterator[Any], context: Context) -> Any:
    """The one request of a call."""
    return await only_request(context)


def _written_once(write: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """A serialiser for streams whose answers go to many: what is bytes already is one answer, written out before."""
    return lambda answer: answer if isinstance(answer, bytes) else write(answer)


def _why_cancelled(context: Context) -> str:
    """The handler is cancelled both when the caller gives up and when the caller's time is over."""
    left_s: float | None = context.time_remaining()
    return "CANCELLED" if left_s is None or left_s > NEARLY_OVER_S else "DEADLINE_EXCEEDED"
