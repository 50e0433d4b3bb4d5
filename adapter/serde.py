"""How values become bytes, and bytes values.

Handlers need none of this: their annotations choose. It is for `Context.generic_call`, and for a handler whose wire
format is its own.

>>> from adapter import serde
>>> serde.json.serialize({"amount": 1})
b'{"amount":1}'
>>> serde.of(int).deserialize(b"7")
7
"""

from __future__ import annotations

import builtins
from collections.abc import Awaitable
from functools import cached_property, lru_cache
from types import NoneType
from typing import Any, Literal, Protocol, TypeVar, overload

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError
from typing_extensions import TypeForm

from adapter.errors import DefinitionError

T = TypeVar("T")


class Serde(Protocol[T]):
    """A wire format. Derive from it or just have its members.

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
    """The media type that goes with the bytes over HTTP."""

    def serialize(self, value: T, /) -> builtins.bytes:
        """Turn a value into bytes."""
        ...

    def deserialize(self, data: builtins.bytes, /) -> T:
        """Turn bytes into a value.

        Raises:
            ValueError: If the bytes do not fit. As a handler's input they are answered with a 400.
        """
        ...


class Json(Serde[T]):
    """JSON by pydantic: validated on the way in, by alias on the way out. ``None`` is the empty body.

    A float that is not finite becomes ``null``: JSON has no word for it.

    Args:
        type: What the JSON stands for: a builtin, a pydantic model, a dataclass, a TypedDict, a union of such …

    Raises:
        DefinitionError: On first use, if pydantic can make nothing of the type.
    """

    content_type = "application/json"

    def __init__(self, type: Any) -> None:
        self._type = type

    @property
    def void(self) -> bool:
        """Whether it is only ever ``None``."""
        return self._type is None or self._type is NoneType

    @cached_property
    def adapter(self) -> TypeAdapter[T]:
        """What pydantic made of the type."""
        # On first use: it costs up to milliseconds, and a cold start should pay for one handler, not for all.
        try:
            return TypeAdapter(self._type)
        except PydanticUserError as error:
            reason = error.message.splitlines()[0]
            if error.code == "schema-for-unknown-type":
                reason = "use a builtin, a dataclass, a TypedDict or a pydantic model, or give the handler a serde"
            raise DefinitionError(f"{self._type!r} cannot be turned into JSON: {reason}") from error

    def serialize(self, value: T, /) -> builtins.bytes:
        if value is None:
            return b""
        # No warnings: whoever reads the bytes validates them, and a dict may well stand for a model.
        try:
            return self.adapter.dump_json(value, by_alias=True, warnings="none")
        except PydanticSerializationError as error:
            if isinstance(value, Awaitable):
                raise TypeError(f"{value!r} was not awaited: it is its result that can become JSON") from error
            raise

    def deserialize(self, data: builtins.bytes, /) -> T:
        return self.adapter.validate_json(data) if data else self.adapter.validate_python(None)

    def schema(self, mode: Literal["validation", "serialization"]) -> dict[str, Any]:
        """The JSON schema of what is read (``"validation"``) or written (``"serialization"``)."""
        return self.adapter.json_schema(mode=mode)


class Bytes(Serde[builtins.bytes]):
    """The bytes themselves."""

    content_type = "application/octet-stream"

    def serialize(self, value: builtins.bytes, /) -> builtins.bytes:
        return builtins.bytes(value)

    def deserialize(self, data: builtins.bytes, /) -> builtins.bytes:
        return data


@overload
def of(type: type[T], /) -> Serde[T]: ...
@overload
def of(type: TypeForm[T], /) -> Serde[T]: ...
def of(type: Any, /) -> Serde[Any]:
    """The serde that an annotation stands for: `bytes` as they are, all else as JSON."""
    if type is builtins.bytes:
        return bytes
    try:
        return _json_of(type)
    except TypeError:  # Annotated with something that has no hash
        return Json(type)


@lru_cache(maxsize=4096)
def _json_of(type: Any) -> Json[Any]:
    return Json(type)


def of_value(value: object, /) -> Serde[Any]:
    """The serde for a value that has no annotation."""
    return bytes if isinstance(value, builtins.bytes) else json


json: Serde[Any] = Json(Any)
"""JSON of whatever it is; read as plain dicts, lists, strings, numbers, booleans and ``None``."""

bytes: Serde[builtins.bytes] = Bytes()
"""Bytes as they are."""
