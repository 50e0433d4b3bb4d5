"""The operators: what they do to invocations, and that they look after what is paused or stuck."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from adapter.engine.engine import Engine
from adapter.errors import TerminalError
from tests.simulation.plan import Act
from tests.simulation.waits import RECOVERY

if TYPE_CHECKING:
    from tests.simulation.world import World


class Operators:
    """The operators of a simulation."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.acted: dict[str, set[str]] = {}
        """What an operator has asked for, for each kind of act; the ids."""
        self.done: dict[str, set[str]] = {}
        """What an operator was told to have been accepted."""
        self.purged: dict[str, list[tuple[float, float]]] = {}
        """From when to when each invocation was being purged."""
        self.restarts: dict[tuple[int, int, str], str] = {}
        """For each restart, by its program, its act and what was restarted: the invocation that it made."""
        self.copied: dict[str, float] = {}
        """When each invocation was first to be restarted."""

    async def act(self, number: int) -> None:
        """Act on what runs a program."""
        world = self._world
        act = world.plan.acts[number]
        await asyncio.sleep(act.at)
        if act.what == "edit":
            await world.edits.edit(act, number)
            return
        over = act.what in ("purge", "restart")
        for id in [meta.id for meta in world.store.metas() if world.node(meta) == act.node and (over or meta.live)]:
            world.note(None, "operator", act.what, id)
            world.waits.mishap(60.0 + RECOVERY)
            self.acted.setdefault(act.what, set()).add(id)
            for _ in range(world.random.choice((1, 1, 2))):  # it may be asked for again
                began = world.loop.time()
                said = await world.clients.insist(partial(self._act, act=act, id=id, number=number))
                world.note(None, "operator was told", said)
                if said == "accepted":
                    self.done.setdefault(act.what, set()).add(id)
                if said == "accepted" and act.what == "purge":
                    self.purged.setdefault(id, []).append((began, world.loop.time()))

    async def _act(self, engine: Engine, act: Act, id: str, number: int) -> str:
        world = self._world
        control = engine.control
        match act.what:
            case "cancel":
                return await control.cancel(id)
            case "kill":
                return await control.kill(id)
            case "pause":
                return await control.pause(id)
            case "purge":
                return await control.purge(id)
            case "move":
                function = world.plan.functions[world.plan.nodes[act.node].target.service]
                return await control.resume(id, deployment=world.functions.current(function))
            case "restart":
                self.copied.setdefault(id, world.loop.time())
                try:
                    restarted = await control.restart(id, idempotency_key=f"a{number}", first=act.first)
                except TerminalError as error:
                    if not act.first:
                        raise
                    return f"{error}"
                if restarted is not None:
                    earlier = self.restarts.setdefault((act.node, number, id), restarted.id)
                    if earlier != restarted.id:
                        world.violation(f"{id} was restarted as {earlier}, and asked for again as {restarted.id}")
                return str(restarted)
            case _:
                raise AssertionError(act)

    def on_paused(self, id: str) -> None:
        """Somebody looks after what is paused, in time."""
        world = self._world
        most = 3.0 if "prompt" in world.reach else 1200.0 if "left-paused" in world.reach else 60.0
        world.waits.mishap(most + RECOVERY)
        wait = world.random.uniform(min(1, most - 3), most)
        world.loop.call_later(wait, lambda: world.loop.create_task(self._resume(id)))

    async def _resume(self, id: str) -> None:
        self._world.note(None, "operator resumes", id)
        self.acted.setdefault("resume", set()).add(id)
        await self._world.clients.insist(partial(_resume, id=id))

    def reports(self, service: str) -> bool:
        """Whether deadlocks of a service's calls are left to an operator."""
        world = self._world
        reported = "reported" in world.reach and world.plan.tangled
        return reported and Random(f"{world.seed}/reports/{service}").random() < 0.6

    def on_deadlock(self, id: str) -> None:
        """A deadlock is reported. Somebody ends one of its calls, in time."""
        world = self._world
        world.waits.mishap(60.0 + RECOVERY)
        world.loop.call_later(world.random.uniform(1, 60), lambda: world.loop.create_task(self._end_deadlocked(id)))

    async def _end_deadlocked(self, id: str) -> None:
        world = self._world
        what = world.random.choice(("cancel", "kill"))
        world.note(None, "operator ends a deadlock", what, id)
        self.acted.setdefault(what, set()).add(id)
        await world.clients.insist(
            lambda engine: engine.control.cancel(id) if what == "cancel" else engine.control.kill(id)
        )


def _resume(engine: Engine, id: str) -> Coroutine[Any, Any, str]:
    return engine.control.resume(id)
