"""State of a key: small entries in its head, large ones beside it, and nothing left behind by what is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine.keys import KeyState
from adapter.engine.ports import Put
from adapter.engine.records import PART, Head, Meta, Part, Ref, StateEntry, cut
from adapter.engine.requests import Request
from adapter.engine.types import MAX_PAYLOAD, Kind, ObjectKey
from tests.unit.world import World, pack, settle, target, unpack


def world(kind: Kind) -> World:
    world = World()

    @world.handler("O", kind, "run" if kind is Kind.WORKFLOW else "write")
    async def write(ctx: Any, entries: Any) -> Any:
        for name, size in entries.items():
            if size is None:
                ctx.issue(c.ClearState(name), unpack)
            else:
                ctx.issue(c.SetState(name, pack("x" * size)), unpack)
        return await ctx.issue(c.StateKeys(), unpack)

    @world.handler("O", Kind.SHARED)
    async def read(ctx: Any, name: Any) -> Any:
        return len(await ctx.issue(c.GetState(name), unpack) or "")

    @world.handler("O", Kind.SHARED)
    async def names(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.StateKeys(), unpack)

    if kind is not Kind.WORKFLOW:

        @world.handler("O", kind)
        async def clear(ctx: Any, _: Any) -> Any:
            ctx.issue(c.ClearAllState(), unpack)
            return await ctx.issue(c.StateKeys(), unpack)

    return world


def stored(world: World) -> tuple[list[str], int]:
    """The names of the entries beside heads, and how large the largest head's state is."""
    entries = [record.name for record in world.store.records() if isinstance(record, StateEntry)]
    heads = [sum(map(len, record.state.values())) for record in world.store.records() if isinstance(record, Head)]
    return sorted(entries), max(heads, default=0)


async def test_entries_move_between_head_and_items_as_they_grow_and_shrink() -> None:
    place = world(Kind.EXCLUSIVE)
    assert await place.call("O/k/write", {"a": 10, "b": 5000}) == ["a", "b"]
    assert stored(place) == (["b"], 12)
    assert await place.call("O/k/write", {"a": 5000, "b": 10}) == ["a", "b"]
    assert stored(place) == (["a"], 12)
    assert [await place.call("O/k/read", name) for name in "abc"] == [5000, 10, 0]
    assert await place.call("O/k/write", {"a": None}) == ["b"]
    assert stored(place) == ([], 12)
    assert await place.call("O/k/names") == ["b"]


async def test_a_thousand_entries_and_one_of_them_read() -> None:
    place = world(Kind.EXCLUSIVE)
    for start in range(0, 1000, 50):
        await place.call("O/k/write", {f"n{i:04}": 200 for i in range(start, start + 50)})
    assert len(await place.call("O/k/names")) == 1000
    before = place.store.usage.read_units
    assert await place.call("O/k/read", "n0777") == 200
    assert place.store.usage.read_units - before < 10, "one entry is read, and not all"
    assert stored(place)[1] <= 4096


async def test_cleared_entries_are_deleted_by_the_sweeper() -> None:
    place = world(Kind.EXCLUSIVE)
    await place.call("O/k/write", {f"n{i}": 5000 for i in range(120)})
    assert await place.call("O/k/clear") == []
    assert await place.call("O/k/write", {"new": 5000}) == ["new"]
    assert len(stored(place)[0]) == 121
    await place.clock.advance(60)
    await place.engine.sweeper.sweep()
    assert stored(place)[0] == ["new"]
    assert await place.call("O/k/read", "new") == 5000
    assert not [record for record in place.store.records() if getattr(record, "id", "").startswith("gc_")]


async def test_a_workflows_state_is_gone_at_once_when_it_expires_and_deleted_later() -> None:
    place = world(Kind.WORKFLOW)
    assert await place.call("O/k/run", {"a": 10, "b": 5000}) == ["a", "b"]
    await place.clock.advance(24 * 3600 - 100)
    assert await place.call("O/k/read", "b") == 5000
    await place.clock.advance(200)
    assert await place.call("O/k/read", "b") == 0
    assert await place.call("O/k/names") == []
    await place.engine.sweeper.sweep()
    assert stored(place) == ([], 0)
    assert await place.call("O/k/run", {"c": 5000}) == ["c"], "the id is as good as new"


async def test_an_expired_workflow_that_is_run_again_leaves_nothing_behind() -> None:
    place = world(Kind.WORKFLOW)
    await place.call("O/k/run", {"a": 5000})
    await place.clock.advance(25 * 3600)
    assert await place.call("O/k/run", {"b": 5000}) == ["b"]
    await place.clock.advance(60)
    await place.engine.sweeper.sweep()
    assert stored(place)[0] == ["b"]


LARGE = 3_000_000
"""Bytes of an entry that lies in parts."""


def parts(world: World) -> int:
    """Under how many records parts of large entries lie: all their parts, and none under what is over."""
    found = [record for record in world.store.records() if isinstance(record, Meta) and record.id.startswith("blb_")]
    lying = Counter(record.id for record in world.store.records() if isinstance(record, Part))
    assert lying == {record.id: -(-(LARGE + 2) // PART) for record in found if record.expires is None}
    return len(lying)


@pytest.mark.parametrize("then", [{"a": 3000}, {"a": 10}, {"a": None}], ids=["an item", "the head", "nothing"])
async def test_a_large_entry_lies_in_parts_until_it_is_replaced(then: dict[str, int | None]) -> None:
    place = world(Kind.EXCLUSIVE)
    assert await place.call("O/k/write", {"a": LARGE, "b": 10}) == ["a", "b"]
    assert stored(place) == (["a"], 12)
    assert parts(place) == 1
    assert await place.call("O/k/read", "a") == LARGE
    await place.clock.advance(120)
    await place.engine.sweeper.sweep()
    assert await place.call("O/k/read", "a") == LARGE, "the sweeper leaves it alone"
    assert await place.call("O/k/write", {"a": LARGE}) == ["a", "b"]
    await place.engine.sweeper.sweep()
    assert parts(place) == 1
    await place.call("O/k/write", then)
    assert await place.call("O/k/read", "a") == (then["a"] or 0)
    await place.engine.sweeper.sweep()
    assert parts(place) == 0


async def test_clearing_all_deletes_the_parts_of_large_entries() -> None:
    place = world(Kind.EXCLUSIVE)
    await place.call("O/k/write", {"a": LARGE, "b": LARGE, "c": 5000})
    assert await place.call("O/k/clear") == []
    assert await place.call("O/k/write", {"a": LARGE}) == ["a"]
    await place.clock.advance(60)
    await place.engine.sweeper.sweep()
    await place.engine.sweeper.sweep()
    assert (stored(place)[0], parts(place)) == (["a"], 1)
    assert await place.call("O/k/read", "a") == LARGE


async def test_a_workflows_large_entries_are_deleted_when_it_expires() -> None:
    place = world(Kind.WORKFLOW)
    assert await place.call("O/k/run", {"a": LARGE}) == ["a"]
    await place.clock.advance(24 * 3600 + 10)
    assert await place.call("O/k/read", "a") == 0
    await place.engine.sweeper.sweep()
    await place.engine.sweeper.sweep()
    assert (stored(place), parts(place)) == (([], 0), 0)


async def test_parts_that_no_commit_points_at_are_deleted() -> None:
    place = world(Kind.EXCLUSIVE)
    blob = Ref("blb_" + "a" * 32, "b" * 16)
    await place.engine.runtime.blobs.write(blob, ObjectKey("O", "k"), b"x" * (LARGE + 2))
    await place.engine.sweeper.sweep()
    assert parts(place) == 1, "its writer may be about to commit"
    await place.clock.advance(120)
    await place.engine.sweeper.sweep()
    assert parts(place) == 0
    await place.engine.storage.put_parts(cut(blob, "state", b"x" * 1000, None))  # a request that was under way
    await place.clock.advance(900)
    await place.engine.sweeper.sweep()
    assert not list(place.store.records())


async def test_a_commit_does_not_point_at_parts_that_were_given_up() -> None:
    """The writer stands still past its lease, and the sweeper comes in between."""
    place = world(Kind.EXCLUSIVE)
    await place.call("O/k/write", {"b": 10})
    given_up: list[str] = []

    async def hook(phase: str, method: str, args: Any, kwargs: Any) -> None:
        changes = args[0] if method == "commit" else ()
        pointed = [
            c.item.blob for c in changes if isinstance(c, Put) and isinstance(c.item, StateEntry) and c.item.blob
        ]
        if phase == "before" and pointed and not given_up:
            given_up.append(pointed[0].id)
            place.store.hook = None
            meta = await place.store.peek(pointed[0].id)
            assert meta is not None
            await place.engine.runtime.blobs.give_up(meta)

    place.store.hook = hook
    task = place.start("O/k/write", {"a": LARGE})
    await settle()
    assert given_up
    assert stored(place) == ([], 12), "nothing of it was committed"
    task.cancel()
    await place.clock.advance(200)
    assert await place.call("O/k/write", {"a": LARGE}) == ["a", "b"]
    await place.engine.sweeper.sweep()
    assert parts(place) == 1


async def test_an_entry_of_more_than_4_mb_is_refused_and_nothing_is_written() -> None:
    place = world(Kind.EXCLUSIVE)
    code, message = await place.call("O/k/write", {"a": MAX_PAYLOAD})
    assert (code, message) == (413, f"state entry 'a' has {MAX_PAYLOAD + 2} bytes; the most is {MAX_PAYLOAD}")
    assert (stored(place), parts(place)) == (([], 0), 0)


def test_entries_that_were_read_during_a_commit_are_kept_beside_those_that_it_wrote() -> None:
    key = ObjectKey("O", "k")
    state = KeyState(Head(key, state_generation="g", has_overflow=True), 0)
    read = {name: StateEntry(key, "g", name, b"old") for name in ("a", "b", "c")}
    state.set("a", b"n" * 5000)
    state.clear("b")

    assert state.overflow_after(None) is None
    after = state.overflow_after(read)
    assert after is not None
    assert {name: entry.value for name, entry in after.items()} == {"a": b"n" * 5000, "c": b"old"}

    state.clear_all()
    assert state.overflow_after(read) == {}


@pytest.mark.parametrize("lazy", [True, False])
async def test_a_shared_handler_reads_an_entry_that_becomes_small(lazy: bool) -> None:
    """The entry moves into the head after the handler has read that, and before it reads the other entries."""
    world = World(2)

    @world.handler("O", Kind.EXCLUSIVE)
    async def put(ctx: Any, size: Any) -> Any:
        ctx.issue(c.SetState("a", pack("x" * size)), unpack)

    @world.handler("O", Kind.SHARED, lazy_state=lazy)
    async def look(ctx: Any, _: Any) -> Any:
        return (await ctx.issue(c.GetState("a"), unpack)) is not None

    await world.call("O/k/put", 5000)
    armed = True

    async def hook(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        nonlocal armed
        if armed and phase == "before" and method in ("state", "entries"):
            armed = False
            await world.engines[1].call(Request(target("O/k/put"), pack(5)), until=world.clock.now() + 1000)

    world.store.hook = hook
    assert await world.call("O/k/look") is True
    assert not armed
