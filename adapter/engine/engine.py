"""The engine: it accepts requests, resumes invocations, and sweeps what is due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from adapter.engine import lifecycle
from adapter.engine.claims import Claims
from adapter.engine.conflicts import Exists
from adapter.engine.control import Control
from adapter.engine.deployment import Deployment, HandlerSpec
from adapter.engine.execution import Execution
from adapter.engine.ids import idempotent_id, new_commit_id, random_id, workflow_id
from adapter.engine.journal import Entry
from adapter.engine.ports import Change, Clock, Conflict, Dispatcher, Put, Store, Timers, Unavailable
from adapter.engine.process import Process, Repeat
from adapter.engine.records import INLINE, Copied, Head, Meta, Part, Status, Unreadable, cut
from adapter.engine.reports import Reports
from adapter.engine.requests import NOBODY, Answer, Patience, Request
from adapter.engine.runtime import build
from adapter.engine.session import Session
from adapter.engine.sweeper import Sweeper
from adapter.engine.together import Together
from adapter.engine.transaction import MAX_INLINE_PARTS
from adapter.engine.types import MAX_PAYLOAD, Kind, ObjectKey, Options, Outcome, Target
from adapter.engine.waiting import Waiting
from adapter.errors import TerminalError
from adapter.frozen import replace

log = logging.getLogger("adapter")


class Engine:
    """Runs invocations on its ports.

    Args:
        handlers: The handlers of this process.
        deployment: The version of this code. It is stored with each invocation that begins here.
        kinds: Returns the kind of another process's handler; ``None`` if it does not exist.
        options: Returns the options of another process's handler that say how long things are kept. An operator may end
            an invocation from here.
        poll: Milliseconds until a waiting client's request first reads the store.
        always_replay: True to replay code from its start after each result, and to suspend it wherever it waits: for
            tests of handlers.
        reports: Reports what becomes of invocations. By default it is logged.
    """

    def __init__(
        self,
        *,
        store: Store,
        timers: Timers,
        dispatcher: Dispatcher,
        clock: Clock,
        handlers: Iterable[HandlerSpec],
        deployment: str = "",
        kinds: Callable[[Target], Kind | None] = lambda target: None,
        options: Callable[[Target], Options] = lambda target: Options(),
        poll: int = 20,
        always_replay: bool = False,
        reports: Reports | None = None,
    ) -> None:
        self.process = Process(clock)
        self.deployment = Deployment(deployment, handlers, kinds, options)
        self.runtime = build(
            self.process,
            store,
            self.deployment,
            dispatcher,
            timers,
            self.resume,
            reports or Reports(),
            poll=poll,
            always_replay=always_replay,
        )
        self.storage = self.runtime.storage
        self.promises = self.runtime.promises
        self.outbound = self.runtime.outbound
        self.control = Control(self.runtime, self.send)
        self.sweeper = Sweeper(self.runtime, self.control)
        self._waiting = Waiting(self.runtime, self.resume)
        self._claims = Claims(self.runtime, self.control)
        self._resuming: dict[str, bool] = {}
        """The invocations that are about to begin here. True if one was to be resumed again meanwhile."""

    # --- requests ---

    async def call(self, request: Request, *, until: int, leave: bool = False) -> Answer:
        """Run a handler and wait for its outcome. If it has not completed in time, or is paused, the answer has none.

        Args:
            request: The request.
            until: Until when, in milliseconds since the epoch.
            leave: True not to wait for what is suspended, or does not run here for a second. The client asks for the
                `outcome` later, and no process waits along until then.

        Raises:
            TerminalError: If there is no such handler, or the input is too large.
            Unavailable: If the store did not accept the request.
        """
        self._require(request)
        patience = Patience(until, leave)
        spec = self.deployment.handler(request.target)
        if spec is None:
            answer = await self.send(request)
            if not answer.accepted and self.deployment.kind_of(request.target) is Kind.WORKFLOW:
                return Answer(answer.id, False)
            return replace(answer, outcome=await self._waiting.attached(answer.id, patience))
        meta, derived = self._new(request, spec.kind)
        execution = Execution(meta, request.input, spec)
        with self.runtime.listeners.listen(meta.id, patience) as listener:
            if derived:  # a client that gives up leaves no record behind that nobody runs
                begun = await self.process.persist(self._begin_once(execution, patience), repeated_by=Repeat.LEASE)
            elif spec.kind.exclusive:
                begun = await self._through_gate(execution, patience)
            else:
                begun = self._start(execution, patience)
            if not isinstance(begun, Meta):
                try:
                    return Answer(meta.id, True, await self._waiting.outcome(listener, begun))
                finally:
                    self.process.answer()
        if spec.kind is Kind.WORKFLOW:
            return Answer(meta.id, False)
        outcome = await self.storage.result(begun) or await self._waiting.attached(meta.id, patience)
        return Answer(meta.id, False, outcome)

    async def send(
        self,
        request: Request,
        *,
        journal: Sequence[Entry] = (),
        copied: tuple[Copied, ...] = (),
    ) -> Answer:
        """Store a message, to be run now or after its delay.

        Args:
            request: The message.
            journal: The entries that the invocation's journal begins with.
            copied: If the invocation restarts another one: the invocations that these are from.

        Raises:
            TerminalError: If there is no such handler, or the input is too large.
            Unavailable: If the store did not accept the message.
        """
        self._require(request)
        meta, _ = self._new(request, self.deployment.kind_of(request.target))
        if copied:
            meta = lifecycle.restarted(meta, copied)
        execution = Execution(lifecycle.delayed(meta, request.delay), request.input, None, journal=list(journal))
        # A client that gives up leaves no message behind that nobody dispatches.
        end = await self.process.persist(self._session(execution).run(), repeated_by=Repeat.DISPATCH)
        if end is None:
            return Answer(meta.id, True)
        if not isinstance(end, Exists):
            raise Unavailable(f"{meta.id} was not stored: {end.reason}")
        # If the generation is the same, the answer was lost, and the invocation has begun since.
        accepted = end.found.generation == meta.generation
        return Answer(meta.id, accepted, await self.storage.result(end.found))

    async def outcome(self, id: str, *, until: int, leave: bool = False) -> Outcome | None:
        """Wait for an invocation to complete. Return ``None`` if it has not completed at that time, or is paused.

        Args:
            id: The invocation's id.
            until: Until when, in milliseconds since the epoch.
            leave: True not to wait for an invocation that is suspended (see `call`).
        """
        return await self._waiting.attached(id, Patience(until, leave))

    # --- what wakes invocations ---

    async def resume(self, id: str, *, fresh: bool = False, key: ObjectKey | None = None) -> None:
        """Continue an invocation if it can continue: the receiver of dispatches, timers and the sweeper.

        Args:
            id: The invocation's id.
            fresh: True if most likely no attempt has run yet.
            key: The key that the invocation was just given from the inbox.

        Raises:
            Unreadable: If its record cannot be read.
        """
        await self._resume(id, fresh=fresh, key=key)

    async def resume_all(self, ids: Sequence[str]) -> None:
        """Begin invocations that were dispatched together: the receiver of a batch of messages.

        They run at the same time, and as many as possible are committed together.

        Raises:
            Unreadable: If a record cannot be read, after all have ended.
        """
        new = [id for id in dict.fromkeys(ids) if id not in self.process.active and id not in self._resuming]
        found: dict[str, Meta] = {}
        with suppress(Unreadable):  # then each is read on its own
            found = await self.storage.peek_all(new) if new else {}
        together = Together(self.process, self.storage, new)
        ends = await asyncio.gather(
            *(self._resume(id, meta=found.get(id), together=together) for id in new), return_exceptions=True
        )
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _resume(
        self,
        id: str,
        *,
        fresh: bool = False,
        key: ObjectKey | None = None,
        meta: Meta | None = None,
        together: Together | None = None,
    ) -> None:
        try:
            session = await self._begin(id, fresh=fresh, key=key, meta=meta, together=together)
            if session is not None:
                await self._run(session)
        finally:
            if together is not None:
                together.leave(id)

    async def _begin(
        self, id: str, *, fresh: bool, key: ObjectKey | None, meta: Meta | None, together: Together | None
    ) -> Session | None:
        """Begin an attempt. Return ``None`` if there is nothing to do."""
        session = self.process.active.get(id)
        if session is not None:
            session.wake(id)
            return None
        if id in self._resuming:
            self._resuming[id] = True
            return None
        self._resuming[id] = False
        try:
            heads: dict[ObjectKey, Head] = {}
            if key is not None:
                execution, heads = await asyncio.gather(self._claims.begin(id), self.storage.heads([key]))
            elif meta is not None:
                execution = self._claims.first(meta) if not meta.expired(self.process.now()) else None
            else:
                execution = await self._claims.begin(id) if fresh else None
            if execution is None:
                heads = {}  # another process has run the invocation, and may have written its state since
                execution = await self._claims.claim(id)
            while execution is None and self._resuming[id]:  # the invocation may have become ready since
                self._resuming[id] = False
                execution = await self._claims.claim(id)
            if execution is None:
                return None
            head = None
            if execution.meta.kind.exclusive:
                try:
                    heads = heads or await self.storage.heads([execution.key])
                    head = heads[execution.key]
                except Unreadable as error:
                    await self._claims.record_unreadable(execution.record, error)
                    return None
                execution.without_key = execution.meta.outcome is not None and head.owner != execution.ref
            head = None if execution.without_key else head
            started = Session(self.runtime, self.control, execution, head=head, together=together)
            self.process.active[id] = started
            if self._resuming[id]:  # it may have been loaded before its result arrived
                started.wake(id)
            return started
        finally:
            del self._resuming[id]

    # --- inside ---

    def _session(self, root: Execution, *, patience: Patience = NOBODY, head: Head | None = None) -> Session:
        return Session(self.runtime, self.control, root, patience=patience, head=head)

    def _require(self, request: Request) -> None:
        """Check a request before it is stored.

        Raises:
            TerminalError: If there is no such handler, or its input is too large.
        """
        target, size = request.target, len(request.input)
        if size > MAX_PAYLOAD:
            raise TerminalError(f"the input for {target} has {size} bytes; the most is {MAX_PAYLOAD}", code=413)
        problem = self.deployment.unknown(target)
        if problem is not None:
            raise TerminalError(
                problem, code=404 if "takes no key" not in problem and "needs a key" not in problem else 400
            )

    def _new(self, request: Request, kind: Kind) -> tuple[Meta, bool]:
        """Return a record for the request, and whether its id is not random: then the record may exist already."""
        target, derived = request.target, True
        if request.id is not None:
            id = request.id
        elif kind is Kind.WORKFLOW and target.key is not None:
            id = workflow_id(target.service, target.key)
        elif request.idempotency_key is not None:
            id = idempotent_id(target, request.idempotency_key)
        else:
            id, derived = random_id(), False
        meta = lifecycle.accepted(
            id,
            target,
            kind,
            now=self.process.now(),
            headers=request.headers,
            input=request.input,
            idempotent=request.id is not None or request.idempotency_key is not None,
            idempotency_key=request.idempotency_key,
            deployment=self.deployment.id if self.deployment.handler(target) else "",
        )
        return meta, derived

    async def _begin_once(self, execution: Execution, patience: Patience) -> Meta | asyncio.Task[Any]:
        """Store an invocation, and run it. Return the stored record if there is one already."""
        return await self._create(execution) or self._start(execution, patience)

    def _start(self, execution: Execution, patience: Patience) -> asyncio.Task[Any]:
        """Run an invocation in a session of its own."""
        head = self.runtime.recent.get(execution.key) if execution.exclusive else None
        session = self._session(execution, patience=patience, head=head)
        return self.process.spawn(self._run(session), repeated_by=Repeat.LEASE)

    async def _create(self, execution: Execution) -> Meta | None:
        """Store an invocation that begins here. Return the stored record if there is one already."""
        times = self.process.times()
        meta = lifecycle.begun(execution.meta, times)
        parts: list[Part] = []
        if len(execution.input) > INLINE:
            parts = cut(meta.ref, "input", execution.input, times.ttl)
            meta = replace(meta, input=None, input_parts=len(parts))
        together: list[Change] = [Put(part) for part in parts]
        if len(execution.input) > MAX_INLINE_PARTS:  # if no record is made, the parts' time to live deletes them
            await self.storage.put_parts(parts)
            together.clear()
        try:
            await self.storage.commit([lifecycle.created(meta, times.now), *together], new_commit_id())
        except Conflict as conflict:
            found = conflict.found[0]
            if isinstance(found, Meta) and found.generation != meta.generation:
                if found.waiters and found.expired(self.process.now()):
                    await self.runtime.notifier.fan_out(found)
                    return await self._create(execution)
                return found
        execution.meta, execution.stored = meta, True
        return None

    async def _through_gate(self, execution: Execution, patience: Patience) -> asyncio.Task[Any]:
        """Run a request for a key after the requests before it in this process have had their turn. Do not wait for its
        end."""
        async with self.runtime.gates.turn(execution.key) as gate:
            head = self.runtime.recent.get(execution.key)
            session = self._session(execution, patience=patience, head=head)
            task = self.process.spawn(self._run(session), repeated_by=Repeat.LEASE)
            task.add_done_callback(lambda _: gate.open())
        return task

    async def _run(self, session: Session) -> None:
        """Drive a session to its end."""
        id = session.root.meta.id
        try:
            end = await session.run()
        except Exception as error:
            listened = id in self.runtime.listeners
            if isinstance(error, Unreadable) and (session.root.stored or listened):
                await self._fail_executions(session, error)
                if session.root.stored:
                    return
            if session.root.stored or not listened:
                raise
            self.runtime.listeners.fail(id, error)
        else:
            if end is not None:
                log.info("attempt dropped: %s", end.reason, extra={"invocation_id": id})
                await self._continue_interrupted(session)

    async def _continue_interrupted(self, session: Session) -> None:
        """Let the other invocations of a session continue after one of them was taken over. They did not fail."""
        for woken in session.residents.woken:
            self.process.spawn(self.resume(woken), repeated_by=Repeat.DISPATCH)
        for execution in session.interrupted:
            meta = execution.meta
            if execution.stored and meta.status is Status.RUNNING and execution.unclaimed is None:
                with suppress(Unreadable):  # else the sweeper continues it when its lease has ended
                    if await self.storage.apply(lifecycle.released(meta, self.process.times())):
                        self.runtime.wakeups.dispatch(meta.ref, meta.target.service, meta.deployment, fresh=False)

    async def _fail_executions(self, session: Session, error: Unreadable) -> None:
        """Record that a session met something that cannot be read, as a failed attempt of each of its executions."""
        for execution in session.commit_log.executions():
            if execution.stored and execution.meta.status is Status.RUNNING:
                await self._claims.record_unreadable(execution.record, error, progress=execution.progress)
