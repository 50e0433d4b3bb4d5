"""Services that use all that annotations can say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from adapter import (
    Context,
    ObjectContext,
    ObjectSharedContext,
    Service,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
    handler,
)

T = TypeVar("T")


class Color(Enum):
    RED = "red"
    GREEN = "green"


class Circle(BaseModel):
    kind: Literal["circle"]
    radius: float


class Group(BaseModel):
    kind: Literal["group"]
    shapes: list[Annotated[Circle | Group, Field(discriminator="kind")]]


Shape = Annotated[Circle | Group, Field(discriminator="kind")]


class Item(BaseModel):
    """What somebody buys."""

    sku: str
    count: int = Field(1, gt=0, alias="Count")
    color: Color | None = None
    weird: str = Field("", alias="x-weird")


class Order(BaseModel):
    id: UUID
    at: datetime
    items: list[Item]
    labels: dict[str, str] = {}
    total: Decimal = Decimal(0)
    signature: bytes = b""


@dataclass
class Node:
    value: int
    next: Node | None = None


class Address(TypedDict):
    street: str
    city: NotRequired[str]


class Page(BaseModel, Generic[T]):
    entries: list[T]


class Opaque:
    pass


class Catalogue(Service):
    """Sells things.

    In all "colors", and \\ more.
    """

    @handler
    async def order(self, ctx: Context, order: Order) -> Order:
        """Place an order.

        It is "given" back.
        """
        return order

    @handler
    async def page(self, ctx: Context, size: int = 10) -> Page[Item]:
        return Page(entries=[Item(sku=str(n), Count=n) for n in range(1, size + 1)])  # type: ignore[call-arg]

    @handler
    async def draw(self, ctx: Context, shape: Shape) -> Shape:
        return shape

    @handler
    async def follow(self, ctx: Context, node: Node) -> Node | None:
        return node.next

    @handler
    async def move(self, ctx: Context, address: Address) -> tuple[int, str]:
        return 1, address["street"]

    @handler
    async def find(self, ctx: Context, text: str | None) -> Item | None:
        return None if text is None else Item(sku=text)  # type: ignore[call-arg]

    @handler
    async def default(self, ctx: Context, item: Item = Item(sku="x")) -> str:  # type: ignore[call-arg]  # noqa: B008
        return item.sku

    @handler
    async def any(self, ctx: Context, value: Any) -> Any:
        return value

    @handler
    async def list(self, ctx: Context) -> list[int]:
        return [1, 2]

    @handler
    async def raw(self, ctx: Context, data: bytes) -> bytes:
        return data

    @handler(name="dotted.name")
    async def dotted(self, ctx: Context) -> None:
        """Do nothing."""

    @handler(private=True)
    async def hidden(self, ctx: Context, opaque: int) -> int:
        return opaque


class Basket(VirtualObject, name="basket-2"):
    @handler
    async def put(self, ctx: ObjectContext, item: Item) -> int:
        count = (await ctx.get("count", int) or 0) + item.count
        ctx.set("count", count)
        return count

    @handler
    async def count(self, ctx: ObjectSharedContext) -> int | None:
        return await ctx.get("count", int)


class Delivery(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext, address: Address) -> str:
        return address["street"]

    @handler
    async def where(self, ctx: WorkflowSharedContext) -> str:
        return ctx.key


class Internal(Service, private=True):
    @handler
    async def work(self, ctx: Context) -> None: ...
