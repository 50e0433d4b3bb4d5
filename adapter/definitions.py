"""Services, virtual objects and workflows: the classes that hold handlers.

>>> from adapter import Context, ObjectContext, ObjectSharedContext, Service, VirtualObject, handler
>>> class Counter(VirtualObject):
...     @handler
...     async def add(self, ctx: ObjectContext, amount: int) -> int:
...         total = (await ctx.get("total", int) or 0) + amount
...         ctx.set("total", total)
...         return total
...
...     @handler
...     async def total(self, ctx: ObjectSharedContext) -> int:
...         return await ctx.get("total", int) or 0
>>> [f"{method}: {method.kind}" for method in describe(Counter).methods.values()]
['Counter.add: exclusive', 'Counter.total: shared']
"""

from __future__ import annotations

import inspect
from abc import ABC
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeVar, Unpack

from adapter.engine.types import Kind, Options
from adapter.errors import DefinitionError
from adapter.handlers import Handler, ServiceOptions, Settings, Signature, UnresolvedAnnotationError, check_name

T = TypeVar("T")


class Definition(ABC):
    """The base of `Service`, `VirtualObject` and `Workflow`.

    The service's name is the class's, unless the class statement gives another. A class that derives from one with
    handlers inherits its service name. So a caller can import a contract only: a class whose handlers are
    ``@handler @abstractmethod`` with ``...`` for a body. The implementation derives from it and decorates its handlers
    again. Options on the class statement hold for its handlers that do not set them; `handler` describes the options.

    Raises:
        DefinitionError: At the class statement, if the definition is wrong.

    >>> from abc import abstractmethod
    >>> from datetime import timedelta
    >>> from adapter import Context, Service, handler
    >>> class Greeter(Service, name="greeter", journal_retention=timedelta(days=7)):
    ...     @handler
    ...     @abstractmethod
    ...     async def greet(self, ctx: Context, name: str) -> str: ...
    >>> class Polite(Greeter):
    ...     @handler
    ...     async def greet(self, ctx: Context, name: str) -> str:
    ...         return f"Good day, {name}"
    >>> describe(Polite).name
    'greeter'
    """

    __description__: ClassVar[Description]

    def __init_subclass__(
        cls,
        **options: Unpack[ServiceOptions],
    ) -> None:
        super().__init_subclass__()
        if Definition in cls.__bases__:
            return  # Service, VirtualObject, Workflow: they describe nothing
        cls.__description__ = Description(cls, Settings.of(options))


class Service(Definition):
    """Stateless handlers; every invocation runs concurrently with every other.

    >>> import asyncio
    >>> from adapter import Context, Service, handler
    >>> from adapter.testing import Environment
    >>> class Greeter(Service):
    ...     @handler
    ...     async def greet(self, ctx: Context, name: str) -> str:
    ...         return f"Hello {name}"
    >>> async def main() -> None:
    ...     async with Environment(Greeter) as env:
    ...         print(await env.service_client(Greeter).greet("Mary"))
    >>> asyncio.run(main())
    Hello Mary
    """


class VirtualObject(Definition):
    """Handlers bound to a key, with state of their own.

    Exclusive handlers of one key run one at a time, in order of arrival; shared ones run concurrently and only read
    state. The context's type gives the kind: `ObjectContext` or `ObjectSharedContext`.

    >>> import asyncio
    >>> from adapter import ObjectContext, VirtualObject, handler
    >>> from adapter.testing import Environment
    >>> class Counter(VirtualObject):
    ...     @handler
    ...     async def add(self, ctx: ObjectContext, amount: int) -> int:
    ...         total = (await ctx.get("total", int) or 0) + amount
    ...         ctx.set("total", total)
    ...         return total
    >>> async def main() -> None:
    ...     async with Environment(Counter) as env:
    ...         mary, john = env.object_client(Counter, "Mary"), env.object_client(Counter, "John")
    ...         print(await mary.add(2), await mary.add(3), await john.add(1))
    >>> asyncio.run(main())
    2 5 1
    """


class Workflow(Definition):
    """A keyed definition whose ``run`` executes once per workflow id; its other handlers interact with it.

    ``run`` takes a `WorkflowContext`, the others a `WorkflowSharedContext`. A second request to run is a failure with
    code 409. A workflow's result, state and promises are kept for its ``workflow_retention``. Then its id can be used
    again.

    >>> import asyncio
    >>> from adapter import Workflow, WorkflowContext, WorkflowSharedContext, handler
    >>> from adapter.testing import Environment
    >>> class SignUp(Workflow):
    ...     @handler
    ...     async def run(self, ctx: WorkflowContext, name: str) -> str:
    ...         return f"{name} is {await ctx.promise('address', str)}"
    ...
    ...     @handler
    ...     async def confirm(self, ctx: WorkflowSharedContext, address: str) -> bool:
    ...         return await ctx.promise("address", str).resolve(address)
    >>> async def main() -> None:
    ...     async with Environment(SignUp) as env:
    ...         sign_up = env.workflow_client(SignUp, "7")
    ...         run = sign_up.run("Mary")
    ...         print(await sign_up.confirm("mary@example.com"), await run)
    >>> asyncio.run(main())
    True Mary is mary@example.com
    """


Category = Literal["service", "object", "workflow"]

_CATEGORIES: dict[type[Definition], Category] = {Service: "service", VirtualObject: "object", Workflow: "workflow"}

NOUNS: dict[Category, str] = {"service": "service", "object": "virtual object", "workflow": "workflow"}

_CONTEXTS: dict[Any, tuple[type[Definition], Kind]] = {}
"""The contexts, with the definition and the kind of the handlers that take each."""


def context_of(definition: type[Definition], kind: Kind) -> Callable[[type[T]], type[T]]:
    """Mark a class as the context of these handlers."""

    def mark(context: type[T]) -> type[T]:
        _CONTEXTS[context] = (definition, kind)
        return context

    return mark


def contexts_with(name: str) -> list[str]:
    """Return the names of the contexts that have a public attribute."""
    return [] if name.startswith("_") else [context.__name__ for context in _CONTEXTS if hasattr(context, name)]


class Description:
    """The name, options and handlers of a definition's class."""

    def __init__(self, cls: type[Definition], settings: Settings) -> None:
        # By the MRO and not by issubclass: ABC's caches are not valid for a class that is being made.
        bases: list[Description] = [
            vars(base)["__description__"] for base in cls.__mro__[1:] if "__description__" in vars(base)
        ]
        inherited = next((base.name for base in bases if base.methods or base.settings.name), cls.__name__)
        self.cls = cls
        self.name: str = settings.name or inherited
        self.doc = inspect.cleandoc(cls.__doc__ or "")
        self.settings: Settings = settings
        for base in bases:
            self.settings = self.settings.over(base.settings)
        categories: list[Category] = [category for kind, category in _CATEGORIES.items() if kind in cls.__mro__]
        if len(categories) > 1:
            nouns = " and a ".join(NOUNS[category] for category in categories)
            raise DefinitionError(f"{cls.__name__} is a {nouns}: derive it from one of them")
        self.category: Category = categories[0]
        check_name(self.name)
        if self.name in ("admin", "console", "restate"):
            raise DefinitionError(f"a service cannot be called {self.name}: the ingress has paths of that name")
        self.methods: dict[str, Method] = self._collect()
        for method in self.methods.values():
            # A forward reference is looked at again on first use.
            with suppress(UnresolvedAnnotationError):
                method.check()

    def _collect(self) -> dict[str, Method]:
        """Return the handlers by attribute, in the order of their definition, those of bases first."""
        handlers: dict[str, list[Handler[Any]]] = {}
        for cls in reversed(self.cls.__mro__):
            members: Mapping[str, object] = vars(cls)
            for attribute, value in members.items():
                if isinstance(value, Handler):
                    handlers.setdefault(attribute, []).insert(0, value)  # pyright: ignore[reportUnknownArgumentType]
                elif attribute in handlers:
                    raise DefinitionError(
                        f"{cls.__name__}.{attribute} replaces a handler of its base class: decorate it with @handler"
                    )
        methods: dict[str, Method] = {}
        names: set[str] = set()
        for attribute, chain in handlers.items():
            settings = chain[0].settings
            for overridden in chain[1:]:
                settings = settings.over(overridden.settings)
            name = settings.name or attribute
            check_name(name)
            if name in names:
                raise DefinitionError(f"{self.cls.__name__} has two handlers called {name}: rename one of them")
            names.add(name)
            methods[attribute] = Method(
                self, name, chain[0], settings.over(replace(self.settings, name=name, metadata=None))
            )
        if methods and self.category == "workflow" and "run" not in names:
            raise DefinitionError(f"{self.cls.__name__} is a workflow and has no handler called run: add one")
        return methods


@dataclass(frozen=True)
class Method:
    """A handler of a definition, with the options of the class and its bases."""

    description: Description
    name: str
    handler: Handler[Any]
    settings: Settings

    def __str__(self) -> str:
        return f"{self.description.name}.{self.name}"

    @property
    def doc(self) -> str:
        """The docstring."""
        return inspect.cleandoc(self.handler.__doc__ or "")

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the option ``metadata`` says about it."""
        return self.settings.metadata or {}

    @property
    def options(self) -> Options:
        """The options that the engine knows."""
        return self.settings.options()

    @cached_property
    def signature(self) -> Signature:
        """The context, input and output.

        Raises:
            DefinitionError: If an annotation names something that does not exist.
        """
        return self.handler.signature(self.settings)

    @cached_property
    def kind(self) -> Kind:
        """The kind, which the context's type gives.

        Raises:
            DefinitionError: If the context does not fit the definition.
        """
        context, parameter = self.signature.context, self.handler.parameters[0].name
        fitting = {fit: kind for fit, (owner, kind) in _CONTEXTS.items() if owner in self.description.cls.__mro__}
        kind = fitting.get(context) if isinstance(context, type) else None
        name = f"handler {self.handler.function.__qualname__}"
        if kind is None:
            given = f"is annotated with {getattr(context, '__name__', context)}" if context else "has no annotation"
            names = " or ".join(fit.__name__ for fit in fitting)
            raise DefinitionError(
                f"{name}: `{parameter}` {given}; annotate the context of a {NOUNS[self.description.category]}'s "
                f"handler with {names}"
            )
        if self.description.category == "workflow" and (kind is Kind.WORKFLOW) != (self.name == "run"):
            raise DefinitionError(
                f"{name}: annotate the context of a workflow's `run` with WorkflowContext, and that of its other "
                "handlers with WorkflowSharedContext"
            )
        return kind

    def check(self) -> None:
        """Check the handler.

        Raises:
            DefinitionError: If its context or one of its options does not fit.
        """
        _ = self.kind, self.options
        category, own = self.description.category, self.handler.settings
        if category != "workflow" and self.settings.workflow_retention is not None:
            raise DefinitionError(f"{self} is not a workflow's: remove workflow_retention, which only workflows have")
        if category == "service" and self.settings.lazy_state is not None:
            raise DefinitionError(f"{self} is a service's, which has no state: remove lazy_state")
        if self.kind is Kind.WORKFLOW and own.idempotency_retention is not None:
            raise DefinitionError(f"{self} takes no idempotency key: set workflow_retention, not idempotency_retention")


def describe(definition: object) -> Description:
    """Return the description of a class of services, virtual objects or workflows.

    Raises:
        TypeError: If it is not one.
    """
    if isinstance(definition, type):
        description = getattr(definition, "__description__", None)
        if isinstance(description, Description):
            return description
    if isinstance(definition, Handler):
        name = definition.function.__qualname__
        raise TypeError(f"{name} is a handler on its own: make it a method of a class that derives from Service")
    if isinstance(definition, Definition):
        raise TypeError(f"an instance of {type(definition).__name__} was given: pass the class")
    name = getattr(definition, "__name__", None) or f"a value of type {type(definition).__name__}"
    raise TypeError(f"{name} is not a class that derives from Service, VirtualObject or Workflow")
