"""The functions, as on Lambda: their deployments, their processes, and which of them an event reaches."""

from __future__ import annotations

from collections.abc import Coroutine
from random import Random
from typing import TYPE_CHECKING, Any

from adapter.engine.ports import Unavailable
from tests.simulation.loop import Runaway
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

MOST_PROCESSES = 2000
"""How many processes a function has at most at a time: one for each event where they take one at a time."""


class Functions:
    """The functions of a simulation."""

    def __init__(self, world: World) -> None:
        self._world = world
        numbers = sorted(set(world.plan.functions.values()))
        self.processes: dict[int, list[Process]] = {function: [] for function in numbers}
        self.deployments = dict.fromkeys(numbers, 0)
        """The number of each function's current one."""
        self.replaced: dict[str, int] = {}
        """The former deployments, in the order in which they were replaced."""
        self.crowd = 0
        """How many processes of each function there are at least."""
        if world.reach & {"crowd", "fan-in", "rush"}:
            self.crowd = Random(f"{world.seed}/crowd").choice((2, 4, 8))
        if "stale" in world.reach:
            self.crowd = 2
        self._names = 0

    def current(self, function: int) -> str:
        """The name of a function's current deployment."""
        return f"f{function}.{self.deployments[function]}"

    def deploy(self, function: int) -> None:
        """Put new code in a function's place; processes of the old one stay for what began on it."""
        self.replaced[self.current(function)] = len(self.replaced)
        self.deployments[function] += 1
        self._world.note(None, "deploys", self.current(function))

    def pick(self, function: int, deployment: str = "") -> Process:
        """A process for an event: one that is there, or a new one."""
        world = self._world
        deployment = deployment or self.current(function)
        there = [
            process
            for process in self.processes[function]
            if process.deployment == deployment and (process.timeout is None or not process.events)
        ]
        few = len(self.processes[function]) < self.crowd
        if there and not few and world.random.random() < 0.85:
            return world.random.choice(there)
        timeout = world.random.choice((3.0, 10.0, 30.0)) if world.random.random() < world.lambdas else None
        servers = len([process for process in there if process.timeout is None])
        if timeout is None and servers >= max(3, self.crowd):
            return world.random.choice(there)
        if len(self.processes[function]) > MOST_PROCESSES:
            raise Runaway
        self._names += 1
        process = Process(self._world, f"P{self._names}", function, deployment, timeout)
        self.processes[function].append(process)
        return process

    def spawn(self, process: Process, work: Coroutine[Any, Any, Any]) -> None:
        """Have a process do something that nobody waits for."""

        async def guarded() -> None:
            try:
                await work
            except Unavailable:
                pass
            except Exception as error:
                self._world.crashed(error)

        self._world.loop.create_task(guarded())

    def deliver(self, function: int, deployment: str, ids: list[str], fresh: bool) -> None:
        """A dispatch or a timer reaches a process."""
        process = self.pick(function, deployment)
        self._world.note(process, "resumes", *ids, "fresh" if fresh else "")
        engine = process.engine
        resumes = engine.resume(ids[0], fresh=fresh) if len(ids) == 1 else engine.resume_all(ids)
        self.spawn(process, process.event(resumes))
