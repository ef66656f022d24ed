"""Following everything: it goes on by itself, and a daemon that lies to a follower who wants proof is found out."""

from collections.abc import Iterator

import grpc
import pytest
from hmsact import (
    AsyncOrchestrator,
    InvalidArgument,
    NotProved,
    Orchestrator,
    PreconditionFailed,
)
from hmsact.commands.watch import ShownIds
from hmsact.note import VerifierKey
from hmsact.v1 import principal_pb2
from hmsact.v1 import timeline_pb2 as pb

from hmsactd.rpc import everything as module
from hmsactd.rpc import frames
from hmsactd.timeline.keys import fresh_keys
from tests.sdk.fake import Context, FakeDaemon, refuse
from tests.sdk.tale import Lie, Messages, Tale

NAMESPACE = "other"
GROWN = 80


@pytest.fixture(autouse=True)
def _short_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "ROWS_MAX", 9)
    monkeypatch.setattr(module, "REST_MAX_S", 0.0)
    monkeypatch.setattr("hmsact.place.Patience.lost_s", _at_once)


def _at_once(patience: object, error: Exception) -> float:
    if getattr(error, "reason", "") == "CUT":
        return 0.0
    raise error


@pytest.fixture
def tale(fake: FakeDaemon) -> Iterator[Tale]:
    tale = Tale(fake, fresh_keys())
    tale.grow(GROWN)
    yield tale
    tale.close()


@pytest.fixture
def act(fake: FakeDaemon) -> Iterator[Orchestrator]:
    with Orchestrator(fake.address, namespace=NAMESPACE, timeout="10s") as act:
        yield act


def told(act: Orchestrator, **said: object) -> list[int | None]:
    stream = act.stream(**{"from_start": True, "all": True, "follow": False, "prove": True, **said})  # type: ignore[arg-type]
    return [event.position for event in stream]


# -- the truth ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prove", [True, False])
def test_cut_after_any_message_it_goes_on_without_gap_or_repetition(tale: Tale, act: Orchestrator, prove: bool) -> None:
    expected = tale.expected(NAMESPACE)
    for every in (1, 2, 3):
        tale.breaks = iter([every + 1] * 200)
        # Cut after its first stretch and ever again, a stream that always began anew would never end.
        assert told(act, prove=prove) == expected
    assert len(expected) > 20


@pytest.mark.parametrize("prove", [True, False])
def test_resumed_in_another_process_at_any_event_it_misses_and_repeats_nothing(
    tale: Tale, act: Orchestrator, prove: bool
) -> None:
    expected = tale.expected(NAMESPACE)
    first = act.stream(from_start=True, all=True, follow=False, prove=prove)
    for number, event in enumerate(first, 1):
        assert first.cursor == event.cursor
        assert told(act, from_start=False, after=event.cursor, prove=prove) == expected[number:]
    assert told(act, from_start=False, after=first.cursor, prove=prove) == []
    tale.grow(5)
    grown = tale.expected(NAMESPACE)
    assert told(act, from_start=False, after=first.cursor, prove=prove) == grown[len(expected) :]


def test_a_proved_stream_says_how_far_it_is_proved(tale: Tale, act: Orchestrator) -> None:
    stream = act.stream(from_start=True, all=True, follow=False, prove=True)
    for event in stream:
        assert event.position is not None
        assert stream.proved_size > event.position
    assert (stream.proved_size, stream.size, stream.lag) == (tale.size, tale.size, 0)


def test_it_is_proved_from_the_middle_on_too_and_joined_to_a_seal_that_was_kept(tale: Tale, act: Orchestrator) -> None:
    seal = tale.seal()
    tale.grow(10)
    plain = act.stream(from_start=True, all=True, follow=False)
    cursors = [event.cursor for event in plain]
    expected = tale.expected(NAMESPACE)
    for number in (0, 5, len(cursors) - 2, len(cursors) - 1):
        # A cursor of a stream without proof says nothing of the log before it: the next seal does.
        after = cursors[number]
        assert told(act, from_start=False, after=after) == expected[number + 1 :]
        assert told(act, from_start=False, after=after, seal=seal) == expected[number + 1 :]
    assert told(act, seal=seal) == expected
    assert told(act, from_start=False, seal=seal) == []


def test_the_key_that_is_trusted_may_be_given(tale: Tale, act: Orchestrator) -> None:
    key = tale.ledger.timelines.verifier_key
    assert told(act, key=key) == tale.expected(NAMESPACE)
    other = VerifierKey(VerifierKey.parse(key).name, bytes(32))
    with pytest.raises(NotProved, match="not signed by"):
        told(act, key=str(other))
    with pytest.raises(InvalidArgument, match="not signed by"):
        told(act, key=str(other), seal=tale.seal())
    with pytest.raises(InvalidArgument, match="key"):
        told(act, key="no key")
    with pytest.raises(InvalidArgument, match="seal"):
        told(act, seal="no seal")


async def test_coroutines_follow_everything_too(tale: Tale, fake: FakeDaemon) -> None:
    async with AsyncOrchestrator(fake.address, namespace=NAMESPACE) as act:
        tale.breaks = iter([2, 3])
        async with act.stream(from_start=True, all=True, follow=False, prove=True) as stream:
            positions = [event.position async for event in stream]
        assert positions == tale.expected(NAMESPACE)
        assert stream.proved_size == tale.size


def test_events_say_what_their_operation_is(tale: Tale, act: Orchestrator) -> None:
    for event in act.stream(from_start=True, all=True, follow=False):
        assert event.operation_name in ("loan_forgiveness", "appeal")
        assert event.namespace == NAMESPACE
        assert event.elapsed.total_seconds() >= 0
        assert event.as_json()["position"] == event.position
        assert event.svc or not event.kind.startswith("step_")


# -- lies --------------------------------------------------------------------------------------------------------------


def stretches(messages: Messages) -> list[pb.WatchEventsResponse]:
    return [message for message in messages if message.to_position > message.from_position]


def with_events(messages: Messages, least: int = 1) -> pb.WatchEventsResponse:
    """A stretch in the middle with some events."""
    return next(message for message in stretches(messages)[2:] if len(message.events) >= least)


def an_event(messages: Messages) -> pb.PlacedEvent:
    return with_events(messages).events[-1]


def drop_message(messages: Messages) -> None:
    messages.remove(stretches(messages)[2])


def swap_messages(messages: Messages) -> None:
    messages[3], messages[4] = messages[4], messages[3]


def repeat_message(messages: Messages) -> None:
    messages.insert(4, messages[3])


def drop_first_message(messages: Messages) -> None:
    del messages[0]


def end_before_the_seal(messages: Messages) -> None:
    messages[-1].seal = ""


def drop_every_seal(messages: Messages) -> None:
    for message in messages:
        message.seal = ""


def drop_position(messages: Messages) -> None:
    """As if it had never been: every position after it moves."""
    shrunk = with_events(messages)
    shrunk.leaves = shrunk.leaves[:-32]
    if shrunk.events[-1].position == shrunk.to_position - 1:
        del shrunk.events[-1]
    for message in messages[messages.index(shrunk) :]:
        message.from_position -= message is not shrunk
        message.to_position -= 1


def drop_leaf(messages: Messages) -> None:
    message = with_events(messages)
    message.leaves = message.leaves[:-32]


def add_leaf(messages: Messages) -> None:
    with_events(messages).leaves += bytes(32)


def swap_leaves(messages: Messages) -> None:
    message = next(each for each in stretches(messages) if len(each.leaves) >= 64)
    message.leaves = message.leaves[32:64] + message.leaves[:32] + message.leaves[64:]
    del message.events[:]


def change_withheld_leaf(messages: Messages) -> None:
    for message in stretches(messages):
        shown = {placed.position for placed in message.events}
        for position in range(message.from_position, message.to_position):
            if position not in shown:
                at = 32 * (position - message.from_position)
                message.leaves = message.leaves[:at] + bytes(32) + message.leaves[at + 32 :]
                return


def change_record(messages: Messages) -> None:
    event = an_event(messages).event
    event.record = event.record.replace(b'"epoch":1', b'"epoch":2')


def change_record_and_leaf(messages: Messages) -> None:
    from hmsact.record import leaf_hash

    change_record(messages)
    message = with_events(messages)
    at = 32 * (message.events[-1].position - message.from_position)
    leaf = leaf_hash(message.events[-1].event.record)
    message.leaves = message.leaves[:at] + leaf + message.leaves[at + 32 :]


def no_record(messages: Messages) -> None:
    an_event(messages).event.record = b""


def garbled_record(messages: Messages) -> None:
    an_event(messages).event.record = "ü".encode()


def change_kind(messages: Messages) -> None:
    an_event(messages).event.kind = "operation_completed"


def change_who(messages: Messages) -> None:
    an_event(messages).event.principal.subject = "mallory"


def change_what_kind_of_principal(messages: Messages) -> None:
    an_event(messages).event.principal.kind = principal_pb2.PRINCIPAL_KIND_AGENT


def change_time(messages: Messages) -> None:
    an_event(messages).event.time.seconds += 1


def change_operation(messages: Messages) -> None:
    an_event(messages).event.operation_id = "op_another"


def change_code(messages: Messages) -> None:
    an_event(messages).event.data.code = "FINE"


def add_words(messages: Messages) -> None:
    an_event(messages).event.payloads["confession"] = b'"it was me"'


def move_event(messages: Messages) -> None:
    message = with_events(messages)
    shown = {placed.position for placed in message.events}
    message.events[-1].position = next(
        (each for each in range(message.from_position, message.to_position) if each not in shown),
        message.from_position,
    )


def repeat_event(messages: Messages) -> None:
    message = with_events(messages)
    message.events.append(message.events[-1])


def reverse_events(messages: Messages) -> None:
    message = with_events(messages, 2)
    events = list(message.events)[::-1]
    del message.events[:]
    message.events.extend(events)


def event_of_another_stretch(messages: Messages) -> None:
    message = with_events(messages)
    messages[messages.index(message) + 1].events.insert(0, message.events.pop())


def withhold_one(messages: Messages) -> None:
    del with_events(messages).events[0]


def forge_seal(messages: Messages) -> None:
    message = with_events(messages)
    body, _, tail = message.seal.rpartition("\n\n")
    name, _, _ = tail.rpartition(" ")
    message.seal = f"{body}\n\n{name} {'A' * 90}==\n"


def garbled_seal(messages: Messages) -> None:
    with_events(messages).seal = "no seal"


def seal_of_another_size(messages: Messages) -> None:
    sealed = stretches(messages)
    sealed[3].seal = sealed[2].seal


def shrink_the_log(messages: Messages) -> None:
    message = stretches(messages)[3]
    message.size = message.to_position - 1


LIES: tuple[Lie, ...] = (
    drop_message,
    swap_messages,
    repeat_message,
    end_before_the_seal,
    drop_every_seal,
    drop_position,
    drop_leaf,
    add_leaf,
    swap_leaves,
    change_withheld_leaf,
    change_record,
    change_record_and_leaf,
    no_record,
    garbled_record,
    change_kind,
    change_who,
    change_what_kind_of_principal,
    change_time,
    change_operation,
    change_code,
    add_words,
    move_event,
    repeat_event,
    reverse_events,
    event_of_another_stretch,
    forge_seal,
    garbled_seal,
    seal_of_another_size,
    shrink_the_log,
)


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_lie_is_found_out_where_it_is_told(tale: Tale, act: Orchestrator, lie: Lie) -> None:
    expected = tale.expected(NAMESPACE)
    tale.lie = lie
    stream = act.stream(from_start=True, all=True, follow=False, prove=True)
    given: list[int | None] = []
    with pytest.raises(NotProved) as raised:
        given.extend(event.position for event in stream)
    # Nothing is given out that is not proved, and the place that is named is not before what is.
    assert given == expected[: len(given)]
    assert all(position is not None and position < stream.proved_size for position in given)
    assert raised.value.position <= tale.size
    assert raised.value.code == "DATA_LOSS"


def test_an_event_that_is_withheld_leaves_a_hole_in_the_chain_of_its_operation(tale: Tale, act: Orchestrator) -> None:
    withheld: list[int] = []

    def withhold(messages: Messages) -> None:
        """The second event of an operation that goes on."""
        placed = [(message, each) for message in messages for each in message.events]
        operations = [each.event.operation_id for _, each in placed]
        for message, each in placed:
            if each.event.sequence == 2 and operations.count(each.event.operation_id) > 3:
                withheld.append(each.position)
                message.events.remove(each)
                return

    tale.lie = withhold
    with pytest.raises(NotProved, match="withheld") as raised:
        told(act)
    assert raised.value.position > withheld[0]
    # Whoever wants only some kinds can't tell what the filter withholds from what the daemon does.
    tale.lie = withhold_one
    assert len(told(act, kinds="step_done", all=False)) == len(told(act, kinds="step_done", all=False, prove=False))


def test_a_first_event_that_is_withheld_is_missed_from_the_beginning_on(tale: Tale, act: Orchestrator) -> None:
    def withhold(messages: Messages) -> None:
        message = next(each for each in messages if any(placed.event.sequence == 1 for placed in each.events))
        message.events.remove(next(placed for placed in message.events if placed.event.sequence == 1))

    tale.lie = withhold
    with pytest.raises(NotProved, match="withheld"):
        told(act)


def test_a_log_that_is_cut_off_is_found_out_by_a_seal_that_was_kept(tale: Tale, act: Orchestrator) -> None:
    def cut_off(messages: Messages) -> None:
        del messages[-3:]
        for message in messages:
            message.size = messages[-1].to_position

    seal = tale.seal()
    tale.lie = cut_off
    # Without evidence from elsewhere it is as if nothing had happened since.
    assert told(act)
    with pytest.raises(NotProved, match=f"the log had {tale.size} records"):
        told(act, seal=seal)


def test_a_rewritten_log_is_found_out_by_a_seal_that_was_kept(tale: Tale, fake: FakeDaemon, act: Orchestrator) -> None:
    """The same daemon, the same key, another history."""
    seal, size = tale.seal(), tale.size
    tale.grow(3)

    def shift(messages: Messages) -> None:
        for message in messages:
            for index, node in enumerate(message.consistency):
                message.consistency[index] = node[::-1]

    tale.lie = shift
    assert told(act, seal=seal) == tale.expected(NAMESPACE)
    with pytest.raises(NotProved, match="has not grown from"):
        told(act, from_start=False, seal=seal)
    assert tale.size > size


def test_a_log_that_was_rewritten_between_two_connections_is_found_out(tale: Tale, act: Orchestrator) -> None:
    stream = act.stream(from_start=True, all=True, follow=False, prove=True)
    cursor = [event.cursor for event in stream][5]

    def rewrite(messages: Messages) -> None:
        for message in messages:
            if message.frontier:
                message.frontier[0] = bytes(32)

    tale.lie = rewrite
    with pytest.raises(NotProved, match="rewritten"):
        told(act, from_start=False, after=cursor)


@pytest.mark.parametrize("roots", [[], [bytes(32)] * 9, [b"short"]])
def test_an_edge_that_is_none_is_refused(tale: Tale, act: Orchestrator, roots: list[bytes]) -> None:
    def misplace(messages: Messages) -> None:
        del messages[0].frontier[:]
        messages[0].frontier.extend(roots)

    plain = act.stream(from_start=True, all=True, follow=False)
    after = next(event.cursor for event in plain if event.position and event.position > 9)
    tale.lie = misplace
    with pytest.raises(NotProved):
        told(act, from_start=False, after=after)


def test_a_false_edge_is_found_out_by_the_next_seal(tale: Tale, act: Orchestrator) -> None:
    def falsify(messages: Messages) -> None:
        messages[0].frontier[0] = bytes(32)
        messages[0].seal = ""

    plain = act.stream(from_start=True, all=True, follow=False)
    after = next(event.cursor for event in plain if event.position and event.position > 9)
    tale.lie = falsify
    with pytest.raises(NotProved, match="not as they were sealed"):
        told(act, from_start=False, after=after)


# -- what is asked wrongly ---------------------------------------------------------------------------------------------


def test_a_stream_that_makes_no_sense_is_refused_before_it_is_asked_for(act: Orchestrator) -> None:
    for said in (
        {"after": "x", "from_start": True},
        {"after": ""},
        {"key": "x"},
        {"by": "robot"},
        {"after": "x.y!"},
        {"after": "x.bm8"},
    ):
        with pytest.raises(InvalidArgument):
            next(act.stream(**said))


def test_a_cursor_that_the_daemon_can_not_resume_ends_the_stream_with_its_reason(
    fake: FakeDaemon, act: Orchestrator
) -> None:
    def restored(request: pb.WatchEventsRequest, context: Context) -> Iterator[pb.WatchEventsResponse]:
        refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "restored", "CURSOR_AHEAD")

    fake.on("WatchEvents", restored)
    with pytest.raises(PreconditionFailed) as raised:
        next(act.stream(after="x"))
    assert raised.value.reason == "CURSOR_AHEAD"


def test_a_gap_is_an_error_even_without_a_proof(tale: Tale, act: Orchestrator) -> None:
    tale.lie = drop_message
    with pytest.raises(Exception, match="was expected"):
        told(act, prove=False)


def test_a_closed_stream_ends(tale: Tale, act: Orchestrator) -> None:
    stream = act.stream(from_start=True, all=True, follow=False)
    next(stream)
    stream.close()
    assert len(list(stream)) < len(tale.expected(NAMESPACE))
    with act.stream(all=True) as another:
        another.close()
        assert list(another) == []


def test_no_two_operations_are_shown_alike() -> None:
    ids = ShownIds(letters=2)
    assert ids.shown("op_111abcd") == "cd"
    assert ids.shown("op_222xbcd") == "bcd"
    assert ids.shown("op_111abcd") == "cd"
    assert ids.shown("op_333xbcd") == "xbcd"
    assert ids.shown("op_222xbcd") == "bcd"
