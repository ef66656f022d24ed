"""What is counted is what is: random lives against a recount, restarts, births at 0, bounds."""

from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
import yaml
from structlog.testing import capture_logs

from hmsactd.clock import SettableClock
from hmsactd.core.events import Event
from hmsactd.core.operation import Operation
from hmsactd.definition.flow import Flow
from hmsactd.engine.summary import summarise
from hmsactd.metrics import labels, watched
from hmsactd.metrics.called import OUTCOMES
from hmsactd.metrics.metrics import Metrics
from tests.core.dialogue import EPOCH, begun, checkpoint, flow_of, step
from tests.metrics.life import a_flow, a_life
from tests.metrics.reading import COUNTERS, GAUGES, Series, ordered, recounted, retold, scrape

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "hmsact.rules.yml"

CONTRACT = {
    "hmsact_operations": ("namespace", "definition", "state"),
    "hmsact_operations_finished": ("namespace", "definition", "outcome"),
    "hmsact_step_attempts": ("namespace", "svc", "step", "outcome"),
    "hmsact_step_duration_seconds": ("namespace", "svc", "step"),
    "hmsact_sla_at_risk": ("namespace", "definition", "step"),
    "hmsact_sla_breached": ("namespace", "definition", "step"),
    "hmsact_sla_breaches": ("namespace", "definition", "step"),
    "hmsact_stalled_steps": ("namespace", "definition", "step"),
    "hmsact_unattended": ("namespace", "definition", "step"),
    "hmsact_steps_queued": ("namespace", "svc"),
    "hmsact_oldest_queued_seconds": ("namespace", "svc"),
    "hmsact_workers_connected": ("namespace", "svc"),
    "hmsact_checkpoints_pending": ("namespace", "definition", "checkpoint", "role"),
    "hmsact_oldest_pending_seconds": ("namespace", "definition", "checkpoint", "role"),
    "hmsact_commit_seconds": (),
    "hmsact_commit_batch_size": (),
    "hmsact_event_streams": (),
    "hmsact_follower_lag_events": (),
    "hmsact_rpc_seconds": ("method", "code"),
    "hmsact_ready": (),
    "hmsact_data_free_bytes": (),
    "hmsact_clock_jumps": ("direction",),
    "hmsact_called_service_state": ("svc",),
    "hmsact_jobs": ("namespace", "action", "state"),
    "hmsact_jobs_ended": ("namespace", "action", "state"),
    "hmsact_job_operations": ("namespace", "action", "outcome"),
    "hmsact_called_seconds": ("svc", "outcome"),
}


@dataclass(frozen=True)
class Row:
    """A row of a store: queues, pending decisions, tallies."""

    namespace: str = "default"
    definition: str = ""
    svc: str = ""
    checkpoint: str = ""
    role: str = ""
    state: str = ""
    alarms: str | None = None
    count: int = 1
    oldest_since: int = EPOCH


def fresh() -> Metrics:
    return Metrics(SettableClock(lambda: EPOCH + 60_000_000))


def live(metrics: Metrics, seed: int, turns: int = 40) -> list[tuple[Operation, dict[str, Series]]]:
    """Lets some operations live, and returns each as it is now, with the counters of its history."""
    chance, lived = Random(seed), []
    for _ in range(10):
        history: list[Event] = []
        operation = None
        for change in a_life(chance, a_flow(chance, f"flow_{chance.randrange(3)}"), chance.randrange(1, turns)):
            metrics.operation_changed("default", change.before, change.after, change.events)
            history += change.events
            operation = change.after
        assert operation is not None
        lived.append((operation, retold(operation, history)))
    return lived


# -- counting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
async def test_gauges_are_a_recount_of_all_states(seed: int) -> None:
    metrics = fresh()
    lived = live(metrics, seed)
    found = await scrape(metrics)
    expected = recounted(operation for operation, _ in lived)
    assert {name: found.not_zero(name) for name in GAUGES} == expected


@pytest.mark.parametrize("seed", range(20))
async def test_counters_are_a_recount_of_all_histories(seed: int) -> None:
    metrics = fresh()
    lived = live(metrics, seed)
    found = await scrape(metrics)
    for name in COUNTERS:
        expected: Series = {}
        for _, counted in lived:
            for place, value in counted[name].items():
                expected[place] = expected.get(place, 0) + value
        assert found.not_zero(name) == expected, name


async def test_lives_are_varied_enough_to_prove_something() -> None:
    metrics = fresh()
    for seed in range(20):
        live(metrics, seed)
    found = await scrape(metrics)
    assert [name for name in (*GAUGES, *COUNTERS) if not found.not_zero(name)] == []
    assert {place[2] for place in found.not_zero("hmsact_operations")} >= {"waiting", "paused", "stalled", "completed"}
    outcomes = {place[3] for place in found.not_zero("hmsact_step_attempts_total")}
    assert outcomes == {"done", "failed", "timeout", "lost", "cancelled"}


async def test_attempt_is_measured_from_its_worker_to_its_end() -> None:
    metrics = fresh()
    talk = begun(step("send", "Email"))
    metrics.operation_changed("default", None, talk.operation, talk.events)
    before = talk.operation
    talk.take("send")
    metrics.operation_changed("default", before, talk.operation, talk.events[-1:])
    before, seen = talk.operation, len(talk.events)
    talk.wait("90s")
    talk.finish("send")
    metrics.operation_changed("default", before, talk.operation, talk.events[seen:])
    found = await scrape(metrics)
    assert found.series("hmsact_step_duration_seconds_sum") == {("default", "Email", "send"): 90}


# -- restart -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
async def test_restored_gauges_are_those_from_before(seed: int) -> None:
    before, after = fresh(), fresh()
    operations = [operation for operation, _ in live(before, seed)]
    after.restore(*rows(operations))
    was, now = await scrape(before), await scrape(after)
    assert {name: now.not_zero(name) for name in GAUGES} == {name: was.not_zero(name) for name in GAUGES}


@pytest.mark.parametrize("seed", range(5))
async def test_counting_goes_on_after_a_restart(seed: int) -> None:
    chance = Random(seed)
    lives = [list(a_life(chance, a_flow(chance, "flow"))) for _ in range(10)]
    metrics = fresh()
    metrics.restore(*rows([life[len(life) // 2].after for life in lives]))
    for life in lives:
        for change in life[len(life) // 2 + 1 :]:
            metrics.operation_changed("default", change.before, change.after, change.events)
    found = await scrape(metrics)
    assert {name: found.not_zero(name) for name in GAUGES} == recounted(life[-1].after for life in lives)


async def test_breach_right_after_a_restart_is_an_increase_from_0() -> None:
    metrics = fresh()
    metrics.restore(
        [Row(definition="flow", state="running")],
        [Row(definition="flow", alarms='{"at_risk": ["send"]}')],
    )
    assert (await scrape(metrics)).series("hmsact_sla_breaches_total") == {
        ("default", "flow", "send"): 0,
        ("default", "flow", ""): 0,
    }


def rows(operations: list[Operation]) -> tuple[list[Row], list[Row], list[Row]]:
    """What a store would tell of them."""
    counted = recounted(operations)
    states = [
        Row(namespace, definition=definition, state=state, count=int(count))
        for (namespace, definition, state), count in counted["hmsact_operations"].items()
    ]
    summaries = [summarise("default", f"op_{number}", operation) for number, operation in enumerate(operations)]
    alarmed = [Row(definition=summary.definition, alarms=summary.alarms) for summary in summaries if summary.alarms]
    pending = [
        Row(namespace, definition=definition, checkpoint=name, role=role, count=int(count))
        for (namespace, definition, name, role), count in counted["hmsact_checkpoints_pending"].items()
    ]
    return states, alarmed, pending


# -- birth and bounds --------------------------------------------------------------------------------------------------


async def test_every_series_of_a_flow_is_there_at_0_before_anything_happens() -> None:
    metrics = fresh()
    flow = flow_of(step("send", "Email"), checkpoint("review"))
    metrics.learn("default", flow)
    metrics.watched.watch_queues(list)
    metrics.watched.watch_workers(dict)
    metrics.watched.watch_pending(list)
    metrics.watched.watch_jobs(dict)
    found = await scrape(metrics)
    assert all(value == 0 for value in found.samples.values())
    place = ("default", "flow")
    assert found.series("hmsact_operations").keys() == {(*place, state) for state in STATES}
    assert found.series("hmsact_operations_finished_total").keys() == {(*place, state) for state in STATES[4:]}
    for name in ("hmsact_sla_at_risk", "hmsact_sla_breached", "hmsact_sla_breaches_total"):
        assert found.series(name).keys() == {(*place, ""), (*place, "send"), (*place, "review")}
    assert found.series("hmsact_unattended").keys() == {(*place, "send"), (*place, "review")}
    assert found.series("hmsact_stalled_steps").keys() == {(*place, "send")}
    for name in ("hmsact_checkpoints_pending", "hmsact_oldest_pending_seconds"):
        assert found.series(name).keys() == {(*place, "review", "fsa.officer")}
    outcomes = ("done", "failed", "timeout", "lost", "cancelled")
    attempts = found.series("hmsact_step_attempts_total")
    assert attempts.keys() == {("default", "Email", "send", outcome) for outcome in outcomes}
    assert found.series("hmsact_step_duration_seconds_count").keys() == {("default", "Email", "send")}
    for name in ("hmsact_steps_queued", "hmsact_oldest_queued_seconds", "hmsact_workers_connected"):
        assert found.series(name).keys() == {("default", "Email")}


async def test_every_outcome_of_a_called_service_is_there_at_0_from_the_start() -> None:
    metrics = fresh()
    metrics.called.service_became("IRS", "closed")
    found = await scrape(metrics)
    counts = found.series("hmsact_called_seconds_count")
    assert {outcome for place in counts for outcome in place if outcome != "IRS"} == set(OUTCOMES)
    assert set(counts.values()) == {0}
    metrics.called.service_became("IRS", "open")
    metrics.called.service_called("IRS", "unreachable", 0.2)
    found = await scrape(metrics)
    assert found.series("hmsact_called_service_state") == {("IRS",): 2}
    assert list(found.not_zero("hmsact_called_seconds_count").values()) == [1]


STATES = ("running", "waiting", "paused", "stalled", "completed", "rejected", "failed", "cancelled")


async def test_metrics_and_labels_are_those_of_the_contract() -> None:
    metrics = fresh()
    live(metrics, 1)
    metrics.rpc_ended("/hmsact.v1.OperationService/GetOperation", "OK", 0.1)
    metrics.watched.watch_queues(list)
    metrics.watched.watch_workers(dict)
    metrics.watched.watch_pending(list)
    metrics.watched.watch_jobs(dict)
    metrics.called.service_became("IRS", "closed")
    families = (await scrape(metrics)).families
    found = {
        family.name: {tuple(name for name, _ in ordered(sample.labels) if name != "le") for sample in family.samples}
        for family in families
    }
    assert found == {name: {names} for name, names in CONTRACT.items()}
    assert all(family.documentation.endswith((".", ").")) for family in families)


async def test_every_metric_of_the_alert_rules_is_exported() -> None:
    metrics = fresh()
    metrics.learn("default", flow_of(step("send", "Email")))
    metrics.called.service_became("IRS", "closed")
    exported = {name for name, _ in (await scrape(metrics)).samples}
    rules: Any = yaml.safe_load(RULES.read_text())
    asked = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    named = {word for word in asked.replace("(", " ").replace("[", " ").split() if word.startswith("hmsact_")}
    assert named
    assert named - exported == set()


async def test_names_beyond_the_bound_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "NAMES_MAX", 3)
    metrics = fresh()
    talks = []
    for number in range(10):
        talk = begun(step("send", f"Svc{number}"))
        operation = talk.operation
        named = Flow(f"flow_{number}", operation.flow.items, None, str(number))
        talks.append(operation)
        metrics.operation_changed("default", None, with_flow(operation, named), talk.events)
    counted = (await scrape(metrics)).not_zero("hmsact_operations")
    assert counted == {
        ("default", "flow_0", "running"): 1,
        ("default", "flow_1", "running"): 1,
        ("default", "flow_2", "running"): 1,
        ("default", "other", "running"): 7,
    }
    assert {place[1] for place in (await scrape(metrics)).series("hmsact_step_attempts_total")} == {
        "Svc0",
        "Svc1",
        "Svc2",
        "other",
    }


async def test_what_left_other_came_from_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "NAMES_MAX", 1)
    monkeypatch.setattr(labels, "PAIRS_MAX", 2)
    metrics = fresh()
    chance = Random(7)
    for number in range(20):
        for change in a_life(chance, a_flow(chance, f"flow_{number}"), 60):
            metrics.operation_changed("default", change.before, change.after, change.events)
    found = await scrape(metrics)
    assert all(value >= 0 for value in found.samples.values())
    assert sum(found.series("hmsact_operations").values()) == 20
    assert len(found.series("hmsact_sla_breached")) <= 6


def with_flow(operation: Operation, flow: Flow) -> Operation:
    return replace(operation, flow=flow)


# -- asked at a scrape -------------------------------------------------------------------------------------------------


async def test_queues_workers_and_decisions_are_asked_for_at_every_scrape() -> None:
    metrics = fresh()
    metrics.learn("default", flow_of(step("send", "Email"), checkpoint("review")))
    queues = [Row(svc="IRS", count=3, oldest_since=EPOCH)]

    async def ask() -> list[Row]:
        return queues

    metrics.watched.watch_queues(ask)
    metrics.watched.watch_workers(lambda: {("default", "IRS"): 2})
    owed = Row(definition="flow", checkpoint="review", role="fsa.officer", count=5, oldest_since=EPOCH + 30_000_000)
    metrics.watched.watch_pending(lambda: [owed])
    found = await scrape(metrics)
    assert found.series("hmsact_steps_queued") == {("default", "IRS"): 3, ("default", "Email"): 0}
    assert found.series("hmsact_oldest_queued_seconds") == {("default", "IRS"): 60, ("default", "Email"): 0}
    assert found.series("hmsact_workers_connected") == {("default", "IRS"): 2, ("default", "Email"): 0}
    assert found.series("hmsact_oldest_pending_seconds") == {("default", "flow", "review", "fsa.officer"): 30}
    queues.clear()
    assert (await scrape(metrics)).not_zero("hmsact_steps_queued") == {}


async def test_what_cannot_be_had_is_left_out_and_the_rest_is_there() -> None:
    metrics = fresh()
    metrics.learn("default", flow_of(step("send", "Email")))
    answers = iter([[Row(svc="Email", count=3)]])
    metrics.watched.watch_queues(lambda: next(answers))
    metrics.watched.watch_streams(lambda: 4)
    assert (await scrape(metrics)).series("hmsact_steps_queued") == {("default", "Email"): 3}
    with capture_logs() as logged:
        found = await scrape(metrics)
    assert found.is_left_out("hmsact_steps_queued")
    assert found.value("hmsact_event_streams") == 4
    assert [line["about"] for line in logged] == ["queues"]


async def test_one_who_does_not_answer_does_not_hold_up_the_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "SCRAPE_MAX_S", 0)

    async def forever() -> int:
        await anyio.Event().wait()
        return 1

    metrics = fresh()
    metrics.watched.watch_lag(forever)
    assert (await scrape(metrics)).is_left_out("hmsact_follower_lag_events")


async def test_readiness_and_room_on_the_volume(tmp_path: Path) -> None:
    metrics = fresh()
    is_ready = False
    metrics.watched.watch_ready(lambda: is_ready)
    metrics.watched.watch_data(tmp_path)
    found = await scrape(metrics)
    assert found.value("hmsact_ready") == 0
    assert found.value("hmsact_data_free_bytes") > 0
    is_ready = True
    assert (await scrape(metrics)).value("hmsact_ready") == 1


async def test_requests_and_commits() -> None:
    metrics = fresh()
    metrics.learn_rpcs(["/hmsact.v1.SystemService/Whoami", "/hmsact.v1.SystemService/AdvanceClock"])
    metrics.rpc_ended("/hmsact.v1.SystemService/Whoami", "OK", 0.25)
    metrics.rpc_ended("/hmsact.v1.SystemService/Whoami", "UNAUTHENTICATED", 0.25)
    metrics.committed(0.002, 7)
    found = await scrape(metrics)
    assert found.series("hmsact_rpc_seconds_count") == {
        ("hmsact.v1.SystemService/AdvanceClock", "OK"): 0,
        ("hmsact.v1.SystemService/Whoami", "OK"): 1,
        ("hmsact.v1.SystemService/Whoami", "UNAUTHENTICATED"): 1,
    }
    assert found.value("hmsact_commit_batch_size_sum") == 7
    assert found.value("hmsact_commit_seconds_count") == 1


async def test_no_series_tells_when_a_counter_was_made() -> None:
    metrics = fresh()
    live(metrics, 1)
    assert "_created" not in (await scrape(metrics)).text
