"""The clients: they ask for things, ask again when they get no answer, and follow what was accepted to its end."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx

from tests.chaos.functions.shop import NOWHERE

ACCOUNTS = [f"account-{n}" for n in range(8)]
SKUS = ["chair", "lamp", "table"]
TURNSTILES = ["north", "south"]
TOO_MUCH = 1_000_000

PAUSE = (0.2, 1.5)
"""Seconds between two tries, or two looks."""

THINK = (0.0, 0.8)
"""Seconds between a client's requests."""


@dataclass
class Asked:
    """A request by a client, and what became of it. Times are seconds since the epoch."""

    kind: str
    id: str
    path: str
    input: dict[str, Any]
    sent: bool = False
    """Whether it is sent, and its result looked for later, or called."""
    once: bool = False
    """Whether it has no idempotency key, so is asked for only once: without an answer it may have been carried out."""
    begun: float = 0.0
    invocation: str = ""
    """Once it is accepted."""
    accepted: float = 0.0
    ended: float = 0.0
    status: int = 0
    tries: int = 0
    trouble: str = ""
    """What was said last that is no result."""


class Clients:
    """So many clients, one request at a time each.

    Args:
        url: The stack's.
        random: Decides what they ask for.
        count: How many they are.

    Attributes:
        asked: What they asked for.
        troubles: How often they got something else than an answer, by what it was.
    """

    def __init__(self, url: str, random: Random, count: int) -> None:
        self.asked: list[Asked] = []
        self.troubles: Counter[str] = Counter()
        self._random = random
        self._count = count
        self._http = httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(max_connections=None))

    @property
    def open(self) -> list[Asked]:
        """What has no result yet."""
        return [asked for asked in self.asked if not asked.ended]

    async def run(self, until: Callable[[], bool]) -> None:
        """Ask for one thing after another, then see the last ones to their end."""
        async with self._http:
            await asyncio.gather(*(self._client(until) for _ in range(self._count)))

    async def _client(self, until: Callable[[], bool]) -> None:
        while not until():
            asked = pick(self._random, len(self.asked))
            self.asked.append(asked)
            await self._follow(asked)
            await asyncio.sleep(self._random.uniform(*THINK))

    async def _follow(self, asked: Asked) -> None:
        asked.begun = time.time()
        while not asked.ended:
            asked.tries += 1
            try:
                response = await (self._look(asked) if asked.invocation else self._ask(asked))
            except httpx.TransportError as error:
                self._trouble(asked, type(error).__name__)
                if asked.once and not asked.invocation:
                    asked.ended = time.time()
            else:
                self._take(asked, response)
            if not asked.ended:
                await asyncio.sleep(self._random.uniform(*PAUSE))

    async def _ask(self, asked: Asked) -> httpx.Response:
        path = f"{asked.path}/send" if asked.sent else asked.path
        headers = {"prefer": "respond-suspended"} if self._random.random() < 0.5 else {}
        if asked.once:
            return await self._http.post(path, headers=headers)
        if not asked.path.endswith("/run"):  # a workflow runs once anyway
            headers["idempotency-key"] = asked.id
        return await self._http.post(path, json=asked.input, headers=headers)

    async def _look(self, asked: Asked) -> httpx.Response:
        return await self._http.get(f"/restate/invocation/{asked.invocation}/output")

    def _take(self, asked: Asked, response: httpx.Response) -> None:
        asking, status = not asked.invocation, response.status_code
        if asking and (invocation := response.headers.get("x-restate-id")):
            asked.invocation, asked.accepted = invocation, time.time()
        if asking and asked.invocation and (status in (202, 504) or status == 409):
            return  # it is on its way; 409 says that a try that was thought to be lost was not
        if status == 470:
            return
        if status >= 500:
            self._trouble(asked, f"HTTP {status}")
            if asked.once and not asked.invocation:
                asked.ended = time.time()
            return
        asked.ended, asked.status = time.time(), status
        asked.trouble = response.text if status >= 400 else ""

    def _trouble(self, asked: Asked, what: str) -> None:
        asked.trouble = what
        self.troubles[what] += 1


def pick(random: Random, n: int) -> Asked:
    """The n-th request."""
    sent, chance = random.random() < 0.5, random.random()
    source, target = random.sample(ACCOUNTS, 2)
    cents = TOO_MUCH if random.random() < 0.1 else random.randint(1, 300)
    transfer = {"source": source, "target": target, "cents": cents}
    if chance < 0.25:
        key = random.choice(TURNSTILES)
        return Asked("turn", f"n-{n}", f"/Turnstile/{key}/count", {"key": key}, once=True)
    if chance < 0.6:
        return Asked("transfer", f"t-{n}", "/Transfers/transfer", transfer, sent)
    if chance < 0.75:
        return Asked("standing order", f"s-{n}", f"/StandingOrder/s-{n}/run", transfer, sent)
    order = {
        "customer": source,
        "sku": random.choice(SKUS),
        "quantity": random.randint(1, 3),
        "cents": random.randint(1, 50),
        "country": random.choice(["DE", "FR", NOWHERE]),
    }
    return Asked("order", f"o-{n}", f"/Orders/o-{n}/run", order, sent)
