"""The rules of an operation written down a second time: plain dicts and ifs, sharing no code with hmsactd.core.

It keeps a clock as the list of spans during which it ran, a state as what can be read off the rest, and knows nothing
of events but what they are called and what they must say. Times in microseconds, as in the core.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any
from zlib import crc32

Facts = dict[str, Any]

SECOND = 1_000_000


class Refused(Exception):
    """Raised when the operation may not be told that; the code says why."""


class Model:
    """An operation, by hand."""

    def __init__(self) -> None:
        self.life: Facts | None = None
        self.said: list[Facts] = []

    def tell(self, told: str, now: int, **what: Any) -> list[Facts]:
        """What must happen, as facts about each event. When it is refused nothing has."""
        self.said = []
        kept = deepcopy(self.life)
        try:
            if self.life is None:
                if told == "Start":
                    self._start(now, what)
            else:
                now = max(now, self.life["now"])
                self._clocks_strike(now)
                self._hear(told, now, what)
        except Refused:
            self.life = kept
            raise
        return self.said

    def show(self, instance: int, digest: str) -> None:
        """What approvers of a checkpoint are shown."""
        self._life()["items"][instance - 1]["digest"] = digest

    # -- what can be read off ------------------------------------------------------------------------------------------

    def state(self) -> str:
        life = self._life()
        if life["ended"]:
            return str(life["ended"])
        if life["paused"]:
            return "paused"
        item = self._current()
        if item is None or item["state"] in ("ahead", "queued", "running", "failed"):
            return "running"
        return "stalled" if item["state"] == "stalled" else "waiting"

    def wants(self) -> set[tuple[Any, ...]]:
        """What should be under way."""
        life, item = self._life(), self._current()
        if life["ended"]:
            return set()
        wanted: set[tuple[Any, ...]] = set()
        if item is not None:
            if item["state"] == "queued" and not life["paused"]:
                wanted.add(("RunStep", item["instance"], item["attempt"] + 1, item["svc"], item["name"], item["since"]))
            if item["state"] == "running" and item["deferred_at"] is not None:
                wanted.add(("AwaitCompletion", item["instance"], item["attempt"], item["svc"]))
            elif item["state"] == "running":
                wanted.add(("AwaitReport", item["instance"], item["attempt"], item["svc"], item["session"]))
            if item["state"] == "pending":
                wanted.add(("AwaitDecision", item["instance"], item["role"]))
        times = [at for _, at, _, _ in self._times()]
        if times:
            wanted.add(("WakeAt", min(times)))
        return wanted

    def clock(self, clock: Facts | None) -> Facts | None:
        """How a clock stands after the last event."""
        if clock is None:
            return None
        used = self.used(clock, self._life()["now"])
        return {"used": used, "runs": self._runs(clock), "at_risk": clock["at_risk"], "breached": clock["breached"]}

    def used(self, clock: Facts, now: int) -> int:
        return sum((now if stop is None else stop) - start for start, stop in clock["spans"])

    # -- telling -------------------------------------------------------------------------------------------------------

    def _start(self, now: int, what: Facts) -> None:
        items = []
        for number, definition in enumerate(what["flow"]["items"], 1):
            items.append(
                {
                    "instance": number,
                    "is_step": "svc" in definition,
                    "state": "ahead",
                    "since": 0,
                    "attempt": 0,
                    "failures": 0,
                    "losses": 0,
                    "retry_at": None,
                    "session": None,
                    "worker": None,
                    "output_commitment": None,
                    "claimed_by": None,
                    "decided_by": None,
                    "digest": None,
                    "unattended": False,
                    "late_noted": False,
                    "deferred_at": None,
                    "completion_due_at": None,
                    "completions": {},
                    "refusals": {},
                    "clock": None,
                    **definition,
                }
            )
        self.life = {
            "now": now,
            "by": what["by"],
            "input": what["input"],
            "items": items,
            "cursor": 0,
            "paused": None,
            "ended": None,
            "clock": self._new_clock(what["flow"]["sla_ms"], now),
        }
        self._say("operation_started", now)
        self._arrive(now)

    def _hear(self, told: str, now: int, what: Facts) -> None:
        life = self._life()
        if told == "Start":
            raise Refused("OPERATION_EXISTS")
        if told == "StepTaken":
            item = self._current()
            if item is None or life["ended"] or life["paused"] or item["instance"] != what["instance"]:
                return
            if item["state"] == "queued" and what["attempt"] == item["attempt"] + 1:
                item.update(state="running", since=now, attempt=what["attempt"], retry_at=None, unattended=False)
                item.update(session=what["session"], worker=what["by"]["id"])
                self._say("step_started", now, item, attempt=what["attempt"], session=what["session"])
        elif told in ("CompleteStep", "NoteLateCompletion"):
            self._complete(told, now, what)
        elif told in ("StepSucceeded", "StepErred", "StepDeferred", "WorkerLost", "HeartbeatMissed"):
            self._report(told, now, what)
        elif told == "NobodyEntitled":
            item = self._current()
            if item is None or item["is_step"] or life["ended"] or item["instance"] != what["instance"]:
                return
            due = item["since"] + item["unattended_ms"] * 1000
            if item["state"] == "pending" and not item["unattended"] and now >= due:
                item["unattended"] = True
                self._say("unattended", now, item, due_at=due, late_ms=(now - due) // 1000)
        elif told in ("Decide", "Claim", "Release", "Assign"):
            self._people(told, now, what)
        elif told == "NoteRefusal":
            for item in life["items"]:
                if item["name"] == what["checkpoint"] and not item["is_step"] and not life["ended"]:
                    last = item["refusals"].get((what["by"]["id"], what["code"]))
                    if last is None or now - last >= 60 * SECOND:
                        item["refusals"][what["by"]["id"], what["code"]] = now
                        self._say("decision_refused", now, item, code=what["code"])
        elif told in ("Pause", "Resume", "Cancel", "RetryStep", "SkipStep"):
            if life["ended"]:
                raise Refused("OPERATION_FINAL")
            if what["expected_revision"] not in (None, 1):
                raise Refused("REVISION_CHANGED")
            self._operator(told, now, what)

    def _report(self, told: str, now: int, what: Facts) -> None:
        life = self._life()
        found = [item for item in life["items"] if item["instance"] == what["instance"] and item["is_step"]]
        if not found or found[0]["state"] != "running" or found[0]["attempt"] != what["attempt"]:
            return
        item = found[0]
        if item["deferred_at"] is not None or (told == "StepDeferred" and life["ended"]):
            return
        if told == "StepDeferred":
            if item["worker"] != what["by"]["id"]:
                raise Refused("NOT_THE_HOLDER")
            due = None if item["timeout_ms"] is None else item["since"] + item["timeout_ms"] * 1000
            due = due if what["within_ms"] is None else now + what["within_ms"] * 1000
            item.update(deferred_at=now, completion_due_at=due, session=None)
            self._say("step_deferred", now, item, attempt=what["attempt"], due_at=due)
            return
        if told in ("StepSucceeded", "StepErred"):
            is_noted_late = life["ended"] and item["late_noted"]
            if not is_noted_late and item["worker"] != what["by"]["id"]:
                raise Refused("NOT_THE_HOLDER")
            if life["ended"]:
                if not item["late_noted"]:
                    item["late_noted"] = True
                    code = "DONE" if told == "StepSucceeded" else what["code"]
                    self._say("step_report_ignored", now, item, attempt=what["attempt"], code=code)
                return
        if life["ended"]:
            return
        if told == "StepSucceeded":
            self._attempt_done(item, now, what["output"], None)
        elif told == "StepErred":
            self._attempt_failed(item, now, what["code"], what["is_permanent"], what["retry_after_ms"])
        elif told == "HeartbeatMissed":
            self._attempt_failed(item, now, "HEARTBEAT_TIMEOUT", False, None)
        elif item["losses"] == 2:
            self._attempt_failed(item, now, "WORKER_LOST", False, None)
        else:
            clocks = self._stop_if_paused(item, now)
            item.update(state="queued", since=now, losses=item["losses"] + 1, session=None)
            self._say("step_lost", now, item, attempt=item["attempt"], count=item["losses"], clocks=clocks)

    def _complete(self, told: str, now: int, what: Facts) -> None:
        """By token: whoever it is, once for each attempt, and afterwards only to be noted."""
        life, number = self._life(), what["attempt"]
        found = [item for item in life["items"] if item["instance"] == what["instance"] and item["is_step"]]
        is_known = bool(found) and number <= found[0]["attempt"]
        if told == "NoteLateCompletion":
            if is_known and number not in found[0]["completions"]:
                found[0]["completions"][number] = (now, what["by"]["id"], True)
                code = what["code"] or "DONE"
                self._say("step_report_ignored", now, found[0], attempt=number, code=code, via="token")
            return
        if not is_known:
            raise Refused("ATTEMPT_UNKNOWN")
        item = found[0]
        is_under_way = item["state"] == "running" and item["attempt"] == number
        if is_under_way and not life["ended"]:
            item["completions"][number] = (now, what["by"]["id"], False)
            if what["output"] is not None:
                self._attempt_done(item, now, what["output"], "token")
            else:
                wish_ms, is_permanent = what["retry_after_ms"], what["is_permanent"]
                self._attempt_failed(item, now, what["code"], is_permanent, wish_ms, "token")
        elif number in item["completions"] and not item["completions"][number][2]:
            raise Refused("ALREADY_COMPLETED")
        else:
            raise Refused("OPERATION_FINAL" if is_under_way else "ATTEMPT_OVER")

    def _attempt_done(self, item: Facts, now: int, output: str, via: str | None) -> None:
        item.update(state="done", since=now, session=None, output_commitment=output)
        item.update(deferred_at=None, completion_due_at=None)
        self._stop(item["clock"], now)
        self._say("step_done", now, item, attempt=item["attempt"], output=output, via=via)
        self._leave(now)

    def _attempt_failed(
        self, item: Facts, now: int, code: str, is_permanent: bool, wish_ms: int | None, via: str | None = None
    ) -> None:
        clocks = self._stop_if_paused(item, now)
        item.update(since=now, failures=item["failures"] + 1, losses=0, session=None)
        item.update(deferred_at=None, completion_due_at=None)
        facts = {"attempt": item["attempt"], "code": code, "retries": item["retries"], "clocks": clocks, "via": via}
        if not is_permanent and item["failures"] <= item["retries"]:
            retry_at = now + 1000 * self._delay_ms(item, wish_ms)
            item.update(state="retrying", retry_at=retry_at)
            self._say("step_failed", now, item, **facts, retry=item["failures"], retry_at=retry_at)
            return
        item["state"] = "failed"
        self._say("step_failed", now, item, **facts, retry=0, retry_at=None)
        if is_permanent or item["on_exhausted"] == "fail":
            self._end("failed", now, item, code=code)
        else:
            item["state"] = "stalled"
            self._say("step_stalled", now, item, code=code)

    def _delay_ms(self, item: Facts, wish_ms: int | None) -> int:
        """Doubled for every failure, capped, a tenth more or less by chance that the history decides."""
        cap = int(item["retry_delay_max_ms"])
        delay = int(item["retry_delay_ms"])
        for _ in range(item["failures"] - 1):
            delay = min(delay * 2, cap)
        delay = min(delay, cap)
        chance = f"{self._life()['input']}/{item['instance']}/{item['attempt']}/{item['failures']}"
        delay += delay * (crc32(chance.encode()) % 201 - 100) // 1000
        return max(delay, min(wish_ms, cap)) if wish_ms else delay

    def _people(self, told: str, now: int, what: Facts) -> None:
        life = self._life()
        found = [item for item in life["items"] if item["name"] == what["checkpoint"]]
        if not found:
            raise Refused("CHECKPOINT_UNKNOWN")
        item, by = found[0], what["by"]
        if item["is_step"]:
            raise Refused("NOT_A_CHECKPOINT")
        if item["decided_by"]:
            raise Refused("ALREADY_DECIDED")
        if life["ended"]:
            raise Refused("OPERATION_FINAL")
        if item["state"] != "pending":
            raise Refused("CHECKPOINT_NOT_PENDING")
        if told == "Release":
            if item["claimed_by"] != by["id"]:
                raise Refused("NOT_CLAIMED_BY_CALLER")
            item["claimed_by"] = None
            self._say("checkpoint_released", now, item)
            return
        who = what["assignee"] if told == "Assign" else by
        if who["kind"] != "person":
            raise Refused("NOT_A_PERSON")
        if item["role"] not in who["roles"] and "*" not in who["roles"]:
            raise Refused("ROLE_MISSING")
        if who["id"] == life["by"]["person"]:
            raise Refused("STARTED_BY_CALLER")
        if who["id"] == life["by"]["on_behalf_of"]:
            raise Refused("STARTED_FOR_CALLER")
        if told == "Assign":
            item.update(assigned_to=who["id"], claimed_by=None)
            self._say("checkpoint_assigned", now, item, person=who["id"])
            return
        if item["claimed_by"] not in (None, by["id"]):
            raise Refused("CLAIMED_BY_ANOTHER")
        if told == "Claim":
            if item["claimed_by"] is None:
                item["claimed_by"] = by["id"]
                self._say("checkpoint_claimed", now, item)
            return
        if what["seen"] is not None and what["seen"] != item["digest"]:
            raise Refused("STALE_DIGEST")
        item.update(decided_by=by["id"], since=now)
        self._stop(item["clock"], now)
        if what["is_approval"]:
            item["state"] = "approved"
            self._say("checkpoint_approved", now, item, seen=what["seen"])
            self._leave(now)
        else:
            item["state"] = "rejected"
            self._say("checkpoint_rejected", now, item, seen=what["seen"])
            self._end("rejected", now, item)

    def _operator(self, told: str, now: int, what: Facts) -> None:
        life, item = self._life(), self._current()
        if told == "Cancel":
            self._end("cancelled", now, from_state=self.state())
        elif told == "Pause":
            if life["paused"]:
                raise Refused("OPERATION_PAUSED")
            stopped = [(0, life["clock"])] if what["stop_clock"] else []
            if item is not None and item["state"] != "running":
                stopped.append((item["instance"], item["clock"]))
            clocks = [self._reading(number, clock, now) for number, clock in stopped if clock]
            for _, clock in stopped:
                self._stop(clock, now)
            life["paused"] = {"stops_clock": what["stop_clock"]}
            self._say("operation_paused", now, clock="stop" if what["stop_clock"] else "run", clocks=clocks)
        elif told == "Resume":
            if not life["paused"]:
                raise Refused("OPERATION_NOT_PAUSED")
            known = [(0, life["clock"])] + ([(item["instance"], item["clock"])] if item else [])
            started = [(number, clock) for number, clock in known if clock and not self._runs(clock)]
            clocks = [self._reading(number, clock, now) for number, clock in started]
            for _, clock in started:
                clock["spans"].append((now, None))
            life["paused"] = None
            self._say("operation_resumed", now, clocks=clocks)
            if item is not None and item["state"] == "queued":
                item["since"] = now
            self._arrive(now, strike=True)
        else:
            self._help_stalled(told, now, what)

    def _help_stalled(self, told: str, now: int, what: Facts) -> None:
        life = self._life()
        found = [item for item in life["items"] if item["name"] == what["step"]]
        if not found:
            raise Refused("STEP_UNKNOWN")
        item, by = found[0], what["by"]
        if not item["is_step"]:
            raise Refused("NOT_A_STEP")
        if item["state"] != "stalled":
            raise Refused("STEP_NOT_STALLED")
        if told == "RetryStep":
            item.update(state="queued", since=now, failures=0, losses=0, unattended=False)
            self._say("step_retried", now, item)
            return
        theirs = {by["person"], by["on_behalf_of"]} - {None}
        if by["id"] == life["by"]["id"] or life["by"]["person"] in theirs:
            raise Refused("STARTED_BY_CALLER")
        if life["by"]["on_behalf_of"] in theirs:
            raise Refused("STARTED_FOR_CALLER")
        item.update(state="skipped", since=now)
        self._stop(item["clock"], now)
        self._say("step_skipped", now, item)
        self._leave(now)

    # -- the flow ------------------------------------------------------------------------------------------------------

    def _leave(self, now: int) -> None:
        self._life()["cursor"] += 1
        self._arrive(now)

    def _arrive(self, now: int, *, strike: bool = False) -> None:
        """Enter what the flow has come to, unless it is paused."""
        life, item = self._life(), self._current()
        if life["paused"]:
            return
        if item is not None and item["is_step"] and item["state"] == "ahead":
            item.update(state="queued", since=now, clock=self._new_clock(item["sla_ms"], now))
        if strike:
            self._clocks_strike(now)
        if item is None:
            self._end("completed", now)
        elif not item["is_step"] and item["state"] == "ahead":
            item.update(state="pending", since=now, clock=self._new_clock(item["sla_ms"], now))
            if item["assigned_to"] in (life["by"]["person"], life["by"]["on_behalf_of"]):
                item.update(assigned_to=None)
            self._say("checkpoint_pending", now, item, role=item["role"], assigned_to=item["assigned_to"])

    def _end(self, state: str, now: int, item: Facts | None = None, **facts: Any) -> None:
        life, current = self._life(), self._current()
        self._say(f"operation_{state}", now, item, **facts)
        self._stop(life["clock"], now)
        if current is not None:
            self._stop(current["clock"], now)
        life.update(ended=state, paused=None)

    # -- time ----------------------------------------------------------------------------------------------------------

    def _times(self) -> list[tuple[int, int, str, int]]:
        """What is to come: rank, when, what, for which item."""
        life, item = self._life(), self._current()
        if life["ended"]:
            return []
        times: list[tuple[int, int, str, int]] = []
        for number, clock in [(0, life["clock"])] + ([(item["instance"], item["clock"])] if item else []):
            if clock and self._runs(clock) and not clock["breached"]:
                share, what = (100, "sla_breach") if clock["at_risk"] else (80, "sla_at_risk")
                start = clock["spans"][-1][0]
                before = self.used({"spans": clock["spans"][:-1]}, start)
                rank = 1 if clock["at_risk"] else 0
                times.append((rank, start + clock["budget"] * share // 100 - before, what, number))
        if item is not None and item["is_step"]:
            number, since = item["instance"], item["since"]
            if item["state"] == "running" and item["deferred_at"] is not None:
                if item["completion_due_at"] is not None:
                    times.append((2, item["completion_due_at"], "timeout", number))
            elif item["state"] == "running" and item["timeout_ms"] is not None:
                times.append((2, since + item["timeout_ms"] * 1000, "timeout", number))
            if item["state"] == "retrying" and not life["paused"]:
                times.append((3, item["retry_at"], "step_queued", number))
            if item["state"] == "queued" and not life["paused"] and not item["unattended"]:
                times.append((4, since + item["unattended_ms"] * 1000, "unattended", number))
        return times

    def _clocks_strike(self, now: int) -> None:
        """Everything that is due: what is said of SLAs first, then the rest; each in the order of time."""
        while True:
            due = [time for time in self._times() if time[1] <= now]
            if not due:
                return
            slas = [time for time in due if time[0] < 2]
            _, at, what, number = min(slas or due, key=lambda time: (time[1], time[0]))
            life = self._life()
            item = life["items"][number - 1] if number else None
            late_ms = (now - at) // 1000
            if what.startswith("sla"):
                clock = item["clock"] if item else life["clock"]
                clock["breached" if what == "sla_breach" else "at_risk"] = True
                self._say(what, now, item, sla_ms=clock["budget"] // 1000, due_at=at, late_ms=late_ms)
                continue
            assert item is not None
            if what == "timeout":
                self._attempt_failed(item, now, "TIMEOUT", False, None)
            elif what == "step_queued":
                item.update(state="queued", since=now, retry_at=None)
                self._say("step_queued", now, item)
            else:
                item["unattended"] = True
                self._say("unattended", now, item, due_at=at, late_ms=late_ms)

    def _new_clock(self, budget_ms: int | None, now: int) -> Facts | None:
        if budget_ms is None:
            return None
        return {"budget": budget_ms * 1000, "spans": [(now, None)], "at_risk": False, "breached": False}

    def _runs(self, clock: Facts) -> bool:
        return bool(clock["spans"]) and clock["spans"][-1][1] is None

    def _stop(self, clock: Facts | None, now: int) -> None:
        if clock and self._runs(clock):
            clock["spans"][-1] = (clock["spans"][-1][0], now)

    def _stop_if_paused(self, item: Facts, now: int) -> list[tuple[int, int, int]]:
        if not self._life()["paused"] or not item["clock"]:
            return []
        reading = self._reading(item["instance"], item["clock"], now)
        self._stop(item["clock"], now)
        return [reading]

    def _reading(self, number: int, clock: Facts, now: int) -> tuple[int, int, int]:
        return number, clock["budget"] // 1000, self.used(clock, now) // 1000

    # -- small things --------------------------------------------------------------------------------------------------

    def _say(self, kind: str, now: int, item: Facts | None = None, **facts: Any) -> None:
        number = {"instance": item["instance"]} if item else {}
        self._life()["now"] = now
        self.said.append({"kind": kind, "at": now, **number, **facts})

    def _life(self) -> Facts:
        assert self.life is not None
        return self.life

    def _current(self) -> Facts | None:
        life = self._life()
        return life["items"][life["cursor"]] if life["cursor"] < len(life["items"]) else None
