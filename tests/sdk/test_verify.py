"""Verification: nothing wrong passes, nothing right is doubted, and what is wrong is named."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hmsact.known import KeyChanged, KnownDaemons
from hmsact.note import Note, VerifierKey
from hmsact.verify import MissingEvidence, Tampered, Trust, verify

from hmsactd.timeline.keys import fresh_keys
from hmsactd.timeline.seal import Ed25519Signer, signed_note
from tests.sdk import second_verifier
from tests.sdk.exports import KEYS, made, parsed
from tests.sdk.second_verifier import render

EXPORTS = made()
MAIN = EXPORTS.files["op_main"]
OTHER = EXPORTS.files["op_3"]
MUTATIONS_A_CLASS = 60

Mutation = Callable[[dict[str, Any], random.Random], int | None]
"""Changes a document, and returns the first event that is bad by that, if one is."""


def verdict(export: bytes, key: str = EXPORTS.key) -> Tampered | None:
    try:
        verify(export, key=key)
    except Tampered as error:
        return error
    return None


def second_verdict(export: bytes, key: str = EXPORTS.key) -> Exception | None:
    try:
        second_verifier.verify(export, key)
    except (second_verifier.Bad, ValueError, KeyError, TypeError, AttributeError) as error:
        return error
    return None


# -- what is right


@pytest.mark.parametrize("export", [*EXPORTS.files.values(), EXPORTS.early, EXPORTS.joined])
def test_what_the_daemon_wrote_is_verified_by_both(export: bytes) -> None:
    found = verify(export, key=EXPORTS.key)
    assert found.trust is Trust.GIVEN
    assert second_verifier.verify(export, EXPORTS.key) == found.events
    assert render(parsed(export)).encode() == export


def test_a_verification_says_how_far_it_goes() -> None:
    found = verify(MAIN)
    assert (found.trust, found.is_joined) == (Trust.OWN, False)
    assert "proves nothing about who wrote it" in found.level
    assert f"complete as of {found.complete_as_of}" in found.level
    assert found.events == len(parsed(MAIN)["records"])
    assert found.hidden == found.withheld == 0
    assert found.shown > 0


def test_a_file_can_be_read_from_its_path(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_bytes(MAIN)
    assert verify(tmp_path / "export.json", key=EXPORTS.key).operation == "op_main"
    with pytest.raises(OSError, match="none"):
        verify(tmp_path / "none")


def test_fields_can_be_hidden_afterwards_and_the_rest_still_verifies() -> None:
    document = parsed(MAIN)
    for entry in document["records"]:
        for fields in entry["payloads"].values():
            salt, text = bytes.fromhex(fields[0]["salt"]), fields[0]["text"].encode()
            fields[0] = {"commitment": hashlib.sha256(b"\x02" + salt + text).hexdigest()}
    redacted = render(document).encode()
    found = verify(redacted, key=EXPORTS.key)
    assert found.hidden > 0
    assert second_verdict(redacted) is None
    assert b"Jane Roe" in MAIN
    assert b"/applicant" not in redacted


def test_payloads_can_be_withheld() -> None:
    document = parsed(MAIN)
    for entry in document["records"]:
        entry["payloads"] = {}
    found = verify(render(document).encode(), key=EXPORTS.key)
    assert (found.shown, found.hidden) == (0, 0)
    assert found.withheld > 0


# -- what is wrong: a thousand changes and more, in classes; none passes either verifier


def entry_of(document: dict[str, Any], chance: random.Random) -> tuple[int, dict[str, Any]]:
    at = chance.randrange(len(document["records"]))
    return at + 1, document["records"][at]


def flipped(text: str, chance: random.Random, alphabet: str) -> str:
    at = chance.choice([at for at, letter in enumerate(text) if letter in alphabet])
    return text[:at] + chance.choice([letter for letter in alphabet if letter != text[at]]) + text[at + 1 :]


def change_a_field_of_a_record(document: dict[str, Any], chance: random.Random) -> int:
    event, entry = entry_of(document, chance)
    told = json.loads(entry["record"])
    match chance.randrange(6):
        case 0:
            told["at"] = "2031" + told["at"][4:]
        case 1:
            told["principal"]["subject"] = "mallory"
        case 2:
            told["data"]["late_ms"] = 12345
        case 3:
            told["kind"] = "step_praised"
        case 4:
            told["index"] += chance.choice([-1, 1, 1000])
        case _:
            told["epoch"] += 1
    entry["record"] = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return event


def rewrite_the_chain_from_a_record_on(document: dict[str, Any], chance: random.Random) -> int:
    event, entry = entry_of(document, chance)
    told = json.loads(entry["record"])
    told["principal"]["subject"] = "mallory"
    entry["record"] = json.dumps(told, sort_keys=True, separators=(",", ":"))
    for one, after in zip(document["records"][event - 1 :], document["records"][event:], strict=False):
        told = json.loads(after["record"])
        told["prev"] = hashlib.sha256(b"\x00" + one["record"].encode()).hexdigest()
        after["record"] = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return event


def write_a_record_otherwise(document: dict[str, Any], chance: random.Random) -> int:
    event, entry = entry_of(document, chance)
    told = json.loads(entry["record"])
    match chance.randrange(3):
        case 0:
            entry["record"] = json.dumps(told, sort_keys=True)
        case 1:
            entry["record"] = json.dumps(dict(reversed(told.items())), separators=(",", ":"))
        case _:
            entry["record"] = entry["record"][:-1] + ',"v":1}'
    return event


def drop_a_record(document: dict[str, Any], chance: random.Random) -> int:
    event, _ = entry_of(document, chance)
    del document["records"][event - 1]
    return event


def cut_the_end_off(document: dict[str, Any], chance: random.Random) -> int:
    kept = chance.randrange(len(document["records"]))
    del document["records"][kept:]
    return kept + 1


def exchange_two_records(document: dict[str, Any], chance: random.Random) -> int:
    first, second = sorted(chance.sample(range(len(document["records"])), 2))
    records = document["records"]
    records[first], records[second] = records[second], records[first]
    return first + 1


def double_a_record(document: dict[str, Any], chance: random.Random) -> int:
    event, entry = entry_of(document, chance)
    document["records"].insert(event, entry)
    return event + 1


def put_in_a_record_of_another_operation(document: dict[str, Any], chance: random.Random) -> int:
    at = chance.randrange(len(document["records"]))
    document["records"][at] = chance.choice(parsed(OTHER)["records"])
    return at + 1


def change_a_proof(document: dict[str, Any], chance: random.Random) -> int:
    event, entry = entry_of(document, chance)
    proof = entry["proof"]
    at = chance.randrange(len(proof))
    match chance.randrange(4):
        case 0:
            proof[at] = flipped(proof[at], chance, "0123456789abcdef")
        case 1:
            del proof[at]
        case 2:
            proof.insert(at, proof[at])
        case _:
            proof.reverse()
    return event


def change_what_was_said(document: dict[str, Any], chance: random.Random) -> int:
    said = [
        (event, fields) for event, entry in enumerate(document["records"], 1) for fields in entry["payloads"].values()
    ]
    event, fields = chance.choice(said)
    field = chance.choice(fields)
    match chance.randrange(5):
        case 0:
            field["text"] = json.dumps([json.loads(field["text"])[0], "nothing of the kind"], separators=(",", ":"))
        case 1:
            field["salt"] = flipped(field["salt"], chance, "0123456789abcdef")
        case 2:
            fields.append({"commitment": "ab" * 32})
        case 3:
            fields.pop()
        case _:
            field["text"] = field["text"].replace(",", ", ", 1)
    return event


def say_something_that_was_not_said(document: dict[str, Any], chance: random.Random) -> int:
    event, entry = entry_of(document, chance)
    entry["payloads"]["remark"] = [{"salt": "ab" * 32, "text": '["","I approve"]'}]
    return event


def change_a_note(document: dict[str, Any], chance: random.Random) -> None:
    name = chance.choice(["seal", "head"])
    note: str = document[name]
    match chance.randrange(5):
        case 0:
            document[name] = flipped(note, chance, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
        case 1:
            document[name] = note + note.split("\n\n")[1]
        case 2:
            document[name] = note[:-1]
        case 3:
            document[name] = note.replace("\n\n", "\n \n", 1)
        case _:
            at = chance.randrange(len(note))
            document[name] = note[:at] + "\n" + note[at:]


def take_a_note_of_another_file(document: dict[str, Any], chance: random.Random) -> None:
    source = parsed(chance.choice([EXPORTS.early, OTHER]))
    if source["seal"] == document["seal"]:
        document["head"] = source["head"]
    else:
        name = chance.choice(["seal", "head"])
        document[name] = source[name]


def change_a_name_in_the_header(document: dict[str, Any], chance: random.Random) -> None:
    name = chance.choice(["format", "log", "key", "namespace", "operation"])
    document[name] = flipped(document[name], chance, "abcdefghijklmnopqrstuvwxyz0123456789/_+")


def change_a_join(document: dict[str, Any], chance: random.Random) -> None:
    document["joins"] = parsed(EXPORTS.joined)["joins"]
    join = chance.choice(document["joins"])
    match chance.randrange(4):
        case 0:
            join["root"] = flipped(join["root"], chance, "0123456789abcdef")
        case 1:
            join["size"] += chance.choice([-1, 1])
        case 2:
            join["proof"].append("ab" * 32)
        case _:
            join["proof"] = join["proof"][1:] if len(join["proof"]) > 0 else ["ab" * 32]


def sign_it_all_with_another_key(document: dict[str, Any], _: random.Random) -> None:
    signer = Ed25519Signer(document["log"].split("/")[0], Ed25519PrivateKey.generate())
    for name in ("seal", "head"):
        document[name] = signed_note(Note.parse(document[name]).body, signer)
    document["key"] = str(signer.verifier_key)


DOCUMENT_MUTATIONS: list[Mutation] = [
    change_a_field_of_a_record,
    rewrite_the_chain_from_a_record_on,
    write_a_record_otherwise,
    drop_a_record,
    cut_the_end_off,
    exchange_two_records,
    double_a_record,
    put_in_a_record_of_another_operation,
    change_a_proof,
    change_what_was_said,
    say_something_that_was_not_said,
    change_a_note,
    take_a_note_of_another_file,
    change_a_name_in_the_header,
    change_a_join,
    sign_it_all_with_another_key,
]


@pytest.mark.parametrize("mutation", DOCUMENT_MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_every_change_of_what_is_said_is_found_and_named(mutation: Mutation) -> None:
    chance = random.Random(mutation.__name__)
    for _ in range(MUTATIONS_A_CLASS):
        document = parsed(MAIN)
        event = mutation(document, chance)
        export = render(document).encode()
        assert export != MAIN
        found = verdict(export)
        assert found is not None, export.decode()
        assert found.sequence == event, found
        assert second_verdict(export) is not None, export.decode()


def flip_a_bit(export: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(export))
    return export[:at] + bytes([export[at] ^ (1 << chance.randrange(8))]) + export[at + 1 :]


def drop_a_byte(export: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(export))
    return export[:at] + export[at + 1 :]


def add_a_byte(export: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(export) + 1)
    return export[:at] + chance.choice([b" ", b"\n", b"0", b'"', b"\x00"]) + export[at:]


def cut_the_file(export: bytes, chance: random.Random) -> bytes:
    return export[: chance.randrange(len(export))]


def escape_a_letter(export: bytes, chance: random.Random) -> bytes:
    at = chance.choice(
        [at for at, letter in enumerate(export) if chr(letter).isalpha() and export[at - 1 : at] != b"\\"]
    )
    return export[:at] + b"\\u%04x" % export[at] + export[at + 1 :]


@pytest.mark.parametrize("mutation", [flip_a_bit, drop_a_byte, add_a_byte, cut_the_file, escape_a_letter])
def test_every_change_of_a_byte_is_found(mutation: Callable[[bytes, random.Random], bytes]) -> None:
    chance = random.Random(mutation.__name__)
    for _ in range(MUTATIONS_A_CLASS * 2):
        export = mutation(MAIN, chance)
        assert verdict(export) is not None, export.decode("ascii", "replace")
        assert second_verdict(export) is not None, export.decode("ascii", "replace")


def test_a_byte_changed_within_a_line_names_the_event_of_that_line() -> None:
    lines = MAIN.split(b"\n")
    for event in (1, 5, len(parsed(MAIN)["records"])):
        changed = [*lines]
        changed[8 + event] = changed[8 + event].replace(b'"proof"', b'"proof" ', 1)
        found = verdict(b"\n".join(changed))
        assert found is not None
        assert found.sequence == event


@pytest.mark.parametrize(
    "export",
    [b"", b"{}", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000, b'{"format":"hmsact-export/2"}', b'{"format":1e5}'],
    ids=range(9),
)
def test_what_is_no_export_is_said_to_be_none(export: bytes) -> None:
    assert "not an export" in str(verdict(export))


def add_to_the_document(document: dict[str, Any]) -> None:
    document["note"] = "x"


def add_to_an_entry(document: dict[str, Any]) -> None:
    document["records"][0]["note"] = "x"


def add_to_a_field(document: dict[str, Any]) -> None:
    document["records"][0]["payloads"]["input"][0]["note"] = "x"


@pytest.mark.parametrize("change", [add_to_the_document, add_to_an_entry, add_to_a_field])
def test_a_member_that_nobody_knows_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    document = parsed(MAIN)
    change(document)
    assert "members" in str(verdict(json.dumps(document).encode()))


# -- keys


def test_the_wrong_key_is_no_proof() -> None:
    other = str(Ed25519Signer(parsed(MAIN)["log"].split("/")[0], fresh_keys().signing).verifier_key)
    with pytest.raises(Tampered, match="another key than the one that was given"):
        verify(MAIN, key=other)
    for text in ("", "nonsense", EXPORTS.key[:-1], EXPORTS.key.replace("+", "-", 1), EXPORTS.key.upper()):
        with pytest.raises(ValueError, match=r"key|base64"):
            verify(MAIN, key=text)


def test_a_daemon_is_remembered_and_another_key_is_not_believed(tmp_path: Path) -> None:
    known = KnownDaemons(tmp_path / "hmsact" / "known_daemons")
    key = VerifierKey.parse(EXPORTS.key)
    assert verify(MAIN, known=known).trust is Trust.OWN
    assert known.remember(key)
    assert not known.remember(key)
    assert verify(MAIN, known=known).trust is Trust.KNOWN
    assert verify(MAIN, key=EXPORTS.key, known=known).trust is Trust.GIVEN
    document = parsed(MAIN)
    sign_it_all_with_another_key(document, random.Random(0))
    forged = render(document).encode()
    assert verify(forged).trust is Trust.OWN
    with pytest.raises(Tampered, match="is known by"):
        verify(forged, known=known)
    with pytest.raises(KeyChanged):
        known.remember(VerifierKey.parse(document["key"]))


def test_a_memory_that_cannot_be_read_is_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "known"
    path.write_text("# mine\n\nhmsactd-x nonsense\n")
    with pytest.raises(ValueError, match=r"key|base64"):
        verify(MAIN, known=KnownDaemons(path))
    name = VerifierKey.parse(EXPORTS.key).name
    path.write_text(f"{name} {EXPORTS.key}\n{name} {EXPORTS.key}\n")
    with pytest.raises(ValueError, match="line 2"):
        verify(MAIN, known=KnownDaemons(path))


def test_the_users_memory_is_where_the_user_says(tmp_path: Path) -> None:
    assert KnownDaemons.of_user({"HMSACT_KNOWN": "/x/y"}).path == Path("/x/y")
    assert KnownDaemons.of_user({"XDG_CONFIG_HOME": "/x"}).path == Path("/x/hmsact/known_daemons")
    assert KnownDaemons.of_user({}).path.parts[-3:] == (".config", "hmsact", "known_daemons")


# -- evidence held elsewhere


def test_an_earlier_head_must_be_in_the_file() -> None:
    earlier = parsed(EXPORTS.early)["head"]
    assert verify(MAIN, key=EXPORTS.key, head=earlier).is_joined
    assert verify(EXPORTS.early, key=EXPORTS.key, head=earlier).is_joined
    with pytest.raises(MissingEvidence, match="older than the head"):
        verify(EXPORTS.early, key=EXPORTS.key, head=parsed(MAIN)["head"])
    with pytest.raises(MissingEvidence, match="another timeline"):
        verify(OTHER, key=EXPORTS.key, head=earlier)


def test_an_earlier_seal_must_be_joined_to_the_files() -> None:
    for size, seal in EXPORTS.seals.items():
        assert verify(EXPORTS.joined, key=EXPORTS.key, head=seal).is_joined
        with pytest.raises(MissingEvidence, match=f"export it with that size|{size}"):
            verify(MAIN, key=EXPORTS.key, head=seal)
    assert verify(MAIN, key=EXPORTS.key, head=parsed(MAIN)["seal"]).is_joined
    with pytest.raises(MissingEvidence, match="older than the seal"):
        verify(EXPORTS.early, key=EXPORTS.key, head=parsed(MAIN)["seal"])


def test_evidence_of_another_daemon_is_no_evidence() -> None:
    foreign = made(fresh_keys(), operations=2)
    for head in (parsed(foreign.joined)["seal"], parsed(foreign.joined)["head"]):
        with pytest.raises(MissingEvidence, match="not signed by the key of this file"):
            verify(MAIN, key=EXPORTS.key, head=head)
    with pytest.raises(ValueError, match="signed note"):
        verify(MAIN, key=EXPORTS.key, head="nonsense")


def test_who_holds_the_key_cannot_rewrite_what_was_sealed_elsewhere() -> None:
    signer = Ed25519Signer(parsed(MAIN)["log"].split("/")[0], KEYS.signing)
    real = Note.parse(parsed(MAIN)["seal"]).body.split("\n")
    forged = signed_note("\n".join([real[0], real[1], "A" * 43 + "=", ""]), signer)
    with pytest.raises(Tampered, match="it was rewritten"):
        verify(MAIN, key=EXPORTS.key, head=forged)
    size = next(iter(EXPORTS.seals))
    earlier = signed_note("\n".join([real[0], str(size), "A" * 43 + "=", ""]), signer)
    with pytest.raises(Tampered, match="it was rewritten"):
        verify(EXPORTS.joined, key=EXPORTS.key, head=earlier)
    statement = Note.parse(parsed(EXPORTS.early)["head"]).body.split("\n")
    other = signed_note("\n".join([*statement[:5], "ab" * 32, *statement[6:]]), signer)
    with pytest.raises(Tampered, match="not the one that the head names") as found:
        verify(MAIN, key=EXPORTS.key, head=other)
    assert found.value.sequence == int(statement[4])
    longer = signed_note("\n".join([*statement[:4], "99", *statement[5:]]), signer)
    with pytest.raises(Tampered, match="had 99 events") as found:
        verify(MAIN, key=EXPORTS.key, head=longer)
    assert found.value.sequence == len(parsed(MAIN)["records"]) + 1
