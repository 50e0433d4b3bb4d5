"""The log of ``adapter dev``: one line for each thing that happens, for a person to read."""

from __future__ import annotations

import logging
import os
from typing import Final

from adapter.local.frames import OwnTraceback
from adapter.observed import name_attempt

NOISY: Final = ("botocore", "pynamodb", "urllib3", "watchfiles", "asyncio")
"""Loggers of which only warnings are shown."""

REMEMBERED: Final = 1000
"""How many tracebacks are remembered, so as not to print them again."""

CONTROL: Final = {n: chr(n).encode("unicode_escape").decode() for n in (*range(32), *range(127, 160))}
"""Escapes for control characters, which a terminal would obey. Keys and the texts of callers may contain them."""

CONTROL_IN_LINES: Final = {code: escape for code, escape in CONTROL.items() if chr(code) not in "\n\t"}
"""The same, for text of several lines."""


def log_to_console(*, replays: bool) -> None:
    """Have the process log to standard error, from ``LOG_LEVEL`` up.

    Args:
        replays: Whether the lines that a replay writes again are shown, marked, or left out.
    """
    handler = logging.StreamHandler()
    handler.addFilter(name_attempt)
    if not replays:
        handler.addFilter(lambda record: not getattr(record, "replaying", False))
    asked = os.environ.get("LOG_LEVEL", "INFO").upper()
    level = asked if asked in logging.getLevelNamesMapping() else "INFO"
    handler.setFormatter(ConsoleFormatter(whole=level == "DEBUG"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    if level != asked:
        logging.getLogger("adapter").warning("LOG_LEVEL is no level: using INFO. Use DEBUG, INFO, WARNING or ERROR")


class ConsoleFormatter(logging.Formatter):
    """Writes a record as ``time level subject: message (invocation)``.

    A traceback follows a failed attempt's line once for each invocation and place, and shows the developer's frames
    only.

    Args:
        whole: Whether to print every traceback, with all its frames.
    """

    def __init__(self, *, whole: bool = False) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._whole = whole
        self._told: dict[tuple[str, str, str], None] = {}

    def format(self, record: logging.LogRecord) -> str:
        id: str = getattr(record, "invocation_id", "")
        subject = getattr(record, "target", "") or ("" if record.name == "adapter" else record.name)
        message = record.getMessage()
        details: list[str] = []
        error = record.exc_info[1] if record.exc_info else None
        ours = record.name == "adapter" and not self._whole
        if ours:
            message = message.partition("\n")[0]  # an exception's text may have more, which its traceback shows
        if error is not None:
            own = OwnTraceback(error, whole=self._whole)
            if ours and id and own.place:
                message += f" ({own.place})"
            if not (ours and id) or self._is_news((id, type(error).__name__, own.place or "")):
                details.append(str(own))
        if record.stack_info:
            details.append(self.formatStack(record.stack_info))
        subject = subject.translate(CONTROL)
        if record.name == "adapter":  # a handler's own lines may have colors
            message = message.translate(CONTROL_IN_LINES if self._whole else CONTROL)
            details = [each.translate(CONTROL_IN_LINES) for each in details]
        parts = [
            f"{self.formatTime(record, self.datefmt)} {record.levelname:<7} ",
            "(replay) " if getattr(record, "replaying", False) else "",
            f"{subject}: " if subject else "",
            message,
            f" ({id})" if id else "",
        ]
        return "\n".join(["".join(parts), *details])

    def _is_news(self, told: tuple[str, str, str]) -> bool:
        if told in self._told:
            return False
        self._told[told] = None
        if len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]
        return True
