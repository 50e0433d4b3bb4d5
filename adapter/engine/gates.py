"""The order of this process's requests for one key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from adapter.engine.types import ObjectKey


class Gate:
    """The requests for one key."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.turn: asyncio.Future[None] | None = None

    def open(self) -> None:
        """End the current turn: its request has written the head, waits in the inbox, or is over."""
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(None)


class Gates:
    """Lets the requests for a key begin one by one. Each begins with the head that the one before has written."""

    def __init__(self) -> None:
        self._gates: dict[ObjectKey, Gate] = {}

    def __len__(self) -> int:
        return len(self._gates)

    @asynccontextmanager
    async def turn(self, key: ObjectKey) -> AsyncGenerator[Gate]:
        """Wait for a turn, and begin it. It ends when the gate is opened: leaving the context waits for that."""
        gate = self._gates.setdefault(key, Gate())
        gate.users += 1
        try:
            async with gate.lock:
                gate.turn = asyncio.get_running_loop().create_future()
                yield gate
                await gate.turn
        finally:
            gate.users -= 1
            if not gate.users:
                del self._gates[key]

    def open(self, key: ObjectKey) -> None:
        """End the current turn at a key, if there is one."""
        gate = self._gates.get(key)
        if gate is not None:
            gate.open()
