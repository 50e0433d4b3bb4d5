"""What can be seen of handlers: each log line says from which attempt it comes, and traces follow calls.

``traceparent`` and the like go from an invocation to what it calls and sends. With the extra ``otel`` there are spans.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import replace
from typing import Final

from starlette.types import ASGIApp

from adapter.engine.attempt import Attempt
from adapter.engine.commands import Issuer
from adapter.engine.deployment import HandlerSpec
from adapter.forwarding import ForwardingIssuer

try:
    from adapter import tracing
except ImportError as missing:
    if (missing.name or "").partition(".")[0] != "opentelemetry":
        raise
    tracing = None  # type: ignore[assignment]

_current: Final[ContextVar[Issuer | None]] = ContextVar("attempt", default=None)
"""The attempt whose handler code, or whose step, runs."""


def observe(spec: HandlerSpec) -> HandlerSpec:
    """Return a handler whose log lines `name_attempt` can tell from others, and whose calls are traced."""
    inner = tracing.traced(spec) if tracing is not None else spec

    async def execute(issuer: Issuer, input: bytes) -> bytes:
        _current.set(issuer)
        return await inner.execute(issuer if tracing is not None else ForwardingIssuer(issuer), input)

    return replace(spec, execute=execute)


def observe_app(app: ASGIApp) -> ASGIApp:
    """Return an app whose requests are traced, if there are spans."""
    return tracing.TracedApp(app) if tracing is not None else app


def flush() -> None:
    """Export the spans so far, if there are any."""
    if tracing is not None:
        tracing.flush()


def name_attempt(record: logging.LogRecord) -> bool:
    """Add ``invocation_id``, ``target``, ``attempt`` and ``replaying`` to a record that handler code wrote.

    A logging filter that lets everything pass. A record that names another invocation already is left as it is.
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
