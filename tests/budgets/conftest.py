"""Budgets are for what invocations do, however long a machine takes for it."""

from __future__ import annotations

import pytest

from adapter.engine import decide, session, waiting


@pytest.fixture(autouse=True)
def no_looks_for_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these looks costs a request, on a machine that is slow.

    An attempt that runs for more than three seconds reads its record again, as it may be cancelled. A client that waits
    for more than a quarter of a second reads the record, too.
    """
    for module in (decide, session):
        monkeypatch.setattr(module, "REFRESH_EVERY", 3_600_000)
    monkeypatch.setattr(waiting, "OWN_POLL", 3_600_000)
