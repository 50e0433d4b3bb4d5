"""A unit of work: an invocation, and those that it calls in this process, driven together and committed together.

What its handlers do is logged as effects, in order, and committed by its ledger. Nothing that is in the log and not
committed has had any effect, so where a commit meets a conflict the unit can be rewound: its handlers are replayed
from what is committed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections import defaultdict, deque
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain, dropwhile
from typing import TYPE_CHECKING, Any

from adapter.engine import commands as c
from adapter.engine.attempt import Attempt, Pending, PendingInvocation
from adapter.engine.blobs import blob_for
from adapter.engine.deadlocks import attached, awaited_ids, deadlock, stretches
from adapter.engine.draft import Key, Step
from adapter.engine.ids import new_generation, new_nonce, parse_awakeable
from adapter.engine.journal import CANCEL, Done, Issued, Noted, Read, Tried, arrivals
from adapter.engine.keys import UNKNOWN, KeyState
from adapter.engine.ledger import FRONT, Fenced, Ledger, News, Rewind
from adapter.engine.loop import HELP
from adapter.engine.member import Arrived, Born, Ended, Failed, Left, Log, Member, Wait, Wrote
from adapter.engine.ports import Conflict, Update
from adapter.engine.records import (
    Awaits,
    Head,
    Meta,
    Notification,
    Parent,
    Ref,
    Status,
    Unreadable,
)
from adapter.engine.types import (
    CANCELLED,
    MAX_ERROR,
    MAX_PAYLOAD,
    Failure,
    Kind,
    ObjectKey,
    Outcome,
    RetryPolicy,
    Target,
    said,
    told,
)
from adapter.errors import NonDeterminismError, TerminalError

if TYPE_CHECKING:
    from adapter.engine.engine import Engine

log = logging.getLogger("adapter")

MOMENT = 50
"""Milliseconds that a handler may wait before what it did is committed, so that a crash does not lose it."""

NOTED = -2
"""Stands in an event for the command that its notification names."""

NEWS = -3
"""Stands for a command where notifications are read."""

DUTIES = frozenset({c.Cancel, c.Complete, c.SendSignal, c.CompletePromise})
"""The commands that are carried out even if the handler returns without waiting for them."""

AT_ONCE = c.Now | c.GetState | c.SetState | c.ClearState | c.ClearAllState | c.StateKeys
"""The commands that need nothing but the key's state."""

PATIENCE = 2000
"""Milliseconds up to which a wait is waited out in the process rather than suspended."""

BREATH = 500
"""Milliseconds after which a step that waits for its next try looks whether anything else still runs."""

ALONG = 2_000
"""Milliseconds that have to be left for more invocations of a key's inbox to be run in the same session."""

MAX_HOSTED = 1000
"""How many invocations run in one session. Then a new one begins, so that what a session remembers stays bounded."""

DEADLOCK = 1000
"""Milliseconds after which a unit that waits for calls looks whether they are part of a deadlock."""

MAX_NAMED = 20
"""How many calls a record names by their ids as what it waits for. Of others whose ids derive it keeps the numbers."""

LOOK = 3000
"""Milliseconds after which a unit looks at its records again: a cancellation, or another attempt, came in."""

MAX_LOG = 400
"""Steps in the log at which it is committed without another reason."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a handler is to be told: a result of command ``n``, or that its attempt failed."""

    member: str
    n: int
    outcome: Outcome | None = None
    note: str | None = None
    child: Member | None = None
    error: BaseException | None = None


class Postponed(Exception):
    """A step that failed is to be tried again later than its attempt waits for."""

    def __init__(self, tried: Tried, due: int, text: str, error: BaseException) -> None:
        super().__init__(text)
        self.tried = tried
        self.due = due
        self.error = error


class NotAlong(Exception):
    """An invocation of the inbox is not over at once, so it does not run in a session whose client waits."""


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
        self._hosted = {root.meta.id}
        """The ids of the invocations that ran here and were made elsewhere, whether they have ended since or not."""
        self.undone: list[Member] = []
        """If another attempt took over: those who ran here, or had ended and were not stored so."""
        self.ledger = Ledger(engine, self, root.meta.id)
        self._linger = 0 if engine.always_replay else linger
        self._most = 0 if engine.always_replay else MAX_LOG
        self._ready: deque[Member] = deque()
        self._events: deque[Event] = deque()
        self._signal = asyncio.Event()
        self._closures: list[tuple[Member, int, c.Run]] = []
        self._errands: list[tuple[Member, int, c.Errand]] = []
        self._lines = defaultdict[tuple[str, str], asyncio.Lock](asyncio.Lock)
        """What one invocation asks of another is done in the order in which it asked."""
        self._running: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._steps: set[tuple[str, int]] = set()
        self._loading: set[ObjectKey] = set()
        self._along: set[Ref] = set()
        """The invocations of an inbox that run here, and are to be over at once."""
        self._reads: dict[tuple[str, int], Member] = {}
        """State reads that are not in the log yet: until then nothing is committed that they are not to see."""
        self._failing: dict[str, tuple[Member, Step]] = {}
        """The attempts that failed with reads or steps under way, and what is logged of that once those are back."""
        self._timers: dict[tuple[str, int], int] = {}
        self.poked: set[str] = set()
        self._looked = self._moved = engine.clock.now()
        self._telling: set[asyncio.Task[Any]] = set()
        """Cancellations on their way to calls. Nothing is committed before they are there, so a crash repeats them."""
        self._broken: Exception | None = None
        """What went wrong in a read: the unit cannot go on."""
        if head is not None:
            self.ledger.key(head.key).head = head

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
                except Fenced as fenced:
                    if not self._rewind_without(fenced):
                        raise
        except Fenced:
            self.undone = list(dict.fromkeys(self._everyone()))
            self.ledger.rewind()
            raise
        finally:
            for member in (*self.members.values(), *(member for member, _ in self._failing.values())):
                self.engine.active.pop(member.meta.id, None)
                member.drop()
            for task in self._running.values():
                task.cancel()

    async def release(self) -> None:
        """Have the root, which is no more, let go of its key."""
        self.ledger.record((Left(self.root),))
        await self.ledger.commit()

    def deliver(self, note: Notification) -> None:
        """Take in a notification that was committed."""
        member = self.members.get(note.to.id)
        if member is None or member.ref != note.to or note.id in member.notes:
            return
        if len(member.notes) < note.after:  # a signal, and the one before it was not heard of
            self._background((note.to.id, NEWS), self._refresh(member))
        else:
            self._take_in(member, note)

    def expect(self, ref: Ref, count: int) -> None:
        """Note that this process is about to count notifications, which it delivers here itself."""
        member = self.members.get(ref.id)
        if member is not None and member.ref == ref:
            member.counted += count

    def _take_in(self, member: Member, note: Notification) -> None:
        if note.id not in member.notes:
            member.notes[note.id] = note.outcome
            self._post(Event(note.to.id, NOTED, note.outcome, note.id))

    def poke(self, id: str) -> None:
        """Have the unit look at the store again, or, if it is about to suspend the invocation, have that resumed."""
        self.poked.add(id)
        self._looked = 0
        self._signal.set()

    def _open(self) -> None:
        root = self.root
        step: Step = () if root.stored else (Born(root),)
        if root.spec is not None:
            self.members[root.meta.id] = root
            self.engine.active[root.meta.id] = self
        if root.exclusive and root.meta.status is not Status.SCHEDULED:
            key = self.ledger.key(root.key)
            if key.head is None or key.head.owner != root.ref:
                step = (*step, Arrived(root, self.engine.moment()))
            self.ledger.record(step)
            self._touch(root.key)
        else:
            self.ledger.record(step)
            if root.spec is not None:
                self._start(root)

    def _rewind_without(self, fenced: Fenced) -> bool:
        """Drop the invocation that was taken over; the others go on, with their steps. Returns whether there are any.

        What was not committed is undone for all of them: it may follow from what the dropped one did.
        """
        others = {member.meta.id for member in self._everyone() if member.ref != fenced.ref and member.stored}
        if fenced.ref is None or not others:
            return False
        log.info("attempt dropped: %s", fenced, extra={"invocation_id": fenced.ref.id})
        if fenced.ref.id in self.poked:
            self.poked.discard(fenced.ref.id)
            self.engine.spawn(self.engine.resume(fenced.ref.id))
        self.engine.active.pop(fenced.ref.id, None)
        if fenced.ref == self.root.ref:
            self._linger = 0  # the client is answered from the store
        self._rewind(fenced.ref)
        return True

    def _rewind(self, dropped: Ref | None = None) -> None:
        """Go back to what is committed, and replay from there. Steps go on, and keep their results."""
        for member in (members := {member.meta.id: member for member in self._everyone()}).values():
            member.drop()
        self.ledger.rewind()
        self._ready.clear()
        self._closures.clear()
        self._errands.clear()
        self._timers.clear()
        self.members = {
            id: member
            for id, member in members.items()
            if member.stored and member.spec is not None and member.meta.status is not Status.QUEUED
            if member.ref != dropped
        }
        for member in self.members.values():
            if member.caller is not None and member.caller.ref == dropped:
                member.caller = None
        for id in members.keys() - self.members.keys():
            self.engine.active.pop(id, None)
        self._events.clear()  # the replay asks for all of it again; what steps gave it finds with its member
        for name, task in list(self._running.items()):
            if name not in self._steps or name[0] not in self.members:
                del self._running[name]
                self._steps.discard(name)
                task.cancel()
        self._loading.clear()
        self._reads.clear()
        self._failing.clear()
        if not self.root.stored or self.root.meta.id in self.members:
            self._open()
        for id, member in self.members.items():
            if member is not self.root:
                self.engine.active[id] = self
                if member.exclusive:
                    self._touch(member.key)
                else:
                    self._start(member)

    def _everyone(self) -> Iterable[Member]:
        """Those who run, those whose failure is not logged yet, and all that the log speaks of."""
        yield from self.ledger.members()
        for member, _ in self._failing.values():
            yield member

    async def _turn(self) -> bool:
        """One round: advance the code, then commit, wait or suspend. Returns whether the unit is over."""
        if not self._loading and self._waited() >= FRONT:
            await self.ledger.commit()
        await self._drive()
        if self._telling:
            telling, self._telling = self._telling, set()
            await asyncio.gather(*telling)
        if self._broken is not None:
            raise self._broken
        if self.engine.clock.now() - self._looked >= LOOK:
            await self._look()
        replay = self.engine.always_replay and bool(self.ledger.log)
        if len(self.ledger.log) > MAX_LOG and not self._reads:
            await self.ledger.commit(keep_last=True)
        if self._loading or self._reads:
            await self._wait(None)
        elif self._closures or self._errands or replay:
            await self.ledger.commit(keep_steps=not replay)
            if replay and self.members:
                raise Rewind
            self._begin_steps()
        elif not self.members and not self._failing:
            await self.ledger.commit()
            return True
        elif self._over():
            await self.ledger.commit()
        elif self._running:
            keeps = self._moved + MOMENT if self._ran_steps() else sys.maxsize
            if self.ledger.outbound or self.engine.clock.now() >= keeps:
                await self.ledger.commit(keep_steps=True)
                keeps = sys.maxsize
            await self._wait(min(self._next_timer() or sys.maxsize, self._looked + LOOK, keeps))
        else:
            await self._idle()
        return False

    def _ran_steps(self) -> bool:
        """Whether the log holds the result of a step, which a crash would have run again."""
        for effect in chain.from_iterable(self.ledger.log):
            match effect:
                case Log(Member(attempt=None), Done() | Read()):
                    return True
                case Log(Member(attempt=Attempt() as attempt), Done(n)) if n != CANCEL and isinstance(
                    attempt.operations[n].command, c.Run
                ):
                    return True
                case _:
                    pass
        return False

    def _waited(self) -> int:
        """How many invocations of an inbox have ended here and are not committed so."""
        effects = chain.from_iterable(self.ledger.log)
        return sum(isinstance(effect, Ended) and effect.member.meta.ticket is not None for effect in effects)

    def _over(self) -> bool:
        """Whether an outcome that somebody waits for, or a failure, is in the log."""
        return any(
            isinstance(effect, Failed)
            or (isinstance(effect, Ended) and (effect.member is self.root or effect.member.meta.ticket is not None))
            for step in self.ledger.log
            for effect in step
        )

    async def _idle(self) -> None:
        """All code is blocked, and nothing under way here would unblock it."""
        if self._events or self._ready or self._broken is not None:
            return  # a step has ended, a head was read, or something went wrong, since the code was driven
        now = self.engine.clock.now()
        timer = self._next_timer()
        waiting = [member for member in self.members.values() if member.attempt is not None]
        for member in waiting:
            assert member.attempt is not None
            if not member.attempt.waits():
                self._fail(
                    member,
                    NonDeterminismError(
                        f"the handler waits for something that no durable operation will ever complete; {HELP}"
                    ),
                )
                return
        if self._break_ring():
            return
        stay = 0 if self.engine.always_replay else self.engine.remaining()
        if timer is not None and timer - now <= min(PATIENCE, stay, self._inactivity()):
            if self.ledger.outbound or timer - now > MOMENT:
                await self.ledger.commit()
            await self._wait(timer)
        elif now < self._lingers() and stay > 0:
            await self.ledger.commit()
            if self.members:
                await self._poll(timer)
        else:
            self.poked.clear()  # what came in before this is noticed by the commit
            try:
                await self.ledger.suspend([self._wait_of(member) for member in waiting])
            except News:
                pass  # what came in waits to be given to the code
            else:
                self._look_for_rings(waiting)

    def _inactivity(self) -> int:
        """For how many milliseconds its attempts may stand still before they are suspended."""
        timeouts = [
            round(member.spec.options.inactivity_timeout.total_seconds() * 1000)
            for member in self.members.values()
            if member.spec is not None and member.spec.options.inactivity_timeout is not None
        ]
        return min(timeouts, default=sys.maxsize)

    def _lingers(self) -> int:
        """Until when a blocked attempt is not suspended, in milliseconds."""
        return min(self._linger, self._moved + self._inactivity())

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
            self._moved = self.engine.clock.now()

    def _advance(self) -> None:
        start, until = len(self.ledger.log), self.engine.clock.now() + MOMENT
        while len(self.ledger.log) - start <= self._most and self.engine.clock.now() <= until:
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
            if self.members.get(event.child.meta.id) is event.child:  # it is told once that it has ended
                self._end_child(event.child, event.outcome or Outcome())
            return
        reader = self._reads.pop((event.member, event.n), None)
        if event.member in self._failing:
            self._take_down(event, reader)
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
        self.ledger.record((Log(member, Done(n, event.outcome) if event.note is None else Noted(n, event.note)),))
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
        if note.startswith("w") and n < len(operations) and not isinstance(operations[n].command, c.Awakeable):
            return None  # whoever has the id of one awakeable can make up others'
        return n if cls._expected(attempt, n) else None

    def _cancel_calls(self, attempt: Attempt) -> None:
        """A cancellation travels down the calls that are under way."""
        for call in attempt.to_cancel():
            child = self.ledger.unborn(call.id)
            if child is not None:
                child.cancelled = True
                self._post(Event(call.id, CANCEL, Outcome(failure=CANCELLED)))
            else:
                self._telling.add(asyncio.ensure_future(self.engine.control.cancel(call.id), loop=self._loop))

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
            self.retire(member)
            self._end(member, outcome)

    def _end_child(self, child: Member, outcome: Outcome) -> None:
        self.retire(child)
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
        self.ledger.record((Ended(member, outcome), *((Left(member),) if exclusive else ()), *more))
        if exclusive:
            self.grant(self.ledger.keys[member.key])

    def _fail(self, member: Member, error: BaseException) -> None:
        """An attempt failed: what it did so far is kept, and a later one goes on from there."""
        assert member.spec is not None
        if isinstance(error, NotAlong):
            self.retire(member)
            self.ledger.omit(member)
            return
        policy = member.spec.options.retry
        progress = member.progress or self.ledger.advances(member)
        failures = 1 if progress else member.meta.failures + 1
        self.retire(member)
        member.caller = None
        cancelled = "x" in member.notes
        if isinstance(error, Postponed):
            self.engine.report(member.meta, 0, error.error, error.due)
            failed = Failed(member, said(str(error), MAX_ERROR), 0, error.due, cancelled)
            self._log_failure(member, (Log(member, error.tried), failed))
            return
        text = said(told(error), MAX_ERROR)
        if policy.attempts is None or failures < policy.attempts:
            due: int | None = self.engine.clock.now() + round(policy.backoff(failures) * 1000)
        else:
            due = None
        self.engine.report(member.meta, failures, error, due)
        if due is None and policy.exhausted == "kill":
            self._end(member, Outcome(failure=Failure(500, f"gave up after {failures} attempts: {text}")))
            return
        self._log_failure(member, (Failed(member, text, failures, due, cancelled),))

    def _log_failure(self, member: Member, failure: Step) -> None:
        """Log it after what is under way: the next attempt would run the steps again, and its reads would see what this
        one wrote since it asked."""
        id = member.meta.id
        if member in self._reads.values() or any(name[0] == id for name in self._steps):
            self._failing[id] = member, failure
            self.engine.active[id] = self
        else:
            self.ledger.record(failure)

    def _take_down(self, event: Event, reader: Member | None) -> None:
        """Log what came in of an attempt that has failed, and the failure after the last of it."""
        member, failure = self._failing[event.member]
        if reader is None and event.n not in member.results:
            return
        if event.outcome is not None:
            self.ledger.record((Log(member, Read(event.n, event.outcome)),))
        elif isinstance(event.error, Postponed):
            self.ledger.record((Log(member, event.error.tried),))
        del self._failing[event.member]
        self.engine.active.pop(event.member, None)
        self._log_failure(member, failure)

    # --- what the ledger tells (`ledger.Driver`) ---

    def stored(self, member: Member) -> None:
        if member.meta.id in self.members:
            self.engine.active[member.meta.id] = self

    def told(self) -> bool:
        return bool(self._events)

    def queued(self, member: Member) -> None:
        self.retire(member)
        if member is self.root:
            self.engine.pass_gate(member.key)

    def retire(self, member: Member) -> None:
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
        if member.meta.epoch > 1:
            member.moment, member.reached = arrivals(member.journal)
        member.attempt = Attempt(self, member.spec, member.meta, member.input, member.journal, member.notes)
        self._ready.append(member)
        if member.cancelled:
            self._events.append(Event(member.meta.id, CANCEL, Outcome(failure=CANCELLED)))
        for note, outcome in member.notes.items():
            if note not in member.attempt.noted:
                self._events.append(Event(member.meta.id, NOTED, outcome, note))

    def _post(self, event: Event) -> None:
        self._events.append(event)
        self._signal.set()

    # --- commands (`attempt.Host`) ---

    def kind_of(self, target: Target) -> Kind:
        return self.engine.kind_of(target)

    def begin(self, attempt: Attempt, pending: Pending[Any]) -> None:
        member, n, command = self.members[attempt.meta.id], pending.n, pending.command
        at: int | None = None
        value: Outcome | None = None
        more: Step = ()
        if member.ref in self._along and not isinstance(command, AT_ONCE):
            raise NotAlong
        match command:
            case _ if (refusal := _refusal(command)) is not None:
                value = Outcome(failure=refusal)
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
                more, value = (Wrote(member, entry, data, blob_for(data)),), Outcome()
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
        self.ledger.record((Log(member, Issued(n, *pending.described, at, value)), *more))

    def resume(self, attempt: Attempt, pending: Pending[Any], at: int | None) -> None:
        member, n, command = self.members[attempt.meta.id], pending.n, pending.command
        match command:
            case c.Run() | c.GetState() | c.StateKeys() if n in attempt.read:
                self._post(Event(member.meta.id, n, attempt.read[n]))
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
        call = isinstance(command, c.Call)
        problem = self.engine.unknown(target)
        failure = Failure(404, problem) if problem is not None else None
        if failure is None:
            failure = _oversize(f"the input for {target}", command.input)
        there = pending.id in self.ledger.known or pending.id in self.ledger.made or pending.id in self._hosted
        if failure is None and call and there and pending.kind is Kind.WORKFLOW:
            failure = Failure(409, f"workflow {target.object} ran already, or is running: attach to {pending.id}")
        if failure is not None:
            pending.outcome = Outcome(failure=failure)
            self.ledger.record((Log(member, Issued(n, *pending.described, value=pending.outcome)),))
            return
        if there:
            self.ledger.record((Log(member, Issued(n, *pending.described)),))
            if call:
                self._errands.append((member, n, c.Attach(pending.id)))
            return
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
                idempotent=command.idempotency_key is not None,
                due=now + delay if delay else None,
            ),
            command.input,
            spec,
            caller=member if spec else None,
        )
        arrives = pending.kind.exclusive and not delay
        arrived: Step = ()
        if arrives:
            member.moment = self.engine.moment(after=member.moment)
            arrived = (Arrived(child, member.moment, direct=str(child.key) not in member.reached),)
        issued = Issued(n, *pending.described, at=member.moment if arrives else None)
        self.ledger.record((Born(child), *arrived, Log(member, issued)))
        if spec is None:
            return
        self.members[child.meta.id] = child
        if arrives:
            self._touch(child.key)
        else:
            self._start(child)

    # --- keys and state ---

    def _touch(self, at: ObjectKey) -> None:
        """Somebody who is to run here came to the key: let them, if it is theirs."""
        key = self.ledger.key(at)
        if key.head is not None:
            self.ledger.refresh(key)
            self.grant(key)
        elif at not in self._loading:
            self._loading.add(at)
            self._background((str(at), -1), self._load(key))

    async def _load(self, key: Key) -> None:
        heads = await self.engine.heads([key.key])
        key.head = key.head or heads[key.key]
        self._loading.discard(key.key)
        self.ledger.refresh(key)
        self.grant(key)

    def grant(self, key: Key) -> None:
        """Start the key's owner, if it is to run here and does not yet."""
        if key.live is None or key.head is None or key.live.owner is None:
            return
        if key.live.owner == UNKNOWN and self._takes_along():
            if key.key not in self._loading:
                self._loading.add(key.key)
                self._background((str(key.key), -1), self._load_next(key))
            return
        member = self.members.get(key.live.owner.id) or self._enter(key, key.live.owner)
        if member is None or member.ref != key.live.owner or member.attempt is not None:
            return
        if key.head.owner != member.ref:
            key.ran = True
        self._start(member)
        self._signal.set()

    # --- the next invocations of a key's inbox ---

    def _takes_along(self) -> bool:
        """Whether invocations of an inbox may run here, after the key's owner."""
        if self.engine.always_replay or self.engine.remaining() < ALONG or len(self._hosted) > MAX_HOSTED:
            return False
        return not self._hurries() or self.root.meta.live

    def _hurries(self) -> bool:
        """Whether a client gets its answer when all that runs here has ended, as from a Lambda function."""
        return self.engine.deadline is not None and self._linger > 0

    async def _load_next(self, key: Key) -> None:
        """Read the first invocations of a key's inbox, and run those that can run here."""
        await self.ledger.read_front(key)
        owner = key.live.owner if key.live is not None else None
        front = list(dropwhile(lambda entry: entry.ref != owner, key.front or ()))[:FRONT]
        records: dict[str, Meta] = {}
        with suppress(Unreadable):  # the owner ends all the same: each of them is then read on its own
            records = await self.engine.peek_all([entry.ref.id for entry in front]) if front else {}
        key.next.clear()
        for entry in front:
            meta = records.get(entry.ref.id)
            member = self._next_member(meta) if meta is not None and meta.ref == entry.ref else None
            if member is None or member.meta.ticket != entry.ticket:
                break
            key.next[entry.ref] = member
        self._loading.discard(key.key)
        self.grant(key)

    def _next_member(self, meta: Meta) -> Member | None:
        """An invocation that waits, if it can run here: it is of this deployment, and nothing has been said to it."""
        spec = self.engine.handler(meta.target)
        untouched = meta.status is Status.QUEUED and meta.outcome is None and meta.epoch <= 1
        # A message runs on the current deployment. An attempt that resumes may run on a former one.
        current = not meta.deployment and self.root.meta.epoch <= 1
        here = spec is not None and (current or meta.deployment == self.engine.deployment)
        if not untouched or not here or meta.notifications or meta.input is None or meta.id in self.members:
            return None
        return Member(meta, meta.input, spec, stored=True)

    def _enter(self, key: Key, owner: Ref) -> Member | None:
        """Begin to run the next invocation of the inbox, if it was read and there is time."""
        member = key.next.pop(owner, None) if self._takes_along() else None
        assert key.head is not None
        if member is None or owner.id in self.engine.active or key.head.owner == owner:  # it was handed over by now
            return None
        member.meta = replace(member.meta, deployment=self.engine.deployment)
        self.members[owner.id] = member
        self._hosted.add(owner.id)
        self.engine.active[owner.id] = self
        self.ledger.enter(member)
        if self._hurries():
            self._along.add(owner)
        return member

    def _read_here(self, member: Member, command: c.GetState | c.StateKeys) -> Outcome | None:
        """What a state read gives, where all that it needs is at hand."""
        if member.meta.target.key is None:
            return Outcome(failure=Failure(500, f"{member.meta.target} has no state"))
        state = member.snapshot or self._live(member)
        return None if state is None else _answer(state, command)

    def _live(self, member: Member) -> KeyState | None:
        """How its key stands here, unless the member has read of a later state, or others may have written since."""
        key = self.ledger.keys.get(member.key)
        if key is None or key.head is None or key.head.version < member.version:
            return None
        ours = key.ran or any(each.ref == key.head.owner for each in self.ledger.members())
        return key.live if ours or member.exclusive else None

    def _read_elsewhere(self, member: Member, n: int, command: c.GetState | c.StateKeys) -> None:
        live = self._live(member)
        state = live.snapshot() if live is not None else None
        self._reads[member.meta.id, n] = member
        self._background((member.meta.id, n), self._read(member, n, command, state))

    async def _read(self, member: Member, n: int, command: c.GetState | c.StateKeys, state: KeyState | None) -> None:
        """Read state from the store: entries beside the head, or, for a shared handler, all of it."""
        engine, shared = self.engine, state is None
        if state is None:
            head = (await engine.heads([member.key]))[member.key]
            member.version, state = head.version, KeyState(head, engine.clock.now())
        generation = state.state_generation
        if member.spec is not None and not member.spec.options.lazy_state:
            if state.spilled and state.beside is None:
                state.beside = await engine.entries(member.key, generation, values=True)
            if shared:
                member.snapshot = state
            else:
                self._keep(self.ledger.keys[member.key], state)
        outcome = _answer(state, command)
        if outcome is None and isinstance(command, c.GetState):
            outcome = Outcome(await engine.blobs.read(member.key, generation, command.name))
        elif outcome is None:
            beside = (await engine.entries(member.key, generation)).keys() - state.writes.keys()
            outcome = _names({*beside, *state.state, *state.entries()})
        self._post(Event(member.meta.id, n, outcome))

    def _keep(self, key: Key, state: KeyState) -> None:
        """Keep the entries that were read beside a key's head, if they are the stored state's."""
        if key.beside is None and key.head is not None and key.head.state_generation == state.state_generation:
            key.beside, key.live = state.beside, None
            self.ledger.refresh(key)

    # --- what runs beside the code: steps, reads ---

    def _background(
        self, name: tuple[str, int], work: Coroutine[Any, Any, None], context: Context | None = None
    ) -> None:
        async def run() -> None:
            try:
                await work
            except BaseException as error:
                if self._running.get(name) is task:  # else the unit has dropped it
                    self._broken = error if isinstance(error, Exception) else RuntimeError(told(error))
                if not isinstance(error, Exception):
                    raise
            finally:
                if self._running.get(name) is task:
                    del self._running[name]
                    self._steps.discard(name)
                self._signal.set()

        # Not `asyncio.create_task`: a handler's command may lead here, and the handler has a loop of its own.
        self._running[name] = task = self._loop.create_task(run(), context=context)
        task.add_done_callback(lambda _: work.close())  # one that is cancelled before it begins would never be awaited

    def _want_step(self, member: Member, n: int, command: c.Run) -> None:
        """Have a step start after the next commit, unless it did before a rewind."""
        if n in member.results:
            self._tell(member, n)
        elif (member.meta.id, n) not in self._running:
            self._closures.append((member, n, command))

    def _tell(self, member: Member, n: int) -> None:
        """Post what a step gave, or raised."""
        result = member.results[n]
        event = Event(member.meta.id, n)
        self._post(replace(event, outcome=result) if isinstance(result, Outcome) else replace(event, error=result))

    def _begin_steps(self) -> None:
        """Start what had to wait for a commit."""
        closures, self._closures = self._closures, []
        for member, n, command in closures:
            assert member.attempt is not None
            self._steps.add((member.meta.id, n))
            abort = member.attempt.spec.options.abort_timeout
            tried = member.attempt.tried.get(n) or Tried(n, 0, self.engine.clock.now())
            self._background((member.meta.id, n), self._step(member, command, abort, tried), command.context)
        errands, self._errands = self._errands, []
        for member, n, errand in errands:
            self._background((member.meta.id, n), self._do(member, n, errand))

    async def _step(self, member: Member, command: c.Run, abort: timedelta | None, tried: Tried) -> None:
        member.results[tried.n] = await self._result(member.meta.id, command, abort, tried)
        self._tell(member, tried.n)

    async def _result(self, id: str, command: c.Run, abort: timedelta | None, tried: Tried) -> Outcome | BaseException:
        """Run a step by its policy. Returns what it gave, or what ends the attempt."""
        n, tries, began = tried.n, tried.tries, tried.began
        task = asyncio.current_task()
        while True:
            tries += 1
            try:
                self.engine.steps += 1
                try:
                    result = await self._limited(command, abort)
                    outcome = _bounded(Outcome(result), f"the result of step {command.name!r}")
                finally:
                    self.engine.steps -= 1
            except TerminalError as error:
                outcome = Outcome(failure=Failure.of(error))
            except BaseException as error:
                if self._dropped(error, task):
                    raise
                policy: RetryPolicy | None = command.retry
                if policy is None:
                    return error
                wait = policy.backoff(tries)
                lasted = timedelta(milliseconds=self.engine.clock.now() - began, seconds=wait)
                last = policy.attempts is not None and tries >= policy.attempts
                text = f"step {command.name!r} failed {tries} times: {told(error)}"
                if not last and (policy.duration is None or lasted <= policy.duration):
                    due = self.engine.clock.now() + round(wait * 1000)
                    self._report_step(id, command.name, tries, policy, error, due)
                    if await self._sit_out(id, due):
                        continue
                    return Postponed(Tried(n, tries, began), due, text, error)
                self._report_step(id, command.name, tries, policy, error, None)
                outcome = Outcome(failure=Failure(500, said(text, MAX_ERROR)))
            return outcome

    def _report_step(
        self, id: str, name: str, tries: int, policy: RetryPolicy, error: BaseException, due: int | None
    ) -> None:
        member = self.members.get(id)
        if member is not None:
            self.engine.report_step(member.meta, name, tries, policy, error, due)

    def _dropped(self, error: BaseException, task: asyncio.Task[Any] | None) -> bool:
        """Return True if a step was stopped from outside; otherwise the step itself raised the error."""
        if isinstance(error, asyncio.CancelledError):
            return task is not None and bool(task.cancelling())
        return isinstance(error, GeneratorExit) and asyncio.current_task(self._loop) is not task

    async def _sit_out(self, id: str, due: int) -> bool:
        """Wait for a step's next try, but not for long if no client waits and nothing else runs. Returns whether it is
        time."""
        patience = 0 if self.engine.always_replay else PATIENCE
        while (left := due - (now := self.engine.clock.now())) > 0:
            stay, alone = self.engine.remaining(), len(self._running) == 1 and now >= self._lingers()
            if stay <= 0 or (alone and left > patience) or id in self._failing:
                return False
            await self.engine.clock.sleep(min(left, stay, BREATH) / 1000)
        return True

    async def _limited(self, command: c.Run, abort: timedelta | None) -> bytes:
        """Run a step's closure, for so long at most."""
        if abort is None:
            return await command.closure()

        async def run() -> bytes | BaseException:
            try:
                return await command.closure()
            except (SystemExit, KeyboardInterrupt) as error:  # raised in a task, either would end the process
                return error

        task = asyncio.ensure_future(run())
        try:
            await self.engine.first(task, self.engine.clock.now() + round(abort.total_seconds() * 1000))
            if not task.done():
                raise TimeoutError(f"step {command.name!r} took longer than its abort_timeout, {abort}")
            result = task.result()
        finally:
            task.cancel()
        if isinstance(result, BaseException):
            raise result
        return result

    async def _do(self, member: Member, n: int, errand: c.Errand) -> None:
        async with self._lines[member.meta.id, _receiver(errand)]:
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
        while not self._events and not self._ready and not self.poked:
            now = self.engine.clock.now()
            limit = min(self._lingers(), now + self.engine.remaining(), timer or sys.maxsize)
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
        self.poked.clear()
        await self._look()

    async def _look(self) -> None:
        """See what became of the invocations meanwhile: notifications came in, or somebody took over.

        Raises:
            Fenced: If an attempt here is no longer the latest.
        """
        self._looked = self.engine.clock.now()
        members = [member for member in self.members.values() if member.stored and member.attempt is not None]
        for start in range(0, len(members), 16):
            some = members[start : start + 16]
            metas = await asyncio.gather(*(self.engine.look(member.meta.id) for member in some))
            for member, meta in zip(some, metas, strict=True):
                if meta is None or meta.ref != member.ref or not meta.live or meta.epoch != member.meta.epoch:
                    raise Fenced(f"{member.meta.id} was taken over", member.ref)
                if meta.notifications > member.counted:
                    member.meta = replace(member.meta, notifications=meta.notifications)
                    await self.refresh(member)

    async def _refresh(self, member: Member) -> None:
        """Read the record, then the notifications, and take those in."""
        meta = await self.engine.look(member.meta.id)
        if meta is not None and meta.ref == member.ref:
            member.meta = replace(member.meta, notifications=meta.notifications)
            await self.refresh(member)

    async def refresh(self, member: Member) -> None:
        """Read the notifications to an invocation, whose record was read before, and take those in."""
        counted = member.meta.notifications
        for note in await self.engine.news(member.ref):
            self._take_in(member, note)
        member.counted = max(member.counted, counted)

    def _wait_of(self, member: Member) -> Wait:
        """What a blocked attempt waits for."""
        assert member.attempt is not None
        waits = member.attempt.waits()
        groups: dict[int, int] = {}
        for pending in waits:
            group = pending.group if pending.group is not None and len(pending.waiters) == 1 else pending
            groups[id(group)] = groups.get(id(group), 0) + 1
        due = min((at for p in waits if (at := self._timers.get((member.meta.id, p.n))) is not None), default=None)
        awaited = [(other, pending.n) for pending in waits if (other := _awaited(pending)) is not None]
        all = len(groups) == 1
        awaits: Awaits | None = None
        if awaited and (all or len(awaited) == len(waits)):
            calls = dict.fromkeys([pending.n for pending in waits if _derived(pending)][MAX_NAMED:])
            ids, commands = zip(*((other, n) for other, n in awaited if n not in calls), strict=True)
            awaits = Awaits(member.counted, all, ids, commands, stretches(calls))
        return Wait(member, min(groups.values()), due, awaits, self._look_at(member, waits))

    def _look_at(self, member: Member, waits: Sequence[Pending[Any]]) -> int | None:
        """When the sweeper is to look at an attempt that waits."""
        times, kinds = self.engine.times(), {type(pending.command) for pending in waits}
        if kinds == {c.Sleep}:
            return None
        # Of invocations that wait for keys the sweeper looks at each. Nobody looks at a ring of attached results.
        lease = times.grace if c.Attach in kinds else member.meta.due or times.lease
        return lease if lease > times.now else times.grace

    def _look_for_rings(self, suspended: Iterable[Member]) -> None:
        """Whoever suspends may be the last of a ring, and then nobody in it moves again to look for one."""
        for member in suspended:
            awaits, free = member.meta.awaits, self.ledger.made - self.ledger.queued
            if awaits is not None and not free.issuperset(awaited_ids(member.ref, awaits)):
                self.engine.spawn(self.engine.deadlocks.check(member.meta))

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
                    raise Fenced(f"{member.meta.id} was taken over", member.ref) from conflict
                member.meta = replace(member.meta, awaits=awaits)
            if awaits is not None:
                await self.engine.deadlocks.check(member.meta)

    def _break_ring(self) -> bool:
        """Fail the youngest call of a ring of invocations in this unit that wait for each other."""
        for member in self.members.values():
            ring: list[Member] = []
            at: Member | None = member
            while at is not None and at not in ring:
                ring.append(at)
                at = self._blocker(at)
            if at is not None and self._break(ring[ring.index(at) :]):
                return True
        return False

    def _break(self, ring: list[Member]) -> bool:
        failure = deadlock([member.meta for member in ring])
        queued = [member for member in ring if member.attempt is None]
        if not queued:  # by results that are attached to
            waiting = attached([member.meta for member in ring], [self._wait_of(member).awaits for member in ring])
            self._post(Event(waiting[0], waiting[1], Outcome(failure=failure)))
            return True
        youngest = max(queued, key=lambda m: (m.meta.created, m.meta.parent.command if m.meta.parent else 0))
        if youngest.spec is not None and youngest.spec.options.deadlocks == "report":
            self.engine.deadlocks.report(youngest.meta, failure)
            return False
        self._end_child(youngest, Outcome(failure=failure))
        return True

    def _blocker(self, member: Member) -> Member | None:
        """Who in this unit has to go on first, if there is just one."""
        if member.attempt is None:
            key = self.ledger.keys.get(member.key)
            owner = key.live.owner if key is not None and key.live is not None else None
            found = self.members.get(owner.id) if owner is not None else None
            return found if found is not member else None
        awaits = self._wait_of(member).awaits if member.attempt.waits() else None
        if awaits is None or (len(awaits.ids) > 1 and not awaits.all):
            return None
        here = [child for id in awaited_ids(member.ref, awaits) if (child := self.members.get(id)) is not None]
        return next((child for child in here if child.attempt is None), here[0] if here else None)


def _awaited(pending: Pending[Any]) -> str | None:
    """The invocation whose result an operation waits for, if that is what it does."""
    if isinstance(pending, PendingInvocation) and pending.called:
        return pending.id
    return pending.command.id if isinstance(pending.command, c.Attach) else None


def _receiver(errand: c.Errand) -> str:
    """Return whom an errand is for: an awakeable's result is for the invocation that waits for it."""
    if isinstance(errand, c.GetPromise | c.PeekPromise | c.CompletePromise):
        return errand.name
    awakeable = parse_awakeable(errand.id)
    return awakeable[0].id if awakeable is not None else errand.id


def _derived(pending: Pending[Any]) -> bool:
    """Whether the id of the call that an operation waits for derives from the command's number."""
    if not isinstance(pending, PendingInvocation) or not isinstance(pending.command, c.Call):
        return False
    return pending.kind is not Kind.WORKFLOW and pending.command.idempotency_key is None


def _refusal(command: c.Command) -> Failure | None:
    """Why a command is not carried out: what it holds for others is too large."""
    match command:
        case c.SetState(name, data):
            return _oversize(f"state entry {name!r}", data)
        case c.SendSignal(_, name, data):
            return _oversize(f"signal {name!r}", data)
        case c.Complete(id, outcome):
            return _oversize(f"the result of awakeable {id}", outcome.value)
        case c.CompletePromise(name, outcome):
            return _oversize(f"the result of promise {name!r}", outcome.value)
        case _:
            return None


def _oversize(what: str, data: bytes | None) -> Failure | None:
    size = len(data or b"")
    return Failure(413, f"{what} has {size} bytes; the most is {MAX_PAYLOAD}") if size > MAX_PAYLOAD else None


def _bounded(outcome: Outcome, what: str) -> Outcome:
    failure = _oversize(what, outcome.value)
    return outcome if failure is None else Outcome(failure=failure)


def _answer(state: KeyState, command: c.GetState | c.StateKeys) -> Outcome | None:
    """What a state read gives, if that is known."""
    if isinstance(command, c.GetState):
        return state.read(command.name)
    names = state.names()
    return None if names is None else _names(names)


def _names(names: Iterable[str]) -> Outcome:
    return Outcome(json.dumps(sorted(names)).encode())
