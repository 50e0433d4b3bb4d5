"""The world around the engine: a network, a store, clients. It decides what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any, TypeVar, cast

from pydantic_core import from_json

from adapter.codec import Coder
from adapter.engine import lifetimes
from adapter.engine.engine import Engine
from adapter.engine.records import Meta, Record, Status
from adapter.engine.types import ENCODED
from tests.simulation import further
from tests.simulation.clients import Clients
from tests.simulation.edits import Edits
from tests.simulation.endpoints import Endpoints
from tests.simulation.faults import CALM, Exchanges, Faults
from tests.simulation.functions import Functions
from tests.simulation.loop import SimLoop
from tests.simulation.network import Network
from tests.simulation.operators import Operators
from tests.simulation.outsiders import Outsiders
from tests.simulation.plan import Plan
from tests.simulation.process import Process
from tests.simulation.runs import Runs
from tests.simulation.waits import RECOVERY, Waits
from tests.simulation.watch import EPOCH, WatchedStore

T = TypeVar("T")

LATE = 170_000
"""Milliseconds for which a record stays at least after its completion: requests from before that may be so late."""

SWEEP = 60.0
"""Seconds between two sweeps."""


@dataclass(slots=True)
class World:
    """One simulation.

    Attributes:
        plan: What is to happen.
        faults: What goes wrong meanwhile.
        seed: What everything that is drawn follows from.
        engine: A class of engines, in place of the real one.
    """

    plan: Plan
    faults: Faults
    seed: str
    engine: type[Engine] | None = None
    retention: float = 86_400.0
    """Seconds that a completed invocation stays readable; longer than any process stands still or request is late."""
    lambdas: float = 0.5
    """The share of processes that handle one event at a time and have a deadline."""
    history: list[tuple[Any, ...]] | None = None
    """What happened, if that is to be kept."""
    store_class: type[WatchedStore] = WatchedStore
    reach: frozenset[str] = frozenset()
    """Which switches are on (see `reach.SHARES`)."""
    exchanges: Exchanges = field(default_factory=Exchanges)
    """What goes wrong with the exchanges with an SDK's endpoint."""
    random: Random = field(init=False)
    violations: list[str] = field(default_factory=list, init=False)
    poll: int = field(init=False)
    """Milliseconds after which a client's request first looks at the store."""
    always_replay: bool = field(init=False)
    lazy_state: bool = field(init=False)
    batch: int = field(init=False)
    """How many messages a process is sent at a time."""
    inactivity: timedelta | None = field(default=None, init=False)
    calm: bool = field(default=False, init=False)
    disagreement: float = field(default=0.0, init=False)
    """Seconds that the clocks of two processes differ by at most."""
    waits: Waits = field(init=False)
    edits: Edits = field(init=False)
    """The operator's edits of state."""
    encodes: bool = field(init=False)
    """Whether a codec encodes the values of handlers and clients."""
    coder: Coder = field(init=False)
    jitter: float = field(init=False)
    """Seconds that an ordinary request takes at most, before there is peace."""
    conflict: float = field(init=False)
    """Seconds that a transaction takes at most, in peace too."""
    faulty: bool = field(default=False, init=False)
    """Whether anything was to go wrong."""
    swept: bool = field(default=False, init=False)
    """Whether everything that has expired was deleted."""
    pending: int = field(default=0, init=False)
    """Requests that are under way although nobody waits for them."""
    network: Network = field(init=False)
    functions: Functions = field(init=False)
    clients: Clients = field(init=False)
    outsiders: Outsiders = field(init=False)
    operators: Operators = field(init=False)
    endpoints: Endpoints = field(init=False)
    runs: Runs = field(init=False)
    loop: SimLoop = field(init=False)
    store: WatchedStore = field(init=False)
    over: asyncio.Future[None] = field(init=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.poll = self.random.choice((20, 100, 500))
        self.always_replay = self.random.random() < 0.1
        self.lazy_state = self.random.random() < 0.5
        if not self.plan.alone:  # a suspension costs
            self.inactivity = self.random.choice((None, None, timedelta(milliseconds=50), timedelta(seconds=1)))
        self.batch = Random(f"{self.seed}/batch").choice((1, 2, 3, 25))
        self.encodes = "further" in self.reach and Random(f"{self.seed}/codec").random() < 0.5
        self.coder = Coder(further.Nonces(Random(f"{self.seed}/nonces")) if self.encodes else None)
        self.disagreement = 2 * self.faults.skew
        self.waits = Waits(self)
        self.edits = Edits(self)
        self.runs = Runs(self)
        self.endpoints = Endpoints(self)
        self.operators = Operators(self)
        self.outsiders = Outsiders(self)
        self.clients = Clients(self)
        self.functions = Functions(self)
        self.network = Network(self)
        self.jitter, self.conflict = self.faults.jitter, self.faults.conflict
        self.faulty = any(name not in ("jitter", "skew", "conflict") for name in self.faults.names())
        self.faulty = self.faulty or "registry" in self.reach
        if "outages" in self.reach:
            self.faulty = True
        self.faulty = self.faulty or self.exchanges != Exchanges()
        if "stale" in self.reach:
            self.functions.crowd = 2

    @property
    def expiring(self) -> bool:
        """Whether records may expire while the load lasts."""
        return self.retention < 10_000

    def forgets(self, id: str) -> bool:
        """Whether an invocation's record may be gone while somebody still asks for it."""
        return self.expiring or id in self.operators.acted.get("purge", ())

    # --- the course of a simulation ---

    async def run(self) -> None:
        """The load, then peace, until nothing is left to do."""
        self.loop = cast("SimLoop", asyncio.get_running_loop())
        self.over = self.loop.create_future()
        self.store = self.store_class(self)
        main = asyncio.ensure_future(self._main())
        await asyncio.wait([main, self.over], return_when=asyncio.FIRST_COMPLETED)
        if main.done():
            main.result()
        else:
            main.cancel()

    async def _main(self) -> None:
        clients = [self.loop.create_task(self.clients.client(root, at)) for root in self.plan.roots for at in root.at]
        clients += [self.loop.create_task(self.operators.act(number)) for number in range(len(self.plan.acts))]
        for function, at in self.plan.deploys:
            self.loop.call_later(at, self.functions.deploy, function)
        for begin, _ in self.network.outages:
            # Who is refused nine times in a row gives up, and leaves what it was to do to the next sweep.
            self.loop.call_later(begin, self.waits.mishap, RECOVERY)
        sweeper = self.loop.create_task(self._sweeper())
        self.loop.create_task(self._expiry())
        storm = 1000.0 if self.expiring else self.random.choice((5.0, 60.0, 200.0))
        await asyncio.wait(clients, timeout=3000.0 if "distant" in self.reach else storm)
        if self.random.random() < 0.7:
            await asyncio.sleep(self.random.uniform(0, storm))
        self.note(None, "peace")
        self.faults = CALM
        self.calm = True
        if clients:
            await asyncio.wait(clients)
        sweeper.cancel()
        await self._settle()
        if not self.expiring and self.random.random() < 0.15:
            await asyncio.sleep(self.retention + 10)
            await self._settle(expired=True)
            self.store.expire(self.store._now() + 60 * lifetimes.DAY)
            self.swept = True

    async def _expiry(self) -> None:
        """Deletes items whose time to live has ended, when it comes to it and in no order, as DynamoDB does.

        Where records expire, they go much earlier than in production: a second after they have expired, and not seven
        days. Those stay whose end is still to be told to others, for which some sweep has time in seven days.
        """
        random = Random(f"{self.seed}/expiry")
        while True:
            await asyncio.sleep(random.uniform(0, 1000 if self.calm else 100))
            share = random.choice((0.1, 0.5, 1.0))

            def chosen(_: Record, share: float = share) -> bool:
                return random.random() < share

            if deleted := self.store.expire(self.store._now(), chosen):
                self.note(None, f"time to live ends of {deleted} items")
            if not self.expiring:
                continue
            for meta in list(self.store.metas()):
                untold = meta.waiters and meta.due is not None and meta.due <= self.store._now()
                stays = max(meta.expires or 0, (meta.completed or 0) + LATE)
                ended = meta.expires is not None and stays + 1000 < self.store._now()
                if ended and not untold and random.random() < 0.3:
                    self.note(None, "time to live ends", meta.id)
                    self.store.remove(meta)

    async def _settle(self, expired: bool = False) -> None:
        """Sweep until nothing is left to do but to expire, or not even that."""
        for _ in range(400):
            await asyncio.sleep(5)
            metas = list(self.store.metas())
            dues = [meta.due for meta in metas if meta.due is not None and self._unsettled(meta, expired)]
            if not dues:
                paused = any(meta.status is Status.PAUSED for meta in metas)
                if (
                    paused
                    or self.pending
                    or any(p.paused > self.loop.time() for ps in self.functions.processes.values() for p in ps)
                ):
                    await asyncio.sleep(30)
                    continue
                return
            wait = (min(dues) - EPOCH) / 1000 - self.loop.time()
            await asyncio.sleep(min(max(wait, 0), 7200, lifetimes.RENEWAL / 4000) + 2.5)
            self.sweep()
        self.violation("it does not come to rest")

    def _unsettled(self, meta: Meta, expired: bool) -> bool:
        if meta.id.startswith(("blb_", "gc_")):
            return True
        if meta.input is None and not meta.input_parts:  # a promise; its waiters may have to be told
            return not meta.live and meta.waiters > 0
        settled = meta.due == meta.expires and not meta.waiters and not expired  # nothing is left but to expire
        return meta.status is not Status.PAUSED and (meta.live or not settled)

    async def _sweeper(self) -> None:
        while True:
            await asyncio.sleep(SWEEP * self.random.uniform(0.4, 1.2))
            self.sweep()
            if self.random.random() < 0.2:
                self.sweep()

    def sweep(self) -> None:
        """Have a process of the one function sweep whose schedule does."""
        process = self.functions.pick(min(self.functions.processes))
        self.note(process, "sweeps")
        self.functions.spawn(process, process.event(process.engine.sweeper.sweep()))

    # --- processes ---

    def soon(self, seconds: float, callback: Callable[[], None]) -> None:
        """Have something happen after some seconds."""
        self.pending += 1

        def fire() -> None:
            self.pending -= 1
            callback()

        self.loop.call_later(seconds, fire)

    # --- the network ---

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability

    # --- clients ---

    # --- what programs tell ---

    def node(self, meta: Meta) -> int:
        input = meta.input if meta.input is not None else self.store._payload(meta, "input")
        return int(from_json(self.decoded(input))["n"]) if input else -1

    def decoded(self, data: bytes) -> bytes:
        """Return what a stored value says. With a codec all of them are encoded, but for empty ones."""
        if data and self.encodes and not data.startswith(ENCODED):
            self.violation(f"a value is stored that is not encoded: {data[:200]!r}")
        return self.coder.decode(data)

    # --- handlers of an SDK's ---

    # --- what goes wrong with the engine ---

    def violation(self, what: str) -> None:
        """Something that must not happen did."""
        self.violations.append(what)
        self.note(None, "VIOLATION", what)
        if not self.over.done():
            self.over.set_result(None)

    def crashed(self, error: BaseException, id: str = "") -> None:
        """An exception came out of the engine that should not."""
        frames = []
        trace = error.__traceback__
        while trace is not None:
            frames.append(f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}")
            trace = trace.tb_next
        self.violation(f"{id} {type(error).__name__}: {error} at {' '.join(frames[-4:])}")

    def note(self, process: Process | None, *what: Any) -> None:
        """Keep what happens, if anybody wants to read it."""
        if self.history is not None:
            self.history.append((self.loop.time(), process.name if process else "", *what))
