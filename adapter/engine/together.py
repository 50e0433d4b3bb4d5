"""Invocations that were dispatched together: what they end with is committed together.

Each of them has a session of its own, which knows nothing of the others. What has not ended after a moment, or has to
commit something else first, is committed on its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from adapter.engine.ids import new_commit_id
from adapter.engine.ports import Change, Conflict, Contended, Put, TooLarge, Update, WriteHead
from adapter.engine.process import Process
from adapter.engine.records import Notification
from adapter.engine.storage import CONTENDED, Storage
from adapter.engine.transaction import MAX_ITEMS

WAIT_FOR_OTHERS: Final = 20
"""Milliseconds for which the first that ends waits for the others."""

TURNS: Final = 10
"""Turns of the event loop in which a further one has to end, after that."""

MAX_SHARE: Final = 20_000
"""The most bytes that one of them adds to a common commit. One hundred then fit into it."""


class Together:
    """The ends of invocations that were dispatched together.

    Args:
        process: The process.
        storage: The store.
        ids: The invocations.
    """

    def __init__(self, process: Process, storage: Storage, ids: Iterable[str]) -> None:
        self._process = process
        self._storage = storage
        self._expected = set(ids)
        self._ends: list[tuple[Sequence[Change], asyncio.Future[bool]]] = []
        self._items: set[object] = set()
        """The items that the ends change. DynamoDB refuses two changes of one item in a transaction."""
        self._closed = False
        self._complete = asyncio.get_running_loop().create_future()

    def leave(self, id: str) -> None:
        """Take note that an invocation does not end now. The others do not wait for it."""
        self._expected.discard(id)
        if not self._expected and not self._complete.done():
            self._complete.set_result(None)

    async def commit(self, id: str, changes: Sequence[Change], size: int) -> bool:
        """Commit what an invocation ends with, together with what others end with. Return False if nothing was
        committed: then it has to be committed on its own.

        Args:
            id: The invocation.
            changes: The changes of the commit.
            size: Their size in bytes, about.
        """
        items = {_item(each) for each in changes}
        if self._closed or id not in self._expected or None in items or items & self._items or size > MAX_SHARE:
            self.leave(id)
            return False
        self._items |= items
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._ends.append((changes, future))
        self.leave(id)
        if len(self._ends) == 1:
            await self._process.first(self._complete, self._process.now() + WAIT_FOR_OTHERS)
            await self._let_others_end()
            self._closed = True
            await asyncio.gather(*(self._commit(ends) for ends in _filled(self._ends)))
        return await future

    async def _let_others_end(self) -> None:
        """Wait for those that need nothing more but the processor, however slow that is."""
        ended = 0
        while self._expected and ended < len(self._ends):
            ended = len(self._ends)
            for _ in range(TURNS):
                await asyncio.sleep(0)

    async def _commit(self, ends: Sequence[tuple[Sequence[Change], asyncio.Future[bool]]]) -> None:
        committed = False
        try:
            if len(ends) > 1:
                changes = [change for each, _ in ends for change in each]
                await self._storage.commit(changes, new_commit_id(), give_up_after=CONTENDED)
                committed = True
        except (Conflict, Contended, TooLarge):
            pass  # nothing was applied, and each finds out by itself
        except Exception as error:
            for _, future in ends:
                if not future.done():
                    future.set_exception(error)
        for _, future in ends:
            if not future.done():
                future.set_result(committed)


def _item(change: Change) -> object:
    """Return what identifies the item that a change writes, or ``None`` if the change cannot be in a common commit."""
    match change:
        case Update(ref):
            return ref.id
        case WriteHead(head):
            return head.key
        case Put(Notification(to, id)):
            return to.id, id
        case _:
            return None


def _filled(
    ends: Iterable[tuple[Sequence[Change], asyncio.Future[bool]]],
) -> list[list[tuple[Sequence[Change], asyncio.Future[bool]]]]:
    """Distribute ends over as few commits as they need."""
    commits: list[list[tuple[Sequence[Change], asyncio.Future[bool]]]] = []
    left = 0
    for changes, future in ends:
        if len(changes) > left:
            commits.append([])
            left = MAX_ITEMS
        commits[-1].append((changes, future))
        left -= len(changes)
    return commits
