"""What the shop's functions know of each other: handlers with their types, and no code behind them."""

from __future__ import annotations

from abc import abstractmethod

from pydantic import BaseModel, PositiveInt

from adapter import (
    Context,
    ObjectContext,
    ObjectSharedContext,
    Service,
    VirtualObject,
    handler,
)


class Item(BaseModel):
    """So many pieces of something."""

    sku: str
    quantity: PositiveInt = 1


class Inventory(VirtualObject):
    """The stock of one SKU, which is the key."""

    @handler
    @abstractmethod
    async def restock(self, ctx: ObjectContext, quantity: PositiveInt) -> int:
        """Add pieces; returns how many there are now."""
        ...

    @handler
    @abstractmethod
    async def reserve(self, ctx: ObjectContext, quantity: PositiveInt) -> int:
        """Take pieces for an order; returns how many are left. Fails with 409 if there are not enough."""
        ...

    @handler
    @abstractmethod
    async def release(self, ctx: ObjectContext, quantity: PositiveInt) -> int:
        """Give back what `reserve` took."""
        ...

    @handler
    @abstractmethod
    async def stock(self, ctx: ObjectSharedContext) -> int:
        """How many pieces there are."""
        ...


class Charge(BaseModel):
    """Money that a customer owes."""

    customer: str
    cents: PositiveInt


class Approval(BaseModel):
    """What has to be approved, and the awakeable that says so: resolved, or rejected."""

    charge: Charge
    awakeable: str


class Payment(Service):
    """Moves money. Calls carry an idempotency key, so that none is moved twice."""

    @handler
    @abstractmethod
    async def approve(self, ctx: Context, approval: Approval) -> None:
        """Approve a charge or refuse it with 402; a large one is left to the customer, who gets mail."""
        ...

    @handler
    @abstractmethod
    async def charge(self, ctx: Context, charge: Charge) -> int:
        """Take money from a customer; returns what is left. Fails with 402 if that is not enough."""
        ...

    @handler
    @abstractmethod
    async def refund(self, ctx: Context, charge: Charge) -> int:
        """Give back what `charge` took."""
        ...

    @handler
    @abstractmethod
    async def balance(self, ctx: Context, customer: str) -> int:
        """What a customer has, in cents."""
        ...


class Parcel(BaseModel):
    """What goes where."""

    items: list[Item]
    country: str = "DE"


class Packed(BaseModel):
    """An item in its parcel, and the process that put it there."""

    item: Item
    worker: int


class Shipping(VirtualObject):
    """The parcel of one order, which is the key."""

    @handler
    @abstractmethod
    async def ship(self, ctx: ObjectContext, parcel: Parcel) -> list[Packed]:
        """Pack and hand over. Fails with 422 if nothing is delivered there."""
        ...

    @handler
    @abstractmethod
    async def track(self, ctx: ObjectSharedContext) -> list[Packed]:
        """What is packed so far."""
        ...


class Mailer(VirtualObject):
    """The mail to one person, who is the key. It goes out in order."""

    @handler
    @abstractmethod
    async def mail(self, ctx: ObjectContext, text: str) -> None:
        """Send one."""
        ...

    @handler
    @abstractmethod
    async def sent(self, ctx: ObjectSharedContext) -> list[str]:
        """What went out, the latest last."""
        ...
