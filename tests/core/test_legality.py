"""What could not have happened is found, at the first event that could not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from hmsactd.core import events as e
from hmsactd.core.events import Event
from hmsactd.core.legality import Illegal, first_illegal
from hmsactd.core.principal import Principal
from tests.core.dialogue import CASEBOT, CITIZEN, JDAVIS, MGARCIA, OPERATOR, begun, checkpoint, payload, step
from tests.core.scenario import play, stories
from tests.metrics.life import a_flow, a_life

History = list[Event]


@pytest.mark.parametrize("story", stories(), ids=lambda path: path.stem)
def test_every_story_is_legal(story: Path) -> None:
    _, talk = play(story.read_text("utf-8"))
    assert first_illegal(talk.events) is None


@pytest.mark.parametrize("seed", range(50))
def test_whatever_the_core_decides_is_legal(seed: int) -> None:
    chance = Random(seed)
    history: History = []
    for change in a_life(chance, a_flow(chance, "flow"), turns=80):
        history += change.events
    assert first_illegal(history) is None


def test_no_history_is_no_offence() -> None:
    assert first_illegal([]) is None


# -- forgeries ---------------------------------------------------------------------------------------------------------


def a_history() -> History:
    """A step that fails once and breaches its SLA, a decision, another step, the end."""
    talk = begun(step("check", "IRS", sla="10s", retries=1), checkpoint("review"), step("pay", "Treasury"))
    talk.take("check")
    talk.wait("12s")
    talk.fail("check", "HTTP_502")
    talk.wait("1m")
    talk.wake()
    talk.take("check")
    talk.finish("check")
    talk.claim(JDAVIS, "review")
    talk.approve(JDAVIS, "review")
    talk.take("pay")
    talk.finish("pay")
    return talk.events


def place(kind: str, number: int = 1) -> int:
    """Where the event of a kind stands in that history, from 0."""
    found = [index for index, event in enumerate(a_history()) if event.kind == kind]
    return found[number - 1]


def without(kind: str, number: int = 1) -> History:
    history = a_history()
    del history[place(kind, number)]
    return history


def changed(kind: str, change: Callable[[Event], Event], number: int = 1) -> History:
    history, index = a_history(), place(kind, number)
    history[index] = change(history[index])
    return history


def by(who: Principal) -> Callable[[Event], Event]:
    return lambda event: replace(event, by=who)


def said(**what: object) -> Callable[[Event], Event]:
    return lambda event: replace(event, **what)  # type: ignore[arg-type]


def illegal(history: History) -> tuple[str, str]:
    """The kind of the first event that could not have happened, and why."""
    found = first_illegal(history)
    assert found is not None
    return history[found.sequence - 1].kind, found.sentence


def test_the_history_itself_is_legal() -> None:
    kinds = [event.kind for event in a_history()]
    assert first_illegal(a_history()) is None
    assert {"sla_at_risk", "sla_breach", "step_failed", "step_queued", "checkpoint_approved"} <= {*kinds}
    assert kinds[-1] == "operation_completed"


def test_breach_that_was_left_out_is_missed() -> None:
    kind, why = illegal(without("sla_breach"))
    assert (kind, why) == ("sla_at_risk", "sla_breach should be there, not step_failed")


def test_breach_that_was_left_out_together_with_its_warning_is_missed() -> None:
    history = [event for event in a_history() if event.kind not in ("sla_at_risk", "sla_breach")]
    assert illegal(history) == ("step_failed", "sla_at_risk should be there, not step_failed")


def test_breach_that_is_told_too_early_is_found() -> None:
    assert illegal(changed("sla_breach", said(late_ms=0)))[0] == "sla_at_risk"


@pytest.mark.parametrize(
    ("who", "why"),
    [
        (CITIZEN, "lacks"),
        (OPERATOR, "lacks"),
        (CASEBOT, "is not a person"),
        (MGARCIA, "has claimed"),
        (replace(CITIZEN, roles=("fsa.officer",)), "started the operation"),
    ],
)
def test_approval_of_somebody_who_may_not_is_found(who: Principal, why: str) -> None:
    kind, found = illegal(changed("checkpoint_approved", by(who)))
    assert kind == "checkpoint_approved"
    assert why in found


def test_approval_of_what_was_not_shown_is_found() -> None:
    assert illegal(changed("checkpoint_approved", said(seen="0" * 64)))[0] == "checkpoint_approved"


def test_checkpoint_that_showed_something_else_is_found() -> None:
    assert illegal(changed("checkpoint_pending", said(digest="0" * 64)))[0] == "step_done"


def test_output_that_was_exchanged_is_found_at_the_checkpoint_that_rests_on_it() -> None:
    kind, why = illegal(changed("step_done", said(output=payload("other"))))
    assert (kind, why) == ("step_done", "checkpoint_pending does not say what the rules lead to")


def test_step_that_ran_before_its_approval_is_found() -> None:
    assert illegal(without("checkpoint_approved"))[0] == "step_started"


def test_attempt_that_is_out_of_order_is_found() -> None:
    assert illegal(changed("step_started", said(attempt=3)))[0] == "step_started"


def test_report_of_another_attempt_is_found() -> None:
    assert illegal(changed("step_done", said(attempt=1)))[0] == "step_done"


def test_end_that_nothing_led_to_is_found() -> None:
    history = a_history()
    end = history.pop()
    history.insert(place("step_started"), end)
    assert illegal(history) == (
        "operation_completed",
        "nothing that can be told to the operation leads to operation_completed here",
    )


def test_end_that_is_left_out_is_found() -> None:
    assert illegal(a_history()[:-1]) == ("step_done", "operation_completed should follow and is missing")


def test_work_after_the_end_is_found() -> None:
    history = a_history()
    assert first_illegal([*history, history[-2]]) == Illegal(
        len(history) + 1, "nothing that can be told to the operation leads to step_done here"
    )


def test_time_that_runs_backwards_is_found() -> None:
    kind, why = illegal(changed("checkpoint_claimed", said(at=0)))
    assert (kind, why) == ("checkpoint_claimed", "checkpoint_claimed is earlier than the event before it")


def test_second_start_is_found() -> None:
    history = a_history()
    assert illegal([*history[:2], history[0], *history[2:]])[0] == "operation_started"


def test_history_without_its_start_is_found() -> None:
    assert first_illegal(a_history()[1:]) == Illegal(
        1, "nothing that can be told to the operation leads to step_started here"
    )


@pytest.mark.parametrize("within", [None, "1h"])
def test_deferral_with_another_limit_or_after_its_step_was_done_is_found(within: str | None) -> None:
    talk = begun(step("check", "IRS"))
    talk.take("check")
    talk.defer("check", within=within)
    assert first_illegal(talk.events) is None
    history = [*talk.events]
    history[-1] = replace(history[-1], by=CITIZEN)
    assert illegal(history)[0] == "step_deferred"
    talk.complete("check")
    assert illegal([*talk.events, replace(talk.events[2], at=talk.now)])[0] == "step_deferred"


def test_retry_at_a_time_that_the_service_wished_for_is_legal() -> None:
    talk = begun(step("check", "IRS", retries=1))
    talk.take("check")
    talk.fail("check", "HTTP_503", wish="90s")
    talk.wait("2m")
    talk.wake()
    assert first_illegal(talk.events) is None
    failed = talk.events[2]
    assert isinstance(failed, e.StepFailed)
    assert failed.retry_at is not None
