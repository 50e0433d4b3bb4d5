"""The latest log lines of the development server, by invocation, for the admin and for ``adapter inv logs``."""

from __future__ import annotations

import logging
from collections import deque
from typing import Final, cast

from adapter.http.admin import models as m
from adapter.http.admin.views import time, without_none
from adapter.local.frames import OwnTraceback
from adapter.observed import name_attempt

MOST: Final = 10_000
"""The most lines that are kept, of all invocations together."""


class RecentLines(logging.Handler):
    """Keeps the latest lines that name an invocation, as they are in a deployed stack's log.

    Args:
        replays: Whether to keep the lines that a replay writes again.
    """

    def __init__(self, *, replays: bool = False) -> None:
        super().__init__()
        self.addFilter(name_attempt)
        self._replays = replays
        self._lines: deque[tuple[str, m.LogLine]] = deque(maxlen=MOST)
        self._count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        id: str | None = getattr(record, "invocation_id", None)
        if id is None or (getattr(record, "replaying", False) and not self._replays):
            return
        error = record.exc_info[1] if record.exc_info else None
        line = without_none(
            n=self._count,
            timestamp=time(round(record.created * 1000)),
            level=record.levelname,
            logger=record.name,
            target=getattr(record, "target", None),
            attempt=getattr(record, "attempt", None),
            message=record.getMessage(),
            exception=str(OwnTraceback(error)) if error is not None else None,
        )
        self._count += 1
        self._lines.append((id, cast("m.LogLine", line)))

    def of(self, id: str) -> list[m.LogLine]:
        """Return an invocation's lines, in the order in which they were written."""
        return [line for invocation, line in tuple(self._lines) if invocation == id]
