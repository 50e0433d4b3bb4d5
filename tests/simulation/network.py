"""The network between processes, the store and each other: what is slow, lost, late, or comes twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any
from zlib import crc32

from adapter.engine.ports import Change, Conflict, Contended, Create, TooLarge, Unavailable
from adapter.engine.records import Ref
from adapter.engine.transitions import SOON
from tests.simulation.process import READS
from tests.simulation.storms import DELAYS, WAITS
from tests.simulation.waits import RECOVERY, REFUSED

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

PARTIAL = ("load", "peek", "read_notifications")
"""Requests to one invocation's partition that DynamoDB throttles alone."""


def _exists(changes: Sequence[Change], error: Conflict | Contended) -> bool:
    """Whether a request was refused because the same request was stored before: nobody competes with it."""
    return isinstance(error, Conflict) and isinstance(changes[0], Create) and 0 in error.found


def _puts_a_call(changes: Sequence[Change]) -> bool:
    """Whether a commit puts the record of a call apart from its caller's commit."""
    return len(changes) == 1 and isinstance(changes[0], Create) and changes[0].meta.due is None


class Network:
    """The network of a simulation."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.timers: set[tuple[Ref, str]] = set()
        """Those that are under way, by the invocation and their name."""
        self.writer: Process | None = None
        """Whose request is being carried out."""
        self.asked_for: Counter[str] = Counter()
        """How often the store was asked for what."""
        self._creating: dict[str, tuple[Process, frozenset[Ref]]] = {}
        """What each commit creates whose outcome its process does not know yet, by the commit's id."""
        self.outages: list[tuple[float, float]] = []
        """When the store serves nobody."""
        self._partly = Random(f"{world.seed}/partly")
        self.partial = Random(f"{world.seed}/partial").random() < 0.5
        """Whether it then serves all but some invocations' partitions."""
        if "outages" in world.reach:
            random = Random(f"{world.seed}/outages")
            for _ in range(random.choice((1, 2, 4))):
                begin = random.uniform(0, random.choice((2, 10, 60)))
                self.outages.append((begin, begin + random.choice((2, 8, 15, 40))))

    async def request(self, process: Process, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """One request to the store, which may go wrong."""
        process.begins_request()
        if name == "commit" and (created := {each.meta.ref for each in args[0] if isinstance(each, Create)}):
            self._creating[args[1]] = process, frozenset(created)
        certain = True
        try:
            return await self._request(process, name, args, kwargs)
        except Unavailable:
            certain = False
            raise
        finally:
            process.ends_request()
            if name == "commit" and certain:
                self._creating.pop(args[1], None)

    def is_creating(self, ref: Ref) -> bool:
        """Return True if a process may send again what creates an invocation. It may stand still again and again
        meanwhile."""
        return any(ref in refs and not process.dead for process, refs in self._creating.values())

    async def _request(self, process: Process, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        world = self._world
        self.asked_for[name] += 1
        faults = world.faults
        dangerous = faults.kill > 0 or faults.pause > 0
        if dangerous or process.frozen:
            await process.mishap("before", name)
        if faults.apart and name == "commit" and _puts_a_call(args[0]):
            await process.mishap_apart()
        await world.loop.pause(self.latency())
        fate = ""
        if self.is_out(name, args) or world.chance(faults.refused):
            fate = "refused"
        elif world.chance(faults.unheard):
            fate = "unheard"
        elif name not in READS and world.chance(faults.delayed):
            fate = "delayed"
        if fate:
            world.waits.mishap(REFUSED)
            if name == "count_notifications":
                world.store.recounted.add(args[0])
        if fate in ("refused", "delayed"):
            world.note(process, name, args, kwargs, fate)
            if fate == "delayed":
                wait = world.random.choice(DELAYS if "tardy" in world.reach else (0.01, 0.5, 3.0))
                world.soon(wait, lambda: self._arrives_late(process, name, args, kwargs))
            await world.loop.pause(self.latency())
            await process.mishap("after", name)
            collides = name == "commit" and len(args[0]) > 1 and fate == "refused" and world.random.random() < 0.5
            raise (Contended if collides else Unavailable)(fate)
        error: Exception | None = None
        result = None
        try:
            self.writer = process
            result = await getattr(world.store, name)(*args, **kwargs)
        except (Conflict, TooLarge, Unavailable) as raised:
            error = self._seen(raised)
        world.note(process, name, args, kwargs, fate, error or result)
        if name == "commit":
            world.waits.tells(process.name, args[0], refused=isinstance(error, Unavailable))
        if name == "commit" and "rush" in world.reach and isinstance(error, Conflict) and fate != "unheard":
            world.waits.misses(args[0], error)
        if name == "commit" and "starvation" in world.reach:
            if error is None:
                world.waits.wins(process.name, args[0])
            elif isinstance(error, Conflict | Contended) and not _exists(args[0], error):
                world.waits.loses(process.name, args[0])
        if name == "peek" and args[0] in process.engine.process.active and world.chance(faults.lagging):
            world.waits.mishap(4.0)
            await world.loop.pause(4.0)
        if back := self.latency():
            await world.loop.pause(back)
        if dangerous or process.frozen:
            await process.mishap("after", name)
        if fate == "unheard":
            raise Unavailable(fate)
        if error is not None:
            raise error
        return result

    def _seen(self, error: Exception) -> Exception:
        """What DynamoDB says of what was refused. It does not name what another transaction is still on."""
        if not isinstance(error, Conflict) or len(error.found) < 2 or "partly" not in self._world.reach:
            return error
        seen = {place: found for place, found in error.found.items() if self._partly.random() < 0.5}
        return Conflict(seen) if seen else error

    def _arrives_late(self, process: Process, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        world = self._world

        async def apply() -> None:
            try:
                self.writer = process
                result: Any = await getattr(world.store, name)(*args, **kwargs)
            except (Conflict, TooLarge, Unavailable) as error:
                result = error
            world.note(process, name, args, kwargs, "arrives late", result)
            # Perhaps it is the count that was enough, or the record of what nobody has dispatched.
            if name == "count_notifications" or "tardy" in world.reach:
                world.waits.mishap(RECOVERY)

        world.loop.create_task(apply())

    def is_out(self, name: str, args: tuple[Any, ...]) -> bool:
        """Return True if the store does not serve a request now."""
        out = not self._world.calm and any(begin <= self._world.loop.time() < end for begin, end in self.outages)
        if not out or not self.partial:
            return out
        return name in PARTIAL and crc32(str(getattr(args[0], "id", args[0])).encode()) % 3 == 0

    def latency(self) -> float:
        """Seconds that a message takes."""
        world = self._world
        faults = world.faults
        if world.chance(faults.slow):
            seconds = world.random.choice((0.1, 1.0, 4.0))
            world.waits.mishap(seconds)
            return seconds
        return world.random.random() * faults.jitter if faults.jitter else 0.0

    def deliveries(self, timer: float | None = None, *, fresh: bool = False, suspended: bool = False) -> list[float]:
        """After how many seconds a message arrives, for each copy of it.

        Args:
            timer: That of a timer arrives so many seconds later.
            fresh: Whether it is the first for an invocation.
            suspended: Whether it is for one that has its result, and is otherwise left to a check that is due soon.
        """
        world = self._world
        faults, due = world.faults, max(0.0, timer or 0.0)
        if world.chance(faults.lost):
            cost = RECOVERY + SOON / 1000 if suspended else RECOVERY
            world.loop.call_later(due, world.waits.mishap, cost)
            return []
        waits = []
        copies = 2 if world.chance(faults.doubled) else 1
        if copies > 1 and "belated" in world.reach:
            copies = 1
            waits.append(world.random.choice(WAITS))
        for _ in range(3 if fresh and world.chance(faults.anew) else copies):
            if world.chance(faults.late):
                waits.append(world.random.choice((0.2, 3.0, 15.0, 60.0)))
                world.loop.call_later(due, world.waits.mishap, waits[-1])
            elif timer is not None and world.chance(faults.early):
                waits.append(-world.random.choice((0.3, 1.0)))
            else:
                waits.append(self.latency())
        return waits
