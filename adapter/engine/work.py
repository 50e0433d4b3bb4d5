"""What the attempts of a session have asked for: steps, outbound requests, state reads, sleeps.

Steps and outbound requests begin after the commit that holds the commands. The results come back as events.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from dataclasses import replace
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

REQUIRED = frozenset({c.Cancel, c.Complete, c.SendSignal, c.CompletePromise})
"""The commands that are carried out even if the handler returns without awaiting them."""


class Work:
    """The work of one session.

    Args:
        runtime: What the session shares with others.
        operator: Cancels other invocations.
        reads: Answers state reads.
        executions: The executions that run, by their ids.
        events: Where the results go.
        waits: Returns True if an attempt waits so many more milliseconds for a step's next try.
    """

    def __init__(
        self,
        runtime: Runtime,
        operator: Operator,
        reads: StateReads,
        executions: Mapping[str, Execution],
        events: Events,
        waits: Callable[[Execution, int], bool],
    ) -> None:
        self._runtime = runtime
        self._operator = operator
        self._state = reads
        self._executions = executions
        self._events = events
        self._process = runtime.process
        self._closures = Steps(runtime.process, runtime.reports, waits)
        self._loop = asyncio.get_running_loop()
        self._new_steps: list[tuple[Execution, int, c.Run]] = []
        self._outbound: list[tuple[Execution, int, c.OutboundRequest]] = []
        self._receiver_locks = defaultdict[tuple[str, str], asyncio.Lock](asyncio.Lock)
        """One lock for each sender and receiver, so that outbound requests are made in the order in which they were
        issued."""
        self.running: dict[tuple[str, int], asyncio.Task[None]] = {}
        self.steps: set[tuple[str, int]] = set()
        """The steps among what runs."""
        self.reads: dict[tuple[str, int], Execution] = {}
        """State reads whose results are not in the log yet. Until then no write is committed that they must not see."""
        self.timers: dict[tuple[str, int], int] = {}
        """When sleeps end, by invocation and command."""
        self.broken: Exception | None = None
        """The error of background work that prevents the session from continuing."""

    @property
    def is_new(self) -> bool:
        """True if there are steps or outbound requests that have not begun."""
        return bool(self._new_steps or self._outbound)

    def holds_up(self, execution: Execution) -> bool:
        """Return True if an execution's failure has to wait for steps or reads that are under way."""
        return execution in self.reads.values() or any(name[0] == execution.meta.id for name in self.steps)

    def request(self, execution: Execution, n: int, request: c.OutboundRequest) -> None:
        """Make an outbound request after the next commit."""
        self._outbound.append((execution, n, request))
        if request.__class__ in REQUIRED:
            execution.required_requests += 1

    def attach(self, execution: Execution, n: int, id: str) -> None:
        """Let a call wait for an invocation that exists, after the next commit."""
        self._outbound.append((execution, n, c.Attach(id)))

    def request_step(self, execution: Execution, n: int, command: c.Run, *, at_once: bool = False) -> None:
        """Start a step at once or after the next commit, unless it was started before a rewind."""
        execution.issued_here.add(n)
        if n in execution.step_results:
            self._post_step(execution, n)
        elif (execution.meta.id, n) in self.running:
            pass
        elif at_once:
            execution.deferred.add(n)
            self._begin_step(execution, n, command)
        else:
            self._new_steps.append((execution, n, command))

    def read(self, execution: Execution, n: int, command: c.GetState | c.StateKeys) -> None:
        """Read state from the store."""
        live = self._state.state(execution)
        state = live.snapshot() if live is not None else None

        async def answer() -> None:
            self._events.post(Event(execution.meta.id, n, await self._state.stored(execution, command, state)))

        self.reads[execution.meta.id, n] = execution
        self.background((execution.meta.id, n), answer())

    def begin(self) -> None:
        """Start the steps and outbound requests that had to wait for a commit."""
        new_steps, self._new_steps = self._new_steps, []
        for execution, n, command in new_steps:
            self._begin_step(execution, n, command)
        requests, self._outbound = self._outbound, []
        for execution, n, request in requests:
            self.background((execution.meta.id, n), self._perform(execution, n, request))

    def next_timer(self) -> int | None:
        """Return when the next sleep ends that code awaits."""
        timers = [
            at
            for (id, n), at in self.timers.items()
            if (execution := self._executions.get(id)) and execution.attempt and n < len(execution.attempt.operations)
            and execution.attempt.operations[n].awaited
        ]  # fmt: skip
        return min(timers, default=None)

    def due_timers(self) -> list[tuple[str, int]]:
        """Return the sleeps that have ended, in their order."""
        if not self.timers:
            return []
        now = self._process.now()
        return sorted((key for key, at in self.timers.items() if at <= now), key=lambda key: (self.timers[key], key))

    def drop(self, execution: Execution) -> None:
        """Drop what has not begun of an execution's work."""
        for key in [key for key in self.timers if key[0] == execution.meta.id]:
            del self.timers[key]
        self._new_steps = [step for step in self._new_steps if step[0] is not execution]
        self._outbound = [request for request in self._outbound if request[0] is not execution]

    def rewind(self) -> None:
        """Drop all work except the steps of the executions that are still there. The replay asks for it again.

        Deferred steps whose command is not committed are dropped too: the replay may go another way.
        """
        self._new_steps.clear()
        self._outbound.clear()
        self.timers.clear()
        self.reads.clear()
        dropped = {(id, n) for id, execution in self._executions.items() for n in execution.forget_deferred()}
        for name, task in list(self.running.items()):
            if name not in self.steps or name[0] not in self._executions or name in dropped:
                del self.running[name]
                self.steps.discard(name)
                task.cancel()

    def close(self) -> None:
        """Stop all work."""
        for task in self.running.values():
            task.cancel()

    def background(
        self, name: tuple[str, int], work: Coroutine[Any, Any, None], context: Context | None = None
    ) -> None:
        """Run work in the background. If it fails, the session cannot continue.

        Args:
            name: Its invocation, and a number.
            work: The work.
            context: The context variables to run it with.
        """

        async def run() -> None:
            try:
                await work
            except BaseException as error:
                if self.running.get(name) is task:  # else the session has dropped the task
                    self.broken = error if isinstance(error, Exception) else RuntimeError(format_error(error))
                if not isinstance(error, Exception):
                    raise
            finally:
                if self.running.get(name) is task:
                    del self.running[name]
                    self.steps.discard(name)
                self._events.signal.set()

        # Not `asyncio.create_task`: a handler's command may lead here, and the handler has an event loop of its own.
        self.running[name] = task = self._loop.create_task(run(), context=context)
        task.add_done_callback(
            lambda _: work.close()
        )  # a coroutine whose task is cancelled before it begins would never be awaited

    def _begin_step(self, execution: Execution, n: int, command: c.Run) -> None:
        assert execution.attempt is not None
        self.steps.add((execution.meta.id, n))
        retry = execution.attempt.retries.get(n) or StepRetried(n, 0, self._process.now())
        self.background((execution.meta.id, n), self._step(execution, command, retry), command.context)

    async def _step(self, execution: Execution, command: c.Run, retry: StepRetried) -> None:
        execution.step_results[retry.n] = await self._closures.run(execution, command, retry)
        self._post_step(execution, retry.n)

    def _post_step(self, execution: Execution, n: int) -> None:
        """Post the result of a step, or the error that it raised."""
        result = execution.step_results[n]
        event = Event(execution.meta.id, n)
        self._events.post(
            replace(event, outcome=result) if isinstance(result, Outcome) else replace(event, error=result)
        )

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
