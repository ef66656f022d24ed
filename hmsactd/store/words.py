"""The words by which an operation is found: small letters without accents, digits, nothing else.

A word that is searched for is found where one begins with it. There is no query language, so nothing that anybody
types can be wrong.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

WORDS_MAX: Final = 64
"""Words kept of an operation: a title, a key and a few labels have ten; thirty-two labels full of prose have 1,500."""

WORD_MAX: Final = 64
"""Letters kept of a word, and compared."""

_WORD: Final = re.compile(r"[^\W_]+")


def words_in(*texts: str) -> tuple[str, ...]:
    """The words of some texts, each once, in order."""
    return tuple(dict.fromkeys(word for text in texts for word in _words(text)))


def words_of(key: str | None, requested_by: str | None, label_values: Iterable[str]) -> str:
    """The words of an operation as its row has them: each between blanks. Empty for one without words.

    Those of its definition's name are not among them: there are few definitions, and what is asked for is looked up in
    their names.
    """
    found = words_in(*(text for text in (key, requested_by, *label_values) if text))[:WORDS_MAX]
    return f" {' '.join(found)} " if found else ""


def words_of_row(key: str | None, requested_by: str | None, labels: str) -> str:
    """`words_of` for a row whose labels are JSON, as a migration reads them."""
    return words_of(key, requested_by, [value for _, value in json.loads(labels)])


def begins(word: str, text: str) -> bool:
    """True if it begins one of the words of a text."""
    return any(each.startswith(word) for each in words_in(text))


# Values of labels come again with every start. What is remembered is short, at most 255 characters.
@lru_cache(1024)
def _words(text: str) -> tuple[str, ...]:
    if not text.isascii():
        # Compatibility forms and case first; what then still is a mark on a letter is left out.
        plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        text = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return tuple(word[:WORD_MAX] for word in _WORD.findall(text.casefold()))
