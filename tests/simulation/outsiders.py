"""Others outside: they give programs the results that these wait for, a while later, perhaps twice."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from adapter.engine.engine import Engine
from adapter.engine.records import Meta, Ref
from adapter.engine.types import Failure, ObjectKey, Outcome
from tests.simulation.plan import Op

if TYPE_CHECKING:
    from tests.simulation.world import World


class Outsiders:
    """Those who give results in a simulation."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._told: set[tuple[Ref, str]] = set()
        """For which invocation, and what of it, somebody has begun to do something."""

    def tell(self, what: str, id: str, name: str, op: Op, meta: Meta) -> None:
        """Somebody outside is to give an awakeable, a signal or a promise its value, a while later, perhaps twice."""
        world = self._world
        if (meta.ref, name) not in self._told:
            self._told.add((meta.ref, name))
            for number in range(op.times):
                world.pending += 1
                wait = op.n / 1000 * world.random.uniform(0.5, 1.5)
                world.waits.works(meta.ref, wait)
                world.loop.create_task(self._tell(what, id, name, f"{name}!{number}{'~' * op.size}", wait, op))

    async def _tell(self, what: str, id: str, name: str, value: str, wait: float, op: Op) -> None:
        world = self._world
        await asyncio.sleep(wait)
        outcome = world.coder.outcome(Outcome(to_json(value)))
        if op.how == "reject":
            outcome = Outcome(failure=Failure(422, value))

        def work(engine: Engine) -> Coroutine[Any, Any, Any]:
            if what == "awakeable":
                return engine.outbound.complete(id, outcome)
            if what == "signal":
                return engine.outbound.signal(id, name, outcome)
            service, key = id.split("/")
            return engine.promises.complete(ObjectKey(service, key), name, outcome)

        said = await world.clients.insist(work)
        world.pending -= 1
        world.note(None, "was told", what, id, name, value[:100], said)

    def attend(self, ref: Ref, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Have somebody outside do something once, after a step of an invocation has begun it."""
        world = self._world
        if (ref, name) in self._told:
            work.close()
            return
        self._told.add((ref, name))
        world.pending += 1

        async def attended() -> None:
            await work
            world.pending -= 1

        world.loop.create_task(attended())
