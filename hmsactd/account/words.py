"""How an account calls things: people, services, roles, steps, numbers and spans of time. Nothing of it is jargon."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from hmsactd.account.spoken import quote
from hmsactd.core.principal import Principal, PrincipalKind, subject_of

SERVICE_SUBJECT = "svc/"

_UNITS_MS = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1000))


def name_of(name: str) -> str:
    """A step, a checkpoint or a definition: “eligibility check”."""
    return quote(name.replace("_", " "))


def actor(who: Principal) -> str:
    """Whoever acts: the person's name; a service or an agent, with who is responsible for it and whom it acts for."""
    facts = []
    if who.kind is PrincipalKind.AGENT:
        facts.append(f"an agent; {person(who.responsible)} is responsible for it" if who.responsible else "an agent")
    if who.on_behalf_of is not None:
        facts.append(f"for {person(who.on_behalf_of)}, who had signed in")
    name = who.subject.removeprefix(SERVICE_SUBJECT) if who.kind is PrincipalKind.SERVICE else who.subject
    return f"{name} ({'; '.join(facts)})" if facts else name


def person(who: str) -> str:
    """A person by "issuer:subject", as people call them."""
    return subject_of(who)


def a_role(role: str) -> str:
    """Somebody who holds a role: "an officer (fsa.officer)"."""
    noun = role.rpartition(".")[2].replace("_", " ")
    return f"{'an' if noun[:1] in tuple('aeiou') else 'a'} {noun} ({role})"


def times(count: int) -> str:
    """How often: once, twice, 3 times."""
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def ordinal(number: int) -> str:
    """Which one: 1st, 2nd, 3rd, 11th, 21st."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def counted(count: int, one: str, many: str = "") -> str:
    """How many: 1 step, 2 steps."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def joined(parts: Sequence[str]) -> str:
    """One after the other: "a, b and c"."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else ""


def span(span_ms: int) -> str:
    """A length of time, in its two largest units: "1 hour 30 minutes"; to the tenth below ten seconds."""
    if 0 < span_ms < 100:
        return "less than 0.1 seconds"
    if span_ms < 10_000 and span_ms // 100 % 10:
        return f"{span_ms // 1000}.{span_ms // 100 % 10} seconds"
    parts: list[str] = []
    for unit, unit_ms in _UNITS_MS:
        count, span_ms = divmod(span_ms, unit_ms)
        # What is smaller than the second largest unit, is small.
        if count and len(parts) < 2:
            parts.append(counted(count, unit))
        elif parts:
            break
    return " ".join(parts) or "0 seconds"


class Times:
    """Tells times in a zone. The date is left out only where everything that is told is of one day."""

    def __init__(self, zone: tzinfo, first: int, last: int) -> None:
        self._zone = zone
        days = {self._local(at).date() for at in (first, last)}
        self._day = days.pop() if len(days) == 1 else None

    def at(self, at: int) -> str:
        """The time: "10:02:15 UTC"; with its date unless that goes without saying."""
        return self._clock(at) if self._local(at).date() == self._day else self.on(at)

    def on(self, at: int) -> str:
        """The time with its date: "10:02:15 UTC on 3 March 2026"."""
        local = self._local(at)
        return f"{self._clock(at)} on {local.day} {local:%B %Y}"

    def _clock(self, at: int) -> str:
        local = self._local(at)
        zone = local.tzname() or "UTC"
        # Zones without letters of their own are called by their distance from UTC.
        return f"{local:%H:%M:%S} {'UTC' + zone if zone[0] in '+-' else zone}"

    def _local(self, at: int) -> datetime:
        return (datetime.fromtimestamp(at // 1_000_000, UTC) + timedelta(microseconds=at % 1_000_000)).astimezone(
            self._zone
        )
