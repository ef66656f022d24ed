"""What the daemon knows, as the API shows it."""

from dataclasses import replace

import pytest
from hmsact.principal import subject_of
from hmsact.v1 import operation_pb2

from hmsactd.rpc.convert import summary
from hmsactd.store.store import Summary

ROW = Summary(
    "default",
    "op_1",
    "flow",
    "ab" * 32,
    "running",
    1,
    1,
    0,
    0,
    started_by="dev:svc/Portal",
    key="case-1",
    labels=(("applicant", "Jane Roe"),),
    requested_by="Jane Roe",
)


def test_the_words_of_a_caller_are_shown_only_to_who_may_read_them() -> None:
    def words(shown: operation_pb2.Operation) -> tuple[str, dict[str, str], str]:
        return shown.key, dict(shown.labels), shown.requested_by

    assert words(summary(ROW, with_words=True)) == ("case-1", {"applicant": "Jane Roe"}, "Jane Roe")
    assert words(summary(ROW, with_words=False)) == ("", {}, "")


def test_who_had_signed_in_is_told_from_whom_a_caller_named() -> None:
    alice = "https://idp.gov:8443/realms/people:f:8d1:alice"
    asserted = replace(ROW, on_behalf_of=alice)
    verified = replace(ROW, requested_by=alice, on_behalf_of=alice)
    for with_words in (True, False):
        shown = summary(verified, with_words)
        assert (shown.requested_by, shown.is_requested_by_verified) == (alice, True)
        assert not summary(asserted, with_words).is_requested_by_verified
        assert summary(asserted, with_words).started_by.on_behalf_of == alice
        # An assertion is no more than that, whatever it says.
        assert not summary(replace(ROW, requested_by=alice), with_words).is_requested_by_verified
    assert summary(replace(ROW, requested_by=alice), with_words=False).requested_by == ""


@pytest.mark.parametrize(
    ("id_", "issuer", "subject"),
    [
        ("dev:svc/Portal", "dev", "svc/Portal"),
        ("workload:portal", "workload", "portal"),
        ("https://idp.gov:alice", "https://idp.gov", "alice"),
        ("https://idp.gov:248289761001", "https://idp.gov", "248289761001"),
        ("https://idp.gov:7", "https://idp.gov", "7"),
        ("https://idp.gov:8443:7", "https://idp.gov:8443", "7"),
        ("https://idp.gov:8443/realms/people:f:8d1:alice", "https://idp.gov:8443/realms/people", "f:8d1:alice"),
        ("http://localhost/realms/people:a/b", "http://localhost/realms/people", "a/b"),
    ],
)
def test_whoever_started_an_operation_is_told_by_issuer_and_subject(id_: str, issuer: str, subject: str) -> None:
    who = summary(replace(ROW, started_by=id_), with_words=True).started_by
    assert (who.issuer, who.subject) == (issuer, subject) == (issuer, subject_of(id_))
