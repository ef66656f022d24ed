"""Stories of operations whose accounts are in tests/account/golden. `python -m tests.account.stories` writes them anew.

In a dialogue a payload is known by its commitment, so that here its commitment is what was said.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from zoneinfo import ZoneInfo

from hmsactd.account.account import Account, Wait
from hmsactd.account.attended import UNKNOWN, Attended
from hmsactd.account.explain import explain
from hmsactd.account.spoken import Said
from hmsactd.account.tale import QUOTED_PAYLOADS, Tale
from hmsactd.core import inputs as i
from hmsactd.core.events import Event
from hmsactd.core.payload import Payload
from hmsactd.core.principal import DAEMON
from tests.core.dialogue import (
    CASEBOT,
    CITIZEN,
    DESK,
    DEVELOPER,
    JDAVIS,
    MGARCIA,
    OPERATOR,
    Dialogue,
    begun,
    checkpoint,
    flow_of,
    payload,
    rejected,
    service,
    step,
)

GOLDEN = Path(__file__).parent / "golden"

UTC = ZoneInfo("UTC")

STORIES: dict[str, Callable[[], str]] = {}


def story(tell: Callable[[], str]) -> Callable[[], str]:
    STORIES[tell.__name__] = tell
    return tell


def tale_of(events: Iterable[Event]) -> Tale:
    tale = Tale()
    for sequence, event in enumerate(events, 1):
        tale.hear(event, sequence)
    return tale


def said_in(events: Iterable[Event]) -> dict[tuple[int, str], str]:
    """Everything that was said, by sequence and name."""
    return {
        (sequence, name): said.commitment
        for sequence, event in enumerate(events, 1)
        for name in QUOTED_PAYLOADS
        if isinstance(said := getattr(event, name, None), Payload)
    }


def account_of(talk: Dialogue, said: Said | None = None, attended: Attended = UNKNOWN, zone: str = "UTC") -> Account:
    tale = tale_of(talk.events)
    words = Said(said_in(talk.events)) if said is None else said
    return explain(tale, words, talk.now, ZoneInfo(zone), attended)


def written(account: Account) -> str:
    """The account as its golden file has it: what is said, and below it what machines get."""
    lines = [account.headline, ""]
    for entry in account.entries:
        left_out = f" and {entry.sequences_left_out} more" if entry.sequences_left_out else ""
        lines += [entry.sentence, f"    {entry.kind} {','.join(map(str, entry.sequences))}{left_out}"]
    lines += ["", *(f"wait: {name}={value}" for name, value in _said_of(account.wait))]
    for decision in account.decisions:
        lines.append(f"decision: {decision.kind} {decision.name} by {decision.by.id}, {decision.words.state.value}")
    for problem in account.problems:
        is_open = "open" if problem.is_open else "over"
        lines.append(f"problem: {problem.kind} {problem.name} {is_open}, late {problem.late_ms} ms")
    return "\n".join(lines) + "\n"


def _said_of(wait: Wait | None) -> list[tuple[str, object]]:
    blank = Wait("")
    facts = [(field.name, getattr(wait, field.name)) for field in fields(Wait)] if wait is not None else []
    return [(name, value) for name, value in facts if value != getattr(blank, name)]


def told(talk: Dialogue, said: Said | None = None, attended: Attended = UNKNOWN, zone: str = "UTC") -> str:
    return written(account_of(talk, said, attended, zone))


# -- the stories -------------------------------------------------------------------------------------------------------


def loan() -> Dialogue:
    """Started, and validated a second later."""
    talk = begun(
        step("validate_form", "FSA"),
        step("eligibility_check", "IRS", sla="2m"),
        checkpoint("human_review", sla="2h"),
        step("update_balance", "Treasury"),
    )
    talk.wait("1s").do("validate_form")
    return talk


def erred(talk: Dialogue, name: str, error: str, *, permanently: bool = False) -> None:
    item = talk.step(name)
    by = service(item.definition.svc)
    talk.hear(i.StepErred(by, item.instance, item.attempt, "HTTP_502", permanently, payload(error)))


def decide(talk: Dialogue, name: str, comment: str | None = None, *, is_approval: bool = True) -> None:
    said = payload(comment) if comment is not None else None
    talk.hear(i.Decide(JDAVIS, name, is_approval, talk.checkpoint(name).digest, said))


def reviewed() -> Dialogue:
    """At the checkpoint, without trouble."""
    talk = loan()
    talk.wait("1s").do("eligibility_check")
    return talk


@story
def happy_path() -> str:
    talk = reviewed()
    talk.wait("10m")
    decide(talk, "human_review", "Income and payments check out")
    talk.wait("1s").do("update_balance")
    return told(talk)


@story
def just_started_and_no_worker_there() -> str:
    return told(begun(step("scan", "Scanner", sla="1h")), attended=Attended(workers=0))


@story
def two_workers_are_there_and_busy() -> str:
    return told(begun(step("scan", "Scanner")), attended=Attended(workers=2))


@story
def a_step_at_work() -> str:
    talk = loan()
    talk.wait("1s").take("eligibility_check")
    talk.wait("10s")
    return told(talk, attended=Attended(heard_at=talk.now - 1_000_000))


@story
def retries_until_it_is_done() -> str:
    talk = loan()
    for error in ("503 try later", "502 Bad Gateway from the income service"):
        talk.take("eligibility_check")
        erred(talk, "eligibility_check", error)
        talk.now = talk.step("eligibility_check").retry_at or talk.now
        talk.wake()
    talk.do("eligibility_check")
    return told(talk)


@story
def between_two_attempts() -> str:
    talk = loan()
    talk.take("eligibility_check")
    erred(talk, "eligibility_check", "502 Bad Gateway")
    return told(talk)


@story
def stalled() -> str:
    talk = begun(step("scan", "Scanner", retries=1))
    talk.stall("scan")
    talk.wait("3h")
    return told(talk)


@story
def stalled_and_retried_by_an_operator() -> str:
    talk = begun(step("scan", "Scanner", retries=1))
    talk.stall("scan")
    talk.wait("3h").hear(i.RetryStep(OPERATOR, "scan", payload("The scanner has been repaired")))
    talk.wait("1m").do("scan")
    return told(talk)


@story
def stalled_and_skipped() -> str:
    talk = begun(step("scan", "Scanner", retries=1), step("file", "Archive"))
    talk.stall("scan")
    talk.wait("1h").hear(i.SkipStep(OPERATOR, "scan", payload("The paper came by mail")))
    talk.do("file")
    return told(talk)


@story
def rejected_with_a_comment() -> str:
    talk = reviewed()
    talk.wait("26h").wake()
    decide(talk, "human_review", "Payments of 2024 are missing", is_approval=False)
    return told(talk)


@story
def cancelled_with_a_late_report() -> str:
    talk = loan()
    talk.take("eligibility_check")
    talk.wait("5s").hear(i.Cancel(OPERATOR, payload("The applicant withdrew")))
    talk.wait("2s").finish("eligibility_check")
    return told(talk)


@story
def a_late_report_of_a_failure() -> str:
    talk = loan()
    talk.take("eligibility_check")
    talk.cancel()
    talk.wait("2s")
    erred(talk, "eligibility_check", "no connection")
    return told(talk)


@story
def paused() -> str:
    talk = loan()
    talk.take("eligibility_check")
    talk.wait("5s").hear(i.Pause(OPERATOR, True, payload("The law changes tomorrow")))
    talk.wait("1m").finish("eligibility_check")
    return told(talk)


@story
def paused_and_resumed() -> str:
    talk = loan()
    talk.hear(i.Pause(OPERATOR, False, payload("The law changes tomorrow")))
    talk.wait("1d").hear(i.Resume(OPERATOR, payload("It has changed")))
    return told(talk)


@story
def a_breach_noticed_late_after_a_restart() -> str:
    talk = loan()
    talk.take("eligibility_check")
    talk.wait("12m500ms").wake()
    return told(talk)


@story
def the_operation_as_a_whole_is_overdue() -> str:
    talk = begun(step("scan", "Scanner"), sla="1h")
    talk.wait("48m").wake()
    talk.wait("20m").wake()
    return told(talk)


@story
def nobody_takes_a_step() -> str:
    talk = begun(step("scan", "Scanner"))
    talk.wait("15m400ms").wake()
    return told(talk, attended=Attended(workers=0))


@story
def nobody_may_decide() -> str:
    talk = begun(checkpoint("hearing", "fsa.judge"))
    talk.wait("15m").find_nobody("hearing")
    return told(talk)


@story
def worker_lost_twice() -> str:
    talk = loan()
    for _ in range(2):
        talk.take("eligibility_check")
        talk.wait("5s").lose("eligibility_check")
    talk.do("eligibility_check")
    return told(talk)


@story
def put_off_until_tonight() -> str:
    talk = loan()
    talk.take("eligibility_check")
    talk.wait("2s").defer("eligibility_check", within="12h")
    return told(talk.wait("1h"))


@story
def put_off_and_done_at_night() -> str:
    talk = loan()
    talk.take("eligibility_check")
    talk.wait("2s").defer("eligibility_check")
    talk.wait("9h").complete("eligibility_check")
    return told(talk)


@story
def put_off_and_done_by_somebody_else() -> str:
    talk = loan()
    talk.take("eligibility_check")
    talk.wait("2s").defer("eligibility_check")
    talk.wait("1m").give_up("eligibility_check", by=OPERATOR)
    talk.now = talk.step("eligibility_check").retry_at or talk.now
    talk.wake()
    talk.take("eligibility_check")
    talk.defer("eligibility_check")
    talk.wait("1m").complete("eligibility_check", by=OPERATOR)
    return told(talk)


@story
def put_off_and_failed_for_good_by_somebody_else() -> str:
    talk = loan()
    talk.take("eligibility_check")
    talk.wait("2s").defer("eligibility_check")
    talk.wait("1m").give_up("eligibility_check", permanently=True, by=OPERATOR)
    return told(talk)


@story
def put_off_and_said_too_late_while_it_is_tried_again() -> str:
    talk = begun(step("scan", "Scanner", timeout="1m"))
    talk.take("scan")
    talk.defer("scan")
    talk.wait("1m").wake()
    with rejected("ATTEMPT_OVER"):
        talk.wait("1s").complete("scan", by=OPERATOR)
    return told(talk)


@story
def timeouts_and_errors_together() -> str:
    talk = begun(step("scan", "Scanner", timeout="1m", retries=3))
    talk.take("scan")
    talk.wait("1m").wake()
    talk.now = talk.step("scan").retry_at or talk.now
    talk.wake()
    talk.take("scan")
    talk.lose("scan")
    talk.take("scan")
    erred(talk, "scan", "out of paper")
    return told(talk)


@story
def claimed_given_back_and_assigned() -> str:
    talk = reviewed()
    talk.wait("1m").hear(i.Claim(MGARCIA, "human_review", payload("I know the case")))
    talk.wait("1m").release(MGARCIA, "human_review")
    talk.wait("1m").assign(OPERATOR, "human_review", JDAVIS)
    return told(talk)


@story
def claimed_by_somebody() -> str:
    talk = reviewed()
    talk.wait("1m").claim(MGARCIA, "human_review")
    return told(talk)


@story
def refused_decisions() -> str:
    talk = reviewed()
    for _ in range(3):
        talk.wait("2m").note_refusal(CITIZEN, "human_review", "STARTED_BY_CALLER")
    talk.note_refusal(CASEBOT, "human_review", "NOT_A_PERSON")
    talk.note_refusal(OPERATOR, "human_review", "SOME_NEW_CODE")
    return told(talk)


@story
def decided_unseen() -> str:
    talk = reviewed()
    talk.approve(JDAVIS, "human_review")
    return told(talk)


@story
def failed_for_good() -> str:
    talk = loan()
    talk.take("eligibility_check")
    erred(talk, "eligibility_check", "no such taxpayer", permanently=True)
    return told(talk)


@story
def key_labels_and_for_whom() -> str:
    talk = Dialogue(flow_of(step("scan", "Scanner")))
    said = (payload("office=east, kind=appeal"), payload("CASE-17"), payload("Jane Roe"), payload("By letter"))
    talk.hear(i.Start(service("Portal"), talk.flow, payload("input"), *said))
    return told(talk)


@story
def started_by_an_agent() -> str:
    talk = Dialogue(flow_of(checkpoint("review")))
    talk.start(CASEBOT)
    return told(talk)


@story
def started_for_somebody_who_had_signed_in() -> str:
    talk = Dialogue(flow_of(checkpoint("review")))
    talk.hear(i.Start(DESK, talk.flow, payload("input"), requested_by=payload("Jane Roe")))
    talk.wait("2m").note_refusal(JDAVIS, "review", "STARTED_FOR_CALLER")
    return told(talk)


@story
def what_was_said_is_erased() -> str:
    talk = Dialogue(flow_of(step("scan", "Scanner"), checkpoint("review")))
    talk.hear(i.Start(CITIZEN, talk.flow, payload("input"), key=payload("CASE-17"), reason=payload("By letter")))
    talk.take("scan")
    erred(talk, "scan", "out of paper")
    talk.now = talk.step("scan").retry_at or talk.now
    talk.wake()
    talk.do("scan")
    decide(talk, "review", "Looks good", is_approval=False)
    return told(talk, Said({}))


@story
def what_was_said_is_not_for_the_reader() -> str:
    talk = loan()
    talk.hear(i.Cancel(OPERATOR, payload("The applicant withdrew")))
    return told(talk, Said({}, may_read=False))


@story
def in_another_time_zone_over_midnight() -> str:
    talk = begun(step("scan", "Scanner"), by=DEVELOPER)
    talk.wait("20h").do("scan")
    return told(talk, zone="America/New_York")


@story
def hundreds_of_steps() -> str:
    talk = Dialogue(flow_of(*(step(f"step_{number}", retries=1) for number in range(200))))
    talk.start()
    for number in range(195):
        talk.wait("1s").take(f"step_{number}")
        if number % 20 == 0:
            talk.hear(i.WorkerLost(DAEMON, number + 1, 1))
            talk.take(f"step_{number}")
        talk.finish(f"step_{number}")
    return told(talk)


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name, tell in STORIES.items():
        path = GOLDEN / f"{name}.txt"
        text = tell()
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"written anew: {path.name}\n")


if __name__ == "__main__":
    main()
