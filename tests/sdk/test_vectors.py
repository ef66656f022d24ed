"""The test vectors of the record format: facts that no version of this code may change."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hmsact import record
from hmsact.note import HeadStatement, Note, TreeHead, VerifierKey, key_name
from hmsact.verify import Tampered, verify

from hmsactd.timeline.payloads import field_pairs
from hmsactd.timeline.seal import Ed25519Signer, signed_note
from tests.sdk import second_verifier

FOLDER = Path(__file__).parent.parent / "vectors"
VECTORS: dict[str, Any] = json.loads((FOLDER / "vectors.json").read_text())
EXPORTS: list[dict[str, Any]] = [VECTORS["export"], VECTORS["export_on_behalf_of"]]


def unhex(texts: list[str]) -> list[bytes]:
    return list(map(bytes.fromhex, texts))


def test_canonical_form() -> None:
    for case in VECTORS["canonical"]:
        assert record.canonical(case["value"]) == case["text"].encode()


def test_commitments_to_payloads() -> None:
    for case in VECTORS["payloads"]:
        pairs = field_pairs(case["content"].encode(), bytes.fromhex(case["salt"]))
        commitments = [record.field_commitment(salt, text) for salt, text in pairs]
        assert [
            {"salt": salt.hex(), "text": text, "commitment": commitment.hex()}
            for (salt, text), commitment in zip(pairs, commitments, strict=True)
        ] == case["fields"]
        assert record.payload_commitment(commitments).hex() == case["commitment"]


def test_the_tree() -> None:
    tree = VECTORS["tree"]
    leaves = [record.leaf_hash(text.encode()) for text in tree["records"]]
    roots = {int(size): bytes.fromhex(root) for size, root in tree["roots"].items()}
    assert [leaf.hex() for leaf in leaves] == tree["leaves"]
    for case in tree["inclusion"]:
        index, size = case["index"], case["size"]
        assert record.root_of_inclusion(index, size, leaves[index], unhex(case["proof"])) == roots[size]
    for case in tree["consistency"]:
        size, later = case["size"], case["later"]
        assert record.is_consistent(size, roots[size], later, roots[later], unhex(case["proof"]))


def test_keys_seals_and_head_statements() -> None:
    told = VECTORS["key"]
    signer = Ed25519Signer(told["name"], Ed25519PrivateKey.from_private_bytes(bytes.fromhex(told["seed"])))
    assert str(signer.verifier_key) == told["vkey"] == str(VerifierKey.parse(told["vkey"]))
    seal, head = VECTORS["seal"], VECTORS["head"]
    tree = TreeHead(seal["origin"], seal["size"], bytes.fromhex(seal["root"]))
    assert signed_note(tree.body(), signer) == seal["note"] == str(Note.parse(seal["note"]))
    assert TreeHead.parse(Note.parse(seal["note"]).body) == tree
    assert key_name(seal["origin"]) == told["name"]
    statement = HeadStatement(**{name: value for name, value in head.items() if name != "note"})
    assert signed_note(statement.body(), signer) == head["note"]
    assert asdict(HeadStatement.parse(Note.parse(head["note"]).body)) == asdict(statement)


@pytest.mark.parametrize("told", EXPORTS, ids=lambda told: told["file"])
def test_a_whole_export(told: dict[str, Any]) -> None:
    export, key = (FOLDER / told["file"]).read_bytes(), told["key"]
    assert verify(export, key=key).events == told["events"] == second_verifier.verify(export, key)
    for seal in told["seals"]:
        assert verify(export, key=key, head=seal).is_joined


@pytest.mark.parametrize(
    ("told", "case"), [(told, case) for told in EXPORTS for case in told["bad"]], ids=lambda each: each.get("name")
)
def test_exports_that_were_tampered_with(told: dict[str, Any], case: dict[str, Any]) -> None:
    export, key = (FOLDER / told["file"]).read_bytes(), told["key"]
    found, replacement = (text.encode() for text in case["replace"])
    assert export.count(found) == 1
    bad = export.replace(found, replacement)
    with pytest.raises(Tampered) as refusal:
        verify(bad, key=key)
    assert refusal.value.sequence == case["event"]
    with pytest.raises((second_verifier.Bad, ValueError)):
        second_verifier.verify(bad, key)
