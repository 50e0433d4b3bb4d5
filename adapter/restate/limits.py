"""What the commands of an SDK may hold. For Python definitions, contexts and clients have the same limits."""

from __future__ import annotations

from adapter.engine.types import LONGEST, MAX_HEADERS, MAX_IDEMPOTENCY_KEY, MAX_KEY
from adapter.errors import TerminalError
from adapter.restate import messages as m


def check(command: m.Command, now: int) -> None:
    """Refuse a command that the store could not hold, or whose time has no date.

    Args:
        command: The command.
        now: When it came, in milliseconds since the epoch.

    Raises:
        TerminalError: With code 400. The message names the part that is too long, and its limit.
    """
    match command:
        case m.GetState(name) | m.SetState(name) | m.ClearState(name):
            _check_text("the name of a state entry", name)
        case m.GetPromise(name) | m.PeekPromise(name) | m.CompletePromise(name):
            _check_text("the name of a promise", name)
        case m.Sleep(wake_up, name=name):
            _check_text("the name of a sleep", name)
            _check_time("a sleep", wake_up, now)
        case m.Call():
            _check_request(command)
        case m.OneWayCall(invoke_time=time):
            _check_request(command)
            _check_time("a message's delay", time, now)
        case m.Attach(id) | m.GetOutput(id):
            _check_text("the id of an invocation", id)
        case m.CompleteAwakeable(id):
            _check_text("the id of an awakeable", id)
        case m.SendSignal(target, name=name):
            _check_text("the id of an invocation", target)
            _check_text("the name of a signal", name)
        case _:
            pass


def _check_request(request: m.Call | m.OneWayCall) -> None:
    target = f"{request.service}/{request.handler}"
    _check_text(f"the key for {target}", request.key)
    _check_text(f"the idempotency key for {target}", request.idempotency_key, MAX_IDEMPOTENCY_KEY)
    size = sum(len((part or "").encode()) for header in request.headers for part in (header.key, header.value))
    if size > MAX_HEADERS:
        raise TerminalError(f"the headers for {target} have {size} bytes; the most is {MAX_HEADERS}", code=400)


def _check_text(what: str, text: str | bytes | None, limit: int = MAX_KEY) -> None:
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError:
            raise TerminalError(f"{what} is not UTF-8", code=400) from None
    size = len((text or "").encode())
    if size > limit:
        raise TerminalError(f"{what} has {size} bytes in UTF-8; the most is {limit}", code=400)


def _check_time(what: str, at: int | None, now: int) -> None:
    if (at or 0) - now > LONGEST:
        raise TerminalError(f"{what} is longer than 100 years", code=400)
