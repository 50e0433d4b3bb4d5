"""Random programs as handlers of Restate's Python SDK, in processes that crash at any request to the store."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

import pytest
import restate

from adapter import TerminalError
from adapter.restate import apps
from adapter.restate.apps import AppEndpoint
from adapter.restate.messages import VERSIONS
from adapter.testing import Environment, StuckError
from tests.restate import programs

SEEDS, FAULTS = 12, 6


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("faults", [False, True], ids=["quiet", "faults"])
async def test_a_program_does_what_it_says_once(seed: int, faults: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    version = VERSIONS[seed % len(VERSIONS)]
    monkeypatch.setattr(apps, "AppEndpoint", partial(AppEndpoint, version=version))
    program, nodes = programs.make(seed)
    programs.ran.clear()
    app: Any = restate.app(services=[programs.services, programs.objects])
    async with Environment(app, replay=seed % 4 == 0) as env:
        if faults:
            random = Random(seed)
            for at in random.sample(range(1, 120), FAULTS):
                random.choice([env.crash, env.fail])(at, applied=random.random() < 0.5)

        async def call(service: str, handler: str, value: Any = None, key: str | None = None) -> Any:
            for _ in range(FAULTS):  # each of them may strike a sweep, and nothing else wakes what is due then
                with suppress(StuckError):
                    return await env.generic_call(
                        service=service, method=handler, parameter=value, key=key, idempotency_key=handler
                    )
            raise AssertionError(f"{handler} does not end")

        try:
            output = await call("S", "run", program)
        except TerminalError as error:
            output = ["failed", error.message]
        assert output == programs.expected(program)
        for _ in range(FAULTS):
            await env.advance(timedelta(hours=1))
        states = [await call("O", "state", key=str(key)) for key in range(programs.KEYS)]
    for key, state in enumerate(states):
        mine = [node for node in nodes if node["key"] == key]
        assert Counter(state["ran"]) == Counter(node["id"] for node in mine)
        assert state["total"] == sum(map(programs.adds, mine))
    if not faults:
        steps = {path: times for path, times in programs.ran.items() if times != 1}
        assert set(steps.values()) <= {3}, "a step ran again"  # one that fails twice
