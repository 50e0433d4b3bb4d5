"""Each row of the budget table, counted at the store."""

from __future__ import annotations

import pytest

from adapter.engine.ports import Store
from adapter.local.memory import MemoryStore
from bench.cases import CASES, SCALE, WAITING, Case, world
from bench.world import QuickClock, StillClock

# The same stores that the contract tests run on.
from tests.contract.conftest import api, client, credentials, dynamodb, endpoint, history, sqlite, store, tables

__all__ = ["api", "client", "credentials", "dynamodb", "endpoint", "history", "sqlite", "store", "tables"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_stays_within_budget(store: Store, case: Case) -> None:
    cost = await case.run(world(store, StillClock()))
    assert cost.requests <= case.budget
    assert len(cost.dispatches) <= case.dispatches


@pytest.mark.parametrize("case", SCALE, ids=lambda case: case.name)
async def test_cost_of_a_large_invocation_grows_with_what_it_does(case: Case) -> None:
    cost = await case.run(world(MemoryStore(), StillClock()))
    assert cost.requests <= case.budget
    assert len(cost.dispatches) <= case.dispatches


async def test_a_sleep_makes_one_schedule() -> None:
    (case,) = (case for case in CASES if case.name.startswith("sleep"))
    assert (await case.run(world(MemoryStore(), StillClock()))).schedules == 1


@pytest.mark.parametrize("case", WAITING, ids=lambda case: case.name)
async def test_a_client_that_waits_costs_no_more_than_it_must(case: Case) -> None:
    cost = await case.run(world(MemoryStore(), QuickClock()))
    assert cost.requests <= case.budget
    assert len(cost.dispatches) <= case.dispatches
