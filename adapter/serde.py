"""How values become bytes, and bytes values.

Annotations choose the format, so most handlers need nothing of this module. It is for generic calls and for handlers
with a format of their own. Every value is read back when it is written: docs/guides/payloads.md says what that means.

>>> from adapter import serde
>>> serde.json.serialize({"amount": 1})
b'{"amount":1}'
>>> serde.of(int).deserialize(b"7")
7
"""

from __future__ import annotations

import builtins
from functools import cached_property, lru_cache
from types import NoneType
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, overload

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import SchemaSerializer, SchemaValidator
from pydantic_core.core_schema import BytesSchema
from typing_extensions import TypeForm

from adapter.errors import DefinitionError
from adapter.schemas import Traits, adjust, exact

T = TypeVar("T")


class Serde(Protocol[T]):
    """A format of values as bytes. Derive from it, or define its members.

    >>> class Csv(Serde[list[str]]):
    ...     content_type = "text/csv"
    ...     def serialize(self, value: list[str], /) -> builtins.bytes:
    ...         return ",".join(value).encode()
    ...     def deserialize(self, data: builtins.bytes, /) -> list[str]:
    ...         return data.decode().split(",")
    >>> Csv().deserialize(b"a,b")
    ['a', 'b']
    """

    content_type: str
    """The media type of the bytes over HTTP."""

    def serialize(self, value: T, /) -> builtins.bytes:
        """Turn a value into bytes."""
        ...

    def deserialize(self, data: builtins.bytes, /) -> T:
        """Turn bytes into a value that equals the one that was serialized.

        Raises:
            ValueError: If the bytes do not fit. The ingress answers 400 if they are a handler's input.
        """
        ...


class _Form(NamedTuple):
    adapter: TypeAdapter[Any]
    traits: Traits
    exact: bool


class Json(Serde[T]):
    """JSON by pydantic: validated when it is read, by alias when it is written. ``None`` is the empty body.

    Args:
        type: The type of the values: a builtin, a pydantic model, a dataclass, a TypedDict, a union of such types …

    Raises:
        DefinitionError: On first use, if pydantic has no schema for the type.
    """

    content_type = "application/json"

    def __init__(self, type: Any) -> None:
        self.type = type

    @property
    def void(self) -> bool:
        """Whether the only value is ``None``."""
        return self.type is None or self.type is NoneType

    @property
    def traits(self) -> Traits:
        """What the type's schema contains."""
        return self._form.traits

    @property
    def exact(self) -> bool:
        """Whether each value of the type is read back equal, so that no value has to be read back."""
        return self._form.exact

    @property
    def adapter(self) -> TypeAdapter[T]:
        """pydantic's adapter for the type."""
        return self._form.adapter

    @cached_property
    def _form(self) -> _Form:
        # On first use: it costs up to milliseconds, and a cold start should pay for one handler, not for all.
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(self.type)
            schema, config, traits = adjust(adapter.core_schema)
        except (PydanticUserError, TypeError, NameError) as error:
            reason = str(error).splitlines()[0]
            if isinstance(error, PydanticUserError) and error.code == "schema-for-unknown-type":
                reason = "use a builtin, a dataclass, a TypedDict or a pydantic model, or give a serde"
            raise DefinitionError(f"{type_name(self.type)} cannot be turned into JSON: {reason}") from error
        if traits.changed:
            adapter.core_schema = schema  # pyright: ignore[reportAttributeAccessIssue]
            # Prebuilt parts are those of the schema as it was.
            adapter.validator = SchemaValidator(schema, config, _use_prebuilt=False)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            adapter.serializer = SchemaSerializer(schema, config, _use_prebuilt=False)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        return _Form(adapter, traits, exact(schema))

    def serialize(self, value: T, /) -> builtins.bytes:
        if value is None:
            return b""
        # No warnings: the bytes are validated when they are read back.
        return self.adapter.dump_json(value, by_alias=True, warnings="none", round_trip=self.traits.json)

    def serialize_exact(self, value: T, /) -> builtins.bytes:
        """Serialize a value that is of the type.

        Raises:
            ValueError: If the value is not.
        """
        return self._form.adapter.serializer.to_json(value, by_alias=True, warnings="error")

    def deserialize(self, data: builtins.bytes, /) -> T:
        validator = self._form.adapter.validator
        value: T = validator.validate_json(data) if data else validator.validate_python(None)
        return value

    def schema(self, mode: Literal["validation", "serialization"]) -> dict[str, Any]:
        """Return the JSON schema of what is read (``"validation"``) or written (``"serialization"``)."""
        return self.adapter.json_schema(mode=mode, schema_generator=JsonSchema)


class JsonSchema(GenerateJsonSchema):
    """Generates the JSON schemas of what `Json` reads and writes."""

    def bytes_schema(self, schema: BytesSchema) -> JsonSchemaValue:
        made = super().bytes_schema(schema)
        return made | {"format": "base64url"}  # what `adjust` makes of them, whatever the model's configuration says


class Bytes(Serde[builtins.bytes]):
    """The bytes themselves."""

    content_type = "application/octet-stream"

    def serialize(self, value: builtins.bytes, /) -> builtins.bytes:
        """Return the bytes.

        Raises:
            TypeError: If the value is not bytes: ``bytes(5)`` would be five zeros.
        """
        if not isinstance(value, builtins.bytes | bytearray | memoryview):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"a value of type {type_name(type(value))} is not bytes")
        return builtins.bytes(value)

    def deserialize(self, data: builtins.bytes, /) -> builtins.bytes:
        return data


@overload
def of(type: type[T], /) -> Serde[T]: ...
@overload
def of(type: TypeForm[T], /) -> Serde[T]: ...
def of(type: Any, /) -> Serde[Any]:
    """Return the serde of an annotation: `bytes` as they are, everything else as JSON."""
    return bytes if type is builtins.bytes else json_of(type)


def json_of(type: Any, /) -> Json[Any]:
    """Return the JSON serde of a type, also of `bytes`, which are base64 in JSON."""
    try:
        return _json_of(type)
    except TypeError:  # an annotation without a hash
        return Json(type)


@lru_cache(maxsize=4096)
def _json_of(type: Any) -> Json[Any]:
    return Json(type)


def type_name(type: Any, /) -> str:
    """Return how a type is written in code, without its module.

    >>> type_name(int), type_name(list[int] | None), type_name(builtins.bytes)
    ('int', 'list[int] | None', 'bytes')
    """
    return type.__qualname__ if isinstance(type, builtins.type) and not hasattr(type, "__args__") else repr(type)


json: Serde[Any] = Json(Any)
"""JSON of any value; read as plain dicts, lists, strings, numbers, booleans and ``None``."""

bytes: Serde[builtins.bytes] = Bytes()
"""Bytes as they are."""
