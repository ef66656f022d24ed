"""What the HTTP side answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hmsactd.http.readiness import Readiness
from hmsactd.metrics.metrics import Metrics

UNCACHED = {"Cache-Control": "no-store"}


Admit = Callable[[Request], Awaitable[None]]
"""Lets a request through, or raises HTTPException."""


async def everybody(_request: Request) -> None:
    """Lets every request through: on this machine nobody has to sign in to read the metrics."""


def build(metrics: Metrics, readiness: Readiness, admit: Admit = everybody) -> Starlette:
    """The application: /metrics, /healthz, /readyz."""

    async def scrape(request: Request) -> Response:
        """The metrics, as Prometheus reads them."""
        await admit(request)
        return Response(await metrics.exposition(), media_type=metrics.content_type, headers=UNCACHED)

    async def healthz(_request: Request) -> Response:
        """The process is alive: it answers."""
        return JSONResponse({"alive": True}, headers=UNCACHED)

    async def readyz(_request: Request) -> Response:
        """The daemon takes requests, or not, and why."""
        if readiness.is_ready:
            return JSONResponse({"ready": True}, headers=UNCACHED)
        return JSONResponse({"ready": False, "reason": readiness.reason}, 503, headers=UNCACHED)

    return Starlette(
        routes=[Route("/metrics", scrape), Route("/healthz", healthz), Route("/readyz", readyz)],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )


async def _refused(request: Request, raised: Exception) -> Response:
    assert isinstance(raised, HTTPException)
    return JSONResponse({"error": raised.detail, "path": request.url.path}, raised.status_code, headers=raised.headers)


async def _failed(_request: Request, _raised: Exception) -> Response:
    # What went wrong is in the log, where uvicorn writes it; the caller learns no text of ours.
    return JSONResponse({"error": "Internal Server Error"}, 500)
