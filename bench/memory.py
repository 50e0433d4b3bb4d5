"""Whether the memory of a server that lives long stays small: `adapter dev` in memory, under load over HTTP."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx

from bench.compare import serving

RATE: Final = 40
"""Requests a second. In a tenth of an hour that fills all lists of a fixed length, of which the longest have 10,000."""

KEYS: Final = 7

ROWS: Final = 10

Request = tuple[str, object]


def mixed(number: int) -> Request:
    """Return the path and the input of the n-th request: all kinds in turn."""
    kinds: list[Request] = [
        ("Bench/greet", "x"),
        ("Bench/steps", 5),
        ("Bench/calls", 3),
        ("Bench/sends", 5),
        (f"Counter/{number % KEYS}/add", 1),
        ("Bench/objcalls", 5),
    ]
    return kinds[number % len(kinds)]


async def load(client: httpx.AsyncClient, until: float) -> int:
    """Send requests at an even rate until a time. Half of them have an idempotency key.

    Returns:
        The number of requests.

    Raises:
        httpx.HTTPStatusError: If one fails.
    """
    began, sent = time.monotonic(), 0
    while time.monotonic() < until:
        path, input = mixed(sent)
        headers = {"idempotency-key": uuid4().hex} if sent // 6 % 2 else {}
        (await client.post(path, json=input, headers=headers)).raise_for_status()
        sent += 1
        await asyncio.sleep(max(0.0, began + sent / RATE - time.monotonic()))
    return sent


def resident(pid: int) -> float:
    """Return the resident memory of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def long_lived(seconds: float) -> list[dict[str, Any]]:
    """Load a server that soon forgets for so long, and return its resident memory at ten times."""
    rows: list[dict[str, Any]] = []
    served = 0
    with serving(None, "bench.forgetful") as (url, pid):
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            began = time.monotonic()
            for part in range(1, ROWS + 1):
                served += await load(client, began + seconds * part / ROWS)
                minutes = round((time.monotonic() - began) / 60, 2)
                rows.append({"minutes": minutes, "requests": served, "RSS MB": round(resident(pid), 1)})
                print(rows[-1], flush=True)
    return rows
