"""CompleteStep at the edge: tokens, what is said with them, and who may say it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hmsact.v1 import operation_pb2
from hmsact.v1 import worker_pb2 as pb

from hmsactd.core.principal import Principal
from hmsactd.definition.bounds import Bounds
from hmsactd.engine.session import AttemptKey
from hmsactd.engine.tokens import TOKEN_MAX, Tokens
from hmsactd.errors import AlreadyExists, InvalidArgument, NotFound, PermissionDenied
from hmsactd.identity.identity import development
from hmsactd.rpc.caller import called_by
from hmsactd.rpc.completions import Completions
from hmsactd.rpc.desk import Desk
from hmsactd.settings.settings import Settings
from hmsactd.store.memory import MemoryStore
from tests.core.dialogue import service
from tests.engine.hands import Hands, Later
from tests.engine.world import SPACE, World, flow_of, living, step

IRS = service("IRS")
KEY = AttemptKey("op_" + "0" * 26, 1, 1)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with living(MemoryStore()) as world:
        yield world


@pytest.fixture
def completions(world: World) -> Completions:
    nobody: Any = None
    parts = (world.clock, development(), world.store, world.timelines, world.engine, world.requests, nobody)
    return Completions(Desk(Settings(), Bounds(), *parts))


async def deferred(world: World) -> str:
    """The token of a step that was deferred."""
    Hands(world, "IRS", "ask", work=lambda _: Later()).connect()
    operation_id = await world.started(flow_of(step("ask", "IRS")))
    await world.quiet()
    return world.engine.tokens.token_of(SPACE, "IRS", AttemptKey(operation_id, 1, 1))


def asked(token: str, output: bytes = b"1", *, request_id: str = "", namespace: str = "") -> pb.CompleteStepRequest:
    done = pb.Done(output=output)
    return pb.CompleteStepRequest(completion_token=token, done=done, request_id=request_id, namespace=namespace)


async def refused(completions: Completions, request: pb.CompleteStepRequest, by: Principal = IRS) -> list[str]:
    called_by(by)
    with pytest.raises(InvalidArgument) as caught:
        await completions.complete(request)
    return [f"{violation.field} {violation.reason}" for violation in caught.value.violations]


async def test_it_answers_with_the_operation_and_what_was_recorded(world: World, completions: Completions) -> None:
    token = await deferred(world)
    called_by(IRS)
    response = await completions.complete(asked(token, namespace="default"))
    found = world.engine.tokens.read(token)
    assert found is not None
    assert (response.namespace, response.operation_id) == (SPACE, found.key.operation_id)
    assert response.recorded.state == operation_pb2.OPERATION_STATE_COMPLETED
    assert response.recorded.sequence == 5
    assert response.recorded.receipt.leaf


async def test_a_request_id_is_one_request_also_of_another_token(world: World, completions: Completions) -> None:
    first, second = await deferred(world), await deferred(world)
    called_by(IRS)
    await completions.complete(asked(first, request_id="night"))
    assert (await completions.complete(asked(first, request_id="night"))).recorded.repeated_request
    for other in (asked(second, request_id="night"), asked(first, b"2", request_id="night")):
        with pytest.raises(AlreadyExists, match="different content"):
            await completions.complete(other)


async def test_a_token_for_what_is_not_there_is_not_found(world: World, completions: Completions) -> None:
    called_by(IRS)
    with pytest.raises(NotFound, match="there is no operation"):
        await completions.complete(asked(world.engine.tokens.token_of(SPACE, "IRS", KEY)))
    found = world.engine.tokens.read(await deferred(world))
    assert found is not None
    for key in (found.key._replace(attempt=2), found.key._replace(instance=7)):
        with pytest.raises(Exception, match="knows of no attempt"):
            await completions.complete(asked(world.engine.tokens.token_of(SPACE, "IRS", key)))


async def test_only_who_may_serve_may_complete(world: World, completions: Completions) -> None:
    token = await deferred(world)
    called_by(service("FSA"))
    with pytest.raises(PermissionDenied, match="dev:svc/FSA may not serve IRS"):
        await completions.complete(asked(token))


async def test_every_fault_is_told_at_its_place(world: World, completions: Completions) -> None:
    token = await deferred(world)
    assert await refused(completions, pb.CompleteStepRequest()) == ["completion_token REQUIRED", "outcome REQUIRED"]
    assert await refused(completions, asked(token, namespace="other")) == ["namespace WRONG_NAMESPACE"]
    assert await refused(completions, asked(token, b"{")) == ["done.output NOT_JSON"]
    failed = pb.Failed(message="x" * 5000, code="no code")
    failed.retry_after.FromSeconds(-1)
    request = pb.CompleteStepRequest(request_id="x" * 65, completion_token="x", failed=failed)
    assert await refused(completions, request) == [
        *("request_id TOO_LONG", "completion_token BAD_TOKEN", "failed.code BAD_CODE"),
        *("failed.retry_after OUT_OF_RANGE", "failed.message TOO_LONG"),
    ]


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_a_token_of_the_longest_names_is_within_its_bound_and_read_back() -> None:
    key = AttemptKey(KEY.operation_id, 2**31 - 1, 2**31 - 1)
    token = Tokens(b"key").token_of("n" * 63, "S" * 64, key)
    assert len(token) <= TOKEN_MAX
    assert Tokens(b"key").read(token) == ("n" * 63, "S" * 64, key)


def test_no_token_is_read_that_was_changed_in_a_character_or_made_with_another_key() -> None:
    token = Tokens(b"key").token_of(SPACE, "IRS", KEY)
    assert Tokens(b"other").read(token) is None
    for place in range(len(token) - 1):
        other = "A" if token[place] != "A" else "B"
        assert Tokens(b"key").read(token[:place] + other + token[place + 1 :]) is None
    for length in range(len(token)):
        assert Tokens(b"key").read(token[:length]) is None


def test_attempts_services_and_namespaces_have_tokens_of_their_own() -> None:
    tokens = Tokens(b"key")
    made = {
        tokens.token_of(space, svc, KEY._replace(instance=instance, attempt=attempt))
        for space in ("a", "b")
        for svc in ("IRS", "FSA")
        for instance in (1, 2)
        for attempt in (1, 2)
    }
    assert len(made) == 16
