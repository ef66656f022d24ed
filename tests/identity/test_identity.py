"""Who is calling in development, and what each may do."""

import pytest

from hmsactd.core.principal import DAEMON, Principal, PrincipalKind
from hmsactd.errors import Unauthenticated
from hmsactd.identity.identity import Identity, development, nobody

PEOPLE = ("dev:jdavis@fsa.gov", "dev:mgarcia@fsa.gov", "dev:tlee@fsa.gov")

DEVELOPMENT = development()


def bearing(*tokens: str) -> list[tuple[str, str | bytes]]:
    return [("user-agent", "x"), *(("authorization", f"Bearer {token}") for token in tokens)]


def caller(token: str) -> Principal:
    return DEVELOPMENT.credential_of(bearing(token)).principal


def refusal(metadata: list[tuple[str, str | bytes]], identity: Identity = DEVELOPMENT) -> str:
    with pytest.raises(Unauthenticated) as refused:
        identity.credential_of(metadata)
    return refused.value.reason


# -- who ---------------------------------------------------------------------------------------------------------------


def test_nobody_in_particular_is_the_developer() -> None:
    developer = DEVELOPMENT.credential_of([]).principal
    assert developer == Principal(PrincipalKind.PERSON, "dev", "developer", ("*",), "dev")
    assert caller("dev:developer") == developer


def test_people_are_known_with_their_roles() -> None:
    assert [caller(token).roles for token in PEOPLE] == [
        ("fsa.officer",),
        ("fsa.officer", "fsa.counsel"),
        ("fsa.officer",),
    ]
    assert [caller(token).id for token in PEOPLE] == list(PEOPLE)
    assert {caller(token).kind for token in PEOPLE} == {PrincipalKind.PERSON}


def test_service_is_whoever_the_token_names() -> None:
    assert caller("dev:svc/IRS") == Principal(PrincipalKind.SERVICE, "dev", "svc/IRS", (), "dev")
    assert caller("dev:svc/IRS").person is None


def test_developer_is_responsible_for_the_agent() -> None:
    casebot = caller("dev:casebot")
    assert (casebot.kind, casebot.person, casebot.roles) == (PrincipalKind.AGENT, "dev:developer", ())


@pytest.mark.parametrize(
    "token",
    [
        "jdavis@fsa.gov",
        "dev:nobody@fsa.gov",
        "dev:svc/",
        "dev:svc/a b",
        "dev:svc/../IRS",
        "dev:svc/" + "x" * 65,
        "DEV:casebot",
    ],
)
def test_unknown_token_is_nobody(token: str) -> None:
    assert refusal(bearing(token)) == "TOKEN_UNKNOWN"


def test_refusal_does_not_repeat_the_token() -> None:
    with pytest.raises(Unauthenticated) as refused:
        DEVELOPMENT.credential_of(bearing("s3cret"))
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("second", ["dev:casebot", "dev:tlee@fsa.gov"])
def test_two_authorizations_are_refused_even_if_they_agree(second: str) -> None:
    assert refusal(bearing("dev:casebot", second)) == "AUTHORIZATION_TWICE"


def test_what_is_no_bearer_token_is_refused() -> None:
    assert refusal([("authorization", "Basic ZGV2OmNhc2Vib3Q=")]) == "SCHEME_UNKNOWN"
    assert refusal([("authorization", "dev:casebot")]) == "SCHEME_UNKNOWN"
    assert refusal([("authorization", "Bearer ")]) == "TOKEN_MALFORMED"
    assert refusal([("authorization", "Bearer " + "x" * 8193)]) == "TOKEN_MALFORMED"
    assert refusal([("authorization", "")]) == "SCHEME_UNKNOWN"


def test_scheme_is_read_in_any_case_and_from_bytes() -> None:
    assert DEVELOPMENT.credential_of([("authorization", b"bearer dev:casebot")]).principal.subject == "casebot"
    assert DEVELOPMENT.credential_of([("authorization", "BEARER  dev:casebot ")]).principal.subject == "casebot"


def test_without_development_nobody_is_let_in() -> None:
    assert refusal([], nobody()) == "TOKEN_MISSING"
    assert refusal(bearing("dev:developer"), nobody()) == "TOKEN_UNKNOWN"
    assert not nobody().anyone_entitled("fsa.officer", ())


# -- what --------------------------------------------------------------------------------------------------------------

EVERY = (
    "checkpoint.assign",
    "checkpoint.claim",
    "checkpoint.decide",
    "checkpoint.read",
    "operation.cancel",
    "operation.pause",
    "operation.read",
    "operation.resume",
    "operation.start",
    "step.retry",
    "step.serve",
    "step.skip",
    "system.clock",
    "timeline.export",
    "timeline.read",
)


def lacking(token: str) -> list[str]:
    return [permission for permission in EVERY if not DEVELOPMENT.may(caller(token), permission)]


def test_developer_may_everything() -> None:
    assert lacking("dev:developer") == []
    assert DEVELOPMENT.permissions_of(caller("dev:developer")) == {"*"}


def test_people_may_all_but_serve_and_move_the_clock() -> None:
    assert [lacking(token) for token in PEOPLE] == [["step.serve", "system.clock"]] * 3


def test_services_serve_start_and_look() -> None:
    assert DEVELOPMENT.permissions_of(caller("dev:svc/IRS")) == {
        "step.serve",
        "operation.start",
        "operation.read",
        "timeline.read",
        "payload.read",
    }


def test_agent_starts_and_looks() -> None:
    assert DEVELOPMENT.permissions_of(caller("dev:casebot")) == {
        "operation.start",
        "operation.read",
        "timeline.read",
        "checkpoint.read",
        "payload.read",
    }


def test_everybody_known_may_what_is_public_and_nobody_the_unheard_of() -> None:
    for token in (*PEOPLE, "dev:svc/IRS", "dev:casebot"):
        assert DEVELOPMENT.may(caller(token), "public")
        assert not DEVELOPMENT.may(caller(token), "definition.release")
    assert not DEVELOPMENT.may(DAEMON, "operation.read")


def test_service_serves_itself_and_no_other() -> None:
    irs = caller("dev:svc/IRS")
    assert DEVELOPMENT.may_serve(irs, "IRS")
    assert not DEVELOPMENT.may_serve(irs, "irs")
    assert not DEVELOPMENT.may_serve(irs, "Treasury")


def test_developer_serves_any_and_people_and_agents_none() -> None:
    assert DEVELOPMENT.may_serve(caller("dev:developer"), "IRS")
    assert not any(DEVELOPMENT.may_serve(caller(token), "IRS") for token in (*PEOPLE, "dev:casebot"))


# -- who else ----------------------------------------------------------------------------------------------------------


def test_directory_knows_people_and_nobody_else() -> None:
    assert [DEVELOPMENT.person(person) == caller(person) for person in PEOPLE] == [True] * 3
    assert DEVELOPMENT.person("dev:svc/IRS") is None
    assert DEVELOPMENT.person("dev:casebot") is None
    assert DEVELOPMENT.person("nobody") is None


def test_role_is_attended_while_somebody_but_the_excepted_holds_it() -> None:
    assert DEVELOPMENT.anyone_entitled("fsa.officer", ("dev:developer",))
    assert DEVELOPMENT.anyone_entitled("fsa.counsel", ("dev:mgarcia@fsa.gov",))
    assert DEVELOPMENT.anyone_entitled("irs.auditor", ())
    assert not DEVELOPMENT.anyone_entitled("irs.auditor", ("dev:developer",))
