"""Definitions on the engine, in memory, under a clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from adapter.checks import check_key, milliseconds
from adapter.clients import Clients
from adapter.codec import Codec
from adapter.definitions import Definition, describe
from adapter.engine.commands import (
    NOT_FOUND,
    NOT_READY,
    READY,
    Asked,
    Attach,
    Call,
    Complete,
    Output,
    Send,
    SendSignal,
    accepted,
)
from adapter.engine.engine import Engine
from adapter.engine.ids import idempotent_id, random_id, workflow_id
from adapter.engine.ports import Unavailable
from adapter.engine.process import Repeat
from adapter.engine.records import Meta, Status
from adapter.engine.reports import Reports
from adapter.engine.requests import Answer, Request
from adapter.engine.types import Kind, ObjectKey, Outcome, RetryPolicy, format_error
from adapter.errors import AdapterError, JournalMismatchError, TerminalError
from adapter.hosting import hosting
from adapter.local.memory import MemoryStore
from adapter.local.ports import LocalDispatcher, LocalTimers
from adapter.operations import Invocation, Operation
from adapter.testing.clock import ManualClock
from adapter.testing.looking import JournalEntry, read_journal, read_state
from adapter.testing.operations import Asking, Started, value_of

if TYPE_CHECKING:
    from adapter.restate.apps import AsgiApp

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)

PATIENCE = timedelta(days=366)
"""How far time is moved for one result."""

ROUNDS = 30
"""Rounds of the event loop without a request to the store after which nothing goes on any more by itself."""


class StuckError(AdapterError):
    """What is awaited will not come, however much time passes."""


class _Reports(Reports):
    """Keeps what attempts fail with: time passes at once here, so each failure is soon followed by the next."""

    def __init__(self) -> None:
        self.mismatch: JournalMismatchError | None = None
        self._reported: set[tuple[str, str]] = set()

    def attempt_failed(
        self, meta: Meta, policy: RetryPolicy, failures: int, error: BaseException, wait: int | None
    ) -> None:
        if isinstance(error, JournalMismatchError):
            self.mismatch = self.mismatch or error
        # One traceback will do for however many attempts that fail alike.
        reported = meta.id, format_error(error)
        if reported not in self._reported:
            self._reported.add(reported)
            super().attempt_failed(meta, policy, failures, error, wait)


class Environment(Clients):
    """Runs definitions in memory, for tests.

    It is itself a client, with the six typed clients and `attach`, `output` and the like. What is called or sent
    starts at once, in this event loop.

    Time stands still while handlers run. It moves by `advance`, and while the test awaits a result that takes time:
    then it jumps to whatever is due next, so that a month's sleep takes no longer than another step. Where nothing is
    due that could bring the result, awaiting it raises `StuckError`, which says what the handler waits for. Where a
    replay asked for something else than the journal holds, awaiting anything raises `JournalMismatchError`.

    ```python
    async with Environment(SignUp, Mailer(smtp=fake)) as env:
        run = env.workflow_client(SignUp, "Mary").run("mary@example.com")
        await env.settle()
        assert await env.state(SignUp, "Mary") == {"status": "waiting"}
        await env.advance(timedelta(days=2))
        assert await run == "expired"
    ```

    Args:
        *definitions: Instances, or classes and other callables that make one without arguments.
        replay: Have handlers suspended wherever they wait, and run again from their start after each result: whatever
            in them is not deterministic is found. Slower, and good for a second run of a whole test suite.
        start: What the time is at first.
        codec: Encodes what handlers store; see ``lambda_handler``.

    Attributes:
        requests: How many requests to the store handlers have made so far.
        crashes: How many crashes there were.
    """

    def __init__(
        self,
        *definitions: Definition | Callable[[], Definition] | AsgiApp,
        replay: bool = False,
        start: datetime = START,
        codec: Codec | None = None,
    ) -> None:
        self._codec = codec
        self._host(*definitions)
        self._replay = replay
        self._clock = ManualClock(round(start.timestamp() * 1000))
        self._store = MemoryStore(hook=self._hook)
        self._turn = asyncio.Lock()
        self._work: set[asyncio.Task[Any]] = set()
        self._requests: set[asyncio.Task[Any]] = set()
        self._faults: dict[int, tuple[Literal["before", "after"], bool]] = {}
        self.requests = 0
        self.crashes = 0
        self._processes = 0
        self._start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()
        for _ in range(ROUNDS):
            await asyncio.sleep(0)

    # --- time ---

    @property
    def now(self) -> datetime:
        """What the time is."""
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=self._clock.now())

    async def settle(self) -> None:
        """Let everything run that can without time passing, until every handler has ended or waits."""
        quiet, seen = 0, self.requests
        while quiet < ROUNDS:
            # A step may be in a thread, or do I/O.
            await asyncio.sleep(0.001 if self._engine.process.steps else 0)
            quiet = quiet + 1 if seen == self.requests and not self._engine.process.steps else 0
            seen = self.requests

    async def advance(self, duration: timedelta) -> None:
        """Let time pass, and everything run that becomes due meanwhile."""
        end = self._clock.now() + milliseconds(duration, "duration")
        async with self._turn:
            while await self._step(end):
                pass
            self._clock.move(end)
            await self._sweep()

    # --- what is done to invocations from outside ---

    def cancel(self, id: str, /) -> Operation[bool]:
        """Ask an invocation to end, as ``ctx.cancel`` does."""
        return self._told(lambda: self._engine.control.cancel(id), accepted)

    # --- looking at what is stored ---

    async def state(self, definition: Callable[..., Definition], key: str) -> dict[str, Any]:
        """The state of a virtual object's key or of a workflow, as plain JSON; bytes where it is none."""
        await self.settle()
        of = ObjectKey(describe(definition).name, check_key(key))
        return await self._apart(read_state(self._engine, of, self._coder))

    async def journal(self, invocation: Invocation[Any] | str) -> list[JournalEntry]:
        """What an invocation has asked for so far, by its handle or its id."""
        await self.settle()
        return await self._apart(read_journal(self._engine, _id_of(invocation)))

    async def status(self, invocation: Invocation[Any] | str) -> str | None:
        """Where an invocation stands: ``"suspended"``, ``"completed"`` …; ``None`` if there is none such."""
        await self.settle()
        meta = await self._apart(self._engine.storage.find(_id_of(invocation)))
        return None if meta is None else str(meta.status)

    # --- faults ---

    def fail(self, at: int = 1, *, applied: bool = False) -> None:
        """Have a request to the store fail: throttled, or without an answer.

        Args:
            at: Which one, counted from now.
            applied: Whether it takes effect all the same, and only the answer is lost.
        """
        self._faults[self.requests + at] = ("after" if applied else "before", False)

    def crash(self, at: int = 1, *, applied: bool = False) -> None:
        """Have the process end at a request to the store. Another takes over: what was under way is found when due.

        Args:
            at: Which one, counted from now.
            applied: Whether the request still takes effect.
        """
        self._faults[self.requests + at] = ("after" if applied else "before", True)

    # --- versions ---

    def redeploy(self, *definitions: Definition | Callable[[], Definition] | AsgiApp) -> None:
        """Go on with other definitions, with what is under way as well: as if each had been resumed on a new version.

        On AWS that is for an operator to ask for, and an invocation ends on the version that it began on. Where code
        and journal do not go together, what is awaited next raises `JournalMismatchError`.

        Args:
            *definitions: All that there are from now on.
        """
        self._host(*definitions)
        self._stop()
        self._start()

    # --- inside: the process ---

    def _host(self, *definitions: Definition | Callable[[], Definition] | AsgiApp) -> None:
        registry = hosting(*definitions)
        registry.codec = self._codec
        self._specs, self._coder = registry.specs, registry.coder

    def _start(self) -> None:
        self._processes += 1
        dispatcher, self._timers = LocalDispatcher(), LocalTimers(self._clock)
        self._reports = _Reports()
        self._engine = Engine(
            store=self._store,
            timers=self._timers,
            dispatcher=dispatcher,
            clock=self._clock,
            handlers=self._specs,
            always_replay=self._replay,
            reports=self._reports,
        )
        dispatcher.engine = self._timers.engine = self._engine

    def _stop(self) -> None:
        self._timers.close()
        self._engine.process.abort()
        for task in self._work:
            task.cancel()

    async def _hook(
        self, phase: Literal["before", "after"], method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], /
    ) -> None:
        if phase == "before":
            self.requests += 1
        at, crash = self._faults.get(self.requests, ("", False))
        if at != phase:
            return
        del self._faults[self.requests]
        if not crash:
            raise Unavailable(f"{method} fails, as asked for")
        self.crashes += 1
        self._stop()
        self._start()
        raise asyncio.CancelledError

    async def _apart(self, look: Coroutine[Any, Any, T]) -> T:
        """Read from the store without it being counted or failing. Nothing else runs meanwhile."""
        hook, self._store.hook = self._store.hook, None
        try:
            return await look
        finally:
            self._store.hook = hook

    def _in_process(self, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Ask the process for something, and ask again the one that follows where it crashes."""
        request = asyncio.create_task(self._asked(work))
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)
        return request

    def _after_others(self, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Ask the process for something about an invocation, after what it was asked for before: that may begin it."""
        earlier = set(self._requests)

        async def after() -> T:
            if earlier:
                await asyncio.wait(earlier)
            return await work()

        return self._in_process(after)

    async def _asked(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        while True:
            task = asyncio.create_task(work())
            self._work.add(task)
            task.add_done_callback(self._work.discard)
            process = self._processes
            await asyncio.wait({task})
            if not task.cancelled() or process == self._processes:
                return task.result()

    # --- inside: time ---

    async def until(self, done: Callable[[], Awaitable[bool]], waiting: Callable[[], Awaitable[str]]) -> None:
        """Move time until something is so."""
        patience = self._clock.now() + milliseconds(PATIENCE, "patience")
        while True:
            async with self._turn:
                await self.settle()
                if self._reports.mismatch is not None:
                    raise self._reports.mismatch
                if await done():
                    return
                if not await self._step(patience):
                    await self._sweep()
                    if not await done() and not await self._step(patience):
                        raise StuckError(await waiting())

    async def _step(self, end: int) -> bool:
        """Move to the next time at which something is due. Returns whether there is one until then."""
        await self.settle()
        now = self._clock.now()
        times = [
            record.due
            for record in self._store.records()
            if isinstance(record, Meta) and record.live and record.id.startswith("inv_")
            if record.due is not None and record.due > now and record.status is not Status.PAUSED
        ]
        sleeper = self._clock.next()
        at = min([*times, sleeper] if sleeper is not None else times, default=None)
        if at is None or at > end:
            return False
        self._clock.move(at)
        await self._sweep()
        return True

    async def _sweep(self) -> None:
        """Continue overdue invocations, as the sweeper does once a minute."""
        await self.settle()
        self._engine.process.spawn(self._engine.sweeper.sweep(), repeated_by=Repeat.SWEEP)
        await self.settle()
        self._store.expire(self._clock.now())

    # --- inside: requests ---

    def _issue(self, command: Call | Send, content_type: str, decode: Callable[[bytes | None], T]) -> Invocation[T]:
        command, decode = self._coder.command(command), self._coder.result(decode)
        target, key = command.target, command.idempotency_key
        workflow = (command.kind or self._engine.deployment.kind_of(target)) is Kind.WORKFLOW
        if workflow and target.key is not None:
            id = workflow_id(target.service, target.key)
        else:
            id = random_id() if key is None else idempotent_id(target, key)
        delay = command.delay if isinstance(command, Send) else 0
        request = Request(target, command.input, key, command.headers, delay, None if workflow else id)
        return Started(self, id, self._in_process(lambda: self._accept(request, isinstance(command, Call))), decode)

    async def _accept(self, request: Request, call: bool) -> Answer:
        if not call:
            return await self._engine.send(request)
        answer = await self._engine.call(request, until=self._clock.now())
        if request.id is None and not answer.accepted:
            raise TerminalError(
                f"workflow {request.target.object} ran already, or is running: attach to {answer.id}", code=409
            )
        return answer

    def _ask(self, command: Asked, decode: Callable[[bytes | None], T]) -> Operation[T]:
        command, decode = self._coder.command(command), self._coder.result(decode)
        match command:
            case Attach(id):
                return Started(self, id, self._after_others(lambda: self._known(id)), decode)
            case Output(id):
                return Asking(self, self._after_others(lambda: self._output(id)), decode)
            case Complete(id, outcome):
                return self._told(lambda: self._engine.outbound.complete(id, outcome), decode)
            case SendSignal(id, name, outcome):
                return self._told(lambda: self._engine.outbound.signal(id, name, outcome), decode)

    async def _known(self, id: str) -> None:
        if await self._engine.storage.find(id) is None:
            raise TerminalError(f"there is no invocation {id}, or it has expired", code=404)

    async def _output(self, id: str) -> bytes:
        meta = await self._engine.storage.find(id)
        if meta is None:
            return NOT_FOUND
        outcome = await self._engine.storage.result(meta)
        return NOT_READY if outcome is None else READY + value_of(outcome)

    def _told(self, work: Callable[[], Coroutine[Any, Any, str]], decode: Callable[[bytes | None], T]) -> Operation[T]:
        async def said() -> bytes:
            return f'"{await work()}"'.encode()

        return Asking(self, self._after_others(said), decode)

    # --- inside: looking ---

    async def outcome(self, id: str) -> Outcome | None:
        """How an invocation ended, if it has."""

        async def look() -> Outcome | None:
            meta = await self._engine.storage.find(id)
            return None if meta is None else await self._engine.storage.result(meta)

        return await self._apart(look())

    async def explain(self, id: str) -> str:
        """Why an invocation does not end."""
        meta = await self._apart(self._engine.storage.find(id))
        if meta is None:
            return f"{id} is not stored, or has expired"
        waits = [str(entry) for entry in await self._apart(read_journal(self._engine, id)) if entry.outcome is None]
        waits = [text for text in waits if text.split(" ")[0] not in ("send", "cancel")]
        error = f"; its last attempt failed with {meta.error}" if meta.error else ""
        stands = f"waits for {', '.join(waits) or 'nothing'}"
        if meta.status is Status.PAUSED:
            stands = f"nothing resumes it: {meta.failures} attempts failed in a row"
        text = f"{meta.target} ({id}) is {meta.status} and {stands}{error}"
        called = [
            record.id
            for record in self._store.records()
            if isinstance(record, Meta) and record.live and record.parent is not None and record.parent.ref == meta.ref
        ]
        return "\n".join([text, *[await self.explain(each) for each in called]])


def _id_of(invocation: Invocation[Any] | str) -> str:
    return invocation if isinstance(invocation, str) else invocation.id
