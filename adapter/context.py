"""The contexts: what handler code can do durably."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, TypeVarTuple, overload
from uuid import UUID

from typing_extensions import TypeForm

from adapter import values
from adapter.checks import check_id, check_text, milliseconds
from adapter.clients import Clients
from adapter.definitions import Service, VirtualObject, Workflow, context_of, contexts_with
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
    Send,
    SetState,
    Signal,
    Sleep,
    StateKeys,
    accepted,
)
from adapter.engine.types import MAX_KEY, Headers, Kind, Target
from adapter.errors import TerminalError, TimedOutError
from adapter.heartbeats import WatchedAwakeable
from adapter.logs import HandlerLogger
from adapter.operations import Awakeable, Invocation, Operation
from adapter.promises import DurablePromise
from adapter.serde import Json, Serde, of
from adapter.steps import Steps

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class Request:
    """The request that an invocation came from: ``ctx.request.headers.get("x-tenant")``.

    Attributes:
        id: The invocation's id.
        target: The requested handler: ``service``, ``handler`` and ``key``.
        headers: The headers of the request, names in lower case.
        idempotency_key: The idempotency key of the request; ``None`` if it had none.
    """

    id: str
    target: Target
    headers: Headers
    idempotency_key: str | None = None


@context_of(Service, Kind.SERVICE)
class Context(Clients, Steps):
    """The context of a service's handler, and the base of the other contexts.

    Each attempt after the first replays the handler's code from its start, with the results of the earlier attempts.
    Handler code therefore has to issue the same commands in the same order. What differs from run to run (I/O, the
    clock, random numbers) goes through the context. Operations start when they are made, not when they are awaited, so
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

    if not TYPE_CHECKING:  # checkers know what a context has

        def __getattr__(self, name: str) -> NoReturn:
            kind, others = type(self).__name__, contexts_with(name)
            text = f"{kind} has no {name}"
            if others:
                text = f"{self._where('the context')} is {kind}, which has no {name}: {' and '.join(others)} have it"
            raise AttributeError(text, name=name, obj=self)

    @property
    def request(self) -> Request:
        """The request that the invocation came from."""
        issuer = self._issuer
        # A call by Restate's SDK has its headers as they are written.
        headers = {name.lower(): value for name, value in issuer.headers.items()}
        return Request(issuer.id, issuer.target, headers, issuer.idempotency_key)

    @property
    def logger(self) -> HandlerLogger:
        """A logger that names the invocation in each line, and writes no line again when a replay runs the code again.

        It logs under the service's name: ``logging.getLogger("Shop").setLevel("DEBUG")`` is for handlers of ``Shop``.
        """
        return HandlerLogger(self._issuer)

    @property
    def random(self) -> Random:
        """A random number generator whose numbers a replay draws again. Make secrets in `run` instead."""
        return self._issuer.random

    def uuid(self) -> UUID:
        """Return a random UUID, the same on a replay. Do not use it as a secret."""
        return UUID(int=self.random.getrandbits(128), version=4)

    def now(self) -> Operation[datetime]:
        """Read the time in UTC: ``await ctx.now()``. A replay receives the same time."""
        return self._issuer.issue(Now(), _time)

    def sleep(self, duration: timedelta, *, name: str = "") -> Operation[None]:
        """Wait, for milliseconds or for months: ``await ctx.sleep(timedelta(days=30))``. No process waits meanwhile.

        A sleep of up to a minute ends within a second of its time. A longer one may end up to a minute late.

        Args:
            duration: How long, at most 100 years; rounded up to the millisecond.
            name: The name of the sleep in the journal.

        Raises:
            TypeError: If the duration is not a timedelta.
            ValueError: If the duration is negative or too long, or the name longer than 512 bytes of UTF-8.
        """
        if name:
            check_text("name", name, MAX_KEY)
        return self._issuer.issue(Sleep(milliseconds(duration, "duration"), name), _nothing)

    @overload
    def awakeable(self, /, *, heartbeat: timedelta | None = None) -> Awakeable[Any]: ...
    @overload
    def awakeable(self, type: type[T], /, *, heartbeat: timedelta | None = None) -> Awakeable[T]: ...
    @overload
    def awakeable(self, type: TypeForm[T], /, *, heartbeat: timedelta | None = None) -> Awakeable[T]: ...
    @overload
    def awakeable(self, /, *, serde: Serde[T], heartbeat: timedelta | None = None) -> Awakeable[T]: ...
    def awakeable(
        self, type: Any = Any, /, *, serde: Serde[Any] | None = None, heartbeat: timedelta | None = None
    ) -> Awakeable[Any]:
        """Return a result that is completed from outside: by a person who approves, or a service that calls back.

        ```python
        payment = ctx.awakeable(Receipt)
        await ctx.run("ask for the payment", gateway.ask, order, payment.id)
        receipt = await payment
        ```

        Awaiting it raises `TerminalError` if it was rejected, or if its value does not fit the type.

        Args:
            type: The type of the value; plain JSON if not given.
            serde: The format of the value, in place of the type's.
            heartbeat: How long to wait for a heartbeat (`Clients.heartbeat_awakeable`). If none comes for so long,
                awaiting it raises `TimedOutError`. Each heartbeat resumes the handler, so once a minute is often.
        """
        form, what = serde or of(type), self._where("the value of an awakeable")
        wait = None if heartbeat is None else milliseconds(heartbeat, "heartbeat")
        awakeable = self._issuer.issue(commands.Awakeable(), lambda data: values.receive(form, data, what))
        return awakeable if wait is None else WatchedAwakeable(self._issuer, awakeable, wait)

    @overload
    def signal(self, name: str, /) -> Operation[Any]: ...
    @overload
    def signal(self, name: str, type: type[T], /) -> Operation[T]: ...
    @overload
    def signal(self, name: str, type: TypeForm[T], /) -> Operation[T]: ...
    @overload
    def signal(self, name: str, /, *, serde: Serde[T]) -> Operation[T]: ...
    def signal(self, name: str, type: Any = Any, /, *, serde: Serde[Any] | None = None) -> Operation[Any]:
        """Wait for the next signal of a name to this invocation. Each signal is received once, in order of arrival.

        `Clients.send_signal` sends one. Awaiting it raises `TerminalError` if its value does not fit the type.

        Args:
            name: The signal's name, up to 512 bytes of UTF-8.
            type: The type of the value; plain JSON if not given.
            serde: The format of the value, in place of the type's.
        """
        form, what = serde or of(type), self._where(f"the value of signal {name!r}")
        return self._issuer.issue(
            Signal(check_text("name", name, MAX_KEY)), lambda data: values.receive(form, data, what)
        )

    def cancel(self, id: str, /) -> Operation[bool]:
        """Cancel another invocation: a terminal error is raised at its next await, so that it can clean up.

        The calls that it awaits are cancelled first. The messages that it sent are not. This need not be awaited. The
        result is False if the invocation has ended, or does not exist. Cancelling it again interrupts its clean-up.

        Args:
            id: The invocation's id, ``inv_…``.
        """
        return self._issuer.issue(Cancel(check_id(id)), accepted)

    @asynccontextmanager
    async def timeout(self, duration: timedelta) -> AsyncGenerator[None]:
        """Leave the block when it takes too long.

        ```python
        try:
            async with ctx.timeout(timedelta(days=1)):
                code = await ctx.promise("code", str)
        except TimedOutError:
            ...
        ```

        The operations that the block awaits continue; only the waiting ends. Blocks can be nested.

        Args:
            duration: How long, at most 100 years; rounded up to the millisecond.

        Raises:
            TimedOutError: If the block took longer. It is a `TerminalError` with code 408 and a ``TimeoutError``. If it
                is not caught, it ends the invocation.
        """
        scope = asyncio.timeout(milliseconds(duration, "duration") / 1000)
        try:
            async with scope:
                yield
        except TimeoutError as error:
            if not scope.expired() or isinstance(error, TerminalError):
                raise
            raise TimedOutError(f"not done within {duration}") from None

    def _where(self, what: str) -> str:
        target = self._issuer.target
        return f"{what} in {target.service}.{target.handler}"

    def _ask(self, command: Asked, decode: Callable[[bytes | None], T]) -> Operation[T]:
        return self._issuer.issue(command, decode)

    def _issue(self, command: Call | Send, content_type: str, decode: Callable[[bytes | None], T]) -> Invocation[T]:
        return self._issuer.issue(command, decode)


class KeyedContext(Context):
    """The context of a handler that is bound to a key: it reads the state of the key."""

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
    @overload
    def get(self, name: str, /, *, serde: Serde[T]) -> Operation[T | None]: ...
    def get(self, name: str, type: Any = Any, /, *, serde: Serde[Any] | None = None) -> Operation[Any]:
        """Read a state entry: ``await ctx.get("total", int)``. The result is ``None`` if it is not set, or set to it.

        Awaiting it raises `UnreadableError` if the entry was written as another type.

        Args:
            name: The entry's name, up to 512 bytes of UTF-8.
            type: The type of the value; plain JSON if not given.
            serde: The format of the value, in place of the type's.
        """
        # `bytes | None` is what an entry of bytes is read as, not JSON.
        form = serde or of(bytes if type == bytes | None else type)
        what = self._where(f"state entry {name!r}")

        def decode(data: bytes | None) -> Any:
            if data is None or (not data and isinstance(form, Json)):
                return None
            return values.read(form, data, what)

        return self._issuer.issue(GetState(check_text("name", name, MAX_KEY)), decode)

    def state_keys(self) -> Operation[list[str]]:
        """List the names of the state entries, sorted."""
        return self._issuer.issue(StateKeys(), lambda data: json.loads(data or b"[]"))


class WritableState(KeyedContext):
    """A context whose handler owns its key and can write state. The next commit stores the writes."""

    def set(self, name: str, value: object, /, *, serde: Serde[Any] | None = None) -> None:
        """Write a state entry.

        Args:
            name: The entry's name, up to 512 bytes of UTF-8.
            value: Any value that pydantic can turn into JSON, or bytes. Read it as its own type.
            serde: The format of the value, in place of its own type's.

        Raises:
            TerminalError: If the value cannot be written, or does not come back equal.
        """
        check_text("name", name, MAX_KEY)
        data = values.write_any(value, self._where(f"state entry {name!r}"), serde)
        self._issuer.issue(SetState(name, data), _nothing)

    def clear(self, name: str, /) -> None:
        """Remove a state entry, if it is set."""
        self._issuer.issue(ClearState(check_text("name", name, MAX_KEY)), _nothing)

    def clear_all(self) -> None:
        """Remove every state entry of the key."""
        self._issuer.issue(ClearAllState(), _nothing)


@context_of(VirtualObject, Kind.SHARED)
class ObjectSharedContext(KeyedContext):
    """The context of a virtual object's shared handler. Many run at once, and only read state."""


@context_of(VirtualObject, Kind.EXCLUSIVE)
class ObjectContext(ObjectSharedContext, WritableState):
    """The context of a virtual object's exclusive handler. One of a key runs at a time."""


@context_of(Workflow, Kind.SHARED)
class WorkflowSharedContext(KeyedContext):
    """The context of a workflow's handlers other than ``run``."""

    @overload
    def promise(self, name: str, /) -> DurablePromise[Any]: ...
    @overload
    def promise(self, name: str, type: type[T], /) -> DurablePromise[T]: ...
    @overload
    def promise(self, name: str, type: TypeForm[T], /) -> DurablePromise[T]: ...
    @overload
    def promise(self, name: str, /, *, serde: Serde[T]) -> DurablePromise[T]: ...
    def promise(self, name: str, type: Any = Any, /, *, serde: Serde[Any] | None = None) -> DurablePromise[Any]:
        """Return a result that the workflow's handlers give each other by name; see `DurablePromise`.

        Args:
            name: The promise's name, up to 512 bytes of UTF-8.
            type: The type of the value; plain JSON if not given.
            serde: The format of the value, in place of the type's.
        """
        check_text("name", name, MAX_KEY)
        return DurablePromise(self._issuer, name, serde or of(type), self._where(f"the value of promise {name!r}"))


@context_of(Workflow, Kind.WORKFLOW)
class WorkflowContext(WorkflowSharedContext, WritableState):
    """The context of a workflow's ``run``, which is executed once per workflow id."""


def _nothing(_: bytes | None) -> None:
    return None


def _time(data: bytes | None) -> datetime:
    # In whole milliseconds: a float of seconds would round them.
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(data or b"0"))
