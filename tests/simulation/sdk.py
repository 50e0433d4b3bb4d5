"""An endpoint of Restate's SDK in the simulator's processes: the exchanges with it, and what goes wrong with them.

The endpoint is the SDK's own state machine, without its server: what it is sent and what it answers are bytes. A player
(`adapter.restate.player`) plays its handlers. An exchange fails, is answered late, or its answer is lost; the handler
reports an error in the middle, and perhaps asks for a pause.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json
from restate import _internal as core

from adapter.engine import commands as c
from adapter.engine.records import Ref
from adapter.engine.types import RetryPolicy
from adapter.errors import TerminalError
from adapter.forwarding import IssuerProxy
from adapter.restate import answers
from adapter.restate import messages as m
from adapter.restate.answers import EndpointError
from adapter.restate.conversation import Stream
from adapter.restate.player import Player
from adapter.restate.wire import Frame, read_frames, write_frame
from tests.simulation.program import Hiccup
from tests.simulation.sdk_program import Over, SdkProgram
from tests.simulation.watch import EPOCH

if TYPE_CHECKING:
    from adapter.engine.commands import Issuer
    from tests.simulation.world import Process, World

SLEEP, SEND = m.TYPE_OF[m.Sleep], m.TYPE_OF[m.OneWayCall]


class Endpoint:
    """The handlers of one process that are written with the SDK."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.world = process.world

    def handler(self, service: str, name: str, *, lazy: bool) -> Callable[[Issuer, bytes], Awaitable[bytes]]:
        """Return a handler's code for the engine."""

        async def execute(issuer: Issuer, data: bytes) -> bytes:
            program = SdkProgram(self.process, issuer, data)
            self.world.entered(program)
            watched = _Watched(issuer, program)
            return await Player(_Way(self.process, watched), service, name, lazy=lazy).play(watched, data)

        return execute


class _Way:
    """The way to the endpoint, for one attempt."""

    name = "the endpoint"
    duplex = silent = False

    def __init__(self, process: Process, watched: _Watched) -> None:
        self.process = process
        self.world = process.world
        self.version = process.world.protocol
        self.watched = watched

    async def open(self, service: str, handler: str) -> Stream:
        raise AssertionError("the endpoint takes no streams")

    async def exchange(self, service: str, handler: str, body: bytes) -> bytes:
        """Send a journal to the endpoint, if nothing goes wrong, and return the answer."""
        process, world, watched, ref = self.process, self.world, self.watched, self.watched.ref
        if (service, handler) != (watched.target.service, watched.target.handler):
            world.violation(f"{watched.id} of {watched.target} asks {service}/{handler}")
        exchange = Exchange(process, watched, body)
        world.check_journal(ref, watched.n, exchange.journal)
        faults = world.exchanges
        world.note(process, "asks the endpoint", ref.id, f"command {watched.n}")
        await process.mishap("before an exchange")
        with world.exchange(ref):
            await self._takes(ref)
            if world.endpoint_fails(faults.refused):
                raise self._fails(ref, "the endpoint is not there")
            answer = await exchange.answer(breaks=world.endpoint_fails(faults.error), pauses=faults.pause)
            world.note(process, "is answered", ref.id, *(f"{frame.type:#06x}" for frame in read_frames(answer)))
            await self._takes(ref)
        await process.mishap("after an exchange")
        if world.endpoint_fails(faults.unheard):
            raise self._fails(ref, "the endpoint's answer is lost")
        if exchange.put_off is not None:
            world.put_off[ref] = world.loop.time() + exchange.put_off, exchange.pauses
        return answer

    async def _takes(self, ref: Ref) -> None:
        """Let a message to the endpoint, or from it, take its time."""
        seconds = self.world.latency()
        if self.world.endpoint_fails(self.world.exchanges.slow):
            seconds += self.world.random.choice((0.5, 4.0, 20.0, 70.0))
        self.world.waits.works(ref, seconds)
        await self.process.work(seconds)

    def _fails(self, ref: Ref, why: str) -> EndpointError:
        self.world.waits.fails(ref)
        return EndpointError(why)


class _Watched(IssuerProxy):
    """An attempt at such a handler: what its player issues is looked at."""

    def __init__(self, issuer: Issuer, program: SdkProgram) -> None:
        super().__init__(issuer)
        self.program = program
        self.n = -1
        """The number of the command that is the exchange under way."""

    def issue(self, command: Any, decode: Callable[[bytes | None], Any]) -> Any:
        program, world = self.program, self.program.world
        if isinstance(command, c.Run):
            return self._exchange(command, decode)
        pending = super().issue(command, decode)
        if isinstance(command, c.Call | c.Send):
            node = from_json(command.input)["n"]
            if world.made.setdefault((program.ref, node), pending.id) != pending.id:
                world.violation(f"{self.id} invokes node {node} as {pending.id}, and did before as another")
            world.waits.issues(pending.id)
        return pending

    def _exchange(self, command: c.Run, decode: Callable[[bytes | None], Any]) -> Any:
        world, meta = self.program.world, self.program.attempt.meta
        closure, issued = command.closure, list[Any]()

        async def watched() -> bytes:
            self.n = issued[0].n
            if not self.program.process.frozen:
                world.store.check_step(meta, self.n)
            try:
                return await closure()
            except asyncio.CancelledError:
                world.step_is_cut(self.program, self.n)
                raise

        run = c.Run(command.name, watched, command.retry, command.context, kind=command.kind, state=command.state)
        issued.append(super().issue(run, decode))
        return issued[0]


class Exchange:
    """The endpoint's side of one exchange."""

    def __init__(self, process: Process, watched: _Watched, body: bytes) -> None:
        self.process = process
        self.world = process.world
        self.watched = watched
        self.body = body
        first, *known = read_frames(body)
        start = m.Start.decode(first.payload)
        self.seed = start.random_seed or 0
        self.journal = b"".join(map(write_frame, known))
        self.known_sleeps = sum(frame.type == SLEEP for frame in known)
        self.delays: list[int] = []
        """Of the sleeps and the delayed messages, in order, in milliseconds."""
        self.steps: dict[int, tuple[Callable[[], Awaitable[bytes]], RetryPolicy | None]] = {}
        """The steps that are to run, by their handles."""
        self.awakeables: dict[int, str] = {}
        """The ids of awakeables, by their handles."""
        self._running: set[asyncio.Task[None]] = set()
        self._failed = False
        """Whether an error was reported, after which nothing more is taken."""
        self.put_off: float | None = None
        """For how many seconds its error asks to wait."""
        self.pauses = False
        """Whether its error asks for a pause."""
        self._known = sum(m.is_command(frame.type) for frame in known)
        self._issued = 1  # the input
        self._breaks_at = -1
        """The command in whose place the handler reports an error."""
        self._pauses = 0.0
        self._resumed = 0
        """How often it has got what it waited for."""
        kind = f"application/vnd.restate.invocation.v{self.world.protocol}"
        self.vm = core.PyVM([("content-type", kind)], True, False)
        if start.known_entries != len(known):
            self._violation(f"the journal has {len(known)} entries, and says {start.known_entries}")
        self._check_results(known)

    async def answer(self, breaks: bool, pauses: float) -> bytes:
        """Run the handler as far as it goes, and return what the endpoint answers.

        Args:
            breaks: Whether the handler is to report an error in the middle.
            pauses: How likely that asks for a pause.
        """
        self._pauses = pauses
        if breaks:
            self._breaks_at = self._known + self.world.random.choice((0, 1, 1, 2, 3, 5))
        vm = self.vm
        with self.checked():
            vm.notify_input(self.body)
            vm.notify_input_closed()
            if not vm.is_ready_to_execute():
                self._violation("the journal is not whole")
            input = vm.sys_input()
        if input.invocation_id != self.watched.id:
            self._violation(f"the endpoint is told the id {input.invocation_id}")
        program = SdkProgram(self.process, self.watched.program.issuer, bytes(input.input), self)
        code = program.run()
        error: BaseException | None = None
        try:
            while True:
                tree = code.send(None) if error is None else code.throw(error)
                error = program.cancelled() if await self._progress(tree) else None
                self._resumed += 1
        except StopIteration as stop:
            with self.checked():
                vm.sys_write_output_success(stop.value)
                vm.sys_end()
        except TerminalError as failed:
            metadata = list(failed.metadata.items()) if self.world.protocol > 5 else None
            with self.checked():
                vm.sys_write_output_failure(core.PyFailure(failed.code, failed.message, None, metadata))
                vm.sys_end()
        except Hiccup as hiccup:
            vm.notify_error(repr(hiccup), "", None)
        except Over:
            pass
        finally:
            code.close()
            for task in self._running:
                task.cancel()
        return self._written(program)

    async def _progress(self, tree: Any) -> bool:
        """Wait until a tree has its result. Return True if a cancellation came instead.

        Raises:
            Over: If it has none in this exchange.
        """
        while True:
            with self.checked():
                progress = self.vm.do_progress(tree)
            match progress:
                case core.PyDoProgressAnyCompleted():
                    return False
                case core.PyDoProgressCancelSignalReceived():
                    return True
                case core.PyDoProgressExecuteRun(handle=handle):
                    self._running.add(self.world.loop.create_task(self._step(handle)))
                case core.PyDoProgressWaitExternalProgress():
                    done, self._running = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                case _:
                    raise Over

    async def _step(self, handle: int) -> None:
        """Run a step, and tell its result."""
        closure, retry = self.steps.pop(handle)
        began = self.world.loop.time()
        try:
            result = await closure()
        except TerminalError as error:
            with self.checked():
                self.vm.propose_run_completion_failure(handle, core.PyFailure(error.code, error.message))
        except Hiccup as error:
            took = round((self.world.loop.time() - began) * 1000)
            failure = core.PyFailure(500, repr(error))
            try:
                self.vm.propose_run_completion_failure_transient(handle, failure, took, _policy(retry))
            except core.VMException:  # it is to be tried again
                self._failed = True
                raise Over from error
        else:
            with self.checked():
                self.vm.propose_run_completion_success(handle, result)

    def take(self, handle: int) -> Any:
        """Return a result that is there."""
        with self.checked():
            found = self.vm.take_notification(handle)
        if isinstance(found, core.PySuspended):
            raise Over
        if found is None:
            self._violation(f"the result {handle} is not there")
        if isinstance(found, core.PyStateKeys):
            return found.keys
        return None if isinstance(found, core.PyVoid) else found

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Take what the state machine refuses for a fault of the player's, unless an error was reported before.

        Raises:
            Over: If there is no more to be done.
        """
        try:
            yield
        except core.VMException as error:
            if not self._failed:
                self._violation(f"the SDK refuses its journal: {error}")
            raise Over from error

    def issues(self) -> None:
        """The handler is about to issue a command, and perhaps reports an error.

        Raises:
            Over: If it does.
        """
        self._issued += 1
        if self._issued != self._breaks_at:
            return
        world = self.world
        delay = world.random.choice((None, 0, 10, 1000, 5000))
        self.put_off = (delay or 0) / 1000
        self.pauses = world.protocol >= 7 and world.random.random() < self._pauses
        world.waits.fails(self.watched.ref)
        world.waits.works(self.watched.ref, (delay or 0) / 1000)
        if self.pauses:
            world.acted.setdefault("pause", set()).add(self.watched.id)
        self._failed = True
        self.vm.notify_error("the handler breaks", "", delay)
        raise Over

    def _written(self, program: SdkProgram) -> bytes:
        """Return what the state machine has written, by the simulation's clock."""
        written = bytearray()
        while piece := self.vm.take_output():
            written += piece
        frames = read_frames(bytes(written))
        now = EPOCH + round(self.world.loop.time() * 1000)
        timed = [place for place, frame in enumerate(frames) if _is_timed(frame)]
        for place, delay in zip(reversed(timed), reversed(self.delays), strict=False):
            frames[place] = _at(frames[place], now + delay)
        if self.pauses and frames[-1].type == m.ERROR:
            error = m.Error.decode(frames[-1].payload)
            error.behavior = m.PAUSE
            frames[-1] = Frame(m.ERROR, error.encode())
        new = any(frame.type != m.SUSPENSION for frame in frames)
        self.world.rests(self.watched.ref, self.watched.n, None if new else self._resumed)
        return b"".join(map(write_frame, frames))

    def _check_results(self, known: list[Frame]) -> None:
        """No result comes twice."""
        seen: set[Any] = set()
        for frame in known:
            if m.is_command(frame.type):
                continue
            note = m.Notification.decode(frame.payload)
            index = note.signal_index or 0
            of = note.completion_id or (f"signal {index}" if index >= m.FIRST_AWAKEABLE else None)
            if of is not None and of in seen:
                self._violation(f"the result of {of} comes twice")
            seen.add(of)

    def _violation(self, what: str) -> None:
        self.world.violation(f"{self.watched.id}: {what}, in the exchange that is command {self.watched.n}")
        raise Over


def _policy(retry: RetryPolicy | None) -> Any:
    if retry is None:
        return core.PyExponentialRetryConfig(None, None, None, None, None)
    initial, most = _milliseconds(retry.initial), _milliseconds(retry.duration)
    return core.PyExponentialRetryConfig(initial, retry.attempts, most, None, None)


def _milliseconds(time: timedelta | None) -> int | None:
    return None if time is None else round(time.total_seconds() * 1000)


def _is_timed(frame: Frame) -> bool:
    return frame.type == SLEEP or (frame.type == SEND and bool(m.OneWayCall.decode(frame.payload).invoke_time))


def _at(frame: Frame, time: int) -> Frame:
    """A sleep or a delayed message with another time. The state machine has it from the machine's clock."""
    message: Any = m.read_command(frame)
    setattr(message, "wake_up_time" if frame.type == SLEEP else "invoke_time", time)
    return Frame(frame.type, message.encode(), frame.flags)


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
