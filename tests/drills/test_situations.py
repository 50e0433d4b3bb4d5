"""The situations come about as they are told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drills import situations
from tests.drills.world import World
from tests.drills.world import world as served


@pytest.fixture
def world() -> Iterator[World]:
    with served() as world:
        yield world


def test_each_situation(world: World) -> None:
    for id in situations.cross_deadlock(world):
        assert world.shown(id)["status"] != "completed"
    stuck = situations.stuck_key(world)
    assert "the bank is down" in world.shown(stuck.cause)["error"]
    situations.wrong_state(world)
    assert situations.waiting_awakeable(world).awakeable.startswith("awk_")
    failed = situations.failed_at_the_fifth_entry(world)
    assert world.shown(failed)["failure"]["message"] == "the printer has no paper"
    assert world.shown(situations.old_version(world))["deployment"] == "shop:1"


def test_what_failed_since_a_deployment_is_fixed(world: World) -> None:
    ids = situations.failed_since_a_deployment(world)
    situations.fix(world)
    for id in ids:
        answer = world.http.post(f"/admin/invocations/{id}/resume", params={"deployment": "shop:3"})
        assert answer.is_success, answer.text
        world.until_status(id, "completed")
