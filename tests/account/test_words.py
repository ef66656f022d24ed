"""How an account calls things."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from hmsactd.account.words import Times, a_role, actor, counted, joined, ordinal, span, times
from tests.core.dialogue import CASEBOT, DESK, EPOCH, JDAVIS, service

HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("span_ms", "told"),
    [
        (0, "0 seconds"),
        (40, "less than 0.1 seconds"),
        (400, "0.4 seconds"),
        (1000, "1 second"),
        (2040, "2 seconds"),
        (9_960, "9.9 seconds"),
        (10_500, "10 seconds"),
        (120_000, "2 minutes"),
        (5_400_000, "1 hour 30 minutes"),
        (3_600_500, "1 hour"),
        (86_400_000 + 60_000, "1 day"),
        (200_000_000_000, "2,314 days 19 hours"),
    ],
)
def test_a_span_is_told_in_its_two_largest_units(span_ms: int, told: str) -> None:
    assert span(span_ms) == told


def test_numbers_are_told_as_people_do() -> None:
    assert [times(count) for count in (1, 2, 3, 1000)] == ["once", "twice", "3 times", "1,000 times"]
    assert [ordinal(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 112)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th",
    ]  # fmt: skip
    assert [counted(1, "step"), counted(2, "step"), counted(2, "one", "many")] == ["1 step", "2 steps", "2 many"]


def test_lists_are_told_with_commas_and_an_and() -> None:
    assert [joined([]), joined(["a"]), joined(["a", "b"]), joined(["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_who_acts_is_called_by_name() -> None:
    assert actor(JDAVIS) == "jdavis"
    assert actor(service("IRS")) == "IRS"
    assert actor(CASEBOT) == "casebot (an agent; developer is responsible for it)"
    assert actor(DESK) == "desk (for jdavis, who had signed in)"
    agent = replace(CASEBOT, on_behalf_of="https://idp.gov:8443/staff:alice")
    assert actor(agent) == "casebot (an agent; developer is responsible for it; for alice, who had signed in)"


def test_a_role_is_called_by_its_last_part_and_named() -> None:
    assert a_role("fsa.officer") == "an officer (fsa.officer)"
    assert a_role("irs.case_worker") == "a case worker (irs.case_worker)"


def test_the_date_is_left_out_only_of_times_on_the_one_day_that_is_told_of() -> None:
    one_day = Times(ZoneInfo("UTC"), EPOCH, EPOCH + HOUR)
    assert one_day.at(EPOCH) == "09:00:00 UTC"
    assert one_day.at(EPOCH + 24 * HOUR) == "09:00:00 UTC on 6 January 2026"
    assert one_day.on(EPOCH) == "09:00:00 UTC on 5 January 2026"
    assert Times(ZoneInfo("UTC"), EPOCH, EPOCH + 24 * HOUR).at(EPOCH) == "09:00:00 UTC on 5 January 2026"


def test_whether_it_is_one_day_is_a_matter_of_the_zone() -> None:
    span_us = (EPOCH, EPOCH + 6 * HOUR)
    assert Times(ZoneInfo("Europe/Berlin"), *span_us).at(EPOCH) == "10:00:00 CET"
    assert Times(ZoneInfo("Asia/Tokyo"), *span_us).at(EPOCH) == "18:00:00 JST on 5 January 2026"
    assert Times(ZoneInfo("Pacific/Auckland"), *span_us).at(EPOCH) == "22:00:00 NZDT on 5 January 2026"


def test_a_zone_without_letters_is_called_by_its_distance() -> None:
    assert Times(ZoneInfo("America/Sao_Paulo"), EPOCH, EPOCH).at(EPOCH) == "06:00:00 UTC-03"


def test_an_hour_that_comes_twice_is_told_apart_by_its_zone() -> None:
    before_the_change = 1_792_886_400_000_000  # 25 October 2026, 00:00 UTC
    when = Times(ZoneInfo("Europe/Berlin"), before_the_change, before_the_change + 2 * HOUR)
    assert [when.at(before_the_change), when.at(before_the_change + HOUR)] == ["02:00:00 CEST", "02:00:00 CET"]
