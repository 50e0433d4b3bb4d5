"""The six typed clients, and the calls that they make."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar, cast, overload

from typing_extensions import TypeForm

from adapter import serde, values
from adapter.checks import check_headers, check_id, check_key, check_text, milliseconds, rejection
from adapter.definitions import (
    NOUNS,
    Category,
    Definition,
    Description,
    Service,
    VirtualObject,
    Workflow,
    describe,
)
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
from adapter.engine.ids import heartbeat, idempotent_id, parse_awakeable, workflow_id
from adapter.engine.types import MAX_IDEMPOTENCY_KEY, MAX_KEY, Kind, Outcome, Target
from adapter.operations import Invocation, Operation, Ready, Unready
from adapter.serde import Serde, of
from adapter.typed_client import TypedClient, no_handler

T = TypeVar("T")
D = TypeVar("D", bound=Definition)
S = TypeVar("S", bound=Service)
V = TypeVar("V", bound=VirtualObject)
W = TypeVar("W", bound=Workflow)


class Clients(ABC):
    """Calls and sends to handlers: the base of every context and of the HTTP `Client`.

    To type checkers, a client is an instance of the definition. Its handlers take their input by position and return an
    `Invocation`. They accept three keywords: ``idempotency_key=`` (requests to one handler and key with the same
    idempotency key are one invocation), ``delay=`` (a timedelta; send clients only) and ``headers=`` (available as
    ``ctx.request.headers``). An invocation starts when it is made, awaited or not.

    The methods raise ``TypeError`` if the class is not such a definition or the key not a string, and ``ValueError`` if
    the key is empty or longer than 512 bytes of UTF-8. The handlers raise the same for an idempotency key,
    ``ValueError`` for a delay that is negative, too long or on a call client, and `TerminalError` with code 400 for an
    input that does not fit.

    Existing invocations and awakeables are reached by id: `attach`, `output`, `send_signal`, `reject_signal`,
    `resolve_awakeable`, `reject_awakeable`.
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
        """Send messages to a service's handlers: ``ctx.service_send_client(Mailer).remind("Mary", delay=…)``."""
        return self._client(service, "service", None, sends=True)

    def object_send_client(self, object: Callable[..., V], /, key: str) -> V:
        """Send messages to a virtual object's handlers. Messages to one key arrive in the order sent."""
        return self._client(object, "object", check_key(key), sends=True)

    def workflow_send_client(self, workflow: Callable[..., W], /, id: str) -> W:
        """Send messages to a workflow's handlers, now or later."""
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
        """Call a handler by name, without its definition.

        Args:
            service: The service's name.
            method: The handler's name.
            parameter: Its input; ``None`` for none. With JSON, the handler reads what the value's own type writes.
            key: The virtual object's key, or the workflow's id.
            input_serde: The format of the input; JSON if not given.
            output_serde: The format of the result; plain JSON if not given.
            idempotency_key: Requests with the same idempotency key are one invocation.
            headers: The headers, which the handler reads as ``ctx.request.headers``.
        """
        target = _target(service, method, key)
        data = self._generic_input(target, parameter, input_serde)
        return self._request(target, None, data, input_serde, output_serde, False, idempotency_key, None, headers)

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
        """Send a message to a handler by name, now or after ``delay``; otherwise like `generic_call`."""
        target = _target(service, method, key)
        data = self._generic_input(target, parameter, input_serde)
        return self._request(target, None, data, input_serde, serde.json, True, idempotency_key, delay, headers)

    @overload
    def attach(self, id: str, /) -> Operation[Any]: ...
    @overload
    def attach(self, id: str, /, *, serde: Serde[T]) -> Operation[T]: ...
    @overload
    def attach(self, id: str, type: type[T], /) -> Operation[T]: ...
    @overload
    def attach(self, id: str, type: TypeForm[T], /) -> Operation[T]: ...
    def attach(self, id: str, type: Any = Any, /, *, serde: Serde[Any] | None = None) -> Operation[Any]:
        """Wait for the result of an existing invocation: ``await ctx.attach(id, int)``.

        Awaiting it raises the failure of the invocation, or `TerminalError` with code 404 if there is no such
        invocation or its result has expired.

        Args:
            id: The invocation's id, ``inv_…``: an `Invocation` has it, and `invocation_id` returns it.
            type: The type of the result; plain JSON if not given.
            serde: The format of the result, in place of the type's.
        """
        form = serde or of(type)
        what = self._where(f"the result of {check_id(id)}")
        return self._ask(Attach(id), lambda data: values.read(form, data, what))

    @overload
    def output(self, id: str, /) -> Operation[Ready[Any] | Unready]: ...
    @overload
    def output(self, id: str, /, *, serde: Serde[T]) -> Operation[Ready[T] | Unready]: ...
    @overload
    def output(self, id: str, type: type[T], /) -> Operation[Ready[T] | Unready]: ...
    @overload
    def output(self, id: str, type: TypeForm[T], /) -> Operation[Ready[T] | Unready]: ...
    def output(
        self, id: str, type: Any = Any, /, *, serde: Serde[Any] | None = None
    ) -> Operation[Ready[Any] | Unready]:
        """Read the result of an invocation without waiting for it.

        ```python
        match await ctx.output(id, int):
            case Ready(result): ...
            case Unready.NOT_READY: ...
            case Unready.NOT_FOUND: ...
        ```

        Awaiting it raises the failure of the invocation, if it failed.

        Args:
            id: The invocation's id, ``inv_…``.
            type: The type of the result; plain JSON if not given.
            serde: The format of the result, in place of the type's.
        """
        form = serde or of(type)
        what = self._where(f"the result of {check_id(id)}")

        def decode(data: bytes | None) -> Ready[Any] | Unready:
            if data == NOT_READY:
                return Unready.NOT_READY
            if data == NOT_FOUND:
                return Unready.NOT_FOUND
            return Ready(values.read(form, (data or b"").removeprefix(READY), what))

        return self._ask(Output(id), decode)

    def resolve_awakeable(
        self, id: str, value: object = None, /, *, serde: Serde[Any] | None = None
    ) -> Operation[bool]:
        """Complete an awakeable with a value. It need not be awaited.

        The result is True if this completed the awakeable, and False if it was completed before or its invocation
        has ended.

        Args:
            id: The awakeable's id, ``awk_…``.
            value: Any value that pydantic can turn into JSON, or bytes.
            serde: The format of the value, in place of its own type's.

        Raises:
            TerminalError: If the value cannot be written, or does not come back equal.
        """
        data = values.write_any(value, self._where("the value of an awakeable"), serde)
        return self._ask(Complete(check_id(id), Outcome(data)), accepted)

    def reject_awakeable(
        self, id: str, message: str, /, *, code: int = 500, metadata: Mapping[str, str] | None = None
    ) -> Operation[bool]:
        """Complete an awakeable with a failure, which awaiting it raises as `TerminalError`. It need not be awaited.

        The result is as that of `resolve_awakeable`.

        Args:
            id: The awakeable's id, ``awk_…``.
            message: What happened.
            code: The HTTP status that the failure stands for, from 400 to 599.
            metadata: More about the failure, as that of `TerminalError`.

        Raises:
            ValueError: If ``code`` is not an HTTP error status.
        """
        return self._ask(Complete(check_id(id), rejection(message, code, metadata)), accepted)

    def heartbeat_awakeable(self, id: str, /) -> Operation[bool]:
        """Say that an awakeable is still being worked on; see ``heartbeat=`` of ``ctx.awakeable``.

        It need not be awaited. The result is False if the invocation has ended.

        Args:
            id: The awakeable's id, ``awk_…``.

        Raises:
            ValueError: If it is not an awakeable's id.
        """
        parsed = parse_awakeable(check_id(id))
        if parsed is None:
            raise ValueError(f"{id!r} is not an awakeable's id")
        return self._ask(SendSignal(parsed[0].id, heartbeat(id), Outcome(b"")), accepted)

    def send_signal(
        self, id: str, name: str, value: object = None, /, *, serde: Serde[Any] | None = None
    ) -> Operation[bool]:
        """Send a signal to an invocation. It need not be awaited. The result is False if there is no such invocation.

        Args:
            id: The invocation's id, ``inv_…``.
            name: The signal's name, up to 512 bytes of UTF-8.
            value: Any value that pydantic can turn into JSON, or bytes.
            serde: The format of the value, in place of its own type's.

        Raises:
            TerminalError: If the value cannot be written, or does not come back equal.
        """
        check_text("name", name, MAX_KEY)
        data = values.write_any(value, self._where(f"the value of signal {name!r}"), serde)
        return self._ask(SendSignal(check_id(id), name, Outcome(data)), accepted)

    def reject_signal(
        self, id: str, name: str, message: str, /, *, code: int = 500, metadata: Mapping[str, str] | None = None
    ) -> Operation[bool]:
        """Send a failure in place of a signal's value. Awaiting the signal raises it as `TerminalError`.

        It need not be awaited. The result is as that of `send_signal`.

        Args:
            id: The invocation's id, ``inv_…``.
            name: The signal's name, up to 512 bytes of UTF-8.
            message: What happened.
            code: The HTTP status that the failure stands for, from 400 to 599.
            metadata: More about the failure, as that of `TerminalError`.

        Raises:
            ValueError: If ``code`` is not an HTTP error status.
        """
        check_text("name", name, MAX_KEY)
        return self._ask(SendSignal(check_id(id), name, rejection(message, code, metadata)), accepted)

    @abstractmethod
    def _ask(self, command: Asked, decode: Callable[[bytes | None], T]) -> Operation[T]:
        """Ask something of an existing record."""

    @abstractmethod
    def _issue(self, command: Call | Send, content_type: str, decode: Callable[[bytes | None], T]) -> Invocation[T]:
        """Make the call or the send."""

    def _where(self, what: str) -> str:
        """Return what an error names, with the handler that is at it, if one is."""
        return what

    def _generic_input(self, target: Target, parameter: object, form: Serde[Any]) -> bytes:
        what = self._where(f"the input of {target.service}.{target.handler}")
        return values.write_any(parameter, what, None if form is serde.json else form)

    def _client(self, definition: Callable[..., D], category: Category, key: str | None, *, sends: bool) -> D:
        description = describe(definition)
        if description.category != category:
            raise TypeError(_other_client(description, category, sends))
        return cast("D", TypedClient(self._request, self._where, description, key, sends))

    def _request(
        self,
        target: Target,
        kind: Kind | None,
        data: bytes,
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
                raise ValueError(
                    f"{target} takes no idempotency_key: a workflow's run is executed once per workflow id"
                )
        if delay is not None and not sends:
            raise ValueError(
                f"the call to {target} takes no delay: use the send client, and await what it returns for the result"
            )
        lower = check_headers(headers or {})
        command: Call | Send
        if sends:
            wait = 0 if delay is None else milliseconds(delay, "delay")
            command = Send(target, data, wait, idempotency_key, lower, kind)
        else:
            command = Call(target, data, idempotency_key, lower, kind)

        what = self._where(f"the result of {target.service}.{target.handler}")
        return self._issue(
            command, "" if input is None else input.content_type, lambda result: values.read(output, result, what)
        )


def invocation_id(
    service: Callable[..., Definition] | str,
    handler: str,
    /,
    key: str | None = None,
    *,
    idempotency_key: str | None = None,
) -> str:
    """Return the id of an invocation: of a workflow's ``run``, or of a request with an idempotency key.

    The id is computed, without a request. `Clients.output` says whether there is such an invocation.

    Args:
        service: The definition, or the service's name.
        handler: The name of the method on a definition, or the handler's name.
        key: The virtual object's key, or the workflow's id.
        idempotency_key: The idempotency key of the request; none for a workflow's ``run``.

    Raises:
        AttributeError: If the definition has no such handler.
        ValueError: If the arguments do not determine an id.

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
            raise AttributeError(no_handler(description, handler))
        service, handler, kind = description.name, method.name, method.kind
        if (key is None) != (kind is Kind.SERVICE):
            noun = NOUNS[description.category]
            raise ValueError(f"{method} is a {noun}'s, so {'pass' if key is None else 'leave out'} its key")
    target = _target(service, handler, key)
    if idempotency_key is not None and kind is not Kind.WORKFLOW:
        return idempotent_id(target, check_text("idempotency_key", idempotency_key, MAX_IDEMPOTENCY_KEY))
    if idempotency_key is None and target.key is not None and handler == "run" and kind in (Kind.WORKFLOW, None):
        return workflow_id(service, target.key)
    raise ValueError(
        f"the id of {target} is not known: pass idempotency_key=, or, for a workflow's run, only the workflow's id"
    )


def _other_client(description: Description, category: Category, sends: bool) -> str:
    name, right = description.cls.__name__, description.category
    arguments = {"service": name, "object": f"{name}, key", "workflow": f"{name}, id"}[right]
    client = f"{right}{'_send' if sends else ''}_client"
    return f"{name} is a {NOUNS[right]}, not a {NOUNS[category]}: use {client}({arguments})"


def _target(service: str, method: str, key: str | None) -> Target:
    return Target(service, method, None if key is None else check_key(key))
