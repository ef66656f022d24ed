"""The options by which `hmsact list` chooses operations, and what they say to the client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

import click

from hmsact.duration import milliseconds
from hmsact.errors import InvalidArgument
from hmsact.recorded import STATES
from hmsact.wanted import Wanted

Command = TypeVar("Command", bound=Callable[..., Any])

ALARMS = ("breached", "at_risk", "stalled", "unattended")
KINDS = ("worker", "report", "completion", "decision", "operator", "clock")

_MANY: dict[str, Any] = {"multiple": True}
_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--state", "state"), {"metavar": "S", "help": "In one of these states.", **_MANY}),
    (("--name", "name"), {"metavar": "N", "help": "Of one of these definitions.", **_MANY}),
    (("--key",), {"metavar": "K", "help": "With this business key."}),
    (("--key-prefix",), {"metavar": "K", "help": "With a business key that begins with this."}),
    (("--label", "labels"), {"metavar": "K=V", "help": "With this label.", **_MANY}),
    (("--has-label", "labels_there"), {"metavar": "K", "help": "With this label, whatever it says.", **_MANY}),
    (("--text",), {"metavar": "WORDS", "help": "With words in name, key, labels or requester that begin with these."}),
    (("--awaiting",), {"metavar": "WHO", "help": "That await one of these services or roles.", **_MANY}),
    (("--awaited-kind",), {"metavar": "K", "help": f"That await one of these: {', '.join(KINDS)}.", **_MANY}),
    (("--role",), {"metavar": "R", "help": "That await a decision of one of these roles.", **_MANY}),
    (("--service",), {"metavar": "S", "help": "At a step of one of these services, also if stalled.", **_MANY}),
    (("--at",), {"metavar": "STEP", "help": "At one of these steps or checkpoints.", **_MANY}),
    (("--person",), {"metavar": "WHO", "help": "Whose decision this person has claimed or been assigned."}),
    (("--alarm",), {"metavar": "A", "help": f"With one of these alarms: {', '.join(ALARMS)}.", **_MANY}),
    (("--started-by",), {"metavar": "WHO", "help": "Started by this principal, ISSUER:SUBJECT."}),
    (("--requested-by",), {"metavar": "WHO", "help": "Started for them."}),
    (("--since",), {"metavar": "TIME", "help": "Started since: a time, or how long ago (2h, 30m)."}),
    (("--until",), {"metavar": "TIME", "help": "Started before."}),
    (("--updated-since",), {"metavar": "TIME", "help": "Changed since."}),
    (("--ended-since",), {"metavar": "TIME", "help": "Ended since."}),
    (("--due-until",), {"metavar": "TIME", "help": "Due before (an SLA, a retry, a timeout)."}),
)
TIMES = ("since", "until", "updated_since", "ended_since", "due_until")


def wanted_options(command: Command) -> Command:
    """Adds the options, in the order of the help."""
    for names, told in reversed(_OPTIONS):
        command = click.option(*names, **told)(command)
    return command


def wanted_of(said: dict[str, Any]) -> Wanted:
    """What was said; raises UsageError with everything that is wrong with it."""
    faults: list[str] = []
    faults += _unknown("--state", said["state"], STATES)
    faults += _unknown("--alarm", said["alarm"], ALARMS)
    faults += _unknown("--awaited-kind", said["awaited_kind"], KINDS)
    labels: dict[str, str | None] = dict.fromkeys(said.pop("labels_there"))
    for label in said.pop("labels"):
        name, equals, value = label.partition("=")
        if not equals or not name:
            faults.append(f"--label {label}: a label is written NAME=VALUE")
        labels[name] = value
    for name in TIMES:
        if said[name] is not None:
            said[name] = _time(name, said[name], faults)
    # A variable of a script that is not set, most likely: left out, it would mean more operations, not fewer.
    faults += [f"--{name.replace('_', '-')} is empty" for name, value in said.items() if _is_empty(value)]
    faults += ["--has-label is empty"] if "" in labels else []
    if faults:
        raise click.UsageError("; ".join(faults))
    chosen = {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}
    return cast("Wanted", {name: value for name, value in {**chosen, "labels": labels}.items() if value})


def _is_empty(value: object) -> bool:
    return value == "" or (isinstance(value, tuple) and "" in value)


def _unknown(option: str, said: Iterable[str], known: Iterable[str]) -> list[str]:
    return [f"{option} {word} is none of {', '.join(known)}" for word in said if word not in known]


def _time(name: str, text: str, faults: list[str]) -> datetime | None:
    """A time on this machine's clock unless it says its zone; or how long ago."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        pass
    try:
        return datetime.now(UTC) - timedelta(milliseconds=milliseconds(text))
    except (InvalidArgument, OverflowError):
        option = name.replace("_", "-")
        faults.append(f"--{option} {text} is neither a time (2026-11-23T09:30) nor how long ago (2h, 30m)")
        return None
