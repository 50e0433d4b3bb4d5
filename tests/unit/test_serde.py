from __future__ import annotations

import typing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from adapter import DefinitionError, serde


class Color(Enum):
    RED = "red"


class Aliased(BaseModel):
    size: int = Field(alias="Size")


@dataclass
class Node:
    value: int
    next: Node | None = None


class Address(TypedDict):
    street: str


@pytest.mark.parametrize(
    ("type", "value"),
    [
        (int, 1),
        (float, 1.5),
        (str, "é\u2028"),
        (bool, True),
        (None, None),
        (int | None, None),
        (list[int], [1]),
        (tuple[int, str], (1, "a")),
        (set[int], {1, 2}),
        (dict[str, Node], {"a": Node(1, Node(2))}),
        (Aliased, Aliased(Size=1)),
        (Address, {"street": "Main"}),
        (Color, Color.RED),
        (Literal["a", 1], "a"),
        (Annotated[int, Field(gt=0)], 1),
        (Annotated[int, ["no hash"]], 1),
        (Decimal, Decimal("1.10")),
        (UUID, UUID(int=1)),
        (datetime, datetime(2024, 1, 1, tzinfo=UTC)),
        (bytes, b"\xff\x00"),
        (bytes, b""),
        (Any, {"a": [1, 2.5, None, "x"]}),
    ],
)
def test_what_goes_out_comes_in(type: Any, value: Any) -> None:
    chosen: serde.Serde[Any] = serde.of(type)
    assert chosen.deserialize(chosen.serialize(value)) == value


def test_none_is_the_empty_body() -> None:
    assert serde.json.serialize(None) == b""
    assert serde.json.deserialize(b"") is None
    assert serde.of(int | None).deserialize(b"") is None
    with pytest.raises(ValueError, match="valid integer"):
        serde.of(int).deserialize(b"")


def test_content_types() -> None:
    assert serde.json.content_type == "application/json"
    assert serde.of(bytes).content_type == "application/octet-stream"


def test_a_model_is_plain_where_no_type_is_known() -> None:
    assert serde.of_value(Aliased(Size=1)).serialize(Aliased(Size=1)) == b'{"Size":1}'


def test_types_that_are_no_json() -> None:
    class Opaque: ...

    with pytest.raises(DefinitionError, match=r"Opaque.*cannot be turned into JSON: use a builtin, .*, or give"):
        serde.of(Opaque).serialize(Opaque())


def test_what_was_not_awaited_is_named() -> None:
    async def later() -> int:
        return 1

    coroutine = later()
    for written in (serde.json, serde.of(int)):
        with pytest.raises(TypeError, match=r"<coroutine object .*later.*> was not awaited"):
            written.serialize(coroutine)  # type: ignore[arg-type]
    coroutine.close()


@pytest.mark.skipif("sys.version_info >= (3, 12)")
def test_the_typed_dict_that_pydantic_needs_is_named() -> None:
    Old = typing.TypedDict("Old", {"a": int})  # noqa: UP013
    with pytest.raises(DefinitionError, match=r"typing_extensions.TypedDict"):
        serde.of(Old).deserialize(b"{}")
