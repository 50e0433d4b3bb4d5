"""Calls whose records are put after the write that suspends their callers.

An invocation that calls a handler in another process, and waits for nothing else, is suspended by one plain write. The
call's record is put after that, by another one, and has no due time until an attempt begins. So either may be missing
if a process ends: the record, or its dispatch. The caller's record describes the call, and is checked soon. Whatever
acts on the caller before it has the result makes sure of the call first.
"""

from __future__ import annotations

from contextlib import suppress

from adapter.engine import lifecycle
from adapter.engine.ids import new_commit_id
from adapter.engine.ports import Conflict, Unavailable
from adapter.engine.process import Process
from adapter.engine.records import Meta, Status, Unreadable
from adapter.engine.storage import Storage
from adapter.engine.wakeups import Wakeups
from adapter.frozen import replace


class Calls:
    """Puts the records of calls."""

    def __init__(self, process: Process, storage: Storage, wakeups: Wakeups) -> None:
        self._process = process
        self._storage = storage
        self._wakeups = wakeups

    async def make(self, caller: Meta, batch: int) -> None:
        """Put and dispatch the call of an invocation that was just suspended, with so many others at most."""
        call = lifecycle.called(caller)
        try:
            await self._storage.store.commit([lifecycle.created_once(call)], new_commit_id())
        except Conflict:
            return  # another process has put it
        except Unavailable:
            await self.ensure(caller)  # by the next try the call may have completed, and its record may have expired
        else:
            self._dispatch(call, batch)

    async def ensure(self, caller: Meta) -> None:
        """Make sure that the call of an invocation begins, if it waits for one without a due time."""
        if caller.calling is not None and caller.live:
            with suppress(Unreadable):  # then it is there, or its result is
                await self._ensure(caller, lifecycle.called(caller), f"c{caller.calling.command}")

    async def _ensure(self, caller: Meta, call: Meta, notification: str) -> None:
        """Make sure that a call begins.

        A call that has completed is not put again, even if its record is deleted: its notification is there, unless its
        caller has gone on. Each try reads both anew, because they may have been read long ago.
        """
        tries = 0
        while (found := await self._storage.read(lambda: self._storage.store.peek(call.id))) is None:
            if await self._storage.is_notified(caller.ref, notification):
                return
            put = lifecycle.created_once(replace(call, due=self._process.times().grace))
            try:
                await self._storage.store.commit([put, lifecycle.calls(caller)], new_commit_id())
            except Conflict as conflict:
                if 1 in conflict.found:
                    return  # the caller has gone on, which began with making sure of the call
            except Unavailable:
                if self._process.remaining() < 0:
                    raise
            else:
                self._dispatch(call)
                return
            tries += 1
            await self._storage.back_off(tries)
        if found.epoch or found.status is not Status.READY or found.due is not None:
            return
        if await self._storage.apply(lifecycle.redispatched(found, self._process.now())):
            self._dispatch(call)

    def _dispatch(self, call: Meta, batch: int = 1) -> None:
        self._wakeups.dispatch(call.ref, call.target.service, "", fresh=True, batch=batch)
