"""The contracts between the shop's functions: handlers with their types, without code."""

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
    """A number of pieces of one SKU."""

    sku: str
    quantity: PositiveInt = 1


class Inventory(VirtualObject):
    """The stock of one SKU, which is the key."""

    @handler
    @abstractmethod
    async def restock(self, ctx: ObjectContext, quantity: PositiveInt) -> int:
        """Add pieces, and return how many there are now."""
        ...

    @handler
    @abstractmethod
    async def reserve(self, ctx: ObjectContext, quantity: PositiveInt) -> int:
        """Reserve pieces for an order, and return how many are left. Fails with 409 if there are not enough."""
        ...

    @handler
    @abstractmethod
    async def release(self, ctx: ObjectContext, quantity: PositiveInt) -> int:
        """Return reserved pieces to the stock."""
        ...

    @handler
    @abstractmethod
    async def stock(self, ctx: ObjectSharedContext) -> int:
        """Return how many pieces there are."""
        ...


class Charge(BaseModel):
    """Money that a customer owes."""

    customer: str
    cents: PositiveInt


class Approval(BaseModel):
    """A charge to approve, and the awakeable that is resolved with the approval or rejected."""

    charge: Charge
    awakeable: str


class Payment(Service):
    """Moves money. Calls carry an idempotency key, so that no amount is moved twice."""

    @handler
    @abstractmethod
    async def approve(self, ctx: Context, approval: Approval) -> None:
        """Approve a charge, or refuse it with 402. For a large one, the customer gets mail and decides."""
        ...

    @handler
    @abstractmethod
    async def charge(self, ctx: Context, charge: Charge) -> int:
        """Charge a customer, and return the balance. Fails with 402 if the balance is too low."""
        ...

    @handler
    @abstractmethod
    async def refund(self, ctx: Context, charge: Charge) -> int:
        """Return a charged amount to the customer."""
        ...

    @handler
    @abstractmethod
    async def balance(self, ctx: Context, customer: str) -> int:
        """Return a customer's balance in cents."""
        ...


class Parcel(BaseModel):
    """The items of a parcel and their destination."""

    items: list[Item]
    country: str = "DE"


class Packed(BaseModel):
    """A packed item, and the process that packed it."""

    item: Item
    worker: int


class Shipping(VirtualObject):
    """The parcel of one order, which is the key."""

    @handler
    @abstractmethod
    async def ship(self, ctx: ObjectContext, parcel: Parcel) -> list[Packed]:
        """Pack the parcel and hand it over. Fails with 422 if there is no delivery to the country."""
        ...

    @handler
    @abstractmethod
    async def track(self, ctx: ObjectSharedContext) -> list[Packed]:
        """Return the items packed so far."""
        ...


class Mailer(VirtualObject):
    """The mail to one person, who is the key. It is sent in order."""

    @handler
    @abstractmethod
    async def mail(self, ctx: ObjectContext, text: str) -> None:
        """Send a mail."""
        ...

    @handler
    @abstractmethod
    async def sent(self, ctx: ObjectSharedContext) -> list[str]:
        """Return the mails sent, the latest last."""
        ...
