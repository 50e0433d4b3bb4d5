"""An endpoint of Restate's SDK in the simulator's processes: the exchanges with it, and what goes wrong with them.

The endpoint is the SDK's own state machine, without its server: what it is sent and what it answers are bytes. A player
(`adapter.restate.player`) plays its handlers. An exchange fails, is answered late, or its answer is lost; the handler
reports an error in the middle, and perhaps asks for a pause.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from adapter.engine import commands as c
from adapter.forwarding import IssuerProxy
from adapter.restate import answers
from adapter.restate import messages as m
from adapter.restate.answers import EndpointError
from adapter.restate.conversation import Stream
from adapter.restate.player import Player
from adapter.restate.wire import read_frames
from tests.simulation.clock import EPOCH
from tests.simulation.sdk_machine import Machine
from tests.simulation.sdk_program import SdkProgram

if TYPE_CHECKING:
    from adapter.engine.commands import Issuer
    from tests.simulation.process import Process
    from tests.simulation.world import World


class Endpoint:
    """The handlers of one process that are written with the SDK."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.world = process.world

    def handler(self, service: str, name: str, *, lazy: bool) -> Callable[[Issuer, bytes], Awaitable[bytes]]:
        """Return a handler's code for the engine."""

        async def execute(issuer: Issuer, data: bytes) -> bytes:
            program = SdkProgram(self.process, issuer, data)
            self.world.runs.entered(program)
            watched = Watched(issuer, program)
            return await Player(_Way(self.process, watched), service, name, lazy=lazy).play(watched, data)

        return execute


class _Way:
    """The way to the endpoint, for one attempt."""

    name = "the endpoint"

    def __init__(self, process: Process, watched: Watched) -> None:
        self.process = process
        self.world = process.world
        self.version = process.world.endpoints.protocol
        self.duplex = process.world.endpoints.streams != ""
        self.silent = process.world.endpoints.streams == "silent"
        self.watched = watched

    async def exchange(self, service: str, handler: str, body: bytes) -> bytes:
        """Send a journal to the endpoint, if nothing goes wrong, and return the answer."""
        self.check(service, handler)
        world, watched, ref = self.world, self.watched, self.watched.ref
        machine = Machine(watched, body, eager=True)
        world.endpoints.check_journal(ref, watched.n, machine.journal)
        await self.sends(machine)
        machine.close()
        await machine.run()
        frames = read_frames(bytes(machine.written))
        world.note(self.process, "is answered", ref.id, *(f"{frame.type:#06x}" for frame in frames))
        new = any(frame.type != m.SUSPENSION for frame in frames)
        world.endpoints.rests(ref, watched.n, None if new else machine.resumed)
        if await self.loses():
            raise EndpointError("the endpoint's answer is lost")
        self.put_off(machine)
        return bytes(machine.written)

    async def open(self, service: str, handler: str) -> Stream:
        self.check(service, handler)
        return _Stream(self)

    def check(self, service: str, handler: str) -> None:
        """It is the handler of the invocation that is asked."""
        if (service, handler) != (self.watched.target.service, self.watched.target.handler):
            self.world.violation(f"{self.watched.id} of {self.watched.target} asks {service}/{handler}")

    async def sends(self, machine: Machine) -> None:
        """Something is on its way to the endpoint.

        Raises:
            EndpointError: If it does not get there.
        """
        world = self.world
        world.note(self.process, "asks the endpoint", self.watched.id, f"command {self.watched.n}")
        await self.process.mishap("before an exchange")
        await self._takes()
        if world.endpoints.fails(world.exchanges.refused):
            self.fails()
            raise EndpointError("the endpoint is not there")
        if world.endpoints.fails(world.exchanges.error):
            machine.breaks()

    async def loses(self) -> bool:
        """Something is on its way back. Return True if it gets lost."""
        await self._takes()
        await self.process.mishap("after an exchange")
        if not self.world.endpoints.fails(self.world.exchanges.unheard):
            return False
        self.fails()
        return True

    def fails(self) -> None:
        """Something goes wrong with the exchange."""
        self.watched.excused = True
        self.world.waits.fails(self.watched.ref)

    def put_off(self, machine: Machine) -> None:
        """An answer is here, which may ask to wait."""
        if machine.put_off is not None:
            self.world.endpoints.put_off[self.watched.ref] = self.world.loop.time() + machine.put_off, machine.pauses

    async def _takes(self) -> None:
        """Let a message to the endpoint, or from it, take its time."""
        seconds = self.world.network.latency()
        if self.world.endpoints.fails(self.world.exchanges.slow):
            seconds += self.world.random.choice((0.5, 4.0, 20.0, 70.0))
        self.world.waits.works(self.watched.ref, seconds)
        await self.process.work(seconds)


class _Stream(Stream):
    """A stream in both directions."""

    status = 200
    quiet = 0.01
    silence = 120.0

    def __init__(self, way: _Way) -> None:
        self._way = way
        self._machine: Machine | None = None
        self._task: asyncio.Task[None] | None = None
        self._here = bytearray()
        """What has come."""
        self._broken = False

    @property
    def ended(self) -> bool:
        task, machine = self._task, self._machine
        return self._broken or (task is not None and task.done() and machine is not None and not machine.written)

    @property
    def size(self) -> int:
        return len(self._here)

    async def write(self, data: bytes) -> None:
        way = self._way
        if self._machine is None:
            self._machine = Machine(way.watched, data, eager=not way.silent)
            way.world.endpoints.check_journal(way.watched.ref, way.watched.n, self._machine.journal)
            await way.sends(self._machine)
            self._task = way.world.loop.create_task(self._machine.run())
        else:
            await way.sends(self._machine)
            self._machine.tell(data)

    def end(self) -> None:
        if self._machine is not None:
            self._machine.close()

    async def heard(self, seconds: float) -> bool:
        assert self._machine is not None
        assert self._task is not None
        machine, task, process = self._machine, self._task, self._way.process
        if self._here or self.ended:
            return True
        began = self._way.world.loop.time()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (machine.written or task.done()):
                    machine.news.clear()
                    await machine.news.wait()
        await process.gate()
        if not machine.written and not task.done():
            return process.paused > began and await self.heard(seconds)  # the endpoint stood still as well
        if not machine.written:
            return True
        if await self._way.loses():
            self._break()
            return True
        self._here += machine.written
        machine.written.clear()
        if task.done() and not task.cancelled():
            task.result()
            self._way.put_off(machine)
        return True

    def take(self) -> bytes:
        if self._broken:
            raise EndpointError("the stream is broken")
        here, self._here = bytes(self._here), bytearray()
        self._way.world.note(
            self._way.process,
            "is answered",
            self._way.watched.id,
            *(f"{frame.type:#06x}" for frame in read_frames(here)),
        )
        return here

    def leave(self) -> None:
        self._break()

    def abort(self) -> None:
        self._break()

    def _break(self) -> None:
        self._broken = True
        if self._task is not None:
            self._task.cancel()


class Watched(IssuerProxy):
    """An attempt at such a handler: what its player issues is looked at."""

    def __init__(self, issuer: Issuer, program: SdkProgram) -> None:
        super().__init__(issuer)
        self.program = program
        self.n = -1
        """The number of the command that is the exchange under way."""
        self.excused = False
        """Whether something went wrong with it."""

    def issue(self, command: Any, decode: Callable[[bytes | None], Any]) -> Any:
        program, world = self.program, self.program.world
        if isinstance(command, c.Run):
            return self._exchange(command, decode)
        pending = super().issue(command, decode)
        if isinstance(command, c.Call | c.Send):
            node = from_json(command.input)["n"]
            world.endpoints.made.setdefault((program.ref, node), set()).add(pending.id)
            world.waits.issues(pending.id)
        return pending

    def _exchange(self, command: c.Run, decode: Callable[[bytes | None], Any]) -> Any:
        world, meta = self.program.world, self.program.attempt.meta
        closure, issued = command.closure, list[Any]()

        async def watched() -> bytes:
            self.n = issued[0].n
            if not self.program.process.frozen:
                world.runs.check_step(meta, self.n)
            try:
                with world.endpoints.exchange(meta.ref):
                    return await closure()
            except EndpointError as error:
                if not self.excused:
                    world.violation(f"an exchange of {self.id} fails, nothing having gone wrong: {error}")
                self.excused = False
                raise
            except asyncio.CancelledError:
                world.runs.step_is_cut(self.program, self.n)
                raise

        run = c.Run(command.name, watched, command.retry, command.context, kind=command.kind, state=command.state)
        issued.append(super().issue(run, decode))
        return issued[0]


def recorded_twice(stored: list[bytes]) -> list[int]:
    """Return the numbers of the steps whose results are in more than one of an invocation's stored answers."""
    count = Counter(run.completion_id or 0 for each in stored for run in answers.read_answer(each, stamped=True).runs)
    return [n for n, times in count.items() if times > 1]


class _Clock:
    def __init__(self, world: World) -> None:
        self._world = world

    def time(self) -> float:
        return EPOCH / 1000 + self._world.loop.time()


@contextmanager
def timed(world: World) -> Iterator[None]:
    """Have answers stamped with the simulation's time."""
    before = vars(answers)["time"]
    vars(answers)["time"] = _Clock(world)
    try:
        yield
    finally:
        vars(answers)["time"] = before
