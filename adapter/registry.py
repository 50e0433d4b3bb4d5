"""Definitions, bound to the instances whose code runs: what the engine and the ingress are given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from adapter.definitions import Category, Definition, Method, describe
from adapter.engine.commands import Issuer
from adapter.engine.types import HandlerSpec, Kind, Options
from adapter.errors import DefinitionError, TerminalError, leaving
from adapter.serde import Json, Serde


class BoundHandler:
    """A handler of an instance: how its input is read, its code run, its output written."""

    def __init__(self, method: Method, instance: Definition) -> None:
        self._method = method
        self._instance = instance
        self._signature = method.signature

    @property
    def name(self) -> str:
        """What callers know it by."""
        return self._method.name

    @property
    def kind(self) -> Kind:
        """How it relates to a key."""
        return self._method.kind

    @property
    def options(self) -> Options:
        """What is set for it, or for its service."""
        return self._method.options

    @property
    def doc(self) -> str:
        """Its docstring."""
        return self._method.doc

    @property
    def input_required(self) -> bool:
        """Whether an empty body is refused: there is an input, which has no default and may not be ``None``."""
        try:
            self.validate_input(b"")
        except TerminalError:
            return True
        return False

    @property
    def input(self) -> Serde[Any] | None:
        """How the input is read; ``None`` for a handler that takes none."""
        return self._signature.input

    @property
    def default(self) -> Any:
        """What stands for an input that is left out; ``inspect.Parameter.empty`` where there is none such."""
        return self._method.handler.parameters[-1].default if self.input else inspect.Parameter.empty

    @property
    def output(self) -> Serde[Any]:
        """How the output is written."""
        return self._signature.output

    def schema(self, side: Literal["input", "output"]) -> dict[str, Any] | None:
        """The JSON schema of the input or the output; ``None`` where it is not JSON, or there is no input.

        Raises:
            DefinitionError: If the annotation is nothing that JSON can stand for.
        """
        serde = self.input if side == "input" else self.output
        if not isinstance(serde, Json):
            return None
        try:
            return serde.schema("validation" if side == "input" else "serialization")
        except DefinitionError as error:
            raise DefinitionError(f"the {side} of {self._method}: {error}") from error

    def validate_input(self, body: bytes) -> None:
        """Say whether the handler could be run with this body.

        Raises:
            TerminalError: With code 400, saying where it does not fit and why.
        """
        self._arguments(body)

    async def execute(self, issuer: Issuer, body: bytes) -> bytes:
        """Read the input, run the handler's code, write its output.

        Raises:
            TerminalError: With code 400 if the body does not fit; else what the code raises.
        """
        arguments = self._arguments(body)
        code = self._method.handler.function.__get__(self._instance)
        with leaving(f"handler {self._method}"):
            return self.output.serialize(await code(self._signature.context(issuer), *arguments))

    @property
    def spec(self) -> HandlerSpec:
        """What the engine needs of it."""
        return HandlerSpec(self._method.description.name, self.name, self.kind, self.execute, self.options)

    def _arguments(self, body: bytes) -> tuple[Any, ...]:
        if self.input is None:
            if body:
                raise TerminalError(f"invalid input: {self._method} takes none, and the body is not empty", code=400)
            return ()
        if not body and self._method.handler.optional:
            return ()
        try:
            return (self.input.deserialize(body),)
        except ValidationError as error:
            if not body:
                raise TerminalError(
                    f"invalid input: the body is empty, and {self._method} needs an input", code=400
                ) from error
            raise TerminalError(f"invalid input: {_explain(error)}", code=400) from error
        except ValueError as error:
            raise TerminalError(f"invalid input: {error}", code=400) from error


@dataclass(frozen=True, slots=True)
class BoundService:
    """A service, virtual object or workflow with its handlers by name."""

    name: str
    category: Category
    doc: str
    handlers: Mapping[str, BoundHandler]


class Registry:
    """The services of one function or process.

    Args:
        *definitions: Instances, or classes and other callables that make one without arguments.

    Raises:
        DefinitionError: If one is still abstract, has no handlers, names what does not exist, or two have one name.
        TypeError: If one is no definition.

    >>> from adapter import Context, Service, handler
    >>> class Greeter(Service):
    ...     @handler
    ...     async def greet(self, ctx: Context, name: str) -> str:
    ...         return f"Hello {name}"
    >>> registry = Registry(Greeter)
    >>> registry.services["Greeter"].handlers["greet"].validate_input(b"7")
    Traceback (most recent call last):
        ...
    adapter.errors.TerminalError: invalid input: Input should be a valid string
    """

    def __init__(self, *definitions: Definition | Callable[[], Definition]) -> None:
        self.services: dict[str, BoundService] = {}
        for definition in definitions:
            service = _bind(definition)
            if service.name in self.services:
                raise DefinitionError(f"two definitions are called {service.name}: give one another with `name=`")
            self.services[service.name] = service

    @property
    def specs(self) -> list[HandlerSpec]:
        """What the engine needs: every handler of every service."""
        return [handler.spec for service in self.services.values() for handler in service.handlers.values()]


def _bind(definition: Definition | Callable[[], Definition]) -> BoundService:
    if inspect.isclass(definition):
        description = describe(definition)
        missing = [method.name for method in description.methods.values() if method.handler.__isabstractmethod__]
        if missing:
            raise DefinitionError(
                f"{definition.__name__} is a contract: {', '.join(missing)} not implemented. Give the class that does"
            )
    instance = definition if isinstance(definition, Definition) or not callable(definition) else definition()
    description = describe(type(instance))
    if not description.methods:
        raise DefinitionError(f"{description.cls.__name__} has no handlers: decorate its methods with @handler")
    for method in description.methods.values():
        method.check()
    handlers = {method.name: BoundHandler(method, instance) for method in description.methods.values()}
    return BoundService(description.name, description.category, description.doc, handlers)


def _explain(error: ValidationError, limit: int = 10) -> str:
    """Where the input does not fit and why, without the input itself."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    parts = [": ".join(filter(None, (".".join(map(str, e["loc"])), e["msg"]))) for e in errors[:limit]]
    return "; ".join([*parts, f"and {len(errors) - limit} more"] if len(errors) > limit else parts)
