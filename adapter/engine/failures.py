"""Attempts that failed: when the next one is due, and the log of the failure after what is under way."""

from __future__ import annotations

from adapter.engine.commit_log import CommitLog
from adapter.engine.events import Event, Postponed
from adapter.engine.execution import AttemptFailed, EffectGroup, Execution, JournalAppended
from adapter.engine.journal import Entry, StateRead, StepRetried
from adapter.engine.records import cancellations
from adapter.engine.residents import Residents
from adapter.engine.runtime import Runtime
from adapter.engine.types import MAX_ERROR, Failure, format_error, truncate
from adapter.engine.under_way import Load, Read, UnderWay
from adapter.errors import asks_to_pause


class Failures:
    """Judges and logs the failures of a session's attempts."""

    def __init__(self, runtime: Runtime, log: CommitLog, under_way: UnderWay, residents: Residents) -> None:
        self._runtime = runtime
        self._process = runtime.process
        self._log = log
        self._under_way = under_way
        self._residents = residents
        self.waiting: dict[str, tuple[Execution, EffectGroup]] = {}
        """The attempts that failed while reads or steps were under way, with the effects to log when those have
        ended."""

    def judge(self, execution: Execution, error: BaseException, *, unseen: bool) -> EffectGroup | Failure:
        """Return the effects of a failure, by the retry policy: the next attempt is due, or the invocation is paused.

        Return the failure that ends the invocation if there is no next attempt.

        Args:
            execution: The execution.
            error: The error of its attempt.
            unseen: True if a cancellation arrived since the attempt began, and the code was not told. Then there is a
                next attempt.
        """
        assert execution.spec is not None
        policy = execution.spec.options.retry
        cancelled = cancellations(execution.notifications)
        more: EffectGroup = ()
        if isinstance(error, Postponed):
            more, due = (JournalAppended(execution, error.retry),), error.due
            if due is not None:
                self._report(execution, 0, error.error, max(0, due - self._process.now()))
                return *more, AttemptFailed(execution, truncate(str(error), MAX_ERROR), 0, due, cancelled)
            error = error.error
        progress = execution.progress or self._log.advances(execution)
        failures = 1 if progress else execution.meta.failures + 1
        text = truncate(format_error(error), MAX_ERROR)
        wait: int | None = None
        pause = asks_to_pause(error)
        if not pause and (unseen or policy.attempts is None or failures < policy.attempts):
            wait = round(policy.wait(error, failures) * 1000)
        due = None if wait is None else self._process.now() + wait
        self._report(execution, failures, error, wait)
        if due is None and policy.exhausted == "kill" and not pause:
            return Failure(500, f"gave up after {failures} attempts: {text}")
        return *more, AttemptFailed(execution, text, failures, due, cancelled)

    def not_begun(self, execution: Execution) -> EffectGroup:
        """Return the entries for steps that run at most once, were issued, and have not begun as their attempt fails.

        They are still to run. Without these entries the next attempt could not know that they have not.
        """
        attempt, id = execution.attempt, execution.meta.id
        steps = attempt.issued_once(execution.issued_here) if attempt is not None else ()
        return tuple(
            JournalAppended(execution, attempt.retries.get(n) or StepRetried(n, 0, 0))
            for n in steps
            if attempt is not None and n not in execution.step_results and not self._under_way.has_begun((id, n))
        )

    def log(self, execution: Execution, failure: EffectGroup) -> None:
        """Log a failure after what is under way. Otherwise the next attempt would run the steps again, and its reads
        would see what this attempt wrote after it had asked."""
        if self._under_way.holds_up(execution):
            self.waiting[execution.meta.id] = execution, failure
            self._residents.enter(execution.meta.id)
        else:
            self._log.record(failure)

    def log_late_result(self, event: Event, read: Read | Load | None) -> None:
        """Log a result that arrived after its attempt failed. After the last of them, log the failure."""
        execution, failure = self.waiting[event.id]
        if read is None and event.n not in execution.step_results:
            return
        entry: Entry | None = None
        if event.outcome is not None:
            entry = StateRead(event.n, event.outcome)
        elif isinstance(event.error, Postponed):
            entry = event.error.retry
        if entry is not None and entry not in execution.journal:  # it was logged before a rewind
            self._log.record((JournalAppended(execution, entry),))
        del self.waiting[event.id]
        self._process.active.pop(event.id, None)
        self.log(execution, failure)

    def _report(self, execution: Execution, failures: int, error: BaseException, wait: int | None) -> None:
        policy = self._runtime.deployment.spec(execution.meta).options.retry
        self._runtime.reports.attempt_failed(execution.meta, policy, failures, error, wait)
