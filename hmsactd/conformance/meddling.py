"""How the relay meddles with what is said: it loses, repeats, answers by itself, or adds what nobody knows.

A meddling is asked about every message and says what becomes of it. Each is about one operation, known by the name of
its definition, since its calls may come before whoever started it knows its id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hmsact.v1 import worker_pb2 as pb

UNKNOWN = b"\x82\xfa\x01\x05later\x88\xfa\x01\x2a"
"""Fields 4000 (a text) and 4001 (a number), which no message has: what a later version may say."""


@dataclass(frozen=True, slots=True)
class Course:
    """What becomes of a message: what the daemon and the worker are told, and whether the connection is then cut."""

    to_daemon: Sequence[pb.WorkRequest] = ()
    to_worker: Sequence[pb.WorkResponse] = ()
    is_cut: bool = False


class Meddling:
    """None: everything passes as it is."""

    def __init__(self, definition: str = "") -> None:
        self._definition = definition
        self._operation_id = ""
        self._has_acted = False

    def learn(self, response: pb.WorkResponse) -> None:
        """The id of its operation stands in the operation's calls."""
        for call in response.calls:
            if call.definition == self._definition:
                self._operation_id = call.attempt.operation_id

    def heard(self, request: pb.WorkRequest) -> Course:
        """What becomes of a message of the worker."""
        return Course(to_daemon=[request])

    def told(self, response: pb.WorkResponse) -> Course:
        """What becomes of a message of the daemon."""
        return Course(to_worker=[response])

    def _is_due(self, attempts: Iterable[pb.Attempt]) -> bool:
        """True the first time that one of the attempts is of its operation."""
        if self._has_acted or not any(attempt.operation_id == self._operation_id for attempt in attempts):
            return False
        self._has_acted = True
        return True


class LoseReport(Meddling):
    """The first report is lost, and the connection cut with it."""

    def heard(self, request: pb.WorkRequest) -> Course:
        """The message that holds it goes nowhere."""
        is_due = self._is_due(report.attempt for report in request.reports)
        return Course(is_cut=True) if is_due else super().heard(request)


class LoseVerdict(Meddling):
    """The first verdict is lost, and the connection cut with it."""

    def told(self, response: pb.WorkResponse) -> Course:
        """The message that holds it goes nowhere."""
        is_due = self._is_due(verdict.attempt for verdict in response.verdicts)
        return Course(is_cut=True) if is_due else super().told(response)


class AskAgain(Meddling):
    """The first report is answered AGAIN, and the daemon hears nothing of it."""

    def heard(self, request: pb.WorkRequest) -> Course:
        """Its report is taken out, the rest passes."""
        if not self._is_due(report.attempt for report in request.reports):
            return super().heard(request)
        rest = pb.WorkRequest()
        rest.CopyFrom(request)
        del rest.reports[:]
        verdicts = []
        for report in request.reports:
            if report.attempt.operation_id == self._operation_id:
                verdict = pb.Verdict(attempt=report.attempt, kind=pb.VERDICT_KIND_AGAIN)
                verdict.code, verdict.reason = "BUSY", "it could not be recorded now"
                verdicts.append(verdict)
            else:
                rest.reports.append(report)
        return Course([rest], [pb.WorkResponse(verdicts=verdicts)])


class GiveTwice(Meddling):
    """Every call is given twice, in two messages."""

    def told(self, response: pb.WorkResponse) -> Course:
        """The message, and after it its calls once more."""
        calls = [call for call in response.calls if call.attempt.operation_id == self._operation_id]
        return Course(to_worker=[response, pb.WorkResponse(calls=calls)] if calls else [response])


class SpeakStrangely(Meddling):
    """Every message has fields that nobody knows, and some have nothing else."""

    def told(self, response: pb.WorkResponse) -> Course:
        """The message with unknown fields in all its parts, after one that has only those."""
        strange = pb.WorkResponse()
        strange.CopyFrom(response)
        parts = [strange, *strange.calls, *strange.verdicts, *strange.withdrawn]
        parts += [call.attempt for call in strange.calls]
        if strange.HasField("welcome"):
            # The Welcome stays the first thing that a worker hears.
            strange.welcome.MergeFromString(UNKNOWN)
        for part in parts:
            part.MergeFromString(UNKNOWN)
        alone = pb.WorkResponse.FromString(UNKNOWN)
        return Course(to_worker=[strange, alone] if strange.HasField("welcome") else [alone, strange])
