"""Lengths of time: what is read, what is refused with which words, and that spelling is the inverse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmsactd.definition import duration

READ = {
    "1ms": 1,
    "500ms": 500,
    "2m": 120_000,
    "1h30m": 5_400_000,
    "1m500ms": 60_500,
    "2d": 172_800_000,
    "1w2d3h4m5s6ms": 788_645_006,
    "007s": 7_000,
    "PT2M": 120_000,
    "PT1H30M5S": 5_405_000,
    "P2D": 172_800_000,
    "P1DT12H": 129_600_000,
    "P2W": 1_209_600_000,
    "99999w": 60_479_395_200_000,
}

REFUSED = {
    "": "is empty",
    "5": 'has no unit: write "5s" for seconds or "5m" for minutes',
    "2 minutes": "has a space in it",
    " 2m": "has a space in it",
    "2m\n": "has a space in it",
    "-1s": "is negative",
    "-P1D": "is negative",
    "1.5h": "has a fraction",
    "1,5h": "has a fraction",
    "PT0.5S": "has a fraction",
    "0s": "is no time at all",
    "0d0ms": "is no time at all",
    "PT0S": "is no time at all",
    "2M": "has a unit that is not known",
    "1y": "has a unit that is not known",
    "2min": "has a unit that is not known",
    "1m1m": "has a unit twice",
    "1s1m": "has its units out of order",
    "m": "is not a length of time",
    "h1": "is not a length of time",
    "1m2": "is not a length of time",
    "٣s": "is not a length of time",
    "\ud800": "is not a length of time",
    "P1Y": "has years or months",
    "P1M": "has years or months",
    "P": "is not a length of time in ISO 8601",
    "PT": "is not a length of time in ISO 8601",
    "P1DT": "is not a length of time in ISO 8601",
    "PT1S1H": "is not a length of time in ISO 8601",
    "PT500MS": "is not a length of time in ISO 8601",
    "pt2m": "is not a length of time",
    "9" * 65: "has 65 characters, more than 64",
}


@pytest.mark.parametrize(("text", "span_ms"), READ.items())
def test_text_is_read_as_this_many_milliseconds(text: str, span_ms: int) -> None:
    assert duration.parse(text) == span_ms


@pytest.mark.parametrize(("text", "words"), REFUSED.items())
def test_other_text_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(duration.DurationFault) as refused:
        duration.parse(text)
    sentence = str(refused.value)
    assert words in sentence
    assert sentence.encode("utf-8").decode().isprintable()


@given(st.integers(min_value=1, max_value=3650 * 86_400_000))
def test_what_is_spelt_is_read_back(span_ms: int) -> None:
    assert duration.parse(duration.spell(span_ms)) == span_ms


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [(0, "0s"), (1, "1ms"), (90_000, "1m30s"), (120_000, "2m"), (1_209_600_000, "14d"), (-120_000, "-2m")],
)
def test_a_length_of_time_is_spelt_in_its_short_form(span_ms: int, text: str) -> None:
    assert duration.spell(span_ms) == text


@given(st.text(alphabet="0123456789PTWDHMSwdhms.-+ ", max_size=12) | st.text(max_size=80))
def test_any_text_is_a_length_of_time_or_refused(text: str) -> None:
    try:
        told: int | str = duration.parse(text)
    except duration.DurationFault as refused:
        told = str(refused)
    assert told
