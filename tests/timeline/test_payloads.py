"""People's own words: what is accepted, what is committed to, what is kept, what is gone."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmsactd.core.payload import Payload
from hmsactd.timeline.payloads import (
    DataKey,
    Keyring,
    NotJson,
    TooDeep,
    TooLarge,
    Unreadable,
    commit,
    commit_words,
    field_pairs,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def committed(content: bytes, salt: bytes) -> str:
    """The commitment as the format says it, from what is kept."""
    value = json.loads(content)
    if isinstance(value, dict) and value:
        parts: list[list[object]] = [
            ["/" + key.replace("~", "~0").replace("/", "~1"), member] for key, member in value.items()
        ]
    else:
        parts = [["", value]]
    texts = [json.dumps(part, separators=(",", ":")).encode() for part in parts]
    salts = [sha256(b"\x04", salt, at.to_bytes(4, "big")) for at in range(len(texts))]
    return sha256(b"\x03", *(sha256(b"\x02", one, text) for one, text in zip(salts, texts, strict=True))).hex()


@given(json_values)
def test_the_commitment_can_be_computed_from_what_is_kept(value: object) -> None:
    payload = commit(json.dumps(value))
    assert payload.content is not None
    assert payload.salt is not None
    assert json.loads(payload.content) == value
    assert payload.commitment == committed(payload.content, payload.salt)
    assert payload.size == len(payload.content)


@pytest.mark.parametrize(
    ("text", "pointers"),
    [
        ('{"a":1,"b":{"c":2}}', ["/a", "/b"]),
        ('{"a/b":1,"m~n":2,"":3}', ["/a~1b", "/m~0n", "/"]),
        ("{}", [""]),
        ("[]", [""]),
        ("null", [""]),
        ('"words"', [""]),
        ('[{"a":1}]', [""]),
    ],
)
def test_a_payload_is_split_into_its_members(text: str, pointers: list[str]) -> None:
    payload = commit(text)
    pairs = field_pairs(payload.content or b"", payload.salt or b"")
    assert [json.loads(field)[0] for _, field in pairs] == pointers
    assert len({salt for salt, _ in pairs}) == len(pairs)


def test_the_same_words_are_committed_to_differently_every_time() -> None:
    assert commit("1").commitment != commit("1").commitment
    assert commit_words("yes").commitment != commit_words("yes").commitment


def test_words_are_kept_as_a_json_string() -> None:
    assert commit_words('he said "ü"').content == b'"he said \\"\\u00fc\\""'


def test_content_is_kept_without_what_says_nothing() -> None:
    assert commit(b' { "a" : [ 1 , 2.50 ] }\n').content == b'{"a":[1,2.5]}'


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"nonsense", b"NaN", b"[Infinity]", b"-Infinity", b"1e999", b'{"a":1}x', b"\xff", b"\xef\xbb\xbf1",
     b"'a'", b"01", b'"\x01"', b"9" * 5000],
)  # fmt: skip
def test_what_is_not_json_is_refused_in_a_sentence(text: bytes) -> None:
    with pytest.raises(NotJson) as refusal:
        commit(text)
    assert str(refusal.value)


def test_payloads_have_a_size() -> None:
    assert commit(b'"' + b"a" * 98 + b'"', max_bytes=100).size == 100
    for text in (b'"' + b"a" * 99 + b'"', '"' + "ü" * 50 + '"'):
        with pytest.raises(TooLarge, match="100"):
            commit(text, max_bytes=100)


def test_payloads_have_a_depth() -> None:
    def nested(depth: int) -> str:
        return '{"a":[' * (depth // 2) + "[" * (depth % 2) + "]" * (depth % 2) + "]}" * (depth // 2)

    for depth in (0, 1, 2, 7, 8):
        if depth:
            commit(nested(depth), max_depth=8)
    for text in (nested(9), "[" * 100_000, "[" * 5000 + "]" * 5000):
        with pytest.raises(TooDeep, match="8 levels"):
            commit(text, max_depth=8)
    # Many brackets side by side are not deep.
    commit("[" + ",".join(["[]"] * 50) + "]", max_depth=2)
    with pytest.raises(TooDeep):
        commit("[" + ",".join(["[[]]"] * 50) + "]", max_depth=2)


def test_brackets_within_text_are_not_depth() -> None:
    commit(json.dumps("[" * 100), max_depth=0)


@pytest.fixture
def keyring() -> Keyring:
    return Keyring(bytes(range(32)))


@pytest.fixture
def key(keyring: Keyring) -> DataKey:
    return keyring.fresh("default", "op_1")


def test_what_is_sealed_opens_at_its_place(keyring: Keyring, key: DataKey) -> None:
    payload = commit(b'{"a":1}')
    sealed = key.seal(payload, "default", "op_1", 3, "output")
    assert b'"a"' not in sealed
    again = keyring.unwrap(key.wrapped, "default", "op_1")
    assert again.open(sealed, "default", "op_1", 3, "output") == (payload.salt, payload.content)


@pytest.mark.parametrize(
    "place",
    [("other", "op_1", 3, "output"), ("default", "op_2", 3, "output"), ("default", "op_1", 4, "output"),
     ("default", "op_1", 3, "input")],
)  # fmt: skip
def test_what_was_moved_does_not_open(key: DataKey, place: tuple[str, str, int, str]) -> None:
    sealed = key.seal(commit(b"1"), "default", "op_1", 3, "output")
    with pytest.raises(Unreadable):
        key.open(sealed, *place)


def test_what_was_changed_does_not_open(keyring: Keyring, key: DataKey) -> None:
    sealed = key.seal(commit(b"1"), "default", "op_1", 3, "output")
    for bad in (
        sealed[:-1],
        b"",
        sealed[:20],
        bytes([sealed[0] ^ 1]) + sealed[1:],
        sealed[:-1] + bytes([sealed[-1] ^ 1]),
    ):
        with pytest.raises(Unreadable):
            key.open(bad, "default", "op_1", 3, "output")
    with pytest.raises(Unreadable):
        keyring.unwrap(key.wrapped[:-1] + b"x", "default", "op_1")


def test_a_key_opens_only_its_own_operation(keyring: Keyring, key: DataKey) -> None:
    for place in (("default", "op_2"), ("other", "op_1")):
        with pytest.raises(Unreadable):
            keyring.unwrap(key.wrapped, *place)
    with pytest.raises(Unreadable):
        Keyring(bytes(32)).unwrap(key.wrapped, "default", "op_1")


def test_nothing_is_sealed_the_same_way_twice(key: DataKey) -> None:
    payload = Payload("", 1, b"1", bytes(32))
    assert len({key.seal(payload, "default", "op_1", 1, "input") for _ in range(100)}) == 100
