"""The handlers of this process, and what it knows of those in others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import field

from adapter.engine.commands import Issuer
from adapter.engine.ports import Unavailable
from adapter.engine.records import Meta, Unreadable
from adapter.engine.types import Failure, Kind, Options, Target
from adapter.frozen import frozen


@frozen
class HandlerSpec:
    """What the engine knows of a handler: its place, how to run it, and its options.

    ``execute`` decodes the input, runs the handler's code and encodes its output. It may raise `TerminalError`.
    """

    service: str
    name: str
    kind: Kind
    execute: Callable[[Issuer, bytes], Awaitable[bytes]]
    options: Options = field(default_factory=Options)


class Deployment:
    """The version of this process's code.

    Args:
        id: The version. It is stored with each invocation that begins here.
        handlers: The handlers of this process.
        kinds: Returns the kind of another process's handler; ``None`` if it does not exist.
        options: Returns the options of another process's handler that say how long things are kept. An operator may end
            an invocation from here.
    """

    def __init__(
        self,
        id: str,
        handlers: Iterable[HandlerSpec],
        kinds: Callable[[Target], Kind | None],
        options: Callable[[Target], Options],
    ) -> None:
        self.id = id
        self.host(handlers)
        self._kinds = kinds
        self._options = options

    def host(self, handlers: Iterable[HandlerSpec]) -> None:
        """Run these handlers from now on. Attempts that have begun keep theirs."""
        self._handlers = {(spec.service, spec.name): spec for spec in handlers}
        self._services = {service for service, _ in self._handlers}

    def handler(self, target: Target) -> HandlerSpec | None:
        """Return the handler if it runs in this process."""
        return self._handlers.get((target.service, target.handler))

    def serves(self, service: str) -> bool:
        """Return True if a service runs in this process."""
        return service in self._services

    def hosts(self, target: Target) -> bool:
        """Return True if the target's service runs in this process, or does not exist.

        False while nothing can say whether it exists: another process then finds out.
        """
        try:
            return self.serves(target.service) or self._kinds(target) is None
        except (Unavailable, Unreadable):
            return False

    def runs(self, meta: Meta) -> bool:
        """Return True if an invocation's next attempt can run in this process."""
        return self.handler(meta.target) is not None and meta.deployment in ("", self.id)

    def unknown(self, target: Target) -> str | None:
        """Return what is wrong with a target: no such service, no such handler, a superfluous or a missing key."""
        spec = self.handler(target)
        kind = spec.kind if spec else self._kinds(target)
        if spec is None and self.serves(target.service):
            known = ", ".join(sorted(name for service, name in self._handlers if service == target.service))
            return f"service {target.service!r} has no handler {target.handler!r}; it has {known}"
        if kind is None:
            return f"there is no service {target.service!r} with a handler {target.handler!r}"
        if kind is Kind.SERVICE and target.key is not None:
            return f"{target.service!r} is a service: it takes no key"
        if kind is not Kind.SERVICE and target.key is None:
            return f"{target.service!r} needs a key: /{target.service}/KEY/{target.handler}"
        return None

    def deployed(self, target: Target) -> bool:
        """Return False if no function has such a handler yet. A service of this function will get no further ones."""
        return self.serves(target.service) or self._kinds(target) is not None

    def kind_of(self, target: Target) -> Kind:
        """Return the kind of a handler, in this process or another."""
        spec = self.handler(target)
        kind = spec.kind if spec else self._kinds(target)
        return kind or (Kind.SERVICE if target.key is None else Kind.EXCLUSIVE)

    def batch(self, target: Target) -> int:
        """Return how many messages for a handler one process is sent at a time."""
        spec = self.handler(target)
        try:
            return (spec.options if spec is not None else self._options(target)).batch
        except (Unavailable, Unreadable):
            return 1

    def spec(self, meta: Meta) -> HandlerSpec:
        """Return what an attempt runs: the handler, or one that fails if it no longer exists or the invocation is to
        end."""
        spec = self.handler(meta.target)
        if spec is not None and meta.outcome is None:
            return spec
        failure = Failure(404, f"{meta.target.service!r} has no handler {meta.target.handler!r} any more")
        if meta.outcome is not None and meta.outcome.failure is not None:
            failure = meta.outcome.failure

        async def fail(issuer: object, input: bytes) -> bytes:
            raise failure.error()

        options = spec.options if spec is not None else self._options(meta.target)
        return HandlerSpec(meta.target.service, meta.target.handler, meta.kind, fail, options)
