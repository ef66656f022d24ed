"""How events read: while they happen ("00:01 ELIGIBILITY_CHECK → failed, retry 1/3") and in a replay.

Every kind has a line; one that this version does not know is named plainly. What others said in their own words is
made harmless first: it may not move the cursor, break the line or turn the direction of text.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hmsact.duration import text_of
from hmsact.principal import subject_of

if TYPE_CHECKING:
    from hmsact.event import Event
    from hmsact.timeline import Line

_NOTICED_LATE_MS = 10_000
_JOINER = "\u200d"  # Holds some emoji together; harmless, though not printable.


def event_text(event: Event) -> str:
    """The event as it happens: elapsed time, name in upper case, what has happened."""
    return visible(f"{elapsed_text(event.elapsed)} {_name(event).upper()} → {happening(event)}")


def elapsed_text(elapsed: timedelta) -> str:
    """mm:ss, and h:mm:ss from an hour on."""
    minutes, seconds = divmod(int(elapsed.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


def happening(event: Event) -> str:
    """What has happened, in a few words."""
    say = _HAPPENINGS.get(event.kind)
    return say(event) if say else event.kind


def line_text(line: Line, *, utc: bool, zone: bool) -> str:
    """A line of a replay: local time (or UTC), name, mark, what has happened."""
    event = line.event
    mark = _MARKS.get(event.kind, "·")
    told = _told(line)
    return visible(f"[{_clock_text(line, utc, zone)}] {_name(event)} {mark}{told and ' ' + told}")


def visible(text: str) -> str:
    """The text in one line, with everything escaped that a terminal would obey rather than show."""
    return "".join(
        letter if letter.isprintable() or letter == _JOINER else letter.encode("unicode_escape").decode()
        for letter in text
    )


def role_noun(role: str) -> str:
    """How people call whoever holds a role: "officer" for "fsa.officer"."""
    return role.rpartition(".")[2].replace("_", " ")


def _name(event: Event) -> str:
    """What an event is told of: the operation, also where a step or checkpoint has brought it about."""
    return event.operation_name if event.kind.startswith("operation_") or not event.name else event.name


# -- while it happens --------------------------------------------------------------------------------------------------


def _failed(event: Event) -> str:
    retry, retries = event.data.get("retry", 0), event.data.get("retries", 0)
    return f"failed, retry {retry}/{retries}" if retry else "failed" + _code(event)


def _started(event: Event) -> str:
    return f"started, attempt {event.attempt}" if event.attempt > 1 else "started"


def _deferred(event: Event) -> str:
    due = str(event.data.get("due_time", ""))
    return f"deferred, to be completed by {due[:16].replace('T', ' ')} UTC" if due else "deferred"


def _decided(event: Event) -> str:
    verb = "approved" if event.kind == "checkpoint_approved" else "rejected"
    return f"{verb} by {event.principal}{', unseen' if event.data.get('unseen') else ''}"


def _sla(event: Event) -> str:
    late_ms = event.data.get("late_ms", 0)
    late = f", noticed {text_of(late_ms // 1000 * 1000)} late" if late_ms >= _NOTICED_LATE_MS else ""
    return f"{event.kind} ({text_of(event.data.get('sla_ms', 0))}){late}"


def _unattended(event: Event) -> str:
    if event.role:
        return f"unattended (nobody can decide as {role_noun(event.role)})"
    return f"unattended (no worker{f' of {event.svc}' if event.svc else ''})"


def _code(event: Event) -> str:
    code = event.data.get("code", "")
    return f" ({code})" if code else ""


def _person(event: Event) -> str:
    return subject_of(event.data.get("person", "")) or event.principal.subject


def _for(event: Event) -> str:
    person = event.principal.on_behalf_of
    return f" for {subject_of(person)}" if person else ""


_HAPPENINGS: dict[str, Callable[[Event], str]] = {
    "operation_started": lambda event: f"started by {event.principal}{_for(event)}",
    "operation_paused": lambda event: f"paused by {event.principal}",
    "operation_resumed": lambda event: f"resumed by {event.principal}",
    "operation_cancelled": lambda event: f"cancelled by {event.principal}",
    "operation_completed": lambda _: "completed",
    "operation_rejected": lambda _: "rejected",
    "operation_failed": lambda event: "failed" + (f" at {event.name}" if event.name else "") + _code(event),
    "step_queued": lambda _: "queued",
    "step_started": _started,
    "step_deferred": _deferred,
    "step_done": lambda _: "done",
    "step_failed": _failed,
    "step_lost": lambda _: "lost its worker, queued again",
    "step_stalled": lambda event: f"stalled (needs an operator{_code(event).replace(' (', '; ').rstrip(')')})",
    "step_retried": lambda event: f"given fresh retries by {event.principal}",
    "step_skipped": lambda event: f"skipped by {event.principal}",
    "step_report_ignored": lambda event: f"late report ignored{_code(event)}",
    "steps_pushed": lambda event: f"steps pushed by {event.principal}",
    "checkpoint_pending": lambda event: f"pending (waiting on {role_noun(event.role)})",
    "checkpoint_claimed": lambda event: f"claimed by {_person(event)}",
    "checkpoint_released": lambda event: f"released by {event.principal}",
    "checkpoint_assigned": lambda event: f"assigned to {_person(event)}",
    "checkpoint_approved": _decided,
    "checkpoint_rejected": _decided,
    "decision_refused": lambda event: f"decision of {_person(event)} refused{_code(event)}",
    "sla_at_risk": _sla,
    "sla_breach": _sla,
    "unattended": _unattended,
}


# -- in a replay -------------------------------------------------------------------------------------------------------

_MARKS = {
    "operation_started": "🚀",
    "operation_paused": "⏸",
    "operation_resumed": "▶",
    "operation_cancelled": "🚫",
    "operation_completed": "🏁",
    "operation_rejected": "⛔",
    "operation_failed": "💥",
    "step_deferred": "📨",
    "step_done": "✅",
    "step_failed": "❌",
    "step_stalled": "🛑",
    "step_retried": "🔁",
    "step_skipped": "⏭",
    "checkpoint_pending": "✋",
    "checkpoint_approved": "✅",
    "checkpoint_rejected": "⛔",
    "decision_refused": "⛔",
    "sla_at_risk": "⏳",
    "sla_breach": "⏰",
    "unattended": "👀",
}


def _told(line: Line) -> str:
    event = line.event
    match event.kind:
        case "step_done":
            return ""
        case "step_failed":
            retry = event.data.get("retry", 0)
            return f"(retry {retry})" if retry else happening(event)
        case "checkpoint_pending":
            return f"waiting  ({_decider(line)})"
        case "checkpoint_approved" | "checkpoint_rejected":
            verb = "approved" if event.kind == "checkpoint_approved" else "rejected"
            unseen = ", unseen" if event.data.get("unseen") else ""
            return f"{verb}{unseen}  ({_title(event)}: {event.principal}){_quoted(event, 'comment')}"
        case _:
            return happening(event) + _quoted(event, "reason")


def _decider(line: Line) -> str:
    return f"{_title(line.event)}: {line.holder}" if line.holder else f"Role: {line.event.role}"


def _title(event: Event) -> str:
    noun = role_noun(event.role)
    return noun[:1].upper() + noun[1:] or "By"


def _quoted(event: Event, payload: str) -> str:
    said = event.payloads.get(payload)
    return f" “{said}”" if isinstance(said, str) and said else ""


def _clock_text(line: Line, utc: bool, zone: bool) -> str:
    def local(time: datetime) -> datetime:
        return time.astimezone(UTC if utc else None)

    time = local(line.event.time)
    first, last = (local(end).date() for end in line.span)
    text = time.strftime("%H:%M:%S" if first == last else "%Y-%m-%d %H:%M:%S")
    return f"{text} {time.tzname()}" if utc or zone else text
