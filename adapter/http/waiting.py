"""Calls and results for clients that wait: until there is a result, for a while, or until the invocation is suspended.

Only a client that waits without a preference, or with ``respond-suspended``, has its call run in the answering process.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from math import ceil
from typing import Final

from starlette.responses import Response

from adapter.codec import Coder
from adapter.engine.deadlocks import awaited_ids
from adapter.engine.engine import Engine
from adapter.engine.ports import Unavailable
from adapter.engine.records import Meta, Status, Unreadable
from adapter.engine.requests import LEAVE_AFTER, Answer, Request
from adapter.engine.types import Kind, Outcome
from adapter.http.headers import Preference
from adapter.http.messages import ID, HTTPError, failed
from adapter.http.results import accepted, paused, result
from adapter.http.services import Endpoint

SHORTEST_RETENTION: Final = timedelta(minutes=5)
"""A client does not leave an invocation whose result is kept for less than this: it may come back too late."""

LONGEST_CHAIN: Final = 5
"""The number of calls, each made by the one before, that are read to tell when an invocation continues."""


class Waiting:
    """Answers clients that wait.

    Args:
        engine: Runs the handlers.
        coder: Decodes the results.
    """

    def __init__(self, engine: Engine, coder: Coder) -> None:
        self._engine = engine
        self._coder = coder

    async def call(self, asked: Request, endpoint: Endpoint, preferred: Preference | None, until: int) -> Response:
        """Call a handler, and return the response to the client.

        Args:
            asked: The call.
            endpoint: The handler.
            preferred: How long the client prefers to wait.
            until: Until when the request may wait, in milliseconds since the epoch.
        """
        target, idempotent = asked.target, asked.idempotency_key is not None
        preferred = _followed(preferred, endpoint, idempotent=idempotent)
        if preferred is None or preferred.leaves:
            called = await self._engine.call(asked, until=until, leave=preferred is not None)
        else:  # the invocation is stored before its id is given out
            called = await self._engine.send(asked)
        if endpoint.kind is Kind.WORKFLOW and not called.accepted:
            raise HTTPError(
                f"workflow {target.service}/{target.key} ran already, or is running: attach with "
                f"GET /restate/invocation/{called.id}/attach",
                code=409,
                headers={ID: called.id},
            )
        return await self._answer(called, endpoint, preferred, until)

    async def attach(self, meta: Meta, endpoint: Endpoint, preferred: Preference | None, until: int) -> Response:
        """Wait for the result of a live invocation, and return the response to the client. See `call`."""
        preferred = _followed(preferred, endpoint, idempotent=meta.idempotent)
        attached = Answer(meta.id, False)
        if preferred is not None and preferred.leaves:
            at = await self._continues_at(meta)
            if (at or 0) - self._engine.process.now() > LEAVE_AFTER:
                return _applied(self._later(attached, at), preferred)
        if preferred is None or preferred.leaves:
            outcome = await self._engine.outcome(meta.id, until=until, leave=preferred is not None)
            attached = Answer(meta.id, False, outcome)
        return await self._answer(attached, endpoint, preferred, until)

    async def _answer(self, called: Answer, endpoint: Endpoint, preferred: Preference | None, until: int) -> Response:
        if preferred is None:
            return await self._waited(called, endpoint)
        if preferred.leaves:
            return _applied(await self._left(called, endpoint), preferred)
        outcome = called.outcome
        if outcome is None and preferred.wait:
            outcome = await self._watch(called.id, min(until, self._engine.process.now() + preferred.wait))
        response = accepted(called) if outcome is None else result(called.id, outcome, endpoint, self._coder)
        return _applied(response, preferred)

    async def _waited(self, called: Answer, endpoint: Endpoint) -> Response:
        """Return the response to a client that waited: the result, or why there is none."""
        if called.outcome is None:
            with suppress(Unavailable):  # the client can attach later to learn more
                meta = await self._engine.storage.find(called.id)
                if meta is not None and meta.status is Status.PAUSED:
                    return failed(paused(meta), {ID: called.id})
        return result(called.id, called.outcome, endpoint, self._coder)

    async def _left(self, called: Answer, endpoint: Endpoint) -> Response:
        """Return the response to a client that leaves an invocation that is suspended: the result, or when to ask."""
        outcome = called.outcome
        if outcome is None:
            with suppress(Unavailable):  # then the client learns no more than that it continues
                meta = await self._engine.storage.find(called.id, patient=False)
                if meta is not None and meta.status is Status.PAUSED:
                    return failed(paused(meta), {ID: called.id})
                if meta is not None and meta.live:
                    return self._later(called, await self._continues_at(meta))
                outcome = await self._engine.storage.result(meta) if meta is not None else None
        return result(called.id, outcome, endpoint, self._coder)

    def _later(self, called: Answer, at: int | None) -> Response:
        """Return the response that tells when to ask again, if it is known when the invocation continues."""
        response = accepted(called)
        if at is not None:
            response.headers["retry-after"] = str(max(1, ceil((at - self._engine.process.now()) / 1000)))
        return response

    async def _continues_at(self, meta: Meta) -> int | None:
        """Return when an invocation continues that waits for nothing but a time, or for the result of one that does."""
        with suppress(Unavailable, Unreadable):  # then the client asks without being told when
            for _ in range(LONGEST_CHAIN):
                if meta.rests_until is not None or meta.status is not Status.SUSPENDED or meta.awaiting is None:
                    return meta.rests_until
                others = awaited_ids(meta.ref, meta.awaiting.root)
                if meta.resolved or len(others) != 1 or sum(leaf.size for leaf in meta.awaiting.root.leaves) != 1:
                    return None
                called = await self._engine.storage.find(others[0], patient=False)
                if called is None or not called.live:
                    return None
                meta = called
        return None

    async def _watch(self, id: str, until: int) -> Outcome | None:
        """Wait for an invocation's outcome, and leave it to other processes to run it.

        A Lambda process that ran it could not answer before the handler waits for something.
        """
        pause = 20.0
        while True:
            meta = await self._engine.storage.find(id)
            if meta is not None and not meta.live:
                return await self._engine.storage.result(meta)
            left = until - self._engine.process.now()
            if left <= 0:
                return None
            await asyncio.sleep(min(pause, left) / 1000)
            pause = min(pause * 1.6, 1000)


def _followed(preferred: Preference | None, endpoint: Endpoint, *, idempotent: bool) -> Preference | None:
    """Return the preference, unless the client would come back too late for the result."""
    too_late = endpoint.options.retention(endpoint.kind, idempotent=idempotent) < SHORTEST_RETENTION
    return None if preferred is not None and preferred.leaves and too_late else preferred


def _applied(response: Response, preferred: Preference) -> Response:
    response.headers["preference-applied"] = preferred.applied
    return response
