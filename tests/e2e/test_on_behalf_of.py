"""A portal acts for people who have signed in: verified, on the record, and never more than the portal may."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterator

import grpc
import pytest
from hmsact import AsyncOrchestrator, Checkpoint, Orchestrator
from hmsact.errors import AlreadyExists, Refused, Unauthenticated
from hmsact.status import error_of
from hmsact.v1 import operation_pb2, operation_pb2_grpc
from hmsact.verify import verify

from tests.e2e.agency import Agency, agency
from tests.sdk import second_verifier

FLOW = [Checkpoint("human_review", role="fsa.officer")]
IDP = "https://idp.fsa.gov"
PORTAL, DESK, CASEBOT, IRS = (f"spiffe://agency.gov/{name}" for name in ("portal", "desk", "casebot", "irs"))


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agency]:
    with agency(tmp_path_factory.mktemp("agency")) as office:
        yield office


@pytest.fixture(scope="module")
def portal(office: Agency) -> Iterator[Orchestrator]:
    with office.workload(PORTAL) as portal:
        yield portal


# -- a whole life ------------------------------------------------------------------------------------------------------


def test_whoever_it_was_started_for_decides_nothing_of_it_and_everybody_sees_for_whom_it_was(
    office: Agency, portal: Orchestrator
) -> None:
    alice = portal.on_behalf_of(office.token("alice", "fsa.officer", client_id="portal"))
    me = alice.whoami()
    assert (me.principal.id, me.principal.on_behalf_of) == ("workload:portal", f"{IDP}:alice")
    assert "checkpoint.decide" not in me.permissions
    started = alice.start(name="flow", steps=FLOW)
    with (
        office.person("alice", "fsa.officer") as herself,
        office.person("officer", "fsa.officer") as officer,
        office.person("viewer", "hmsact.viewer") as viewer,
    ):
        for act, may in ((herself, False), (officer, True)):
            (pending,) = (each for each in act.inbox() if each.operation_id == started.id)
            assert pending.may_decide is may
        for decide in (herself.approve, herself.reject, herself.claim):
            with pytest.raises(Refused) as own:
                decide(started, "human_review")
            assert own.value.reason == "STARTED_FOR_CALLER"
        (listed,) = viewer.operations(requested_by=f"{IDP}:alice")
        for found in (listed, viewer.get(started.id)):
            assert (found.id, found.requested_by, found.is_requested_by_verified) == (started.id, f"{IDP}:alice", True)
            assert (found.started_by.id, found.started_by.on_behalf_of) == ("workload:portal", f"{IDP}:alice")
        account = viewer.why(started)
        assert "alice, on whose behalf the operation was started, may not decide it" in account.headline
        assert "portal (for alice, who had signed in) started the operation" in account.entries[0].sentence
        officer.approve(started, "human_review")
        first = next(iter(viewer.events(started, all=True)))
        assert str(first).endswith("started by portal for alice")
    with office.person("auditor", "hmsact.operator") as auditor:
        export = auditor.export(started)
        key = auditor.info().verifier_key
    assert verify(export, key=key).events == second_verifier.verify(export, key)
    assert f'\\"on_behalf_of\\":\\"{IDP}:alice\\"'.encode() in export


def test_what_is_asserted_stays_asserted(office: Agency, portal: Orchestrator) -> None:
    alice = portal.on_behalf_of(office.token("anna"))
    both = alice.start(name="flow", steps=FLOW, requested_by="Jane Roe")
    named = portal.start(name="flow", steps=FLOW, requested_by=f"{IDP}:anna")
    with office.person("viewer", "hmsact.viewer") as viewer:
        found = viewer.get(both.id)
        assert (found.requested_by, found.is_requested_by_verified) == ("Jane Roe", False)
        assert found.started_by.on_behalf_of == f"{IDP}:anna"
        assert [each.id for each in viewer.operations(requested_by="Jane Roe")] == [both.id]
        found = viewer.get(named.id)
        assert (found.requested_by, found.is_requested_by_verified) == (f"{IDP}:anna", False)
        assert found.started_by.on_behalf_of == ""
        assert "as they said for" in viewer.why(named).entries[0].sentence
        # An id of somebody who had signed in is no word: each begins alike.
        assert both.id not in {each.id for each in viewer.operations(text="idp")}
    with office.person("anna", "fsa.officer") as herself:
        with pytest.raises(Refused):
            herself.approve(both, "human_review")
        herself.approve(named, "human_review")


def test_an_agent_acts_for_somebody_and_somebody_is_responsible_and_neither_decides(office: Agency) -> None:
    with office.workload(CASEBOT) as casebot, office.person("officer", "fsa.officer") as officer:
        operation = casebot.on_behalf_of(office.token("bea")).start(name="flow", steps=FLOW)
        for subject, reason in (("bea", "STARTED_FOR_CALLER"), ("operator", "STARTED_BY_CALLER")):
            with office.person(subject, "fsa.officer") as person, pytest.raises(Refused) as refused:
                person.approve(operation, "human_review")
            assert refused.value.reason == reason
        wait = officer.why(operation).wait
        assert wait is not None
        assert (wait.excluded, wait.started_for) == (f"{IDP}:operator", f"{IDP}:bea")
        officer.approve(operation, "human_review")


def test_a_job_keeps_for_whom_it_was_begun(office: Agency) -> None:
    with office.workload(DESK) as desk:
        operation = desk.start(name="flow", steps=FLOW)
        job = desk.on_behalf_of(office.token("carl", client_id="desk")).cancel_many([operation.id])
        assert job.wait("20s").done == 1
        (cancelled,) = (e for e in desk.events(operation, all=True) if e.kind == "operation_cancelled")
        assert cancelled.principal.id == "workload:desk"
        assert cancelled.principal.on_behalf_of == desk.job(job.id).started_by.on_behalf_of == f"{IDP}:carl"


async def test_many_people_are_served_at_once_and_none_for_another(office: Agency) -> None:
    people = [f"person{number}" for number in range(30)]
    tls = office.trusted(office.clients.issue(PORTAL))
    async with AsyncOrchestrator(office.mutual, token="", tls=tls) as portal:

        async def serve(subject: str) -> str:
            person = portal.on_behalf_of(office.token(subject))
            operation = await person.start(name="flow", steps=FLOW)
            return (await portal.get(operation.id)).started_by.on_behalf_of

        async with asyncio.TaskGroup() as tasks:
            served = [tasks.create_task(serve(subject)) for subject in people]
        assert (await portal.whoami()).principal.on_behalf_of == ""
    assert [each.result() for each in served] == [f"{IDP}:{subject}" for subject in people]


def test_a_request_is_not_repeated_for_another_person_nor_for_nobody(office: Agency, portal: Orchestrator) -> None:
    first = portal.on_behalf_of(office.token("dora")).start(name="flow", steps=FLOW, request_id="r-1")
    again = portal.on_behalf_of(office.token("dora", lasts_s=200)).start(name="flow", steps=FLOW, request_id="r-1")
    assert again.id == first.id
    for other in (portal, portal.on_behalf_of(office.token("emil"))):
        with pytest.raises(AlreadyExists) as refused:
            other.start(name="flow", steps=FLOW, request_id="r-1")
        assert refused.value.reason == "REQUEST_ID_REUSED"


def test_a_stream_ends_when_the_person_is_no_longer_signed_in(office: Agency, portal: Orchestrator) -> None:
    operation = portal.start(name="flow", steps=FLOW)
    watching = portal.on_behalf_of(office.token("fred", lasts_s=2)).events(operation, all=True)
    with pytest.raises(Unauthenticated) as ended:
        for _ in watching:
            pass
    assert ended.value.reason == "ON_BEHALF_OF_TOKEN_EXPIRED"
    portal.whoami()


def test_what_a_person_may_is_of_no_use_to_whoever_acts_for_them(office: Agency, portal: Orchestrator) -> None:
    """Nor the other way round: the portal may start, and the person has no role at all."""
    operator = portal.on_behalf_of(office.token("gina", "hmsact.operator", "fsa.officer"))
    operation = operator.start(name="flow", steps=FLOW)
    for forbidden in (operator.cancel, operator.pause):
        with pytest.raises(Refused) as refused:
            forbidden(operation)
        assert refused.value.reason == "PERMISSION_MISSING"
    with pytest.raises(Refused) as refused:
        operator.approve(portal.start(name="flow", steps=FLOW), "human_review")
    assert refused.value.reason == "PERMISSION_MISSING"
    with office.person("nobody in particular") as nobody:
        token = office.token("nobody in particular")
        assert nobody.whoami().permissions == ()
    assert portal.on_behalf_of(token).get(operation.id).id == operation.id


# -- who is refused: assurance 8, numbers 7, 10, 11, 12, 19 ------------------------------------------------------------


def refusals(office: Agency) -> list[tuple[str, str, list[str], str]]:
    """Whose certificate, whose token, what is shown of people, and why that is refused."""
    good = office.token("alice", "fsa.officer")
    return [
        (PORTAL, "", [office.token("alice", lasts_s=-5)], "ON_BEHALF_OF_TOKEN_EXPIRED"),
        (PORTAL, "", [office.token("alice", aud="portal")], "ON_BEHALF_OF_TOKEN_AUDIENCE"),
        (PORTAL, "", [office.token("alice", iss="https://idp.fsa.gov.evil.org")], "ON_BEHALF_OF_TOKEN_ISSUER"),
        (PORTAL, "", [office.id_token("alice")], "ON_BEHALF_OF_TOKEN_TYPE"),
        (PORTAL, "", [office.token("portal")], "ON_BEHALF_OF_TOKEN_OF_A_PROGRAM"),
        (PORTAL, "", ["alice"], "ON_BEHALF_OF_TOKEN_UNKNOWN"),
        (PORTAL, "", [f"{good}x"], "ON_BEHALF_OF_TOKEN_SIGNATURE"),
        (PORTAL, "", [good, good], "ON_BEHALF_OF_TWICE"),
        (PORTAL, "", [""], "ON_BEHALF_OF_TOKEN_MALFORMED"),
        (PORTAL, "", ["x" * 8_193], "ON_BEHALF_OF_TOKEN_MALFORMED"),
        (PORTAL, "", [office.token("alice", client_id="desk")], "ON_BEHALF_OF_NOT_ALLOWED"),
        (PORTAL, "", [office.token("alice", act={"sub": "desk"})], "ON_BEHALF_OF_NOT_ALLOWED"),
        (DESK, "", [good], "ON_BEHALF_OF_NOT_ALLOWED"),
        (IRS, "", [good], "ON_BEHALF_OF_NOT_ALLOWED"),
        (CASEBOT, "", [office.token("alice", client_id="casebot")], "ON_BEHALF_OF_NOT_ALLOWED"),
        # The token beside the certificate says who is calling: a person.
        (PORTAL, office.token("clerk", "hmsact.operator"), [good], "ON_BEHALF_OF_NOT_ALLOWED"),
        ("", office.token("clerk", "hmsact.operator"), [good], "ON_BEHALF_OF_NOT_ALLOWED"),
        ("", good, [good], "ON_BEHALF_OF_NOT_ALLOWED"),
        ("", office.token("clerk", "hmsact.operator", act={"sub": "portal"}), [], "TOKEN_OF_AN_ACTOR"),
        ("", "", [good], "TOKEN_MISSING"),
    ]


def test_whoever_may_not_act_for_somebody_changes_nothing(office: Agency) -> None:
    with office.person("viewer", "hmsact.viewer") as viewer:
        before = viewer.info().log_size
        for uri, own, shown, reason in refusals(office):
            _, refused = started(office, uri, own, *shown)
            assert refused == reason
        assert viewer.info().log_size == before


def test_a_header_of_20_kb_goes_no_further_than_the_transport(office: Agency, portal: Orchestrator) -> None:
    code, _ = started(office, PORTAL, "", "x" * 20_480)
    assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
    portal.whoami()


def test_other_headers_say_nothing_of_whom_somebody_acts_for(office: Agency) -> None:
    spoofed = [("x-on-behalf-of", f"{IDP}:alice"), ("hmsact-on-behalf", "a"), ("x-user", "alice")]
    code, operation = started(office, PORTAL, "", headers=spoofed)
    assert code is grpc.StatusCode.OK
    with office.person("viewer", "hmsact.viewer") as viewer:
        assert viewer.get(operation).started_by.on_behalf_of == ""


def started(
    office: Agency, uri: str, own: str, *people: str, headers: list[tuple[str, str]] | None = None
) -> tuple[grpc.StatusCode, str]:
    """What became of a start that shows these: its status, with the reason, or the operation."""
    address = office.mutual if uri else office.address
    metadata: list[tuple[str, str | bytes]] = [("hmsact-on-behalf-of", each) for each in people]
    metadata.extend(headers or ())
    if own:
        metadata.append(("authorization", f"Bearer {own}"))
    tls = office.trusted(office.clients.issue(uri) if uri else None)
    request = operation_pb2.StartOperationRequest(
        definition=b'{"name":"flow","steps":[{"checkpoint":"human_review","role":"fsa.officer"}]}'
    )
    with grpc.secure_channel(address, tls) as channel:
        stub = operation_pb2_grpc.OperationServiceStub(channel)
        try:
            answer = stub.StartOperation(request, metadata=tuple(metadata), timeout=10)
        except grpc.RpcError as refused:
            return refused.code(), error_of(refused, address).reason
        return grpc.StatusCode.OK, answer.operation_id


def test_pages_are_read_by_whoever_asks_for_nobody_else(office: Agency) -> None:
    request = urllib.request.Request(f"http://{office.http}/metrics", headers={"hmsact-on-behalf-of": "nonsense"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
