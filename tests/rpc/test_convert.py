"""What the daemon knows, as the API shows it."""

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
