"""State of a key: small entries in its head, large ones beside it, and nothing left behind by what is over."""

from __future__ import annotations

from typing import Any

from adapter.engine import commands as c
from adapter.engine.records import Head, StateEntry
from adapter.engine.types import Kind
from tests.unit.world import World, pack, unpack


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
    await place.engine.sweep()
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
    await place.engine.sweep()
    assert stored(place) == ([], 0)
    assert await place.call("O/k/run", {"c": 5000}) == ["c"], "the id is as good as new"


async def test_an_expired_workflow_that_is_run_again_leaves_nothing_behind() -> None:
    place = world(Kind.WORKFLOW)
    await place.call("O/k/run", {"a": 5000})
    await place.clock.advance(25 * 3600)
    assert await place.call("O/k/run", {"b": 5000}) == ["b"]
    await place.clock.advance(60)
    await place.engine.sweep()
    assert stored(place)[0] == ["b"]
