"""The world around the engine: what is to happen in it, what goes wrong, and all who take part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from pydantic_core import from_json

from adapter.codec import Coder
from adapter.engine.engine import Engine
from adapter.engine.records import Meta
from adapter.engine.types import ENCODED
from tests.simulation import further
from tests.simulation.clients import Clients
from tests.simulation.edits import Edits
from tests.simulation.endpoints import Endpoints
from tests.simulation.faults import Exchanges, Faults
from tests.simulation.functions import Functions
from tests.simulation.loop import SimLoop
from tests.simulation.network import Network
from tests.simulation.operators import Operators
from tests.simulation.outsiders import Outsiders
from tests.simulation.plan import Plan
from tests.simulation.process import Process
from tests.simulation.runs import Runs
from tests.simulation.waits import Waits
from tests.simulation.watch import WatchedStore


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

    # What is drawn for the whole of it.
    poll: int = field(init=False)
    """Milliseconds after which a client's request first looks at the store."""
    always_replay: bool = field(init=False)
    lazy_state: bool = field(init=False)
    batch: int = field(init=False)
    """How many messages a process is sent at a time."""
    inactivity: timedelta | None = field(default=None, init=False)
    encodes: bool = field(init=False)
    """Whether a codec encodes the values of handlers and clients."""
    coder: Coder = field(init=False)
    jitter: float = field(init=False)
    """Seconds that an ordinary request takes at most, before there is peace."""
    conflict: float = field(init=False)
    """Seconds that a transaction takes at most, in peace too."""
    disagreement: float = field(init=False)
    """Seconds that the clocks of two processes differ by at most."""
    faulty: bool = field(init=False)
    """Whether anything was to go wrong."""
    pauses: bool = field(init=False)
    """Whether processes were to stand still."""

    # Who takes part.
    store: WatchedStore = field(init=False)
    network: Network = field(init=False)
    functions: Functions = field(init=False)
    runs: Runs = field(init=False)
    endpoints: Endpoints = field(init=False)
    clients: Clients = field(init=False)
    outsiders: Outsiders = field(init=False)
    operators: Operators = field(init=False)
    edits: Edits = field(init=False)
    """The operator's edits of state."""
    waits: Waits = field(init=False)
    """What takes time."""

    # How it goes.
    loop: SimLoop = field(init=False)
    over: asyncio.Future[None] = field(init=False)
    """Is done when a violation ends it."""
    calm: bool = field(default=False, init=False)
    """Whether there is peace."""
    stops: int = field(default=0, init=False)
    """How often a process has stood still."""
    pending: int = field(default=0, init=False)
    """Requests that are under way although nobody waits for them."""
    swept: bool = field(default=False, init=False)
    """Whether everything that has expired was deleted."""
    violations: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._draw()
        self.jitter, self.conflict = self.faults.jitter, self.faults.conflict
        self.disagreement = 2 * self.faults.skew
        self.pauses = self.faults.pause > 0
        self.faulty = any(name not in ("jitter", "skew", "conflict") for name in self.faults.names())
        self.faulty = self.faulty or bool(self.reach & {"registry", "outages"}) or self.exchanges != Exchanges()
        self.network = Network(self)
        self.functions = Functions(self)
        self.runs = Runs(self)
        self.endpoints = Endpoints(self)
        self.clients = Clients(self)
        self.outsiders = Outsiders(self)
        self.operators = Operators(self)
        self.edits = Edits(self)
        self.waits = Waits(self)

    def _draw(self) -> None:
        self.random = Random(self.seed)
        self.poll = self.random.choice((20, 100, 500))
        self.always_replay = self.random.random() < 0.1
        self.lazy_state = self.random.random() < 0.5
        if not self.plan.alone:  # a suspension costs
            self.inactivity = self.random.choice((None, None, timedelta(milliseconds=50), timedelta(seconds=1)))
        self.batch = Random(f"{self.seed}/batch").choice((1, 2, 3, 25))
        self.encodes = "further" in self.reach and Random(f"{self.seed}/codec").random() < 0.5
        self.coder = Coder(further.Nonces(Random(f"{self.seed}/nonces")) if self.encodes else None)

    @property
    def expiring(self) -> bool:
        """Whether records may expire while the load lasts."""
        return self.retention < 10_000

    def forgets(self, id: str) -> bool:
        """Whether an invocation's record may be gone while somebody still asks for it."""
        return self.expiring or id in self.operators.acted.get("purge", ())

    def chance(self, probability: float) -> bool:
        """Whether something happens that is so likely."""
        return probability > 0 and self.random.random() < probability

    def soon(self, seconds: float, callback: Callable[[], None]) -> None:
        """Have something happen after some seconds."""
        self.pending += 1

        def fire() -> None:
            self.pending -= 1
            callback()

        self.loop.call_later(seconds, fire)

    # --- what is stored ---

    def node(self, meta: Meta) -> int:
        """The program that an invocation runs; -1 if it runs none."""
        parts = self.store.parts(meta, "input")
        if len(parts) != meta.input_parts:
            return -1  # it is being deleted
        input = meta.input if meta.input is not None else b"".join(part.data for part in parts)
        return int(from_json(self.decoded(input))["n"]) if input else -1

    def decoded(self, data: bytes) -> bytes:
        """Return what a stored value says. With a codec all of them are encoded, but for empty ones."""
        if data and self.encodes and not data.startswith(ENCODED):
            self.violation(f"a value is stored that is not encoded: {data[:200]!r}")
        return self.coder.decode(data)

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
