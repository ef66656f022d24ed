"""The command line against a scripted daemon: what it asks, what it prints, and its exit codes."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from hmsact.cli import run
from hmsact.v1 import checkpoint_pb2, event_pb2, job_pb2, operation_pb2, principal_pb2, system_pb2, timeline_pb2

from tests.sdk.fake import OPERATION, START, FakeDaemon, event, frame, operation, recorded, refuse

DEFINITION = {"name": "loan_forgiveness", "steps": [{"step": "validate_form", "svc": "FSA"}]}


@dataclass(frozen=True, slots=True)
class Said:
    """What a command has said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document it has printed."""
        return json.loads(self.out)


Hmsact = Callable[..., Said]


@pytest.fixture
def hmsact(fake: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> Hmsact:
    def command(*arguments: str) -> Said:
        code = run([*arguments, "--address", fake.address] if arguments else [])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return command


@pytest.fixture(autouse=True)
def _operation(fake: FakeDaemon) -> None:
    fake.on("GetOperation", operation_pb2.GetOperationResponse(operation=operation()))


@pytest.fixture
def definition(tmp_path: Path) -> str:
    file = tmp_path / "flow.json"
    file.write_text(json.dumps(DEFINITION))
    return str(file)


# -- every command -----------------------------------------------------------------------------------------------------


def test_global_options_stand_before_the_command_or_after_it(fake: FakeDaemon, hmsact: Hmsact) -> None:
    fake.on("Whoami", system_pb2.WhoamiResponse(principal=operation().started_by, permissions=["a", "b"]))
    after = hmsact("whoami", "--token", "t", "--namespace", "loans", "--json")
    before = hmsact("--token", "t", "--namespace", "loans", "--json", "whoami")
    assert after.json == before.json
    assert after.json["permissions"] == ["a", "b"]
    assert {heard.metadata["authorization"] for heard in fake.heard} == {"Bearer t"}


def test_for_whom_a_program_acts_is_read_from_a_file_or_the_environment_and_is_no_argument(
    fake: FakeDaemon, hmsact: Hmsact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = principal_pb2.Principal(issuer="workload", subject="portal", on_behalf_of="https://idp.gov:8443/staff:alice")
    fake.on("Whoami", system_pb2.WhoamiResponse(principal=who))
    file = tmp_path / "token"
    file.write_text("in.a.file\n")
    monkeypatch.setenv("HMSACT_ON_BEHALF_OF", "in.the.environment")
    said = hmsact("whoami", "--on-behalf-of", str(file))
    assert "on behalf of  https://idp.gov:8443/staff:alice" in said.out
    assert hmsact("whoami", "--json").json["on_behalf_of"] == "https://idp.gov:8443/staff:alice"
    assert [heard.metadata["hmsact-on-behalf-of"] for heard in fake.heard] == ["in.a.file", "in.the.environment"]
    said = hmsact("whoami", "--on-behalf-of", "no.such.token")
    assert said.code == 2
    assert "no.such.token can't be read" in said.err


def test_get_tells_who_had_signed_in_from_who_was_only_named(fake: FakeDaemon, hmsact: Hmsact) -> None:
    def started(requested_by: str, on_behalf_of: str, *, is_verified: bool = False) -> str:
        found = operation(requested_by=requested_by, is_requested_by_verified=is_verified)
        found.started_by.on_behalf_of = on_behalf_of
        fake.on("GetOperation", operation_pb2.GetOperationResponse(operation=found))
        return next(line for line in hmsact("get", OPERATION).out.splitlines() if "started" in line).partition("by ")[2]

    alice, by = "https://idp.gov:alice", operation().started_by.subject
    assert started("", "") == by
    assert started("Jane Roe", "") == f"{by}, as they said for Jane Roe"
    assert started(alice, alice, is_verified=True) == f"{by} for alice, who had signed in"
    assert started("Jane Roe", alice) == f"{by} for alice, who had signed in, as they said for Jane Roe"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["approve"], "hmsact approve: Missing argument 'OP'. (see hmsact approve --help)"),
        (["whoami", "--bogus"], "hmsact whoami: No such option '--bogus'. (see hmsact whoami --help)"),
        (["aprove"], "hmsact: No such command 'aprove'. Did you mean 'approve'? (see hmsact --help)"),
        (["frobnicate"], "hmsact: No such command 'frobnicate'. (see hmsact --help)"),
        (["skip", "op", "step"], "hmsact skip: Missing option '--reason'. (see hmsact skip --help)"),
        (
            ["start", "/no/such"],
            "hmsact start: /no/such can't be read: No such file or directory (see hmsact start --help)",
        ),
        (
            ["approve", "op", "human_review"],
            "hmsact approve: no terminal to ask at: --yes decides without asking (see hmsact approve --help)",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(hmsact: Hmsact, arguments: list[str], sentence: str) -> None:
    said = hmsact(*arguments)
    assert (said.code, said.out, said.err) == (2, "", sentence + "\n")


def test_a_refusal_is_one_harmless_line_and_exit_code_1(fake: FakeDaemon, hmsact: Hmsact) -> None:
    fake.on("Whoami", lambda _, context: refuse(context, grpc.StatusCode.PERMISSION_DENIED, "you\x1b[2J may\nnot"))
    said = hmsact("whoami")
    assert (said.code, said.out, said.err) == (1, "", "hmsact: you\\x1b[2J may\\nnot\n")


def test_faults_that_the_daemon_has_left_out_are_counted(fake: FakeDaemon, hmsact: Hmsact, definition: str) -> None:
    faults = error_details_pb2.BadRequest()
    for place in ("definition/name", "definition/steps/0"):
        faults.field_violations.add(field=place, description="is wrong")
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    for rpc in ("StartOperation", "Whoami"):
        fake.on(rpc, lambda _, context: refuse(context, invalid, "clipp…", "BAD", faults, violations_left_out="6"))
    lines = ["  definition/name: is wrong", "  definition/steps/0: is wrong", "  … and 6 more"]
    said = hmsact("start", definition)
    assert (said.code, said.err.splitlines()) == (1, [f"hmsact: {definition} has 8 faults:", *lines])
    said = hmsact("whoami")
    assert (said.code, said.err.splitlines()) == (1, ["hmsact: the request has 8 faults:", *lines])


def test_an_address_is_a_host_and_a_port(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["whoami", "--address", "http://localhost:7400"]) == 2
    assert "http://localhost:7400 is not written HOST:PORT" in capsys.readouterr().err


def test_no_command_shows_what_there_is(hmsact: Hmsact) -> None:
    said = hmsact()
    assert said.code == 2
    assert "approve" in said.err
    assert hmsact("--help").code == 0


# -- start -------------------------------------------------------------------------------------------------------------


def test_start_prints_the_id(fake: FakeDaemon, hmsact: Hmsact, definition: str, tmp_path: Path) -> None:
    fake.on("StartOperation", operation_pb2.StartOperationResponse(operation_id=OPERATION, recorded=recorded()))
    (tmp_path / "input.json").write_text('{"a": 1}')
    said = hmsact(
        *("start", definition, "--input", f"@{tmp_path / 'input.json'}", "--label", "office=east", "--label", "n=a=b"),
        *("--key", "case-7", "--request-id", "mine", "--for", "maria"),
    )
    assert (said.code, said.out) == (0, f"{OPERATION}\n")
    (asked,) = fake.requests("StartOperation")
    assert json.loads(asked.definition) == DEFINITION
    assert asked.input == b'{"a":1}'
    assert dict(asked.labels) == {"office": "east", "n": "a=b"}
    assert (asked.key, asked.request_id, asked.requested_by) == ("case-7", "mine", "maria")
    assert hmsact("start", definition, "--json").json["id"] == OPERATION


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--input", "{"], "--input is not JSON"),
        (["--input", "@/no/such"], "/no/such can't be read"),
        (["--label", "office"], "a label is written NAME=VALUE"),
    ],
)
def test_start_says_what_it_cannot_read(hmsact: Hmsact, definition: str, options: list[str], sentence: str) -> None:
    said = hmsact("start", definition, *options)
    assert said.code == 2
    assert sentence in said.err


# -- find --------------------------------------------------------------------------------------------------------------


def test_list_shows_columns_and_says_how_many_are_left_out(fake: FakeDaemon, hmsact: Hmsact) -> None:
    summary = operation(
        key="case-7", awaited=operation_pb2.Awaited(kind="decision", who="fsa.officer", name="human_review")
    )
    fake.on("ListOperations", operation_pb2.ListOperationsResponse(operations=[summary]))
    fake.on("CountOperations", operation_pb2.CountOperationsResponse(count=3))
    said = hmsact("list", "--state", "running", "--label", "office=east")
    header, row = said.out.splitlines()
    assert header.split() == ["ID", "NAME", "STATE", "STARTED", "KEY", "WAITS", "FOR"]
    assert row.startswith(f"{OPERATION}  loan_forgiveness  running  ")
    assert row.endswith("case-7  human_review: a decision of fsa.officer")
    assert said.err == "… and 2 more (--limit)\n"
    assert fake.requests("ListOperations")[0].filter == 'state = "running" AND labels.office = "east"'
    assert hmsact("list", "--json").json["awaited"]["who"] == "fsa.officer"


def test_an_empty_list_says_so_beside_the_output(fake: FakeDaemon, hmsact: Hmsact) -> None:
    fake.on("ListOperations", operation_pb2.ListOperationsResponse())
    fake.on("CountOperations", operation_pb2.CountOperationsResponse())
    said = hmsact("list")
    assert (said.code, said.out, said.err) == (0, "", "No operations.\n")


def test_get_shows_the_flow(fake: FakeDaemon, hmsact: Hmsact) -> None:
    whole = operation(input=b'{"name":"\\u001b[2J"}')
    whole.items[0].step.state = operation_pb2.STEP_STATE_DONE
    whole.items[1].step.state = operation_pb2.STEP_STATE_RETRYING
    whole.items[1].step.attempt = 2
    whole.items[1].step.code = "HTTP_502"
    whole.items[2].checkpoint.state = operation_pb2.CHECKPOINT_STATE_PENDING
    whole.items[2].checkpoint.assigned_to = "dev:jdavis@fsa.gov"
    fake.on("GetOperation", operation_pb2.GetOperationResponse(operation=whole))
    said = hmsact("get", "01jnz")
    assert [line.split() for line in said.out.splitlines() if "_" in line][1:] == [
        ["validate_form", "FSA", "done"],
        ["eligibility_check", "IRS", "retrying", "attempt", "2,", "HTTP_502"],
        ["human_review", "fsa.officer", "pending", "assigned", "to", "jdavis@fsa.gov"],
    ]
    assert "\x1b" not in said.out
    assert hmsact("get", "01jnz", "--json").json["items"][0]["step"] == {"state": "done", "svc": "FSA"}


# -- follow ------------------------------------------------------------------------------------------------------------

STORY = [
    event(1, "operation_started", by="dev:developer"),
    event(2, "step_done", "validate_form", after_s=1),
    event(3, "checkpoint_pending", "human_review", after_s=3, role="fsa.officer"),
]


def test_events_are_plain_lines_when_nobody_looks(fake: FakeDaemon, hmsact: Hmsact) -> None:
    fake.on("WatchOperation", lambda *_: map(frame, STORY))
    said = hmsact("events", "01jnz")
    assert said.out.splitlines() == [
        "00:01 VALIDATE_FORM → done",
        "00:03 HUMAN_REVIEW → pending (waiting on officer)",
    ]
    lines = hmsact("events", "01jnz", "--all", "--json", "--no-follow", "--after", "cursor-0").out.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["operation_started", "step_done", "checkpoint_pending"]
    assert (fake.requests("WatchOperation")[-1].after, fake.requests("WatchOperation")[-1].no_follow) == (
        "cursor-0",
        True,
    )


def streamed(position: int, story: event_pb2.Event) -> timeline_pb2.WatchEventsResponse:
    placed = timeline_pb2.PlacedEvent(position=position, event=story, definition="loan_forgiveness")
    placed.start_time.FromDatetime(START)
    return timeline_pb2.WatchEventsResponse(
        from_position=position, to_position=position + 1, events=[placed], cursor=story.cursor, size=9
    )


def test_watch_is_lines_that_a_stranger_can_read(fake: FakeDaemon, hmsact: Hmsact) -> None:
    fake.on("WatchEvents", lambda *_: (streamed(number, story) for number, story in enumerate(STORY)))
    said = hmsact("watch", "--utc", "--no-follow", "--from-start")
    assert said.out.splitlines() == [
        "2026-03-02 10:02:14  4y3x2w1z  loan_forgiveness  00:00 LOAN_FORGIVENESS → started by developer",
        "2026-03-02 10:02:15  4y3x2w1z  loan_forgiveness  00:01 VALIDATE_FORM → done",
        "2026-03-02 10:02:17  4y3x2w1z  loan_forgiveness  00:03 HUMAN_REVIEW → pending (waiting on officer)",
    ]
    asked = fake.requests("WatchEvents")[-1]
    assert (asked.from_beginning, asked.no_follow, asked.filter.narrated) == (True, True, True)


def test_watch_says_one_object_a_line_to_programs(fake: FakeDaemon, hmsact: Hmsact) -> None:
    fake.on("WatchEvents", lambda *_: (streamed(number, story) for number, story in enumerate(STORY)))
    filtered = ("--kind", "step_done", "--kind", "step_failed", "--name", "flow", "--item", "check", "--by", "agent")
    lines = hmsact("watch", "--json", "--after", "cursor-0", "--all", *filtered).out.splitlines()
    told = [json.loads(line) for line in lines]
    assert [(each["position"], each["cursor"], each["kind"]) for each in told] == [
        (0, "cursor-1", "operation_started"),
        (1, "cursor-2", "step_done"),
        (2, "cursor-3", "checkpoint_pending"),
    ]
    asked = fake.requests("WatchEvents")[-1]
    assert asked.after == "cursor-0"
    assert asked.filter == timeline_pb2.EventFilter(
        kinds=["step_done", "step_failed"],
        definitions=["flow"],
        subjects=["check"],
        principal_kinds=[principal_pb2.PRINCIPAL_KIND_AGENT],
    )


def test_watch_begins_at_one_place(hmsact: Hmsact) -> None:
    said = hmsact("watch", "--from-start", "--since", "1h")
    assert (said.code, said.out) == (2, "")
    assert "once" in said.err
    assert hmsact("watch", "--since", "soon").code == 1
    assert hmsact("watch", "--by", "robot").code == 1


def test_timeline_is_a_replay(fake: FakeDaemon, hmsact: Hmsact) -> None:
    final = operation(state=operation_pb2.OPERATION_STATE_CANCELLED)
    fake.on("GetOperation", operation_pb2.GetOperationResponse(operation=final))
    fake.on("WatchOperation", lambda *_: map(frame, STORY))
    assert hmsact("timeline", "01jnz", "--utc").out.splitlines() == [
        "[10:02:15 UTC] validate_form ✅",
        "[10:02:17 UTC] human_review ✋ waiting  (Role: fsa.officer)",
    ]
    assert len(hmsact("timeline", "01jnz", "--all", "--json").out.splitlines()) == 3


# -- steer -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "rpc", "response", "done"),
    [
        (["pause", "01jnz", "--reason", "r"], "PauseOperation", operation_pb2.PauseOperationResponse, "paused"),
        (["resume", "01jnz", "--reason", "r"], "ResumeOperation", operation_pb2.ResumeOperationResponse, "resumed"),
        (["cancel", "01jnz", "--reason", "r"], "CancelOperation", operation_pb2.CancelOperationResponse, "cancelled"),
        (["retry", "01jnz", "s", "--reason", "r"], "RetryStep", operation_pb2.RetryStepResponse, "s retried"),
        (["skip", "01jnz", "s", "--reason", "r"], "SkipStep", operation_pb2.SkipStepResponse, "s skipped"),
    ],
)
def test_steering_resolves_the_id_first_and_says_what_was_recorded(
    fake: FakeDaemon, hmsact: Hmsact, arguments: list[str], rpc: str, response: Any, done: str
) -> None:
    fake.on(rpc, response(recorded=recorded()))
    assert hmsact(*arguments).out == f"{OPERATION} {done}; it is running (event 7)\n"
    (asked,) = fake.requests(rpc)
    assert (asked.operation_id, asked.reason) == (OPERATION, "r")
    told = hmsact(*arguments, "--json").json
    assert (told["operation_id"], told["sequence"], told["receipt"]["leaf"]) == (OPERATION, 7, "abcd")


# -- decide ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shown(fake: FakeDaemon) -> checkpoint_pb2.GetCheckpointResponse:
    whole = operation(input=b'{"income":41250}')
    whole.items[0].step.state = operation_pb2.STEP_STATE_DONE
    whole.items[0].step.output = b'{"ok":true}'
    whole.items[1].step.state = operation_pb2.STEP_STATE_SKIPPED
    whole.items[2].checkpoint.claimed_by = "dev:tlee@fsa.gov"
    response = checkpoint_pb2.GetCheckpointResponse(
        operation=whole, checkpoint=whole.items[2], releases=["update_balance"], digest="c6ff51", may_decide=True
    )
    response.since_time.FromDatetime(START)
    fake.on("GetCheckpoint", response)
    fake.on("ApproveCheckpoint", checkpoint_pb2.ApproveCheckpointResponse(recorded=recorded()))
    fake.on("RejectCheckpoint", checkpoint_pb2.RejectCheckpointResponse(recorded=recorded()))
    return response


@pytest.mark.usefixtures("shown")
def test_approve_shows_what_is_decided_and_names_its_digest(fake: FakeDaemon, hmsact: Hmsact) -> None:
    said = hmsact("approve", "01jnz", "human_review", "--yes", "--comment", "fine")
    for part in (
        "claimed by tlee@fsa.gov",
        '"income": 41250',
        '"ok": true',
        "eligibility_check\n    skipped",
        "An approval releases update_balance; a rejection ends the operation.",
        "Digest of all this: c6ff51",
        f"{OPERATION} human_review approved; it is running (event 7)",
    ):
        assert part in said.out
    (asked,) = fake.requests("ApproveCheckpoint")
    assert (asked.operation_id, asked.checkpoint, asked.comment, asked.seen) == (
        OPERATION,
        "human_review",
        "fine",
        "c6ff51",
    )


@pytest.mark.usefixtures("shown")
def test_reject_does_alike_and_json_goes_beside_what_people_see(fake: FakeDaemon, hmsact: Hmsact) -> None:
    said = hmsact("reject", "01jnz", "human_review", "--yes", "--json")
    assert said.json["state"] == "running"
    assert "Digest of all this" in said.err
    assert fake.requests("RejectCheckpoint")[0].seen == "c6ff51"


def test_whoever_may_not_decide_is_told_why_and_the_daemon_has_the_last_word(
    fake: FakeDaemon, hmsact: Hmsact, shown: checkpoint_pb2.GetCheckpointResponse
) -> None:
    shown.may_decide, shown.refusal = False, "dev:developer started the operation"
    fake.on("ApproveCheckpoint", lambda _, context: refuse(context, grpc.StatusCode.PERMISSION_DENIED, "not you"))
    said = hmsact("approve", "01jnz", "human_review", "--yes")
    assert said.code == 1
    assert "started the operation" not in said.out
    assert said.err == "hmsact: not you\n"


def test_inbox_lists_what_waits(fake: FakeDaemon, hmsact: Hmsact) -> None:
    pending = checkpoint_pb2.PendingCheckpoint(
        operation_id=OPERATION,
        definition="loan_forgiveness",
        checkpoint="human_review",
        role="fsa.officer",
        assigned_to="dev:jdavis@fsa.gov",
        may_decide=True,
    )
    pending.since_time.FromDatetime(START)
    fake.on("ListCheckpoints", checkpoint_pb2.ListCheckpointsResponse(checkpoints=[pending]))
    row = hmsact("inbox", "--role", "fsa.officer").out.splitlines()[1].split()
    assert row[:4] == [OPERATION, "loan_forgiveness", "human_review", "fsa.officer"]
    assert row[-2:] == ["jdavis@fsa.gov", "yes"]
    told = hmsact("inbox", "--json").json
    assert (told["checkpoint"], told["since_time"], told["may_decide"]) == (
        "human_review",
        "2026-03-02T10:02:14.000Z",
        True,
    )
    fake.on("ListCheckpoints", checkpoint_pb2.ListCheckpointsResponse())
    assert hmsact("inbox").err == "Nothing waits for a decision.\n"


@pytest.mark.parametrize(
    ("arguments", "rpc", "response", "done"),
    [
        (["claim"], "ClaimCheckpoint", checkpoint_pb2.ClaimCheckpointResponse, "claimed"),
        (["release"], "ReleaseCheckpoint", checkpoint_pb2.ReleaseCheckpointResponse, "released"),
        (
            ["assign", "--to", "dev:tlee@fsa.gov"],
            "AssignCheckpoint",
            checkpoint_pb2.AssignCheckpointResponse,
            "assigned to dev:tlee@fsa.gov",
        ),
    ],
)
def test_decisions_are_handed_over(
    fake: FakeDaemon, hmsact: Hmsact, arguments: list[str], rpc: str, response: Any, done: str
) -> None:
    fake.on(rpc, response(recorded=recorded()))
    said = hmsact(*arguments, "01jnz", "human_review", "--comment", "holidays")
    assert said.out.startswith(f"{OPERATION} human_review {done}; ")
    assert fake.requests(rpc)[0].reason == "holidays"


def test_list_says_every_option_in_one_filter_and_counts_with_it(fake: FakeDaemon, hmsact: Hmsact) -> None:
    groups = [operation_pb2.CountedGroup(value="stalled", count=1200)]
    fake.on("CountOperations", operation_pb2.CountOperationsResponse(count=1200, is_at_least=True, groups=groups))
    said = hmsact(
        *("list", "--count", "--by", "state", "--state", "stalled", "--state", "waiting", "--service", "IRS"),
        *("--has-label", "office", "--text", "jane roe", "--since", "2026-11-01T00:00:00+00:00"),
    )
    asked = fake.requests("CountOperations")[0]
    assert asked.group_by == "state"
    state, text, service, label, since = asked.filter.split(" AND ")
    assert state == 'state = "stalled" OR state = "waiting"'
    assert (text, service, label) == ('text = "jane roe"', 'awaited.service = "IRS"', "labels.office:*")
    assert since.startswith('start_time >= "2026-1')
    assert said.out.splitlines() == ["stalled  1,200", "at least 1,200"]


def test_list_names_all_bad_values_at_once(hmsact: Hmsact) -> None:
    said = hmsact("list", "--state", "odd", "--alarm", "red", "--label", "x", "--since", "yesterday")
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    assert "\\n" not in said.err
    for wrong in ("--state odd", "--alarm red", "--label x", "--since yesterday"):
        assert wrong in said.err


@pytest.mark.parametrize("option", ["--key", "--name", "--text", "--person", "--has-label", "--awaited-kind"])
@pytest.mark.parametrize("command", [("list",), ("bulk", "cancel", "--reason", "r", "--yes")])
def test_an_empty_option_is_wrong_and_never_means_more_operations(
    hmsact: Hmsact, command: tuple[str, ...], option: str
) -> None:
    said = hmsact(*command, "--state", "waiting", option, "")
    assert (said.code, said.out) == (2, "")
    assert f"{option} is empty" in said.err


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *((("start", "FILE"), option) for option in ("--key", "--request-id", "--reason", "--for")),
        (("bulk", "cancel", "--state", "waiting", "--yes"), "--reason"),
        (("complete", "done_x"), "--error"),
        *((("complete", "done_x", "--error", "no"), option) for option in ("--code", "--request-id", "--retry-after")),
        (("cancel", OPERATION), "--reason"),
        (("approve", OPERATION, "human_review", "--yes"), "--comment"),
    ],
)
def test_an_empty_option_does_not_mean_that_nothing_was_said(
    fake: FakeDaemon, hmsact: Hmsact, definition: str, command: tuple[str, ...], option: str
) -> None:
    said = hmsact(*(definition if word == "FILE" else word for word in command), option, "")
    assert (said.code, said.out) == (2, "")
    assert f"{option} is empty" in said.err
    assert not fake.heard


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--error", "x", "--retry-after", "-5s"), "--retry-after -5s is not how long"),
        (("--error", "x", "--retry-after", "soon"), "--retry-after soon is not how long"),
        (("--error", "x", "--retry-after", "99999999999999w"), "--retry-after 99999999999999w is not how long"),
        (("--output", "NaN"), "--output is not JSON"),
        (("--output", '{"a": [1e999]}'), "--output is not JSON"),
        (("--output", '"\\ud800"'), "--output is not JSON"),
        (("--output", "[" * 100_000), "--output is not JSON"),
    ],
)
def test_what_complete_cannot_read_is_wrong_usage(
    fake: FakeDaemon, hmsact: Hmsact, options: tuple[str, ...], sentence: str
) -> None:
    said = hmsact("complete", "done_x", *options)
    assert (said.code, said.out) == (2, "")
    assert sentence in said.err
    assert not fake.heard


@pytest.mark.parametrize("options", [(), ("--yes",), ("--detach",), ("--yes", "--detach", "--json")])
def test_bulk_begins_no_job_if_no_operation_matches(fake: FakeDaemon, hmsact: Hmsact, options: tuple[str, ...]) -> None:
    fake.on("CancelOperations", job_pb2.BeginJobResponse(job=job_pb2.Job(expected_count=0)))
    said = hmsact("bulk", "cancel", "--state", "waiting", "--reason", "r", *options)
    assert (said.code, said.out, said.err) == (0, "", "No operation matches.\n")
    assert [asked.validate_only for asked in fake.requests("CancelOperations")] == [True]
