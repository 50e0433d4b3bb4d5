"""When a request is repeated: while its answer is lost, or is one that passes. tenacity does the repeating."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import httpx
import tenacity

from adapter.client.requests import Ask
from adapter.client.responses import Answer, is_passing, our_error
from adapter.leaving import retry_after

log = logging.getLogger("adapter")

LOST: Final = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)
"""Exceptions after which it is unknown whether a request arrived."""

LONGEST_ANSWER: Final = 60.0
"""Seconds to wait for one response: longer than API Gateway takes for any."""

BACKOFF = tenacity.wait_exponential(multiplier=0.1, max=2) + tenacity.wait_random(0, 0.1)
"""The pauses between tries."""


def seconds(duration: float | timedelta, name: str) -> float:
    """Return a time-out in seconds.

    Raises:
        TypeError: If it is neither a number of seconds nor a timedelta.
        ValueError: If it is not positive.

    >>> seconds(3, "timeout"), seconds(timedelta(minutes=1), "timeout")
    (3.0, 60.0)
    """
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} is a number of seconds or a timedelta, not {duration!r}")
    if not duration > 0:
        raise ValueError(f"{name} is positive, not {duration!r}")
    return float(duration)


def policy(url: str, ask: Ask, timeout: float, left: float) -> dict[str, Any]:
    """Return the arguments for tenacity's ``Retrying`` and ``AsyncRetrying``.

    Their result is the last response; their error is a ``TimeoutError``.

    Args:
        url: Where the services are.
        ask: The request.
        timeout: The seconds that all requests of a flow may take, for the message of the error.
        left: The seconds that are left of these.
    """

    def warn(state: tenacity.RetryCallState) -> None:
        if state.attempt_number == 1:
            until = f"{left:.3g}" if left < 1000 else f"{left:.0f}"
            log.warning("%s: %s; %s is repeated for up to %s s", url, _problem(state), ask.id, until)

    def passes(response: httpx.Response) -> bool:
        return is_passing(response) or (Answer(response, False).refused(404) and ask.early())

    def give_up(state: tenacity.RetryCallState) -> None:
        raise gave_up(url, ask, timeout, _problem(state))

    return {
        "retry": tenacity.retry_if_exception_type(LOST) | tenacity.retry_if_result(passes),
        "wait": _pause,
        "stop": tenacity.stop_before_delay(left),
        "before_sleep": warn,
        "retry_error_callback": give_up,
    }


def no_result(url: str, ask: Ask, timeout: float) -> TimeoutError:
    """Return the error of a call whose invocation has not ended in time."""
    return TimeoutError(f"{ask.method} {url}/{ask.path}: no result in {timeout:g} s; {ask.id} continues")


def gave_up(url: str, ask: Ask, timeout: float, problem: str) -> TimeoutError:
    """Return the error of a request that had no answer in time."""
    return TimeoutError(
        f"{ask.method} {url}/{ask.path}: no answer in {timeout:g} s, last {problem}; {ask.id} may exist"
    )


def answer_timeout(clock: Callable[[], float], deadline: float) -> float:
    """Return the seconds to wait for the next response."""
    return max(0.001, min(deadline - clock(), LONGEST_ANSWER))


def _pause(state: tenacity.RetryCallState) -> float:
    """Return the seconds until the next try: the server's, if it names some, and otherwise more each time."""
    outcome = state.outcome
    wanted = None if outcome is None or outcome.failed else retry_after(outcome.result().headers)
    return BACKOFF(state) if wanted is None else wanted


def _problem(state: tenacity.RetryCallState) -> str:
    outcome = state.outcome
    assert outcome is not None
    if error := outcome.exception():
        return f"{type(error).__name__} {error}".strip()
    response: httpx.Response = outcome.result()
    failure = our_error(response)
    return f"{response.status_code} {response.reason_phrase if failure is None else failure.message}"
