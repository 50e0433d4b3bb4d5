"""A unit of work: an invocation, and those that it calls in this process, driven together and committed together.

What its handlers do is logged as effects, in order. Whenever something outside is about to depend on them (a step is
to start, a message to be dispatched, a response to be given), a stretch of the log from its beginning becomes one
commit. Nothing that is in the log and not committed has had any effect, so where a commit meets a conflict the unit
can be rewound: its handlers are replayed from what is committed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adapter.engine import commands as c
from adapter.engine.attempt import CANCEL, Attempt, Pending, PendingInvocation, describe
from adapter.engine.deadlocks import deadlock
from adapter.engine.draft import APART, MAX_ITEMS, Draft, Key, Step, plan
from adapter.engine.ids import new_generation, new_nonce
from adapter.engine.journal import Done, Issued, Noted
from adapter.engine.keys import KeyState
from adapter.engine.member import Arrived, Born, Ended, Failed, Left, Log, Member, Wait, Wrote
from adapter.engine.ports import Change, Conflict, Create, Delete, Put, Update, WriteHead
from adapter.engine.records import (
    PART,
    Awaits,
    Head,
    InboxEntry,
    Meta,
    Notification,
    Parent,
    Part,
    Piece,
    Record,
    Status,
)
from adapter.engine.types import MAX_PAYLOAD, Failure, Kind, ObjectKey, Outcome, RetryPolicy, Target
from adapter.engine.waking import Waking
from adapter.errors import NonDeterminismError, TerminalError

if TYPE_CHECKING:
    from adapter.engine.engine import Engine

MOMENT = 50
"""Milliseconds that a handler may wait before what it did is committed, so that a crash does not lose it."""

NOTED = -2
"""Stands in an event for the command that its notification names."""

DUTIES = frozenset({c.Cancel, c.Complete, c.SendSignal, c.CompletePromise})
"""The commands that are carried out even if the handler returns without waiting for them."""

CANCELLED = Failure(409, "cancelled")

PATIENCE = 2000
"""Milliseconds up to which a wait is waited out in the process rather than suspended."""

DEADLOCK = 1000
"""Milliseconds after which a unit that waits for calls looks whether they are part of a deadlock."""

MAX_AWAITS = 20
"""How many calls a record names as what it waits for."""

LOOK = 3000
"""Milliseconds after which a unit looks at its records again: a cancellation, or another attempt, came in."""

MAX_LOG = 400
"""Steps in the log at which it is committed without another reason."""


class Fenced(Exception):
    """Another attempt, or an operator, took over: nothing that this one did since its last commit counts."""


class Rewind(Exception):
    """What the handlers saw is no longer so: replay them from what is committed."""


class News(Exception):
    """A notification came in before the suspension."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a handler is to be told: a result of command ``n``, or that its attempt failed."""

    member: str
    n: int
    outcome: Outcome | None = None
    note: str | None = None
    child: Member | None = None
    error: BaseException | None = None


class Unit:
    """One unit of work.

    Args:
        engine: What it runs on.
        root: The invocation that it begins with. One without a spec runs elsewhere and is only stored.
        linger: Until when, in milliseconds, a client waits, so that a blocked handler is not suspended yet.
        head: The head of the root's key, where the caller has just read it.
    """

    def __init__(self, engine: Engine, root: Member, *, linger: int = 0, head: Head | None = None) -> None:
        self.engine = engine
        self.root = root
        self.members: dict[str, Member] = {}
        self.keys: dict[ObjectKey, Key] = {}
        self._linger = 0 if engine.always_replay else linger
        self._most = 0 if engine.always_replay else MAX_LOG
        self._log: list[Step] = []
        self._ready: deque[Member] = deque()
        self._events: deque[Event] = deque()
        self._signal = asyncio.Event()
        self._closures: list[tuple[Member, int, c.Run]] = []
        self._errands: list[tuple[Member, int, c.Errand]] = []
        self._running: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._steps: set[tuple[str, int]] = set()
        self._loading: set[ObjectKey] = set()
        self._timers: dict[tuple[str, int], int] = {}
        self._known: dict[str, Meta] = {}
        self._made: set[str] = set()
        """The ids of the invocations that code in this unit has made, but for what a rewind has undone."""
        self._created: set[str] = set()
        """Those of them that are committed."""
        self._outbound = False
        """Whether the log holds what another process is to take up."""
        self._granting = False
        """Whether somebody may run as soon as it is committed that a key is theirs."""
        self._poked = False
        self._looked = engine.clock.now()
        self._broken: Exception | None = None
        """What went wrong in a read: the unit cannot go on."""
        self.existing: Meta | None = None
        """The record that was there when the root was to be created."""
        if head is not None:
            self.keys[head.key] = Key(head.key, head)

    # --- the life of a unit ---

    async def run(self) -> None:
        """Drive it until all that runs in it has ended, failed or been suspended.

        Raises:
            Fenced: If another attempt took over.
        """
        self._loop = asyncio.get_running_loop()
        try:
            self._open()
            while True:
                try:
                    if await self._turn():
                        return
                except Rewind:
                    self._rewind()
        finally:
            for member in self.members.values():
                self.engine.active.pop(member.meta.id, None)
                member.drop()
            for task in self._running.values():
                task.cancel()

    def deliver(self, note: Notification) -> None:
        """Take in a notification that was committed."""
        member = self.members.get(note.to.id)
        if member is not None and member.ref == note.to and note.id not in member.notes:
            member.notes[note.id] = note.outcome
            self._post(Event(note.to.id, NOTED, note.outcome, note.id))

    def poke(self) -> None:
        """Have a waiting unit look at the store again."""
        self._poked = True
        self._signal.set()

    def _open(self) -> None:
        root = self.root
        step: Step = () if root.stored else (Born(root),)
        if root.spec is not None:
            self.members[root.meta.id] = root
            self.engine.active[root.meta.id] = self
        if root.exclusive and root.meta.status is not Status.SCHEDULED:
            key = self._key(root.key)
            if key.head is None or key.head.owner != root.ref:
                step = (*step, Arrived(root))
            self._record(step)
            self._touch(root.key)
        else:
            self._record(step)
            if root.spec is not None:
                self._start(root)
        self._outbound = self._outbound or root.spec is None

    def _rewind(self) -> None:
        """Go back to what is committed, and replay from there. Steps go on, and keep their results."""
        results = self._step_results()
        for member in (members := {member.meta.id: member for member in self._touched()}).values():
            member.drop()
        self._log.clear()
        self._ready.clear()
        self._closures.clear()
        self._errands.clear()
        self._timers.clear()
        self._made &= self._created
        self._outbound = self._granting = False
        self.members = {id: member for id, member in members.items() if member.stored and member.spec is not None}
        events = (event for event in (*results, *self._events) if event.member in self.members and event.child is None)
        self._events = deque(events)
        for name, task in list(self._running.items()):
            if name not in self._steps or name[0] not in self.members:
                del self._running[name]
                task.cancel()
        self._loading.clear()
        for key in self.keys.values():
            key.ran = False
            key.live = None
        if not self.root.stored or self.root.meta.id in self.members:
            self._open()
        for id, member in self.members.items():
            if member is not self.root:
                self.engine.active[id] = self
                if member.exclusive:
                    self._touch(member.key)
                else:
                    self._start(member)

    async def _turn(self) -> bool:
        """One round: advance the code, then commit, wait or suspend. Returns whether the unit is over."""
        await self._drive()
        if self._broken is not None:
            raise self._broken
        if self.engine.clock.now() - self._looked >= LOOK:
            await self._look()
        replay = self.engine.always_replay and bool(self._log)
        if len(self._log) > MAX_LOG:
            await self._commit(keep_last=True)
        if self._loading:
            await self._wait(None)
        elif self._closures or self._errands or self._granting or replay:
            self._granting = False
            await self._commit(keep_steps=not replay)
            if replay and self.members:
                raise Rewind
            self._begin_steps()
        elif not self.members:
            await self._commit()
            return True
        elif self._over():
            await self._commit()
        elif self._running:
            if self._outbound:
                await self._commit(keep_steps=True)
            await self._wait(min(self._next_timer() or sys.maxsize, self._looked + LOOK))
        else:
            await self._idle()
        return False

    def _over(self) -> bool:
        """Whether the root's outcome, or somebody's failure, is in the log and wants to be known."""
        return any(
            isinstance(effect, Failed) or (isinstance(effect, Ended) and effect.member is self.root)
            for step in self._log
            for effect in step
        )

    async def _idle(self) -> None:
        """All code is blocked, and nothing under way here would unblock it."""
        if self._events or self._ready:
            return  # a step has ended, or a head was read, since the code was driven
        now = self.engine.clock.now()
        timer = self._next_timer()
        waiting = [member for member in self.members.values() if member.attempt is not None]
        for member in waiting:
            assert member.attempt is not None
            if not member.attempt.waits():
                self._fail(
                    member,
                    NonDeterminismError("the handler waits for something that no durable operation will ever complete"),
                )
                return
        if self._break_ring():
            return
        stay = 0 if self.engine.always_replay else self.engine.remaining()
        if timer is not None and timer - now <= min(PATIENCE, stay):
            if self._outbound or timer - now > MOMENT:
                await self._commit()
            await self._wait(timer)
        elif now < self._linger and stay > 0:
            await self._commit()
            await self._poll(timer)
        else:
            try:
                await self._suspend(waiting)
            except News:
                for member in waiting:
                    await self._read_news(member)

    # --- advancing the code ---

    async def _drive(self) -> None:
        """Run all code that can run, from outside of any task: the handlers have a loop of their own."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def advance() -> None:
            try:
                if not done.done():
                    self._advance()
                    done.set_result(None)
            except BaseException as error:
                done.set_exception(error)

        if self._ready or self._events or self._due_timers():
            loop.call_soon(advance)
            await done

    def _advance(self) -> None:
        start = len(self._log)
        while len(self._log) - start <= self._most:
            if self._ready:
                member = self._ready.popleft()
                if member.attempt is not None:
                    member.attempt.run()
                    self._cancel_calls(member.attempt)
                    self._check(member)
            elif self._events:
                self._handle(self._events.popleft())
            else:
                due = self._due_timers()
                if not due:
                    return
                for id, n in due:
                    del self._timers[id, n]
                    self._events.append(Event(id, n, Outcome(None)))

    def _handle(self, event: Event) -> None:
        member = self.members.get(event.member)
        if event.child is not None:
            self._end_child(event.child, event.outcome or Outcome())
            return
        if member is None or member.attempt is None:
            return
        if event.error is not None:
            self._fail(member, event.error)
            return
        assert event.outcome is not None
        if event.note is None and not self._expected(member.attempt, event.n):
            return
        n = event.n if event.note is None else self._addressee(member.attempt, event.note)
        if n is None:
            return
        if event.note is not None:
            member.attempt.noted.add(event.note)
        self._record((Log(member, Done(n, event.outcome) if event.note is None else Noted(n, event.note)),))
        member.attempt.deliver(n, event.outcome)
        if n == CANCEL:
            self._cancel_calls(member.attempt)
        elif member.attempt.operations[n].command.__class__ in DUTIES:
            member.duties -= 1
        self._check(member)

    @staticmethod
    def _expected(attempt: Attempt, n: int) -> bool:
        """Whether command ``n`` was issued and has no result yet."""
        if n == CANCEL:
            return not attempt.cancelled
        return n < len(attempt.operations) and attempt.operations[n].outcome is None

    @classmethod
    def _addressee(cls, attempt: Attempt, note: str) -> int | None:
        """The command that a notification is for; ``None`` if it has its result, or was not issued yet."""
        if note in attempt.noted:
            return None
        if note == "x":
            return None if attempt.cancelled else CANCEL
        operations = attempt.operations
        if note.startswith("s"):
            name = note.split(":", 1)[1]
            waiting = (p.n for p in operations if p.command == c.Signal(name) and p.outcome is None)
            return next(waiting, None)
        n = int(note[1:])
        return n if cls._expected(attempt, n) else None

    def _cancel_calls(self, attempt: Attempt) -> None:
        """A cancellation travels down the calls that are under way."""
        for call in attempt.to_cancel():
            child = self.members.get(call.id)
            if child is not None and not child.stored:
                child.cancelled = True
                self._post(Event(call.id, CANCEL, Outcome(failure=CANCELLED)))
            else:
                self.engine.spawn(self.engine.control.cancel(call.id))

    def _check(self, member: Member) -> None:
        """See whether an attempt ended."""
        attempt = member.attempt
        if attempt is None or not attempt.ended or (member.duties and attempt.fault is None and not attempt.failed):
            return
        try:
            outcome = _bounded(attempt.result(), f"the output of {member.meta.target}")
        except BaseException as error:
            self._fail(member, error)
            return
        if member.caller is not None:
            self._events.append(Event(member.caller.meta.id, -1, outcome, child=member))
        else:
            self._retire(member)
            self._end(member, outcome)

    def _end_child(self, child: Member, outcome: Outcome) -> None:
        self._retire(child)
        caller = child.caller
        if caller is None or caller.attempt is None:
            child.caller = None
            self._end(child, outcome)
            return
        assert child.meta.parent is not None
        n = child.meta.parent.command
        self._end(child, outcome, Log(caller, Done(n, outcome)))
        caller.attempt.deliver(n, outcome)
        self._check(caller)

    def _end(self, member: Member, outcome: Outcome, *more: Log) -> None:
        exclusive = member.exclusive
        self._record((Ended(member, outcome), *((Left(member),) if exclusive else ()), *more))
        if member.caller is None and member.meta.parent is not None:
            if member.meta.parent.ref.id in self.engine.active and member.waking is not None:
                member.waking = Waking(False)
            self._outbound = True
        if exclusive:
            self._grant(self.keys[member.key])

    def _fail(self, member: Member, error: BaseException) -> None:
        """An attempt failed: what it did so far is kept, and a later one goes on from there."""
        assert member.spec is not None
        policy = member.spec.options.retry
        failures = 1 if member.progress else member.meta.failures + 1
        self.engine.report(member.meta, failures, error)
        self._retire(member)
        member.caller = None
        text = f"{type(error).__name__}: {error}"[:1000]
        if policy.attempts is None or failures < policy.attempts:
            due: int | None = self.engine.clock.now() + round(policy.backoff(failures) * 1000)
        elif policy.exhausted == "kill":
            self._end(member, Outcome(failure=Failure(500, f"gave up after {failures} attempts: {text}")))
            return
        else:
            due = None
        self._record((Failed(member, text, due),))

    def _retire(self, member: Member) -> None:
        """The member runs no longer; what it called in this process goes on, and notifies its record."""
        self.members.pop(member.meta.id, None)
        self.engine.active.pop(member.meta.id, None)
        member.drop()
        for other in self.members.values():
            if other.caller is member:
                other.caller = None
        for key in [key for key in self._timers if key[0] == member.meta.id]:
            del self._timers[key]
        self._closures = [closure for closure in self._closures if closure[0] is not member]
        self._errands = [errand for errand in self._errands if errand[0] is not member]

    def _start(self, member: Member) -> None:
        assert member.spec is not None
        member.duties = 0
        member.attempt = Attempt(self, member.spec, member.meta, member.input, member.journal, member.notes)
        self._ready.append(member)
        if member.cancelled:
            self._events.append(Event(member.meta.id, CANCEL, Outcome(failure=CANCELLED)))
        for note, outcome in member.notes.items():
            if note not in member.attempt.noted:
                self._events.append(Event(member.meta.id, NOTED, outcome, note))

    def _record(self, step: Step) -> None:
        """Log a step."""
        if step:
            self._log.append(step)
            for effect in step:
                if isinstance(effect, Arrived | Left | Wrote):
                    key = self.keys.get(effect.member.key)
                    if key is not None and key.live is not None:
                        _apply(key.live, effect)

    def _post(self, event: Event) -> None:
        self._events.append(event)
        self._signal.set()

    # --- commands (`attempt.Host`) ---

    def kind_of(self, target: Target) -> Kind:
        return self.engine.kind_of(target)

    def begin(self, attempt: Attempt, pending: Pending[Any]) -> None:
        member, n, command = self.members[attempt.meta.id], pending.n, pending.command
        kind, name = describe(command)
        at: int | None = None
        value: Outcome | None = None
        more: Step = ()
        match command:
            case c.Now():
                value = Outcome(str(self.engine.clock.now()).encode())
            case c.Sleep(milliseconds):
                at = self.engine.clock.now() + milliseconds
                self._timers[member.meta.id, n] = at
            case c.Run():
                self._want_step(member, n, command)
            case c.GetState() | c.StateKeys():
                value = self._read_here(member, command)
                if value is None:
                    self._read_elsewhere(member, n, command)
            case c.SetState(entry, data):
                if len(data) > PART:
                    raise TerminalError(f"state entry {entry!r} has {len(data)} bytes; the most is {PART}", code=413)
                more, value = (Wrote(member, entry, data),), Outcome()
            case c.ClearState(entry):
                more, value = (Wrote(member, entry, None),), Outcome()
            case c.ClearAllState():
                more, value = (Wrote(member, None, None),), Outcome()
            case c.Call() | c.Send():
                assert isinstance(pending, PendingInvocation)
                self._invoke(member, pending, command)
                return
            case c.Awakeable():
                pass
            case c.Signal():
                self._reconsider(member)
            case _:
                self._errand(member, n, command)
        pending.outcome = value
        self._record((Log(member, Issued(n, kind, name, at, value)), *more))

    def resume(self, attempt: Attempt, pending: Pending[Any], at: int | None) -> None:
        member, n, command = self.members[attempt.meta.id], pending.n, pending.command
        match command:
            case c.Run():
                self._want_step(member, n, command)
            case c.Sleep():
                assert at is not None
                self._timers[member.meta.id, n] = at
            case c.GetState() | c.StateKeys():
                self._read_elsewhere(member, n, command)
            case c.Attach() | c.GetPromise() if f"a{n}" in member.notes:
                pass
            case c.Call() if f"c{n}" not in member.notes:
                assert isinstance(pending, PendingInvocation)
                if command.idempotency_key is not None or pending.kind is Kind.WORKFLOW:
                    self._errands.append((member, n, c.Attach(pending.id)))
            case c.Call() | c.Send() | c.Awakeable() | c.Signal():
                pass
            case c.Now() | c.SetState() | c.ClearState() | c.ClearAllState():
                pass
            case _:
                self._errand(member, n, command)

    def _errand(self, member: Member, n: int, command: c.Errand) -> None:
        self._errands.append((member, n, command))
        if command.__class__ in DUTIES:
            member.duties += 1

    def _reconsider(self, member: Member) -> None:
        """A signal may have come before the handler asked for it."""
        assert member.attempt is not None
        for note, outcome in member.notes.items():
            if note.startswith("s") and note not in member.attempt.noted:
                self._events.append(Event(member.meta.id, NOTED, outcome, note))

    def _invoke(self, member: Member, pending: PendingInvocation[Any], command: c.Call | c.Send) -> None:
        """Make another invocation: run it here if it is called and lives here, else store it for where it lives."""
        n, target = pending.n, command.target
        kind, name = describe(command)
        call = isinstance(command, c.Call)
        failure = self._refuse(member, pending, target)
        if failure is None and len(command.input) > MAX_PAYLOAD:
            failure = Failure(413, f"the input for {target} has {len(command.input)} bytes; the most is {MAX_PAYLOAD}")
        known = self._known.get(pending.id)
        if failure is None and call and known is not None and pending.kind is Kind.WORKFLOW:
            failure = Failure(409, f"workflow {target} has run already, or is running")
        if failure is not None:
            pending.outcome = Outcome(failure=failure)
            self._record((Log(member, Issued(n, kind, name, value=pending.outcome)),))
            return
        if known is not None or pending.id in self._made:
            self._record((Log(member, Issued(n, kind, name)),))
            if call:
                self._errands.append((member, n, c.Attach(pending.id)))
            return
        self._made.add(pending.id)
        now = self.engine.clock.now()
        delay = command.delay if isinstance(command, c.Send) else 0
        spec = self.engine.handler(target) if call else None
        child = Member(
            Meta(
                id=pending.id,
                generation=new_generation(),
                target=target,
                kind=pending.kind,
                status=Status.SCHEDULED if delay else Status.READY,
                created=now,
                deployment=self.engine.deployment if spec else "",
                parent=Parent(member.ref, n, member.meta.target.service, member.meta.deployment) if call else None,
                headers=command.headers,
                input=command.input,
                due=now + delay if delay else None,
            ),
            command.input,
            spec,
            caller=member if spec else None,
        )
        arrives = pending.kind.exclusive and not delay
        self._record((Born(child), *((Arrived(child),) if arrives else ()), Log(member, Issued(n, kind, name))))
        if spec is None:
            self._outbound = True
            return
        self.members[child.meta.id] = child
        if arrives:
            self._touch(child.key)
        else:
            self._start(child)

    def _refuse(self, member: Member, pending: PendingInvocation[Any], target: Target) -> Failure | None:
        """Why the call cannot be, if so."""
        problem = self.engine.unknown(target)
        if problem is not None:
            return Failure(404, problem)
        if pending.called and pending.kind.exclusive and target.key is not None:
            chain = [member, *member.ancestors()]
            for place, holder in enumerate(chain):
                if holder.meta.kind.exclusive and holder.key == target.object:
                    ring = [*(m.meta for m in reversed(chain[: place + 1]))]
                    return deadlock(ring)
        return None

    # --- keys and state ---

    def _key(self, key: ObjectKey) -> Key:
        return self.keys.setdefault(key, Key(key))

    def _touch(self, at: ObjectKey) -> None:
        """Somebody who is to run here came to the key: let them, if it is theirs."""
        key = self._key(at)
        if key.head is not None:
            self._refresh(key)
            self._grant(key)
        elif at not in self._loading:
            self._loading.add(at)
            self._background((str(at), -1), self._load(key))

    async def _load(self, key: Key) -> None:
        heads = await self.engine.heads([key.key])
        key.head = key.head or heads[key.key]
        self._loading.discard(key.key)
        self._refresh(key)
        self._grant(key)

    def _refresh(self, key: Key) -> None:
        """Work out how the key stands after the uncommitted effects."""
        assert key.head is not None
        if key.live is None:
            key.live = KeyState(key.head, self.engine.clock.now(), key.front, key.dead)
            for step in self._log:
                for effect in step:
                    if (
                        isinstance(effect, Arrived | Left | Wrote)
                        and effect.member.key == key.key
                        and not effect.member.dropped
                    ):
                        _apply(key.live, effect)

    def _grant(self, key: Key) -> None:
        """Start the key's owner, if it is to run here and does not yet."""
        if key.live is None or key.head is None or key.live.owner is None:
            return
        member = self.members.get(key.live.owner.id)
        if member is None or member.ref != key.live.owner or member.attempt is not None:
            return
        if key.head.owner != member.ref:
            if key.contended:
                self._granting = True
                return
            key.ran = True
        self._start(member)
        self._signal.set()

    def _read_here(self, member: Member, command: c.GetState | c.StateKeys) -> Outcome | None:
        """What a state read gives, where all that it needs is at hand."""
        if member.meta.target.key is None:
            return Outcome(failure=Failure(500, f"{member.meta.target} has no state"))
        key = self.keys.get(member.key)
        if key is None or key.live is None:
            return None
        state = key.live
        if isinstance(command, c.StateKeys):
            return None if state.spilled else Outcome(_names(state.state))
        if command.name in state.state:
            return Outcome(state.state[command.name])
        if command.name in state.writes:
            return Outcome(state.writes[command.name])
        return None if state.spilled else Outcome(None)

    def _read_elsewhere(self, member: Member, n: int, command: c.GetState | c.StateKeys) -> None:
        self._background((member.meta.id, n), self._read(member, n, command))

    async def _read(self, member: Member, n: int, command: c.GetState | c.StateKeys) -> None:
        """Read state from the store: entries beside the head, or, for a shared handler, all of it."""
        known = self.keys.get(member.key)
        if known is not None and known.live is not None:
            state = known.live
        else:
            head = (await self.engine.heads([member.key]))[member.key]
            state = KeyState(head, self.engine.clock.now())
        if isinstance(command, c.GetState):
            value = state.state.get(command.name, state.writes.get(command.name))
            if value is None and command.name not in state.writes and state.spilled:
                value = await self.engine.read(
                    lambda: self.engine.store.state(member.key, state.state_generation, command.name)
                )
        else:
            names = set(state.state)
            if state.spilled:
                names |= await self.engine.state_names(member.key, state.state_generation)
            names = (names | {k for k, v in state.writes.items() if v is not None}) - {
                k for k, v in state.writes.items() if v is None and k not in state.state
            }
            value = _names(names)
        self._post(Event(member.meta.id, n, Outcome(value)))

    # --- what runs beside the code: steps, reads ---

    def _background(self, name: tuple[str, int], work: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            try:
                await work
            except Exception as error:
                self._broken = error
            finally:
                if self._running.get(name) is task:
                    del self._running[name]
                    self._steps.discard(name)
                self._signal.set()

        # Not `asyncio.create_task`: a handler's command may lead here, and the handler has a loop of its own.
        self._running[name] = task = self._loop.create_task(run())

    def _want_step(self, member: Member, n: int, command: c.Run) -> None:
        """Have a step start after the next commit, unless it did before a rewind."""
        name = (member.meta.id, n)
        if name not in self._running and not any((event.member, event.n) == name for event in self._events):
            self._closures.append((member, n, command))

    def _step_results(self) -> list[Event]:
        """The results of steps that are in the log."""
        logged = [effect for step in self._log for effect in step if isinstance(effect, Log)]
        steps = {
            (member.meta.id, entry.n)
            for member in {effect.member.meta.id: effect.member for effect in logged}.values()
            for entry in (*member.journal, *(effect.entry for effect in logged if effect.member is member))
            if isinstance(entry, Issued) and entry.kind == "run"
        }
        return [
            Event(effect.member.meta.id, effect.entry.n, effect.entry.outcome)
            for effect in logged
            if isinstance(effect.entry, Done) and (effect.member.meta.id, effect.entry.n) in steps
        ]

    def _begin_steps(self) -> None:
        """Start what had to wait for a commit."""
        closures, self._closures = self._closures, []
        for member, n, command in closures:
            self._steps.add((member.meta.id, n))
            self._background((member.meta.id, n), self._step(member.meta.id, n, command))
        errands, self._errands = self._errands, []
        for member, n, errand in errands:
            self._background((member.meta.id, n), self._do(member, n, errand))

    async def _step(self, id: str, n: int, command: c.Run) -> None:
        _started, tries = self.engine.clock.now(), 0
        while True:
            tries += 1
            try:
                self.engine.steps += 1
                try:
                    outcome = _bounded(Outcome(await command.closure()), f"the result of step {command.name!r}")
                finally:
                    self.engine.steps -= 1
            except TerminalError as error:
                outcome = Outcome(failure=Failure(error.code, error.message))
            except Exception as error:
                policy: RetryPolicy | None = command.retry
                if policy is None:
                    self._post(Event(id, n, error=error))
                    return
                if policy.attempts is not None and tries >= policy.attempts:
                    text = f"step {command.name!r} failed {tries} times: {type(error).__name__}: {error}"
                    outcome = Outcome(failure=Failure(500, text[:1000]))
                else:
                    await self.engine.clock.sleep(policy.backoff(tries))
                    continue
            self._post(Event(id, n, outcome))
            return

    async def _do(self, member: Member, n: int, errand: c.Errand) -> None:
        outcome = await self.engine.control.perform(member, n, errand)
        if outcome is not None:
            self._post(Event(member.meta.id, n, outcome))

    # --- waiting ---

    def _next_timer(self) -> int | None:
        timers = [
            at
            for (id, n), at in self._timers.items()
            if (member := self.members.get(id)) and member.attempt and n < len(member.attempt.operations)
            and member.attempt.operations[n].awaited
        ]  # fmt: skip
        return min(timers, default=None)

    def _due_timers(self) -> list[tuple[str, int]]:
        if not self._timers:
            return []
        now = self.engine.clock.now()
        return sorted((key for key, at in self._timers.items() if at <= now), key=lambda key: (self._timers[key], key))

    async def _wait(self, until: int | None) -> None:
        """Until something happened, or a time has come."""
        if self._events or self._ready:
            return
        await self.engine.wait(self._signal, until)
        self._signal.clear()

    async def _poll(self, timer: int | None) -> None:
        """Wait for notifications while a client waits: told by this process, or found in the store."""
        remote = any(
            (member.meta.id, pending.n) not in self._timers
            for member in self.members.values()
            if member.attempt is not None
            for pending in member.attempt.waits()
        )
        interval = self.engine.poll if remote else LOOK
        began = self.engine.clock.now()
        check = began + DEADLOCK
        while not self._events and not self._ready and not self._poked:
            now = self.engine.clock.now()
            limit = min(self._linger, now + self.engine.remaining(), timer if timer is not None else self._linger)
            if now >= limit:
                return
            woken = await self.engine.wait(self._signal, min(limit, now + interval))
            self._signal.clear()
            if woken:
                return
            interval = min(interval * 2, 1000)
            await self._look()
            if remote and self.engine.clock.now() >= check and not self._events:
                await self._check_deadlocks()
                check += check - began
        self._poked = False
        await self._look()

    async def _look(self) -> None:
        """See what became of the invocations meanwhile: notifications came in, or somebody took over.

        Raises:
            Fenced: If an attempt here is no longer the latest.
        """
        self._looked = self.engine.clock.now()
        for member in list(self.members.values()):
            if member.stored and member.attempt is not None:
                meta = await self.engine.look(member.meta.id)
                if meta is None or meta.ref != member.ref or not meta.live or meta.epoch != member.meta.epoch:
                    raise Fenced(f"{member.meta.id} was taken over")
                if meta.notifications > len(member.notes):
                    await self._read_news(member)

    async def _read_news(self, member: Member) -> None:
        """Take in the notifications that the store has."""
        for note in await self.engine.news(member.ref):
            self.deliver(note)

    # --- committing ---

    async def _suspend(self, waiting: Iterable[Member]) -> None:
        """Commit what there is, and end the attempts in the same write.

        Raises:
            News: If a notification came in that an attempt has not seen.
        """
        self._log += [(self._wait_of(member),) for member in waiting]
        try:
            await self._commit()
        finally:
            self._log = [step for step in self._log if not isinstance(step[0], Wait)]

    def _wait_of(self, member: Member) -> Wait:
        """What a blocked attempt waits for."""
        assert member.attempt is not None
        waits = member.attempt.waits()
        groups: dict[int, int] = {}
        for pending in waits:
            group = pending.group if pending.group is not None and len(pending.waiters) == 1 else pending
            groups[id(group)] = groups.get(id(group), 0) + 1
        timers = [at for pending in waits if (at := self._timers.get((member.meta.id, pending.n))) is not None]
        calls = tuple(pending.id for pending in waits if isinstance(pending, PendingInvocation) and pending.called)
        all = len(groups) == 1
        awaits: Awaits | None = None
        if len(calls) == len(waits) and (all or len(calls) <= MAX_AWAITS):
            awaits = Awaits(len(member.notes), all, calls[:MAX_AWAITS])
        return Wait(member, min(groups.values()), min(timers, default=None), awaits)

    async def _check_deadlocks(self) -> None:
        """Say what the invocations here wait for, and look whether they are part of a deadlock."""
        for member in list(self.members.values()):
            if member.attempt is None or not member.stored:
                continue
            awaits = self._wait_of(member).awaits
            if awaits is not None and awaits != member.meta.awaits:
                try:
                    update = Update(member.ref, set={"awaits": awaits}, epoch=member.meta.epoch)
                    await self.engine.commit([update], new_nonce())
                except Conflict as conflict:
                    raise Fenced(f"{member.meta.id} was taken over") from conflict
                member.meta = replace(member.meta, awaits=awaits)
            if awaits is not None:
                await self.engine.deadlocks.check(member.meta)

    def _break_ring(self) -> bool:
        """Fail the youngest call of a ring of invocations in this unit that wait for each other's keys."""
        for member in self.members.values():
            ring: list[Member] = []
            at: Member | None = member
            while at is not None and at not in ring:
                ring.append(at)
                at = self._blocker(at)
            if at is not None:
                ring = ring[ring.index(at) :]
                queued = [m for m in ring if m.attempt is None]
                youngest = max(queued, key=lambda m: (m.meta.created, m.meta.parent.command if m.meta.parent else 0))
                failure = deadlock([m.meta for m in ring])
                self._end_child(youngest, Outcome(failure=failure))
                return True
        return False

    def _blocker(self, member: Member) -> Member | None:
        """Who in this unit has to go on first, if there is just one."""
        if member.attempt is None:
            key = self.keys.get(member.key)
            owner = key.live.owner if key is not None and key.live is not None else None
            found = self.members.get(owner.id) if owner is not None else None
            return found if found is not member else None
        awaits = self._wait_of(member).awaits if member.attempt.waits() else None
        if awaits is None or (len(awaits.ids) > 1 and not awaits.all):
            return None
        here = [child for id in awaits.ids if (child := self.members.get(id)) is not None]
        return next((child for child in here if child.attempt is None), here[0] if here else None)

    async def _commit(self, *, keep_steps: bool = False, keep_last: bool = False) -> None:
        """Commit the log, in as few requests as it takes, and act on what became runnable.

        Args:
            keep_steps: Leave out steps at the end that were issued and have not begun: nothing depends on them yet.
            keep_last: Leave what a last request would not be full with.

        Raises:
            News: If an attempt is not to end after all, as something came in for it.
        """
        end = len(self._log)
        while keep_steps and end and _is_step(self._log[end - 1]):
            end -= 1
        nonce = new_nonce()
        tries = 0
        while end:
            await self._prepare(self._log[:end])
            draft, taken = plan(self.keys, self.engine.times(), self._log[:end])
            if keep_last and taken == end:
                return
            if self._events and any(sheet.wait for sheet in draft.sheets.values()):
                raise News
            changes, apart = draft.changes(nonce)
            try:
                changes += await self._put_apart(draft, apart)
                await self.engine.commit(changes, nonce)
            except Conflict as conflict:
                self._resolve(conflict, changes)
                tries += 1
                if tries > 1:
                    await self.engine.back_off(tries)
                nonce = new_nonce()
                continue
            tries = 0
            self._applied(draft, taken)
            end -= taken
            nonce = new_nonce()
        if not self._log:
            self._outbound = False

    async def _put_apart(self, draft: Draft, apart: list[Part | Piece]) -> list[Put]:
        """Put parts of large payloads that are too much for one commit. Returns what is to go with it after all."""
        if sum(len(part.data) for part in apart) <= APART and len(apart) + draft.items <= MAX_ITEMS:
            return [Put(part) for part in apart]
        try:
            await self.engine.put_apart(apart)
        except Conflict as conflict:
            raise Fenced(f"another attempt appends to the journal: {conflict}") from conflict
        for piece in apart:
            if isinstance(piece, Piece):
                draft.sheets[piece.id].member.pieces += 1
                draft.pieces[piece.id] -= 1
        return []

    async def _prepare(self, log: list[Step]) -> None:
        """Read the heads that the log touches, and the inboxes from which somebody is to be given a key."""
        touched = dict.fromkeys(
            effect.member.key for step in log for effect in step if isinstance(effect, Arrived | Left | Wrote)
        )
        missing = [key for key in touched if self._key(key).head is None]
        for start in range(0, len(missing), 100):
            for found, head in (await self.engine.heads(missing[start : start + 100])).items():
                self.keys[found].head = head
        for name in touched:
            key = self.keys[name]
            assert key.head is not None
            leavers = {effect.member.ref for step in log for effect in step if isinstance(effect, Left)}
            while key.head.waiting > len(key.front) and all(entry.ticket in key.dead for entry in key.front):
                if key.head.owner is not None and key.head.owner not in leavers:
                    break
                known = len(key.front)
                key.front = await self.engine.read(lambda: self.engine.store.inbox(name, known + 10))  # noqa: B023
                if len(key.front) <= known:  # some have left the inbox since the head was read
                    key.head = (await self.engine.heads([name]))[name]
                key.live = None
                self._refresh(key)

    def _applied(self, draft: Draft, taken: int) -> None:
        """A commit went through: take over what it made."""
        del self._log[:taken]
        engine = self.engine
        for id, sheet in draft.sheets.items():
            member, meta = sheet.member, draft.metas[id]
            if sheet.entries:
                member.journal += sheet.entries
                if sheet.ended is None:
                    member.pieces += draft.pieces.get(id, 0)
                    member.progress = True
            born = not member.stored
            if born:
                self._created.add(id)
            member.meta, member.stored = meta, True
            if sheet.ended is not None:
                engine.finished(meta, sheet.ended.outcome)
            elif sheet.failed is not None:
                engine.later(meta)
            elif sheet.wait is not None:
                engine.later(meta)
                self._retire(member)
            elif meta.status is Status.QUEUED:
                self._retire(member)
                member.caller = None
            elif member.spec is not None:
                if id in self.members:
                    engine.active[id] = self
            elif born and meta.status is Status.SCHEDULED:
                engine.later(meta)
            elif born:
                engine.dispatch(meta.ref, meta.target.service, meta.deployment, fresh=True)
        for note, member in draft.notes:
            assert member.meta.parent is not None
            parent = member.meta.parent
            wakes = member.waking is not None and member.waking.wakes
            engine.notified(note, parent.service, parent.deployment, wakes)
        for name, ref in draft.granted:
            engine.dispatch(ref, name.service, "", fresh=True)
        for name, state in draft.states.items():
            key = self.keys[name]
            key.head = replace(state.head(), version=state.base.version + 1)
            key.front = list(state.front)
            key.dead.clear()
            key.ran = key.ran and any(
                isinstance(effect, Arrived | Left | Wrote)
                and effect.member.key == name
                and effect.member.ref != key.head.owner
                for step in self._log
                for effect in step
            )
            key.live = None
            self._refresh(key)
            engine.seen(key.head)
            self._grant(key)

    def _resolve(self, conflict: Conflict, changes: list[Change]) -> None:
        """Learn from a conflict; the commit is then made anew.

        Raises:
            Fenced, Rewind, News: If it is not to be made anew.
        """
        rewind = news = False
        for place, found in conflict.found.items():
            change = changes[place]
            match change:
                case Create(meta):
                    rewind = self._exists(meta, found) or rewind
                case WriteHead():
                    rewind = self._moved(change, found) or rewind
                case Update() if change.wakes is not None:
                    self._unwoken(change, found)
                case Update() if change.epoch is not None:
                    news = self._overtaken(change, found) or news
                case Update():
                    self._bury(change)
                case Delete(InboxEntry(key)):
                    self._reread(self.keys[key])
                case Put(InboxEntry()):
                    pass
                case _:
                    raise Fenced(f"{change} met {found}")
        if rewind:
            raise Rewind
        if news:
            raise News

    def _exists(self, meta: Meta, found: Record | None) -> bool:
        """An invocation that was to be made is there already. Returns whether somebody acted as if it were not."""
        assert isinstance(found, Meta)
        if meta.id == self.root.meta.id:
            self.existing = found
            raise Fenced(f"{meta.id} exists")
        self._known[meta.id] = found
        for step in self._log:
            for effect in step:
                if (
                    isinstance(effect, Born)
                    and effect.member.meta.id == meta.id
                    and effect.member.meta.generation == meta.generation
                ):
                    effect.member.dropped = True
                    if effect.member.meta.kind.exclusive:
                        self._key(effect.member.key).live = None
                        self._touch(effect.member.key)
                    return effect.member.meta.parent is not None
        return True

    def _moved(self, change: WriteHead, found: Record | None) -> bool:
        """A key changed under us. Returns whether code ran on what it was."""
        key = self.keys[change.head.key]
        head = found if isinstance(found, Head) else Head(change.head.key)
        if change.owner is not None and head.owner != change.owner:
            raise Fenced(f"{key.key} is owned by {head.owner}")
        ran = key.ran
        self._reread(key, head)
        if ran:
            key.contended = True
        return ran

    def _reread(self, key: Key, head: Head | None = None) -> None:
        key.head = head
        key.front = []
        key.live = None
        if head is not None:
            self._refresh(key)

    def _overtaken(self, change: Update, found: Record | None) -> bool:
        """An invocation's own record is not as expected. Returns whether a notification came in."""
        member = next(m for m in self._touched() if m.ref == change.ref)
        if (
            not isinstance(found, Meta)
            or found.generation != member.meta.generation
            or not found.live
            or found.epoch != change.epoch
        ):
            raise Fenced(f"{change.ref.id} was taken over")
        member.meta = replace(member.meta, waiters=found.waiters)
        return change.notifications is not None and found.notifications != change.notifications

    def _touched(self) -> Iterable[Member]:
        yield from self.members.values()
        for step in self._log:
            for effect in step:
                yield effect.member

    def _unwoken(self, change: Update, found: Record | None) -> None:
        """The parent is not as guessed: gone, or waiting for something else."""
        for step in self._log:
            for effect in step:
                if (
                    isinstance(effect, Ended)
                    and effect.member.meta.parent
                    and effect.member.meta.parent.ref == change.ref
                ):
                    effect.member.waking = Waking.learn(change.ref, found, urgent=effect.outcome.failure is not None)

    def _bury(self, change: Update) -> None:
        """Who was to be given a key is no more."""
        for key in self.keys.values():
            for entry in key.front:
                if entry.ref == change.ref:
                    key.dead.add(entry.ticket)


def _apply(state: KeyState, effect: Arrived | Left | Wrote) -> None:
    match effect:
        case Arrived(member):
            state.arrive(member.ref)
        case Left():
            state.leave(effect.member.ref)
        case Wrote(_, None, _):
            state.clear_all()
        case Wrote(_, name, None):
            assert name is not None
            state.clear(name)
        case Wrote(_, name, value):
            assert name is not None and value is not None
            state.set(name, value)


def _is_step(step: Step) -> bool:
    """Whether a log step is only that a step was issued."""
    return (
        len(step) == 1
        and isinstance(step[0], Log)
        and isinstance(step[0].entry, Issued)
        and step[0].entry.kind == "run"
    )


def _bounded(outcome: Outcome, what: str) -> Outcome:
    size = len(outcome.value or b"")
    if size <= MAX_PAYLOAD:
        return outcome
    return Outcome(failure=Failure(413, f"{what} has {size} bytes; the most is {MAX_PAYLOAD}"))


def _names(names: Iterable[str]) -> bytes:
    return json.dumps(sorted(names)).encode()
