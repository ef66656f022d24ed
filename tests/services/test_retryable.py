"""Which statuses are worth another attempt, and the times that services ask for."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from grpc import StatusCode

from hmsactd.services.retryable import GRPC_PERMANENT, WAIT_MAX_MS, is_permanent_http, time_of, wait_of

NOW = 1_767_603_600_000_000


def test_http_statuses_are_sorted_as_the_handbook_says() -> None:
    retryable = {status for status in range(300, 600) if not is_permanent_http(status)}
    assert retryable == {401, 403, 407, 408, 425, 429, *range(500, 600)} - {501, 505}


def test_every_status_of_grpc_is_sorted() -> None:
    retryable = set(StatusCode) - GRPC_PERMANENT - {StatusCode.OK}
    assert {status.name for status in retryable} == {
        *("ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED"),
        *("UNAUTHENTICATED", "UNAVAILABLE", "UNKNOWN"),
    }


@pytest.mark.parametrize(
    ("said", "ms"),
    [
        (None, None),
        ("0", 0),
        (" 120 ", 120_000),
        ("999999999999999999999999", WAIT_MAX_MS),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("١", None),
        (format_datetime(datetime.fromtimestamp(NOW // 10**6 + 90, UTC), usegmt=True), 90_000),
        (format_datetime(datetime.fromtimestamp(NOW // 10**6 - 90, UTC), usegmt=True), 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", WAIT_MAX_MS),
        ("Fri, 99 Dec 2026 23:59:59 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(said: str | None, ms: int | None) -> None:
    assert wait_of(said, NOW) == ms


def test_times_are_rfc_3339_with_a_zone() -> None:
    assert time_of("2026-01-05T09:00:00Z") == NOW
    assert time_of("2026-01-05T10:00:00+01:00") == NOW
    assert [time_of(said) for said in ("2026-01-05T09:00:00", "tomorrow", 7, None)] == [None] * 4
