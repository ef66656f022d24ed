"""The sentences of an account: what is said of a passage of a tale. One case for each kind that can end one."""

from __future__ import annotations

from typing import assert_never

from hmsactd.account.mishaps import mishaps
from hmsactd.account.passage import Folded, Passage
from hmsactd.account.spoken import Said, SpokenState, quote
from hmsactd.account.words import Times, a_role, actor, counted, joined, name_of, ordinal, person, span, times
from hmsactd.core import events as e
from hmsactd.core.operation import CheckpointItem, Operation, StepItem
from hmsactd.core.payload import Payload
from hmsactd.core.transitions import StepState

REFUSALS = {
    "NOT_A_PERSON": "only people decide",
    "ROLE_MISSING": "that takes a role that they lack",
    "STARTED_BY_CALLER": "whoever started an operation does not decide it",
    "STARTED_FOR_CALLER": "whoever an operation was started for does not decide it",
    "CLAIMED_BY_ANOTHER": "somebody else had taken it on",
}
"""Why decisions are refused, in words."""

FOLDED = {
    "step_queued": ("step was queued again", "steps were queued again"),
    "step_started": ("step was given to a worker", "steps were given to workers"),
    "step_deferred": ("step was put off", "steps were put off"),
    "step_done": ("step was done", "steps were done"),
    "step_failed": ("step failed", "steps failed"),
    "step_lost": ("step lost its worker", "steps lost their workers"),
    "step_stalled": ("step stalled", "steps stalled"),
    "step_retried": ("stalled step was retried", "stalled steps were retried"),
    "step_skipped": ("step was skipped", "steps were skipped"),
    "step_report_ignored": ("late report was ignored", "late reports were ignored"),
    "checkpoint_pending": ("decision was asked for", "decisions were asked for"),
    "checkpoint_claimed": ("decision was taken on", "decisions were taken on"),
    "checkpoint_released": ("decision was given back", "decisions were given back"),
    "checkpoint_assigned": ("decision was assigned", "decisions were assigned"),
    "checkpoint_approved": ("checkpoint was approved", "checkpoints were approved"),
    "checkpoint_rejected": ("checkpoint was rejected", "checkpoints were rejected"),
    "decision_refused": ("person was refused a decision", "people were refused decisions"),
    "sla_at_risk": ("clock came close to its end", "clocks came close to their end"),
    "sla_breach": ("clock ran out", "clocks ran out"),
    "unattended": ("wait was noticed", "waits were noticed"),
    "operation_started": ("start", "starts"),
    "operation_paused": ("pause began", "pauses began"),
    "operation_resumed": ("pause ended", "pauses ended"),
    "operation_cancelled": ("cancellation", "cancellations"),
    "operation_completed": ("completion", "completions"),
    "operation_rejected": ("rejection", "rejections"),
    "operation_failed": ("failure", "failures"),
}
"""What is said of passages that are folded, by the kind of their last event: of one, of many."""


def folded_sentence(folded: Folded, when: Times) -> str:
    """What a long history leaves out."""
    parts = [counted(count, *FOLDED[kind]) for kind, count in folded.kinds.most_common()]
    return f"Not told one by one: between {when.at(folded.first_at)} and {when.at(folded.last_at)}, {joined(parts)}."


class Sentences:
    """Finds the words for the passages of one operation."""

    def __init__(self, operation: Operation, said: Said, when: Times) -> None:
        self._operation = operation
        self._said = said
        self._when = when

    def of(self, passage: Passage) -> str:
        """What is said of a passage, beginning with when its last event was."""
        return f"At {self._when.at(passage.last.at)}, {self._told(passage)}"

    def _told(self, passage: Passage) -> str:
        event, sequence = passage.last, passage.sequence
        match event:
            case e.OperationStarted():
                return self._started(event, sequence)
            case (
                e.StepQueued()
                | e.StepStarted()
                | e.StepDeferred()
                | e.StepDone()
                | e.StepFailed()
                | e.StepLost()
                | e.StepStalled()
            ):
                return self._step(event.instance, passage)
            case e.StepRetried():
                reason = self._reason(sequence, event)
                return f"{actor(event.by)} had {self._name(event.instance)} tried anew{reason}."
            case e.StepSkipped():
                return f"{actor(event.by)} had {self._name(event.instance)} left out{self._reason(sequence, event)}."
            case e.StepReportIgnored():
                return self._late(event, sequence)
            case e.CheckpointPending():
                asked = f"{a_role(event.role)} was asked to decide {self._name(event.instance)}"
                return f"{asked}; it was assigned to {person(event.assigned_to)}." if event.assigned_to else f"{asked}."
            case e.CheckpointClaimed():
                return f"{actor(event.by)} took {self._name(event.instance)} on{self._reason(sequence, event)}."
            case e.CheckpointReleased():
                return f"{actor(event.by)} gave {self._name(event.instance)} back{self._reason(sequence, event)}."
            case e.CheckpointAssigned():
                to = f"to {person(event.person)}{self._reason(sequence, event)}"
                return f"{actor(event.by)} assigned {self._name(event.instance)} {to}."
            case e.CheckpointApproved() | e.CheckpointRejected():
                return self._decided(event, passage)
            case e.DecisionRefused():
                often = "" if passage.count == 1 else f" {times(passage.count)}"
                why = REFUSALS.get(event.code, f"its reason has the code {event.code}")
                tried = f"{actor(event.by)} had tried{often} to decide {self._name(event.instance)}"
                return f"{tried} and was refused: {why}."
            case e.SlaAtRisk() | e.SlaBreach():
                return self._clock(event)
            case e.Unattended():
                return self._unattended(event, passage.count)
            case e.OperationPaused():
                clock = ", and its clock with it" if event.clock == "stop" else ""
                return f"{actor(event.by)} paused the operation{clock}{self._reason(sequence, event)}."
            case e.OperationResumed():
                return f"{actor(event.by)} let the operation go on{self._reason(sequence, event)}."
            case e.OperationCancelled():
                return f"{actor(event.by)} cancelled the operation{self._reason(sequence, event)}."
            case e.OperationCompleted():
                return "the operation was completed."
            case e.OperationRejected():
                return "that ended the operation: it was rejected."
            case e.OperationFailed():
                return f"that ended the operation: it has failed, because {self._name(event.instance)} did."
            case _:
                assert_never(event)

    # -- the operation -------------------------------------------------------------------------------------------------

    def _started(self, event: e.OperationStarted, sequence: int) -> str:
        def given(name: str, payload: Payload | None, shown: str, hidden: str) -> str:
            spoken = self._said.of(sequence, name, payload)
            is_shown = spoken.state is SpokenState.SHOWN
            return "" if payload is None else f"{shown} {quote(spoken.text)}" if is_shown else f"{hidden} {spoken.fate}"

        parts = (
            f"{actor(event.by)} started the operation {name_of(event.flow.name)}",
            # Asserted by whoever started it, and by nobody else.
            given("requested_by", event.requested_by, "as they said for", "for somebody whose name"),
            given("key", event.key, "with the key", "with a key that"),
            given("labels", event.labels, "labelled", "with a set of labels that"),
        )
        return f"{', '.join(filter(None, parts))}{self._reason(sequence, event)}."

    def _reason(self, sequence: int, event: e.Event) -> str:
        return self._said.of(sequence, "reason", getattr(event, "reason", None)).quoted("reason")

    def _name(self, instance: int) -> str:
        return name_of(self._operation.name_of(instance)) if instance else "the operation"

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _step(self, instance: int, passage: Passage) -> str:
        """A step from its first attempt on, in one go."""
        item = self._operation.item(instance)
        assert isinstance(item, StepItem), "attempts are made at steps"
        svc, name, event = item.definition.svc, self._name(instance), passage.last
        gone_wrong = mishaps(svc, passage, self._said)
        match event:
            case e.StepDone():
                took_ms = (event.at - passage.first.at) // 1000
                took = f", {span(took_ms)} after it was first asked" if took_ms >= 1000 else ""
                if event.via and actor(event.by) != svc:
                    # With its token: whoever did it need not be the service that was asked.
                    told = f"{actor(event.by)} finished {name} for {svc}{took}."
                    return told + (f" {svc} {gone_wrong}." if gone_wrong else "")
                return f"{svc} finished {name}{took}." + (f" It {gone_wrong}." if gone_wrong else "")
            case e.StepStarted():
                is_at_work = item.state is StepState.RUNNING and not self._operation.is_final
                at_work = " and is at work on it" if is_at_work else ""
                again = " again" if passage.starts > 1 else ""
                return f"{svc} was asked{again} for {name}{at_work}." + (f" It {gone_wrong}." if gone_wrong else "")
            case e.StepDeferred():
                until = f", by {self._when.at(event.due_at)} at the latest" if event.due_at is not None else ""
                told = f"{svc} took {name} on and will say later what came of it{until}."
                return told + (f" Before, it {gone_wrong}." if gone_wrong else "")
            case e.StepFailed():
                next_at = f" Its next attempt was set for {self._when.at(event.retry_at)}." if event.retry_at else ""
                return f"{name} went wrong at {svc}. It {gone_wrong}.{next_at or ' No other attempt follows.'}"
            case e.StepStalled():
                return f"{name} stalled: {svc} {gone_wrong}. No retry is left; an operator has to see to it."
            case e.StepLost():
                return f"{name} lost its worker at {svc} and waits for another. It {gone_wrong}."
            case e.StepQueued():
                return f"{name} was due to be tried again by {svc}. It {gone_wrong}."
            case _:
                raise AssertionError(f"{event.kind} is not about an attempt")

    def _late(self, event: e.StepReportIgnored, sequence: int) -> str:
        outcome = "done" if event.code == "DONE" else "failed"
        error = self._said.of(sequence, "error", event.error).quoted("error")
        told = f"{actor(event.by)} reported {self._name(event.instance)} as {outcome}{error}"
        # A token may come when its attempt is over and the operation is not.
        ended = "attempt" if event.via else "operation"
        return f"{told}. The {ended} had ended by then: that was written down and changed nothing."

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def _decided(self, event: e.CheckpointApproved | e.CheckpointRejected, passage: Passage) -> str:
        item = self._operation.item(event.instance)
        role = f", as {a_role(item.definition.role)}," if isinstance(item, CheckpointItem) else ""
        verb = "approved" if isinstance(event, e.CheckpointApproved) else "rejected"
        comment = self._said.of(passage.sequence, "comment", event.comment).quoted("comment")
        waited_ms = (event.at - passage.first.at) // 1000
        waited = f", {span(waited_ms)} after it was asked for" if waited_ms >= 1000 else ""
        unseen = " The decision does not name what was looked at." if event.seen is None else ""
        return f"{actor(event.by)}{role} {verb} {self._name(event.instance)}{waited}{comment}.{unseen}"

    # -- clocks --------------------------------------------------------------------------------------------------------

    def _clock(self, event: e.SlaAtRisk | e.SlaBreach) -> str:
        name, allowed = self._name(event.instance), span(event.sla_ms)
        if isinstance(event, e.SlaAtRisk):
            return f"{actor(event.by)} noticed that four fifths of the {allowed} for {name} were used up."
        overdue = f"{name} was overdue: it had {allowed}, until {self._when.at(event.due_at)}"
        return f"{actor(event.by)} noticed that {overdue}.{_late_by(event.late_ms)}"

    def _unattended(self, event: e.Unattended, count: int) -> str:
        item, name = self._operation.item(event.instance), self._name(event.instance)
        again = "" if count == 1 else f", for the {ordinal(count)} time"
        if isinstance(item, StepItem):
            told = f"{name} had waited {span(item.definition.unattended_ms)} for a worker of {item.definition.svc}"
        else:
            told = f"nobody was known who may decide {name}"
        return f"{actor(event.by)} noticed that {told}{again}.{_late_by(event.late_ms)}"


def _late_by(late_ms: int) -> str:
    return f" The notice came {span(late_ms)} late." if late_ms else ""
