"""Several versions of the code on one store: what has begun stays on its own, whatever is deployed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from adapter import Context, Service, handler
from adapter.definitions import Definition
from adapter.engine.engine import Engine
from adapter.engine.ports import Unavailable, Update
from adapter.engine.process import Repeat
from adapter.engine.records import Meta, Ref, Status
from adapter.engine.requests import Request
from adapter.engine.types import Kind, Options, Outcome, Target
from adapter.local.memory import MemoryStore
from adapter.registry import BoundHandler, Registry
from tests.unit.world import ManualClock, settle, target, value


class Stack:
    """Functions, each with its versions; a dispatch or a timer gets where Lambda and Scheduler would bring it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = ManualClock()
        self.versions: dict[str, tuple[Engine, Registry]] = {}
        self.live: dict[str, str] = {}
        """By function, its latest version."""
        self.hosts: dict[str, str] = {}
        """By service, the function that hosts it now."""

    def deploy(self, deployment: str, *definitions: type[Definition]) -> None:
        """Publish a version, ``function:number``."""
        function, registry = deployment.partition(":")[0], Registry(*definitions)
        ports: Any = _Ports(self, function)
        engine = Engine(
            store=self.store,
            timers=ports,
            dispatcher=ports,
            clock=self.clock,
            handlers=registry.specs,
            deployment=deployment,
            kinds=self._kind,
            options=self._options,
        )
        self.versions[deployment] = engine, registry
        self.live[function] = deployment
        self.hosts = {name: host for name, host in self.hosts.items() if host != function}
        self.hosts |= dict.fromkeys(registry.services, function)

    def engine(self, function: str = "first") -> Engine:
        """The latest version's."""
        return self.versions[self.live[function]][0]

    async def send(self, path: str, *, delay: int = 0) -> str:
        function = self.hosts[target(path).service]
        answer = await self.engine(function).send(Request(target(path), b"", delay=delay * 1000))
        await settle()
        return answer.id

    async def signal(self, id: str) -> None:
        assert await self.engine().outbound.signal(id, "go", Outcome(b"null")) == "accepted"
        await settle()

    async def meta(self, id: str) -> Meta:
        found = await self.store.peek(id)
        assert found is not None
        return found

    async def outcome(self, id: str) -> Any:
        return value((await self.meta(id)).outcome)

    def _kind(self, target: Target) -> Kind | None:
        found = self._handlers(target)
        return found[target.handler].kind if target.handler in found else None

    def _options(self, target: Target) -> Options:
        found = self._handlers(target)
        return found[target.handler].options if target.handler in found else Options()

    def _handlers(self, target: Target) -> Mapping[str, BoundHandler]:
        _, registry = self.versions[self.live[self.hosts[target.service]]]
        return registry.services[target.service].handlers


class _Ports:
    """The dispatcher and the timers of one function."""

    def __init__(self, stack: Stack, function: str) -> None:
        self._stack = stack
        self._function = function

    async def dispatch(self, ref: Ref, service: str, deployment: str, fresh: bool, batch: int = 1) -> None:
        stack = self._stack
        engine, registry = stack.versions[deployment or stack.live[stack.hosts[service]]]
        if service in registry.services:
            engine.process.spawn(engine.resume(ref.id, fresh=fresh), repeated_by=Repeat.DISPATCH)

    async def schedule(self, ref: Ref, name: str, at: int) -> None:
        await self._stack.clock.sleep((at - self._stack.clock.now()) / 1000)
        engine = self._stack.engine(self._function)
        engine.process.spawn(engine.resume(ref.id), repeated_by=Repeat.TIMER)

    async def unschedule(self, ref: Ref, name: str) -> None: ...


def shop(version: int) -> type[Definition]:
    """A service that says which version of it runs, at its begin and at its end."""

    class Shop(Service):
        @handler
        async def wait(self, ctx: Context) -> list[int]:
            begun = version
            await ctx.signal("go")
            return [begun, version]

        @handler
        async def wait_often(self, ctx: Context) -> int:
            for _ in range(3):
                await ctx.signal("go")
            return version

        @handler
        async def sleep(self, ctx: Context) -> list[int]:
            await ctx.sleep(timedelta(hours=1))
            return [version]

        @handler
        async def buy(self, ctx: Context) -> str:
            if version == 1:
                await ctx.run("charge", lambda: None)
            else:
                await ctx.sleep(timedelta(seconds=1), name="think")
            await ctx.signal("go")
            return f"bought on {version}"

        @handler
        async def ask(self, ctx: Context) -> str:
            return f"{version}: {await ctx.service_client(Clerk).wait()}"

    return Shop


class Clerk(Service):
    @handler
    async def wait(self, ctx: Context) -> str:
        return str(await ctx.signal("go"))


class Old(Service, name="Shop"):
    """What is left of it."""

    @handler
    async def other(self, ctx: Context) -> None: ...


@pytest.fixture
def stack() -> Stack:
    stack = Stack()
    stack.deploy("first:1", shop(1))
    return stack


async def test_what_has_begun_ends_on_its_version_and_what_begins_is_on_the_new_one(stack: Stack) -> None:
    before = await stack.send("Shop/wait")
    stack.deploy("first:2", shop(2))
    after = await stack.send("Shop/wait")
    for id, version in ((before, 1), (after, 2)):
        await stack.signal(id)
        assert await stack.outcome(id) == [version, version]
        assert (await stack.meta(id)).deployment == f"first:{version}"


async def test_a_timer_finds_what_it_wakes_on_its_version(stack: Stack) -> None:
    id = await stack.send("Shop/sleep")
    stack.deploy("first:2", shop(2))
    await stack.clock.advance(3601)
    assert await stack.outcome(id) == [1]


async def test_a_delayed_message_begins_on_the_version_of_its_time(stack: Stack) -> None:
    id = await stack.send("Shop/sleep", delay=3600)
    stack.deploy("first:2", shop(2))
    await stack.clock.advance(3601)
    assert (await stack.meta(id)).deployment == "first:2"
    await stack.clock.advance(3601)
    assert await stack.outcome(id) == [2]


async def test_a_service_that_has_moved(stack: Stack) -> None:
    begun, delayed = await stack.send("Shop/wait"), await stack.send("Shop/sleep", delay=3600)
    stack.deploy("second:1", shop(2))
    stack.deploy("first:2", Clerk)
    stack.hosts["Shop"] = "second"
    moved = await stack.send("Shop/wait")
    for id, version in ((begun, 1), (moved, 2)):
        await stack.signal(id)
        assert await stack.outcome(id) == [version, version]
    assert (await stack.meta(moved)).deployment == "second:1"
    await stack.clock.advance(3601)
    assert (await stack.meta(delayed)).deployment == "second:1"


async def test_a_handler_that_is_gone(stack: Stack) -> None:
    begun, delayed = await stack.send("Shop/wait"), await stack.send("Shop/sleep", delay=3600)
    stack.deploy("first:2", Old)
    await stack.signal(begun)
    assert await stack.outcome(begun) == [1, 1]
    await stack.clock.advance(3601)
    assert await stack.outcome(delayed) == (404, "'Shop' has no handler 'sleep' any more")


async def test_a_timer_fires_while_the_registry_cannot_be_read(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function that fires it need not know of the service: it dispatches to it."""

    def kinds(target: Target) -> Kind:
        raise Unavailable("the registry")

    delayed = await stack.send("Shop/sleep", delay=3600)
    stack.deploy("second:1", shop(2))
    stack.deploy("first:2", Clerk)
    stack.hosts["Shop"] = "second"
    monkeypatch.setattr(stack.engine("first").deployment, "_kinds", kinds)
    await stack.clock.advance(3601)
    await stack.clock.advance(3601)
    assert await stack.outcome(delayed) == [2]


async def test_a_changed_handler_is_resumed_on_the_wrong_code_and_back(stack: Stack) -> None:
    id = await stack.send("Shop/buy")
    assert (await stack.meta(id)).status is Status.SUSPENDED
    stack.deploy("first:2", shop(2))
    control = stack.engine().control
    assert await control.resume(id, deployment="first:2") == "accepted"
    await stack.signal(id)
    meta = await stack.meta(id)
    assert (meta.status, meta.deployment) == (Status.BACKING_OFF, "first:2")
    assert meta.error is not None
    assert "Shop/buy" in meta.error
    assert "sleep 'think'" in meta.error
    assert "run 'charge'" in meta.error
    assert await control.resume(id, deployment="first:1") == "accepted"
    await settle()
    assert await stack.outcome(id) == "bought on 1"


@pytest.mark.parametrize("end", ["timer", "call"])
async def test_what_an_operator_has_moved_is_found_where_it_is(stack: Stack, end: str) -> None:
    """Whoever wakes it may only know where it began."""
    stack.deploy("second:1", Clerk)
    id = await stack.send(f"Shop/{'sleep' if end == 'timer' else 'ask'}")
    stack.deploy("first:2", shop(2))
    assert await stack.engine().control.resume(id, deployment="first:2") == "accepted"
    await settle()
    if end == "timer":
        await stack.clock.advance(3601)
        assert await stack.outcome(id) == [2]
    else:
        [clerk] = [each for each in stack.store.records() if isinstance(each, Meta) and each.target.service == "Clerk"]
        await stack.signal(clerk.id)
        assert await stack.outcome(id) == "2: None"


async def test_what_an_operator_moves_while_an_attempt_begins_stays_moved(stack: Stack) -> None:
    """The interleaving:

    1. An attempt begins on the first version, without a claim. Its process stands still before its first commit.
    2. An operator moves the invocation to the second version, and a signal arrives. The record is still not claimed.
    3. The first commit of the attempt meets the signal, and is made anew. It wrote the first version into the record.
    """
    id = await stack.send("Shop/wait_often")
    stack.deploy("first:2", shop(2))
    moved = asyncio.Event()

    async def freeze(phase: str, method: str, args: tuple[Any, ...], kwargs: Any) -> None:
        if (phase, method) == ("before", "commit") and not moved.is_set():
            change = args[0][0]
            if isinstance(change, Update) and change.set.get("status") is Status.SUSPENDED:
                await moved.wait()

    stack.store.hook = freeze
    await stack.signal(id)
    assert await stack.engine().control.resume(id, deployment="first:2") == "accepted"
    await stack.signal(id)
    moved.set()
    await settle()

    meta = await stack.meta(id)
    assert (meta.status, meta.notifications, meta.deployment) == (Status.SUSPENDED, 2, "first:2")
    await stack.signal(id)
    assert await stack.outcome(id) == 2


async def test_what_is_killed_from_another_function_is_kept_as_its_own_says() -> None:
    class Patient(Service, journal_retention=timedelta(days=7)):
        @handler
        async def wait(self, ctx: Context) -> None:
            await ctx.signal("go")

    stack = Stack()
    stack.deploy("first:1", Patient)
    stack.deploy("second:1", Clerk)
    id = await stack.send("Patient/wait")
    assert await stack.engine("second").control.kill(id) == "accepted"
    meta = await stack.meta(id)
    assert (meta.expires or 0) - (meta.completed or 0) == timedelta(days=7) / timedelta(milliseconds=1)
