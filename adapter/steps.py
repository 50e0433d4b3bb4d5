"""Steps: functions that a handler runs, and whose results are stored."""

from __future__ import annotations

import asyncio
import inspect
import typing
from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, Final, ParamSpec, TypeVar, TypeVarTuple, Unpack, cast, overload
from weakref import WeakKeyDictionary

from typing_extensions import TypeForm

from adapter import values
from adapter.checks import check_text
from adapter.engine.commands import Issuer, Run
from adapter.engine.types import MAX_KEY, RetryPolicy
from adapter.errors import DefinitionError, Leaving, TerminalError, TimedOutError
from adapter.operations import Operation
from adapter.serde import Json, of, type_name

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")

POLLING: Final = RetryPolicy(timedelta(seconds=1), 1.5, timedelta(minutes=1), attempts=None)
"""How `Steps.wait_until` polls, if nothing else is said."""

HINT = "pass the step's type=, or annotate what its function returns"


class Steps(ABC):
    """What contexts run: steps, and steps that are repeated until something is so."""

    _issuer: Issuer

    # With type=, fn may be a lambda, or return plain data that validation turns into the type.
    @overload
    def run(
        self,
        name: str,
        fn: Callable[[Unpack[Ts]], object],
        /,
        *args: *Ts,
        retry: RetryPolicy | None = None,
        at_most_once: bool = False,
        defer: bool = False,
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
        at_most_once: bool = False,
        defer: bool = False,
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
        at_most_once: bool = False,
        defer: bool = False,
    ) -> Operation[T]: ...
    @overload
    def run(
        self,
        name: str,
        fn: Callable[[Unpack[Ts]], T],
        /,
        *args: *Ts,
        retry: RetryPolicy | None = None,
        at_most_once: bool = False,
        defer: bool = False,
    ) -> Operation[T]: ...
    # Checkers cannot know a function's keywords beside keywords of our own.
    @overload
    def run(self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> Operation[T]: ...
    @overload
    def run(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Operation[T]: ...
    def run(  # type: ignore[misc]  # mypy does not take `*args: Any` for any type variable tuple
        self,
        name: str,
        fn: Any = None,
        /,
        *args: Any,
        retry: RetryPolicy | None = None,
        at_most_once: bool = False,
        defer: bool = False,
        type: Any = None,
        **kwargs: Any,
    ) -> Operation[Any]:
        """Run a step: a function whose result is stored, so that a replay does not run it again.

        The function runs at least once. If the process crashes before the result is stored, it runs again, so make
        its effects idempotent (`uuid` returns a key that stays the same). The function cannot use the context. If it
        raises `TerminalError`, awaiting the step raises it, now and on replay. After any other exception it is retried.

        The result is read back when it is written. If it does not come back equal, the step fails with a
        `TerminalError` and is not run again.

        Args:
            name: The step's name in the journal.
            fn: The function. A plain one runs in a thread.
            *args: The function's positional arguments.
            retry: How the step is retried; as the handler is, if not given.
            at_most_once: True for an effect that must not happen twice. If the process ends while the step may have
                run, the step fails with `TerminalError` and is not run again. It is not retried either, unless
                ``retry`` is given: then after a failure that its own code raised.
            defer: True for a step that may be repeated, such as a read. Its result is recorded with the next commit
                instead of one of its own, which saves a request. If the process ends before that, it runs again.
            type: The type of the result, in place of the return annotation. A lambda has none, and without ``type``
                its result must be plain JSON.
            **kwargs: The function's keyword arguments. The keywords above are the step's: bind arguments of these names
                with ``functools.partial``. Type checkers accept keyword arguments only without them.

        Raises:
            TypeError: If ``fn`` cannot be called with the arguments, or its return annotation cannot be resolved.
            ValueError: If the name is empty or longer than 512 bytes of UTF-8, or the step is both at most once and
                deferred.
            TerminalError: If the type of the result has no JSON schema.

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
        check_step(name, fn, args, kwargs, retry)
        if at_most_once and defer:
            raise ValueError(f"run({name!r}, …): a deferred step may run again, so it cannot be at_most_once")
        form = of(returned(fn) if type is None else type)
        what = self._where(f"the result of step {name!r}")
        if isinstance(form, Json):
            try:
                _ = form.adapter  # before the step has effects
            except DefinitionError as error:
                raise TerminalError(f"{what} has no format: {error}") from None

        async def closure() -> bytes:
            with Leaving(f"step {name!r}"):
                if inspect.iscoroutinefunction(fn):
                    value = await fn(*args, **kwargs)
                else:
                    value = await in_thread(fn, *args, **kwargs)
                    if inspect.isawaitable(value):
                        value = await value
                return values.write(form, value, what, hint=HINT, convert=type is not None)

        policy = RetryPolicy.NONE if at_most_once and retry is None else retry
        given = (*args, *kwargs.values())
        command = Run(name, closure, policy, at_most_once=at_most_once, deferred=defer, arguments=given)
        return self._issuer.issue(command, lambda data: values.read(form, data, what))

    @overload
    async def wait_until(
        self,
        name: str,
        poll: Callable[[Unpack[Ts]], Awaitable[T]],
        /,
        *args: *Ts,
        until: Callable[[T], object] = bool,
        every: RetryPolicy = POLLING,
    ) -> T: ...
    @overload
    async def wait_until(
        self,
        name: str,
        poll: Callable[[Unpack[Ts]], T],
        /,
        *args: *Ts,
        until: Callable[[T], object] = bool,
        every: RetryPolicy = POLLING,
    ) -> T: ...
    async def wait_until(  # type: ignore[misc]  # as for `run`
        self,
        name: str,
        poll: Any,
        /,
        *args: Any,
        until: Callable[[Any], object] = bool,
        every: RetryPolicy = POLLING,
    ) -> Any:
        """Repeat a step until its result is as wanted, and return that result. No process waits in between.

        ```python
        status = await ctx.wait_until("job", client.status, job_id, until=lambda status: status != "running")
        ```

        Args:
            name: The name of the step, and of the sleeps, in the journal.
            poll: The function, as for `run`.
            *args: The function's arguments.
            until: Returns True for a result that ends the waiting. It must depend on nothing but the result.
            every: How long to wait before each further step, how often to ask and for how long. If not given, every
                second at first, slowing down to once a minute, without end.

        Raises:
            TimedOutError: If the condition is not met after ``every.attempts`` steps or ``every.duration``.
        """
        deadline = None if every.duration is None else (await self.now()) + every.duration
        tries = 0
        while True:
            tries += 1
            result = await self.run(name, poll, *args)
            if until(result):
                return result
            wait = timedelta(seconds=every.spread(tries, self._issuer.random.random() if every.jitter else 0))
            if tries == every.attempts or (deadline is not None and await self.now() + wait > deadline):
                break
            await self.sleep(wait, name=name)
        raise TimedOutError(f"{name!r} is not as wanted after {tries} polls")

    @abstractmethod
    def now(self) -> Operation[datetime]: ...

    @abstractmethod
    def sleep(self, duration: timedelta, *, name: str = "") -> Operation[None]: ...

    @abstractmethod
    def _where(self, what: str) -> str: ...


def check_step(name: object, fn: object, args: tuple[Any, ...], kwargs: dict[str, Any], retry: object) -> None:
    """Raise what is wrong with the arguments of `Context.run`."""
    if callable(name):
        called = getattr(name, "__name__", "fn")
        raise TypeError(f"run takes the step's name first: run({called!r}, {called}, …)")
    check_text("name", cast("str", name), MAX_KEY)
    if fn is None:
        raise TypeError(f"run({name!r}) is given no function: pass it second, as in run({name!r}, fn, …)")
    if inspect.iscoroutine(fn):
        fn.close()
        called = fn.__name__
        raise TypeError(f"run({name!r}, {called}(…)) calls the function itself: pass run({name!r}, {called}, …)")
    if not callable(fn):
        raise TypeError(
            f"run({name!r}, …) takes a function and its arguments, not a value of type {type_name(type(fn))}"
        )
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise TypeError(f"retry is of type RetryPolicy, not {type_name(type(retry))}")
    if kwargs:
        try:
            inspect.signature(fn).bind(*args, **kwargs)
        except TypeError as error:
            called = getattr(fn, "__name__", type_name(type(fn)))
            raise TypeError(
                f"run({name!r}, {called}, …): {error}; the step's own keywords are retry, type, at_most_once, defer"
            ) from None
        except ValueError:
            pass  # a builtin that does not say what it takes


_LIVE: Final = 32
"""How many plain steps run at the same time in one process."""

_THREADS: Final = 800
"""How many threads there are at most. Lambda allows 1,024 of a process."""

_turns = WeakKeyDictionary[AbstractEventLoop, asyncio.Semaphore]()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, "step")


async def in_thread(fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a plain function in a thread, with the context variables of the caller.

    A call that is cancelled continues in its thread, but no longer counts as running: steps that were given up do not
    keep others waiting.

    Raises:
        RuntimeError: If the function raises ``StopIteration``, which no future can pass on.
    """
    loop = asyncio.get_running_loop()
    call = partial(copy_context().run, fn, *args, **kwargs)
    async with _turns.setdefault(loop, asyncio.Semaphore(_LIVE)):
        return await loop.run_in_executor(_threads(), _passing_on, call)


def _passing_on(call: Callable[[], T]) -> T:
    try:
        return call()
    except StopIteration as error:
        raise RuntimeError("the function raised StopIteration") from error


def returned(fn: Any) -> Any:
    """Return the return annotation of a function; `Any` if it has none."""
    while isinstance(fn, partial):
        fn = cast("Any", fn.func)
    if isinstance(fn, type):
        return cast("Any", fn)
    if not inspect.isroutine(fn):
        fn = type(fn).__call__
    fn = getattr(fn, "__func__", fn)
    try:
        return _returned[fn]
    except (KeyError, TypeError):
        found = _annotated(fn)
    with suppress(TypeError):  # some of Python's own functions have no weak references
        _returned[fn] = found
    return found


_returned = WeakKeyDictionary[Any, Any]()
"""The return annotations of functions. A handler's function runs often, and to evaluate its annotations takes longer
than all else that is done to its arguments."""


def _annotated(fn: Any) -> Any:
    try:
        returned = typing.get_type_hints(fn, include_extras=True).get("return", Any)
    except (NameError, AttributeError) as error:
        raise TypeError(
            f"the return annotation of {fn.__qualname__} cannot be resolved: {error}. Pass the result's type as type="
        ) from error
    return typing.get_args(returned)[-1] if typing.get_origin(returned) in (Awaitable, Coroutine) else returned
