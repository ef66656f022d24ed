"""Completion tokens name one attempt, and only the daemon can make them."""

import base64

import pytest

from hmsactd.engine.session import AttemptKey
from hmsactd.engine.tokens import PREFIX, TOKEN_MAX, Attempted, Tokens

TOKENS = Tokens(b"k" * 32)
ATTEMPTED = Attempted("default", "Irs", AttemptKey("op_1", 2, 3))
TOKEN = TOKENS.token_of(*ATTEMPTED)


def test_a_token_stands_for_the_attempt_it_was_made_for_also_after_a_restart() -> None:
    assert TOKENS.read(TOKEN) == Tokens(b"k" * 32).read(TOKEN) == ATTEMPTED


@pytest.mark.parametrize(
    "text",
    [
        "",
        PREFIX,
        TOKEN.removeprefix(PREFIX),
        f"{PREFIX}!{TOKEN}",
        f"{PREFIX}AAAAA",
        f"{PREFIX}é",
        PREFIX + "A" * TOKEN_MAX,
        Tokens(b"other").token_of(*ATTEMPTED),
    ],
)
def test_what_we_have_not_made_is_none(text: str) -> None:
    assert TOKENS.read(text) is None


@pytest.mark.parametrize("at", range(len(base64.urlsafe_b64decode(TOKEN.removeprefix(PREFIX) + "==="))))
def test_no_byte_of_a_token_can_be_changed(at: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(TOKEN.removeprefix(PREFIX) + "==="))
    raw[at] ^= 1
    assert TOKENS.read(PREFIX + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()) is None
