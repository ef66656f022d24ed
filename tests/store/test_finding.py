"""What can be found in every store, and in which order: one of the contract's parts."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hmsactd.store import search
from hmsactd.store.store import By, Position, Store, Summary
from hmsactd.store.where import Order, Span, Where
from tests.store.batches import Writer, summary
from tests.store.stores import BIRTH, MADE


@pytest.fixture(params=MADE)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made = MADE[request.param](tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def writer(store: Store) -> Writer:
    return Writer(store, await store.open(BIRTH))


@pytest.fixture(params=["as it is", "short of breath"])
def breath(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same once more with bounds so small that every search meets them."""
    if request.param == "short of breath":
        monkeypatch.setattr(search, "COLLECTED_MAX", 2)
        monkeypatch.setattr(search, "STRETCH", 3)


async def walk(store: Store, where: Where = Where(), *, limit: int = 3, **told: object) -> list[str]:  # noqa: B008
    """All ids, page by page."""
    walked: list[str] = []
    after: Position | None = None
    while True:
        page = await store.operations("default", where, after=after, limit=limit, **told)  # type: ignore[arg-type]
        assert len(page) <= limit
        walked += [each.operation for each in page]
        after = page.beyond
        if after is None:
            return walked


ROE = "https://idp.gov:roe"

ROWS = (
    summary(
        "op_1",
        state="waiting",
        key="CASE-2026-0017",
        labels=(("bureau", "Zürich Süd"), ("year", "2026")),
        requested_by="Jane Roe",
        started_at=10,
        updated_at=40,
        awaits="decision",
        awaits_who="fsa.officer",
        awaits_name="human_review",
        awaits_since=40,
        assigned_to="dev:lee",
        alarms='{"breached": ["human_review"]}',
    ),
    summary(
        "op_2",
        started_at=20,
        updated_at=30,
        due_at=99,
        labels=(("year", "2026"),),
        started_by="dev:other",
        awaits="report",
        awaits_who="IRS",
        awaits_name="eligibility_check",
        session="s",
    ),
    summary(
        "op_3",
        state="stalled",
        definition="other_flow",
        key="CASE-2025-0017",
        started_at=30,
        updated_at=35,
        awaits="operator",
        awaits_who="IRS",
        awaits_name="eligibility_check",
        alarms='{"at_risk": [""], "stalled": ["eligibility_check"]}',
    ),
    summary("op_4", state="completed", started_at=40, updated_at=50, ended_at=50, labels=(("year", "2025"),)),
    summary("op_5", state="failed", definition="case_work", key="x", started_at=50, updated_at=55, ended_at=55),
    summary(
        "op_6",
        requested_by=ROE,
        on_behalf_of=ROE,
        state="paused",
        started_at=60,
        updated_at=60,
        awaits_who="IRS",
        awaits_name="eligibility_check",
    ),
    summary(
        "op_7",
        state="waiting",
        started_at=70,
        updated_at=70,
        due_at=80,
        awaits="decision",
        awaits_who="fsa.counsel",
        awaits_name="human_review",
        claimed_by="dev:lee",
        assigned_to="dev:kim",
    ),
    summary("op_8", started_at=80, updated_at=80, due_at=85, awaits="worker", awaits_who="FSA", awaits_since=80),
)

CASES = {
    Where(): "12345678",
    Where(states=("waiting",)): "17",
    Where(states=("waiting", "stalled", "waiting")): "137",
    Where(definitions=("other_flow",)): "3",
    Where(definitions=("other_flow", "case_work")): "35",
    Where(states=("stalled", "failed"), definitions=("other_flow", "loan_forgiveness")): "3",
    Where(key="x"): "5",
    Where(key="X"): "",
    Where(key_prefix="CASE-2026"): "1",
    Where(key_prefix="CASE-"): "13",
    Where(key_prefix="CASE%"): "",
    Where(started_by="dev:other"): "2",
    Where(requested_by="Jane Roe"): "1",
    Where(requested_by=ROE): "6",
    # Whoever had signed in is found by their id, whole.
    Where(words=("roe",)): "1",
    Where(words=("https",)): "",
    Where(labels=(("year", "2026"),)): "12",
    Where(labels=(("bureau", "Zürich Süd"), ("year", "2026"))): "1",
    Where(labels=(("year", "2026"), ("bureau", "other"))): "",
    Where(labels_there=("year",)): "124",
    Where(labels_there=("year", "bureau")): "1",
    Where(labels_there=("bu",)): "",
    Where(words=("0017",)): "13",
    Where(words=("001", "2026")): "1",
    Where(words=("017",)): "",
    Where(words=("case",)): "135",
    Where(words=("case", "work")): "5",
    Where(words=("zurich",)): "1",
    Where(words=("sud", "jane", "loan")): "1",
    Where(words=("loan",)): "124678",
    Where(awaits=("worker",)): "8",
    Where(awaits=("decision",), awaits_who=("fsa.officer",)): "1",
    Where(awaits=("decision",), awaits_who=("fsa.officer", "fsa.counsel")): "17",
    Where(awaits=("worker", "report", "clock", "operator"), awaits_who=("IRS",)): "23",
    Where(awaits_who=("IRS", "FSA")): "238",
    Where(awaits_who=("IRS",), states=("stalled",)): "3",
    Where(awaits_name=("eligibility_check",)): "236",
    Where(awaits_name=("eligibility_check",), states=("stalled",)): "3",
    Where(awaits_person="dev:lee"): "17",
    Where(awaits_person="dev:kim"): "",
    Where(alarms=("breached",)): "1",
    Where(alarms=("breached", "at_risk")): "13",
    Where(alarms=("unattended",)): "",
    Where(started=Span(20, 50)): "234",
    Where(started=Span(60)): "678",
    Where(updated=Span(until=40)): "23",
    Where(ended=Span(50, 55)): "4",
    Where(ended=Span()): "45",
    Where(due=Span(80, 99)): "78",
    Where(states=("failed",), ended=Span(51)): "5",
}


@pytest.mark.usefixtures("breath")
async def test_operations_are_found_and_counted_by_all_that_is_said_in_every_order(writer: Writer) -> None:
    for row in ROWS:
        await writer.keep(row)
        await writer.keep(replace(row, namespace="other"))
    store = writer.store
    for where, expected in CASES.items():
        ids = [f"op_{digit}" for digit in expected]
        wanted = [row for row in ROWS if row.operation in ids]
        assert (await store.count("default", where)).count == len(ids), where
        for order in Order:
            there = [row for row in wanted if getattr(row, order) is not None]
            in_order = [row.operation for row in sorted(there, key=lambda row: getattr(row, order))]
            assert await walk(store, where, order=order, oldest_first=True) == in_order, (where, order)
            assert await walk(store, where, order=order) == in_order[::-1], (where, order)


@pytest.mark.usefixtures("breath")
async def test_of_two_at_the_same_time_the_one_recorded_first_is_the_earlier(writer: Writer) -> None:
    for at, name in enumerate(("op_b", "op_a", "op_d", "op_c")):
        await writer.keep(summary(name, started_at=at // 2, updated_at=7))
    assert await walk(writer.store, oldest_first=True) == ["op_b", "op_a", "op_d", "op_c"]
    assert await walk(writer.store) == ["op_c", "op_d", "op_a", "op_b"]
    assert await walk(writer.store, order=Order.UPDATED, limit=1) == ["op_c", "op_d", "op_a", "op_b"]


async def test_operations_are_counted_in_groups(writer: Writer) -> None:
    for row in ROWS:
        await writer.keep(row)
    store = writer.store

    async def groups(by: By, where: Where = Where()) -> dict[str, int]:  # noqa: B008
        return dict((await store.count("default", where, by)).groups)

    states = {"completed": 1, "failed": 1, "paused": 1, "running": 2, "stalled": 1, "waiting": 2}
    assert await groups(By.STATE) == states
    assert await groups(By.DEFINITION) == {"case_work": 1, "loan_forgiveness": 6, "other_flow": 1}
    assert await groups(By.ROLE) == {"fsa.counsel": 1, "fsa.officer": 1}
    assert await groups(By.SERVICE) == {"FSA": 1, "IRS": 2}
    assert await groups(By.STATE, Where(words=("case",))) == {"failed": 1, "stalled": 1, "waiting": 1}
    assert await groups(By.ROLE, Where(words=("jane",))) == {"fsa.officer": 1}
    assert await groups(By.SERVICE, Where(states=("stalled",))) == {"IRS": 1}
    assert await groups(By.STATE, Where(definitions=("other_flow", "nothing"))) == {"stalled": 1}
    assert (await store.count("default", by=By.ROLE)).count == len(ROWS)
    await writer.keep(replace(ROWS[2], sequence=2, state="running", awaits="worker", awaits_who="FSA"))
    assert await groups(By.STATE) == {"completed": 1, "failed": 1, "paused": 1, "running": 3, "waiting": 2}
    assert await groups(By.SERVICE) == {"FSA": 2, "IRS": 1}


async def test_those_who_await_an_operator_are_counted_apart_from_those_who_await_a_clock(writer: Writer) -> None:
    for name, awaits in (("op_1", "operator"), ("op_2", "clock"), ("op_3", "operator")):
        await writer.keep(summary(name, awaits=awaits, awaits_who="IRS" if name == "op_1" else "FSA"))
    for where, expected in (
        (Where(awaits=("operator",)), 2),
        (Where(awaits=("clock",)), 1),
        (Where(awaits=("clock", "operator")), 3),
        (Where(awaits=("operator",), awaits_who=("FSA",)), 1),
    ):
        assert (await writer.store.count("default", where)).count == expected, where


async def test_a_filter_is_kept_as_json_and_asked_again() -> None:
    for where in CASES:
        assert Where.of_json(where.as_json()) == where
    assert Where().as_json() == "{}"
    assert Where(states=("waiting",), ended=Span(5)).as_json() == '{"states":["waiting"],"ended":[5,null]}'
    with pytest.raises(TypeError):
        Where.of_json('{"colour":"red"}')


async def test_a_count_beyond_its_bound_says_at_least(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MADE["sqlite"](tmp_path)
    writer = Writer(store, await store.open(BIRTH))
    for number in range(6):
        await writer.keep(summary(f"op_{number}", key=f"k{number}", labels=(("a", "b"), ("even", str(number % 2)))))
    monkeypatch.setattr(search, "LOOKED_UP_MAX", 4)
    monkeypatch.setattr(search, "COUNTED_MAX", 5)
    bounded = await store.count("default", Where(labels=(("a", "b"),)))
    assert (bounded.count, bounded.is_exact) == (5, False)
    looked_up = await store.count("default", Where(labels=(("a", "b"),), key_prefix="k"))
    assert (looked_up.count, looked_up.is_exact) == (4, False)
    kept = await store.count("default")
    assert (kept.count, kept.is_exact) == (6, True)
    few = await store.count("default", Where(labels=(("a", "b"), ("even", "1"))))
    assert (few.count, few.is_exact) == (3, True)
    await store.close()


# -- against the fewest words ------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["case", "2026", "zur", "east", "loan", "x", "0"])
SPANS = st.one_of(st.none(), st.builds(Span, st.one_of(st.none(), st.integers(0, 60)), st.integers(0, 60)))
WHERES = st.builds(
    Where,
    states=st.lists(st.sampled_from(["running", "waiting", "completed"]), max_size=2).map(tuple),
    definitions=st.lists(st.sampled_from(["loan_flow", "case_work", "nothing"]), max_size=2).map(tuple),
    key=st.sampled_from([None, None, None, "CASE-1"]),
    key_prefix=st.sampled_from([None, None, "CASE-", "C"]),
    labels=st.sampled_from([(), (), (("office", "east"),), (("office", "east"), ("year", "2026"))]),
    labels_there=st.sampled_from([(), (), ("year",)]),
    words=st.lists(WORDS, max_size=2).map(tuple),
    awaits=st.sampled_from([(), (), ("decision",), ("worker", "report"), ("completion",)]),
    awaits_who=st.sampled_from([(), (), ("officer",), ("IRS", "officer")]),
    awaits_person=st.sampled_from([None, None, None, "dev:lee"]),
    alarms=st.sampled_from([(), (), ("breached",), ("breached", "at_risk")]),
    started=SPANS,
    updated=SPANS,
    ended=SPANS,
    due=SPANS,
)
CHANCE = st.randoms(use_true_random=False)


def any_row(name: str, now: int, chance: random.Random) -> Summary:
    """An operation as it may be when it is recorded."""
    return summary(
        name,
        definition=chance.choice(["loan_flow", "case_work"]),
        key=chance.choice([None, "CASE-1", "CASE-2026", "Zürich"]),
        labels=chance.choice([(), (("office", "east"),), (("office", "east"), ("year", "2026"))]),
        started_at=now,
        updated_at=now,
        due_at=chance.choice([None, now + 5]),
    )


def changed(row: Summary, now: int, chance: random.Random) -> Summary:
    """The same a little later."""
    awaits, who, session = chance.choice(
        [
            ("decision", "officer", None),
            ("worker", "IRS", None),
            ("report", "IRS", "s"),
            ("completion", "IRS", None),
            ("", "IRS", None),
        ]
    )
    ends = chance.random() < 0.3
    return replace(
        row,
        sequence=row.sequence + 1,
        updated_at=now,
        state="completed" if ends else "waiting" if awaits == "decision" else "running",
        ended_at=now if ends else None,
        due_at=None if ends else chance.choice([row.due_at, None, now + 3]),
        awaits="" if ends else awaits,
        awaits_who="" if ends else who,
        awaits_since=None if ends else now,
        session=None if ends else session,
        assigned_to=None if ends else chance.choice([None, "dev:lee"]),
        alarms=None if ends else chance.choice([None, '{"breached":[""]}', '{"at_risk":[""]}']),
    )


@given(WHERES, st.sampled_from(Order), st.booleans(), CHANCE)
@settings(max_examples=40, phases=[Phase.explicit, Phase.generate])
def test_sqlite_finds_what_memory_finds(where: Where, order: Order, oldest_first: bool, chance: random.Random) -> None:
    async def check(directory: Path) -> None:
        stores = [made(directory) for made in MADE.values()]
        try:
            await compare(stores)
        finally:
            for store in stores:
                await store.close()

    async def compare(stores: list[Store]) -> None:
        writers = [Writer(store, await store.open(BIRTH)) for store in stores]
        rows: dict[str, Summary] = {}
        for now in range(40):
            name = f"op_{chance.randrange(15):02}"
            before = rows.get(name)
            if before is not None and before.ended_at is not None:
                continue
            rows[name] = changed(before, now, chance) if before else any_row(name, now, chance)
            for writer in writers:
                await writer.keep(rows[name])
        walks = [await walk(store, where, order=order, oldest_first=oldest_first) for store in stores]
        assert walks[0] == walks[1]
        for by in (None, *By):
            assert await stores[0].count("default", where, by) == await stores[1].count("default", where, by)
        assert await stores[0].tallies() == await stores[1].tallies()

    for collected, stretch in ((4_000, 10_000), (1, 2)):
        with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
            patch.setattr(search, "COLLECTED_MAX", collected)
            patch.setattr(search, "STRETCH", stretch)
            asyncio.run(check(Path(directory)))


@pytest.mark.usefixtures("breath")
@pytest.mark.parametrize("oldest_first", [True, False])
@pytest.mark.parametrize("seed", range(5))
async def test_whoever_pages_by_start_sees_what_was_there_all_the_time_exactly_once(
    writer: Writer, oldest_first: bool, seed: int
) -> None:
    chance = random.Random(seed)
    rows = {f"op_{number:02}": any_row(f"op_{number:02}", number, chance) for number in range(20)}
    for row in rows.values():
        await writer.keep(row)
    there = [row.operation for row in rows.values()]
    seen: list[str] = []
    after: Position | None = None
    for now in range(20, 200):
        page = await writer.store.operations("default", after=after, oldest_first=oldest_first, limit=3)
        seen += [each.operation for each in page]
        after = page.beyond
        if after is None:
            break
        if len(rows) < 30:
            name = f"op_{len(rows):02}"
            rows[name] = any_row(name, now, chance)
            await writer.keep(rows[name])
        open_ones = [row for row in rows.values() if row.ended_at is None]
        for row in chance.sample(open_ones, min(4, len(open_ones))):
            rows[row.operation] = changed(row, now, chance)
            await writer.keep(rows[row.operation])
    assert after is None
    assert len(seen) == len(set(seen))
    assert [name for name in seen if name in there] == (there if oldest_first else there[::-1])


async def test_whoever_pages_by_update_misses_nothing_that_did_not_change(writer: Writer) -> None:
    for number in range(9):
        await writer.keep(summary(f"op_{number}", updated_at=number))
    page = await writer.store.operations("default", order=Order.UPDATED, limit=3)
    await writer.keep(summary("op_0", sequence=2, updated_at=20))
    rest = await writer.store.operations("default", order=Order.UPDATED, after=page.beyond, limit=9)
    # What changes goes to the front, which is behind whoever pages towards what is older.
    assert [each.operation for each in rest] == ["op_5", "op_4", "op_3", "op_2", "op_1"]
