"""The CPU of a request to DynamoDB: the store puts a segment of a journal, and a server on loopback answers at once."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from adapter.aws.store import DynamoStore
from adapter.engine.ports import Put
from adapter.engine.records import JournalSegment
from bench.loopback import aws

TARGET = 0.6
"""Milliseconds."""

REQUESTS = 2_000


def client_cpu(repeat: int = 3) -> list[dict[str, Any]]:
    """Milliseconds of CPU of the thread that sends, for one request; the fastest of several times."""
    with tempfile.TemporaryDirectory() as folder, aws(Path(folder)) as environment, patch.dict(os.environ, environment):
        best = min(asyncio.run(_measure()) for _ in range(repeat))
    return [{"request": "PutItem over TLS", "target ms": TARGET, "CPU ms": round(best, 3)}]


async def _measure() -> float:
    store = DynamoStore("invocations", "objects")
    changes = [Put(JournalSegment("inv_a", "g", n, "x" * 300)) for n in range(100)]
    for change in changes:
        await store.commit([change], "warm")
    began = time.thread_time()
    for n in range(REQUESTS):
        await store.commit([changes[n % len(changes)]], "commit")
    took = time.thread_time() - began
    store.close()
    return took / REQUESTS * 1000
