"""What the ingress knows of services, and how it reads a request's path."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from math import isinf
from typing import Any, Final, Protocol
from urllib.parse import unquote_to_bytes

from pydantic_core import from_json

from adapter.engine.types import MAX_KEY, Kind, Options, Target
from adapter.errors import TerminalError
from adapter.frozen import frozen
from adapter.registry import BoundService, HostedHandler
from adapter.serde import Json

JSON = "application/json"


@frozen
class Endpoint:
    """A handler as the ingress sees it, in this process or in another function.

    Attributes:
        kind: How it relates to a key.
        private: Whether only handlers may call it.
        takes: The media type of its input; ``None`` if it has none.
        gives: The media type of its output; ``None`` if it has none.
        options: Its options; of one in another function, how long things are kept.
        validate: Raises `TerminalError` for a body that it cannot be run with; ``None`` where only another function can
            tell.
    """

    kind: Kind
    private: bool = False
    takes: str | None = JSON
    gives: str | None = JSON
    options: Options = field(default_factory=Options)
    validate: Callable[[bytes], None] | None = None

    def check(self, name: str, body: bytes) -> None:
        """Refuse a body that does not fit, as far as can be told here.

        Raises:
            TerminalError: With code 400, saying where it does not fit and why.
        """
        if self.validate is not None:
            self.validate(body)
        elif self.takes is None and body:
            raise TerminalError(f"invalid input: {name} takes none, and the body is not empty", code=400)
        elif self.takes == JSON and body:
            read_json(body)


Endpoints = Mapping[str, Endpoint]
"""A service's handlers by name."""


@frozen
class Deployed:
    """A service and where it is.

    Attributes:
        name: What it is called.
        function: The ARN of the alias that leads to its current version.
        deployment: That version, as invocations that began on it name it.
        handlers: By name.
    """

    name: str
    function: str
    deployment: str
    handlers: Endpoints


class Elsewhere(Protocol):
    """Knows the services that other functions host."""

    async def find(self, service: str) -> Endpoints | None:
        """The handlers of a service; ``None`` if there is none such.

        Raises:
            Unavailable: If that cannot be told now.
        """
        ...

    async def documents(self) -> Mapping[str, dict[str, Any]]:
        """What `adapter.http.openapi` says of them, by their names.

        Raises:
            Unavailable: If that cannot be told now.
        """
        ...


def endpoints(service: BoundService) -> Endpoints:
    """The handlers of a service that lives here."""
    return {
        name: Endpoint(
            handler.kind,
            handler.options.private,
            handler.input.content_type if handler.input is not None else None,
            None if isinstance(handler.output, Json) and handler.output.void else handler.output.content_type,
            handler.options,
            _validation(handler),
        )
        for name, handler in service.handlers.items()
    }


def _validation(handler: HostedHandler) -> Callable[[bytes], None]:
    """Return what refuses a body that a handler cannot be run with."""
    if not isinstance(handler.input, Json):
        return handler.validate_input

    def validate(body: bytes) -> None:
        handler.validate_input(body)
        check_numbers(body)

    return validate


def read_json(body: bytes) -> Any:
    """Return the value of a body in JSON.

    Raises:
        TerminalError: With code 400, if it is not JSON.
    """
    try:
        value = from_json(body)
    except ValueError as error:
        raise TerminalError(f"invalid input: Invalid JSON: {error}", code=400) from None
    check_numbers(body)
    return value


_UNUSUAL: Final = re.compile(rb"NaN|Infinity|[0-9][eE]\+?[0-9]{2}|[0-9]{300}")
"""Occurs in all JSON that has such a number, and in little other JSON."""


def check_numbers(body: bytes) -> None:
    """Refuse numbers that JSON does not have, or that no float holds: ``NaN``, ``Infinity``, ``1e400``.

    pydantic's parser takes them, and writes ``null`` for them.

    Args:
        body: Text that pydantic's parser takes.

    Raises:
        TerminalError: With code 400.
    """
    if not _UNUSUAL.search(body):
        return
    try:
        json.loads(body, parse_constant=_refuse_number, parse_float=_finite, parse_int=len)
    except ValueError as error:
        raise TerminalError(f"invalid input: Invalid JSON: {error}", code=400) from None


def _refuse_number(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if isinf(value):
        raise ValueError("a number is too large for a float of 64 bits")
    return value


def is_admin(path: str) -> bool:
    """Whether a path is the admin's (`adapter.http.admin`) and not the ingress's."""
    return path == "/admin" or path.startswith("/admin/")


def segments(path: str, raw_path: bytes | None) -> list[str]:
    """A path's segments, decoded once.

    A server gives the path as it was sent, so that an encoded slash is told from a slash. API Gateway gives it decoded;
    then ``raw_path`` is ``None`` and ``path`` is taken as it is.

    Raises:
        TerminalError: With code 400, if it is no UTF-8.
    """
    try:
        if raw_path is None:
            path.encode()
            return path.removeprefix("/").split("/")
        return [unquote_to_bytes(segment).decode() for segment in raw_path.removeprefix(b"/").split(b"/")]
    except UnicodeError:
        raise TerminalError("the path is not UTF-8", code=400) from None


def read_target(service: str, rest: Sequence[str], public: Endpoints) -> Target:
    """The handler that a path names: ``[handler]``, or ``[key, handler]`` where the service has keys.

    It is read from its end, the last segment being the handler's name and whatever is before it the key. So a key may
    have slashes in it, however they arrive.

    Args:
        service: The service's name.
        rest: The segments after it.
        public: Its handlers, except private ones.

    Raises:
        TerminalError: With code 404 for an unknown handler, 400 for a key that is missing, not wanted, or too long.
    """
    if not rest:
        raise TerminalError(f"the path ends before a handler; {service!r} has {', '.join(sorted(public))}", code=404)
    *key, name = rest
    if name not in public:
        raise TerminalError(
            f"service {service!r} has no handler {name!r}; it has {', '.join(sorted(public))}", code=404
        )
    if not has_keys(public):
        if key:
            raise TerminalError(f"{service!r} is a service: it takes no key, as in /{service}/{name}", code=400)
        return Target(service, name)
    text = "/".join(key)
    if not text:
        raise TerminalError(f"{service!r} needs a key: /{service}/KEY/{name}", code=400)
    if (size := len(text.encode())) > MAX_KEY:
        raise TerminalError(f"a key has up to {MAX_KEY} bytes in UTF-8, not {size}", code=400)
    return Target(service, name, text)


def with_key(rest: list[str], keys: list[str], public: Endpoints) -> list[str]:
    """A path's segments after the service, with the key that the query gives, if it does, in its place.

    >>> with_key(["add", "send"], ["100%?"], {"add": Endpoint(Kind.EXCLUSIVE)})
    ['100%?', 'add', 'send']

    Args:
        rest: The segments.
        keys: What the query gives as ``key``; a service without keys may have a parameter of that name for itself.
        public: The service's handlers, except private ones.

    Raises:
        TerminalError: With code 400, if the key is given twice.
    """
    if not keys or not has_keys(public):
        return rest
    if len(keys) > 1 or not (len(rest) == 1 or (len(rest) == 2 and rest[1] == "send")):
        raise TerminalError("the key is given once: in the path, or as ?key=", code=400)
    return [*keys, *rest]


def is_send(rest: Sequence[str], public: Endpoints) -> bool:
    """Whether a path ends in ``/send`` after a handler.

    A handler that is itself called ``send`` is called by the shorter path: ``/Mailbox/add/send`` is a call to the key
    ``add``. Where a key has slashes and that is in doubt, ``/restate/call/…`` and ``/restate/send/…`` leave none.
    """
    shortest = 2 if has_keys(public) else 1
    return (
        len(rest) > 1 and rest[-1] == "send" and rest[-2] in public and (len(rest) > shortest or "send" not in public)
    )


def read_idempotent(service: str, rest: Sequence[str], public: Endpoints) -> tuple[Target, str]:
    """The handler and the idempotency key of ``handler/idempotency_key`` or ``key/handler/idempotency_key``.

    Both keys may have slashes. What is in doubt then goes to the idempotency key if it may, so to the shorter key.

    Raises:
        TerminalError: As `read_target` does.
    """
    first = 1 if has_keys(public) else 0
    place = next((i for i in range(first, len(rest) - 1) if rest[i] in public), max(0, len(rest) - 2))
    return read_target(service, rest[: place + 1], public), "/".join(rest[place + 1 :])


def has_keys(public: Endpoints) -> bool:
    """Whether the service's handlers are bound to keys."""
    return any(endpoint.kind is not Kind.SERVICE for endpoint in public.values())
