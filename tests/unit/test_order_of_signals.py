"""What one handler sends to one receiver comes in the order in which it was sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from adapter.engine import commands as c
from adapter.engine.ids import awakeable_id
from adapter.engine.ports import WriteHead
from adapter.engine.requests import Request
from adapter.engine.types import Kind, ObjectKey, Outcome
from adapter.local.memory import MemoryStore
from tests.unit.world import World, dispatches_lost, pack, settle, target, unpack, value


async def test_what_is_said_once_more_and_otherwise_does_not_change_what_an_awakeable_was_given() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        given = await ctx.issue(c.Awakeable(), unpack)
        return [len(given), *sorted(set(given))]

    id = await world.send("S/work")
    await settle()
    awakeable = awakeable_id((await world.meta(id)).ref, 0)
    with dispatches_lost(world):
        for given, said in (("a" * 1_600_000, "accepted"), ("b" * 800_000, "already"), ("a" * 1_600_000, "accepted")):
            assert await world.engine.outbound.complete(awakeable, Outcome(pack(given)), commit_id="same") == said
        await settle()
    await world.engine.resume(id)
    assert value((await world.meta(id)).outcome) == [1_600_000, "a"]


async def test_what_is_said_twice_at_once_does_not_mix_in_a_promise() -> None:
    world = World()
    key = ObjectKey("W", "k")

    async def come_first(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if phase == "before" and method == "put":
            world.store.hook = None
            first = Outcome(pack("a" * 1_600_000))
            assert await world.engine.promises.complete(key, "done", first, commit_id="same") == "accepted"

    world.store.hook = come_first
    second = Outcome(pack("b" * 800_000))
    assert await world.engine.promises.complete(key, "done", second, commit_id="same") == "already"
    given = value(await world.engine.promises.peek(key, "done"))
    assert [len(given), *sorted(set(given))] == [1_600_000, "a"]


async def test_who_has_an_awakeable_s_id_can_complete_nothing_else_with_it() -> None:
    world = World()

    @world.handler("S")
    async def work(ctx: Any, _: Any) -> Any:
        given = ctx.issue(c.Awakeable(), unpack)
        await ctx.issue(c.Sleep(5000), unpack)
        return await given

    id = await world.send("S/work")
    await settle()
    ref = (await world.meta(id)).ref
    for n in (1, 0):
        await world.engine.outbound.complete(awakeable_id(ref, n), Outcome(pack(n)))
    await world.clock.advance(4)
    assert (await world.meta(id)).live
    await world.clock.advance(2)
    assert value((await world.meta(id)).outcome) == 0


@pytest.mark.parametrize("crash", [False, True])
async def test_what_a_handler_says_to_one_and_does_not_wait_for_comes_in_the_order_in_which_it_said_it(
    crash: bool,
) -> None:
    world = World(2)
    late: list[str] = []

    async def delay_the_first(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method, late) == ("before", "peek", []):
            late.append(args[0])
            await world.clock.sleep(1)

    @world.handler("S")
    async def listen(ctx: Any, _: Any) -> Any:
        given = ctx.issue(c.Awakeable(), unpack)
        return [await ctx.issue(c.Signal("a"), unpack) for _ in range(3)] + [await given]

    @world.handler("S")
    async def tell(ctx: Any, about: Any) -> Any:
        for n in range(3):
            ctx.issue(c.SendSignal(about[0], "a", Outcome(pack(n))), unpack)
        for n in range(3):
            ctx.issue(c.Complete(about[1], Outcome(pack(n))), unpack)

    id = await world.send("S/listen")
    await settle()
    given = awakeable_id((await world.meta(id)).ref, 0)
    world.store.hook = delay_the_first
    await world.send("S/tell", [id, given])
    await world.clock.advance(0.5)
    assert late
    if crash:
        world.engine.process.abort()
        await settle()
    for _ in range(4):
        await world.clock.advance(40)
        await world.engines[1].sweeper.sweep()
    assert value((await world.meta(id)).outcome) == [0, 1, 2, 0]


async def test_signals_come_in_order_to_who_hears_of_the_second_before_the_first() -> None:
    world = World(2)
    ids: list[str] = []

    @world.handler("S")
    async def listen(ctx: Any, _: Any) -> Any:
        ids.append(ctx.id)
        return [await ctx.issue(c.Signal("a"), unpack) for _ in range(2)]

    task = world.start("S/listen")
    await settle()
    for n in (1, 0):
        await world.engines[n].outbound.signal(ids[0], "a", Outcome(pack(n)))
    await world.clock.advance(1)
    assert value(task.result().outcome) == [1, 0]


async def test_signals_come_in_order_though_clocks_differ() -> None:
    world = World()

    @world.handler("S")
    async def listen(ctx: Any, _: Any) -> Any:
        return [await ctx.issue(c.Signal("a"), unpack) for _ in range(2)]

    id = await world.send("S/listen")
    await settle()
    with dispatches_lost(world):
        for n in range(2):
            await world.engine.outbound.signal(id, "a", Outcome(pack(n)))
            world.clock.time -= 1000
        await settle()
    await world.engine.resume(id)
    assert value((await world.meta(id)).outcome) == [0, 1]


async def test_signals_come_in_order_to_who_is_rewound() -> None:
    world = World(2)
    ids: list[str] = []

    @world.handler("O", Kind.EXCLUSIVE)
    async def work(ctx: Any, _: Any) -> Any:
        pass

    @world.handler("S")
    async def listen(ctx: Any, _: Any) -> Any:
        ids.append(ctx.id)
        first = await ctx.issue(c.Signal("a"), unpack)
        await ctx.issue(c.Call(target("O/k/work"), b""), unpack)
        return [first, await ctx.issue(c.Signal("a"), unpack)]

    async def interfere(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("before", "commit") and any(isinstance(change, WriteHead) for change in args[0]):
            world.store.hook = None
            await world.engines[1].send(Request(target("O/k/work"), b""))
            await world.engine.outbound.signal(ids[0], "a", Outcome(pack(2)))

    task = world.start("S/listen")
    await settle()
    world.store.hook = interfere
    await world.engine.outbound.signal(ids[0], "a", Outcome(pack(1)))
    await world.clock.advance(5)
    assert value(task.result().outcome) == [1, 2]
    assert world.store.hook is None


@pytest.mark.parametrize("read", ["load", "read_notifications"])
async def test_signals_come_in_order_though_a_query_passes_over_the_first(read: str) -> None:
    """It is put at the beginning when that has been read, and the second at the end when that has not."""
    world = World(2)
    world.store = MemoryStore(page=2000)

    @world.handler("S")
    async def listen(ctx: Any, _: Any) -> Any:
        return [(await ctx.issue(c.Signal("a"), unpack))[0] for _ in range(6)]

    async def send(n: int, place: str) -> None:
        await world.engines[1].outbound.signal(id, "a", Outcome(pack([n, "x" * 900])), commit_id=place)

    async def send_two(phase: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (phase, method) == ("before", read) and args[-1] is not None and len(args) > 1:
            world.store.hook = None
            await send(5, "0")
            await send(6, "9")

    id = await world.send("S/listen")
    await settle()
    with dispatches_lost(world):
        for n in range(1, 5):
            await send(n, f"5{n}")
            world.clock.time += 1
        await settle()
        world.store.hook = send_two
        if read == "load":
            await world.engine.resume(id)
        else:
            items = await world.engine.storage.notification_items((await world.meta(id)).ref)
            assert [item.after for item in items] == [0, 1, 2, 3, 4, 5]
            await world.engine.resume(id)
    assert world.store.hook is None
    assert value((await world.meta(id)).outcome) == [1, 2, 3, 4, 5, 6]
