"""The errors that handler authors and callers meet."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


class AdapterError(Exception):
    """The base of every error that this library raises on purpose."""


class TerminalError(AdapterError):
    """Ends the invocation, and reaches its caller; it is never retried.

    Any other exception that leaves a handler or a step is taken to be transient and retried.

    Args:
        message: What happened, for the caller to read. It is stored and sent back, so it holds no secret.
        code: The HTTP status that the ingress answers with, from 400 to 599.

    Raises:
        TypeError: If the message is no string.
        ValueError: If ``code`` is no HTTP error status.

    >>> raise TerminalError("no such account", code=404)
    Traceback (most recent call last):
        ...
    adapter.errors.TerminalError: no such account
    """

    def __init__(self, message: str, *, code: int = 500) -> None:
        if not isinstance(message, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"message is a string, not {message!r}")
        if not 400 <= code <= 599:
            raise ValueError(f"code is an HTTP error status from 400 to 599, not {code}")
        super().__init__(message)
        self.message = message
        self.code = code


class TimedOutError(TerminalError, TimeoutError):
    """What stood in a ``ctx.timeout`` block took too long.

    >>> issubclass(TimedOutError, TimeoutError), TimedOutError("not done").code
    (True, 408)
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, code=408)


class DefinitionError(AdapterError, TypeError):
    """A service, virtual object, workflow or handler that makes no sense; raised where it is defined.

    >>> from adapter import Context, Service, handler
    >>> class Mailer(Service):
    ...     @handler
    ...     def mail(self, ctx: Context, text: str) -> None: ...
    Traceback (most recent call last):
        ...
    adapter.errors.DefinitionError: Mailer.mail is no handler: a handler is an `async def` method
    """


class JournalMismatchError(AdapterError):
    """Replay issued another command than the journal holds.

    The handler's code changed while the invocation was under way, or it is not deterministic. The attempt fails and is
    retried with backoff, so that the right code can be deployed; the journal stays as it was.
    """


class NonDeterminismError(AdapterError):
    """Handler code awaited something that a replay could not repeat, such as I/O outside ``ctx.run``.

    The attempt fails and is retried with backoff, so that the right code can be deployed.
    """


@contextmanager
def leaving(code: str) -> Generator[None]:
    """What leaves a handler's or a step's code, as the engine takes it.

    ``sys.exit`` fails the attempt like any exception: the process is not the code's to end. Where a task group failed
    with terminal errors and nothing else, the first of them is what failed.

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
    except ExceptionGroup as group:
        terminal, others = group.split(TerminalError)
        if terminal is None or others is not None:
            raise
        raise _first(terminal) from None


def _first(group: ExceptionGroup[TerminalError]) -> TerminalError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error
