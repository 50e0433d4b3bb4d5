"""Budgets are for what invocations do, however long a machine takes for it."""

from __future__ import annotations

import pytest

from adapter.engine import decide, session


@pytest.fixture(autouse=True)
def no_looks_for_cancellations(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that runs for more than three seconds reads its record again, which costs a request."""
    for module in (decide, session):
        monkeypatch.setattr(module, "REFRESH_EVERY", 3_600_000)
