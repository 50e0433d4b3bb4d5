"""Running definitions in memory, from tests: no AWS, no emulator, no network, and time that a test moves.

>>> from datetime import timedelta
>>> from adapter import Context, Service, handler
>>> from adapter.testing import Environment
>>> class Reminder(Service):
...     @handler
...     async def remind(self, ctx: Context, name: str) -> str:
...         await ctx.sleep(timedelta(days=30))
...         return f"Remember {name}"
>>> async def main() -> None:
...     async with Environment(Reminder) as env:
...         print(await env.service_client(Reminder).remind("Mary"))
>>> import asyncio
>>> asyncio.run(main())
Remember Mary
"""

from __future__ import annotations

from adapter.testing.environment import Environment, StuckError
from adapter.testing.looking import JournalEntry

__all__ = ["Environment", "JournalEntry", "StuckError"]
