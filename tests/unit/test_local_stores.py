"""What the stores of this machine add to the contract: a hook, small pages, conflicts, and a look at everything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from adapter.engine.ports import Conflict, Contended, Create, Dependent, Put, Unavailable, Update, Wake
from adapter.engine.records import JournalSegment, Meta, Part, Ref, Status
from adapter.engine.types import Kind, Target
from adapter.local.conflicts import Conflicts
from adapter.local.memory import MemoryStore
from adapter.local.sqlite import SqliteStore
from adapter.local.store import LocalStore

Make = Callable[..., LocalStore]
"""Makes an empty store with these arguments."""


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    if request.param == "memory":
        yield MemoryStore
        return
    stores: list[SqliteStore] = []

    def make(*arguments: Any, **options: Any) -> LocalStore:
        stores.append(SqliteStore(tmp_path / f"state-{len(stores)}", *arguments, **options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


META = Meta("inv_a", "g", Target("Greeter", "greet"), Kind.SERVICE, Status.READY, 1)


class Faults:
    def __init__(self, fails: str = "") -> None:
        self.calls: list[tuple[str, str]] = []
        self.fails = fails

    async def __call__(
        self, phase: Literal["before", "after"], method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self.calls.append((phase, method))
        await asyncio.sleep(0)
        if phase == self.fails:
            raise Unavailable


async def test_the_hook_sees_both_sides_of_a_request(make: Make) -> None:
    faults = Faults()
    store = make(faults)
    await store.commit([Create(META, 0)], "n")
    assert faults.calls == [("before", "commit"), ("after", "commit")]
    assert store.usage.requests == 1


async def test_a_request_that_never_arrives(make: Make) -> None:
    store = make(Faults("before"))
    with pytest.raises(Unavailable):
        await store.commit([Create(META, 0)], "n")
    assert list(store.records()) == []
    assert store.usage.requests == 0


async def test_an_answer_that_is_lost(make: Make) -> None:
    store = make(Faults("after"))
    with pytest.raises(Unavailable):
        await store.commit([Create(META, 0)], "n")
    assert [record.id for record in store.records() if isinstance(record, Meta)] == ["inv_a"]


async def test_a_refusal_that_is_lost(make: Make) -> None:
    store = make()
    await store.commit([Create(META, 0)], "n")
    store.hook = Faults("after")
    with pytest.raises(Unavailable) as raised:
        await store.commit([Create(META, 0)], "m")
    assert isinstance(raised.value.__context__, Conflict)


async def test_the_hook_sees_the_arguments(make: Make) -> None:
    seen: list[Any] = []

    async def hook(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        seen.append((args, dict(kwargs)))

    store = make(hook)
    await store.count_notifications(META.ref, count=1, wake=Wake.NONE, due=3)
    assert seen == [((META.ref,), {"count": 1, "wake": Wake.NONE, "due": 3})] * 2


def test_without_a_hook_it_never_yields(make: Make) -> None:
    store = make()
    with pytest.raises(StopIteration):
        store.commit([Create(META, 0)], "n").send(None)


async def test_small_pages(make: Make) -> None:
    store = make(page=1)
    for index in range(3):
        await store.commit([Put(JournalSegment("inv_a", "g", index, "[]"))], "n")
    page, indexes = await store.load("inv_a"), list[int]()
    while page.cursor is not None:
        indexes += [segment.index for segment in page.segments]
        page = await store.load("inv_a", page.cursor)
    assert indexes == [0, 1, 2]
    assert page.segments == []


class Spans:
    """Transactions that end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[asyncio.Future[None]] = []
        self.cancels_both = False

    def store(self, make: Make) -> LocalStore:
        return make(conflicts=Conflicts(self.take, lambda: self.cancels_both))

    async def take(self) -> None:
        self.begun.append(asyncio.get_running_loop().create_future())
        await self.begun[-1]

    async def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a transaction, and come back when it is under way."""
        task = asyncio.create_task(work)
        await asyncio.sleep(0)
        assert not task.done()
        return task

    async def end(self, task: asyncio.Task[None]) -> None:
        self.begun.pop(0).set_result(None)
        await task


SEGMENT = Put(JournalSegment("inv_a", "g", 0, "[]"))
OTHER = Put(JournalSegment("inv_b", "g", 0, "[]"))


async def test_a_transaction_is_cancelled_while_another_is_at_work_on_an_item_of_it(make: Make) -> None:
    spans = Spans()
    store = spans.store(make)
    first = await spans.begin(store.commit([Create(META, 0), SEGMENT], "n"))

    with pytest.raises(Contended):
        await store.commit([SEGMENT, OTHER], "m")
    assert list(store.records()) == []

    await spans.end(first)
    assert len(list(store.records())) == 2


async def test_two_transactions_that_meet_may_both_be_cancelled(make: Make) -> None:
    spans = Spans()
    store = spans.store(make)
    spans.cancels_both = True
    first = await spans.begin(store.commit([Create(META, 0), SEGMENT], "n"))

    with pytest.raises(Contended):
        await store.commit([SEGMENT, OTHER], "m")
    with pytest.raises(Contended):
        await spans.end(first)
    assert list(store.records()) == []


async def test_a_plain_write_is_refused_while_a_transaction_is_at_work_on_its_item(make: Make) -> None:
    spans = Spans()
    store = spans.store(make)
    await store.commit([Create(META, 0)], "n")
    before = await store.peek("inv_a")
    first = await spans.begin(store.commit([Update(Ref("inv_a", "g"), set={"epoch": 0}, epoch=0), SEGMENT], "m"))

    for write in (
        store.commit([Update(Ref("inv_a", "g"))], "o"),
        store.count_notifications(META.ref, count=1, wake=Wake.NONE, due=3),
        store.forget(Ref("inv_a", "g"), 0),
    ):
        with pytest.raises(Unavailable) as raised:
            await write
        assert type(raised.value) is Unavailable
    assert await store.peek("inv_a") == before  # reads are served, and see nothing of it yet

    await spans.end(first)
    await store.count_notifications(META.ref, count=1, wake=Wake.NONE, due=3)


async def test_parts_that_meet_a_transaction_are_left_to_do(make: Make) -> None:
    spans = Spans()
    store = spans.store(make)
    part = Part("inv_a", "g", "input", 0, b"x")
    first = await spans.begin(store.commit([Create(META, 0), Put(part)], "n"))

    assert await store.put([part]) == [part]
    assert await store.delete([Dependent("inv_a", "g", "input#g#000000")]) != []

    await spans.end(first)
    assert await store.put([part]) == []


async def test_a_transaction_that_is_sent_again_while_it_is_under_way_is_not_said_to_have_no_effect(make: Make) -> None:
    spans = Spans()
    store = spans.store(make)
    first = await spans.begin(store.commit([Create(META, 0), SEGMENT], "n"))

    with pytest.raises(Unavailable) as raised:
        await store.commit([Create(META, 0), SEGMENT], "n")
    assert not isinstance(raised.value, Contended)

    await spans.end(first)


async def test_a_condition_that_fails_counts_for_more_than_a_transaction_under_way(make: Make) -> None:
    spans = Spans()
    store = spans.store(make)
    await store.commit([OTHER], "n")
    first = await spans.begin(store.commit([Create(META, 0), SEGMENT], "m"))

    with pytest.raises(Conflict) as raised:
        await store.commit([SEGMENT, OTHER], "o")
    assert list(raised.value.found) == [1]

    await spans.end(first)
