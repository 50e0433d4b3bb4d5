from __future__ import annotations

import typing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, computed_field
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


def test_types_that_are_no_json() -> None:
    class Opaque: ...

    with pytest.raises(DefinitionError, match=r"Opaque.*cannot be turned into JSON: use a builtin, .*, or give"):
        serde.of(Opaque).serialize(Opaque())


def test_bytes_are_not_made_of_a_number() -> None:
    with pytest.raises(TypeError, match="a value of type int is not bytes"):
        serde.bytes.serialize(5)  # type: ignore[arg-type]
    assert serde.bytes.serialize(bytearray(b"x")) == b"x"


class Blob(BaseModel):
    data: bytes


class Hexed(BaseModel):
    model_config = ConfigDict(ser_json_bytes="hex")
    data: bytes


class Encoded(BaseModel):
    data: Base64Bytes


def test_bytes_in_json_are_base64_unless_the_model_says_otherwise() -> None:
    assert serde.of(Blob).serialize(Blob(data=b"\xff")) == b'{"data":"_w=="}'
    assert serde.of(Blob).deserialize(b'{"data":"/w=="}') == Blob(data=b"\xff")
    assert serde.of(Hexed).serialize(Hexed(data=b"\xff")) == b'{"data":"ff"}'
    assert serde.of(Hexed).deserialize(b'{"data":"ff"}') == Hexed(data=b"\xff")
    assert serde.of(Encoded).serialize(Encoded(data=b"aGk=")) == b'{"data":"aGk="}'
    assert serde.of(list[bytes]).serialize([b"\xff"]) == b'["_w=="]'
    schema = serde.json_of(Blob).schema("validation")["properties"]["data"]
    assert (schema["type"], schema["format"]) == ("string", "base64url")


class Renamed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = Field(validation_alias="in", serialization_alias="out")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.size


def test_a_field_is_read_by_the_name_that_it_is_written_by_as_well() -> None:
    form = serde.json_of(Renamed)
    assert form.serialize(Renamed.model_validate({"in": 1})) == b'{"out":1}'
    assert form.deserialize(b'{"out":1}') == form.deserialize(b'{"in":1}') == Renamed.model_validate({"in": 1})
    assert list(form.schema("validation")["properties"]) == ["in"]
    assert list(form.schema("serialization")["properties"]) == ["out"]  # without the field that it does not write
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        form.deserialize(b'{"in":1,"double":2}')


class Square(BaseModel):
    side: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.side**2


def test_computed_fields_are_written_for_those_who_read_json() -> None:
    assert serde.of(Square).serialize(Square(side=3)) == b'{"side":3,"area":9}'
    assert serde.of(Square).deserialize(b'{"side":3,"area":9}') == Square(side=3)


@pytest.mark.skipif("sys.version_info >= (3, 12)")
def test_the_typed_dict_that_pydantic_needs_is_named() -> None:
    Old = typing.TypedDict("Old", {"a": int})  # noqa: UP013
    with pytest.raises(DefinitionError, match=r"typing_extensions.TypedDict"):
        serde.of(Old).deserialize(b"{}")
