"""A handler of Restate's SDK that runs: the SDK's state machine, and the program that it drives.

The state machine is sans-IO. It is told a journal and results as bytes, and what it writes is the answer. Without a
stream it is told everything at the beginning.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from restate import _internal as core

from adapter.engine.types import RetryPolicy
from adapter.errors import TerminalError
from adapter.restate import messages as m
from adapter.restate.awaiting import uncancelled
from adapter.restate.wire import Frame, FrameReader, read_frames, write_frame
from tests.simulation.clock import EPOCH
from tests.simulation.sdk_program import Over, SdkProgram
from tests.simulation.values import Hiccup

if TYPE_CHECKING:
    from tests.simulation.sdk import Watched

SLEEP, SEND, RUN = m.TYPE_OF[m.Sleep], m.TYPE_OF[m.OneWayCall], m.result_type(m.Run)


class Machine:
    """The endpoint's side of a request.

    Attributes:
        vm: The state machine.
        seed: What its random numbers follow from.
        journal: What it was told at the beginning, but for what only begins that.
        written: What it has written, and nobody has taken.
        news: Set when there is something to take, or it has ended.
        put_off: For how many seconds its error asks to wait; ``None`` if there is none.
        pauses: Whether its error asks for a pause.
    """

    def __init__(self, watched: Watched, body: bytes, *, eager: bool) -> None:
        """Begin.

        Args:
            watched: The attempt that the handler runs for.
            body: The journal.
            eager: Whether it says at once that it waits, and not only with what comes after.
        """
        self.watched = watched
        self.process = watched.program.process
        self.world = self.process.world
        self.written = bytearray()
        self.news = asyncio.Event()
        self.put_off: float | None = None
        self.pauses = False
        self.delays: list[int] = []
        """Of the sleeps and the delayed messages, in order, in milliseconds."""
        self.steps: dict[int, tuple[Callable[[], Awaitable[bytes]], RetryPolicy | None]] = {}
        """The steps that are to run, by their handles."""
        self.awakeables: dict[int, str] = {}
        """The ids of awakeables, by their handles."""
        self.resumed = 0
        """How often it has got what it waited for."""
        self._eager = eager
        first, *known = read_frames(body)
        start = m.Start.decode(first.payload)
        self.seed = start.random_seed or 0
        self.journal = b"".join(map(write_frame, known))
        self.known_sleeps = sum(frame.type == SLEEP for frame in known)
        self._timed = sum(map(_is_timed, known))
        self._commands = sum(m.is_command(frame.type) for frame in known)
        self._results: set[Any] = set()
        self._told: deque[bytes] = deque([body])
        self._closed = False
        self._wake = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []
        self._combinator: int | None = None
        self._reader = FrameReader()
        self._failed = False
        """Whether an error was reported, after which nothing more is taken."""
        self._issued = 1  # the input
        self._breaks_at = -1
        """The command in whose place the handler reports an error."""
        kind = f"application/vnd.restate.invocation.v{self.world.endpoints.protocol}"
        self.vm = core.PyVM([("content-type", kind)], True, False)
        if start.known_entries != len(known):
            self._violation(f"the journal has {len(known)} entries, and says {start.known_entries}")
        self._check_results(known)

    def tell(self, data: bytes) -> None:
        """Tell it more. It takes that when it waits."""
        self._check_results(read_frames(data))
        self._told.append(data)
        self._wake.set()

    def close(self) -> None:
        """Tell it that nothing more comes."""
        self._closed = True
        self._wake.set()

    def breaks(self) -> None:
        """Have the handler report an error soon."""
        self._breaks_at = max(self._commands, self._issued) + self.world.random.choice((0, 1, 1, 2, 3, 5))

    async def run(self) -> None:
        """Run the handler as far as it goes."""
        vm = self.vm
        self._take_told()
        with self.checked():
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
                self.resumed += 1
        except StopIteration as stop:
            with self.checked():
                vm.sys_write_output_success(stop.value)
                vm.sys_end()
        except TerminalError as failed:
            metadata = list(failed.metadata.items()) if self.world.endpoints.protocol > 5 else None
            with self.checked():
                vm.sys_write_output_failure(core.PyFailure(failed.code, failed.message, None, metadata))
                vm.sys_end()
        except Hiccup as hiccup:
            self.watched.excused = True
            vm.notify_error(repr(hiccup), "", None)
        except Over:
            pass
        finally:
            self._write()
            code.close()
            for task in self._running:
                task.cancel()
            self.news.set()

    async def _progress(self, tree: Any) -> bool:
        """Wait until a tree has its result. Return True if a cancellation came instead.

        Raises:
            Over: If it has none.
        """
        starts: list[int] = []
        while True:
            self._write()
            with self.checked():
                progress = self.vm.do_progress(tree)
            if isinstance(progress, core.PyDoProgressExecuteRun):
                starts.append(progress.handle)
                continue
            for handle in sorted(starts):  # the state machine names them in another order each time
                task = self.world.loop.create_task(self._step(handle))
                task.add_done_callback(lambda _: self._wake.set())
                self._running.append(task)
            starts.clear()
            if self._eager:
                self._write()
            match progress:
                case core.PyDoProgressAnyCompleted():
                    return False
                case core.PyDoProgressCancelSignalReceived():
                    return True
                case core.PyDoProgressWaitExternalProgress():
                    await self._wake.wait()
                    self._wake.clear()
                    for task in [task for task in self._running if task.done()]:
                        self._running.remove(task)
                        task.result()
                    self._take_told()
                case _:
                    raise Over

    def _take_told(self) -> None:
        with self.checked():
            while self._told:
                self.vm.notify_input(self._told.popleft())
            if self._closed:
                self.vm.notify_input_closed()

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
                self._failed = self.watched.excused = True
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

    @contextmanager
    def awaits(self, combinator: int) -> Iterator[None]:
        """Have it say that it combines in this way what it waits for. Its interface has no such trees."""
        self._combinator = combinator
        try:
            yield
        finally:
            self._combinator = None

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
        self.pauses = world.endpoints.protocol >= 7 and world.random.random() < world.exchanges.pause
        world.waits.fails(self.watched.ref)
        world.waits.works(self.watched.ref, (delay or 0) / 1000)
        if self.pauses:
            world.operators.acted.setdefault("pause", set()).add(self.watched.id)
        self._failed = self.watched.excused = True
        self.vm.notify_error("the handler breaks", "", delay)
        raise Over

    def _write(self) -> None:
        """Put down what the state machine has written, by the simulation's clock."""
        now = EPOCH + round(self.world.loop.time() * 1000)
        while piece := self.vm.take_output():
            for frame in self._reader.feed(piece):
                self.written += write_frame(self._corrected(frame, now))
            self.news.set()

    def _corrected(self, frame: Frame, now: int) -> Frame:
        if _is_timed(frame):  # the state machine has it from the machine's clock
            self._timed += 1
            return _at(frame, now + self.delays[self._timed - 1])
        if frame.type in (m.SUSPENSION, m.AWAITING_ON):
            waits = (m.Suspension if frame.type == m.SUSPENSION else m.AwaitingOn).decode(frame.payload)
            _sort(waits)
            if self._combinator is not None and waits.awaiting_on is not None:
                tree = replace(uncancelled(waits.awaiting_on), combinator=self._combinator)
                waits.awaiting_on = m.Future(signals=[m.CANCEL], nested=[tree], combinator=m.FIRST_COMPLETED)
            return Frame(frame.type, waits.encode())
        if self.pauses and frame.type == m.ERROR:
            error = m.Error.decode(frame.payload)
            error.behavior = m.PAUSE
            return Frame(m.ERROR, error.encode())
        return frame

    def _check_results(self, told: list[Frame]) -> None:
        """No result comes twice."""
        for frame in told:
            if m.is_command(frame.type):
                continue
            if frame.type == m.RUN_ACK:
                of: Any = m.RunAck.decode(frame.payload).completion_id
            else:
                note = m.Notification.decode(frame.payload)
                index = note.signal_index or 0
                of = note.completion_id or (f"signal {index}" if index >= m.FIRST_AWAKEABLE else None)
            if of is not None and of in self._results:
                self._violation(f"the result of {of} comes twice")
            self._results.add(of)

    def _violation(self, what: str) -> NoReturn:
        self.world.violation(f"{self.watched.id}: {what}, in the exchange that is command {self.watched.n}")
        raise Over


def _sort(waits: m.Suspension | m.AwaitingOn | m.Future) -> None:
    """Put the leaves in order: the state machine has them in another one each time."""
    if not isinstance(waits, m.AwaitingOn):
        waits.completions.sort()
        waits.signals.sort()
        waits.named_signals.sort()
    nested = waits.nested if isinstance(waits, m.Future) else [waits.awaiting_on] if waits.awaiting_on else []
    for each in nested:
        _sort(each)


def _policy(retry: RetryPolicy | None) -> Any:
    if retry is None:
        return core.PyExponentialRetryConfig(None, None, None, None, None)
    initial, most = _milliseconds(retry.initial), _milliseconds(retry.duration)
    attempts = retry.attempts if most is None else None
    return core.PyExponentialRetryConfig(initial, attempts, most, None, None)


def _milliseconds(time: timedelta | None) -> int | None:
    return None if time is None else round(time.total_seconds() * 1000)


def _is_timed(frame: Frame) -> bool:
    return frame.type == SLEEP or (frame.type == SEND and bool(m.OneWayCall.decode(frame.payload).invoke_time))


def _at(frame: Frame, time: int) -> Frame:
    """A sleep or a delayed message with another time."""
    message: Any = m.read_command(frame)
    setattr(message, "wake_up_time" if frame.type == SLEEP else "invoke_time", time)
    return Frame(frame.type, message.encode(), frame.flags)
