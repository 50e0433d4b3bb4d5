"""Run the closures of steps: their tries, the time between tries, and their time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from adapter.engine import commands as c
from adapter.engine.events import Postponed
from adapter.engine.execution import Execution
from adapter.engine.journal import StepRetried
from adapter.engine.limits import bounded
from adapter.engine.process import Process
from adapter.engine.reports import Reports
from adapter.engine.types import MAX_ERROR, Failure, Outcome, RetryPolicy, format_error, truncate
from adapter.errors import TerminalError, asks_to_pause

RETRY_POLL = 500
"""Milliseconds after which a step that waits for its next try checks whether anything else still runs."""


class Steps:
    """Runs steps.

    Args:
        process: The process.
        reports: Reports tries that failed.
        waits: Returns True if an attempt waits so many more milliseconds for a step's next try.
    """

    def __init__(self, process: Process, reports: Reports, waits: Callable[[Execution, int], bool]) -> None:
        self._process = process
        self._reports = reports
        self._waits = waits

    async def run(self, execution: Execution, command: c.Run, retry: StepRetried) -> Outcome | BaseException:
        """Run a step by its retry policy. Return its result, or the error that ends the attempt."""
        assert execution.spec is not None
        abort = execution.spec.options.abort_timeout
        n, tries, began = retry.n, retry.tries, retry.began
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        while True:
            tries += 1
            try:
                self._process.steps += 1
                try:
                    result = await (command.closure() if abort is None else self._limited(command, abort))
                    outcome = bounded(Outcome(result), f"the result of step {command.name!r}")
                finally:
                    self._process.steps -= 1
            except TerminalError as error:
                outcome = Outcome(failure=Failure.of(error))
            except BaseException as error:
                if _dropped(error, loop, task):
                    raise
                policy: RetryPolicy | None = command.retry
                pauses = asks_to_pause(error)
                if policy is None or (pauses and not command.at_most_once):
                    return error
                wait = round(policy.wait(error, tries) * 1000)
                lasted = timedelta(milliseconds=self._process.now() - began + wait)
                last = policy.attempts is not None and tries >= policy.attempts
                if pauses:  # the journal has to say that the next attempt may run it
                    return error if last else Postponed(StepRetried(n, tries, began), None, "paused", error)
                text = f"step {command.name!r} failed {tries} times: {format_error(error)}"
                if not last and (policy.duration is None or lasted <= policy.duration):
                    due = self._process.now() + wait
                    self._report(execution, command.name, tries, policy, error, wait)
                    if await self._await_retry(execution, due):
                        continue
                    return Postponed(StepRetried(n, tries, began), due, text, error)
                self._report(execution, command.name, tries, policy, error, None)
                outcome = Outcome(failure=Failure(500, truncate(text, MAX_ERROR)))
            return outcome

    def _report(
        self, execution: Execution, name: str, tries: int, policy: RetryPolicy, error: BaseException, wait: int | None
    ) -> None:
        if execution.attempt is not None:
            self._reports.step_failed(execution.meta, name, policy, tries, error, wait)

    async def _await_retry(self, execution: Execution, due: int) -> bool:
        """Wait for a step's next try. Return False if the attempt should not wait so long."""
        while (left := due - self._process.now()) > 0:
            stay = self._process.may_wait()
            if stay <= 0 or not self._waits(execution, left):
                return False
            await self._process.clock.sleep(min(left, stay, RETRY_POLL) / 1000)
        return True

    async def _limited(self, command: c.Run, abort: timedelta) -> bytes:
        """Run a step's closure for at most a given time."""

        async def run() -> bytes | BaseException:
            try:
                return await command.closure()
            except (SystemExit, KeyboardInterrupt) as error:  # a task that raises either would end the process
                return error

        task = asyncio.ensure_future(run())
        try:
            await self._process.first(task, self._process.now() + round(abort.total_seconds() * 1000))
            if not task.done():
                raise TimeoutError(f"step {command.name!r} took longer than its abort_timeout, {abort}")
            result = task.result()
        finally:
            task.cancel()
        if isinstance(result, BaseException):
            raise result
        return result


def _dropped(error: BaseException, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> bool:
    """Return True if a step was stopped from outside; otherwise the step itself raised the error."""
    if isinstance(error, asyncio.CancelledError):
        return task is not None and bool(task.cancelling())
    return isinstance(error, GeneratorExit) and asyncio.current_task(loop) is not task
