"""What is done to invocations from outside: they are given results, cancelled, killed, paused, resumed.

Every method may be repeated: it finds what it did before. What it answers says what it found.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from adapter.engine import commands as c
from adapter.engine.draft import garbage, notification
from adapter.engine.ids import (
    child_id,
    new_generation,
    new_nonce,
    parse_awakeable,
    promise_id,
    random_id,
    restarted_id,
    said_nonce,
)
from adapter.engine.journal import Began, Issued, encode, unanswered
from adapter.engine.keys import KeyState
from adapter.engine.ledger import Fenced
from adapter.engine.member import Member
from adapter.engine.ports import Change, Conflict, Create, Delete, Finish, Put, Update, WriteHead
from adapter.engine.records import INLINE, Head, InboxEntry, Meta, Piece, Ref, Status, Unreadable, Waiter, cut
from adapter.engine.types import CANCELLED, Failure, Kind, ObjectKey, Outcome, Target
from adapter.engine.unit import Unit
from adapter.errors import TerminalError

if TYPE_CHECKING:
    from adapter.engine.engine import Engine

log = logging.getLogger("adapter")

Said = Literal["accepted", "already", "not found"]
"""Whether a request was carried out, had been before (or came too late), or is about nothing that exists."""

KILLED = Failure(409, "killed")


@dataclass(frozen=True, slots=True)
class Restarted:
    """The invocation that a restart made."""

    id: str


class Control:
    """Acts on invocations by their ids."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # --- results from outside ---

    async def perform(self, member: Member, n: int, command: c.Errand) -> Outcome | None:
        """Do what command ``n`` of a member asks of others. ``None``: a notification will bring the result."""
        nonce = child_id(member.meta.id, member.meta.generation, n)[4:]
        match command:
            case c.Attach(id):
                return await self.attach(member, n, id)
            case c.Output(id):
                meta = await self._engine.look(id)
                if meta is None:
                    return Outcome(c.NOT_FOUND)
                outcome = await self._engine.result(meta) or Outcome(c.NOT_READY)
                return outcome if meta.live or outcome.failure else Outcome(c.READY + (outcome.value or b""))
            case c.Cancel(id):
                return _said(await self.cancel(id))
            case c.Complete(id, outcome):
                return _said(await self.complete(id, outcome, nonce=nonce))
            case c.SendSignal(id, name, value):
                return _said(await self.signal(id, name, Outcome(value), nonce=nonce))
            case c.GetPromise(name):
                return await self.attach(member, n, await self._promise(member.key, name))
            case c.PeekPromise(name):
                return await self.peek_promise(member.key, name)
            case c.CompletePromise(name, outcome):
                return _said(await self.complete_promise(member.key, name, outcome, nonce=nonce))

    async def answer(
        self, ref: Ref, meta: Meta | None, id: str, outcome: Outcome, nonce: str, *, cancels: bool = False
    ) -> Said:
        """Put a notification once, and wake its receiver, whose record was found to be this."""
        engine, nonce = self._engine, said_nonce(nonce, outcome)
        note, parts = notification(ref, id, outcome, engine.clock.now(), nonce)
        if meta is None or meta.generation != ref.generation:
            return "not found"
        if not meta.live:  # this may have come before
            earlier = next((earlier for earlier in await engine.notes(ref) if earlier.id == note.id), None)
            return "not found" if earlier is None else "accepted" if earlier.nonce == nonce else "already"
        note = replace(note, after=meta.notifications)
        await engine.put_apart(parts)
        fresh = True
        try:
            await engine.commit([Put(note)], nonce)
        except Conflict as conflict:
            fresh = False
            if getattr(conflict.found[0], "nonce", "") != nonce and not cancels:
                return "already"
        told, target = replace(note, outcome=outcome), meta.target
        await engine.teller.tell([told], target.service, meta.deployment, cancels=cancels, fresh=fresh)
        return "accepted" if fresh or not cancels else "already"

    async def complete(self, awakeable: str, outcome: Outcome, *, nonce: str | None = None) -> Said:
        """Give an awakeable its result."""
        parsed = parse_awakeable(awakeable)
        if parsed is None:
            return "not found"
        ref, n = parsed
        return await self.answer(ref, await self._engine.look(ref.id), f"w{n}", outcome, nonce or new_nonce())

    async def signal(self, id: str, name: str, outcome: Outcome, *, nonce: str | None = None) -> Said:
        """Send a named signal to an invocation. Each is delivered once; the same nonce again is the same signal, or,
        with another value, ``already`` was."""
        meta = await self._engine.look(id)
        if meta is None:
            return "not found"
        nonce = nonce or new_nonce()
        return await self.answer(meta.ref, meta, f"s{nonce}:{name}", outcome, nonce)

    async def attach(self, member: Member, n: int, id: str) -> Outcome | None:
        """Have command ``n`` of a member wait for an invocation; the outcome, where it has completed already."""
        while True:
            meta = await self._engine.look(id)
            if meta is None or not meta.live:
                gone = Outcome(failure=Failure(404, f"there is no invocation {id}, or it has expired"))
                outcome = gone if meta is None else await self._engine.result(meta)
                lost = outcome is not None and outcome.failure is not None and outcome.failure.code == 404
                return None if lost and await self._was_told(member, n) else outcome
            waiter = Waiter(id, meta.generation, member.ref, n, member.meta.target.service, member.meta.deployment)
            try:
                await self._engine.commit([Put(waiter), Update(meta.ref, add={"waiters": 1})], new_nonce())
                return None
            except Conflict as conflict:
                if 0 in conflict.found:
                    return None

    async def _was_told(self, member: Member, n: int) -> bool:
        """Whether the result that command ``n`` waits for is among the notifications; then the member is given it.

        An earlier attempt attached. What it waits for may have completed, and expired, since this one was loaded.
        """
        told = [note for note in await self._engine.news(member.ref) if note.id in (f"a{n}", f"c{n}")]
        unit = self._engine.active.get(member.meta.id)
        if unit is not None:
            for note in told:
                unit.deliver(note)
        return bool(told)

    # --- promises: records that nobody runs, which others wait for ---

    async def peek_promise(self, key: ObjectKey, name: str) -> Outcome:
        """A promise's result as it stands: without a value where there is none yet."""
        meta = await self._engine.look(await self._promise_id(key, name))
        return (await self._engine.result(meta) if meta is not None else None) or Outcome(None)

    async def complete_promise(self, key: ObjectKey, name: str, outcome: Outcome, *, nonce: str | None = None) -> Said:
        """Give a promise its result."""
        id = await self._promise(key, name)
        nonce = said_nonce(nonce or new_nonce(), outcome)
        while True:
            meta = await self._engine.look(id)
            if meta is None:
                return "not found"
            if not meta.live:
                return "accepted" if meta.nonce == nonce else "already"
            now = self._engine.clock.now()
            values: dict[str, Any] = {"status": Status.COMPLETED, "outcome": outcome, "completed": now, "epoch": 1}
            values |= {"due": now if meta.waiters else meta.due}
            if len(outcome.value or b"") > INLINE:
                parts = cut(meta.ref, name := f"output-{nonce}", outcome.value or b"")
                await self._engine.put_apart(parts)
                values |= {"outcome": Outcome(), "output_parts": len(parts), "output_name": name}
            update = Update(meta.ref, set=values, epoch=meta.epoch, waiters=meta.waiters)
            try:
                await self._engine.commit([update], nonce)
            except Conflict:
                continue
            self._engine.finished(replace(meta, **values), outcome)
            return "accepted"

    async def _promise(self, key: ObjectKey, name: str) -> str:
        """The id of a promise's record, which is made if it is not there."""
        id = await self._promise_id(key, name)
        now = self._engine.clock.now()
        meta = Meta(
            id=id,
            generation=new_generation(),
            target=Target(key.service, name, key.key),
            kind=Kind.SHARED,
            status=Status.SUSPENDED,
            created=now,
            due=now + OPEN_CHECK,
        )
        with contextlib.suppress(Conflict):
            await self._engine.commit([Create(meta, now)], new_nonce())
        return id

    async def _promise_id(self, key: ObjectKey, name: str) -> str:
        """A promise belongs to one run of the workflow: whoever comes first gives the run its generation."""
        while True:
            head = (await self._engine.heads([key]))[key]
            state = KeyState(head, self._engine.clock.now())
            if state.generation == head.state_generation.split(".")[0]:
                return promise_id(key, state.generation, name)
            expires = self._engine.clock.now() + PROMISE_CHECK
            fresh = replace(state.head(), expires=expires if state.owner is None else None)
            try:
                write = WriteHead(fresh, version=head.version)
                await self._engine.commit([write, *garbage(state, self._engine.times())], new_nonce())
            except Conflict:
                continue

    async def check_promise(self, meta: Meta) -> None:
        """End a promise whose workflow is over, and delete it once all who wait are told; else look again later."""
        key = meta.target.object
        head = (await self._engine.heads([key]))[key]
        now = self._engine.clock.now()
        gone = promise_id(key, KeyState(head, now).generation, meta.target.handler) != meta.id
        if meta.live and gone:
            values: dict[str, Any] = {
                "status": Status.COMPLETED,
                "completed": now,
                "outcome": Outcome(failure=Failure(410, f"{key} is over, and its promise was not completed")),
                "expires": now,
            }
        else:
            values = {"expires": now} if gone else {"dispatches": meta.dispatches + 1}
        later = now + (OPEN_CHECK * 2 ** min(meta.dispatches, 5) if meta.live else PROMISE_CHECK)
        values["due"] = now if gone else min(later, head.expires or later)
        try:
            live = Update(meta.ref, set=values, due=meta.due, waiters=meta.waiters)
            await self._engine.commit([live if meta.live else Finish(meta.ref, set=values)], new_nonce())
        except Conflict:
            return
        if not gone:
            return
        if meta.waiters:  # they are told first; what is due then deletes it
            await self._engine.sweeper.fan_out(replace(meta, **values))
        else:
            await self._engine.sweeper.delete(replace(meta, **values))

    # --- state that is over ---

    async def collect(self, note: Meta) -> None:
        """Delete what a note says is over: the state entries of a generation, or parts of an input. Then the note."""
        if note.parent is None:
            await self._engine.blobs.delete_entries(note.target.object, note.generation)
        elif not await self._engine.blobs.collect_input(note, note.parent.ref):
            return
        now = self._engine.clock.now()
        try:
            await self._engine.commit([Finish(note.ref, set={"expires": now})], new_nonce())
        except Conflict:
            return
        await self._engine.read(lambda: self._engine.store.forget(note.ref, now))

    async def clear_state(self, key: ObjectKey) -> None:
        """Delete the state of a workflow that has expired."""
        now = self._engine.clock.now()
        head = (await self._engine.heads([key]))[key]
        if head.owner is not None or head.expires is None or head.expires > now:
            return
        if head.spilled:
            await self._engine.blobs.delete_entries(key, head.state_generation)
        empty = replace(head, state={}, spilled=False, large=False, state_generation="", expires=None)
        try:
            await self._engine.commit([WriteHead(empty, version=head.version)], new_nonce())
        except Conflict:
            return

    # --- keys ---

    async def reclaim(self, waiting: Meta) -> None:
        """Hand over the key that an invocation waits for, if its owner has no live record, or there is no owner.

        Without an owner, a process ended between its write and its read. An owner releases its key in the write that
        completes it, so one without a live record was lost: tables were restored to different times, or items were
        deleted. An inbox entry that was lost is put again.
        """
        key = waiting.target.object
        head = (await self._engine.heads([key]))[key]
        if waiting.dispatches and waiting.ticket is not None:
            entry = InboxEntry(key, waiting.ticket, waiting.ref)
            with contextlib.suppress(Conflict):  # it is there, as it should be
                await self._engine.commit([Put(entry), Update(waiting.ref, due=waiting.due)], new_nonce())
        if head.owner is None or not head.queued:
            await self._engine.handover.settle({key: ()})
        if head.owner is None:
            return
        owner = await self._engine.look(head.owner.id)
        if owner is not None and owner.live and owner.ref == head.owner:
            return
        if (await self._engine.heads([key]))[key].version != head.version:
            return  # it has completed since
        log.error("%s is owned by %s, of which there is no live record: it goes to who waits next", key, head.owner.id)
        lost = replace(waiting, id=head.owner.id, generation=head.owner.generation)
        head = replace(head, queued=True)
        await Unit(self._engine, Member(lost, b"", None, stored=True), head=head).release()

    # --- the life of an invocation ---

    async def cancel(self, id: str) -> Said:
        """Ask an invocation to end: a terminal error surfaces at its next await; one not yet begun ends at once."""
        while True:
            meta = await self._engine.look(id)
            if meta is None:
                return "not found"
            if not meta.live:
                return "already"
            not_begun = meta.status is Status.QUEUED or (meta.epoch == 0 and meta.status is not Status.READY)
            if not_begun or await self._got_nowhere(meta):
                if await self.end(meta, CANCELLED):
                    return "accepted"
                continue
            said = await self.answer(meta.ref, meta, "x", Outcome(failure=CANCELLED), new_nonce(), cancels=True)
            return "already" if said == "not found" else said

    async def kill(self, id: str) -> Said:
        """End an invocation at once, with the calls that it made. A step under way may still finish.

        From its first write on nothing of it goes on. Then come the calls, and its completion last: if this process
        ends meanwhile, the attempt that is due then goes on with them.
        """
        while True:
            meta = await self._engine.look(id)
            if meta is None:
                return "not found"
            if not meta.live:
                return "already"
            if await self.end(meta, KILLED):
                return "accepted"

    async def kill_calls(self, meta: Meta) -> None:
        """Kill what an invocation has called, which itself can do nothing more, and is still to complete."""
        for child in await self._calls(meta):
            await self.kill(child)

    async def pause(self, id: str) -> Said:
        """Keep an invocation from going on until it is resumed; an attempt under way ends at its next commit."""
        while True:
            meta = await self._engine.look(id)
            if meta is None:
                return "not found"
            if not meta.live or meta.status in (Status.PAUSED, Status.QUEUED):
                return "already"
            if await self.overtake(meta, {"status": Status.PAUSED, "due": None}) is not None:
                return "accepted"

    async def resume(self, id: str, *, deployment: str | None = None) -> Said:
        """Have a paused invocation, or one that waits for its next attempt, go on now; if need be elsewhere."""
        while True:
            meta = await self._engine.look(id)
            if meta is None:
                return "not found"
            if (meta.status not in (Status.PAUSED, Status.BACKING_OFF) and deployment is None) or not meta.live:
                return "already"
            values: dict[str, Any] = {"failures": 0, "dispatches": 0}
            if meta.status in (Status.PAUSED, Status.BACKING_OFF):
                # The epoch tells off an attempt's last write, if that is applied once more, later.
                values |= {"status": Status.READY, "due": self._engine.times().grace, "epoch": meta.epoch + 1}
            if deployment is not None:
                values["deployment"] = deployment
            try:
                await self._engine.commit([Update(meta.ref, set=values, epoch=meta.epoch, due=meta.due)], new_nonce())
            except Conflict:
                continue
            if "status" in values:
                target = deployment if deployment is not None else meta.deployment
                self._engine.dispatch(meta.ref, meta.target.service, target, fresh=meta.epoch == 0)
            return "accepted"

    async def purge(self, id: str) -> Said:
        """Delete a completed invocation, as if it had expired."""
        meta = await self._engine.look(id)
        if meta is None:
            return "not found"
        if meta.live:
            return "already"
        if meta.waiters:
            await self._engine.sweeper.fan_out(meta)
        while True:
            now = self._engine.clock.now()
            changes: list[Change] = [Finish(meta.ref, set={"expires": now, "due": now})]
            if meta.kind is Kind.WORKFLOW:  # what it has left behind goes with it: the next run begins anew
                key = meta.target.object
                head = (await self._engine.heads([key]))[key]
                changes.append(WriteHead(replace(head, expires=now), version=head.version))
            try:
                await self._engine.commit(changes, new_nonce())
            except Conflict as conflict:
                if 0 in conflict.found:
                    return "not found"
                continue
            await self._engine.sweeper.delete(replace(meta, expires=now))
            return "accepted"

    async def restart(self, id: str, *, idempotency_key: str | None = None) -> Restarted | None:
        """Run an invocation's request once more, as a new invocation. ``None``: there is no such invocation.

        Requests that carry the same idempotency key restart it once.

        Raises:
            TerminalError: If it is a workflow's ``run``.
        """
        from adapter.engine.engine import Request

        meta = await self._engine.look(id)
        if meta is None:
            return None
        if meta.kind is Kind.WORKFLOW:
            raise TerminalError("a workflow runs once per id: purge it, then submit it again", code=409)
        input = await self._engine.input(meta)
        new = random_id() if idempotency_key is None else restarted_id(meta.ref, idempotency_key)
        answer = await self._engine.send(Request(meta.target, input, idempotency_key, meta.headers), id=new)
        return Restarted(answer.id)

    # --- inside ---

    async def end(self, meta: Meta, failure: Failure) -> bool:
        """Complete an invocation with a failure, whatever it is at. Returns whether it was as it is said to be.

        Once begun it is done to its end, even if whoever asked is given up: till then the invocation has a lease.
        """
        return await self._engine.persist(self._end(meta, failure))

    async def _end(self, meta: Meta, failure: Failure) -> bool:
        ending = {"status": Status.RUNNING, "due": self._engine.times().lease, "outcome": Outcome(failure=failure)}
        taken = await self.overtake(meta, ending)
        if taken is None:
            return False
        if failure == KILLED:
            await self.kill_calls(taken)
        member = Member(taken, b"", self._engine.spec(taken), stored=True, pieces=await self._pieces(meta))
        head: Head | None = None
        if meta.kind.exclusive:
            head = (await self._engine.heads([member.key]))[member.key]
            member.keyless = head.owner != meta.ref
        try:
            await Unit(self._engine, member, head=None if member.keyless else head).run()
        except Fenced:
            return False
        self._engine.unschedule(meta)
        return True

    async def _got_nowhere(self, meta: Meta) -> bool:
        """Whether all its attempts failed before they did anything: nothing is to be undone, and no await may come."""
        if meta.status not in (Status.BACKING_OFF, Status.PAUSED):
            return False
        try:
            journal = await self._engine.journal(meta)
            return not any(isinstance(entry, Issued) or (isinstance(entry, Began) and entry.lost) for entry in journal)
        except Unreadable:
            return False

    async def overtake(self, meta: Meta, values: Mapping[str, Any]) -> Meta | None:
        """Raise the epoch, so that no attempt goes on, and leave the key's inbox. ``None`` if it has changed."""
        epoch = meta.epoch + 1
        set = {**values, "epoch": epoch, "wake_after": None, "seen": 0, "timer": None, "ticket": None, "awaits": None}
        queued = meta.status is Status.QUEUED and meta.ticket is not None
        due, status = (None, Status.QUEUED) if queued else (meta.due, None)
        changes: list[Change] = [Update(meta.ref, set=set, epoch=meta.epoch, due=due, status=status)]
        if meta.epoch:
            data = encode([Began(epoch, lost=meta.unended)])[0]
            set["pieces"] = (place := await self._pieces(meta)) + 1
            changes.append(Put(Piece(meta.id, meta.generation, place, data)))
        if meta.status is Status.QUEUED and meta.ticket is not None:
            # Who hands the key over deletes the entry too, so only one of the two can.
            changes.append(Delete(InboxEntry(meta.target.object, meta.ticket, meta.ref)))
        try:
            await self._engine.commit(changes, new_nonce())
        except Conflict as conflict:
            if not queued or list(conflict.found) != [len(changes) - 1]:
                return None
            try:  # the entry was lost
                await self._engine.commit(changes[:-1], new_nonce())
            except Conflict:
                return None
        return replace(meta, **set)

    async def _pieces(self, meta: Meta) -> int:
        return 0 if not meta.epoch else await self._engine.pieces(meta)

    async def _calls(self, meta: Meta) -> list[str]:
        """The invocations that it called and that have not answered."""
        try:
            journal = await self._engine.journal(meta)
        except Unreadable as error:
            log.error("what it called goes on: %s", error, extra={"invocation_id": meta.id})
            return []
        return [child_id(meta.id, meta.generation, n) for n in unanswered(journal)]


OPEN_CHECK = 3600 * 1000
"""Milliseconds after which an open promise is first looked at, whether its workflow is still there; then ever later."""

PROMISE_CHECK = 30 * 24 * 3600 * 1000
"""Milliseconds after which a promise is looked at, whether its workflow is still there."""


def _said(said: Said) -> Outcome:
    return Outcome(b'"' + said.encode() + b'"')
