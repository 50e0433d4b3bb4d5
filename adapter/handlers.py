"""The `@handler` decorator, and what it makes of a method for the type checkers."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from types import FrameType, NoneType
from typing import Any, Generic, Literal, Protocol, TypedDict, TypeVar, Unpack, overload

from adapter import serde
from adapter.engine.types import NAME, Options, RetryPolicy
from adapter.errors import DefinitionError, check_metadata
from adapter.operations import Invocation
from adapter.serde import Serde

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)
I = TypeVar("I")  # noqa: E741
I_contra = TypeVar("I_contra", contravariant=True)
O = TypeVar("O")  # noqa: E741
O_co = TypeVar("O_co", covariant=True)
B_co = TypeVar("B_co", covariant=True)


# --- handlers as type checkers see them ---


class CallOptions(TypedDict, total=False):
    """The keywords of every call and send."""

    idempotency_key: str | None
    """Requests to one handler and key with the same idempotency key are one invocation. Up to 512 bytes of UTF-8."""
    delay: timedelta | None
    """How long to wait before the handler runs. Only send clients accept it."""
    headers: Mapping[str, str] | None
    """The headers, which the handler reads as ``ctx.request.headers``."""


class NoInput(Protocol[C, O_co]):
    """A handler without input."""

    @property
    def context(self) -> type[C]:
        """The context's type. It keeps ``C`` invariant: an override cannot change the kind."""
        ...

    @property
    def fn(self) -> Callable[[C], Coroutine[Any, Any, O_co]]:
        """The handler's own code: for unit tests, ``self`` and ``super()``."""
        ...

    def __call__(self, /, **options: Unpack[CallOptions]) -> Invocation[O_co]:
        """Call or send, on a client."""
        ...


class WithInput(Protocol[C, I_contra, O_co]):
    """A handler that takes an input."""

    @property
    def context(self) -> type[C]:
        """The context's type. It keeps ``C`` invariant: an override cannot change the kind."""
        ...

    @property
    def fn(self) -> Callable[[C, I_contra], Coroutine[Any, Any, O_co]]:
        """The handler's own code: for unit tests, ``self`` and ``super()``."""
        ...

    def __call__(self, input: I_contra, /, **options: Unpack[CallOptions]) -> Invocation[O_co]:
        """Call or send, on a client."""
        ...


class OptionalInput(Protocol[C, I_contra, O_co]):
    """A handler whose input has a default."""

    @property
    def context(self) -> type[C]:
        """The context's type. It keeps ``C`` invariant: an override cannot change the kind."""
        ...

    @property
    def fn(self) -> DefaultedCode[C, I_contra, O_co]:
        """The handler's own code: for unit tests, ``self`` and ``super()``."""
        ...

    def __call__(self, input: I_contra = ..., /, **options: Unpack[CallOptions]) -> Invocation[O_co]:
        """Call or send, on a client."""
        ...


class DefaultedCode(Protocol[C_contra, I_contra, O_co]):
    """A bound method whose input has a default."""

    def __call__(self, ctx: C_contra, input: I_contra = ..., /) -> Coroutine[Any, Any, O_co]: ...


class DefaultedMethod(Protocol[C_contra, I_contra, O_co]):
    """A method whose input has a default."""

    def __call__(self, definition: Any, ctx: C_contra, input: I_contra = ..., /) -> Coroutine[Any, Any, O_co]: ...


# --- handlers at run time ---


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of ``@handler(...)`` or of a class statement; ``None`` for one that is not given."""

    name: str | None = None
    private: bool | None = None
    retry: RetryPolicy | None = None
    idempotency_retention: timedelta | None = None
    workflow_retention: timedelta | None = None
    journal_retention: timedelta | None = None
    inactivity_timeout: timedelta | None = None
    abort_timeout: timedelta | None = None
    lazy_state: bool | None = None
    deadlocks: str | None = None
    batch: int | None = None
    metadata: Mapping[str, str] | None = None
    input_serde: Serde[Any] | None = None
    output_serde: Serde[Any] | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Settings:
        """Return the settings that keyword arguments give. ``serde`` stands for both serdes.

        Raises:
            DefinitionError: If there is no such option, or its value is wrong in kind or range.
        """
        both = {"input_serde": options["serde"], "output_serde": options["serde"]} if "serde" in options else {}
        given = {**both, **{name: value for name, value in options.items() if name != "serde"}}
        names = [field.name for field in fields(cls)]
        for name in given:
            if name not in names:
                raise DefinitionError(f"there is no option {name!r}; the options are {', '.join([*names, 'serde'])}")
        return cls(**given)

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name)
        for option, kind in {**_KINDS, "metadata": Mapping}.items():
            value = getattr(self, option)
            if value is not None and not isinstance(value, kind):
                raise DefinitionError(f"the option {option} is of type {kind.__name__}, not {type(value).__name__}")
        for option in ("input_serde", "output_serde"):
            value = getattr(self, option)
            if value is not None and not (hasattr(value, "serialize") and hasattr(value, "deserialize")):
                raise DefinitionError(
                    f"the option {option} is not a serde: it needs content_type, serialize and deserialize"
                )
        try:
            check_metadata(self.metadata or {})
        except (TypeError, ValueError) as error:
            raise DefinitionError(str(error)) from error
        self.options()

    def over(self, other: Settings) -> Settings:
        """Return these settings, with the others' where these have none."""
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        return Settings(**{name: getattr(other, name) if value is None else value for name, value in mine.items()})

    def options(self) -> Options:
        """Return the options that the engine knows, with the defaults.

        Raises:
            DefinitionError: If a value is out of range.
        """
        said = {name: getattr(self, name) for name in _KINDS}
        try:
            return Options(**{name: value for name, value in said.items() if value is not None})
        except ValueError as error:
            raise DefinitionError(str(error)) from error


_KINDS: dict[str, type] = {
    "private": bool,
    "retry": RetryPolicy,
    "idempotency_retention": timedelta,
    "workflow_retention": timedelta,
    "journal_retention": timedelta,
    "inactivity_timeout": timedelta,
    "abort_timeout": timedelta,
    "lazy_state": bool,
    "deadlocks": str,
    "batch": int,
}


class ServiceOptions(TypedDict, total=False):
    """The options of a class statement and of ``@handler``; `handler` describes them."""

    name: str
    private: bool
    retry: RetryPolicy
    idempotency_retention: timedelta
    workflow_retention: timedelta
    journal_retention: timedelta
    inactivity_timeout: timedelta
    abort_timeout: timedelta
    lazy_state: bool
    deadlocks: Literal["fail", "report"]
    batch: int
    metadata: Mapping[str, str]
    input_serde: Serde[Any]
    output_serde: Serde[Any]
    serde: Serde[Any]


class UnresolvedAnnotationError(DefinitionError):
    """An annotation names something that does not exist, or not yet."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The context, input and output of a handler."""

    context: Any
    input: Serde[Any] | None
    """``None`` for a handler without input."""
    output: Serde[Any]


class Handler(Generic[B_co]):
    """A method decorated with ``@handler``: a call on a client; access to its code on an instance."""

    def __init__(self, fn: Any, settings: Settings, scope: FrameType) -> None:
        self.function = fn
        self.settings = settings
        self.parameters = _parameters(fn)
        self.__doc__ = fn.__doc__
        self._scope: FrameType | None = scope
        self._hints: dict[str, Any] | None = None

    @property
    def __isabstractmethod__(self) -> bool:
        return getattr(self.function, "__isabstractmethod__", False)

    @property
    def optional(self) -> bool:
        """Whether the handler has an input with a default."""
        return len(self.parameters) == 2 and self.parameters[1].default is not inspect.Parameter.empty

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Handler[B_co]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> B_co: ...
    def __get__(self, instance: object | None, owner: type[Any]) -> Any:
        return self if instance is None else OwnHandler(self, instance)

    @property
    def hints(self) -> dict[str, Any]:
        """The resolved annotations.

        Raises:
            UnresolvedAnnotationError: If one names something that does not exist, or not yet.
        """
        if self._hints is None:
            try:
                self._hints = typing.get_type_hints(self.function, None, _names(self._scope), include_extras=True)
            except (NameError, AttributeError) as error:
                raise UnresolvedAnnotationError(
                    f"the annotations of {self.function.__qualname__} cannot be resolved: {error}. Import what "
                    "they name at run time, not under TYPE_CHECKING (ruff's TC rules move imports there)"
                ) from error
            self._scope = None  # it keeps the locals around the class alive
        return self._hints

    def signature(self, settings: Settings) -> Signature:
        """Return the signature, with the serdes of the settings in place of those of the annotations."""
        context, *inputs = self.parameters
        hints = self.hints
        returned = hints.get("return", Any)
        # A service's format is for its values; a handler that returns none has an empty output in any format.
        output = None if returned is NoneType else settings.output_serde
        return Signature(
            hints.get(context.name),
            (settings.input_serde or serde.of(hints.get(inputs[0].name, Any))) if inputs else None,
            output or serde.of(returned),
        )


class OwnHandler:
    """A handler seen on an instance of its definition."""

    def __init__(self, handler: Handler[Any], definition: object) -> None:
        self._handler = handler
        self._definition = definition

    @property
    def context(self) -> Any:
        return self._handler.hints[self._handler.parameters[0].name]

    @property
    def fn(self) -> Any:
        return self._handler.function.__get__(self._definition)

    def __call__(self, *_: object, **__: object) -> Any:
        name = self._handler.function.__name__
        raise TypeError(
            f"{type(self._definition).__name__}.{name} was called on the definition itself: use `.{name}.fn(ctx, …)` "
            "to run its code here, or a client, such as `ctx.service_client(…)`, for a durable call"
        )


class HandlerDecorator:
    """Makes a method of a service, virtual object or workflow a handler; use it as `handler`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    # The defaulted overload comes first: such a method fits the next one as well.
    @overload
    def __call__(self, fn: DefaultedMethod[C, I, O], /) -> Handler[OptionalInput[C, I, O]]: ...
    @overload
    def __call__(self, fn: Callable[[Any, C], Coroutine[Any, Any, O]], /) -> Handler[NoInput[C, O]]: ...
    @overload
    def __call__(self, fn: Callable[[Any, C, I], Coroutine[Any, Any, O]], /) -> Handler[WithInput[C, I, O]]: ...
    @overload
    def __call__(self, /, **options: Unpack[ServiceOptions]) -> HandlerDecorator: ...
    def __call__(self, fn: Any = None, /, **options: Unpack[ServiceOptions]) -> Any:
        """Make a handler of an async method that takes a context and at most one input.

        The context's type gives the kind of the handler: ``Context`` for a service's; ``ObjectContext`` for a virtual
        object's exclusive handlers and ``ObjectSharedContext`` for its shared ones; ``WorkflowContext`` for a
        workflow's ``run`` and ``WorkflowSharedContext`` for its others. The types of input and output give validation,
        JSON schema and format. A handler that overrides another inherits its options.

        Args:
            fn: The method.
            options: The options of the handler. Those of the class hold for options that are not given.

                - ``name: str``: the name that callers use; the method's name if not given.
                - ``private: bool``: whether only other handlers can call it, and not the ingress.
                - ``retry: RetryPolicy``: how attempts that fail are retried.
                - ``idempotency_retention: timedelta``: how long the result of a request with an idempotency key stays
                  readable; 24 hours if not given.
                - ``workflow_retention: timedelta``: how long a workflow's result, state and promises do, likewise.
                - ``journal_retention: timedelta``: how long a completed invocation's journal does, and the result of
                  one without idempotency key that is no workflow's ``run``, likewise.
                - ``inactivity_timeout: timedelta``: after how long without progress an attempt is suspended, even
                  though its client still waits; if not given, it lingers for the client as long as that waits.
                - ``abort_timeout: timedelta``: how long a step may take before its attempt is given up and retried; if
                  not given, the function's timeout ends it.
                - ``lazy_state: bool``: whether state entries too large for the key's head are read one by one, as they
                  are asked for, which is the default, rather than all with the first.
                - ``deadlocks: "fail" | "report"``: whether a call in a deadlock is failed, or only reported.
                - ``batch: int``: how many messages one process is sent at a time, to run them at the same time; 25 if
                  not given. With 1 each message gets a process of its own. Set it for handlers that compute or block.
                - ``metadata: Mapping[str, str]``: more about the handler, for people and tools: text by name, up to
                  8 KB. Handlers do not have that of their class.
                - ``input_serde``, ``output_serde``: the formats of input and output, in place of the annotations'.
                - ``serde``: the format of both.

        Raises:
            DefinitionError: If the method cannot be a handler, or an option is wrong in kind or range.

        >>> from adapter import Context, Service, handler
        >>> class Mailer(Service):
        ...     @handler
        ...     async def remind(self, ctx: Context, name: str) -> None: ...
        ...
        ...     @handler(private=True, idempotency_retention=timedelta(days=7))
        ...     async def digest(self, ctx: Context, size: int = 10) -> str:
        ...         return f"the latest {size}"
        """
        if fn is None:
            return HandlerDecorator(Settings.of(options))
        scope = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        if isinstance(scope.f_locals.get(getattr(fn, "__name__", "")), Handler):
            raise DefinitionError(f"{fn.__qualname__} is defined twice, and the second replaces the first: rename one")
        return Handler[Any](fn, self._settings, scope)


handler = HandlerDecorator(Settings())


def check_name(name: str) -> None:
    """Check the name of a service or a handler.

    Raises:
        DefinitionError: If it cannot be one.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DefinitionError(
            f"{name!r} cannot be a name: names are ASCII, a letter or _, then up to 127 letters, digits or any of _ . -"
        )


def _parameters(fn: Any) -> list[inspect.Parameter]:
    """Return the parameters of a handler: its context and, if it takes one, its input."""
    if not inspect.iscoroutinefunction(fn):
        raise DefinitionError(
            f"{getattr(fn, '__qualname__', type(fn).__name__)} cannot be a handler: make it an `async def` method"
        )
    parameters = list(inspect.signature(fn).parameters.values())[1:]
    where = f"handler {fn.__qualname__}"
    for parameter in parameters:
        if parameter.kind not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
            raise DefinitionError(
                f"{where} takes `{parameter}`: a handler takes its context and one input, by position"
            )
    if not parameters:
        raise DefinitionError(f"{where} takes no context: write it as `async def {fn.__name__}(self, ctx: Context)`")
    if len(parameters) > 2:
        names = ", ".join(parameter.name for parameter in parameters[1:])
        raise DefinitionError(
            f"{where} takes {len(parameters) - 1} inputs, {names}: put them into one, such as a dataclass"
        )
    return parameters


def _names(scope: FrameType | None) -> dict[str, Any]:
    """Return the names that annotations in a class body can use besides globals: those of the body and of the functions
    around it."""
    frames: list[FrameType] = []
    while scope is not None and scope.f_locals is not scope.f_globals:
        frames.append(scope)
        scope = scope.f_back if not scope.f_code.co_flags & inspect.CO_OPTIMIZED else None
    # Handlers are left out: one named `list` would hide the type.
    return {
        name: value
        for frame in reversed(frames)
        for name, value in frame.f_locals.items()
        if not isinstance(value, Handler)
    }
