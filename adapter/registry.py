"""Definitions, bound to the instances whose code runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import ValidationError

from adapter import values
from adapter.codec import Codec, Coder
from adapter.definitions import Category, Definition, Method, describe
from adapter.engine.commands import Issuer
from adapter.engine.deployment import HandlerSpec
from adapter.engine.types import Kind, Options
from adapter.errors import DefinitionError, Leaving, TerminalError, explain
from adapter.serde import Json, Serde


class HostedHandler(Protocol):
    """A handler of a registry: one of a definition (`BoundHandler`), or one that another runtime executes."""

    @property
    def name(self) -> str:
        """The name that callers use."""
        ...

    @property
    def kind(self) -> Kind:
        """How the handler relates to a key."""
        ...

    @property
    def options(self) -> Options:
        """The options of the handler, or of its service."""
        ...

    @property
    def doc(self) -> str:
        """The documentation."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """More about it, for people and tools."""
        ...

    @property
    def input(self) -> Serde[Any] | None:
        """The serde of the input; ``None`` if the handler takes no input."""
        ...

    @property
    def input_required(self) -> bool:
        """Whether an empty body is refused."""
        ...

    @property
    def default(self) -> Any:
        """The default of the input; ``inspect.Parameter.empty`` if there is none."""
        ...

    @property
    def output(self) -> Serde[Any]:
        """The serde of the output."""
        ...

    @property
    def spec(self) -> HandlerSpec:
        """The handler as the engine runs it."""
        ...

    def schema(self, side: Literal["input", "output"]) -> dict[str, Any] | None:
        """Return the JSON schema of the input or the output; ``None`` if there is none."""
        ...

    def validate_input(self, body: bytes) -> None:
        """Refuse a body from outside that the handler cannot be run with.

        Raises:
            TerminalError: With code 400, saying where it does not fit and why.
        """
        ...


class BoundHandler:
    """A handler of an instance: reads its input, runs its code, writes its output."""

    def __init__(self, method: Method, instance: Definition) -> None:
        self._method = method
        self._instance = instance
        self._signature = method.signature

    @property
    def name(self) -> str:
        """The name that callers use."""
        return self._method.name

    @property
    def kind(self) -> Kind:
        """How the handler relates to a key."""
        return self._method.kind

    @property
    def options(self) -> Options:
        """The options of the handler, or of its service."""
        return self._method.options

    @property
    def doc(self) -> str:
        """The docstring."""
        return self._method.doc

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the option ``metadata`` says about it."""
        return self._method.metadata

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
        """The serde of the input; ``None`` if the handler takes no input."""
        return self._signature.input

    @property
    def default(self) -> Any:
        """The default of the input; ``inspect.Parameter.empty`` if there is none."""
        return self._method.handler.parameters[-1].default if self.input else inspect.Parameter.empty

    @property
    def output(self) -> Serde[Any]:
        """The serde of the output."""
        return self._signature.output

    def schema(self, side: Literal["input", "output"]) -> dict[str, Any] | None:
        """Return the JSON schema of the input or the output; ``None`` if it is not JSON, or there is no input.

        Raises:
            DefinitionError: If pydantic has no schema for the annotation.
        """
        serde = self.input if side == "input" else self.output
        if not isinstance(serde, Json):
            return None
        try:
            return serde.schema("validation" if side == "input" else "serialization")
        except DefinitionError as error:
            raise DefinitionError(f"the {side} of {self._method}: {error}") from error

    def validate_input(self, body: bytes) -> None:
        """Refuse a body from outside that the handler cannot be run with.

        Raises:
            TerminalError: With code 400, saying where it does not fit and why.
        """
        self._arguments(body, outside=True)

    async def execute(self, issuer: Issuer, body: bytes) -> bytes:
        """Read the input, run the handler's code, write its output.

        Raises:
            TerminalError: With code 400 if the body does not fit, with 500 if the output does not come back equal; else
                what the code raises.
        """
        arguments = self._arguments(body)
        code = self._method.handler.function.__get__(self._instance)
        with Leaving(f"handler {self._method}"):
            output = await code(self._signature.context(issuer), *arguments)
            return values.write(
                self.output, output, f"the output of {self._method}", hint="annotate the type that the handler returns"
            )

    @property
    def spec(self) -> HandlerSpec:
        """The handler as the engine runs it."""
        return HandlerSpec(self._method.description.name, self.name, self.kind, self.execute, self.options)

    def _arguments(self, body: bytes, *, outside: bool = False) -> tuple[Any, ...]:
        if self.input is None:
            if body:
                raise TerminalError(f"invalid input: {self._method} takes none, and the body is not empty", code=400)
            return ()
        if not body and self._method.handler.optional:
            return (deepcopy(self.default),)  # a list is this invocation's own
        try:
            if outside:
                values.check(self.input, body)
            return (self.input.deserialize(body),)
        except ValidationError as error:
            if not body:
                raise TerminalError(
                    f"invalid input: the body is empty, and {self._method} needs an input", code=400
                ) from None
            raise TerminalError(f"invalid input: {explain(error)}", code=400) from None
        except DefinitionError as error:
            raise TerminalError(f"{self._method} cannot read its input: {error}") from None
        except ValueError as error:
            raise TerminalError(f"invalid input: {error}", code=400) from None


@dataclass(frozen=True, slots=True)
class BoundService:
    """A service, virtual object or workflow with its handlers by name."""

    name: str
    category: Category
    doc: str
    handlers: Mapping[str, HostedHandler]
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


class Registry:
    """The services of one function or process.

    Args:
        *definitions: Instances, or classes and other callables that make one without arguments.

    Raises:
        DefinitionError: If a class is abstract, has no handlers or needs arguments, if an annotation cannot be
            resolved, or if two definitions have the same name.
        TypeError: If one is not a definition.

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
        self.codec: Codec | None = None
        """Encodes what the handlers store."""
        for definition in definitions:
            service = _bind(definition)
            if service.name in self.services:
                raise DefinitionError(
                    f"two definitions are called {service.name}: give one of them another name, "
                    'as in `class Other(Service, name="other")`'
                )
            self.services[service.name] = service

    @property
    def specs(self) -> list[HandlerSpec]:
        """The handlers of all services, as the engine runs them."""
        handlers = (handler for service in self.services.values() for handler in service.handlers.values())
        return [self.coder.handler(handler.spec) for handler in handlers]

    @property
    def coder(self) -> Coder:
        """What applies the codec."""
        return Coder(self.codec)


def _make(definition: Callable[[], Definition]) -> Definition:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(definition).parameters.values()
    needed = [each.name for each in parameters if each.default is each.empty and each.kind not in kinds]
    if needed:
        name = getattr(definition, "__name__", "Service")
        raise DefinitionError(
            f"{name} cannot be made without arguments, because it needs {', '.join(needed)}: pass an instance, as in "
            f"`lambda_handler({name}({needed[0]}=…))`"
        )
    return definition()


def _bind(definition: Definition | Callable[[], Definition]) -> BoundService:
    if inspect.isclass(definition):
        description = describe(definition)
        missing = [method.name for method in description.methods.values() if method.handler.__isabstractmethod__]
        if missing:
            raise DefinitionError(
                f"{definition.__name__} is a contract: it does not implement {', '.join(missing)}. Pass the class that "
                "derives from it and does"
            )
    instance = definition if isinstance(definition, Definition) or not callable(definition) else _make(definition)
    description = describe(type(instance) if isinstance(instance, Definition) else instance)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not description.methods:
        raise DefinitionError(f"{description.cls.__name__} has no handlers: decorate its async methods with @handler")
    for method in description.methods.values():
        method.check()
    handlers = {method.name: BoundHandler(method, instance) for method in description.methods.values()}
    metadata = description.settings.metadata or {}
    return BoundService(description.name, description.category, description.doc, handlers, metadata)
