"""Verifies an exported timeline: no byte of it was changed, dropped, added or moved since its daemon signed it.

Needs the file and a key, no daemon and no network. What a history means, and whether its steps were allowed to follow
one another, is not judged here. docs/record-format.md says what is checked, for whoever writes another verifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hmsact.document import Document, read_document
from hmsact.known import KnownDaemons
from hmsact.layout import Header
from hmsact.note import HEAD_FORMAT, HeadStatement, Note, TreeHead, VerifierKey, key_name
from hmsact.record import is_consistent
from hmsact.tampered import Tampered
from hmsact.told import Told, check_payloads, check_place, told_of

__all__ = ["MissingEvidence", "Tampered", "Trust", "Verification", "verify"]


class MissingEvidence(Exception):
    """Raised when the file may be good, but does not show what was asked: it is too old, or is about something else."""


class Trust(StrEnum):
    """Where the key came from that the file was verified with."""

    GIVEN = "given"
    KNOWN = "known"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found. Of what was said, `shown` and `hidden` count fields; `withheld` payloads are not in the file."""

    log: str
    namespace: str
    operation: str
    events: int
    leaf: str
    size: int
    complete_as_of: str
    key: str
    trust: Trust
    is_joined: bool
    shown: int
    hidden: int
    withheld: int

    @property
    def level(self) -> str:
        """The level of proof in one sentence."""
        key = {
            Trust.GIVEN: "the key that was given",
            Trust.KNOWN: "the key that this daemon is known by",
            Trust.OWN: "the key in the file itself, which proves nothing about who wrote it",
        }[self.trust]
        joined = "and agrees with the head that was given" if self.is_joined else "with no head held elsewhere"
        return f"verified against {key}, {joined}; complete as of {self.complete_as_of}"


def verify(
    export: bytes | Path, *, key: str | None = None, head: str | None = None, known: KnownDaemons | None = None
) -> Verification:
    """Verifies an export and returns what was found.

    `key` is a verifier key that the caller trusts; without it the key by which the daemon is `known` is taken, else
    the file's own. `head` is evidence held elsewhere: a seal of the log, or an earlier head statement.

    Raises Tampered, which names the first bad event, MissingEvidence, OSError, and ValueError for a key, a head or a
    memory of daemons that can't be read.
    """
    trusted = None if key is None else VerifierKey.parse(key.strip())
    evidence = None if head is None else Note.parse(head)
    document = read_document(export if isinstance(export, bytes) else export.read_bytes())
    used, trust = _key(document.header, trusted, known)
    tree, statement = _signed(document.header, used)
    told = _timeline(document, tree)
    _check_end(statement, tree, told)
    if evidence is not None:
        _check_evidence(evidence, used, document.header, tree, told)
    fields = [field for entry in document.entries for fields in entry.payloads.values() for field in fields]
    shown = sum("text" in field for field in fields)
    return Verification(
        log=document.header.log,
        namespace=document.header.namespace,
        operation=document.header.operation,
        events=len(told),
        leaf=told[-1].leaf.hex(),
        size=tree.size,
        complete_as_of=statement.time,
        key=str(used),
        trust=trust,
        is_joined=evidence is not None,
        shown=shown,
        hidden=len(fields) - shown,
        withheld=sum(map(len, (this.commitments for this in told)))
        - sum(len(each.payloads) for each in document.entries),
    )


def _key(header: Header, trusted: VerifierKey | None, known: KnownDaemons | None) -> tuple[VerifierKey, Trust]:
    try:
        own = VerifierKey.parse(header.key)
    except ValueError as error:
        raise Tampered(f"the key in the file can't be read: {error}") from error
    if own.name != key_name(header.log):
        raise Tampered("the key in the file is not one of its log")
    if trusted is not None:
        if own != trusted:
            raise Tampered("the file was signed with another key than the one that was given")
        return trusted, Trust.GIVEN
    remembered = None if known is None else known.key_of(own.name)
    if remembered is None:
        return own, Trust.OWN
    if remembered != own:
        raise Tampered(f"the file was signed with another key than the one that {own.name} is known by")
    return remembered, Trust.KNOWN


def _signed(header: Header, key: VerifierKey) -> tuple[TreeHead, HeadStatement]:
    """Returns what the daemon has signed: the tree, and where the timeline ended."""
    seal, head = _note(header.seal, key, "seal"), _note(header.head, key, "head statement")
    try:
        tree, statement = TreeHead.parse(seal), HeadStatement.parse(head)
    except ValueError as error:
        raise Tampered(f"what is signed can't be read: {error}") from error
    if tree.origin != header.log or statement.origin != header.log:
        raise Tampered("what is signed is about another log")
    if (statement.namespace, statement.operation) != (header.namespace, header.operation):
        raise Tampered("the head statement is about another operation")
    if statement.size != tree.size:
        raise Tampered("the head statement and the seal are about different sizes of the log")
    for join in header.joins:
        if not is_consistent(join.size, join.root, tree.size, tree.root, join.proof):
            raise Tampered(f"the proof that joins the log of {join.size} records to the seal is wrong")
    return tree, statement


def _note(text: str, key: VerifierKey, what: str) -> str:
    try:
        note = Note.parse(text)
    except ValueError as error:
        raise Tampered(f"the {what} can't be read: {error}") from error
    # One signature, so that none can be added either.
    if len(note.signatures) != 1 or not note.is_signed_by(key):
        raise Tampered(f"the {what} is not signed by the key {key.name}")
    return note.body


def _timeline(document: Document, tree: TreeHead) -> list[Told]:
    """Checks every record in order, so that the first bad one is the one that is named."""
    told: list[Told] = []
    for sequence, entry in enumerate(document.entries, 1):
        this = told_of(entry.record, sequence)
        check_place(this, told[-1] if told else None, document.header, sequence)
        this.check_inclusion(entry.proof, tree)
        check_payloads(this, entry.payloads)
        told.append(this)
    if not told:
        raise Tampered("the file holds no record", 1)
    return told


def _check_end(statement: HeadStatement, tree: TreeHead, told: Sequence[Told]) -> None:
    if statement.sequence > len(told):
        raise Tampered(f"the timeline had {statement.sequence} events, the file holds {len(told)}", len(told) + 1)
    if statement.sequence < len(told):
        raise Tampered(f"the timeline had only {statement.sequence} events", statement.sequence + 1)
    if statement.leaf != told[-1].leaf.hex():
        raise Tampered("the last record is not the one that the head statement names", len(told))
    if statement.time < told[-1].at:
        raise Tampered("the head statement is older than the last record", len(told))
    if told[-1].index >= tree.size:
        raise Tampered("the last record is beyond the seal", len(told))


def _check_evidence(evidence: Note, key: VerifierKey, header: Header, tree: TreeHead, told: Sequence[Told]) -> None:
    """Compares with what the caller kept: a seal, or an earlier head statement."""
    if not evidence.is_signed_by(key):
        raise MissingEvidence("the head that was given is not signed by the key of this file")
    if evidence.body.startswith(f"{HEAD_FORMAT}\n"):
        _check_earlier_head(HeadStatement.parse(evidence.body), header, tree, told)
    else:
        _check_earlier_seal(TreeHead.parse(evidence.body), header, tree)


def _check_earlier_head(earlier: HeadStatement, header: Header, tree: TreeHead, told: Sequence[Told]) -> None:
    if (earlier.origin, earlier.namespace, earlier.operation) != (header.log, header.namespace, header.operation):
        raise MissingEvidence("the head that was given is that of another timeline")
    if earlier.sequence > len(told):
        if earlier.size > tree.size:
            raise MissingEvidence("the file is older than the head that was given")
        raise Tampered(f"the timeline had {earlier.sequence} events before this file was made", len(told) + 1)
    if earlier.leaf != told[earlier.sequence - 1].leaf.hex():
        raise Tampered("the record is not the one that the head names that was given", earlier.sequence)


def _check_earlier_seal(earlier: TreeHead, header: Header, tree: TreeHead) -> None:
    if earlier.origin != header.log:
        raise MissingEvidence("the seal that was given is that of another log")
    if earlier.size > tree.size:
        raise MissingEvidence("the file is older than the seal that was given")
    roots = {join.size: join.root for join in header.joins} | {tree.size: tree.root}
    if earlier.size not in roots:
        raise MissingEvidence(
            f"the file does not join the log of {earlier.size} records, which the given seal covers, to its own seal:"
            " export it with that size"
        )
    if roots[earlier.size] != earlier.root:
        raise Tampered("the log is not the one that the seal covers that was given: it was rewritten")
