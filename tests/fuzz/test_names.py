"""Names that handler code gives: of state, steps, promises, signals, keys, idempotency keys, headers; and its errors.

Whatever they are made of, they are kept as they are or refused where they are given, and what is kept can be stored in
DynamoDB, whose strings are Unicode: half of a surrogate pair, which Python's are as well, is none.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapter import (
    Context,
    ObjectContext,
    ObjectSharedContext,
    RetryPolicy,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
    handler,
)
from adapter.aws.tables import read, write
from adapter.clock import SystemClock
from adapter.engine.engine import Engine
from adapter.engine.records import Status
from adapter.engine.requests import Request
from adapter.engine.types import MAX_IDEMPOTENCY_KEY, MAX_KEY, MAX_MESSAGE, Outcome, Target
from adapter.local.memory import MemoryStore
from adapter.local.ports import LocalDispatcher, LocalTimers
from adapter.registry import Registry
from tests.fuzz.bounds import bounded

ONCE = RetryPolicy(initial=timedelta(milliseconds=1), attempts=1)

texts = st.one_of(st.text(max_size=60), st.text("\ud800\0/#:%é\n", max_size=10), st.integers(500, 520).map("x".__mul__))


class Given:
    text = ""


class Box(VirtualObject, retry=ONCE):
    @handler
    async def keep(self, ctx: ObjectContext) -> list[Any]:
        ctx.clear_all()
        ctx.set(Given.text, Given.text)
        ctx.set("large", "x" * 5000)
        found = [await ctx.get(Given.text, str), await ctx.state_keys()]
        ctx.clear(Given.text)
        return [*found, await ctx.get(Given.text, str)]

    @handler
    async def spill(self, ctx: ObjectContext) -> list[Any]:
        ctx.clear_all()
        ctx.set(Given.text, "x" * 5000)
        await ctx.run("commit", lambda: None, type=None)
        return [len(await ctx.get(Given.text, str) or ""), await ctx.state_keys()]

    @handler
    async def key(self, ctx: ObjectSharedContext) -> str:
        return ctx.key


class Task(Service, retry=ONCE):
    @handler
    async def step(self, ctx: Context) -> int:
        return await ctx.run(Given.text, lambda: 1, type=int)

    @handler
    async def sleep(self, ctx: Context) -> None:
        await ctx.sleep(timedelta(milliseconds=1), name=Given.text)

    @handler
    async def result(self, ctx: Context) -> str:
        return await ctx.run("say", lambda: Given.text, type=str)

    @handler
    async def call(self, ctx: Context) -> str:
        return await ctx.object_client(Box, Given.text).key()

    @handler
    async def once(self, ctx: Context) -> str:
        return ctx.service_send_client(Task).idle(idempotency_key=Given.text).id

    @handler
    async def tell(self, ctx: Context) -> dict[str, str]:
        return await ctx.service_client(Task).told(headers={"x-own": Given.text})

    @handler
    async def told(self, ctx: Context) -> dict[str, str]:
        return dict(ctx.request.headers)

    @handler
    async def idle(self, ctx: Context) -> None: ...

    @handler
    async def signal(self, ctx: Context) -> Any:
        return await ctx.signal(Given.text)

    @handler
    async def give_up(self, ctx: Context) -> None:
        raise TerminalError(Given.text)

    @handler
    async def give_up_in_a_step(self, ctx: Context) -> str:
        def fail() -> None:
            raise TerminalError(Given.text)

        try:
            await ctx.run("fail", fail)
        except TerminalError as error:
            return error.message
        return ""

    @handler
    async def fail(self, ctx: Context) -> None:
        raise OSError(Given.text)


class Flow(Workflow, retry=ONCE):
    @handler
    async def run(self, ctx: WorkflowContext) -> Any:
        promise = ctx.promise(Given.text)
        assert await promise.resolve(1)
        return [await promise, await ctx.promise(Given.text).peek()]

    @handler
    async def other(self, ctx: WorkflowSharedContext) -> Any:
        return await ctx.promise(Given.text).peek()


SPECS = Registry(Box, Task, Flow).specs


class Process:
    """Runs one handler at a time, each in a world of its own."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def call(self, path: str, text: str) -> Any:
        """The result; for a refusal, what was said: of a terminal failure, or of the attempt that failed."""
        Given.text = text
        self.store, clock, dispatcher = MemoryStore(), SystemClock(), LocalDispatcher()
        timers = LocalTimers(clock)
        self.engine = Engine(store=self.store, timers=timers, dispatcher=dispatcher, clock=clock, handlers=SPECS)
        dispatcher.engine = timers.engine = self.engine
        try:
            return self._runner.run(self._call(path))
        finally:
            timers.close()

    async def _call(self, path: str) -> Any:
        service, *key, name = path.split("/")
        sent = await self.engine.send(Request(Target(service, name, *key), b""))
        end = time.monotonic() + 60
        while True:
            meta = await self.store.peek(sent.id)
            assert meta is not None
            if meta.status is Status.PAUSED:
                return ValueError(meta.error)
            if meta.status is Status.SUSPENDED:
                await self.engine.outbound.signal(sent.id, Given.text, Outcome(b'"signalled"'))
            if not meta.live:
                outcome = await self.engine.storage.result(meta)
                assert outcome is not None
                self._storable()
                if outcome.failure:
                    return TerminalError(outcome.failure.message, code=outcome.failure.code)
                return json.loads(outcome.value) if outcome.value else None
            assert time.monotonic() < end, meta
            await asyncio.sleep(0.001)

    def _storable(self) -> None:
        """What is stored here could be in DynamoDB, and would be read back the same."""
        for record in self.store.records():
            item = write(record)
            json.dumps(item, default=lambda data: data.decode("latin-1"), ensure_ascii=False).encode()
            assert all(len(item[name]["S"].encode()) <= limit for name, limit in (("pk", 2048), ("sk", 1024)))
            assert read(item) == record


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    with asyncio.Runner() as runner:
        yield Process(runner)


def unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def named(text: str, most: int = MAX_KEY) -> bool:
    """Whether it is a name."""
    return unicode(text) and 0 < len(text.encode()) <= most


def refused(error: Any, what: str = "name") -> bool:
    """Whether an attempt failed for that it is none."""
    return (
        isinstance(error, ValueError)
        and re.match(f"ValueError: {what} (has 1 to 512 bytes|is not Unicode)", str(error)) is not None
    )


class TestNames:
    @given(texts)
    @example("large")
    @bounded(60)
    def test_of_state(self, process: Process, text: str) -> None:
        kept, spilled = process.call("Box/k/keep", text), process.call("Box/k/spill", text)
        if named(text):
            if text != "large":
                assert kept == [text, sorted([text, "large"]), None]
            assert spilled == [5000, [text]]
        else:
            assert refused(kept)
            assert refused(spilled)

    @given(texts)
    @bounded(60)
    def test_of_steps_and_signals_and_promises(self, process: Process, text: str) -> None:
        results = {
            path: process.call(path, text) for path in ("Task/step", "Task/signal", "Flow/w/run", "Flow/w/other")
        }
        if named(text):
            assert list(results.values()) == [1, "signalled", [1, 1], None]
        else:
            assert all(refused(result) for result in results.values())

    @given(texts)
    @bounded(60)
    def test_of_sleeps(self, process: Process, text: str) -> None:
        slept = process.call("Task/sleep", text)
        if unicode(text) and len(text.encode()) <= MAX_KEY:
            assert slept is None
        else:
            assert refused(slept)

    @given(texts)
    @bounded(60)
    def test_of_keys(self, process: Process, text: str) -> None:
        called = process.call("Task/call", text)
        assert called == text if named(text) else refused(called, "key")

    @given(texts)
    @bounded(60)
    def test_idempotency_keys(self, process: Process, text: str) -> None:
        sent = process.call("Task/once", text)
        assert sent.startswith("inv_") if named(text, MAX_IDEMPOTENCY_KEY) else refused(sent, "idempotency_key")

    @given(texts)
    @bounded(60)
    def test_headers(self, process: Process, text: str) -> None:
        told = process.call("Task/tell", text)
        assert told == {"x-own": text} if unicode(text) else refused(told, "header 'x-own'")


class TestErrors:
    @given(texts)
    @bounded(60)
    def test_a_message_is_kept_as_far_as_it_is_unicode(self, process: Process, text: str) -> None:
        said = text.encode(errors="replace").decode()
        ended = process.call("Task/give_up", text)
        assert isinstance(ended, TerminalError)
        assert ended.message == said
        assert process.call("Task/give_up_in_a_step", text) == said
        failed = process.call("Task/fail", text)
        assert str(failed) == f"OSError: {said}"

    @given(texts)
    @bounded(60)
    def test_a_result_that_json_cannot_say_is_the_steps_failure(self, process: Process, text: str) -> None:
        said = process.call("Task/result", text)
        assert said == text if unicode(text) else "half of a surrogate pair" in str(said)

    def test_one_that_is_too_long_is_cut(self, process: Process) -> None:
        """Or it could not be stored, and the attempt that raised it would be made again and again."""
        ended = process.call("Task/give_up", "é" * 1_000_000)
        assert isinstance(ended, TerminalError)
        assert ended.message == "é" * (MAX_MESSAGE // 2) + " …"
        assert len(str(process.call("Task/fail", "x" * 1_000_000))) < 1100
