"""Counts the requests of the last minute, for the development server's overview."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from adapter.http.admin.models import Requests

SPAN: Final = 60.0
"""Seconds that are looked back."""

MOST: Final = 10_000
"""The most requests that are remembered."""


class Rates:
    """Passes requests on, and remembers when they came and how long they took.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._seen: deque[tuple[float, float]] = deque(maxlen=MOST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        try:
            await self._app(scope, receive, send)
        finally:
            now = time.monotonic()
            self._seen.append((now, now - began))

    def requests(self) -> Requests:
        """Return the rate and the latencies of the last minute."""
        now = time.monotonic()
        took = sorted(seconds for at, seconds in self._seen if now - at <= SPAN)
        return {
            "per_second": round(len(took) / SPAN, 2),
            "p50_ms": _quantile(took, 0.5),
            "p99_ms": _quantile(took, 0.99),
        }


def _quantile(took: list[float], share: float) -> float:
    return round(took[min(len(took) - 1, int(share * len(took)))] * 1000, 1) if took else 0.0
