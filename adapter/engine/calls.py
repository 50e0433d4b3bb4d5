"""Calls whose records are put after the writes that issue them.

An invocation that calls a handler in another process, and waits for nothing else, is suspended by one plain write. If
its attempt stays in its process, because a client waits, one plain write creates it or appends to its journal. The
call's record is put after that, by another one, and has no due time until an attempt begins. So either may be missing
if a process ends: the record, or its dispatch. The caller's record, or the segment of its journal, describes the call,
and the sweeper looks after the caller. Whatever goes on with the caller, or ends it, makes sure of the call first.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from adapter.engine import lifecycle
from adapter.engine.execution import Execution
from adapter.engine.ids import new_commit_id
from adapter.engine.lifetimes import KEPT
from adapter.engine.ports import Conflict, Unavailable
from adapter.engine.process import Process
from adapter.engine.records import Calling, JournalSegment, Meta, Notification, Ref, Status, Unreadable
from adapter.engine.storage import Storage
from adapter.engine.wakeups import Wakeups
from adapter.frozen import replace


class Calls:
    """Puts the records of calls."""

    def __init__(self, process: Process, storage: Storage, wakeups: Wakeups) -> None:
        self._process = process
        self._storage = storage
        self._wakeups = wakeups

    async def make(self, caller: Meta, calling: Calling, batch: int) -> None:
        """Put and dispatch a call that was just issued, with so many others at most."""
        call = lifecycle.called(caller, calling)
        try:
            await self._storage.store.commit([lifecycle.created_once(call)], new_commit_id())
        except Conflict:
            return  # another process has put it
        except Unavailable:
            await self._ensure(caller, calling)  # it may have completed by the next try, and its record have expired
        else:
            self._dispatch(call, batch)

    async def settle(self, execution: Execution) -> None:
        """Make sure of the call that an attempt has issued. After that the call has a result, has begun, or has a due
        time."""
        if execution.calling is not None:
            if f"c{execution.calling.command}" not in execution.notifications:
                await self._ensure(execution.record, execution.calling)
            execution.calling = None

    async def ensure_by_journal(self, ref: Ref) -> None:
        """Make sure of the calls of an invocation whose journal was not read, as it is now. See `ensure`."""
        tries = 0
        while True:
            _, segments, caller, notifications = await self._storage.items(ref.id)
            if caller is None or caller.ref != ref or await self.ensure(caller, segments, notifications):
                return
            tries += 1  # not all that changes the caller makes sure of its calls: an operator may have resumed it
            await self._storage.back_off(tries)

    async def ensure(
        self,
        caller: Meta,
        segments: Iterable[JournalSegment] = (),
        notifications: Iterable[Notification] = (),
        *,
        begin: bool = True,
    ) -> bool:
        """Make sure of the calls of an invocation: each has a result, has begun, or has a due time.

        Return False if the invocation has changed meanwhile, and a call may be missing.

        Args:
            caller: The invocation's record.
            segments: Its journal, if an attempt may have issued calls and not have been suspended since.
            notifications: Its notifications, as far as they are known.
            begin: False to dispatch none, because they are about to be ended.
        """
        answered, sure = {each.id for each in notifications}, True
        for calling in (caller.calling, *(segment.calling for segment in segments)):
            if calling is not None and f"c{calling.command}" not in answered and caller.live:
                sure = await self._ensure(caller, calling, begin=begin) and sure
        return sure

    async def _ensure(self, caller: Meta, calling: Calling, *, begin: bool = True) -> bool:
        with suppress(Unreadable):  # then its record is there
            return await self._find_or_put(
                caller, lifecycle.called(caller, calling), f"c{calling.command}", begin=begin
            )
        return True

    async def _find_or_put(self, caller: Meta, call: Meta, notification: str, *, begin: bool) -> bool:
        """Make sure of a call. Return False if its caller has changed, and the call was not put.

        A call that has completed is not put again, even if its record is deleted: its notification is there, unless its
        caller has gone on. Each try reads both anew, because they may have been read long ago.
        """
        tries = 0
        while (found := await self._storage.read(lambda: self._storage.store.peek(call.id))) is None:
            if await self._storage.is_notified(caller.ref, notification):
                return True
            times = self._process.times()
            put = lifecycle.created_once(replace(call, due=times.grace, kept=times.now + KEPT))
            try:
                await self._storage.store.commit([put, lifecycle.calls(caller)], new_commit_id())
            except Conflict as conflict:
                if 1 in conflict.found:
                    return False
            except Unavailable:
                if self._process.remaining() < 0:
                    raise
            else:
                if begin:
                    self._dispatch(call)
                return True
            tries += 1
            await self._storage.back_off(tries)
        if found.epoch or found.status is not Status.READY or found.due is not None:
            return True
        if await self._storage.apply(lifecycle.redispatched(found, self._process.now())) and begin:
            self._dispatch(call)
        return True

    def _dispatch(self, call: Meta, batch: int = 1) -> None:
        self._wakeups.dispatch(call.ref, call.target.service, "", fresh=True, batch=batch)
