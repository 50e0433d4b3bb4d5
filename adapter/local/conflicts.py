"""DynamoDB's transaction conflicts, for the stores of this machine.

A transaction has its items to itself from its arrival until its effect. Meanwhile DynamoDB cancels other transactions
on these items and refuses plain writes of them, and serves reads
(`conflict handling
<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling>`_).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass

from adapter.engine.ports import Contended, Unavailable


@dataclass(slots=True)
class _Transaction:
    """A transaction between its arrival and its effect."""

    commit_id: str
    cancelled: bool = False


class Conflicts:
    """The transactions that are under way on a store.

    Args:
        span: Awaited by each transaction between its arrival and its effect.
        both: Tells whether, of two transactions that meet, the earlier one is cancelled too, as in DynamoDB where each
            has come first to an item of the other.
    """

    def __init__(self, span: Callable[[], Awaitable[None]], both: Callable[[], bool] = lambda: False) -> None:
        self._span = span
        self._both = both
        self._under_way: dict[Hashable, _Transaction] = {}

    def on(self, item: Hashable) -> bool:
        """Return True if a transaction is under way on an item."""
        return item in self._under_way

    def admit(self, item: Hashable) -> None:
        """Let a plain write of an item pass.

        Raises:
            Unavailable: If a transaction is under way on it.
        """
        if item in self._under_way:
            raise Unavailable("TransactionConflictException")

    def collide(self, items: Sequence[Hashable], commit_id: str) -> None:
        """Refuse a transaction that meets others on these items.

        Raises:
            Contended: Nothing of it was applied.
            Unavailable: If it was sent again while it was under way, so that it may be applied.
        """
        met = [self._under_way[item] for item in items]
        if any(other.commit_id == commit_id for other in met):
            raise Unavailable("TransactionInProgressException")
        for other in met:
            other.cancelled = other.cancelled or self._both()
        raise Contended("TransactionCanceledException: TransactionConflict")

    async def take_time(self, items: Sequence[Hashable], commit_id: str) -> None:
        """Have a transaction's items to itself for its span.

        Raises:
            Contended: If another transaction has met it, and both are cancelled.
        """
        transaction = _Transaction(commit_id)
        for item in items:
            self._under_way[item] = transaction
        try:
            await self._span()
        finally:
            for item in items:
                del self._under_way[item]
        if transaction.cancelled:
            raise Contended("TransactionCanceledException: TransactionConflict")
