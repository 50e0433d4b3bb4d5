"""The state of a key, as an SDK's handler gets it: with the exchange, or entry by entry where it is large."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import restate

from adapter.local.memory import MemoryStore
from adapter.restate import messages as m
from adapter.restate.wire import read_frames
from adapter.testing import Environment
from tests.restate.hosting import Hosted, Watched, hosted, new_key

notes = restate.VirtualObject("Notes")
lazy_notes = restate.VirtualObject("LazyNotes", enable_lazy_state=True)


async def write(ctx: restate.ObjectContext, sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        ctx.set(name, name[0] * size)


async def read(ctx: restate.ObjectSharedContext) -> dict[str, int]:
    return {name: len(await ctx.get(name, type_hint=str) or "") for name in sorted(await ctx.state_keys())}


async def rewrite(ctx: restate.ObjectContext) -> list[str | None]:
    """Read and write, with an exchange after each."""
    found = [await ctx.get("a", type_hint=str)]
    ctx.set("a", "new")
    await ctx.sleep(timedelta(milliseconds=1))
    found.append(await ctx.get("a", type_hint=str))
    ctx.clear_all()
    await ctx.sleep(timedelta(milliseconds=1))
    found.append(await ctx.get("a", type_hint=str))
    ctx.set("b", "last")
    await ctx.sleep(timedelta(milliseconds=1))
    return [*found, await ctx.get("a", type_hint=str), await ctx.get("b", type_hint=str)]


for each in (notes, lazy_notes):
    each.handler()(write)
    each.handler(kind="shared")(read)
    each.handler()(rewrite)


@pytest.fixture(params=["requests", "duplex"])
def endpoint(request: pytest.FixtureRequest) -> Watched:
    return Watched(restate.app(services=[notes, lazy_notes]), duplex=request.param == "duplex")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def host(endpoint: Watched, store: MemoryStore) -> AsyncIterator[Hosted]:
    async with hosted(endpoint, store=store) as host:
        yield host


async def commands(host: Hosted, id: str) -> list[str]:
    entries = (await host.http.get(f"/admin/invocations/{id}/journal")).json()["entries"]
    return [each["command"] for each in entries if "command" in each]


SIZES = {
    "small": ({"a": 10, "b": 20}, True),
    "beyond the key's head": ({"a": 3000, "b": 5000}, True),
    "one in parts": ({"a": 10, "b": 500_000}, False),
    "much": ({f"a{n}": 300_000 for n in range(5)}, False),
}


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("service", ["Notes", "LazyNotes"])
async def test_state_of_any_size_is_read(host: Hosted, endpoint: Watched, service: str, sizes: str) -> None:
    key, (written, whole) = new_key(), SIZES[sizes]
    await host.call(f"{service}/{key}/write", written)
    assert await host.call(f"{service}/{key}/read") == written
    start = m.Start.decode(read_frames(endpoint.told[-1][0])[0].payload)
    assert bool(start.partial_state) is (service == "LazyNotes" or not whole)
    if whole and service == "Notes":
        assert {(each.key or b"").decode(): len(each.value or b"") - 2 for each in start.state_map} == written


@pytest.mark.parametrize("service", ["Notes", "LazyNotes"])
async def test_a_handler_reads_what_it_wrote(host: Hosted, service: str) -> None:
    key = new_key()
    await host.call(f"{service}/{key}/write", {"a": 3})
    id = await host.send(f"{service}/{key}/rewrite")
    assert await host.attach(id) == ["aaa", "new", None, None, "last"]
    assert (await commands(host, id))[:2] == ["get", "set"]
    assert await host.call(f"{service}/{key}/read") == {"b": 4}


async def test_state_that_is_not_read_is_not_copied_into_the_journal(host: Hosted, store: MemoryStore) -> None:
    key = new_key()
    await host.call(f"Notes/{key}/write", {"a": 100_000})
    units = store.usage.write_units
    await host.call(f"Notes/{key}/write", {"b": 1})
    assert store.usage.write_units - units < 20


class Shifted:
    """A codec that anybody can undo."""

    def encode(self, data: bytes, /) -> bytes:
        return bytes(each ^ 1 for each in data)

    def decode(self, data: bytes, /) -> bytes:
        return self.encode(data)


async def test_encoded_state_is_decoded_for_the_handler() -> None:
    app: Any = restate.app(services=[notes])
    async with Environment(app, codec=Shifted()) as env:

        async def call(handler: str, value: Any = None) -> Any:
            return await env.generic_call(service="Notes", method=handler, key="k", parameter=value)

        await call("write", {"a": 10})
        assert await call("read") == {"a": 10}
        assert await call("rewrite") == ["a" * 10, "new", None, None, "last"]
