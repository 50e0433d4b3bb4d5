"""The engine: accepts requests, resumes invocations, and sweeps up what is due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from adapter.engine import journal as journals
from adapter.engine.blobs import Blobs
from adapter.engine.control import KILLED, Control
from adapter.engine.deadlocks import Deadlocks
from adapter.engine.draft import APART, GRACE, MARGIN, Times
from adapter.engine.handover import Handover
from adapter.engine.ids import idempotent_id, new_generation, new_nonce, random_id, workflow_id
from adapter.engine.journal import Began, Noted, encode
from adapter.engine.ledger import Exists, Fenced
from adapter.engine.member import Member
from adapter.engine.ports import (
    Change,
    Clock,
    Conflict,
    Create,
    Dispatcher,
    Put,
    Store,
    Timers,
    Unavailable,
    Update,
)
from adapter.engine.recent import Recent
from adapter.engine.records import (
    INLINE,
    Head,
    Meta,
    Part,
    Piece,
    Ref,
    Status,
    Unreadable,
    cut,
)
from adapter.engine.reports import log_attempt, log_end, log_step
from adapter.engine.storage import Storage
from adapter.engine.sweeper import Sweeper
from adapter.engine.teller import Teller
from adapter.engine.types import (
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
    said,
)
from adapter.engine.unit import PATIENCE, Unit
from adapter.errors import TerminalError

T = TypeVar("T")

log = logging.getLogger("adapter")

LEASE = 60_000
"""Milliseconds that an attempt in a process without a deadline is left alone."""

QUEUE_POLL = 1000
"""Milliseconds after which a request that waits for its key looks at the latest whether it is its turn."""

POLLS = 8
"""A request that waits for its key looks again each time it has waited for an eighth more."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for."""

    target: Target
    input: bytes
    idempotency_key: str | None = None
    headers: Headers = field(default_factory=dict[str, str])
    delay: int = 0
    """Milliseconds; for a send."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request.

    Attributes:
        id: The invocation's.
        accepted: Whether the request made the invocation; else it was there before.
        outcome: How it ended; ``None`` where that is still to come.
    """

    id: str
    accepted: bool
    outcome: Outcome | None = None


class _Gate:
    """Requests for one key in this process take turns: each begins on the head that the one before has written."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.turn: asyncio.Future[None] | None = None

    def open(self) -> None:
        """The one whose turn it is has written the head, or is done."""
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(None)


class Engine(Storage):
    """Runs invocations on its ports.

    Args:
        handlers: Those that live here.
        deployment: What tells this version of the code from others; kept with each invocation that begins here.
        kinds: The kind of a handler elsewhere, ``None`` if there is none such.
        options: Its options, as far as they say how long things are kept: an operator may end it from here.
        poll: Milliseconds after which a waiting client's request first looks at the store.
        always_replay: Whether code is replayed from its start after each result that it is given, and suspended
            wherever it waits: for tests of handlers.
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
        self.steps = 0
        """How many steps run in this process."""
        self.active: dict[str, Unit] = {}
        """The units that run an invocation in this process."""
        self._handlers = {(spec.service, spec.name): spec for spec in handlers}
        self._services = {service for service, _ in self._handlers}
        self._kinds = kinds
        self._options = options
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listeners: dict[str, list[asyncio.Future[Outcome]]] = {}
        self._gates: dict[ObjectKey, _Gate] = {}
        self._resuming: dict[str, bool] = {}
        """What is about to begin, and whether it was to be resumed again meanwhile."""
        self.control = Control(self)
        self.deadlocks = Deadlocks(self)
        self.blobs = Blobs(self)
        self.handover = Handover(self)
        self.recent = Recent(clock)
        self.teller = Teller(self)
        self.sweeper = Sweeper(self)

    # --- requests ---

    async def call(self, request: Request, *, until: int) -> Answer:
        """Run a handler and wait for its outcome until a time in milliseconds; then the answer has none.

        Raises:
            TerminalError: If there is no such handler, or the input is too large.
            Unavailable: If the store did not take it.
        """
        self._require(request)
        spec = self.handler(request.target)
        if spec is None:
            answer = await self.send(request)
            if not answer.accepted and self.kind_of(request.target) is Kind.WORKFLOW:
                return Answer(answer.id, False)
            return replace(answer, outcome=await self.outcome(answer.id, until=until))
        meta, derived = self._new(request, spec.kind)
        member = Member(meta, request.input, spec)
        if derived:
            existing = await self._create(member)
            if existing is not None:
                if spec.kind is Kind.WORKFLOW:
                    return Answer(meta.id, False)
                return Answer(meta.id, False, await self.result(existing) or await self.outcome(meta.id, until=until))
        with self._listen(meta.id) as future:
            if spec.kind.exclusive and not derived:
                unit = await self._through_gate(member, until)
            else:
                head = self.recent.get(member.key) if spec.kind.exclusive else None
                unit = self.spawn(self._run(Unit(self, member, linger=until, head=head)))
            return Answer(meta.id, True, await self._outcome(meta.id, future, until, unit))

    async def send(self, request: Request, *, id: str | None = None) -> Answer:
        """Store a message, to be run now or after its delay.

        Raises:
            TerminalError: If there is no such handler, or the input is too large.
            Unavailable: If the store did not take it.
        """
        self._require(request)
        meta, _ = self._new(request, self.kind_of(request.target))
        if id is not None:
            meta = replace(meta, id=id)
        if request.delay:
            meta = replace(meta, status=Status.SCHEDULED, due=meta.created + request.delay)
        unit = Unit(self, Member(meta, request.input, None))
        try:
            await unit.run()
        except Exists as exists:
            accepted = exists.found.generation == meta.generation  # the answer was lost, and it has begun since
            if not accepted and len(request.input) > APART:
                await self.sweeper.delete_dependents(meta.ref)
            return Answer(meta.id, accepted, await self.result(exists.found))
        return Answer(meta.id, True)

    async def outcome(self, id: str, *, until: int) -> Outcome | None:
        """Wait for an invocation to complete; ``None`` if it has not at that time."""
        with self._listen(id) as future:
            return await self._outcome(id, future, until)

    async def _outcome(
        self, id: str, future: asyncio.Future[Outcome], until: int, unit: asyncio.Task[Any] | None = None
    ) -> Outcome | None:
        interval, began = self.poll, self.clock.now()
        while not future.done():
            now = self.clock.now()
            if now >= until:
                return None
            await self.first(future, min(until, now + interval))
            if future.done():
                break
            if id in self.active or (unit is not None and not unit.done() and interval < 1000):
                interval = min(interval * 2, 1000)
                continue
            meta = await self.read(lambda: self.store.peek(id))
            if meta is not None and not meta.live:
                return await self.result(meta)
            if meta is not None and meta.status is Status.READY and self._runs_here(meta):
                # It has its key, or its result. Who was sent to run it may have to start first: this process is here.
                self.spawn(self.resume(id, fresh=meta.epoch == 0))
            if meta is not None and meta.status is Status.QUEUED:
                interval = min(max(self.poll, (now - began) // POLLS), QUEUE_POLL)
            else:
                interval = min(round(interval * 1.6), 1000)
        return future.result()

    def handler(self, target: Target) -> HandlerSpec | None:
        """The handler, if it lives here."""
        return self._handlers.get((target.service, target.handler))

    def hosts(self, target: Target) -> bool:
        """Whether a target's service lives here, or nowhere."""
        return target.service in self._services or self._kinds(target) is None

    def unknown(self, target: Target) -> str | None:
        """What is wrong with a target: no such service, no such handler, a key too many or missing."""
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

    def kind_of(self, target: Target) -> Kind:
        """The kind of a handler, here or elsewhere."""
        spec = self.handler(target)
        kind = spec.kind if spec else self._kinds(target)
        return kind or (Kind.SERVICE if target.key is None else Kind.EXCLUSIVE)

    # --- what wakes invocations ---

    async def resume(self, id: str, *, fresh: bool = False, key: ObjectKey | None = None) -> None:
        """Have an invocation go on, if it can: the receiving end of a dispatch, a timer, the sweeper.

        Args:
            id: The invocation's.
            fresh: Whether most likely no attempt ran yet.
            key: The key that it was just given, from the inbox.

        Raises:
            Unreadable: If its record cannot be read.
        """
        unit = self.active.get(id)
        if unit is not None:
            unit.poke(id)
            return
        if id in self._resuming:
            self._resuming[id] = True
            return
        self._resuming[id] = False
        try:
            heads: dict[ObjectKey, Head] = {}
            if key is not None:
                member, heads = await asyncio.gather(self._begin(id), self.heads([key]))
            else:
                member = await self._begin(id) if fresh else None
            member = member or await self._claim(id)
            while member is None and self._resuming[id]:  # there may be something to do since
                self._resuming[id] = False
                member = await self._claim(id)
            if member is None:
                return
            head = None
            if member.meta.kind.exclusive:
                try:
                    heads = heads or await self.heads([member.key])
                    head = heads[member.key]
                except Unreadable as error:
                    await self._put_off(member.meta, error)
                    return
                member.keyless = member.meta.outcome is not None and head.owner != member.ref
            unit = Unit(self, member, linger=0, head=None if member.keyless else head)
            self.active[id] = unit
        finally:
            del self._resuming[id]
        await self._run(unit)

    async def drain(self) -> None:
        """Wait until nothing that was begun here is under way any more."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def abort(self) -> None:
        """Drop everything that was begun here, as a crash of the process would."""
        for task in self._tasks:
            task.cancel()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something beside what goes on; `drain` waits for it."""

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
        """Do something that goes on to its end even if whoever waits for it is cancelled; `drain` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_report)
            raise

    # --- what units ask for ---

    def times(self) -> Times:
        """The due times that a commit made now writes."""
        now = self.clock.now()
        lease = now + LEASE if self.deadline is None else max(self.deadline, now) + MARGIN
        return Times(now, lease, now + GRACE)

    async def wait(self, signal: asyncio.Event, until: int | None) -> bool:
        """Wait for the signal, or for a time in milliseconds. Returns whether it was the signal."""
        if until is None or signal.is_set():
            await signal.wait()
            return True
        task = asyncio.ensure_future(signal.wait())
        try:
            await self.first(task, until)
        finally:
            task.cancel()
        return signal.is_set()

    def finished(self, meta: Meta, outcome: Outcome) -> None:
        """An invocation was completed by a commit of this process."""
        log_end(meta, outcome, self.clock.now())
        for future in self._listeners.get(meta.id, ()):
            if not future.done():
                future.set_result(outcome)
        if meta.waiters:
            self.spawn(self.sweeper.fan_out(meta))

    def dispatch(self, ref: Ref, service: str, deployment: str, *, fresh: bool) -> None:
        """Have an invocation run."""
        self.spawn(self.dispatcher.dispatch(ref, service, deployment, fresh))

    def later(self, meta: Meta) -> None:
        """Have an invocation run when it is due: here, if that is soon, else by a timer."""
        if meta.alarm is None:
            return
        if meta.status is Status.BACKING_OFF and meta.alarm - self.clock.now() <= min(PATIENCE, self.remaining()):
            self.spawn(self._retry(meta.id, meta.alarm))
        else:
            self.spawn(self.timers.schedule(meta.ref, _timer(meta), meta.alarm))

    def unschedule(self, meta: Meta) -> None:
        """Forget the timer of an invocation that is over."""
        if meta.alarm is not None and meta.status in (Status.SCHEDULED, Status.SUSPENDED, Status.BACKING_OFF):
            self.spawn(self.timers.unschedule(meta.ref, _timer(meta)))

    def seen(self, head: Head) -> None:
        """A head was written by this process: the next request for the key need not read it."""
        self.recent.put(head)
        self.pass_gate(head.key)

    def pass_gate(self, key: ObjectKey) -> None:
        """Have the next request for a key begin in this process."""
        gate = self._gates.get(key)
        if gate is not None:
            gate.open()

    def granted(self, ref: Ref, key: ObjectKey) -> None:
        """Run an invocation that this process has given its key: here, if its client waits here."""
        if ref.id in self._listeners and key.service in self._services:
            self.spawn(self.resume(ref.id, key=key))
        else:
            self.dispatch(ref, key.service, "", fresh=True)

    def report(self, meta: Meta, failures: int, error: BaseException, due: int | None) -> None:
        """An attempt failed.

        Args:
            meta: The invocation.
            failures: How many attempts failed since the last progress, with this one. 0: it failed only because a step
                is to be tried again, which `report_step` has logged.
            error: What ended the attempt.
            due: When the next attempt is due, in milliseconds since the epoch. ``None``: there is none.
        """
        if failures:
            log_attempt(meta, self.spec(meta).options.retry, failures, error, due, self.clock.now())

    def report_step(
        self, meta: Meta, name: str, tries: int, policy: RetryPolicy, error: BaseException, due: int | None
    ) -> None:
        """A try of a step that has a retry policy of its own failed. For the rest see `report`."""
        log_step(meta, name, policy, tries, error, due, self.clock.now())

    # --- inside ---

    def _require(self, request: Request) -> None:
        """Refuse what cannot be.

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
        """A record for the request, and whether its id is derived, so that it may be there already."""
        target, now = request.target, self.clock.now()
        derived = True
        if kind is Kind.WORKFLOW and target.key is not None:
            id = workflow_id(target.service, target.key)
        elif request.idempotency_key is not None:
            id = idempotent_id(target, request.idempotency_key)
        else:
            id, derived = random_id(), False
        meta = Meta(
            id=id,
            generation=new_generation(),
            target=target,
            kind=kind,
            status=Status.READY,
            created=now,
            headers=request.headers,
            input=request.input,
            idempotent=request.idempotency_key is not None,
            deployment=self.deployment if self.handler(target) else "",
        )
        return meta, derived

    async def _create(self, member: Member) -> Meta | None:
        """Store an invocation that begins here. Returns the record that is there already, if so."""
        times = self.times()
        meta = replace(member.meta, status=Status.RUNNING, epoch=1, due=times.lease)
        parts: list[Part] = []
        if len(member.input) > INLINE:
            parts = cut(meta.ref, "input", member.input)
            meta = replace(meta, input=None, input_parts=len(parts))
        together = len(member.input) <= APART
        more: list[Change] = [Put(part) for part in parts]
        if not together:
            more = [self.blobs.keep_input(await self.blobs.put_input(meta, parts))]
        try:
            await self.commit([Create(meta, times.now), *more], new_nonce())
        except Conflict as conflict:
            if 0 not in conflict.found:
                raise Unavailable(f"{meta.id}: its input was given up before it was stored") from conflict
            found = conflict.found[0]
            if isinstance(found, Meta) and found.generation != meta.generation:
                if not together:
                    await self.sweeper.delete_dependents(meta.ref)
                if found.waiters and found.expired(self.clock.now()):
                    await self.sweeper.fan_out(found)
                    return await self._create(member)
                return found
        member.meta, member.stored = meta, True
        return None

    async def _through_gate(self, member: Member, until: int) -> asyncio.Task[Any]:
        """Run a request for a key when those before it in this process have had their turn; do not wait for its end."""
        gate = self._gates.setdefault(member.key, _Gate())
        gate.users += 1
        try:
            async with gate.lock:
                gate.turn = asyncio.get_running_loop().create_future()
                task = self.spawn(self._run(Unit(self, member, linger=until, head=self.recent.get(member.key))))
                task.add_done_callback(lambda _: gate.open())
                await gate.turn
                return task
        finally:
            gate.users -= 1
            if not gate.users:
                del self._gates[member.key]

    async def _run(self, unit: Unit) -> None:
        """Drive a unit to its end."""
        id = unit.root.meta.id
        try:
            await unit.run()
        except Fenced as fenced:
            log.info("attempt dropped: %s", fenced, extra={"invocation_id": id})
            await self._let_go(unit)
        except Exception as error:
            listeners = self._listeners.get(id, ())
            if isinstance(error, Unreadable) and (unit.root.stored or listeners):
                await self._stopped(unit, error)
                if unit.root.stored:
                    return
            if unit.root.stored or not listeners:
                raise
            for future in listeners:
                if not future.done():
                    future.set_exception(error)

    async def _let_go(self, unit: Unit) -> None:
        """One of a unit was taken over: the others go on at once, and did not fail."""
        for poked in unit.poked:
            self.spawn(self.resume(poked))
        for member in unit.undone:
            meta = member.meta
            if member.stored and meta.status is Status.RUNNING:
                with suppress(Unreadable):  # then the sweeper takes it up when its lease has ended
                    if await self.change(meta, {"status": Status.READY, "due": self.times().grace}):
                        self.dispatch(meta.ref, meta.target.service, meta.deployment, fresh=False)

    async def _stopped(self, unit: Unit, error: Unreadable) -> None:
        """A unit met something that cannot be read: that is a failed attempt of all that ran in it."""
        for member in dict.fromkeys(unit.ledger.members()):
            if member.stored and member.meta.status is Status.RUNNING:
                await self._put_off(member.meta, error, progress=member.progress)

    async def _begin(self, id: str) -> Member | None:
        """The first attempt of an invocation that was dispatched."""
        times = self.times()
        nonce = new_nonce()
        values = {"status": Status.RUNNING, "due": times.lease, "deployment": self.deployment, "dispatches": 0}
        values |= {"nonce": nonce}
        began, meta = await self.read(lambda: self.store.start(id, set=values, now=times.now))
        # The answer to an earlier try may have been lost.
        if meta is None or not (began or (meta.nonce == nonce and meta.epoch == 1 and meta.live)):
            return None
        try:
            member = Member(meta, await self.input(meta), self.spec(meta), stored=True)
            if meta.notifications:
                member.notes = {note.id: note.outcome for note in await self.news(meta.ref)}
                member.counted = meta.notifications
        except Unreadable as error:
            await self._put_off(meta, error)
            return None
        return member

    async def _claim(self, id: str) -> Member | None:
        """A further attempt: load what there is, and raise the epoch, unless there is nothing to do."""
        try:
            return await self._take_over(id)
        except Unreadable as error:
            await self._cannot_begin(id, error)
            return None

    async def _take_over(self, id: str) -> Member | None:
        parts, pieces, meta, notes = await self.load(id)
        if meta is None or meta.expired(self.clock.now()):
            return None
        # What is to end is not replayed.
        journal = journals.read(id, pieces, count=meta.pieces) if meta.outcome is None else []
        if meta.status is Status.QUEUED:
            await self.deadlocks.check(meta)  # another function found it to be the youngest of a ring
        seen = {entry.id for entry in journal if isinstance(entry, Noted)}
        if not await self._is_due(meta, any(note.id not in seen for note in notes)):
            return None
        begun = any(not isinstance(entry, Began) for entry in journal)
        elsewhere = begun and self.deployment and meta.deployment not in ("", self.deployment)
        if elsewhere or not self.hosts(meta.target):
            # A timer fires at the function that made it, whatever its version is by then; and who is told of a result
            # may have been put on other code since it asked.
            self.dispatch(meta.ref, meta.target.service, meta.deployment if meta.epoch else "", fresh=False)
            return None
        epoch = meta.epoch + 1
        times = self.times()
        spec = self.spec(meta)
        if journal and not isinstance(journal[-1], Began):  # the last attempt got somewhere before its process ended
            meta = replace(meta, failures=min(meta.failures, 1))
        cancelled = any(note.id == "x" and note.id not in seen for note in notes)
        if meta.status is Status.READY and not cancelled and self._exhausted(meta, spec):
            await self._give_up(meta, spec)
            return None
        input = await self.input(meta, parts)
        notes = [await self.whole(note) for note in notes]
        values: dict[str, Any] = {"status": Status.RUNNING, "epoch": epoch, "due": times.lease, "dispatches": 0}
        values |= {"wake_after": None, "seen": 0, "timer": None, "ticket": None, "awaits": None}
        values |= {"failures": meta.failures}
        if not begun:
            values["deployment"] = self.deployment
        # The due time as well: taking a place in an inbox does not raise the epoch, but changes that.
        changes: list[Change] = [Update(meta.ref, set=values, epoch=meta.epoch, due=meta.due)]
        nonce = new_nonce()
        place = pieces[-1].index + 1 if pieces else 0
        if meta.epoch:
            values["pieces"] = place + 1
            journal.append(Began(epoch, lost=meta.unended))
            changes.append(Put(Piece(id, meta.generation, place, encode(journal[-1:])[0], nonce)))
        try:
            await self.commit(changes, nonce)
        except Conflict as conflict:
            found = conflict.found.get(0, meta)
            if isinstance(found, Meta) and found.live and found.epoch == meta.epoch:
                return await self._take_over(id)  # it has moved, and nobody has begun an attempt
            return None
        meta = replace(meta, **values)
        if meta.outcome is not None and meta.outcome.failure == KILLED:
            await self.control.kill_calls(meta)
        member = Member(meta, input, spec, stored=True, journal=journal)
        member.pieces = place + (1 if epoch > 1 else 0)
        member.notes = {note.id: note.outcome for note in notes}
        member.counted = meta.notifications
        return member

    async def _cannot_begin(self, id: str, error: Unreadable) -> None:
        """Something of an invocation that an attempt was to begin with cannot be read.

        Raises:
            Unreadable: If that is the record.
        """
        meta = await self.look(id)
        if meta is None or meta.target.service not in self._services or not await self._is_due(meta, news=False):
            return
        if meta.outcome is not None and meta.outcome.failure is not None:
            await self.control.end(meta, meta.outcome.failure)  # which takes nothing but the record
        else:
            await self._put_off(meta, error)

    async def _put_off(self, meta: Meta, error: Unreadable, *, progress: bool = False) -> None:
        """Take it for a failed attempt that something cannot be read: perhaps newer code, or an operator, can."""
        policy = self.spec(meta).options.retry
        failures = 1 if progress else meta.failures + 1
        text = said(str(error), MAX_ERROR)
        values: dict[str, Any] = {"failures": failures, "error": text, "dispatches": 0}
        if meta.outcome is not None or policy.attempts is None or failures < policy.attempts:
            due = self.clock.now() + round(policy.backoff(failures) * 1000)
            values |= {"status": Status.BACKING_OFF, "due": due}
        elif policy.exhausted == "kill":
            if await self.control.end(meta, Failure(500, f"gave up after {failures} attempts: {text}")):
                self.report(meta, failures, error, None)
            return
        else:
            values |= {"status": Status.PAUSED, "due": None}
        try:
            await self.commit([Update(meta.ref, set=values, epoch=meta.epoch)], new_nonce())
        except Conflict:
            return  # it is over, or another's, and what could not be read may have been deleted
        self.report(meta, failures, error, values["due"])
        self.later(replace(meta, **values))

    async def _is_due(self, meta: Meta, news: bool) -> bool:
        """Whether an attempt is to begin now; a time that is almost there is waited for."""
        match meta.status:
            case Status.READY:
                return True
            case Status.SCHEDULED | Status.BACKING_OFF | Status.RUNNING | Status.SUSPENDED:
                if meta.status is Status.SUSPENDED and news:
                    return True
                if meta.alarm is None:
                    return False
                wait = meta.alarm - self.clock.now()
                if wait > 0 and (meta.status is Status.RUNNING or wait > PATIENCE):
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
        """All attempts are used up, the last one by a process that ended in it."""
        if spec.options.retry.exhausted == "kill":
            await self.control.end(meta, Failure(500, f"gave up after {meta.failures} attempts: {meta.error}"))
        else:  # the last process may only have stood still: it is not to go on either
            await self.control.overtake(meta, {"status": Status.PAUSED, "due": None})

    def _runs_here(self, meta: Meta) -> bool:
        return self.handler(meta.target) is not None and meta.deployment in ("", self.deployment)

    def spec(self, meta: Meta) -> HandlerSpec:
        """What an attempt runs: the handler, or what fails in its stead if it is gone or the invocation is to end."""
        spec = self.handler(meta.target)
        if spec is not None and meta.outcome is None:
            return spec
        message, code = f"{meta.target.service!r} has no handler {meta.target.handler!r} any more", 404
        if meta.outcome is not None and meta.outcome.failure is not None:
            message, code = meta.outcome.failure.message, meta.outcome.failure.code

        async def fail(issuer: object, input: bytes) -> bytes:
            raise TerminalError(message, code=code)

        options = spec.options if spec is not None else self._options(meta.target)
        return HandlerSpec(meta.target.service, meta.target.handler, meta.kind, fail, options)

    async def _retry(self, id: str, due: int) -> None:
        await self.clock.sleep(max(0, due - self.clock.now()) / 1000)
        await self.resume(id)

    @contextmanager
    def _listen(self, id: str) -> Generator[asyncio.Future[Outcome]]:
        """A future that this process completes if it completes the invocation."""
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
    """Log why work failed for which nobody waits any more."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background work failed; what it was for is due again later", exc_info=error)


def _timer(meta: Meta) -> str:
    """What tells an invocation's timers apart. One that waits for the same time once more has that timer already."""
    return f"{meta.status}-{meta.alarm}"
