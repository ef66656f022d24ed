"""From a tale to an account: the words for people, the facts for machines."""

from __future__ import annotations

from datetime import tzinfo

from hmsactd.account.account import Account, Decision, Entry, Problem
from hmsactd.account.attended import UNKNOWN, Attended
from hmsactd.account.headline import Headline, wait_of
from hmsactd.account.passage import Folded, Passage
from hmsactd.account.sentences import Sentences, folded_sentence
from hmsactd.account.spoken import Said
from hmsactd.account.tale import Kept, Tale
from hmsactd.account.words import Times
from hmsactd.core import events as e
from hmsactd.core.operation import Operation
from hmsactd.core.transitions import StepState


def explain(tale: Tale, said: Said, now: int, zone: tzinfo, attended: Attended = UNKNOWN) -> Account:
    """The account of an operation at a time. `said` holds the words of `tale.quoted`."""
    operation = tale.operation
    when = Times(
        zone, operation.started_at, operation.updated_at if operation.is_final else max(now, operation.updated_at)
    )
    wait = wait_of(operation, attended, now)
    sentences = Sentences(operation, said, when)
    entries = [_entry(passage, sentences.of(passage), operation) for passage in tale.passages]
    if tale.folded.count:
        # After the start, since most of it was early.
        entries.insert(1, _folded_entry(tale.folded, when))
    return Account(
        headline=Headline(tale, said, when, now).of(wait),
        entries=tuple(entries),
        wait=wait,
        due_at=operation.clock.due_at if operation.clock is not None else None,
        decisions=tuple(_decision(kept, operation, said) for kept in tale.decisions),
        decisions_left_out=tale.decision_count - len(tale.decisions),
        problems=tuple(_problem(kept, tale) for kept in tale.problems),
        problems_left_out=tale.problem_count - len(tale.problems),
    )


def _entry(passage: Passage, sentence: str, operation: Operation) -> Entry:
    event, sequences = passage.last, passage.sequences
    instance = _instance(event)
    left_out = passage.count - len(sequences)
    return Entry(sentence, event.at, event.kind, operation.name_of(instance), instance, sequences, left_out)


def _folded_entry(folded: Folded, when: Times) -> Entry:
    sequences = tuple(sorted({folded.first_sequence, folded.last_sequence}))
    return Entry(
        folded_sentence(folded, when), folded.last_at, "folded", "", 0, sequences, folded.count - len(sequences)
    )


def _decision(kept: Kept, operation: Operation, said: Said) -> Decision:
    event, instance = kept.event, _instance(kept.event)
    name = operation.name_of(instance)
    if isinstance(event, e.CheckpointApproved | e.CheckpointRejected) and kept.checkpoint is not None:
        words = said.of(kept.sequence, "comment", event.comment)
        asked = kept.checkpoint
        role, digest, is_unseen = asked.definition.role, asked.digest or "", event.seen is None
        return Decision(
            event.kind, name, instance, event.by, event.at, kept.sequence, words, role, asked.since, digest, is_unseen
        )
    words = said.of(kept.sequence, "reason", getattr(event, "reason", None))
    return Decision(event.kind, name, instance, event.by, event.at, kept.sequence, words)


def _problem(kept: Kept, tale: Tale) -> Problem:
    event, instance = kept.event, _instance(kept.event)
    due_at, late_ms = getattr(event, "due_at", None), getattr(event, "late_ms", 0)
    name, is_open = tale.operation.name_of(instance), _is_open(kept, tale)
    return Problem(event.kind, name, instance, event.by, event.at, kept.sequence, is_open, due_at, late_ms)


def _is_open(kept: Kept, tale: Tale) -> bool:
    """Whether a problem is still one; of several of its kind at the same item, the last may be."""
    operation, event, instance = tale.operation, kept.event, _instance(kept.event)
    item = operation.current
    if operation.is_final or (instance and (item is None or item.instance != instance)):
        return False
    alike = [one for one in tale.problems if one.event.kind == event.kind and _instance(one.event) == instance]
    if kept is not alike[-1]:
        return False
    match event:
        case e.StepStalled():
            return item is not None and item.state is StepState.STALLED
        case e.SlaAtRisk():
            clock = item.clock if instance and item is not None else operation.clock
            return clock is not None and not clock.is_breached
        case e.Unattended():
            return item is not None and item.is_unattended
        case _:
            return True


def _instance(event: e.Event) -> int:
    instance: int = getattr(event, "instance", 0)
    return instance
