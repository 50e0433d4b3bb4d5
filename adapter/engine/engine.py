"""The engine: it accepts requests, resumes invocations, and sweeps what is due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from adapter.engine import journal as journals
from adapter.engine import lifecycle
from adapter.engine.blobs import Blobs
from adapter.engine.commit_log import Exists, Fenced
from adapter.engine.control import Control
from adapter.engine.deadlocks import Deadlocks
from adapter.engine.execution import Execution
from adapter.engine.handover import Handover
from adapter.engine.ids import idempotent_id, new_commit_id, random_id, workflow_id
from adapter.engine.journal import AttemptStarted, Entry, NotificationDelivered, encode, started
from adapter.engine.notifier import Notifier
from adapter.engine.ports import (
    Change,
    Clock,
    Conflict,
    Dispatcher,
    Put,
    Store,
    Timers,
    Unavailable,
)
from adapter.engine.recent import Recent
from adapter.engine.records import (
    INLINE,
    Copied,
    Head,
    JournalSegment,
    Meta,
    Part,
    Ref,
    Status,
    Unreadable,
    cancellations,
    cut,
)
from adapter.engine.replays import Contents
from adapter.engine.reports import log_attempt, log_end, log_step
from adapter.engine.session import MAX_INLINE_WAIT, Session
from adapter.engine.storage import Storage
from adapter.engine.sweeper import Sweeper
from adapter.engine.transaction import MAX_INLINE_PARTS
from adapter.engine.transitions import GRACE, MARGIN, Times
from adapter.engine.types import (
    KILLED,
    MAX_ERROR,
    MAX_PAYLOAD,
    Failure,
    HandlerSpec,
    Headers,
    Kind,
    ObjectKey,
    Options,
    Outcome,
    RetryPolicy,
    Target,
    truncate,
)
from adapter.errors import TerminalError

T = TypeVar("T")

log = logging.getLogger("adapter")

LEASE = 60_000
"""Milliseconds of an attempt's lease in a process without a deadline."""

QUEUE_POLL = 1000
"""The longest interval, in milliseconds, at which a request that waits for its key polls."""

POLLS = 8
"""A request that waits for its key polls each time it has waited for another eighth of its wait."""


@dataclass(frozen=True, slots=True)
class Request:
    """A client's request."""

    target: Target
    input: bytes
    idempotency_key: str | None = None
    headers: Headers = field(default_factory=dict[str, str])
    delay: int = 0
    """Milliseconds by which a send is delayed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request.

    Attributes:
        id: The invocation's id.
        accepted: True if the request created the invocation; False if it existed before.
        outcome: How the invocation ended; ``None`` if it has not.
    """

    id: str
    accepted: bool
    outcome: Outcome | None = None


class _Gate:
    """The turns of requests for one key in this process. Each begins with the head that the one before has written."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.turn: asyncio.Future[None] | None = None

    def open(self) -> None:
        """End the current turn: its request has written the head, or is done."""
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(None)


class Engine(Storage):
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
    ) -> None:
        super().__init__(store, clock)
        self.timers = timers
        self.dispatcher = dispatcher
        self.deployment = deployment
        self.poll = poll
        self.always_replay = always_replay
        self.contents = Contents() if always_replay else None
        self.context = copy_context()
        """The context variables with which handlers begin, wherever they are called from."""
        self.steps = 0
        """The number of steps that run in this process."""
        self.active: dict[str, Session] = {}
        """The sessions of this process, by the ids of the invocations that they run."""
        self.host(handlers)
        self._kinds = kinds
        self._options = options
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listeners: dict[str, list[asyncio.Future[Outcome]]] = {}
        self._gates: dict[ObjectKey, _Gate] = {}
        self._resuming: dict[str, bool] = {}
        """The invocations that are about to begin here. True if one was to be resumed again meanwhile."""
        self.control = Control(self)
        self.deadlocks = Deadlocks(self)
        self.blobs = Blobs(self)
        self.handover = Handover(self)
        self.recent = Recent(clock)
        self.notifier = Notifier(self)
        self.sweeper = Sweeper(self)

    # --- requests ---

    async def call(self, request: Request, *, until: int) -> Answer:
        """Run a handler and wait for its outcome until a time in milliseconds. After that the answer has no outcome.

        Raises:
            TerminalError: If there is no such handler, or the input is too large.
            Unavailable: If the store did not accept the request.
        """
        self._require(request)
        spec = self.handler(request.target)
        if spec is None:
            answer = await self.send(request)
            if not answer.accepted and self.kind_of(request.target) is Kind.WORKFLOW:
                return Answer(answer.id, False)
            return replace(answer, outcome=await self.outcome(answer.id, until=until))
        meta, derived = self._new(request, spec.kind)
        execution = Execution(meta, request.input, spec)
        if derived:
            existing = await self._create(execution)
            if existing is not None:
                if spec.kind is Kind.WORKFLOW:
                    return Answer(meta.id, False)
                return Answer(meta.id, False, await self.result(existing) or await self.outcome(meta.id, until=until))
        with self._listen(meta.id) as future:
            if spec.kind.exclusive and not derived:
                session = await self._through_gate(execution, until)
            else:
                head = self.recent.get(execution.key) if spec.kind.exclusive else None
                session = self.spawn(self._run(Session(self, execution, hold_until=until, head=head)))
            return Answer(meta.id, True, await self._outcome(meta.id, future, until, session))

    async def send(
        self,
        request: Request,
        *,
        id: str | None = None,
        journal: Sequence[Entry] = (),
        copied: tuple[Copied, ...] = (),
    ) -> Answer:
        """Store a message, to be run now or after its delay.

        Args:
            request: The message.
            id: The id of its invocation, if the request does not determine it.
            journal: The entries that the invocation's journal begins with.
            copied: The invocations that these are from.

        Raises:
            TerminalError: If there is no such handler, or the input is too large.
            Unavailable: If the store did not accept the message.
        """
        self._require(request)
        meta, _ = self._new(request, self.kind_of(request.target))
        if id is not None:
            meta = lifecycle.restarted(meta, id, copied)
        execution = Execution(lifecycle.delayed(meta, request.delay), request.input, None, journal=list(journal))
        session = Session(self, execution)
        try:
            await session.run()
        except Exists as exists:
            accepted = (
                exists.found.generation == meta.generation
            )  # the answer was lost, and the invocation has begun since
            if not accepted and len(request.input) > MAX_INLINE_PARTS:
                await self.sweeper.delete_dependents(meta.ref)
            return Answer(meta.id, accepted, await self.result(exists.found))
        return Answer(meta.id, True)

    async def outcome(self, id: str, *, until: int) -> Outcome | None:
        """Wait for an invocation to complete. Return ``None`` if it has not completed at that time."""
        with self._listen(id) as future:
            return await self._outcome(id, future, until)

    async def _outcome(
        self, id: str, future: asyncio.Future[Outcome], until: int, session: asyncio.Task[Any] | None = None
    ) -> Outcome | None:
        interval, began = self.poll, self.clock.now()
        while not future.done():
            now = self.clock.now()
            if now >= until:
                return None
            await self.first(future, min(until, now + interval))
            if future.done():
                break
            if id in self.active or (session is not None and not session.done() and interval < 1000):
                interval = min(interval * 2, 1000)
                continue
            meta = await self.read(lambda: self.store.peek(id))
            if meta is not None and not meta.live:
                return await self.result(meta)
            if meta is not None and meta.status is Status.READY and self._runs_here(meta):
                # It has its key, or its result. The process that was sent to run it may have to start first; this one
                # runs already.
                self.spawn(self.resume(id, fresh=meta.epoch == 0))
            if meta is not None and meta.status is Status.QUEUED:
                interval = min(max(self.poll, (now - began) // POLLS), QUEUE_POLL)
            else:
                interval = min(round(interval * 1.6), 1000)
        return future.result()

    def host(self, handlers: Iterable[HandlerSpec]) -> None:
        """Run these handlers from now on. Attempts that have begun keep theirs."""
        self._handlers = {(spec.service, spec.name): spec for spec in handlers}
        self._services = {service for service, _ in self._handlers}

    def handler(self, target: Target) -> HandlerSpec | None:
        """Return the handler if it runs in this process."""
        return self._handlers.get((target.service, target.handler))

    def hosts(self, target: Target) -> bool:
        """Return True if the target's service runs in this process, or does not exist."""
        return target.service in self._services or self._kinds(target) is None

    def unknown(self, target: Target) -> str | None:
        """Return what is wrong with a target: no such service, no such handler, a superfluous or a missing key."""
        spec = self.handler(target)
        kind = spec.kind if spec else self._kinds(target)
        if spec is None and target.service in self._services:
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
        return target.service in self._services or self._kinds(target) is not None

    def kind_of(self, target: Target) -> Kind:
        """Return the kind of a handler, in this process or another."""
        spec = self.handler(target)
        kind = spec.kind if spec else self._kinds(target)
        return kind or (Kind.SERVICE if target.key is None else Kind.EXCLUSIVE)

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
        session = self.active.get(id)
        if session is not None:
            session.wake(id)
            return
        if id in self._resuming:
            self._resuming[id] = True
            return
        self._resuming[id] = False
        try:
            heads: dict[ObjectKey, Head] = {}
            if key is not None:
                execution, heads = await asyncio.gather(self._begin(id), self.heads([key]))
            else:
                execution = await self._begin(id) if fresh else None
            execution = execution or await self._claim(id)
            while execution is None and self._resuming[id]:  # the invocation may have become ready since
                self._resuming[id] = False
                execution = await self._claim(id)
            if execution is None:
                return
            head = None
            if execution.meta.kind.exclusive:
                try:
                    heads = heads or await self.heads([execution.key])
                    head = heads[execution.key]
                except Unreadable as error:
                    await self._record_unreadable(execution.meta, error)
                    return
                execution.without_key = execution.meta.outcome is not None and head.owner != execution.ref
            session = Session(self, execution, hold_until=0, head=None if execution.without_key else head)
            self.active[id] = session
        finally:
            del self._resuming[id]
        await self._run(session)

    async def drain(self) -> None:
        """Wait until all that was begun in this process has ended."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def abort(self) -> None:
        """Drop all that was begun in this process, as a crash would."""
        for task in self._tasks:
            task.cancel()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run work in the background. `drain` waits for it."""

        async def guarded() -> None:
            try:
                await work
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except BaseException as error:
                log.exception("background work failed; what it was for is due again later")
                if not isinstance(error, Exception):
                    raise

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def persist(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work to its end even if the caller is cancelled. `drain` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_report)
            raise

    # --- what sessions ask for ---

    def times(self) -> Times:
        """Return the due times for a commit that is made now."""
        now = self.clock.now()
        lease = now + LEASE if self.deadline is None else max(self.deadline, now) + MARGIN
        return Times(now, lease, now + GRACE)

    async def wait(self, signal: asyncio.Event, until: int | None) -> bool:
        """Wait for the signal, or for a time in milliseconds. Return True if it was the signal."""
        if until is None or signal.is_set():
            await signal.wait()
            return True
        task = asyncio.ensure_future(signal.wait())
        try:
            await self.first(task, until)
        finally:
            task.cancel()
        return signal.is_set()

    def on_completed(self, meta: Meta, outcome: Outcome) -> None:
        """Take note that a commit of this process has completed an invocation."""
        log_end(meta, outcome, self.clock.now())
        for future in self._listeners.get(meta.id, ()):
            if not future.done():
                future.set_result(outcome)
        if meta.waiters:
            self.spawn(self.sweeper.fan_out(meta))

    def dispatch(self, ref: Ref, service: str, deployment: str, *, fresh: bool) -> None:
        """Dispatch an invocation."""
        self.spawn(self.dispatcher.dispatch(ref, service, deployment, fresh))

    def schedule(self, meta: Meta) -> None:
        """Run an invocation when it is due: in this process if that is soon, else by a timer."""
        if meta.continues_at is None:
            return
        wait = meta.continues_at - self.clock.now()
        if meta.status is Status.BACKING_OFF and wait <= min(MAX_INLINE_WAIT, self.remaining()):
            self.spawn(self._retry(meta.id, meta.continues_at))
        else:
            self.spawn(self.timers.schedule(meta.ref, _timer(meta), meta.continues_at))

    def unschedule(self, meta: Meta) -> None:
        """Delete the timer of an invocation that has completed."""
        if meta.continues_at is not None and meta.status in (Status.SCHEDULED, Status.SUSPENDED, Status.BACKING_OFF):
            self.spawn(self.timers.unschedule(meta.ref, _timer(meta)))

    def on_head_written(self, head: Head) -> None:
        """Take note of a head that this process has written. The next request for the key need not read it."""
        self.recent.put(head)
        self.pass_gate(head.key)

    def pass_gate(self, key: ObjectKey) -> None:
        """Let the next request for a key begin in this process."""
        gate = self._gates.get(key)
        if gate is not None:
            gate.open()

    def on_key_granted(self, ref: Ref, key: ObjectKey) -> None:
        """Run an invocation that this process has given its key: here if its client waits here."""
        if ref.id in self._listeners and key.service in self._services:
            self.spawn(self.resume(ref.id, key=key))
        else:
            self.dispatch(ref, key.service, "", fresh=True)

    def report(self, meta: Meta, failures: int, error: BaseException, due: int | None) -> None:
        """Log that an attempt failed.

        Args:
            meta: The invocation.
            failures: The number of attempts that failed since the last progress, including this one. 0: it failed only
                because a step is to be tried again, which `report_step` has logged.
            error: What ended the attempt.
            due: When the next attempt is due, in milliseconds since the epoch. ``None``: there is none.
        """
        if failures:
            log_attempt(meta, self.spec(meta).options.retry, failures, error, due, self.clock.now())

    def report_step(
        self, meta: Meta, name: str, tries: int, policy: RetryPolicy, error: BaseException, due: int | None
    ) -> None:
        """Log that a try of a step with its own retry policy failed. See `report` for the arguments."""
        log_step(meta, name, policy, tries, error, due, self.clock.now())

    # --- inside ---

    def _require(self, request: Request) -> None:
        """Check a request before it is stored.

        Raises:
            TerminalError: If there is no such handler, or its input is too large.
        """
        target, size = request.target, len(request.input)
        if size > MAX_PAYLOAD:
            raise TerminalError(f"the input for {target} has {size} bytes; the most is {MAX_PAYLOAD}", code=413)
        problem = self.unknown(target)
        if problem is not None:
            raise TerminalError(
                problem, code=404 if "takes no key" not in problem and "needs a key" not in problem else 400
            )

    def _new(self, request: Request, kind: Kind) -> tuple[Meta, bool]:
        """Return a record for the request, and whether its id is derived: then the record may exist already."""
        target, derived = request.target, True
        if kind is Kind.WORKFLOW and target.key is not None:
            id = workflow_id(target.service, target.key)
        elif request.idempotency_key is not None:
            id = idempotent_id(target, request.idempotency_key)
        else:
            id, derived = random_id(), False
        meta = lifecycle.accepted(
            id,
            target,
            kind,
            now=self.clock.now(),
            headers=request.headers,
            input=request.input,
            idempotent=request.idempotency_key is not None,
            deployment=self.deployment if self.handler(target) else "",
        )
        return meta, derived

    async def _create(self, execution: Execution) -> Meta | None:
        """Store an invocation that begins here. Return the stored record if there is one already."""
        times = self.times()
        meta = lifecycle.begun(execution.meta, times)
        parts: list[Part] = []
        if len(execution.input) > INLINE:
            parts = cut(meta.ref, "input", execution.input)
            meta = replace(meta, input=None, input_parts=len(parts))
        together = len(execution.input) <= MAX_INLINE_PARTS
        more: list[Change] = [Put(part) for part in parts]
        if not together:
            more = [self.blobs.keep_input(await self.blobs.put_input(meta, parts))]
        try:
            await self.commit([lifecycle.created(meta, times.now), *more], new_commit_id())
        except Conflict as conflict:
            if 0 not in conflict.found:
                raise Unavailable(f"{meta.id}: its input was given up before it was stored") from conflict
            found = conflict.found[0]
            if isinstance(found, Meta) and found.generation != meta.generation:
                if not together:
                    await self.sweeper.delete_dependents(meta.ref)
                if found.waiters and found.expired(self.clock.now()):
                    await self.sweeper.fan_out(found)
                    return await self._create(execution)
                return found
        execution.meta, execution.stored = meta, True
        return None

    async def _through_gate(self, execution: Execution, until: int) -> asyncio.Task[Any]:
        """Run a request for a key after the requests before it in this process have had their turn. Do not wait for its
        end."""
        gate = self._gates.setdefault(execution.key, _Gate())
        gate.users += 1
        try:
            async with gate.lock:
                gate.turn = asyncio.get_running_loop().create_future()
                task = self.spawn(
                    self._run(Session(self, execution, hold_until=until, head=self.recent.get(execution.key)))
                )
                task.add_done_callback(lambda _: gate.open())
                await gate.turn
                return task
        finally:
            gate.users -= 1
            if not gate.users:
                del self._gates[execution.key]

    async def _run(self, session: Session) -> None:
        """Drive a session to its end."""
        id = session.root.meta.id
        try:
            await session.run()
        except Fenced as fenced:
            log.info("attempt dropped: %s", fenced, extra={"invocation_id": id})
            await self._continue_interrupted(session)
        except Exception as error:
            listeners = self._listeners.get(id, ())
            if isinstance(error, Unreadable) and (session.root.stored or listeners):
                await self._fail_executions(session, error)
                if session.root.stored:
                    return
            if session.root.stored or not listeners:
                raise
            for future in listeners:
                if not future.done():
                    future.set_exception(error)

    async def _continue_interrupted(self, session: Session) -> None:
        """Let the other invocations of a session continue after one of them was taken over. They did not fail."""
        for woken in session.woken:
            self.spawn(self.resume(woken))
        for execution in session.interrupted:
            meta = execution.meta
            if execution.stored and meta.status is Status.RUNNING:
                with suppress(Unreadable):  # else the sweeper continues it when its lease has ended
                    if await self.apply(lifecycle.released(meta, self.times())):
                        self.dispatch(meta.ref, meta.target.service, meta.deployment, fresh=False)

    async def _fail_executions(self, session: Session, error: Unreadable) -> None:
        """Record that a session met something that cannot be read, as a failed attempt of each of its executions."""
        for execution in dict.fromkeys(session.commit_log.executions()):
            if execution.stored and execution.meta.status is Status.RUNNING:
                await self._record_unreadable(execution.meta, error, progress=execution.progress)

    async def _begin(self, id: str) -> Execution | None:
        """Begin the first attempt of an invocation that was dispatched."""
        times = self.times()
        commit_id = new_commit_id()
        values = lifecycle.start(times, self.deployment, commit_id)
        began, meta = await self.read(lambda: self.store.start(id, set=values, now=times.now))
        # The answer to an earlier try of the request may have been lost.
        if meta is None or not (began or (meta.commit_id == commit_id and meta.epoch == 1 and meta.live)):
            return None
        try:
            execution = Execution(meta, await self.input(meta), self.spec(meta), stored=True)
            if meta.notifications:
                execution.notifications = {each.id: each.outcome for each in await self.notifications(meta.ref)}
                execution.counted = meta.notifications
        except Unreadable as error:
            await self._record_unreadable(meta, error)
            return None
        return execution

    async def _claim(self, id: str) -> Execution | None:
        """Begin a further attempt: load the invocation and raise the epoch. Return ``None`` if there is nothing
        to do."""
        try:
            return await self._load_and_claim(id)
        except Unreadable as error:
            await self._cannot_begin(id, error)
            return None

    async def _load_and_claim(self, id: str) -> Execution | None:
        parts, segments, meta, notifications = await self.load(id)
        if meta is None or meta.expired(self.clock.now()):
            return None
        # An invocation that is to end with a failure is not replayed.
        journal = journals.read(id, segments, count=meta.segments) if meta.outcome is None else []
        if meta.status is Status.QUEUED:
            await self.deadlocks.check(meta)  # another function found it to be the youngest of a cycle
        seen = {entry.id for entry in journal if isinstance(entry, NotificationDelivered)}
        if not await self._is_due(meta, any(each.id not in seen for each in notifications)):
            return None
        begun = any(not isinstance(entry, AttemptStarted) for entry in journal)
        elsewhere = begun and self.deployment and meta.deployment not in ("", self.deployment)
        if elsewhere or not self.hosts(meta.target):
            # A timer fires at the function that made it, whatever its version is by then. An invocation that is
            # notified may have been moved to another deployment since it asked.
            self.dispatch(meta.ref, meta.target.service, meta.deployment if meta.epoch else "", fresh=False)
            return None
        times, spec = self.times(), self.spec(meta)
        if journal and not isinstance(journal[-1], AttemptStarted):  # the last attempt committed something
            meta = replace(meta, failures=min(meta.failures, 1))
        cancelled = cancellations(each.id for each in notifications if each.id not in seen) > 0
        if meta.status is Status.READY and not cancelled and self._exhausted(meta, spec):
            await self._give_up(meta, spec)
            return None
        input = await self.input(meta, parts)
        notifications = [await self.with_value(each) for each in notifications]
        commit_id = new_commit_id()
        place = segments[-1].index + 1 if segments else 0
        claimed, change = lifecycle.claim(
            meta,
            times,
            deployment=None if begun and meta.deployment else self.deployment,
            segments=place + 1 if meta.epoch else None,
        )
        changes: list[Change] = [change]
        if meta.epoch:
            journal.append(started(meta))
            data = encode(journal[-1:], [times.now])[0]
            changes.append(Put(JournalSegment(id, meta.generation, place, data, commit_id)))
        try:
            await self.commit(changes, commit_id)
        except Conflict as conflict:
            found = conflict.found.get(0, meta)
            if isinstance(found, Meta) and found.live and found.epoch == meta.epoch:
                return await self._load_and_claim(id)  # it has changed, and no attempt has begun
            return None
        meta = claimed
        if meta.outcome is not None and meta.outcome.failure == KILLED:
            await self.control.kill_calls(meta)
        execution = Execution(meta, input, spec, stored=True, journal=journal)
        execution.segments = place + (1 if meta.epoch > 1 else 0)
        execution.notifications = {each.id: each.outcome for each in notifications}
        execution.counted = meta.notifications
        return execution

    async def _cannot_begin(self, id: str, error: Unreadable) -> None:
        """Handle an attempt that cannot begin because part of its invocation cannot be read.

        Raises:
            Unreadable: If that part is the record.
        """
        meta = await self.find(id)
        if meta is None or meta.target.service not in self._services or not await self._is_due(meta, notified=False):
            return
        if meta.outcome is not None and meta.outcome.failure is not None:
            await self.control.end(meta, meta.outcome.failure)  # this needs nothing but the record
        else:
            await self._record_unreadable(meta, error)

    async def _record_unreadable(self, meta: Meta, error: Unreadable, *, progress: bool = False) -> None:
        """Record a failed attempt for something that cannot be read. Newer code, or an operator, may be able to read
        it."""
        policy = self.spec(meta).options.retry
        failures = 1 if progress else meta.failures + 1
        text = truncate(str(error), MAX_ERROR)
        due: int | None = None
        if meta.outcome is not None or policy.attempts is None or failures < policy.attempts:
            due = self.clock.now() + round(policy.backoff(failures) * 1000)
        elif policy.exhausted == "kill":
            if await self.control.end(meta, Failure(500, f"gave up after {failures} attempts: {text}")):
                self.report(meta, failures, error, None)
            return
        waiting, change = lifecycle.unreadable(meta, self.clock.now(), failures=failures, error=text, due=due)
        if not await self.apply(change):
            return  # it is over or taken over, and what could not be read may have been deleted
        self.report(meta, failures, error, due)
        self.schedule(waiting)

    async def _is_due(self, meta: Meta, notified: bool) -> bool:
        """Return True if an attempt is to begin now. Wait first if the time is almost there."""
        match meta.status:
            case Status.READY:
                return True
            case Status.SCHEDULED | Status.BACKING_OFF | Status.RUNNING | Status.SUSPENDED:
                if meta.status is Status.SUSPENDED and notified:
                    return True
                if meta.continues_at is None:
                    return False
                wait = meta.continues_at - self.clock.now()
                if wait > 0 and (meta.status is Status.RUNNING or wait > MAX_INLINE_WAIT):
                    return False
                if wait > 0:
                    await self.clock.sleep(wait / 1000)
                return True
            case _:
                return False

    @staticmethod
    def _exhausted(meta: Meta, spec: HandlerSpec) -> bool:
        attempts = spec.options.retry.attempts if meta.outcome is None else None
        return attempts is not None and meta.failures >= attempts

    async def _give_up(self, meta: Meta, spec: HandlerSpec) -> None:
        """End or pause an invocation whose process ended in the last attempt of its policy."""
        if spec.options.retry.exhausted == "kill":
            await self.control.end(meta, Failure(500, f"gave up after {meta.failures} attempts: {meta.error}"))
        else:  # the last process may only have stopped for a while: it must not continue either
            await self.control.keep_paused(meta)

    def _runs_here(self, meta: Meta) -> bool:
        return self.handler(meta.target) is not None and meta.deployment in ("", self.deployment)

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

    async def _retry(self, id: str, due: int) -> None:
        await self.clock.sleep(max(0, due - self.clock.now()) / 1000)
        await self.resume(id)

    @contextmanager
    def _listen(self, id: str) -> Generator[asyncio.Future[Outcome]]:
        """Yield a future that completes if this process completes the invocation."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._listeners.setdefault(id, []).append(future)
        try:
            yield future
        finally:
            self._listeners[id].remove(future)
            if not self._listeners[id]:
                del self._listeners[id]

    async def first(self, future: asyncio.Future[Any], until: int) -> None:
        """Wait for a future, or for a time."""
        sleep = asyncio.ensure_future(self.clock.sleep(max(0, until - self.clock.now()) / 1000))
        try:
            await asyncio.wait({future, sleep}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()


def _report(task: asyncio.Task[Any]) -> None:
    """Log why background work failed for which no caller waits any more."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background work failed; what it was for is due again later", exc_info=error)


def _timer(meta: Meta) -> str:
    """Return the name of an invocation's timer. One that waits for the same time again has that timer already."""
    return f"{meta.status}-{meta.continues_at}"
