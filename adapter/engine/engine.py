"""The engine: accepts requests, resumes invocations, and sweeps up what is due."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from adapter.engine import journal as journals
from adapter.engine.blobs import Blobs
from adapter.engine.control import KILLED, PROMISE_CHECK, Control
from adapter.engine.deadlocks import Deadlocks
from adapter.engine.draft import APART, OWNER_CHECK, Times, notification
from adapter.engine.ids import SHARDS, idempotent_id, new_generation, new_nonce, random_id, workflow_id
from adapter.engine.journal import Began, Entry, Noted, encode
from adapter.engine.ledger import Exists, Fenced
from adapter.engine.member import Member
from adapter.engine.ports import (
    Change,
    Clock,
    Conflict,
    Create,
    Delete,
    Dispatcher,
    Finish,
    Put,
    Store,
    Timers,
    Unavailable,
    Update,
)
from adapter.engine.recent import Recent
from adapter.engine.records import (
    INLINE,
    NOTIFICATION_ID,
    PART,
    Head,
    Meta,
    Notification,
    Part,
    Piece,
    Ref,
    StateEntry,
    Status,
    Unreadable,
    Waiter,
    cut,
)
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
    Target,
    said,
)
from adapter.engine.unit import PATIENCE, Unit
from adapter.engine.waking import Waking
from adapter.errors import TerminalError

T = TypeVar("T")

log = logging.getLogger("adapter")

GRACE = 10_000
"""Milliseconds after which the sweeper takes a dispatch for lost."""

LEASE = 60_000
"""Milliseconds that an attempt in a process without a deadline is left alone."""

MARGIN = 2_000
"""Milliseconds that clocks may differ by."""

QUEUE_POLL = 100
"""Milliseconds after which a request that waits for its key looks at the latest whether it is its turn."""

RECHECK = 45_000
"""Milliseconds after which the sweeper looks for a deadlock again, at first."""

BATCH = 100
"""How many entries of the due index are read at a time."""

MAX_PARTS = 12
"""How many parts of payloads are put in one request: what the largest payload has."""

MAX_DISPATCHES = 10
"""How often the sweeper dispatches an invocation of which no attempt begins, before it pauses it."""


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


class Engine:
    """Runs invocations on its ports.

    Args:
        handlers: Those that live here.
        deployment: What tells this version of the code from others; kept with each invocation that begins here.
        kinds: The kind of a handler elsewhere, ``None`` if there is none such.
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
        poll: int = 20,
        always_replay: bool = False,
    ) -> None:
        self.store = store
        self.timers = timers
        self.dispatcher = dispatcher
        self.clock = clock
        self.deployment = deployment
        self.poll = poll
        self.always_replay = always_replay
        self.steps = 0
        """How many steps run in this process."""
        self.deadline: int | None = None
        """When this process is stopped, in milliseconds since the epoch; ``None``: it is not."""
        self.active: dict[str, Unit] = {}
        """The units that run an invocation in this process."""
        self._handlers = {(spec.service, spec.name): spec for spec in handlers}
        self._services = {service for service, _ in self._handlers}
        self._kinds = kinds
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listeners: dict[str, list[asyncio.Future[Outcome]]] = {}
        self._gates: dict[ObjectKey, _Gate] = {}
        self._resuming: set[str] = set()
        self.control = Control(self)
        self.deadlocks = Deadlocks(self)
        self.blobs = Blobs(self)
        self.recent = Recent(clock)
        self._random = random.Random()

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
                return Answer(
                    meta.id, False, await self._outcome_of(existing) or await self.outcome(meta.id, until=until)
                )
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
            return Answer(meta.id, False, await self._outcome_of(exists.found))
        return Answer(meta.id, True)

    async def outcome(self, id: str, *, until: int) -> Outcome | None:
        """Wait for an invocation to complete; ``None`` if it has not at that time."""
        with self._listen(id) as future:
            return await self._outcome(id, future, until)

    async def _outcome(
        self, id: str, future: asyncio.Future[Outcome], until: int, unit: asyncio.Task[Any] | None = None
    ) -> Outcome | None:
        interval = self.poll
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
                return await self._outcome_of(meta)
            if meta is not None and meta.status is Status.READY and self._runs_here(meta):
                # It has its key, or its result. Who was sent to run it may have to start first: this process is here.
                self.spawn(self.resume(id, fresh=meta.epoch == 0))
            longest = QUEUE_POLL if meta is not None and meta.status is Status.QUEUED else 1000
            interval = min(round(interval * 1.6), longest)
        return future.result()

    async def look(self, id: str) -> Meta | None:
        """An invocation's record, unless it has expired."""
        meta = await self.read(lambda: self.store.peek(id))
        return None if meta is None or meta.expired(self.clock.now()) else meta

    async def result(self, meta: Meta) -> Outcome | None:
        """The outcome of a completed record; ``None`` for one that is not."""
        return await self._outcome_of(meta)

    def handler(self, target: Target) -> HandlerSpec | None:
        """The handler, if it lives here."""
        return self._handlers.get((target.service, target.handler))

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

    async def resume(self, id: str, *, fresh: bool = False) -> None:
        """Have an invocation go on, if it can: the receiving end of a dispatch, a timer, the sweeper.

        Args:
            fresh: Whether most likely no attempt ran yet.

        Raises:
            Unreadable: If its record cannot be read.
        """
        unit = self.active.get(id)
        if unit is not None:
            unit.poke()
            return
        if id in self._resuming:
            return
        self._resuming.add(id)
        try:
            member = (await self._begin(id) if fresh else None) or await self._claim(id)
            if member is None:
                return
            head = None
            if member.meta.kind.exclusive:
                try:
                    head = (await self.heads([member.key]))[member.key]
                except Unreadable as error:
                    await self._put_off(member.meta, error)
                    return
                member.keyless = member.meta.outcome is not None and head.owner != member.ref
            unit = Unit(self, member, linger=0, head=None if member.keyless else head)
            self.active[id] = unit
        finally:
            self._resuming.discard(id)
        await self._run(unit)

    async def sweep(self) -> int:
        """Dispatch what is past due, fan out and delete what is over. Returns how many records it acted on.

        A sweep ends when it finds nothing more, or when little time is left.
        """
        count = 0
        for shard in range(SHARDS):
            seen: set[str] = set()
            limit = BATCH
            while self.remaining() > MARGIN:
                found = await self.read(lambda: self.store.due(shard, self.clock.now(), limit))  # noqa: B023
                entries = [entry for entry in found if entry.id not in seen]
                if not entries:
                    if len(found) < limit:
                        break
                    limit += BATCH  # records that cannot be read stay due, and are not to hide what is due after them
                    continue
                seen.update(entry.id for entry in entries)
                for start in range(0, len(entries), 16):
                    acted = await asyncio.gather(*(self._sweep(entry.id) for entry in entries[start : start + 16]))
                    count += sum(acted)
        return count

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
            except Exception:
                log.exception("background work failed; what it was for is due again later")

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- what units ask for ---

    def remaining(self) -> int:
        """Milliseconds until this process is stopped."""
        return 3_600_000 if self.deadline is None else self.deadline - self.clock.now()

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

    async def read(self, request: Callable[[], Awaitable[T]]) -> T:
        """Ask the store, and ask again while it is unavailable.

        Raises:
            Unavailable: If it stays so.
        """
        tries = 0
        while True:
            try:
                return await request()
            except Unavailable:
                tries += 1
                if tries > 8:
                    raise
                await self.back_off(tries)

    async def heads(self, keys: Sequence[ObjectKey]) -> dict[ObjectKey, Head]:
        """Read heads, all of them."""
        heads = await self.read(lambda: self.store.heads(keys))
        tries = 0
        while missing := [key for key in keys if key not in heads]:
            tries += 1
            await self.back_off(tries)
            heads |= await self.read(lambda missing=missing: self.store.heads(missing))  # type: ignore[misc]
        return heads

    async def load(self, id: str) -> tuple[list[Part], list[Piece], Meta | None, list[Notification]]:
        """Read an invocation whole: input parts, journal, record and notifications, those of its generation."""
        page = await self.read(lambda: self.store.load(id))
        parts, pieces, meta, notes = page.parts, page.pieces, page.meta, page.notifications
        while page.cursor is not None:
            page = await self.read(lambda page=page: self.store.load(id, page.cursor))  # type: ignore[misc]
            parts, pieces, notes = parts + page.parts, pieces + page.pieces, notes + page.notifications
            meta = page.meta or meta
        generation = meta.generation if meta is not None else ""
        return (
            [part for part in parts if part.generation == generation],
            [piece for piece in pieces if piece.generation == generation],
            meta,
            _in_order(note for note in notes if note.to.generation == generation),
        )

    async def journal(self, meta: Meta) -> list[Entry]:
        """Read an invocation's journal."""
        _, pieces, found, _ = await self.load(meta.id)
        if found is None or found.generation != meta.generation:
            return []
        return journals.read(meta.id, pieces, found.tail)

    async def pieces(self, meta: Meta) -> int:
        """Tell the place of the next piece of an invocation's journal, whether that can be read or not."""
        place, cursor = 0, None
        while True:
            found, cursor = await self.read(lambda: self.store.dependents(meta.id, cursor))  # noqa: B023
            places = [key.piece for key in found if key.generation == meta.generation and key.piece is not None]
            place = max([place, *(each + 1 for each in places)])
            if cursor is None:
                return place

    async def news(self, ref: Ref) -> list[Notification]:
        """Read the notifications to an invocation."""
        notes, cursor = await self.read(lambda: self.store.news(ref))
        while cursor is not None:
            more, cursor = await self.read(lambda cursor=cursor: self.store.news(ref, cursor))  # type: ignore[misc]
            notes = notes + more
        return [await self._whole(note) for note in _in_order(notes)]

    async def _whole(self, note: Notification) -> Notification:
        """A notification with its value, wherever that lies."""
        if not note.parts:
            return note
        parts = await self._parts(note.to, note.parts)
        if not parts or [part.index for part in parts] != list(range(len(parts))):
            raise Unreadable(f"{note.to.id}: parts of the value of its notification {note.id!r} are missing")
        return replace(note, outcome=Outcome(b"".join(part.data for part in parts)))

    async def input(self, meta: Meta, parts: Sequence[Part] | None = None) -> bytes:
        """Read an invocation's input; ``parts`` are what it lies in, where they were read already."""
        if meta.input is not None:
            return meta.input
        if parts is None:
            parts = await self._parts(meta.ref, "input")
        if len(parts) != meta.input_parts:
            raise Unreadable(f"{meta.id}: its input has {meta.input_parts} parts, and {len(parts)} are there")
        return b"".join(part.data for part in parts)

    async def entries(self, key: ObjectKey, generation: str, *, values: bool = False) -> dict[str, StateEntry]:
        """The state entries beside the head by their names, with or without their values."""
        entries, cursor = await self.read(lambda: self.store.entries(key, generation, values=values))
        while cursor is not None:
            more, cursor = await self.read(
                lambda cursor=cursor: self.store.entries(key, generation, cursor, values=values)  # type: ignore[misc]
            )
            entries = entries + more
        return {entry.name: entry for entry in entries}

    async def commit(self, changes: Sequence[Change], nonce: str) -> None:
        """Commit; after a lost answer send the same again until the answer is certain.

        Raises:
            Conflict: If a condition does not hold, and not because the very same commit had applied.
        """
        tries = 0
        while True:
            try:
                await self.store.commit(changes, nonce)
                return
            except Unavailable:
                tries += 1
                if self.remaining() < 0:
                    raise
                await self.back_off(tries)
            except Conflict as conflict:
                if tries and any(getattr(found, "nonce", None) == nonce for found in conflict.found.values()):
                    return
                raise

    async def put_apart(self, parts: Sequence[Part]) -> None:
        """Put parts of large payloads, ahead of the commit that points at them."""
        left, tries = list(parts), 0
        while left:
            batch, left = left[:MAX_PARTS], left[MAX_PARTS:]
            missed = await self.read(lambda batch=batch: self.store.put(batch))  # type: ignore[misc]
            if missed:
                tries += 1
                await self.back_off(tries)
                left = [*missed, *left]

    async def back_off(self, tries: int) -> None:
        """Wait with jitter before a further try, up to two seconds."""
        await self.clock.sleep(self._random.uniform(0, min(2.0, 0.005 * 2 ** min(tries, 10))))

    def finished(self, meta: Meta, outcome: Outcome) -> None:
        """An invocation was completed by a commit of this process."""
        for future in self._listeners.get(meta.id, ()):
            if not future.done():
                future.set_result(outcome)
        if meta.waiters:
            self.spawn(self.fan_out(meta))

    def notified(self, note: Notification, service: str, deployment: str, wakes: bool) -> None:
        """A notification was committed by this process."""
        unit = self.active.get(note.to.id)
        if unit is not None:
            unit.deliver(note)
        elif wakes:
            self.dispatch(note.to, service, deployment, fresh=False)

    def dispatch(self, ref: Ref, service: str, deployment: str, *, fresh: bool) -> None:
        """Have an invocation run."""
        self.spawn(self.dispatcher.dispatch(ref, service, deployment, fresh))

    def later(self, meta: Meta) -> None:
        """Have an invocation run when it is due: here, if that is soon, else by a timer."""
        if meta.due is None:
            return
        if meta.status is Status.BACKING_OFF and meta.due - self.clock.now() <= min(PATIENCE, self.remaining()):
            self.spawn(self._retry(meta.id, meta.due))
        else:
            self.spawn(self.timers.schedule(meta.ref, _timer(meta), meta.due))

    def unschedule(self, meta: Meta) -> None:
        """Forget the timer of an invocation that is over."""
        if meta.due is not None and meta.status in (Status.SCHEDULED, Status.SUSPENDED, Status.BACKING_OFF):
            self.spawn(self.timers.unschedule(meta.ref, _timer(meta)))

    def seen(self, head: Head) -> None:
        """A head was written by this process: the next request for the key need not read it."""
        self.recent.put(head)
        gate = self._gates.get(head.key)
        if gate is not None:
            gate.open()

    def report(self, meta: Meta, failures: int, error: BaseException) -> None:
        """An attempt failed."""
        log.warning(
            "attempt failed",
            exc_info=error,
            extra={"invocation_id": meta.id, "target": str(meta.target), "failures": failures},
        )

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
        if not together:
            await self.put_apart(parts)
        try:
            await self.commit([Create(meta, times.now), *(Put(part) for part in parts if together)], new_nonce())
        except Conflict as conflict:
            found = conflict.found[0]
            if isinstance(found, Meta) and found.generation != meta.generation:
                if not together:
                    await self._delete_dependents(meta)
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
        journal = journals.read(id, pieces) if meta.outcome is None else []  # it is to end, and not to be replayed
        seen = {entry.id for entry in journal if isinstance(entry, Noted)}
        if not await self._is_due(meta, any(note.id not in seen for note in notes)):
            return None
        begun = any(not isinstance(entry, Began) for entry in journal)
        elsewhere = begun and self.deployment and meta.deployment not in ("", self.deployment)
        if elsewhere or (meta.target.service not in self._services and self._kinds(meta.target) is not None):
            # A timer fires at the function that made it, whatever its version is by then; and who is told of a result
            # may have been put on other code since it asked.
            self.dispatch(meta.ref, meta.target.service, meta.deployment if meta.epoch else "", fresh=False)
            return None
        epoch = meta.epoch + 1
        times = self.times()
        spec = self.spec(meta)
        cancelled = any(note.id == "x" and note.id not in seen for note in notes)
        if meta.status is Status.READY and not cancelled and self._exhausted(meta, spec):
            await self._give_up(meta, spec)
            return None
        input = await self.input(meta, parts)
        notes = [await self._whole(note) for note in notes]
        values: dict[str, Any] = {"status": Status.RUNNING, "epoch": epoch, "due": times.lease, "dispatches": 0}
        values |= {"missing": None, "ticket": None, "awaits": None}
        if not begun:
            values["deployment"] = self.deployment
        # The due time as well: taking a place in an inbox does not raise the epoch, but changes that.
        changes: list[Change] = [Update(meta.ref, set=values, epoch=meta.epoch, due=meta.due)]
        nonce = new_nonce()
        place = pieces[-1].index + 1 if pieces else 0
        if meta.epoch:
            journal.append(Began(epoch))
            changes.append(Put(Piece(id, meta.generation, place, encode([Began(epoch)])[0], nonce)))
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
        self.report(meta, failures, error)
        text = said(str(error), MAX_ERROR)
        values: dict[str, Any] = {"failures": failures, "error": text, "dispatches": 0}
        if meta.outcome is not None or policy.attempts is None or failures < policy.attempts:
            due = self.clock.now() + round(policy.backoff(failures) * 1000)
            values |= {"status": Status.BACKING_OFF, "due": due}
        elif policy.exhausted == "kill":
            await self.control.end(meta, Failure(500, f"gave up after {failures} attempts: {text}"))
            return
        else:
            values |= {"status": Status.PAUSED, "due": None}
        try:
            await self.commit([Update(meta.ref, set=values, epoch=meta.epoch)], new_nonce())
        except Conflict:
            return
        self.later(replace(meta, **values))

    async def _is_due(self, meta: Meta, news: bool) -> bool:
        """Whether an attempt is to begin now; a time that is almost there is waited for."""
        match meta.status:
            case Status.READY:
                return True
            case Status.SCHEDULED | Status.BACKING_OFF | Status.RUNNING | Status.SUSPENDED:
                if meta.status is Status.SUSPENDED and news:
                    return True
                if meta.due is None:
                    return False
                wait = meta.due - self.clock.now()
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
        else:
            await self._change(meta, {"status": Status.PAUSED, "due": None})

    async def _change(self, meta: Meta, values: dict[str, Any]) -> bool:
        """Change a record, unless it has changed since it was read."""
        try:
            await self.commit([Update(meta.ref, set=values, epoch=meta.epoch, due=meta.due)], new_nonce())
        except Conflict:
            return False
        return True

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

        options = spec.options if spec is not None else Options()
        return HandlerSpec(meta.target.service, meta.target.handler, meta.kind, fail, options)

    async def payload(self, ref: Ref, name: str) -> bytes:
        """Read a payload that lies in parts."""
        return b"".join(part.data for part in await self._parts(ref, name))

    async def _parts(self, ref: Ref, name: str) -> list[Part]:
        parts, cursor = await self.read(lambda: self.store.output(ref, name))
        while cursor is not None:
            more, cursor = await self.read(lambda cursor=cursor: self.store.output(ref, name, cursor))  # type: ignore[misc]
            parts = parts + more
        return parts

    async def _outcome_of(self, meta: Meta) -> Outcome | None:
        if meta.live or meta.outcome is None:
            return None
        if meta.output_parts:
            value = await self.payload(meta.ref, f"output-{meta.epoch}")
            if -(-len(value) // PART) != meta.output_parts:
                return Outcome(failure=Failure(404, f"invocation {meta.id} has expired"))
            return Outcome(value)
        return meta.outcome

    async def _retry(self, id: str, due: int) -> None:
        await self.clock.sleep(max(0, due - self.clock.now()) / 1000)
        await self.resume(id)

    async def _sweep(self, id: str) -> bool:
        """Act on one record that the index says is due. One with which that fails is left, and keeps up no other."""
        try:
            return await self._act(id)
        except Unreadable as error:
            log.error("not swept: %s", error, extra={"invocation_id": id})
        except Exception:
            log.exception("not swept", extra={"invocation_id": id})
        return False

    async def _act(self, id: str) -> bool:
        meta = await self.read(lambda: self.store.peek(id))
        now = self.clock.now()
        if meta is None or meta.due is None or meta.due > now:
            return False
        if id.startswith("gc_"):
            await self.control.collect(meta)
            return True
        if id.startswith("prm_") and (meta.live or not meta.waiters):
            await self.control.check_promise(meta)
            return True
        if id.startswith("blb_") and meta.live:
            await self.blobs.give_up(meta)
            return True
        if not meta.live:
            if meta.waiters:
                await self.fan_out(meta)
            elif meta.expired(now):
                await self.delete(meta)
            else:
                await self._forget_journal(meta)
            return True
        values: dict[str, Any]
        if meta.status is Status.QUEUED:
            if await self.control.reclaim(meta):
                return True
            await self.deadlocks.check(meta)
            wait = RECHECK * 2 ** min(meta.dispatches, 6) if meta.parent is not None else OWNER_CHECK
            values = {"due": now + wait, "dispatches": meta.dispatches + 1}
        elif id in self.active:
            values = {"due": self.times().lease}
        elif meta.dispatches >= MAX_DISPATCHES:
            error = f"no attempt began after {meta.dispatches} dispatches; resume it when its function works"
            values = {"status": Status.PAUSED, "due": None, "error": error}
        else:
            delay = GRACE * 2 ** min(meta.dispatches, 8)
            values = {"status": Status.READY, "due": now + delay, "dispatches": meta.dispatches + 1}
            if meta.status is Status.RUNNING:
                values |= {
                    "failures": meta.failures + 1,
                    "error": "its process ended, or ran out of time, in an attempt",
                }
        if not await self._change(meta, values):
            return False
        if values.get("status") is Status.READY:
            self.dispatch(meta.ref, meta.target.service, meta.deployment if meta.epoch else "", fresh=meta.epoch == 0)
        return True

    async def fan_out(self, meta: Meta) -> None:
        """Tell everybody who waits for a completed invocation, then let its record rest until it expires."""
        outcome = await self._outcome_of(meta) or Outcome()
        cursor: Any = None
        while True:
            waiters, cursor = await self.read(lambda cursor=cursor: self.store.waiters(meta.ref, cursor))  # type: ignore[misc]
            for start in range(0, len(waiters), 16):
                await asyncio.gather(*(self._tell(waiter, outcome) for waiter in waiters[start : start + 16]))
            if cursor is None:
                break
        try:
            due = meta.forgets or meta.expires or self.clock.now() + PROMISE_CHECK
            await self.commit([Finish(meta.ref, set={"due": due, "waiters": 0})], new_nonce())
        except Conflict:
            return

    async def _tell(self, waiter: Waiter, outcome: Outcome) -> None:
        note, parts = notification(waiter.waiter, f"a{waiter.command}", outcome, self.clock.now(), waiter.id)
        await self.put_apart(parts)
        waking: Waking | None = Waking()
        while waking is not None:
            try:
                update = waking.update(waiter.waiter, self.times().grace)
                await self.commit([Delete(waiter), Put(note), update], new_nonce())
                told = replace(note, outcome=outcome)
                self.notified(told, waiter.service, waiter.deployment, waking.wakes)
                return
            except Conflict as conflict:
                if 0 in conflict.found:
                    return
                urgent = outcome.failure is not None
                waking = None if 1 in conflict.found else Waking.learn(waiter.waiter, conflict.found[2], urgent=urgent)
        try:
            await self.commit([Delete(waiter)], new_nonce())
        except Conflict:
            return

    async def _forget_journal(self, meta: Meta) -> None:
        """Delete the journal of a completed invocation, whose result is kept for longer."""
        if meta.forgets is not None:
            await self._delete_dependents(meta, journal_only=True)
        values = {"tail": None, "forgets": None, "due": meta.expires}
        with suppress(Conflict):
            await self.commit([Finish(meta.ref, set=values)], new_nonce())

    async def _delete_dependents(self, meta: Meta, *, journal_only: bool = False) -> None:
        cursor: Any = None
        while True:
            found, cursor = await self.read(lambda cursor=cursor: self.store.dependents(meta.id, cursor))  # type: ignore[misc]
            keys = [key for key in found if key.generation == meta.generation and (key.journal or not journal_only)]
            while keys:
                left = await self.read(lambda keys=keys: self.store.delete(keys[:25]))  # type: ignore[misc]
                keys = [*left, *keys[25:]]
            if cursor is None:
                break

    async def delete(self, meta: Meta) -> None:
        """Delete an expired invocation: what hangs on the record first, the record last.

        The id may be used again meanwhile: what has another generation is left alone.
        """
        await self._delete_dependents(meta)
        if meta.kind is Kind.WORKFLOW:
            await self.control.clear_state(meta.target.object)
        await self.read(lambda: self.store.forget(meta.ref, self.clock.now()))

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


def _in_order(notes: Iterable[Notification]) -> list[Notification]:
    """Notifications as they came.

    Raises:
        Unreadable: If one is for nothing that is known here.
    """
    ordered = sorted(notes, key=lambda note: note.created)
    for note in ordered:
        if not NOTIFICATION_ID.fullmatch(note.id):
            raise Unreadable(f"{note.to.id}: its notification {note.id!r} is damaged, or of a newer format")
    return ordered


def _timer(meta: Meta) -> str:
    """What tells an invocation's timers apart. One that waits for the same time once more has that timer already."""
    return f"{meta.status}-{meta.due}"
