"""The contexts: all that handler code may do durably."""

from __future__ import annotations

import asyncio
import inspect
import json
import typing
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, TypeVar, TypeVarTuple, Unpack, cast, overload
from uuid import UUID

from typing_extensions import TypeForm

from adapter import serde
from adapter.clients import Clients, check_text, milliseconds
from adapter.definitions import Service, VirtualObject, Workflow, context_of
from adapter.engine import commands
from adapter.engine.commands import (
    Asked,
    Call,
    Cancel,
    ClearAllState,
    ClearState,
    GetState,
    Issuer,
    Now,
    Run,
    Send,
    SetState,
    Signal,
    Sleep,
    StateKeys,
    accepted,
)
from adapter.engine.types import MAX_KEY, Headers, Kind, RetryPolicy, Target
from adapter.errors import TerminalError, TimedOutError, leaving
from adapter.logs import HandlerLogger
from adapter.operations import Awakeable, Invocation, Operation
from adapter.promises import DurablePromise

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class Request:
    """The request that an invocation came from: ``ctx.request.headers.get("x-tenant")``.

    Attributes:
        id: The invocation's id.
        target: The handler that was asked for: ``service``, ``handler`` and ``key``.
        headers: What came with it, names in lower case.
    """

    id: str
    target: Target
    headers: Headers


@context_of(Service, Kind.SERVICE)
class Context(Clients):
    """What a service's handler is given, and what all contexts share.

    Handler code runs again from its start whenever an attempt follows another, and is then given the results that it
    was given before. So it has to ask for the same things in the same order: what differs from time to time (I/O, the
    clock, chance) goes through the context. Operations start when they are asked for, not when they are awaited, so
    several can be under way at once.

    >>> from adapter import Context, Service, handler
    >>> from adapter.testing import Environment
    >>> class Lottery(Service):
    ...     @handler
    ...     async def draw(self, ctx: Context, names: list[str]) -> str:
    ...         winner = ctx.random.choice(names)
    ...         await ctx.sleep(timedelta(days=1))  # the code runs again after that, and draws the same
    ...         ticket = await ctx.run("print a ticket", "ticket for {}".format, winner)
    ...         return f"{ticket}, {await ctx.now():%d %B}"
    >>> async def main() -> None:
    ...     async with Environment(Lottery) as env:
    ...         print(await env.service_client(Lottery).draw(["Mary"]))
    >>> asyncio.run(main())
    ticket for Mary, 02 January
    """

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    @property
    def request(self) -> Request:
        """The request that the invocation came from."""
        return Request(self._issuer.id, self._issuer.target, self._issuer.headers)

    @property
    def logger(self) -> HandlerLogger:
        """A logger that names the invocation in each line, and writes no line again when a replay runs the code again.

        It logs under the service's name: ``logging.getLogger("Shop").setLevel("DEBUG")`` is for handlers of ``Shop``.
        """
        return HandlerLogger(self._issuer)

    @property
    def random(self) -> Random:
        """Random numbers that a replay draws again. They are no secret: make those in `run`."""
        return self._issuer.random

    def uuid(self) -> UUID:
        """A random UUID that a replay makes again. It is no secret."""
        return UUID(int=self.random.getrandbits(128), version=4)

    def now(self) -> Operation[datetime]:
        """The time in UTC, as ``await ctx.now()``. It is read once: a replay gives the same."""
        return self._issuer.issue(Now(), _time)

    def sleep(self, duration: timedelta, *, name: str = "") -> Operation[None]:
        """Wait, for milliseconds or for months: ``await ctx.sleep(timedelta(days=30))``. No process waits along.

        What takes more than two seconds may take up to a minute longer, as EventBridge Scheduler is that precise.

        Args:
            duration: How long; rounded up to the millisecond.
            name: What to call it in the journal.

        Raises:
            TypeError: If the duration is no timedelta.
            ValueError: If the duration is negative, or the name longer than 512 bytes of UTF-8.
        """
        if name:
            check_text("name", name, MAX_KEY)
        return self._issuer.issue(Sleep(milliseconds(duration, "duration"), name), _nothing)

    # With type=, the result is what that says: fn may be a lambda, or return what only validation turns into it.
    @overload
    def run(
        self,
        name: str,
        fn: Callable[[Unpack[Ts]], object],
        /,
        *args: *Ts,
        retry: RetryPolicy | None = None,
        type: type[T],
    ) -> Operation[T]: ...
    @overload
    def run(
        self,
        name: str,
        fn: Callable[[Unpack[Ts]], object],
        /,
        *args: *Ts,
        retry: RetryPolicy | None = None,
        type: TypeForm[T],
    ) -> Operation[T]: ...
    @overload
    def run(
        self,
        name: str,
        fn: Callable[[Unpack[Ts]], Awaitable[T]],
        /,
        *args: *Ts,
        retry: RetryPolicy | None = None,
    ) -> Operation[T]: ...
    @overload
    def run(
        self, name: str, fn: Callable[[Unpack[Ts]], T], /, *args: *Ts, retry: RetryPolicy | None = None
    ) -> Operation[T]: ...
    def run(
        self,
        name: str,
        fn: Callable[[Unpack[Ts]], Any],
        /,
        *args: *Ts,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> Operation[Any]:
        """Run a step: a function whose result is kept, so that no replay runs it again.

        The function runs at least once: a crash before its result is stored has it run again, so what it does outside
        should be idempotent (`uuid` makes a key that stays the same). It uses no context. If it raises
        `TerminalError`, so does awaiting the step, now and on replay; after any other exception it is tried again.

        Args:
            name: What to call it in the journal.
            fn: The function; async, or plain, which then runs in a thread.
            *args: Its arguments.
            retry: How it is retried; like the handler if not given.
            type: What the result is read back as, if ``fn`` does not say so by its return annotation. A lambda
                does not: without ``type`` a model that it returns comes back as a dict.

        Raises:
            TypeError: If ``fn`` cannot be called, or its return annotation cannot be resolved.
            ValueError: If the name is empty or longer than 512 bytes of UTF-8.

        >>> from adapter import Context, Service, handler
        >>> from adapter.testing import Environment
        >>> class Files(Service):
        ...     @handler
        ...     async def size(self, ctx: Context, path: str) -> int:
        ...         policy = RetryPolicy(initial=timedelta(seconds=1), attempts=3)
        ...         try:
        ...             return await ctx.run("read", self.read, path, retry=policy)
        ...         except TerminalError as gave_up:
        ...             print(gave_up)
        ...             return -1
        ...
        ...     async def read(self, path: str) -> int:
        ...         raise OSError("disk on fire")
        >>> async def main() -> None:
        ...     async with Environment(Files) as env:
        ...         print(await env.service_client(Files).size("/tmp/x"))
        >>> asyncio.run(main())
        step 'read' failed 3 times: OSError: disk on fire
        -1
        """
        if not callable(fn):
            if inspect.iscoroutine(fn):
                fn.close()
            raise TypeError(f"run({name!r}, …) takes a function and its arguments, not {fn!r}")
        if retry is not None and not isinstance(retry, RetryPolicy):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"retry is a RetryPolicy, not {retry!r}")
        result = serde.of(_returned(fn) if type is None else type)

        async def closure() -> bytes:
            with leaving(f"step {name!r}"):
                if inspect.iscoroutinefunction(fn):
                    value = await fn(*args)
                else:
                    value = await asyncio.to_thread(_call, fn, *args)
                    if inspect.isawaitable(value):
                        value = await value
                return result.serialize(value)

        return self._issuer.issue(
            Run(check_text("name", name, MAX_KEY), closure, retry), lambda data: result.deserialize(data or b"")
        )

    @overload
    def awakeable(self, /) -> Awakeable[Any]: ...
    @overload
    def awakeable(self, type: type[T], /) -> Awakeable[T]: ...
    @overload
    def awakeable(self, type: TypeForm[T], /) -> Awakeable[T]: ...
    def awakeable(self, type: Any = Any, /) -> Awakeable[Any]:
        """A result that somebody outside gives, as a person who approves or a service that calls back.

        ```python
        payment = ctx.awakeable(Receipt)
        await ctx.run("ask for the payment", gateway.ask, order, payment.id)
        receipt = await payment
        ```

        Awaiting it raises `TerminalError` where it was rejected.

        Args:
            type: What the value is read as; plain JSON if not given.
        """
        value = serde.of(type)
        return self._issuer.issue(commands.Awakeable(), lambda data: value.deserialize(data or b""))

    @overload
    def signal(self, name: str, /) -> Operation[Any]: ...
    @overload
    def signal(self, name: str, type: type[T], /) -> Operation[T]: ...
    @overload
    def signal(self, name: str, type: TypeForm[T], /) -> Operation[T]: ...
    def signal(self, name: str, type: Any = Any, /) -> Operation[Any]:
        """Wait for the next signal of a name to this invocation. Each is given once, in the order they came.

        `Clients.send_signal` sends one.

        Args:
            name: The signal's name, up to 512 bytes of UTF-8.
            type: What the value is read as; plain JSON if not given.
        """
        value = serde.of(type)
        return self._issuer.issue(
            Signal(check_text("name", name, MAX_KEY)), lambda data: value.deserialize(data or b"")
        )

    def cancel(self, id: str, /) -> Operation[bool]:
        """Ask another invocation to end: a terminal error surfaces at its next await, so that it can clean up.

        What it calls is cancelled first; what it sent goes on. It need not be awaited; the result says whether this
        asked first, ``False`` also where it has ended already, or there is none such.

        Args:
            id: The invocation's id, ``inv_…``.
        """
        return self._issuer.issue(Cancel(id), accepted)

    @asynccontextmanager
    async def timeout(self, duration: timedelta) -> AsyncGenerator[None]:
        """Give up what stands in the block when it takes too long.

        ```python
        try:
            async with ctx.timeout(timedelta(days=1)):
                code = await ctx.promise("code", str)
        except TimedOutError:
            ...
        ```

        What was awaited goes on; only the waiting ends. Blocks may be nested.

        Args:
            duration: How long; rounded up to the millisecond.

        Raises:
            TimedOutError: Where the block was left because time was up. A `TerminalError` with code 408, and a
                ``TimeoutError``: not caught, it ends the invocation.
        """
        scope = asyncio.timeout(milliseconds(duration, "duration") / 1000)
        try:
            async with scope:
                yield
        except TimeoutError as error:
            if not scope.expired() or isinstance(error, TerminalError):
                raise
            raise TimedOutError(f"not done within {duration}") from None

    def _ask(self, command: Asked, decode: Callable[[bytes | None], T]) -> Operation[T]:
        return self._issuer.issue(command, decode)

    def _issue(self, command: Call | Send, content_type: str, decode: Callable[[bytes | None], T]) -> Invocation[T]:
        return self._issuer.issue(command, decode)


class KeyedContext(Context):
    """What the contexts of virtual objects and workflows share: a key, and state to read."""

    @property
    def key(self) -> str:
        """The virtual object's key, or the workflow's id."""
        key = self._issuer.target.key
        assert key is not None
        return key

    @overload
    def get(self, name: str, /) -> Operation[Any]: ...
    @overload
    def get(self, name: str, type: type[T], /) -> Operation[T | None]: ...
    @overload
    def get(self, name: str, type: TypeForm[T], /) -> Operation[T | None]: ...
    def get(self, name: str, type: Any = Any, /) -> Operation[Any]:
        """Read a state entry, as ``await ctx.get("total", int)``; ``None`` where it is not set.

        Args:
            name: The entry's name, up to 512 bytes of UTF-8.
            type: What it is read as; plain JSON if not given.
        """
        entry = serde.of(type)
        return self._issuer.issue(
            GetState(check_text("name", name, MAX_KEY)), lambda data: None if data is None else entry.deserialize(data)
        )

    def state_keys(self) -> Operation[list[str]]:
        """The names of the state entries, sorted."""
        return self._issuer.issue(StateKeys(), lambda data: json.loads(data or b"[]"))


class WritableState(KeyedContext):
    """What the contexts that own their key add: state to write. What is written is stored with the next commit."""

    def set(self, name: str, value: object, /) -> None:
        """Write a state entry.

        Args:
            name: The entry's name, up to 512 bytes of UTF-8.
            value: Anything that pydantic can turn into JSON, or bytes.
        """
        self._issuer.issue(
            SetState(check_text("name", name, MAX_KEY), serde.of_value(value).serialize(value)), _nothing
        )

    def clear(self, name: str, /) -> None:
        """Remove a state entry, if it is set."""
        self._issuer.issue(ClearState(check_text("name", name, MAX_KEY)), _nothing)

    def clear_all(self) -> None:
        """Remove every state entry of the key."""
        self._issuer.issue(ClearAllState(), _nothing)


@context_of(VirtualObject, Kind.SHARED)
class ObjectSharedContext(KeyedContext):
    """What a virtual object's shared handler is given; many run at once, and only read state."""


@context_of(VirtualObject, Kind.EXCLUSIVE)
class ObjectContext(ObjectSharedContext, WritableState):
    """What a virtual object's exclusive handler is given; one of a key runs at a time."""


@context_of(Workflow, Kind.SHARED)
class WorkflowSharedContext(KeyedContext):
    """What a workflow's handlers besides ``run`` are given."""

    @overload
    def promise(self, name: str, /) -> DurablePromise[Any]: ...
    @overload
    def promise(self, name: str, type: type[T], /) -> DurablePromise[T]: ...
    @overload
    def promise(self, name: str, type: TypeForm[T], /) -> DurablePromise[T]: ...
    def promise(self, name: str, type: Any = Any, /) -> DurablePromise[Any]:
        """A result that the workflow's handlers give each other by name; see `DurablePromise`.

        Args:
            name: The promise's name, up to 512 bytes of UTF-8.
            type: What the value is read as; plain JSON if not given.
        """
        return DurablePromise(self._issuer, check_text("name", name, MAX_KEY), serde.of(type))


@context_of(Workflow, Kind.WORKFLOW)
class WorkflowContext(WorkflowSharedContext, WritableState):
    """What a workflow's ``run`` is given; it runs once per workflow id."""


def _call(fn: Callable[..., Any], *args: Any) -> Any:
    """Call a plain function in a thread, from which no future could pass on a ``StopIteration``."""
    try:
        return fn(*args)
    except StopIteration as error:
        raise RuntimeError("the function raised StopIteration") from error


def _nothing(_: bytes | None) -> None:
    return None


def _time(data: bytes | None) -> datetime:
    # In whole milliseconds: a float of seconds would round them.
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(data or b"0"))


def _returned(fn: Any) -> Any:
    """What a function says that it returns; `Any` where it says nothing."""
    while isinstance(fn, partial):
        fn = cast("Any", fn.func)
    if isinstance(fn, type):
        return cast("Any", fn)
    if not inspect.isroutine(fn):
        fn = type(fn).__call__
    try:
        returned = typing.get_type_hints(fn, include_extras=True).get("return", Any)
    except (NameError, AttributeError) as error:
        raise TypeError(
            f"the return annotation of {fn.__qualname__} cannot be resolved: {error}. Pass the result's type as type="
        ) from error
    return typing.get_args(returned)[-1] if typing.get_origin(returned) in (Awaitable, Coroutine) else returned
