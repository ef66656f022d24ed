"""The API as somebody meets it who has nothing but `buf curl`: reflection, JSON in and out, errors that can be read."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hmsact.testing import Daemon
from hmsact.v1 import system_pb2

from tests.e2e.raw import OFFICER, Caller, RawWorker, checkpoint, definition, hello, refused, step
from tests.e2e.scrape import fetch

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def curl(address: str, path: str, *arguments: str, said: object = None) -> "subprocess.CompletedProcess[str]":
    command = [str(BIN / "buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments]
    data = ["-d", json.dumps(said)] if said is not None else []
    return subprocess.run(
        [*command, *data, f"http://{address}{path}"], cwd=ROOT, capture_output=True, text=True, timeout=40, check=False
    )


def answer(ran: "subprocess.CompletedProcess[str]") -> Any:
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_the_api_describes_itself(daemon: Daemon) -> None:
    ran = curl(daemon.address, "", "--list-methods")
    assert ran.returncode == 0, ran.stderr
    listed = set(ran.stdout.split())
    declared = {
        f"hmsact.v1.{service}/{rpc}"
        for file in (ROOT / "proto").rglob("*.proto")
        # Agencies implement this one.
        if file.name != "step.proto"
        for service, rpcs in re.findall(r"^service (\w+) \{(.*?)^\}", file.read_text(), re.MULTILINE | re.DOTALL)
        for rpc in re.findall(r"^  rpc (\w+)\(", rpcs, re.MULTILINE)
    }
    assert declared <= listed
    assert "grpc.health.v1.Health/Check" in listed


def test_an_operation_is_started_read_and_steered(daemon: Daemon) -> None:
    operations, checkpoints = "/hmsact.v1.OperationService", "/hmsact.v1.CheckpointService"
    text = base64.b64encode(definition(checkpoint())).decode()
    started = answer(curl(daemon.address, f"{operations}/StartOperation", said={"definition": text, "input": "MQ=="}))
    assert started["recorded"]["state"] == "OPERATION_STATE_WAITING"
    named = {"operationId": started["operationId"]}
    operation = answer(curl(daemon.address, f"{operations}/GetOperation", said=named))["operation"]
    assert operation["id"] == started["operationId"]
    assert operation["items"][0]["checkpoint"]["state"] == "CHECKPOINT_STATE_PENDING"
    officer = ("-H", f"Authorization: Bearer {OFFICER}")
    said = named | {"checkpoint": "review", "comment": "fine"}
    approved = answer(curl(daemon.address, f"{checkpoints}/ApproveCheckpoint", *officer, said=said))
    assert approved["recorded"]["state"] == "OPERATION_STATE_COMPLETED"
    watched = curl(daemon.address, "/hmsact.v1.TimelineService/WatchOperation", said=named)
    assert watched.returncode == 0, watched.stderr
    assert watched.stdout.count('"kind"') >= 4


def test_an_error_can_be_read_with_its_details(daemon: Daemon) -> None:
    text = base64.b64encode(definition(step("Bad", sla="2 minutes"))).decode()
    ran = curl(
        daemon.address, "/hmsact.v1.OperationService/StartOperation", said={"definition": text, "key": "k" * 256}
    )
    assert ran.returncode != 0
    error = json.loads(ran.stderr)
    assert error["code"] == "invalid_argument"
    assert "definition/steps/0/sla" in error["message"]
    # buf knows none of the types of google.rpc and shows them as they came.
    details = {detail["type"]: base64.b64decode(detail["value"] + "==") for detail in error["details"]}
    info = error_details_pb2.ErrorInfo.FromString(details["google.rpc.ErrorInfo"])
    assert (info.reason, info.domain) == ("INVALID_REQUEST", "hmsact")
    request = error_details_pb2.BadRequest.FromString(details["google.rpc.BadRequest"])
    fields = [violation.field for violation in request.field_violations]
    assert fields == ["definition/steps/0/sla", "definition/steps/0/step", "key"]


def test_health_is_told_without_a_token(daemon: Daemon) -> None:
    for service in ("", "hmsact.v1.OperationService", "hmsact.v1.WorkerService"):
        health = answer(curl(daemon.address, "/grpc.health.v1.Health/Check", said={"service": service}))
        assert health == {"status": "SERVING"}
    assert "not_found" in curl(daemon.address, "/grpc.health.v1.Health/Check", said={"service": "nothing"}).stderr


@contextmanager
def in_production(data: Path) -> Iterator[tuple[str, Daemon]]:
    """A daemon without --dev; its address, and enough of a Daemon to ask its HTTP side."""
    command = [str(BIN / "hmsactd"), "serve", "--ready-json", "--log-level", "error"]
    command += ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            shown = Daemon(data)
            shown.http = ready["http"]
            yield ready["grpc"], shown
        finally:
            process.terminate()
            assert process.wait(20) == 0


def test_without_dev_nothing_is_described_and_nobody_is_let_in_but_health_is_told(tmp_path: Path) -> None:
    with in_production(tmp_path / "data") as (address, daemon):
        hidden = curl(address, "", "--list-methods")
        assert hidden.returncode != 0
        assert "hmsact.v1" not in hidden.stdout
        for token in (None, OFFICER, "dev:svc/IRS"):
            with Caller(address, token) as caller:
                for call in (
                    lambda caller=caller: caller.started(checkpoint()),
                    lambda caller=caller: caller.call(caller.system.Whoami, system_pb2.WhoamiRequest()),
                    lambda caller=caller: caller.get("op"),
                ):
                    with refused("UNAUTHENTICATED"):
                        call()
                with RawWorker(caller, hello()) as worker, refused("UNAUTHENTICATED"):
                    worker.ended()
        with Caller(address) as caller:
            stub: Any = health_pb2_grpc.HealthStub(caller.channel)
            health = stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
            assert health.status == health_pb2.HealthCheckResponse.SERVING
        assert fetch(daemon, "/readyz")[0] == 200
