"""Services whose types take nothing but what their schemas say: pydantic is strict here, and turns no "1" into a 1."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Annotated, Any, ClassVar, Generic, Literal, NotRequired, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, Strict
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

STRICT = ConfigDict(strict=True)
Whole = Annotated[int, Strict()]
Text = Annotated[str, Strict()]


class Color(Enum):
    RED = "red"
    GREEN = "green"


class Circle(BaseModel):
    model_config = STRICT
    kind: Literal["circle"]
    radius: float


class Group(BaseModel):
    model_config = STRICT
    kind: Literal["group"]
    shapes: list[Annotated[Circle | Group, Field(discriminator="kind")]]


Shape = Annotated[Circle | Group, Field(discriminator="kind")]


class Item(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    sku: str = Field(min_length=1, max_length=20, pattern="^[a-z0-9-]+$")
    count: int = Field(1, gt=0, lt=1000, alias="Count")
    color: Color | None = None
    tags: list[str] = []


class Order(BaseModel):
    model_config = STRICT
    id: UUID
    at: datetime
    day: date | None = None
    items: list[Item] = Field(max_length=5)
    labels: dict[str, str] = {}
    total: float = Field(0, ge=0)


@dataclass
class Node:
    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    value: int
    next: Node | None = None


class Address(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]
    street: str
    city: NotRequired[str]


class Page(BaseModel, Generic[T]):
    entries: list[T]


class Shop(Service):
    @handler
    async def order(self, ctx: Context, order: Order) -> Order:
        return order

    @handler
    async def page(self, ctx: Context, size: Annotated[Whole, Field(ge=0, le=50)] = 10) -> Page[Item]:
        return Page(entries=[Item(sku=str(n), Count=n + 1) for n in range(size)])  # type: ignore[call-arg]

    @handler
    async def draw(self, ctx: Context, shape: Shape) -> Shape:
        return shape

    @handler
    async def follow(self, ctx: Context, node: Node) -> Node | None:
        return node.next

    @handler
    async def move(self, ctx: Context, address: Address) -> dict[str, str]:
        return {"moved to": address["street"]}

    @handler
    async def find(self, ctx: Context, text: Text | None) -> Item | None:
        return None if text is None else Item(sku="found")  # type: ignore[call-arg]

    @handler
    async def any(self, ctx: Context, value: Any) -> Any:
        return value

    @handler
    async def raw(self, ctx: Context, data: bytes) -> bytes:
        return data

    @handler
    async def idle(self, ctx: Context) -> None: ...


class Cart(VirtualObject):
    @handler
    async def put(self, ctx: ObjectContext, item: Item) -> int:
        count = (await ctx.get("count", int) or 0) + item.count
        ctx.set("count", count)
        return count

    @handler
    async def key(self, ctx: ObjectSharedContext) -> str:
        return ctx.key

    @handler
    async def wait(self, ctx: ObjectSharedContext, milliseconds: Annotated[Whole, Field(ge=0, le=1)]) -> None:
        await ctx.sleep(timedelta(milliseconds=milliseconds))


class Delivery(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext, address: Address) -> str:
        return address["street"]

    @handler
    async def where(self, ctx: WorkflowSharedContext) -> str:
        return ctx.key
