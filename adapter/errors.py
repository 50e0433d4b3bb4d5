"""The errors that handler authors and callers meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar, cast

from pydantic_core import ValidationError

E = TypeVar("E", bound=Exception)

MAX_METADATA = 8 * 1024
"""The most bytes that the metadata of one error, service or handler has."""

MAX_RETRY_AFTER = timedelta(days=36_500)


class AdapterError(Exception):
    """The base class of this library's errors."""


class TerminalError(AdapterError):
    """Ends the invocation and reaches its caller. It is never retried.

    Any other exception that leaves a handler or a step is retried.

    Args:
        message: What happened. It is stored and sent to the caller, so keep secrets out of it.
        code: The HTTP status of the ingress's answer, from 400 to 599.
        metadata: More about the failure for the caller's code: text by name, up to 8 KB. It goes with the message.

    Raises:
        TypeError: If the message is not a string, or the metadata has something else than strings.
        ValueError: If ``code`` is not an HTTP error status, or the metadata is too large.

    >>> raise TerminalError("no such account", code=404)
    Traceback (most recent call last):
        ...
    adapter.errors.TerminalError: no such account
    """

    def __init__(self, message: str, *, code: int = 500, metadata: Mapping[str, str] | None = None) -> None:
        if not isinstance(message, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"message is a string, not {type(message).__name__}")
        if not 400 <= code <= 599:
            raise ValueError(f"code is an HTTP error status from 400 to 599, not {code}")
        super().__init__(message)
        self.message = message
        self.code = code
        self.metadata = check_metadata(metadata or {})


class InvocationCancelledError(TerminalError):
    """The invocation was cancelled, or a call that it awaits was. Catch it to clean up, then raise it again.

    It is not ``asyncio.CancelledError``, which asyncio raises in a task that handler code itself cancels.

    >>> InvocationCancelledError().code
    409
    """

    def __init__(self, message: str = "cancelled", *, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message, code=409, metadata=metadata)


class DeadlockError(TerminalError):
    """A call would have waited forever: the invocations named in the message wait for each other's keys.

    The code is 508, "Loop Detected". Call the keys in one order in all handlers, or send a message instead of a call.

    >>> DeadlockError("deadlock: A/k1 → B/k2 → A/k1").code
    508
    """

    def __init__(self, message: str, *, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message, code=508, metadata=metadata)


class RetryableError(AdapterError):
    """Fails the attempt or the step, and says when the next one begins.

    Other exceptions are retried as well, after the wait that the retry policy gives. The policy still counts the tries.

    Args:
        message: What happened. It is stored with the invocation, so keep secrets out of it.
        retry_after: How long to wait, as a timedelta or in seconds; as the policy says if not given.
        pause: True to pause the invocation at once, until an operator resumes it. The step or the handler is then
            tried again.

    Raises:
        TypeError: If ``retry_after`` is neither.
        ValueError: If it is negative, or longer than 100 years.

    >>> RetryableError("rate limit", retry_after=30).retry_after
    datetime.timedelta(seconds=30)
    """

    def __init__(self, message: str = "", *, retry_after: timedelta | float | None = None, pause: bool = False) -> None:
        super().__init__(message)
        if isinstance(retry_after, int | float) and not isinstance(retry_after, bool):
            if not 0 <= retry_after <= MAX_RETRY_AFTER.total_seconds():
                raise ValueError("retry_after is at least 0 and at most 100 years")
            retry_after = timedelta(seconds=retry_after)
        if not isinstance(retry_after, timedelta | None):
            raise TypeError(f"retry_after is a timedelta or a number of seconds, not {type(retry_after).__name__}")
        if retry_after is not None and not timedelta(0) <= retry_after <= MAX_RETRY_AFTER:
            raise ValueError("retry_after is at least 0 and at most 100 years")
        self.retry_after = retry_after
        self.pause = pause


def retry_after(error: BaseException) -> timedelta | None:
    """Return the wait that a `RetryableError` asks for: the longest, if the error is a group.

    >>> retry_after(ExceptionGroup("", [ValueError(), RetryableError(retry_after=2), RetryableError(retry_after=5)]))
    datetime.timedelta(seconds=5)
    """
    if isinstance(error, BaseExceptionGroup):
        errors = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return max((wait for each in errors if (wait := retry_after(each)) is not None), default=None)
    return error.retry_after if isinstance(error, RetryableError) else None


def asks_to_pause(error: BaseException) -> bool:
    """Return True if a `RetryableError`, or one of a group, asks to pause the invocation.

    >>> asks_to_pause(ExceptionGroup("", [ValueError(), RetryableError("out of stock", pause=True)]))
    True
    """
    if isinstance(error, BaseExceptionGroup):
        return any(map(asks_to_pause, cast("BaseExceptionGroup[BaseException]", error).exceptions))
    return isinstance(error, RetryableError) and error.pause


def scopes_unsupported() -> TerminalError:
    """Return the error for a request of Restate's SDKs or clients that has a scope or a limit key.

    >>> scopes_unsupported().code
    501
    """
    return TerminalError("scopes and limit keys are not supported: there is no flow control yet", code=501)


class TimedOutError(TerminalError, TimeoutError):
    """A ``ctx.timeout`` block took too long.

    >>> issubclass(TimedOutError, TimeoutError), TimedOutError("not done").code
    (True, 408)
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, code=408)


class DefinitionError(AdapterError, TypeError):
    """A definition is wrong: a class, a handler or an option. It is raised where the class is defined or served.

    >>> from adapter import Context, Service, handler
    >>> class Mailer(Service):
    ...     @handler
    ...     def mail(self, ctx: Context, text: str) -> None: ...
    Traceback (most recent call last):
        ...
    adapter.errors.DefinitionError: Mailer.mail cannot be a handler: make it an `async def` method
    """


class JournalMismatchError(AdapterError):
    """A replay issued another command than the journal holds.

    The handler's code changed while the invocation was under way, or it is not deterministic. The attempt fails and is
    retried with backoff, so that the right code can be deployed. The journal is not changed.
    """


class NotDeployedError(AdapterError):
    """A handler calls, or sends a message to, a handler that no deployed service has.

    The attempt fails and is retried with backoff, so that functions can be deployed in any order. A request from
    outside is refused with 404 instead.
    """


class UnreadableError(AdapterError, ValueError):
    """A value does not fit the type that it is read as.

    It was stored as another type, or handler code or a step validated data that does not fit. The text has the place in
    the value and the reason, never the value. The attempt fails and is retried, so that other code can be deployed.
    """


class NonDeterminismError(AdapterError):
    """Handler code waited for something that a replay cannot repeat, such as I/O outside of ``ctx.run``.

    The attempt fails and is retried with backoff, so that the right code can be deployed.
    """


def check_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata of an error, a service or a handler.

    Raises:
        TypeError: If it has something else than strings.
        ValueError: If it is too large.
    """
    for name, value in metadata.items():
        if not (isinstance(name, str) and isinstance(value, str)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"metadata maps strings to strings, not {type(name).__name__} to {type(value).__name__}")
    size = sum(len(part.encode(errors="replace")) for item in metadata.items() for part in item)
    if size > MAX_METADATA:
        raise ValueError(f"metadata has up to {MAX_METADATA} bytes, not {size}: store larger values elsewhere")
    return {_encodable(name): _encodable(value) for name, value in metadata.items()}


def _encodable(text: str) -> str:
    """Return a text without lone surrogates, which the names of odd files contain."""
    return text.encode(errors="replace").decode()


class Leaving:
    """Raises what the engine is to make of an exception that leaves a handler's or a step's code.

    A class, because `contextlib.contextmanager` takes three times as long, and each step enters one.

    ``sys.exit`` fails the attempt like any exception, because the process runs other invocations too. If all errors of
    a task group are terminal, the first of them is raised. If one is a `NonDeterminismError`, that is raised: the group
    is made by the library whose I/O was refused. pydantic's errors quote the value, and become `UnreadableError`.

    >>> with Leaving("handler Greeter.greet"):
    ...     raise SystemExit(3)
    Traceback (most recent call last):
        ...
    RuntimeError: handler Greeter.greet called sys.exit(3)
    >>> with Leaving("handler Greeter.greet"):
    ...     raise ExceptionGroup("unhandled errors in a TaskGroup", [TerminalError("sold out")])
    Traceback (most recent call last):
        ...
    adapter.errors.TerminalError: sold out
    """

    __slots__ = ("_code",)

    def __init__(self, code: str) -> None:
        self._code = code

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        match error:
            case SystemExit():
                raise RuntimeError(f"{self._code} called sys.exit({error.code!r})") from error
            case ValidationError():
                reason = f"{self._code} read a value that does not fit {error.title}: {explain(error)}"
                raise UnreadableError(reason).with_traceback(error.__traceback__) from None
            case ExceptionGroup():
                refused = error.subgroup(NonDeterminismError)
                if refused is not None:
                    raise _first(refused) from None
                terminal, others = error.split(TerminalError)
                if terminal is not None and others is None:
                    raise _first(terminal) from None
            case _:
                pass


def _first(group: ExceptionGroup[E]) -> E:
    error = group.exceptions[0]
    return _first(cast("ExceptionGroup[E]", error)) if isinstance(error, ExceptionGroup) else error


def explain(error: ValidationError, limit: int = 10) -> str:
    """Return where a value does not fit and why, without the value."""
    errors = error.errors(include_url=False, include_input=False)
    parts = [": ".join(filter(None, (place(e["loc"]), _message(cast("dict[str, Any]", e))))) for e in errors[:limit]]
    return "; ".join([*parts, f"and {len(errors) - limit} more"] if len(errors) > limit else parts)


def place(path: Sequence[object]) -> str:
    """Return a place in a value, as in ``items.0.price``."""
    return ".".join(str(part)[:100] for part in path)


def _message(error: dict[str, Any]) -> str:
    if error["type"] == "union_tag_invalid":  # which quotes the value
        context = error["ctx"]
        return f"{context['discriminator']} is none of {context['expected_tags']}"
    return str(error["msg"])
