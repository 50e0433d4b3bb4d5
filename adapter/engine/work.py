"""Run what is under way in a session: steps, outbound requests, reads.

Steps and outbound requests begin after the commit that holds the commands. The results come back as events.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any

from adapter.engine import commands as c
from adapter.engine.events import Event, Events
from adapter.engine.execution import Execution
from adapter.engine.ids import parse_awakeable
from adapter.engine.journal import StepRetried
from adapter.engine.operator import Operator
from adapter.engine.outbound import acknowledged, command_commit_id
from adapter.engine.runtime import Runtime
from adapter.engine.state_reads import StateReads
from adapter.engine.steps import Steps
from adapter.engine.types import Outcome, format_error
from adapter.engine.under_way import Load, Name, Read, Refresh, Request, Stage, Step, UnderWay


class Work:
    """The work of one session.

    Args:
        runtime: What the session shares with others.
        operator: Cancels other invocations.
        reads: Answers state reads.
        under_way: What the code has asked for.
        events: Where the results go.
        waits: Returns True if an attempt waits so many more milliseconds for a step's next try.
    """

    def __init__(
        self,
        runtime: Runtime,
        operator: Operator,
        reads: StateReads,
        under_way: UnderWay,
        events: Events,
        waits: Callable[[Execution, int], bool],
    ) -> None:
        self._runtime = runtime
        self._operator = operator
        self._reads = reads
        self._under_way = under_way
        self._events = events
        self._process = runtime.process
        self._loop = asyncio.get_running_loop()
        self._closures = Steps(runtime.process, runtime.reports, waits)
        self._receiver_locks = defaultdict[tuple[str, str], asyncio.Lock](asyncio.Lock)
        """One lock for each sender and receiver, so that outbound requests are made in the order in which they were
        issued."""
        self.broken: Exception | None = None
        """The error of background work that prevents the session from continuing."""

    def begin(self) -> None:
        """Start the steps and outbound requests that had to wait for a commit."""
        self._begin(Stage.ASKED)

    def begin_at_once(self) -> None:
        """Start what need not wait for a commit: state reads and deferred steps."""
        self._begin(Stage.NEXT)

    def close(self) -> None:
        """Stop all work."""
        for run in self._under_way.runs():
            run.cancel()

    def rewind(self) -> None:
        """Stop all work except the steps of the executions that are still there."""
        for run in self._under_way.rewind():
            run.cancel()

    def reads(self, name: Name) -> bool:
        """Return True if a read of this name is under way."""
        return self._under_way.holds_name(name)

    def read(self, name: Name, task: Load | Refresh, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Read something for the session itself in the background.

        A read of the same name that still runs is stopped: this one sees all that it would have seen.
        """
        former = self._under_way.remove(name)
        if former is not None and former.run is not None:
            former.run.cancel()
        self._under_way.put(name, task, Stage.NEXT)
        self._start(name, work)

    def _begin(self, stage: Stage) -> None:
        entries = self._under_way.in_stage(stage)
        if not entries:
            return
        for name, entry in sorted(entries, key=lambda each: isinstance(each[1].task, Request)):  # steps first
            match entry.task:
                case Step(execution, command, retry):
                    tries = retry or StepRetried(name[1], 0, self._process.now())
                    self._start(name, partial(self._step, execution, command, tries), command.context)
                case Request(execution, request):
                    self._start(name, partial(self._perform, execution, name[1], request))
                case Read() as read:
                    self._start(name, partial(self._read, name, read))
                case task:
                    raise AssertionError(f"{task} has begun")

    def _start(self, name: Name, work: Callable[[], Coroutine[Any, Any, None]], context: Context | None = None) -> None:
        """Run the work of an entry. If it fails, the session cannot continue.

        Args:
            name: The entry's name.
            work: Makes the work. A coroutine that was made and whose task is cancelled before it begins would never be
                awaited.
            context: The context variables to run it with.
        """
        under_way = self._under_way
        entry = under_way.entry(name)

        async def run() -> None:
            try:
                await work()
            except BaseException as error:
                if under_way.holds(name, entry):  # else the session has dropped the task
                    self.broken = error if isinstance(error, Exception) else RuntimeError(format_error(error))
                if not isinstance(error, Exception):
                    raise
            finally:
                under_way.on_end(name, entry)
                self._events.signal.set()

        # Not `asyncio.create_task`: a handler's command may lead here, and the handler has an event loop of its own.
        entry.run = self._loop.create_task(run(), context=context)
        under_way.move(entry, Stage.RUNNING)

    async def _step(self, execution: Execution, command: c.Run, retry: StepRetried) -> None:
        execution.step_results[retry.n] = await self._closures.run(execution, command, retry)
        self._under_way.post_step(execution, retry.n)

    async def _read(self, name: Name, read: Read) -> None:
        self._events.post(Event(*name, await self._reads.stored(read.execution, read.command, read.state)))

    async def _perform(self, execution: Execution, n: int, request: c.OutboundRequest) -> None:
        async with self._receiver_locks[execution.meta.id, _receiver(request)]:
            match request:
                case c.Cancel(id):
                    commit_id = command_commit_id(execution.ref, n)
                    outcome: Outcome | None = acknowledged(await self._operator.cancel(id, commit_id=commit_id))
                case _:
                    outcome = await self._runtime.outbound.perform(execution, n, request)
        if outcome is not None:
            self._events.post(Event(execution.meta.id, n, outcome))


def _receiver(request: c.OutboundRequest) -> str:
    """Return the receiver of an outbound request. An awakeable's result is for the invocation that waits for it."""
    if isinstance(request, c.GetPromise | c.PeekPromise | c.CompletePromise):
        return request.name
    awakeable = parse_awakeable(request.id)
    return awakeable[0].id if awakeable is not None else request.id
