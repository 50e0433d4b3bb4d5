"""The logger that a context gives to handler code."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from adapter.engine.commands import Issuer


class HandlerLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs under the service's name, with the invocation's fields, and drops the lines of a replay.

    Each record carries ``invocation_id`` and ``target`` beside what ``extra=`` gives.
    """

    def __init__(self, issuer: Issuer) -> None:
        super().__init__(logging.getLogger(issuer.target.service), {})
        self._issuer = issuer

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name is logging's
        """Return True if a line of this level is written now: no line is while a replay runs."""
        return not self._issuer.replaying and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the invocation's fields to a line."""
        about = {"invocation_id": self._issuer.id, "target": str(self._issuer.target)}
        return msg, {**kwargs, "extra": {**(kwargs.get("extra") or {}), **about}}
