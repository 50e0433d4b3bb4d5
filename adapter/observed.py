"""Has each log line say from which attempt it comes, whichever logger wrote it."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import replace
from typing import Final

from adapter.engine.attempt import Attempt
from adapter.engine.commands import Issuer
from adapter.engine.types import HandlerSpec

_current: Final[ContextVar[Issuer | None]] = ContextVar("attempt", default=None)
"""The attempt whose handler code, or whose step, runs."""


def observe(spec: HandlerSpec) -> HandlerSpec:
    """Return a handler whose log lines `name_attempt` can tell from others."""

    async def execute(issuer: Issuer, input: bytes) -> bytes:
        _current.set(issuer)
        return await spec.execute(issuer, input)

    return replace(spec, execute=execute)


def name_attempt(record: logging.LogRecord) -> bool:
    """Add ``invocation_id``, ``target``, ``attempt`` and ``replaying`` to a record that handler code wrote.

    A logging filter that lets everything pass. A record that names an invocation already is left as it is.
    """
    issuer = _current.get()
    if issuer is None or getattr(record, "invocation_id", issuer.id) != issuer.id:
        return True
    record.invocation_id = issuer.id
    record.target = str(issuer.target)
    record.replaying = issuer.replaying
    if isinstance(issuer, Attempt):
        record.attempt = max(1, issuer.meta.epoch)  # 0 until it is stored
    return True
