"""What the admin asks of its surroundings, besides the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from adapter.http.services import Deployed


class Services(Protocol):
    """The services of a stack."""

    async def listed(self) -> Sequence[Deployed]:
        """Return all services, as they are now."""
        ...

    async def names(self) -> Sequence[str]:
        """Return the names of all services that may have invocations, also of those that are deployed no longer."""
        ...

    async def documents(self) -> dict[str, dict[str, Any]]:
        """Return the OpenAPI documents of the services, by their names."""
        ...


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a function.

    Attributes:
        deployment: Its name, as invocations that began on it have it.
        function: The function's ARN, or its name.
        created: When it was published, in milliseconds.
        current: True if the function's alias leads to it.
    """

    deployment: str
    function: str
    created: int | None = None
    current: bool = False


class Endpoints(Protocol):
    """The endpoints of SDKs that a server serves."""

    async def register(self, url: str, *, dry_run: bool) -> Sequence[Deployed]:
        """Serve the services of one more endpoint, and return them. With ``dry_run``, only return them.

        Raises:
            TerminalError: If the endpoint does not answer, or offers what cannot be served.
        """
        ...


class InUseError(Exception):
    """A version cannot be removed: something leads to it."""


class Versions(Protocol):
    """The versions of a stack's functions."""

    async def exists(self, deployment: str) -> bool:
        """Return True if invocations can continue on a deployment."""
        ...

    async def listed(self) -> list[Version]:
        """Return all versions of the stack's functions."""
        ...

    async def remove(self, deployment: str) -> bool:
        """Delete a version. Return False if it does not exist.

        Raises:
            InUseError: If the function's alias leads to it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that could not be delivered.

    Attributes:
        id: The message's id.
        body: What was to be delivered.
        sent: When, in milliseconds.
        function: The function that it was for.
        reason: Why it was not delivered.
        invocation: The invocation that it was about.
    """

    id: str
    body: bytes
    sent: int | None = None
    function: str | None = None
    reason: str | None = None
    invocation: str | None = None


class DeadLetters(Protocol):
    """The queue of messages that could not be delivered."""

    async def sample(self) -> tuple[list[Letter], int]:
        """Return some of the messages, and how many there are, about. They stay in the queue."""
        ...

    async def purge(self) -> None:
        """Delete all messages."""
        ...
