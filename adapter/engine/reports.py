"""The log lines of invocations: one for each completion, for each failed attempt, and for each failed try of a step.

The values in a line's text are in fields as well, for searches.
"""

from __future__ import annotations

import logging
from typing import Any

from adapter.engine.ids import INVOCATION_ID
from adapter.engine.records import Meta
from adapter.engine.types import Outcome, RetryPolicy, format_error, span
from adapter.errors import asks_to_pause

log = logging.getLogger("adapter")


class Reports:
    """Reports what becomes of invocations, as log lines."""

    def completed(self, meta: Meta, outcome: Outcome, now: int) -> None:
        """Report that an invocation has completed."""
        if not INVOCATION_ID.fullmatch(meta.id):
            return  # a durable promise: its record is of the same kind, and it has no attempts
        attempts, duration = max(1, meta.epoch), max(0, (meta.completed or now) - meta.created)
        failure = outcome.failure
        end = f"{span(duration)} in {attempts} attempt{'' if attempts == 1 else 's'}"
        fields = {"duration_ms": duration, "attempts": attempts}
        if failure is None:
            log.info("completed after %s", end, extra=_about(meta) | fields | {"outcome": "completed"})
        else:
            extra = _about(meta) | fields | {"outcome": "failed", "code": failure.code}
            log.info("failed with %s after %s: %s", failure.code, end, failure.message, extra=extra)

    def suspended(self, meta: Meta) -> None:
        """Report that an invocation was suspended. This is not logged."""

    def attempt_failed(
        self, meta: Meta, policy: RetryPolicy, failures: int, error: BaseException, wait: int | None
    ) -> None:
        """Report that an attempt failed.

        Args:
            meta: The invocation.
            policy: Its retry policy.
            failures: The number of attempts that failed since the last progress, including this one. 0: it failed only
                because a step is to be tried again, which `step_failed` has reported.
            error: What ended the attempt.
            wait: The milliseconds until the next attempt. ``None``: there is none.
        """
        if failures:
            kills = policy.exhausted == "kill" and not asks_to_pause(error)
            end = "given up" if kills else "paused until it is resumed"
            _log_failure("attempt", meta, policy, failures, error, wait, end)

    def step_failed(
        self, meta: Meta, name: str, policy: RetryPolicy, failures: int, error: BaseException, wait: int | None
    ) -> None:
        """Report that a try of a step with its own retry policy failed. See `attempt_failed` for the arguments."""
        _log_failure(f"step {name!r}", meta, policy, failures, error, wait, "given up", step=name)


def _log_failure(
    what: str,
    meta: Meta,
    policy: RetryPolicy,
    failures: int,
    error: BaseException,
    wait: int | None,
    end: str,
    **fields: str,
) -> None:
    most = "any number" if policy.attempts is None else policy.attempts
    then = end if wait is None else f"next in {span(wait)}"
    extra = _about(meta) | {"attempt": max(1, meta.epoch), "failures": failures, "retry_in_ms": wait} | fields
    text = "%s failed (%s of %s; %s): %s"
    log.warning(text, what, failures, most, then, format_error(error), exc_info=error, extra=extra)


def _about(meta: Meta) -> dict[str, Any]:
    return {"invocation_id": meta.id, "target": str(meta.target)}
