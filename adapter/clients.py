"""The six typed clients, and the calls that they make."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar, cast, overload

from typing_extensions import TypeForm

from adapter import serde
from adapter.definitions import NOUNS, Category, Definition, Description, Service, VirtualObject, Workflow, describe
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
from adapter.engine.ids import idempotent_id, workflow_id
from adapter.engine.types import MAX_HEADERS, MAX_IDEMPOTENCY_KEY, MAX_KEY, Failure, Kind, Outcome, Target
from adapter.errors import TerminalError
from adapter.operations import Invocation, Operation, Ready, Unready
from adapter.serde import Serde

T = TypeVar("T")
D = TypeVar("D", bound=Definition)
S = TypeVar("S", bound=Service)
V = TypeVar("V", bound=VirtualObject)
W = TypeVar("W", bound=Workflow)


class Clients(ABC):
    """Calls and sends to handlers; what every context and the HTTP `Client` have in common.

    A client is, to the type checkers, an instance of the definition: its handlers take their input by position and
    return an `Invocation`. They take three keywords more: ``idempotency_key=`` (requests to one handler and key that
    carry the same one are one invocation), ``delay=`` (a timedelta; on send clients only) and ``headers=`` (what the
    handler finds at ``ctx.request.headers``). What is called starts right away, awaited or not.

    The methods raise ``TypeError`` for what is no such definition or a key that is no string, ``ValueError`` for a key
    that is empty or longer than 512 bytes of UTF-8; so do the handlers for an idempotency key, and ``ValueError`` for a
    negative delay, or any on a call client.

    What was asked for elsewhere is reached by its id: `attach`, `output`, `send_signal`, `resolve_awakeable`,
    `reject_awakeable`.
    """

    def service_client(self, service: Callable[..., S], /) -> S:
        """Call a service's handlers and wait for their results: ``await ctx.service_client(Greeter).greet("Mary")``."""
        return self._client(service, "service", None, sends=False)

    def object_client(self, object: Callable[..., V], /, key: str) -> V:
        """Call a virtual object's handlers: ``await ctx.object_client(Counter, "Mary").add(1)``."""
        return self._client(object, "object", check_key(key), sends=False)

    def workflow_client(self, workflow: Callable[..., W], /, id: str) -> W:
        """Call a workflow's handlers: ``await ctx.workflow_client(SignUp, "Mary").run(address)``."""
        return self._client(workflow, "workflow", check_key(id), sends=False)

    def service_send_client(self, service: Callable[..., S], /) -> S:
        """Have a service's handlers run, now or later: ``ctx.service_send_client(Mailer).remind("Mary", delay=…)``."""
        return self._client(service, "service", None, sends=True)

    def object_send_client(self, object: Callable[..., V], /, key: str) -> V:
        """Have a virtual object's handlers run; what is sent to one key arrives in the order sent."""
        return self._client(object, "object", check_key(key), sends=True)

    def workflow_send_client(self, workflow: Callable[..., W], /, id: str) -> W:
        """Have a workflow's handlers run, now or later."""
        return self._client(workflow, "workflow", check_key(id), sends=True)

    @overload
    def generic_call(
        self,
        *,
        service: str,
        method: str,
        parameter: object = None,
        key: str | None = None,
        input_serde: Serde[Any] = serde.json,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Invocation[Any]: ...
    @overload
    def generic_call(
        self,
        *,
        service: str,
        method: str,
        parameter: object = None,
        key: str | None = None,
        input_serde: Serde[Any] = serde.json,
        output_serde: Serde[T],
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Invocation[T]: ...
    def generic_call(
        self,
        *,
        service: str,
        method: str,
        parameter: object = None,
        key: str | None = None,
        input_serde: Serde[Any] = serde.json,
        output_serde: Serde[Any] = serde.json,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Invocation[Any]:
        """Call a handler whose definition is not at hand.

        Args:
            service: The service's name.
            method: The handler's.
            parameter: Its input; ``None`` for none.
            key: The virtual object's key, or the workflow's id.
            input_serde: How the input is written; JSON if not given.
            output_serde: How the result is read; as plain JSON if not given.
            idempotency_key: Makes requests that carry the same one a single invocation.
            headers: What the handler finds at ``ctx.request.headers``.
        """
        return self._request(
            _target(service, method, key),
            None,
            parameter,
            input_serde,
            output_serde,
            False,
            idempotency_key,
            None,
            headers,
        )

    def generic_send(
        self,
        *,
        service: str,
        method: str,
        parameter: object = None,
        key: str | None = None,
        input_serde: Serde[Any] = serde.json,
        idempotency_key: str | None = None,
        delay: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Invocation[Any]:
        """Have a handler run whose definition is not at hand, now or after ``delay``; else like `generic_call`."""
        return self._request(
            _target(service, method, key),
            None,
            parameter,
            input_serde,
            serde.json,
            True,
            idempotency_key,
            delay,
            headers,
        )

    @overload
    def attach(self, id: str, /) -> Operation[Any]: ...
    @overload
    def attach(self, id: str, type: type[T], /) -> Operation[T]: ...
    @overload
    def attach(self, id: str, type: TypeForm[T], /) -> Operation[T]: ...
    def attach(self, id: str, type: Any = Any, /) -> Operation[Any]:
        """Wait for the result of an invocation that somebody else made: ``await ctx.attach(id, int)``.

        Awaiting it raises what the invocation failed with, and `TerminalError` with code 404 where there is none such,
        or its result has expired.

        Args:
            id: The invocation's id, ``inv_…``: an `Invocation` has it, and `invocation_id` works it out.
            type: What the result is read as; plain JSON if not given.
        """
        return self._ask(Attach(_check_id(id)), _reader(type))

    @overload
    def output(self, id: str, /) -> Operation[Ready[Any] | Unready]: ...
    @overload
    def output(self, id: str, type: type[T], /) -> Operation[Ready[T] | Unready]: ...
    @overload
    def output(self, id: str, type: TypeForm[T], /) -> Operation[Ready[T] | Unready]: ...
    def output(self, id: str, type: Any = Any, /) -> Operation[Ready[Any] | Unready]:
        """Look at the result of an invocation without waiting for it.

        ```python
        match await ctx.output(id, int):
            case Ready(result): ...
            case Unready.NOT_READY: ...
            case Unready.NOT_FOUND: ...
        ```

        Awaiting it raises what the invocation failed with.

        Args:
            id: The invocation's id, ``inv_…``.
            type: What the result is read as; plain JSON if not given.
        """
        read = _reader(type)

        def decode(data: bytes | None) -> Ready[Any] | Unready:
            if data == NOT_READY:
                return Unready.NOT_READY
            return Unready.NOT_FOUND if data == NOT_FOUND else Ready(read((data or b"").removeprefix(READY)))

        return self._ask(Output(_check_id(id)), decode)

    def resolve_awakeable(self, id: str, value: object = None, /) -> Operation[bool]:
        """Give an awakeable its value. It need not be awaited.

        The result says whether this completed it: ``False`` where somebody had before, or nobody waits any more.

        Args:
            id: The awakeable's id, ``awk_…``.
            value: Anything that pydantic can turn into JSON, or bytes.
        """
        return self._ask(Complete(_check_id(id), Outcome(serde.of_value(value).serialize(value))), accepted)

    def reject_awakeable(self, id: str, message: str, /, *, code: int = 500) -> Operation[bool]:
        """Have whoever awaits an awakeable get a `TerminalError`. It need not be awaited.

        The result says whether this completed it, as `resolve_awakeable`'s does.

        Args:
            id: The awakeable's id, ``awk_…``.
            message: What happened.
            code: The HTTP status that the failure stands for, from 400 to 599.

        Raises:
            ValueError: If ``code`` is no HTTP error status.
        """
        return self._ask(Complete(_check_id(id), rejection(message, code)), accepted)

    def send_signal(self, id: str, name: str, value: object = None, /) -> Operation[bool]:
        """Send a signal to an invocation. It need not be awaited; the result says whether there is one to get it.

        Args:
            id: The invocation's id, ``inv_…``.
            name: The signal's name, up to 512 bytes of UTF-8.
            value: Anything that pydantic can turn into JSON, or bytes.
        """
        data = serde.of_value(value).serialize(value)
        return self._ask(SendSignal(_check_id(id), check_text("name", name, MAX_KEY), data), accepted)

    @abstractmethod
    def _ask(self, command: Asked, decode: Callable[[bytes | None], T]) -> Operation[T]:
        """Ask something of what is there already."""

    @abstractmethod
    def _issue(self, command: Call | Send, content_type: str, decode: Callable[[bytes | None], T]) -> Invocation[T]:
        """Make the call or the send."""

    def _client(self, definition: Callable[..., D], category: Category, key: str | None, *, sends: bool) -> D:
        description = describe(definition)
        if description.category != category:
            raise TypeError(f"{description.cls.__name__} is no {NOUNS[category]} but a {NOUNS[description.category]}")
        return cast("D", _Client(self._request, description, key, sends))

    def _request(
        self,
        target: Target,
        kind: Kind | None,
        parameter: Any,
        input: Serde[Any] | None,
        output: Serde[T],
        sends: bool,
        idempotency_key: str | None,
        delay: timedelta | None,
        headers: Mapping[str, str] | None,
    ) -> Invocation[T]:
        if idempotency_key is not None:
            check_text("idempotency_key", idempotency_key, MAX_IDEMPOTENCY_KEY)
            if kind is Kind.WORKFLOW:
                raise ValueError("a workflow's run takes no idempotency_key: its id makes it run once")
        if delay is not None and not sends:
            raise ValueError(
                "a call takes no delay: use the send client, and await what it returns if you need the result"
            )
        data = b"" if input is None else input.serialize(parameter)
        lower = _headers(headers or {})
        command: Call | Send
        if sends:
            wait = 0 if delay is None else milliseconds(delay, "delay")
            command = Send(target, data, wait, idempotency_key, lower, kind)
        else:
            command = Call(target, data, idempotency_key, lower, kind)

        def read(result: bytes | None) -> T:
            try:
                return output.deserialize(result or b"")
            except ValueError as error:
                error.add_note(f"So reads the result of {target}, which is not what it is declared to be.")
                raise

        return self._issue(command, "" if input is None else input.content_type, read)


def invocation_id(
    service: Callable[..., Definition] | str,
    handler: str,
    /,
    key: str | None = None,
    *,
    idempotency_key: str | None = None,
) -> str:
    """Work out the id of an invocation: of a workflow's ``run``, or of a request with an idempotency key.

    Nothing is asked for: whether there is such an invocation, `Clients.output` tells.

    Args:
        service: The definition, or the service's name where it is not at hand.
        handler: The handler: on a definition the name of its method, else its name.
        key: The virtual object's key, or the workflow's id.
        idempotency_key: What the request carried; none for a workflow's ``run``.

    Raises:
        AttributeError: If the definition has no such handler.
        ValueError: If neither a key nor an idempotency key makes the invocation the only one.

    >>> invocation_id("Payment", "charge", idempotency_key="order-7")
    'inv_5mlyurc2nasforb2vxmofe3wka4dum5m'
    >>> invocation_id("SignUp", "run", "Mary") == invocation_id("SignUp", "run", "John")
    False
    """
    kind: Kind | None = None
    if not isinstance(service, str):
        description = describe(service)
        method = description.methods.get(handler)
        if method is None:
            raise AttributeError(_no_handler(description, handler))
        service, handler, kind = description.name, method.name, method.kind
        if (key is None) != (kind is Kind.SERVICE):
            noun = NOUNS[description.category]
            raise ValueError(f"{method} is a {noun}'s: its id depends on {'a' if key is None else 'no'} key")
    target = _target(service, handler, key)
    if idempotency_key is not None and kind is not Kind.WORKFLOW:
        return idempotent_id(target, check_text("idempotency_key", idempotency_key, MAX_IDEMPOTENCY_KEY))
    if idempotency_key is None and target.key is not None and handler == "run" and kind in (Kind.WORKFLOW, None):
        return workflow_id(service, target.key)
    raise ValueError(
        f"the id of {target} cannot be worked out: give idempotency_key=, or, for a workflow's run, a key and none such"
    )


class _Client:
    """What stands for a definition on its callers' side."""

    # Private names are mangled, so no handler is hidden by them.
    __slots__ = ("__description", "__key", "__request", "__sends")

    def __init__(
        self, request: Callable[..., Invocation[Any]], description: Description, key: str | None, sends: bool
    ) -> None:
        self.__request = request
        self.__description = description
        self.__key = key
        self.__sends = sends

    def __getattr__(self, attribute: str) -> Callable[..., Invocation[Any]]:
        method = self.__description.methods.get(attribute)
        if method is None:
            raise AttributeError(_no_handler(self.__description, attribute))
        kind, signature = method.kind, method.signature
        target = Target(self.__description.name, method.name, self.__key)
        request, sends = self.__request, self.__sends

        def call(
            *arguments: Any,
            idempotency_key: str | None = None,
            delay: timedelta | None = None,
            headers: Mapping[str, str] | None = None,
            **unknown: object,
        ) -> Invocation[Any]:
            if unknown:
                raise TypeError(
                    f"{method} has no keyword {', '.join(unknown)}: the input goes by position, and the keywords are "
                    "idempotency_key, delay, headers"
                )
            needed = signature.input is not None and not method.handler.optional
            if not needed <= len(arguments) <= (signature.input is not None):
                takes = "one input" if signature.input else "no input"
                raise TypeError(f"{method} takes {takes}, by position, and was given {len(arguments)}")
            # Nothing is sent for an input that is left out: the handler's default is its own.
            return request(
                target,
                kind,
                arguments[0] if arguments else None,
                signature.input if arguments else None,
                signature.output,
                sends,
                idempotency_key,
                delay,
                headers,
            )

        return call


def _no_handler(description: Description, name: str) -> str:
    return f"{description.cls.__name__} has no handler {name}; it has {', '.join(description.methods) or 'none'}"


def rejection(message: str, code: int) -> Outcome:
    """A failure that is given to somebody else.

    Raises:
        ValueError: If ``code`` is no HTTP error status.
    """
    error = TerminalError(message, code=code)
    return Outcome(failure=Failure(error.code, error.message))


def check_key(key: str) -> str:
    """The key, if it can be one.

    Raises:
        TypeError: If it is no string.
        ValueError: If it is empty or longer than 512 bytes of UTF-8.
    """
    return check_text("key", key, MAX_KEY)


def milliseconds(duration: timedelta, name: str) -> int:
    """A duration in milliseconds, rounded up.

    Raises:
        TypeError: If it is no timedelta.
        ValueError: If it is negative.

    >>> milliseconds(timedelta(microseconds=1500), "delay")
    2
    """
    if not isinstance(duration, timedelta):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} is a timedelta, not {duration!r}")
    if duration < timedelta(0):
        raise ValueError(f"{name} is not negative, as {duration} is")
    return -(-duration // timedelta(milliseconds=1))


def _target(service: str, method: str, key: str | None) -> Target:
    return Target(service, method, None if key is None else check_key(key))


def check_text(name: str, text: str, limit: int) -> str:
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} is a string, not {text!r}")
    size = len(check_unicode(name, text).encode())
    if not 0 < size <= limit:
        raise ValueError(f"{name} has 1 to {limit} bytes in UTF-8, not {size}")
    return text


def check_unicode(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} is no Unicode: half of a surrogate pair is in {text!r}") from None
    return text


def _check_id(id: str) -> str:
    return check_text("id", id, MAX_KEY)


def _reader(type: Any) -> Callable[[bytes | None], Any]:
    result = serde.of(type)
    return lambda data: result.deserialize(data or b"")


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"header {name!r} is a string, not {value!r}")
        check_unicode(f"header {name!r}", name + value)
    size = sum(len(name.encode()) + len(value.encode()) for name, value in headers.items())
    if size > MAX_HEADERS:
        raise ValueError(f"headers have up to {MAX_HEADERS} bytes, not {size}: put what is larger into the input")
    return {name.lower(): value for name, value in headers.items()}
