from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from adapter import Context, DefinitionError, ObjectContext, Service, TerminalError, VirtualObject, handler, serde
from adapter.engine.deployment import HandlerSpec
from adapter.engine.types import Kind
from adapter.registry import Registry
from tests.unit.issuer import FakeIssuer


class Item(BaseModel):
    sku: str
    count: int = Field(gt=0)


class Order(BaseModel):
    id: str
    items: list[Item] = []


@dataclass
class Point:
    x: int


class Address(TypedDict):
    street: str


class Echo(Service):
    """Gives back what it is given."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    @handler
    async def order(self, ctx: Context, order: Order) -> Order:
        """Echo an order."""
        return order

    @handler
    async def point(self, ctx: Context, point: Point) -> Point:
        return point

    @handler
    async def address(self, ctx: Context, address: Address) -> Address:
        return address

    @handler
    async def text(self, ctx: Context, text: str) -> str:
        return self.prefix + text

    @handler
    async def number(self, ctx: Context, number: int) -> int:
        return number

    @handler
    async def optional(self, ctx: Context, text: str | None) -> str | None:
        return text

    @handler
    async def defaulted(self, ctx: Context, number: int = 7) -> int:
        return number

    @handler
    async def raw(self, ctx: Context, data: bytes) -> bytes:
        return data

    @handler
    async def nothing(self, ctx: Context) -> None:
        return None

    @handler
    async def anything(self, ctx: Context, value: Any) -> Any:
        return value


class Counter(VirtualObject):
    @handler
    async def key(self, ctx: ObjectContext) -> str:
        return ctx.key


def bound(name: str) -> Any:
    return Registry(Echo).services["Echo"].handlers[name]


@pytest.mark.parametrize(
    ("name", "body", "output"),
    [
        ("order", b'{"id": "1", "items": [{"sku": "a", "count": 2}]}', b'{"id":"1","items":[{"sku":"a","count":2}]}'),
        ("point", b'{"x": "1"}', b'{"x":1}'),
        ("address", b'{"street": "Main"}', b'{"street":"Main"}'),
        ("text", '"é"'.encode(), '"é"'.encode()),
        ("optional", b'"x"', b'"x"'),
        ("optional", b"", b""),
        ("optional", b"null", b""),
        ("defaulted", b"", b"7"),
        ("defaulted", b"8", b"8"),
        ("raw", b"\xff\x00", b"\xff\x00"),
        ("raw", b"", b""),
        ("nothing", b"", b""),
        ("anything", b'{"a": [1, null]}', b'{"a":[1,null]}'),
        ("anything", b"", b""),
    ],
)
async def test_inputs_and_outputs(name: str, body: bytes, output: bytes) -> None:
    bound(name).validate_input(body)
    assert await bound(name).execute(FakeIssuer(), body) == output


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("order", b"{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
        ("order", b"{}", "id: Field required"),
        (
            "order",
            b'{"id": 5, "items": [{"sku": "a", "count": 0}]}',
            "id: Input should be a valid string; items.0.count: Input should be greater than 0",
        ),
        ("order", b"", "the body is empty, and Echo.order needs an input"),
        ("number", b'"x"', "Input should be a valid integer, unable to parse string as an integer"),
        ("number", b"null", "Input should be a valid integer"),
        ("number", b"", "the body is empty, and Echo.number needs an input"),
        ("defaulted", b'"x"', "Input should be a valid integer, unable to parse string as an integer"),
        ("text", b'"\xff"', "Invalid JSON: invalid unicode code point at line 1 column 2"),
        ("nothing", b"1", "Echo.nothing takes none, and the body is not empty"),
    ],
)
async def test_input_that_does_not_fit_is_refused_with_its_place(name: str, body: bytes, message: str) -> None:
    for use in (bound(name).validate_input, lambda body: bound(name).execute(FakeIssuer(), body).send(None)):
        with pytest.raises(TerminalError) as caught:
            use(body)
        assert (caught.value.code, str(caught.value)) == (400, f"invalid input: {message}")


def test_a_refusal_is_short() -> None:
    class Numbers(Service):
        @handler
        async def add(self, ctx: Context, numbers: list[int]) -> None: ...

    with pytest.raises(TerminalError, match=r"9: Input should be a valid integer; and 90 more$") as caught:
        Registry(Numbers).services["Numbers"].handlers["add"].validate_input(b"[" + b",".join([b"null"] * 100) + b"]")
    assert len(str(caught.value)) < 1000


class Strict(serde.Serde[str]):
    content_type = "text/plain"

    def serialize(self, value: str, /) -> bytes:
        return value.encode()

    def deserialize(self, data: bytes, /) -> str:
        return data.decode("ascii")


async def test_serdes_of_a_handler() -> None:
    class Texts(Service):
        @handler(input_serde=Strict(), output_serde=serde.bytes)
        async def shout(self, ctx: Context, text: str) -> bytes:
            return text.upper().encode()

    shout = Registry(Texts).services["Texts"].handlers["shout"]
    assert await shout.execute(FakeIssuer(), b"a") == b"A"
    assert (shout.input and shout.input.content_type, shout.output.content_type) == (
        "text/plain",
        "application/octet-stream",
    )
    assert (shout.schema("input"), shout.schema("output")) == (None, None)
    with pytest.raises(TerminalError, match="invalid input: 'ascii' codec can't decode") as caught:
        shout.validate_input(b"\xff")
    assert caught.value.code == 400


async def test_instances_carry_dependencies() -> None:
    registry = Registry(Echo(prefix="> "), Counter)
    assert await registry.services["Echo"].handlers["text"].execute(FakeIssuer(), b'"x"') == b'"> x"'
    made = Registry(lambda: Echo("= ")).services["Echo"].handlers["text"]
    assert await made.execute(FakeIssuer(), b'"x"') == b'"= x"'


async def test_the_handler_gets_its_context() -> None:
    handlers = Registry(Counter).services["Counter"].handlers
    assert await handlers["key"].execute(FakeIssuer(Kind.EXCLUSIVE, "Mary"), b"") == b'"Mary"'


def test_what_the_engine_and_the_ingress_see() -> None:
    registry = Registry(Echo, Counter)
    echo, counter = registry.services.values()
    assert (echo.name, echo.category, echo.doc) == ("Echo", "service", "Gives back what it is given.")
    assert (counter.name, counter.category) == ("Counter", "object")
    assert echo.handlers["order"].doc == "Echo an order."
    assert echo.handlers["order"].schema("input")["required"] == ["id"]  # type: ignore[index]
    assert echo.handlers["number"].schema("output") == {"type": "integer"}
    assert echo.handlers["nothing"].schema("input") is None
    assert [echo.handlers[name].input_required for name in ("order", "optional", "defaulted", "raw", "nothing")] == [
        True,
        False,
        False,
        False,
        False,
    ]
    specs = registry.specs
    assert all(isinstance(spec, HandlerSpec) for spec in specs)
    assert {(spec.service, spec.name, spec.kind) for spec in specs} >= {
        ("Echo", "order", Kind.SERVICE),
        ("Counter", "key", Kind.EXCLUSIVE),
    }


def test_one_name_for_two_definitions() -> None:
    class Other(Service, name="Echo"):
        @handler
        async def other(self, ctx: Context) -> None: ...

    with pytest.raises(DefinitionError, match="two definitions are called Echo"):
        Registry(Echo, Other)


def test_contracts_are_refused() -> None:
    class Shop(Service):
        @handler
        @abstractmethod
        async def order(self, ctx: Context) -> None: ...

        @handler
        @abstractmethod
        async def close(self, ctx: Context) -> None: ...

    class Half(Shop):
        @handler
        async def order(self, ctx: Context) -> None: ...

    with pytest.raises(DefinitionError, match="Shop is a contract: it does not implement order, close"):
        Registry(Shop)
    with pytest.raises(DefinitionError, match="Half is a contract: it does not implement close"):
        Registry(Half)


def test_what_is_nothing_to_bind() -> None:
    class Empty(Service): ...

    class Later(Service):
        @handler
        async def later(self, ctx: Context, missing: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(DefinitionError, match="Empty has no handlers: decorate its async methods with @handler"):
        Registry(Empty)
    with pytest.raises(DefinitionError, match="name 'Missing' is not defined"):
        Registry(Later)
    for thing in (int, "Echo", 5, lambda: 5):
        with pytest.raises(TypeError, match="is not a class that derives from Service"):
            Registry(thing)  # type: ignore[arg-type]
