"""What goes on after crashes, timeouts and lost schedules.

It takes minutes until such things are noticed, so all of them are begun at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from infra.deploy import deploy, local_parameters
from infra.emulator import Emulator
from infra.stack import Stack
from tests.faults.aws import Blow, FaultyAWS, killed_after, killed_before
from tests.faults.template import rewritten, with_aws_at
from tests.integration.waiting import accepted, answer, result, until

TICK = 10
"""Seconds between the emulator's looks at its schedules; on AWS it may be up to 60."""

SWEEP = 60 + TICK

DELAY = 61
"""Seconds: the shortest delay that EventBridge Scheduler keeps, as shorter ones go through SQS."""


@pytest.fixture(scope="module")
def aws(emulator: Emulator | None) -> Iterator[FaultyAWS]:
    if emulator is None:
        pytest.skip("the Lambda processes are not ours to kill")
    with FaultyAWS(emulator) as faulty:
        yield faulty


@pytest.fixture(scope="module")
def faulty_stack(
    request: pytest.FixtureRequest, emulator: Emulator, aws: FaultyAWS, progress: Callable[[str], None]
) -> Stack:
    """A stack of its own whose functions reach AWS through ``aws``."""
    stack = Stack("adapter-faulty", emulator.url)
    progress("deploying with something in between")
    with rewritten(request.getfixturevalue("packages"), with_aws_at(aws.url)) as packages:
        deploy(stack, packages, local_parameters())
    return stack


@pytest.fixture(scope="module")
def shop(faulty_stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=faulty_stack.url, timeout=60) as client:
        yield client


@dataclass(frozen=True)
class Order:
    """One saga, and what happened to it."""

    id: str
    request: dict[str, Any]
    blow: str
    killed: int
    """The id of the process that was killed."""


POINTS = 10
UNDONE = (3, 6, 9)
"""The points of which the sagas are such as fail at their last step, so that the crash may hit their compensation."""


@dataclass(frozen=True)
class Underway:
    """What was begun."""

    orders: list[Order]
    parcel: str
    items: list[dict[str, Any]]
    delayed: str
    delayed_at: float
    unscheduled: str


@pytest.fixture(scope="module")
def underway(shop: httpx.Client, aws: FaultyAWS, faulty_stack: Stack, progress: Callable[[str], None]) -> Underway:
    run = uuid4().hex[:8]
    answer(shop, "/Greeter/greet", run)  # every function has a process now, so that the points below are the saga's
    # A parcel that takes longer than its function may: six seconds per item.
    items = [{"sku": f"{run}-{n}", "quantity": 24} for n in range(6)]
    accepted(shop, f"/Shipping/{run}/ship/send", {"items": items})

    accepted(shop, f"/Mailer/{run}-lost/mail/send?delay={DELAY}s", "late")
    scheduler, group = faulty_stack.client("scheduler"), faulty_stack.outputs["TimersGroup"]

    def schedules() -> list[str]:
        return [schedule["Name"] for schedule in scheduler.list_schedules(GroupName=group)["Schedules"]]

    for name in until("there is a schedule", schedules):
        scheduler.delete_schedule(Name=name, GroupName=group)
    delayed_at = time.monotonic()
    accepted(shop, f"/Mailer/{run}-delayed/mail/send?delay={DELAY}s", "in time")

    functions = [faulty_stack.outputs[f"{name}FunctionName"] for name in ("Checkout", "Warehouse")]

    def requests() -> int:
        return sum(aws.requests[function] for function in functions)

    def order(id: str, country: str = "DE") -> dict[str, Any]:
        answer(shop, f"/Inventory/{id}/restock", 10)
        items = [{"sku": id, "quantity": 1}]
        return {"customer": id, "items": items, "cents": 1_000, "country": country}

    counts = {}
    for country in ("DE", "Atlantis"):
        id = f"{run}-{country}"
        wanted = order(id, country)
        before = requests()
        accepted(shop, f"/Checkout/{id}/run/send", wanted)
        result(shop, f"/restate/workflow/Checkout/{id}/attach")
        counts[country] = requests() - before
    progress(f"an undisturbed saga takes {counts['DE']} requests, one that is undone {counts['Atlantis']}")

    orders = []
    for point in range(POINTS):
        country = "Atlantis" if point in UNDONE else "DE"
        n = 1 + point * (counts[country] - 2) // (POINTS - 1)
        phase, fault = ("after", killed_after) if point % 2 else ("before", killed_before)
        id = f"{run}-{point}"
        wanted = order(id, country)
        aws.plan = blow = Blow(n, fault, *functions)
        accepted(shop, f"/Checkout/{id}/run/send", wanted)
        until(f"a process was killed {phase} request {n}", blow.struck.is_set, 400)
        orders.append(Order(id, wanted, f"{blow.killed} {phase} request {n}", blow.pid))
        progress(f"killed {orders[-1].blow}")
    return Underway(orders, run, items, f"{run}-delayed", delayed_at, f"{run}-lost")


def test_a_delayed_message_comes_with_the_schedulers_precision(shop: httpx.Client, underway: Underway) -> None:
    until("it is delivered", lambda: answer(shop, f"/Mailer/{underway.delayed}/sent"))
    # When it was is what the function said; here it can be noticed late.
    assert answer(shop, f"/Mailer/{underway.delayed}/sent") == ["in time"]
    assert time.monotonic() - underway.delayed_at >= DELAY


def test_a_delayed_message_comes_late_without_its_schedule(shop: httpx.Client, underway: Underway) -> None:
    until("the sweeper delivers it", lambda: answer(shop, f"/Mailer/{underway.unscheduled}/sent"), DELAY + 3 * SWEEP)
    assert answer(shop, f"/Mailer/{underway.unscheduled}/sent") == ["late"]


def test_money_moves_once_and_stock_adds_up_whatever_is_killed(shop: httpx.Client, underway: Underway) -> None:
    def outcome(order: Order) -> tuple[str, int, int, int, int]:
        response = result(shop, f"/restate/workflow/Checkout/{order.id}/attach", 300)
        stock = answer(shop, f"/Inventory/{order.id}/stock")
        balance = answer(shop, "/Payment/balance", order.id)
        return order.blow, response.status_code, stock, balance, len(answer(shop, f"/Shipping/{order.id}/track"))

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(outcome, underway.orders))
    assert outcomes == [
        (order.blow, 422, 10, 100_000, 0) if order.request["country"] == "Atlantis" else (order.blow, 200, 9, 99_000, 1)
        for order in underway.orders
    ]


def test_a_function_that_runs_out_of_time_goes_on_where_it_was(shop: httpx.Client, underway: Underway) -> None:
    def packed() -> list[dict[str, Any]]:
        packed: list[dict[str, Any]] = answer(shop, f"/Shipping/{underway.parcel}/track")
        return packed

    until("all is packed", lambda: len(packed()) == len(underway.items), 400)
    assert [entry["item"] for entry in packed()] == underway.items
    workers = [entry["worker"] for entry in packed()]
    # One process did as much as it had time for, the next the rest: nothing twice, nothing left out. On a slow machine
    # the saga's kills come late, and may meet these processes: each makes it one more.
    assert 2 <= len(set(workers)) <= 3 + len({order.killed for order in underway.orders} & set(workers))
    assert workers == sorted(workers, key=workers.index)
