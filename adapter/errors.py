"""The errors that handler authors and callers meet."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from pydantic_core import ValidationError

E = TypeVar("E", bound=Exception)


class AdapterError(Exception):
    """The base class of this library's errors."""


class TerminalError(AdapterError):
    """Ends the invocation and reaches its caller. It is never retried.

    Any other exception that leaves a handler or a step is retried.

    Args:
        message: What happened. It is stored and sent to the caller, so keep secrets out of it.
        code: The HTTP status of the ingress's answer, from 400 to 599.

    Raises:
        TypeError: If the message is not a string.
        ValueError: If ``code`` is not an HTTP error status.

    >>> raise TerminalError("no such account", code=404)
    Traceback (most recent call last):
        ...
    adapter.errors.TerminalError: no such account
    """

    def __init__(self, message: str, *, code: int = 500) -> None:
        if not isinstance(message, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"message is a string, not {type(message).__name__}")
        if not 400 <= code <= 599:
            raise ValueError(f"code is an HTTP error status from 400 to 599, not {code}")
        super().__init__(message)
        self.message = message
        self.code = code


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


class UnreadableError(AdapterError, ValueError):
    """A value does not fit the type that it is read as.

    It was stored as another type, or handler code or a step validated data that does not fit. The text has the place in
    the value and the reason, never the value. The attempt fails and is retried, so that other code can be deployed.
    """


class NonDeterminismError(AdapterError):
    """Handler code waited for something that a replay cannot repeat, such as I/O outside of ``ctx.run``.

    The attempt fails and is retried with backoff, so that the right code can be deployed.
    """


@contextmanager
def leaving(code: str) -> Generator[None]:
    """Raise what the engine is to make of an exception that leaves a handler's or a step's code.

    ``sys.exit`` fails the attempt like any exception, because the process runs other invocations too. If all errors of
    a task group are terminal, the first of them is raised. If one is a `NonDeterminismError`, that is raised: the group
    is made by the library whose I/O was refused. pydantic's errors quote the value, and become `UnreadableError`.

    >>> with leaving("handler Greeter.greet"):
    ...     raise SystemExit(3)
    Traceback (most recent call last):
        ...
    RuntimeError: handler Greeter.greet called sys.exit(3)
    >>> with leaving("handler Greeter.greet"):
    ...     raise ExceptionGroup("unhandled errors in a TaskGroup", [TerminalError("sold out")])
    Traceback (most recent call last):
        ...
    adapter.errors.TerminalError: sold out
    """
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(f"{code} called sys.exit({error.code!r})") from error
    except ValidationError as error:
        reason = f"{code} read a value that does not fit {error.title}: {explain(error)}"
        raise UnreadableError(reason).with_traceback(error.__traceback__) from None
    except ExceptionGroup as group:
        refused = group.subgroup(NonDeterminismError)
        if refused is not None:
            raise _first(refused) from None
        terminal, others = group.split(TerminalError)
        if terminal is None or others is not None:
            raise
        raise _first(terminal) from None


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
