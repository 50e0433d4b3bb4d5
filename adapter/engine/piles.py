"""Invocations that are dispatched at the same time, to be sent to one process together."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Piles(Generic[K]):
    """Collects what is dispatched in one turn of the event loop, by place."""

    def __init__(self) -> None:
        self._piles: dict[K, list[str]] = {}

    async def add(self, place: K, id: str, most: int) -> list[list[str]]:
        """Add an invocation to what is dispatched to a place.

        Return the batches of ids that the caller is to send. There are none if another caller sends this id.

        Args:
            place: Where it is dispatched to. The most in one batch is the same for all of a place.
            id: The invocation.
            most: The most in one batch.
        """
        if most == 1:
            return [[id]]
        pile = self._piles.setdefault(place, [])
        pile.append(id)
        if len(pile) > 1:
            return []
        try:
            await asyncio.sleep(0)
        finally:  # a pile whose first caller is cancelled would keep all later ones from being sent
            ids = self._piles.pop(place)
        return [ids[start : start + most] for start in range(0, len(ids), most)]
