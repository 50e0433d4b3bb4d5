"""Which requests follow each other, as generators: they yield requests, are sent the answers, and do no I/O."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import httpx

from adapter.client.handles import Pending
from adapter.client.requests import IDEMPOTENCY_KEY, Ask, for_cancellation, for_output, for_result
from adapter.client.responses import Answer
from adapter.engine.commands import NOT_FOUND, NOT_READY, READY
from adapter.leaving import pause

T = TypeVar("T")

Flow = Generator[Ask, Answer, T]

ACCEPTED, ALREADY = b'"accepted"', b'"already"'


def calling(ask: Ask, *, own_key: bool) -> Flow[httpx.Response]:
    """Call a handler, and return the response with its result.

    Args:
        ask: The request.
        own_key: Whether the idempotency key is the client's own: then the handler may be a workflow's ``run``, which
            takes none.
    """
    answer = yield ask
    if own_key and answer.refused(400):
        ask = ask.without_key()
        answer = yield ask
    if IDEMPOTENCY_KEY not in ask.headers and answer.repeated and answer.refused(409):
        # The workflow ran already or is running: an earlier try of this request did arrive.
        answer = yield for_result(answer.response.headers.get("x-restate-id", ask.id))
    return (yield from _awaiting(answer))


def sending(ask: Ask, *, own_key: bool) -> Flow[httpx.Response]:
    """Send a message to a handler, and return the response once the message is stored. See `calling`."""
    answer = yield ask
    if own_key and answer.refused(400):
        answer = yield ask.without_key()
    answer.acceptance()
    return answer.result()


def attaching(id: str) -> Flow[httpx.Response]:
    """Wait for an invocation's result, and return the response with it."""
    return (yield from _awaiting((yield for_result(id))))


def _awaiting(answer: Answer) -> Flow[httpx.Response]:
    """Ask for a result again and again while the invocation is suspended. Return the response with the result."""
    asked = 0
    while answer.left:
        headers = answer.response.headers
        answer = yield for_result(headers["x-restate-id"], after=pause(asked, headers))
        asked += 1
    return answer.result()


def looking(id: str) -> Flow[bytes]:
    """Look for an invocation's result."""
    answer = yield for_output(id)
    if answer.refused(470):
        return NOT_READY
    if answer.refused(404):
        return NOT_FOUND
    return READY + answer.result().content


def cancelling(id: str, call: Pending[object] | None = None) -> Flow[bytes]:
    """Cancel an invocation, which may be that of a call under way."""
    answer = yield for_cancellation(id, call)
    if answer.refused(404, 409):
        return ALREADY
    return ACCEPTED if answer.acceptance().status_code == 202 else ALREADY


def telling(ask: Ask) -> Flow[bytes]:
    """Complete an awakeable, or send a signal."""
    answer = yield ask
    if answer.refused(404, 409):
        return ALREADY
    answer.acceptance()
    return ACCEPTED
