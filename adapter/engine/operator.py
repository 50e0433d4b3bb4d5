"""What sessions ask for that needs other sessions."""

from __future__ import annotations

from typing import Protocol

from adapter.engine.notifier import Acknowledgement
from adapter.engine.records import Meta


class Operator(Protocol):
    """Acts on other invocations in ways that need sessions of their own."""

    async def cancel(self, id: str, *, commit_id: str | None = None, nth: int | None = None) -> Acknowledgement:
        """Cancel an invocation (see `Control.cancel`)."""
        ...

    async def check_deadlock(self, start: Meta) -> bool:
        """Fail the youngest call of a cycle that the invocation leads to. Return True if there was a cycle."""
        ...
