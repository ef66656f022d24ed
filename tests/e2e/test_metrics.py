"""The metrics of a real daemon: every name and label of the contract, and everything that alerts ask for."""

import re
from pathlib import Path

from hmsact.testing import Daemon
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.raw import Caller, RawWorker, checkpoint, definition, eventually, hello, refused, step
from tests.e2e.scrape import fetch, scrape

DEPLOY = Path(__file__).parents[2] / "deploy"

ITEM = {"namespace", "definition", "step"}
SERVICE = {"namespace", "svc"}
CHECKPOINT = {"namespace", "definition", "checkpoint", "role"}

CONTRACT = {
    "hmsact_operations": {"namespace", "definition", "state"},
    "hmsact_operations_finished_total": {"namespace", "definition", "outcome"},
    "hmsact_step_attempts_total": {"namespace", "svc", "step", "outcome"},
    "hmsact_step_duration_seconds_count": {"namespace", "svc", "step"},
    "hmsact_sla_at_risk": ITEM,
    "hmsact_sla_breached": ITEM,
    "hmsact_sla_breaches_total": ITEM,
    "hmsact_stalled_steps": ITEM,
    "hmsact_unattended": ITEM,
    "hmsact_steps_queued": SERVICE,
    "hmsact_oldest_queued_seconds": SERVICE,
    "hmsact_workers_connected": SERVICE,
    "hmsact_checkpoints_pending": CHECKPOINT,
    "hmsact_oldest_pending_seconds": CHECKPOINT,
    "hmsact_commit_seconds_count": set[str](),
    "hmsact_commit_batch_size_count": set[str](),
    "hmsact_event_streams": set[str](),
    "hmsact_follower_lag_events": set[str](),
    "hmsact_rpc_seconds_count": {"method", "code"},
    "hmsact_ready": set[str](),
    "hmsact_data_free_bytes": set[str](),
}


def samples(daemon: Daemon) -> dict[str, set[frozenset[str]]]:
    """The label names of every sample, by its name."""
    found: dict[str, set[frozenset[str]]] = {}
    for family in text_string_to_metric_families(fetch(daemon, "/metrics")[1]):
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, set()).add(frozenset(sample.labels))
    return found


def start(caller: Caller, name: str, svc: str) -> str:
    return caller.start(definition=definition(step(svc=svc, sla="10h"), checkpoint(), name=name))


def test_every_name_and_label_of_the_contract_is_there_before_anything_happens_to_it(
    daemon: Daemon, developer: Caller
) -> None:
    start(developer, "born", "Born")
    found = samples(daemon)
    assert {name: found.get(name) for name in CONTRACT} == {
        name: {frozenset(labels)} for name, labels in CONTRACT.items()
    }
    values = scrape(daemon)
    for series in (
        "hmsact_operations_finished_total{definition=born,namespace=default,outcome=completed}",
        "hmsact_step_attempts_total{namespace=default,outcome=failed,step=check,svc=Born}",
        "hmsact_step_duration_seconds_count{namespace=default,step=check,svc=Born}",
        "hmsact_sla_breaches_total{definition=born,namespace=default,step=check}",
        "hmsact_sla_breached{definition=born,namespace=default,step=review}",
        "hmsact_stalled_steps{definition=born,namespace=default,step=check}",
        "hmsact_workers_connected{namespace=default,svc=Born}",
        "hmsact_checkpoints_pending{checkpoint=review,definition=born,namespace=default,role=fsa.officer}",
        "hmsact_operations{definition=born,namespace=default,state=stalled}",
    ):
        assert values[series] == 0, series
    assert values["hmsact_ready"] == 1
    assert values["hmsact_data_free_bytes"] > 0


def test_everything_that_alerts_and_dashboards_ask_for_is_exported(daemon: Daemon, developer: Caller) -> None:
    start(developer, "asked", "Asked")
    exported = {re.sub(r"_(bucket|count|sum)$", "", name) for name in samples(daemon)}
    # Of called services there are none here: what is said of them is declared, and born with their settings.
    exported |= set(re.findall(r"^# TYPE (hmsact_called_\w+)", fetch(daemon, "/metrics")[1], re.MULTILINE))
    asked: set[str] = set()
    for file in DEPLOY.rglob("*"):
        if file.suffix in (".yml", ".yaml", ".json"):
            asked |= {
                re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\bhmsact_\w+", file.read_text())
            }
    assert {"hmsact_sla_breached", "hmsact_stalled_steps"} <= asked
    assert asked - exported == set()


def test_the_numbers_follow_an_operation_from_queue_to_end(daemon: Daemon, developer: Caller, officer: Caller) -> None:
    operation_id = start(developer, "followed", "Followed")
    service, item = "{namespace=default,svc=Followed}", "definition=followed,namespace=default"
    daemon.advance("5m")
    values = scrape(daemon)
    assert values[f"hmsact_steps_queued{service}"] == 1
    assert 300 <= values[f"hmsact_oldest_queued_seconds{service}"] < 360
    assert values[f"hmsact_operations{{{item},state=running}}"] == 1
    with Caller(daemon.address, "dev:svc/Followed") as caller, RawWorker(caller, hello("Followed")) as worker:
        worker.failed(worker.call().attempt)
        assert worker.judged() == ("RECORDED", "")
        daemon.advance("10s")
        second = worker.call()
        values = scrape(daemon)
        assert values[f"hmsact_workers_connected{service}"] == 1
        assert values[f"hmsact_steps_queued{service}"] == 0
        daemon.advance("2m")
        worker.done(second.attempt)
        assert worker.judged() == ("RECORDED", "")
    daemon.advance("10m")
    values = scrape(daemon)
    step_of = "namespace=default,outcome={},step=check,svc=Followed"
    assert values[f"hmsact_step_attempts_total{{{step_of.format('failed')}}}"] == 1
    assert values[f"hmsact_step_attempts_total{{{step_of.format('done')}}}"] == 1
    assert values["hmsact_step_duration_seconds_count{namespace=default,step=check,svc=Followed}"] == 2
    assert values["hmsact_step_duration_seconds_sum{namespace=default,step=check,svc=Followed}"] >= 120
    pending = "{checkpoint=review,definition=followed,namespace=default,role=fsa.officer}"
    assert values[f"hmsact_checkpoints_pending{pending}"] == 1
    assert values[f"hmsact_oldest_pending_seconds{pending}"] >= 600
    assert values[f"hmsact_operations{{{item},state=waiting}}"] == 1
    officer.steer("approve", operation_id)
    values = scrape(daemon)
    assert values[f"hmsact_checkpoints_pending{pending}"] == values[f"hmsact_oldest_pending_seconds{pending}"] == 0
    assert values[f"hmsact_operations_finished_total{{{item},outcome=completed}}"] == 1
    assert values[f"hmsact_operations{{{item},state=completed}}"] == 1
    assert values[f"hmsact_operations{{{item},state=waiting}}"] == 0
    assert values["hmsact_commit_seconds_count"] == values["hmsact_commit_batch_size_count"] > 0


def test_requests_are_counted_by_rpc_and_status(daemon: Daemon, developer: Caller) -> None:
    series = "hmsact_rpc_seconds_count{{code={},method=hmsact.v1.OperationService/GetOperation}}"
    before = scrape(daemon)
    assert before["hmsact_rpc_seconds_count{code=OK,method=hmsact.v1.CheckpointService/ReleaseCheckpoint}"] == 0
    operation_id = developer.start(checkpoint())
    developer.get(operation_id)
    for _ in range(2):
        with refused("NOT_FOUND"):
            developer.get("op_" + "0" * 26)
    after = scrape(daemon)
    assert after[series.format("OK")] - before[series.format("OK")] == 1
    assert after[series.format("NOT_FOUND")] - before.get(series.format("NOT_FOUND"), 0) == 2


def test_no_series_names_an_operation_and_names_without_end_become_other() -> None:
    names = 510
    with Daemon() as daemon, Caller(daemon.address) as developer:
        started = [developer.start(definition=definition(checkpoint(), name=f"flood_{n}")) for n in range(names)]
        text = fetch(daemon, "/metrics")[1]
        values = scrape(daemon)
    assert started[0][:10] not in text
    waiting = [name for name in values if re.match(r"hmsact_operations\{.*state=waiting\}", name)]
    assert sum(values[name] for name in waiting) == names
    assert len(waiting) < names
    assert values["hmsact_operations{definition=other,namespace=default,state=waiting}"] > 1


def test_numbers_begin_where_they_were_after_a_restart() -> None:
    with Daemon() as daemon:
        with Caller(daemon.address) as developer:
            start(developer, "kept", "Kept")
            developer.start(definition=definition(checkpoint(), name="kept"))
            daemon.advance("11h")
            gauges = {
                name: value
                for name, value in scrape(daemon).items()
                if re.match(
                    r"hmsact_(operations|sla_\w+|stalled_steps|unattended|checkpoints_pending|steps_queued)\{", name
                )
                and "_total" not in name
            }
        daemon.kill()
        daemon.start()
        values = scrape(daemon)
        assert {name: values.get(name, 0) for name in gauges} == gauges
        assert gauges["hmsact_sla_breached{definition=kept,namespace=default,step=check}"] == 1


def test_health_is_told_over_http(daemon: Daemon) -> None:
    assert fetch(daemon, "/healthz")[0] == 200
    assert fetch(daemon, "/readyz")[0] == 200
    assert fetch(daemon, "/nothing")[0] == 404
    eventually(lambda: scrape(daemon)["hmsact_ready"] == 1)
