"""Accounts of lives that were planned, and of lives that were not; how the golden ones are written is in stories.py."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import permutations
from random import Random
from typing import TypeVar, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsactd.account.explain import explain
from hmsactd.account.passage import Folded
from hmsactd.account.sentences import FOLDED
from hmsactd.account.spoken import Said
from hmsactd.account.tale import KEPT_MAX, PASSAGES_MAX
from hmsactd.core import events as e
from hmsactd.core import inputs as i
from hmsactd.core.apply import replay
from hmsactd.core.decide import decide
from hmsactd.core.events import Event
from hmsactd.core.operation import Operation
from hmsactd.core.principal import DAEMON
from tests.account.stories import GOLDEN, STORIES, UTC, account_of, loan, said_in, tale_of
from tests.core.dialogue import OPERATOR, Dialogue, begun, checkpoint, flow_of, payload, person, step
from tests.core.life import live

T = TypeVar("T")


@pytest.mark.parametrize("name", STORIES)
def test_the_account_of_the_story_is_as_it_is_written(name: str) -> None:
    assert STORIES[name]() == (GOLDEN / f"{name}.txt").read_text("utf-8")


def test_every_golden_account_has_its_story() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == STORIES.keys()


def test_every_kind_of_event_has_words_for_when_it_is_folded() -> None:
    assert FOLDED.keys() == {kind.kind for kind in get_args(e.Event)}


def test_every_kind_of_event_is_told_in_some_life() -> None:
    """A new kind fails here until lives have it, and in the type checker until it has words."""
    seen: set[str] = set()
    for seed in range(200):
        pair = live(Random(seed).choice, turns=60)
        check(pair.events, pair.now)
        seen |= {event.kind for event in pair.events}
    assert seen == {kind.kind for kind in get_args(e.Event)}


# -- of any life -------------------------------------------------------------------------------------------------------


def check(events: Sequence[Event], now: int) -> None:
    """What holds of every account."""
    operation = replay(events)
    assert operation is not None
    tale = tale_of(events)
    words = said_in(events)
    account = explain(tale, Said(words), now, UTC)
    asked_for = {place: text for place, text in words.items() if place[0] in tale.quoted}
    assert explain(tale, Said(asked_for), now, UTC) == account, "no words are quoted that it does not ask for"
    assert operation.state.value in account.headline
    assert (account.wait is None) == operation.is_final
    told = sum(len(entry.sequences) + entry.sequences_left_out for entry in account.entries)
    assert told == len(events), "every event is told of in one entry"
    assert len(account.entries) <= PASSAGES_MAX + 1
    ends = [entry.sequences[-1] for entry in account.entries if entry.kind != "folded"]
    assert ends == sorted(ends)
    assert ends[-1] == len(events), "the last event is always told"
    for entry in account.entries:
        assert list(entry.sequences) == sorted({*entry.sequences})
        assert entry.sentence[0].isupper()
        assert entry.sentence.endswith((".", "”."))
    check_words([account.headline, *(entry.sentence for entry in account.entries)])
    check_wait(operation, account.wait.kind if account.wait is not None else None)


def check_words(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        assert sentence.isprintable()
        assert "  " not in sentence
        assert "None" not in sentence
        # The codes of errors are their services' own words.
        assert "_" not in re.sub(r"\b[A-Z][A-Z0-9_]+\b", "", sentence)


def check_wait(operation: Operation, kind: str | None) -> None:
    """What is awaited agrees with the state, as lists and metrics see it."""
    kinds = {
        "running": {"worker", "report", "completion", ""},
        "waiting": {"decision", "clock"},
        "paused": {"resume"},
        "stalled": {"operator"},
    }
    assert kind in kinds.get(operation.state.value, {None})


@settings(max_examples=100)
@given(st.integers(0, 30), st.data())
def test_of_any_life_there_is_an_account_that_agrees_with_its_state(turns: int, data: st.DataObject) -> None:
    def choose(options: Sequence[T], /) -> T:
        return data.draw(st.sampled_from(options))

    pair = live(choose, turns)
    check(pair.events, pair.now)


@pytest.mark.parametrize("seed", range(40))
def test_there_is_an_account_after_every_event_of_a_life(seed: int) -> None:
    events = live(Random(seed).choice, turns=40).events
    for length in range(1, len(events) + 1):
        operation = replay(events[:length])
        assert operation is not None
        account = explain(tale_of(events[:length]), Said({}), events[length - 1].at, UTC)
        assert operation.state.value in account.headline


# -- long ones ---------------------------------------------------------------------------------------------------------


class Quick(Dialogue):
    """A dialogue that checks nothing: what holds always is checked of short ones."""

    def hear(self, told: i.Input) -> list[str]:
        outcome = decide(self._operation, told, self.now)
        self.events += outcome.events
        self._operation = outcome.operation
        return []


def test_a_step_that_was_tried_a_thousand_times_is_told_in_one_sentence_for_each_round() -> None:
    talk = Quick(flow_of(step("scan", "Scanner", retries=100, retry_delay="1ms", retry_delay_max="1ms")))
    talk.start()
    for _ in range(10):
        talk.stall("scan")
        talk.hear(i.RetryStep(OPERATOR, "scan", payload("again")))
    account = account_of(talk)
    assert len(talk.events) > 3_000
    rounds = [entry for entry in account.entries if entry.kind == "step_stalled"]
    assert len(rounds) == 10
    assert "Scanner was asked 101 times and answered with an error 101 times" in rounds[0].sentence
    assert len(rounds[0].sequences) + rounds[0].sequences_left_out == 303
    check(talk.events, talk.now)


def test_a_long_history_is_folded_and_its_decisions_and_problems_are_counted() -> None:
    talk = begun(step("scan", "Scanner"))
    for _ in range(150):
        talk.wait("1m").hear(i.Pause(OPERATOR, False, payload("wait")))
        talk.hear(i.Resume(OPERATOR))
    account = account_of(talk)
    assert account.entries[0].kind == "operation_started"
    folded = account.entries[1]
    assert folded.kind == "folded"
    assert "131 pauses began" in folded.sentence
    assert (len(account.decisions), account.decisions_left_out) == (KEPT_MAX, 200)
    check(talk.events, talk.now)


def test_a_single_event_that_is_folded_is_counted_once() -> None:
    talk = begun(step("scan", "Scanner"))
    for number in range(PASSAGES_MAX):
        talk.wait("1s")
        talk.hear(i.Resume(OPERATOR) if number % 2 else i.Pause(OPERATOR))
    folded = account_of(talk).entries[1]
    assert (folded.kind, folded.sequences, folded.sequences_left_out) == ("folded", (2,), 0)
    assert folded.sentence.endswith("1 pause began.")
    check(talk.events, talk.now)


def test_many_different_people_who_are_refused_are_folded() -> None:
    talk = begun(checkpoint("review"))
    for number in range(100):
        talk.note_refusal(person(f"p{number}"), "review", "ROLE_MISSING")
    assert "people were refused decisions" in account_of(talk).entries[1].sentence
    check(talk.events, talk.now)


def test_of_steps_without_trouble_the_oldest_are_folded_first() -> None:
    talk = Quick(flow_of(*(step(f"step_{number}") for number in range(999))))
    talk.start()
    for number in range(999):
        talk.take(f"step_{number}")
        if number == 3:
            talk.hear(i.WorkerLost(DAEMON, 4, 1))
            talk.take("step_3")
        talk.finish(f"step_{number}")
    sentences = [entry.sentence for entry in account_of(talk).entries]
    assert "961 steps were done" in sentences[1]
    assert "lost its worker once" in sentences[2]
    check(talk.events, talk.now)


def test_what_is_folded_is_the_same_in_whatever_order_it_comes() -> None:
    talk = begun(step("a"), step("b"), step("c"))
    for name in ("a", "b", "c"):
        talk.do(name)
    passages = tale_of(talk.events).passages
    for order in permutations(passages):
        folded = Folded()
        for passage in order:
            folded.add(passage)
        assert folded.count == len(talk.events)
        assert (folded.first_sequence, folded.last_sequence) == (1, len(talk.events))
        assert (folded.first_at, folded.last_at) == (talk.events[0].at, talk.events[-1].at)


# -- in particular -----------------------------------------------------------------------------------------------------


def test_a_breach_is_open_until_its_step_is_over_and_a_risk_until_it_is_a_breach() -> None:
    talk = loan()
    talk.take("eligibility_check")

    def problems() -> list[tuple[str, bool]]:
        return [(problem.kind, problem.is_open) for problem in account_of(talk).problems]

    talk.wait("100s").wake()
    assert problems() == [("sla_at_risk", True)]
    talk.wait("20s").wake()
    assert problems() == [("sla_at_risk", False), ("sla_breach", True)]
    talk.finish("eligibility_check")
    assert problems() == [("sla_at_risk", False), ("sla_breach", False)]


def test_only_the_last_of_several_stalls_is_open() -> None:
    talk = begun(step("scan", retries=0))
    for _ in range(2):
        talk.stall("scan")
        talk.retry("scan")
    talk.stall("scan")
    assert [problem.is_open for problem in account_of(talk).problems] == [False, False, True]


def test_what_machines_get_of_a_decision_is_what_is_on_the_record() -> None:
    talk = begun(checkpoint("review"))
    digest = talk.checkpoint("review").digest
    asked_at = talk.now
    talk.wait("5m").approve(person("jdavis", "fsa.officer"), "review", seen=digest)
    (decision,) = account_of(talk).decisions
    assert (decision.role, decision.digest, decision.is_unseen) == ("fsa.officer", digest, False)
    assert (decision.since, decision.at) == (asked_at, asked_at + 300_000_000)
    assert decision.by.roles == ("fsa.officer",)


def test_words_can_neither_break_a_line_nor_turn_it_round_nor_be_endless() -> None:
    talk = begun(step("scan"))
    talk.hear(i.Cancel(OPERATOR, payload("one\ntwo \x1b[31m \u202e three " + "x" * 4000)))
    account = account_of(talk)
    sentence = account.entries[-1].sentence
    check_words([sentence, account.headline])
    assert "“one two [31m three xxx" in sentence
    assert sentence.endswith("x …”.")
    assert len(sentence) < 400
    assert len(account.decisions[0].words.text) > 4000
