"""Whatever a service answers is an outcome that can be recorded."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from hmsactd.services.answer import CODE, outcome_of
from hmsactd.services.outcome import Deferred, Done, Failed
from hmsactd.services.retryable import WAIT_MAX_MS

NOW = 1_767_603_600_000_000
TEXT = st.text(max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)
PROBLEMS = st.fixed_dictionaries({}, optional={"title": JSON, "detail": JSON, "code": JSON, "until": JSON})
BODIES = st.binary(max_size=60) | PROBLEMS.map(lambda said: json.dumps(said).encode())
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-type": TEXT | st.sampled_from(("application/json", "application/problem+json", "text/html")),
        "content-encoding": TEXT | st.sampled_from(("gzip", "identity")),
        "retry-after": TEXT | st.integers().map(str),
    },
)


@given(st.integers(200, 999), HEADERS, BODIES)
def test_any_answer_has_an_outcome(status: int, headers: dict[str, str], body: bytes) -> None:
    outcome = outcome_of(status, headers, body, NOW)
    match outcome:
        case Done():
            assert status in (200, 201, 204)
            json.loads(outcome.output)
        case Deferred():
            assert status == 202
        case Failed():
            assert CODE.fullmatch(outcome.code)
            assert outcome.message
            assert outcome.retry_after_ms is None or 0 <= outcome.retry_after_ms <= WAIT_MAX_MS
            assert not (outcome.is_permanent and status in (408, 425, 429, 502, 503, 504))
