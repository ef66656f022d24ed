"""Scenarios about what comes to an endpoint over HTTP: bodies that are none, and signatures that are not good."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from standardwebhooks import Webhook

from hmsactd.conformance.called_https import Endpoint
from hmsactd.conformance.request import Request, signed
from hmsactd.conformance.steps import ODD
from hmsactd.conformance.unmet import NotApplicable, expect

REFUSED: Final = (401, 403)
TOO_OLD: Final = timedelta(hours=1)
FOREIGN: Final = Webhook("whsec_" + "Zm9yZWlnbiB0byBldmVyeWJvZHkgaGVyZQ==")
"""A secret that nobody has been told."""


async def refuses_what_is_no_call(endpoint: Endpoint) -> None:
    """A body that is not JSON fails for good, and harms nothing."""
    request, body = Request("echo"), b'{"step": "ec'
    signature = {} if endpoint.secret is None else signed(request.key, body, endpoint.secret)
    failed = await endpoint.send(body, request.headers() | signature)
    expect(400 <= failed.status < 500, "400 for a body that is not JSON", f"the answer was {failed}")


async def refuses_a_foreign_signature(endpoint: Endpoint) -> None:
    """A signature with another secret, or over another body."""
    _needs_secret(endpoint)
    await _is_refused(endpoint, "signed with another secret", lambda key, body: signed(key, body, FOREIGN))
    await _is_refused(
        endpoint, "signed for another body", lambda key, body: signed(key, body + b" ", _needs_secret(endpoint))
    )


async def refuses_what_is_not_signed(endpoint: Endpoint) -> None:
    """No signature at all."""
    _needs_secret(endpoint)
    await _is_refused(endpoint, "not signed", lambda key, body: {})


async def refuses_what_is_old(endpoint: Endpoint) -> None:
    """A good signature of an hour ago: somebody sends again what they have overheard."""
    secret, then = _needs_secret(endpoint), datetime.now(UTC) - TOO_OLD
    await _is_refused(endpoint, "signed an hour ago", lambda key, body: signed(key, body, secret, then))


async def takes_one_good_signature_of_two(endpoint: Endpoint) -> None:
    """While a secret is changed there are two signatures."""
    secret, request = _needs_secret(endpoint), Request("echo", ODD)
    body = request.body(endpoint.svc)
    good, foreign = signed(request.key, body, secret), signed(request.key, body, FOREIGN)
    both = f"{foreign['webhook-signature']} {good['webhook-signature']}"
    answer = await endpoint.send(body, request.headers() | good | {"webhook-signature": both})
    expect(answer.is_done, "a request accepted of whose two signatures one is good", f"it was {answer}")


async def _is_refused(endpoint: Endpoint, how: str, sign: Callable[[str, bytes], dict[str, str]]) -> None:
    request = Request("slow", {"seconds": 0})
    body = request.body(endpoint.svc)
    answer = await endpoint.send(body, request.headers() | sign(request.key, body))
    expect(answer.status in REFUSED, f"401 for a request that is {how}", f"it was {answer}")
    # Whoever forges a request must not be able to spoil the key for the true one.
    true = await endpoint.ask(request)
    expect(true.is_done, f"the true request done after one that is {how}", f"it was {true}")


def _needs_secret(endpoint: Endpoint) -> Webhook:
    if endpoint.secret is None:
        raise NotApplicable("no secret was given: say --secret, or set HMSACT_CONFORMANCE_SECRET")
    return endpoint.secret
