"""The clients: what they ask for, how long they wait, and that they ask again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from adapter.engine.engine import Engine
from adapter.engine.ports import Unavailable
from adapter.engine.requests import Request
from adapter.engine.types import Outcome
from adapter.errors import TerminalError
from tests.simulation import leaving
from tests.simulation.clock import EPOCH
from tests.simulation.plan import Root
from tests.simulation.values import request

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

T = TypeVar("T")

HURRIED = 20
"""How often a client asks again within two seconds. After that it takes its time: it would make a record that expires
at once a thousand times."""


class Gone(Exception):
    """The process that a client talked to is no more."""


@dataclass(slots=True)
class Asked:
    """What a client asked for, and what it was told."""

    root: Root
    began: float
    id: str | None = None
    accepted: bool = False
    answered: float | None = None
    arrived: bool = False
    """Whether it has come to its key, if it wants one, by then."""
    outcome: Outcome | None = None
    of_lambda: bool = False
    """Whether a Lambda function took the request, which answers when all that runs in it has ended."""

    @property
    def began_at(self) -> int:
        """When it asked, on a clock that is right."""
        return EPOCH + int(self.began * 1000)


class Clients:
    """The clients of a simulation."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.asked: list[Asked] = []
        self.changed: dict[str, tuple[float, str]] = {}
        """When each invocation came into the state that it is in, and which process wrote that."""

    async def client(self, root: Root, at: float) -> None:
        """Ask for what a root says, again if it may be asked for again, until the answer is there."""
        world = self._world
        await asyncio.sleep(at)
        node = world.plan.nodes[root.node]
        derived = node.idempotency is not None or root.how == "workflow"
        asked, times = Asked(root, world.loop.time()), 0
        self.asked.append(asked)
        delay, leave = root.delay if root.how == "send" else 0, leaving.is_left(world, root, at)
        ask = Request(node.target, world.coder.encode(request(node)), node.idempotency, delay=delay)
        home = world.plan.functions[node.target.service]
        while True:
            function = home if world.random.random() < 0.8 else world.random.choice(list(world.functions.processes))
            process = world.functions.pick(function)
            engine = process.engine
            world.note(process, "is asked for", node.id, node.target, root.how)
            try:
                if root.how == "send":
                    answer = await self.ask(process, engine.send(ask), root.patience)
                else:
                    # A Lambda function's entry answers its client before the function is stopped.
                    patience = min(root.patience, process.timeout or inf)
                    until = engine.process.now() + round(patience * 1000)
                    visit = leaving.Visit(world, process, node.id, world.loop.time(), until, leave)
                    answer = await self.ask(process, engine.call(ask, until=until, leave=leave), root.patience)
                    visit.check(answer.id, answer.outcome, accepted=answer.accepted)
            except TerminalError as error:
                world.violation(f"{node.target} is refused: {error}")
                return
            except (Unavailable, Gone, TimeoutError):
                if not derived:
                    return
                times += 1
                await asyncio.sleep(world.random.uniform(0.05, 2.0 * max(1, times - HURRIED)))
                asked.began = world.loop.time()
                continue
            break
        if root.how == "call" and answer.outcome is None and world.store._record(answer.id) is None:
            return  # patience ended before it was stored
        asked.answered = world.loop.time()
        asked.id, asked.accepted, asked.outcome = answer.id, answer.accepted, answer.outcome
        asked.of_lambda = process.timeout is not None
        if answer.accepted and not delay:
            world.waits.asked[answer.id] = asked.began
        asked.arrived = (root.how == "send" and not root.delay) or answer.outcome is not None
        if world.store._record(answer.id) is None and not world.forgets(answer.id):
            world.violation(f"{answer.id} is answered for, and is not stored")
        pause = 0.5
        while asked.outcome is None:
            await asyncio.sleep(world.random.uniform(0, pause))
            pause = min(3 * pause, 60.0)
            process = world.functions.pick(home)
            engine = process.engine
            until = engine.process.now() + (28_000 if leave else 100)
            visit = leaving.Visit(world, process, node.id, world.loop.time(), until, leave, again=True)
            with suppress(Unavailable, Gone, TimeoutError):
                asking = engine.outcome(answer.id, until=until, leave=leave)
                asked.outcome = await self.ask(process, asking, root.patience)
                visit.check(answer.id, asked.outcome)
            if (world.calm and world.loop.time() > 100_000) or world.store._record(answer.id) is None:
                return

    async def ask(self, process: Process, work: Coroutine[Any, Any, T], most: float) -> T:
        """Ask a process, until it answers, it dies or patience ends."""
        world = self._world
        task = world.loop.create_task(process.event(work))
        patience = world.random.uniform(0, most) if world.chance(world.faults.impatient) else most + 40
        if "impatience" in world.reach and not world.calm:
            patience = world.random.uniform(0, 4 * (world.faults.jitter + 0.002))
        ends: list[asyncio.Future[Any]] = [task, process.death]
        await asyncio.wait(ends, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if task.done() and not process.dead:
            return task.result()
        if process.dead:
            raise Gone(process.name)
        world.note(process, "is left by its client")
        if world.random.random() < 0.5:
            task.cancel()
        raise TimeoutError

    async def insist(self, work: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """Ask some process, and another one, until there is an answer."""
        world = self._world
        while True:
            process = world.functions.pick(world.random.choice(list(world.functions.processes)))
            try:
                return await self.ask(process, work(process.engine), 10.0)
            except (Unavailable, Gone, TimeoutError):
                await asyncio.sleep(world.random.uniform(0.05, 2.0))
