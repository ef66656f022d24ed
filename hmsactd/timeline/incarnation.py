"""Holds the log against the last seal that was kept outside: an older state of it is refused, unless it is accepted.

Accepted, it is a new incarnation of the log, which its records show by their epoch and the store by an entry that
holds both seals. Nothing else can be said of it in a record, since every record belongs to an operation.
"""

from __future__ import annotations

from dataclasses import dataclass

from hmsact.note import TreeHead, VerifierKey

from hmsactd import logs
from hmsactd.store.errors import DataRefused
from hmsactd.store.rollback import Rollback, incarnation_of
from hmsactd.store.store import Log, Store
from hmsactd.timeline.outside import OutsideSeal
from hmsactd.timeline.tree import Proofs, kept_hashes

log = logs.logger(__name__)


@dataclass(frozen=True, slots=True)
class Outside:
    """The file (None: there is no such setting), and what an operator has said about it, and when."""

    seal: OutsideSeal | None
    is_rollback_accepted: bool
    now_us: int


async def held_against(outside: Outside, store: Store, kept: Log, key: VerifierKey) -> Log:
    """Returns the log to go on with; raises DataRefused for one that is older than the seal, or beside it."""
    head = outside.seal.head(kept.origin, key) if outside.seal is not None else None
    difference = await difference_from(head, store, kept.size) if head is not None else None
    if difference is None or head is None or outside.seal is None:
        if outside.is_rollback_accepted:
            raise DataRefused(
                "there is no rollback to accept: start without --accept-rollback, or the next one is accepted unseen"
            )
        if outside.seal is not None and head is None and kept.size:
            log.warning("there was no outside seal yet: whether the log is older than it was can't be told this time")
        return kept
    if not outside.is_rollback_accepted:
        raise DataRefused(
            f"{difference}. Put the newest data back in place, or, if they are lost, start once with "
            "--accept-rollback: what is missing stays lost, and the log says so from then on"
        )
    rollback = Rollback(outside.now_us, kept.size, kept.seal or "", head.size, outside.seal.note() or "")
    begun = await store.begin_incarnation(rollback)
    log.warning(
        "a rollback was accepted: a new incarnation of the log begins",
        incarnation=incarnation_of(begun.epoch),
        size=kept.size,
        lost_size=head.size,
    )
    await outside.seal.begin_again(kept.seal)
    return begun


async def difference_from(head: TreeHead, store: Store, size: int) -> str | None:
    """Says how a log differs from one that a seal was made over; None if it is that one, or has grown from it."""
    if size < head.size:
        return f"the log has {size} records, and its last seal kept outside covers {head.size}: the data are older"
    if not head.size:
        return None
    if await Proofs(kept_hashes(store)).root(head.size) != head.root:
        return f"the first {head.size} records of the log are not those that its last seal kept outside covers"
    return None
