"""Several Lambda processes on one key, over API Gateway, without idempotency keys; asserts how long answers take.

The processes are started first, by requests for keys of their own: a cold start is not contention.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import uuid4

import httpx
import pytest

from infra.emulator import Emulator
from infra.stack import Stack
from tests.integration.waiting import answer, until
from tests.pace import slowness

MOST = 60

START = 3.0
"""Seconds that a round of requests takes at the most if no process has to start for it. Only where the processes cannot
be counted."""

SLACK = 2.0
"""Seconds by which a call that the engine took up later may be applied earlier: between the two, it meets a busy
machine, on which sixty processes share two cores."""

LIMIT = 20.0
"""Seconds that an answer may take in any case. The gateway answers 504 after 30 s."""


@dataclass(frozen=True)
class Call:
    """A call to a counter: its invocation, when it was sent and answered, and with which total."""

    id: str
    sent: float
    answered: float
    total: int

    @property
    def took(self) -> float:
        return self.answered - self.sent


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the stack, whose processes are warm."""
    limits = httpx.Limits(max_connections=MOST, max_keepalive_connections=MOST)
    with httpx.Client(base_url=stack.url, timeout=60, limits=limits) as client:
        yield client


def warm(http: httpx.Client, emulator: Emulator | None, processes: int) -> None:
    """Have so many processes of the function ready: a round of requests at once starts no further one."""

    def workers() -> set[int]:
        return emulator.workers() if emulator else set()

    def once(_: int) -> bool:
        try:
            return http.post(f"/Counter/{uuid4().hex}/add", json=1).is_success
        except httpx.TransportError:
            return False

    def round() -> bool:
        began, before = time.monotonic(), workers()
        answered = all(pool.map(once, range(processes)))
        return answered and (workers() <= before if emulator else time.monotonic() - began < START)

    with ThreadPoolExecutor(processes) as pool:
        until("all processes are ready", round, 400)


def add(http: httpx.Client, key: str) -> Call:
    sent = time.monotonic()
    response = http.post(f"/Counter/{key}/add", json=1)
    assert response.status_code == 200, response.text
    return Call(response.headers["x-restate-id"], sent, time.monotonic(), int(response.json()))


def check(stack: Stack, calls: list[Call]) -> None:
    """Each was applied once, and none passed one that the engine had taken up long before it."""
    assert sorted(call.total for call in calls) == list(range(1, len(calls) + 1))
    dynamodb, table = stack.client("dynamodb"), stack.tables[0]
    taken: list[tuple[float, Call]] = []
    for call in calls:
        record = dynamodb.get_item(TableName=table, Key={"pk": {"S": call.id}, "sk": {"S": "meta"}})["Item"]
        taken.append((int(record["created"]["N"]) / 1000, call))
    for at, call in taken:
        passed = [other for later, other in taken if at + SLACK < later and other.total < call.total]
        assert not passed, f"{call} was passed by {passed}"


@pytest.mark.parametrize("clients", [2, 4, 8])
def test_clients_that_call_one_key_again_and_again(
    stack: Stack, http: httpx.Client, emulator: Emulator | None, clients: int
) -> None:
    key = uuid4().hex
    warm(http, emulator, clients)

    def client(_: int) -> list[Call]:
        return [add(http, key) for _ in range(25)]

    with ThreadPoolExecutor(clients) as pool:
        calls = [call for each in pool.map(client, range(clients)) for call in each]
    check(stack, calls)
    slowest = max(call.took for call in calls)
    limit = min(LIMIT, 5 * slowness(time.perf_counter))
    seconds = max(call.answered for call in calls) - min(call.sent for call in calls)
    print(f"{clients} clients: {len(calls) / seconds:.0f} calls a second, the slowest took {slowest:.2f} s")
    assert slowest < limit
    assert answer(http, f"/Counter/{key}/total") == len(calls)


def test_sixty_calls_at_once_to_one_key(stack: Stack, http: httpx.Client, emulator: Emulator | None) -> None:
    key = uuid4().hex
    warm(http, emulator, MOST)
    with ThreadPoolExecutor(MOST) as pool:
        calls = list(pool.map(lambda _: add(http, key), range(MOST)))
    check(stack, calls)
    slowest = max(call.took for call in calls)
    print(f"{MOST} calls at once: the slowest took {slowest:.2f} s")
    assert slowest < LIMIT
    assert answer(http, f"/Counter/{key}/total") == MOST
