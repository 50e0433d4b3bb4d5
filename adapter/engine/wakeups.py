"""What makes invocations run: dispatches to other processes, timers, and the start of an attempt in this process."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from adapter.engine.deployment import Deployment
from adapter.engine.listeners import Listeners
from adapter.engine.ports import Dispatcher, Timers
from adapter.engine.process import Process, Repeat
from adapter.engine.records import Meta, Ref, Status
from adapter.engine.types import ObjectKey

MAX_INLINE_WAIT = 2000
"""The longest wait, in milliseconds, that a session waits out in the process instead of suspending."""


class Resume(Protocol):
    """Continues an invocation in this process (see `Engine.resume`)."""

    def __call__(self, id: str, *, fresh: bool = False, key: ObjectKey | None = None) -> Coroutine[Any, Any, None]: ...


class Wakeups:
    """Makes invocations run. What it begins stands behind the due times of their records."""

    def __init__(
        self,
        process: Process,
        deployment: Deployment,
        listeners: Listeners,
        dispatcher: Dispatcher,
        timers: Timers,
        resume: Resume,
    ) -> None:
        self._process = process
        self._deployment = deployment
        self._listeners = listeners
        self._dispatcher = dispatcher
        self._timers = timers
        self._resume = resume

    def dispatch(self, ref: Ref, service: str, deployment: str, *, fresh: bool, batch: int = 1) -> None:
        """Dispatch an invocation, together with so many others at most."""
        dispatch = self._dispatcher.dispatch(ref, service, deployment, fresh, batch)
        self._process.spawn(dispatch, repeated_by=Repeat.DISPATCH)

    def resume(self, id: str) -> None:
        """Continue an invocation in this process."""
        self._process.spawn(self._resume(id), repeated_by=Repeat.DISPATCH)

    def schedule(self, meta: Meta) -> None:
        """Run an invocation when it is due: in this process if that is soon, else by a timer."""
        if meta.continues_at is None:
            return
        wait = meta.continues_at - self._process.now()
        if meta.status is Status.BACKING_OFF and wait <= min(MAX_INLINE_WAIT, self._process.may_wait()):
            self._process.spawn(self._retry(meta, meta.continues_at), repeated_by=Repeat.TIMER)
        else:
            self._process.spawn(
                self._timers.schedule(meta.ref, _timer(meta), meta.continues_at), repeated_by=Repeat.TIMER
            )

    def unschedule(self, meta: Meta) -> None:
        """Delete the timer of an invocation that has completed."""
        if meta.continues_at is not None and meta.status in (Status.SCHEDULED, Status.SUSPENDED, Status.BACKING_OFF):
            self._process.spawn(self._timers.unschedule(meta.ref, _timer(meta)), repeated_by=Repeat.NOTHING)

    def on_key_granted(self, ref: Ref, key: ObjectKey) -> None:
        """Run an invocation that this process has given its key: here if its client waits here."""
        if ref.id in self._listeners and self._deployment.serves(key.service):
            self._process.spawn(self._resume(ref.id, key=key), repeated_by=Repeat.DISPATCH)
        else:
            self.dispatch(ref, key.service, "", fresh=False)  # it may have run in a batch that was not committed

    async def _retry(self, meta: Meta, due: int) -> None:
        if await self._process.wait_for_time(due):
            await self._resume(meta.id)
        else:
            await self._timers.schedule(meta.ref, _timer(meta), due)


def _timer(meta: Meta) -> str:
    """Return the name of an invocation's timer. One that waits for the same time again has that timer already."""
    return f"{meta.status}-{meta.continues_at}"
