"""What clients ask of the engine, and what it answers."""

from __future__ import annotations

from dataclasses import field
from typing import Final

from adapter.engine.types import Headers, Outcome, Target
from adapter.frozen import frozen


@frozen
class Request:
    """A client's request."""

    target: Target
    input: bytes
    idempotency_key: str | None = None
    headers: Headers = field(default_factory=dict[str, str])
    delay: int = 0
    """Milliseconds by which a send is delayed."""
    id: str | None = None
    """The invocation's id, if the client chooses it. Requests with the same id are one invocation."""


@frozen
class Answer:
    """The answer to a request.

    Attributes:
        id: The invocation's id.
        accepted: True if the request created the invocation; False if it existed before.
        outcome: How the invocation ended; ``None`` if it has not ended, or is paused.
    """

    id: str
    accepted: bool
    outcome: Outcome | None = None


@frozen
class Patience:
    """How long a client waits for an outcome.

    Attributes:
        until: Until when, in milliseconds since the epoch.
        leaves: True if the client does not wait for an invocation that is suspended. It asks again later.
    """

    until: int
    leaves: bool = False


LEAVE_AFTER: Final = 1000
"""Milliseconds that a client which leaves waits for what comes from elsewhere, or is due by then."""

NOBODY: Final = Patience(0)
"""No client waits."""
