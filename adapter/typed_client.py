"""The client that `Clients` returns for a definition: it has a method for each of the definition's handlers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from adapter import values
from adapter.definitions import Description, Method
from adapter.engine.types import Target
from adapter.errors import TerminalError
from adapter.operations import Invocation
from adapter.serde import Json, Serde


class TypedClient:
    """Stands for a definition on its callers' side."""

    # Private names are mangled, so no handler is hidden by them.
    __slots__ = ("__description", "__key", "__request", "__sends", "__where")

    def __init__(
        self,
        request: Callable[..., Invocation[Any]],
        where: Callable[[str], str],
        description: Description,
        key: str | None,
        sends: bool,
    ) -> None:
        self.__request = request
        self.__where = where
        self.__description = description
        self.__key = key
        self.__sends = sends

    def __getattr__(self, attribute: str) -> Callable[..., Invocation[Any]]:
        method = self.__description.methods.get(attribute)
        if method is None:
            raise AttributeError(no_handler(self.__description, attribute))
        kind, signature = method.kind, method.signature
        target = Target(self.__description.name, method.name, self.__key)
        request, where, sends = self.__request, self.__where, self.__sends

        def call(
            *arguments: Any,
            idempotency_key: str | None = None,
            delay: timedelta | None = None,
            headers: Mapping[str, str] | None = None,
            **unknown: object,
        ) -> Invocation[Any]:
            if unknown:
                raise TypeError(
                    f"{method} has no keyword {', '.join(unknown)}: pass the input by position; the keywords are "
                    "idempotency_key, delay, headers"
                )
            needed = signature.input is not None and not method.handler.optional
            if not needed <= len(arguments) <= (signature.input is not None):
                takes = "one input" if signature.input else "no input"
                raise TypeError(f"{method} takes {takes}, by position, and was given {len(arguments)}")
            # Nothing is sent for an input that is left out: the handler's default is its own.
            form = signature.input if arguments else None
            return request(
                target,
                kind,
                _input(method, form, arguments[0], where) if form is not None else b"",
                form,
                signature.output,
                sends,
                idempotency_key,
                delay,
                headers,
            )

        return call


def _input(method: Method, form: Serde[Any], value: Any, where: Callable[[str], str]) -> bytes:
    what = where(f"the input of {method}")
    data = values.write(form, value, what, hint="annotate the handler's input", convert=True, code=400)
    if data or not method.handler.optional:
        return data
    if isinstance(form, Json):
        return b"null"  # the empty body stands for the default
    raise TerminalError(f"{what} is empty, which stands for its default: leave it out, or remove the default", code=400)


def no_handler(description: Description, name: str) -> str:
    return f"{description.cls.__name__} has no handler {name}; it has {', '.join(description.methods) or 'none'}"
