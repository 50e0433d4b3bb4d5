"""An engine at work on a store whose items a test can break."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from adapter.aws.tables import BY_RECORD, write
from adapter.engine import commands as c
from adapter.engine.deployment import HandlerSpec
from adapter.engine.engine import Engine
from adapter.engine.ids import awakeable_id
from adapter.engine.ports import Store
from adapter.engine.record_delta import MAX_LIVE_JOURNAL
from adapter.engine.records import Head, InboxEntry, JournalSegment, Meta, Part, Record, Ref, StateEntry, Status
from adapter.engine.requests import Request
from adapter.engine.types import Kind, Options, Outcome, RetryPolicy
from adapter.local.changes import Write, address
from adapter.local.ports import LocalDispatcher, LocalTimers
from adapter.local.store import LocalStore
from tests.unit.world import closure, pack, target, unpack, value

POLICY = RetryPolicy(initial=timedelta(milliseconds=1), attempts=3)
KILLING = RetryPolicy(initial=timedelta(milliseconds=1), attempts=3, exhausted="kill")


class Items:
    """Puts and removes stored records, whatever the store thinks of it."""

    def __init__(self, store: Store, client: Any = None, tables: tuple[str, str] = ("", "")) -> None:
        self._store = store
        self._client = client
        self._tables = tables

    def _table(self, record: Record) -> str:
        return self._tables[isinstance(record, Head | InboxEntry | StateEntry)]

    async def put(self, record: Record) -> None:
        """Put a record in its place, over what is there."""
        if isinstance(self._store, LocalStore):
            _replace(self._store, record, record)
        else:
            self._client.put_item(TableName=self._table(record), Item=write(record))

    async def remove(self, record: Record) -> None:
        """Have a record be gone."""
        if isinstance(self._store, LocalStore):
            _replace(self._store, record, None)
        else:
            pk, sk = BY_RECORD[type(record)].key(record)
            self._client.delete_item(TableName=self._table(record), Key={"pk": {"S": pk}, "sk": {"S": sk}})

    async def segment(self, meta: Meta, index: int) -> JournalSegment:
        return (await self._store.load(meta.id)).segments[index]

    async def change(self, record: Record, **attributes: Any) -> None:
        """Set attributes of a stored item, in DynamoDB's terms; ``None`` removes."""
        item = {**write(record), **attributes}
        kept = {name: attribute for name, attribute in item.items() if attribute is not None}
        self._client.put_item(TableName=self._table(record), Item=kept)


def _replace(store: LocalStore, old: Record, new: Record | None) -> None:
    store._apply([Write(address(old), store._lookup(address(old)), new)])


class Clock:
    """The time of the machine, which a test can put forward."""

    def __init__(self) -> None:
        self._ahead = 0

    def now(self) -> int:
        return time.time_ns() // 1_000_000 + self._ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def skip(self, seconds: int) -> None:
        self._ahead += seconds * 1000


class Running:
    """A process with an engine.

    A book's ``buy`` runs two steps, then waits for an awakeable, with a journal of two stored segments; ``add`` counts
    under its key; ``read`` gives the length of its input. Attempts that fail are retried twice.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Clock()
        self.steps: list[str] = []
        dispatcher = LocalDispatcher()
        self._timers = LocalTimers(self.clock)
        self.engine = Engine(
            store=store, timers=self._timers, dispatcher=dispatcher, clock=self.clock, handlers=self._handlers()
        )
        dispatcher.engine = self._timers.engine = self.engine

    def _handlers(self) -> list[HandlerSpec]:
        async def buy(ctx: Any, input: bytes) -> bytes:
            one = await ctx.issue(c.Run("one", closure(lambda: self._step("one"))), unpack)
            step = closure(lambda: self._step("two").ljust(MAX_LIVE_JOURNAL))
            two = (await ctx.issue(c.Run("two", step), unpack)).strip()
            return pack([one, two, await ctx.issue(c.Awakeable(), unpack)])

        async def add(ctx: Any, input: bytes) -> bytes:
            total = (await ctx.issue(c.GetState("total"), unpack) or 0) + unpack(input)
            ctx.issue(c.SetState("total", pack(total)), unpack)
            return pack(total)

        async def read(ctx: Any, input: bytes) -> bytes:
            return pack(len(unpack(input)))

        async def order(ctx: Any, input: bytes) -> bytes:
            return pack(await ctx.issue(c.Call(target(f"Book/{unpack(input)}/add"), pack(1)), unpack))

        async def note(ctx: Any, input: bytes) -> bytes:
            ctx.issue(c.SetState("text", input), unpack)
            return b""

        async def noted(ctx: Any, input: bytes) -> bytes:
            return pack(len(await ctx.issue(c.GetState("text"), unpack)))

        async def run(ctx: Any, input: bytes) -> bytes:
            return pack(await ctx.issue(c.GetPromise("p"), unpack))

        async def peek(ctx: Any, input: bytes) -> bytes:
            return pack(await ctx.issue(c.PeekPromise("p"), unpack))

        handlers = {"buy": buy, "add": add, "read": read, "note": note, "noted": noted}
        return [
            *(
                HandlerSpec(service, name, Kind.EXCLUSIVE, code, Options(retry=policy))
                for service, policy in (("Book", POLICY), ("Ledger", KILLING))
                for name, code in handlers.items()
            ),
            HandlerSpec("Flow", "run", Kind.WORKFLOW, run, Options(retry=POLICY)),
            HandlerSpec("Flow", "peek", Kind.SHARED, peek, Options(retry=POLICY)),
            HandlerSpec("Shop", "order", Kind.SERVICE, order, Options(retry=POLICY)),
        ]

    def _step(self, name: str) -> str:
        self.steps.append(name)
        return name

    async def close(self) -> None:
        self._timers.close()
        self.engine.process.abort()
        await self.engine.process.drain()

    def now(self) -> int:
        return self.clock.now()

    async def meta(self, id: str) -> Meta:
        found = await self.store.peek(id)
        assert found is not None
        return found

    async def parts(self, ref: Ref, name: str) -> Sequence[Part]:
        return (await self.store.output(ref, name))[0]

    async def send(self, path: str, input: Any = None, *, delay: int = 0) -> str:
        return (await self.engine.send(Request(target(path), pack(input), delay=delay))).id

    async def call(self, path: str, input: Any = None) -> Any:
        return value((await self.engine.call(Request(target(path), pack(input)), until=self.now() + 60_000)).outcome)

    async def until(self, id: str, status: Status) -> Meta:
        """Wait until an invocation has a status, and all that was begun here has ended: it may have a line to log."""
        end = time.monotonic() + 60
        while (meta := await self.meta(id)).status is not status:
            assert time.monotonic() < end, f"{meta} is not {status}"
            await asyncio.sleep(0.005)
        await self.engine.process.drain()
        return meta

    async def suspended(self, path: str) -> Meta:
        """An invocation whose steps are done, and that waits for its awakeable."""
        return await self.until(await self.send(path), Status.SUSPENDED)

    async def answer(self, invocation: Meta, result: Any = "yes") -> None:
        """Complete the awakeable that it waits for."""
        said = await self.engine.outbound.complete(
            awakeable_id(invocation.ref, 2), Outcome(json.dumps(result).encode())
        )
        assert said == "accepted"
