"""A caller in one function, and what it calls in another."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from adapter.engine import commands as c
from adapter.engine.engine import Engine
from adapter.engine.ids import child_id
from adapter.engine.ports import Create, Unavailable
from adapter.engine.records import Meta, Ref, Unreadable
from adapter.engine.requests import Answer, Request
from adapter.engine.types import Kind, Target
from adapter.local.ports import LocalTimers
from tests.unit.world import World, closure, pack, settle, target, unpack


class Stage:
    """A caller in one function, and what it calls in another."""

    def __init__(self, *, timeout: int = 30_000) -> None:
        self.near, self.far = World(), World()
        self.store, self.clock, self.timeout = self.near.store, self.near.clock, timeout
        self.ran: list[Any] = []
        self.dispatched: list[str] = []
        self.delivers = True
        self.lost: int | None = None
        """The call of the only caller whose next dispatch is lost, by its command."""
        self.fails: int | None = None
        """The call whose record cannot be put, by its command."""
        self.unheard = 0
        """How many puts of a call's record are applied without an answer."""
        self.damaged: str | None = None
        """The invocation whose record cannot be read."""
        self.commits: list[list[str]] = []
        """The kinds of changes in each commit that was sent."""

        @self.near.handler("Near")
        async def call(ctx: Any, input: Any) -> Any:
            return await ctx.issue(c.Call(Target("Far", "work"), pack(input)), unpack)

        @self.near.handler("Near")
        async def stepped(ctx: Any, input: Any) -> Any:
            await ctx.issue(c.Run("step", closure(1)), unpack)
            return await ctx.issue(c.Call(Target("Far", "work"), pack(input)), unpack)

        @self.near.handler("Near")
        async def again(ctx: Any, input: Any) -> Any:
            return [await ctx.issue(c.Call(Target("Far", "work"), pack(each)), unpack) for each in (input, input + 1)]

        @self.near.handler("Near")
        async def two(ctx: Any, _: Any) -> Any:
            first, second = (ctx.issue(c.Call(Target("Far", "work"), pack(n)), unpack) for n in (1, 2))
            return [await first, await second]

        @self.far.handler("Far", journal_retention=timedelta(0))
        async def work(ctx: Any, input: Any) -> Any:
            self.ran.append(input)
            return input

        self.store.hook = self._hook
        self.build()

    def build(self) -> None:
        """Make the engines, with the handlers that there are."""
        self.engines = {"Near": self._engine(self.near), "Far": self._engine(self.far)}

    def _engine(self, world: World) -> Engine:
        timers = LocalTimers(self.clock)
        engine = Engine(
            store=self.store,
            timers=timers,
            dispatcher=self,
            clock=self.clock,
            handlers=world._specs,
            kinds=lambda target: Kind.SERVICE,
        )
        timers.engine = engine
        return engine

    async def dispatch(self, ref: Ref, service: str, deployment: str, fresh: bool, batch: int = 1) -> None:
        self.dispatched.append(ref.id)
        if self.lost is not None and ref.id == child_id(*self.caller.ref, self.lost):
            self.lost = None
        elif self.delivers:
            engine = self.engines[service]
            engine.process.deadline = self.clock.now() + self.timeout
            await engine.resume(ref.id, fresh=fresh)

    async def _hook(
        self, phase: Literal["before", "after"], method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        created = method == "commit" and isinstance(args[0][0], Create)
        if method == "commit" and phase == "before":
            self.commits.append([type(change).__name__ for change in args[0]])
        parent = args[0][0].meta.parent if created else None
        if phase == "before" and parent is not None and parent.command == self.fails:
            raise Unavailable("lost")
        if phase == "before" and method == "peek" and args[0] == self.damaged:
            raise Unreadable(f"{self.damaged} is damaged")
        alone = created and len(args[0]) == 1
        if phase == "after" and self.unheard and alone and parent is not None:
            self.unheard -= 1
            raise Unavailable("unheard")

    async def send(self, path: str, input: Any = 7) -> str:
        """Send a message to the caller, and return its id, with what follows from it done."""
        engine = self.engines["Near"]
        engine.process.deadline = self.clock.now() + self.timeout
        id = (await engine.send(Request(target(path), pack(input)))).id
        await settle()
        return id

    def begin(self, path: str, input: Any = 7, *, patience: float = 28.0) -> asyncio.Task[Answer]:
        """Have a client call the caller, and wait for the answer."""
        engine = self.engines["Near"]
        engine.process.deadline = self.clock.now() + self.timeout
        until = self.clock.now() + round(patience * 1000)
        return asyncio.create_task(engine.call(Request(target(path), pack(input)), until=until))

    @property
    def caller(self) -> Meta:
        """The record of the only caller."""
        [found] = (each for each in self.store.records() if isinstance(each, Meta) and each.target.service == "Near")
        return found

    async def meta(self, id: str) -> Meta:
        found = await self.store.peek(id)
        assert found is not None
        return found

    async def call_of(self, caller: str, n: int = 0) -> Meta | None:
        return await self.store.peek(child_id(*(await self.meta(caller)).ref, n))

    async def sweep(self) -> None:
        engine = self.engines["Near"]
        engine.process.deadline = self.clock.now() + self.timeout
        await engine.sweeper.sweep()
        await settle()
