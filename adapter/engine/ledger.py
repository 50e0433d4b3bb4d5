"""What happened in a unit of work and is not committed yet, and how that is committed.

Whenever something outside is about to depend on what handlers did, a stretch of the log from its beginning becomes
one commit. A conflict teaches what the store holds instead: the commit is made anew, or the unit is told to rewind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from adapter.engine import journal
from adapter.engine.draft import APART, MAX_ITEMS, Draft, Key, Step, plan
from adapter.engine.ids import new_nonce
from adapter.engine.journal import Done, Issued, Read
from adapter.engine.keys import UNKNOWN, KeyState
from adapter.engine.member import Arrived, Born, Ended, Entered, Left, Log, Member, Wait, Wrote
from adapter.engine.ports import (
    Change,
    Conflict,
    Contended,
    Create,
    Delete,
    Finish,
    Put,
    TakeKey,
    TooLarge,
    Update,
    WriteHead,
)
from adapter.engine.records import (
    WAITING,
    Head,
    InboxEntry,
    Meta,
    Notification,
    Parent,
    Part,
    Piece,
    Record,
    Ref,
    Status,
)
from adapter.engine.storage import CONTENDED
from adapter.engine.types import CANCELLED, ObjectKey, Outcome

if TYPE_CHECKING:
    from adapter.engine.engine import Engine


FRONT = 48
"""How many entries of an inbox are read at a time: what one commit can complete."""


TRIES = 2
"""How often a key that is free is tried to be taken before an invocation goes to its inbox."""


class Fenced(Exception):
    """Another attempt, or an operator, took over: nothing that this one did since its last commit counts.

    Args:
        text: What was met.
        ref: Which invocation was taken over. ``None``: nothing of the unit of work may go on.
    """

    def __init__(self, text: str, ref: Ref | None = None) -> None:
        super().__init__(text)
        self.ref = ref


class Exists(Fenced):
    """The invocation that the unit was to begin with is there already."""

    def __init__(self, found: Meta) -> None:
        super().__init__(f"{found.id} exists")
        self.found = found


class Rewind(Exception):
    """What the handlers saw is no longer so: replay them from what is committed."""


class News(Exception):
    """A notification came in before the suspension."""


class Driver(Protocol):
    """What a ledger tells the unit that runs the code."""

    members: dict[str, Member]
    """The invocations that run, by their ids."""
    poked: set[str]
    """The ids of those that were to be resumed while they ran."""

    def stored(self, member: Member) -> None:
        """A commit made, or went on with, an invocation that runs here."""

    def retire(self, member: Member) -> None:
        """An invocation runs here no longer."""

    def grant(self, key: Key) -> None:
        """A key may have another owner."""

    def told(self) -> bool:
        """Whether something came in that an attempt has not seen."""
        ...

    async def refresh(self, member: Member) -> None:
        """Read the notifications to an invocation."""

    def queued(self, member: Member) -> None:
        """An invocation waits for its key from here on, and runs here no longer."""


class Ledger:
    """The log of one unit of work.

    Args:
        engine: What it runs on.
        driver: Who runs the code.
        root: The id of the invocation that the unit begins with.
    """

    def __init__(self, engine: Engine, driver: Driver, root: str) -> None:
        self.log: list[Step] = []
        self.keys: dict[ObjectKey, Key] = {}
        self.known: dict[str, Meta] = {}
        """What turned out to be there already when it was to be made."""
        self.made: set[str] = set()
        """The ids of the invocations that code in this unit has made, but for what a rewind has undone."""
        self.outbound = False
        """Whether the log holds what another process is to take up."""
        self.queued: set[str] = set()
        """The ids of the invocations made here that have to wait for their keys."""
        self._engine = engine
        self._driver = driver
        self._root = root
        self._created: set[str] = set()
        """The ids of those made that are committed."""
        self._blobs: set[Ref] = set()
        """The large state entries that are stored, for a commit to point at."""
        self._unsettled: dict[ObjectKey, set[Ref]] = {}
        """The keys to look at, and the invocations that came to their inboxes."""

    def record(self, step: Step) -> None:
        """Log effects that are committed together."""
        if not step:
            return
        self.log.append(step)
        for effect in step:
            match effect:
                case Arrived() | Left() | Wrote():
                    key = self.keys.get(effect.member.key)
                    if key is not None and key.live is not None:
                        _apply(key, key.live, effect)
                case Born(member):
                    self.made.add(member.meta.id)
                    self.outbound = self.outbound or member.spec is None
                case Ended(member) if member.caller is None and member.meta.parent is not None:
                    self.outbound = True
                case _:
                    pass

    def enter(self, member: Member) -> None:
        """Log, with the release that made it the owner, that an invocation of the inbox runs here."""
        for place, step in reversed(list(enumerate(self.log))):
            if any(isinstance(effect, Left) and effect.member.key == member.key for effect in step):
                self.log[place] = (*step, Entered(member))
                return
        raise AssertionError(f"{member.meta.id} was not given its key here")

    def _entered(self, key: ObjectKey) -> bool:
        """Return True if an invocation of the key's inbox ran here, on an order of entries that is not committed."""
        effects = chain.from_iterable(self.log)
        return any(isinstance(effect, Entered) and effect.member.key == key for effect in effects)

    def omit(self, member: Member) -> None:
        """Take back all that an invocation of the inbox did here: it waits as before, and is the key's next owner."""
        steps = (tuple(effect for effect in step if effect.member is not member) for step in self.log)
        self.log = [step for step in steps if step]
        key = self.keys[member.key]
        key.next.clear()
        key.live = None
        self.refresh(key)

    def rewind(self) -> None:
        """Forget what is not committed."""
        self._forget(self.members())
        self.log.clear()
        self.made &= self._created
        self.outbound = False
        for key in self.keys.values():
            key.ran = False
            key.live = None
            key.next.clear()

    def members(self) -> Iterable[Member]:
        """Those who run, and all that the log speaks of."""
        yield from self._driver.members.values()
        for step in self.log:
            for effect in step:
                yield effect.member

    def advances(self, member: Member) -> bool:
        """Whether a member's journal grows by what is not committed."""
        return any(isinstance(effect, Log) and effect.member is member for step in self.log for effect in step)

    def unborn(self, id: str) -> Member | None:
        """The invocation of this id, if it is made here and not committed."""
        born = (effect.member for step in self.log for effect in step if isinstance(effect, Born))
        return next((member for member in born if member.meta.id == id and not member.dropped), None)

    def key(self, key: ObjectKey) -> Key:
        """A key, as the unit knows it."""
        return self.keys.setdefault(key, Key(key))

    def refresh(self, key: Key) -> None:
        """Work out how a key stands after the uncommitted effects."""
        if key.live is None:
            key.live = key.state(self._engine.clock.now())
            for step in self.log:
                for effect in step:
                    if (
                        isinstance(effect, Arrived | Left | Wrote)
                        and effect.member.key == key.key
                        and not effect.member.dropped
                    ):
                        _apply(key, key.live, effect)

    async def suspend(self, waits: Iterable[Wait]) -> None:
        """Commit what there is, and end attempts in the same write.

        Raises:
            News: If a notification came in that an attempt has not seen.
        """
        self.log += [(wait,) for wait in waits]
        try:
            await self.commit()
        finally:
            self.log = [step for step in self.log if not isinstance(step[0], Wait)]

    async def commit(self, *, keep_steps: bool = False, keep_last: bool = False) -> None:
        """Commit the log, in as few requests as it takes, and act on what became runnable.

        Args:
            keep_steps: Leave out steps at the end that were issued and have not begun: nothing depends on them yet.
            keep_last: Leave what a last request would not be full with.

        Raises:
            News: If an attempt is not to end after all, as something came in for it.
        """
        try:
            await self._commit(keep_steps=keep_steps, keep_last=keep_last)
        finally:
            if self._unsettled and not keep_last:
                await self._settle()

    async def _settle(self) -> None:
        """See to the keys at which invocations wait, or that were released while some may."""
        names, self._unsettled = self._unsettled, {}
        await self._engine.handover.settle(names)
        for name in names:  # the next one may find the key free
            if not self._runs(self.keys[name].head):
                self._reread(self.keys[name])
                self.keys[name].contended = False
                self.keys[name].lost = 0

    async def _commit(self, *, keep_steps: bool, keep_last: bool) -> None:
        end = len(self.log)
        while keep_steps and end and _is_step(self.log[end - 1]):
            end -= 1
        nonce = new_nonce()
        tries, most = 0, end
        while end:
            await self._prepare(self.log[:end])
            draft, taken = plan(self.keys, self._engine.times(), self.log[: min(end, most)])
            if keep_last and taken == end:
                return
            if taken < len(self.log) and self._bring_forward(taken):
                continue
            if (waits := self._in_line(draft)) is not None:
                await self._met(waits)
                continue
            if self._driver.told() and any(sheet.wait for sheet in draft.sheets.values()):
                raise News
            if draft.ran_in_line():  # an invocation ran on a key that turns out to be another's
                raise Rewind
            changes, apart = draft.changes(nonce, self._following(taken))
            try:
                changes += await self._put_apart(draft, apart)
                if len(changes) > MAX_ITEMS and taken > 1:
                    raise TooLarge(f"{len(changes)} changes")  # some ends of journals were larger than a record holds
                tries_of_one = 1 if self._competes(draft) else CONTENDED if taken > 1 else None
                await self._engine.commit(changes, nonce, give_up_after=tries_of_one)
            except Conflict as conflict:
                told = self._resolve(conflict, changes)
                for member in told:
                    await self._driver.refresh(member)
                if any(draft.sheets[member.meta.id].wait for member in told):
                    raise News from conflict
                tries += 1
                if tries > 1:
                    await self._engine.back_off(tries)
                nonce = new_nonce()
                continue
            except (TooLarge, Contended) as error:  # sizes are estimated: text with much to escape is larger
                nonce = new_nonce()
                if isinstance(error, Contended) and self._competes(draft):
                    self._yield(draft)
                    continue
                if taken == 1:
                    raise
                most = taken // 2
                continue
            tries = 0
            self._applied(draft, taken)
            queued = {id for id, meta in draft.metas.items() if meta.status is Status.QUEUED}
            if any(effect.member.meta.id in queued for step in self.log for effect in step):
                raise Rewind  # an invocation ran here that this commit left in the inbox
            end -= taken
            nonce = new_nonce()
        if not self.log:
            self.outbound = False

    def _following(self, taken: int) -> set[ObjectKey]:
        """The keys to which invocations for other processes come in the log behind so many steps."""
        rest = chain.from_iterable(self.log[taken:])
        return {each.member.key for each in rest if isinstance(each, Arrived) and each.member.spec is None}

    def _bring_forward(self, taken: int) -> bool:
        """Log what state reads gave ahead of later writes that are to be committed without it. Returns whether any was.

        If the process ended between the two commits, the next attempt would read what this one wrote.
        """
        effects = [(place, effect) for place, step in enumerate(self.log) for effect in step]
        writers = {effect.member for place, effect in effects if place < taken and isinstance(effect, Wrote)}
        answers = [
            (effect.member, effect.entry)
            for place, effect in effects
            if place >= taken and effect.member in writers
            if isinstance(effect, Log) and isinstance(effect.entry, Done | Read)
        ]
        forward = False
        for member, answer in answers:
            own = [(place, effect) for place, effect in effects if effect.member is member]
            logged = [(place, effect.entry) for place, effect in own if isinstance(effect, Log)]
            issued = next((place for place, entry in logged if _asks(entry, answer.n)), -1)
            if issued < 0 and not any(_asks(entry, answer.n) for entry in member.journal):
                continue
            writes = any(issued < place < taken for place, effect in own if isinstance(effect, Wrote))
            there = any(isinstance(entry, Read) and entry.n == answer.n for place, entry in logged if place < taken)
            if writes and not there:
                place = max(issued, 0)
                self.log[place] = (*self.log[place], Log(member, Read(answer.n, answer.outcome)))
                forward = True
        return forward

    async def _put_apart(self, draft: Draft, apart: list[Part | Piece]) -> list[Put] | list[Update]:
        """Put parts of large payloads that are too much for one commit. Returns what is to go with it after all."""
        if sum(len(part.data) for part in apart) <= APART and len(apart) + draft.items <= MAX_ITEMS:
            return [Put(part) for part in apart]
        if any(draft.makes(part.id) for part in apart if isinstance(part, Piece) or part.name != "input"):
            raise TooLarge("what has no record yet can have no journal: it may turn out to have to wait for its key")
        inputs: dict[str, list[Part]] = {}
        others: list[Part] = []
        for part in apart:
            if isinstance(part, Part):
                (inputs.setdefault(part.id, []) if draft.makes(part.id) else others).append(part)
        if draft.items + len(inputs) > MAX_ITEMS:
            raise TooLarge("there is no room in the commit for the notes of the inputs that are put ahead")
        await self._engine.put_apart(others)
        for id, parts in inputs.items():
            member = draft.sheets[id].member
            if member.note is None:  # else they were put for a commit that is made anew
                member.note = await self._engine.blobs.put_input(member.meta, parts)
                self._blobs.add(member.note)
        notes = [member.note for id in inputs if (member := draft.sheets[id].member).note is not None]
        for part in apart:
            if part.id in draft.sheets:
                draft.sheets[part.id].member.apart = True
        pieces = [piece for piece in apart if isinstance(piece, Piece)]
        for start in range(0, len(pieces), 5):
            try:
                await self._engine.commit([Put(piece) for piece in pieces[start : start + 5]], new_nonce())
            except Conflict as conflict:
                ref = Ref(pieces[start].id, pieces[start].generation)
                raise Fenced(f"another attempt appends to the journal: {conflict}", ref) from conflict
        for piece in pieces:
            draft.sheets[piece.id].member.pieces += 1
            draft.pieces[piece.id] -= 1
        return [self._engine.blobs.keep_input(note) for note in notes]

    async def _prepare(self, log: list[Step]) -> None:
        """Read the heads that the log touches, and the inboxes from which somebody is to be given a key."""
        touched = dict.fromkeys(
            effect.member.key for step in log for effect in step if isinstance(effect, Arrived | Left | Wrote)
        )
        missing = [key for key in touched if self.key(key).head is None]
        for start in range(0, len(missing), 100):
            for found, head in (await self._engine.heads(missing[start : start + 100])).items():
                self.keys[found].head = head
        for name in touched:
            key = self.keys[name]
            assert key.head is not None
            self.refresh(key)
            while key.live is not None and key.live.owner == UNKNOWN:
                await self.read_front(key)

        for effect in (effect for step in log for effect in step if isinstance(effect, Wrote)):
            await self._prepare_entry(self.keys[effect.member.key], effect)

    async def read_front(self, key: Key) -> None:
        """Read a further stretch of a key's inbox, unless something else here has changed what is known of it.

        Entries that were read before stay as they are: their invocations may have run here. An entry that was put
        among them since then is met when the inbox is read from its beginning again.
        """
        before = key.front
        known = before or []
        limit = len(known) + FRONT
        while True:
            found = await self._engine.read(lambda limit=limit: self._engine.store.inbox(key.key, limit))  # type: ignore[misc]
            behind = [entry for entry in found if not known or entry.ticket > known[-1].ticket]
            if behind or len(found) < limit:
                break
            limit += FRONT
        if key.front is before:
            key.front = [*known, *behind]
            key.more = len(found) == limit
        key.live = None
        self.refresh(key)

    async def _prepare_entry(self, key: Key, effect: Wrote) -> None:
        """Store a large state entry, and see whether what it replaces is large."""
        blobs, head = self._engine.blobs, key.head
        if effect.blob is not None and effect.blob not in self._blobs and effect.value is not None:
            await blobs.write(effect.blob, key.key, effect.value)
            self._blobs.add(effect.blob)
        if effect.name is not None and effect.name not in key.blobs and head is not None and head.large:
            key.blobs[effect.name] = await blobs.where(key.key, head.state_generation, effect.name)

    def _applied(self, draft: Draft, taken: int) -> None:
        """A commit went through: take over what it made."""
        del self.log[:taken]
        engine = self._engine
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
                if meta.notifications:
                    member.notes["x"] = Outcome(failure=CANCELLED)
                    member.counted = 1
            member.meta, member.stored = meta, True
            if sheet.ended is not None:
                engine.finished(meta, sheet.ended.outcome)
                for at in journal.unslept(member.journal) if meta.epoch > 1 else ():
                    engine.unschedule(replace(meta, status=Status.SUSPENDED, timer=at))
            elif sheet.failed is not None:
                engine.later(meta)
            elif sheet.wait is not None:
                engine.later(meta)
                self._driver.retire(member)
                if id in self._driver.poked:  # it was to be resumed while this process waited for the answer
                    engine.dispatch(meta.ref, meta.target.service, meta.deployment, fresh=False)
            elif meta.status is Status.QUEUED:
                self._driver.queued(member)
                member.caller = None
                self.queued.add(id)
            elif member.spec is not None:
                self._driver.stored(member)
            elif born and meta.status is Status.SCHEDULED:
                engine.later(meta)
            elif born:
                engine.dispatch(meta.ref, meta.target.service, meta.deployment, fresh=True)
            if born and member.cancelled and meta.status is Status.QUEUED:
                engine.spawn(engine.control.cancel(id))  # it need not wait for its key to be told
        told: dict[Parent, list[Notification]] = {}
        for note, member in draft.notes:
            assert member.meta.parent is not None
            told.setdefault(replace(member.meta.parent, command=0), []).append(note)
        for parent, notes in told.items():
            engine.spawn(engine.teller.tell(notes, parent.service, parent.deployment, alone=parent.alone))
        for name, ref in draft.granted:
            engine.granted(ref, name)
        for name in draft.unsettled:
            arrived = {entry.ref for entry in draft.states[name].arrived}
            self._unsettled.setdefault(name, set()).update(arrived)
        for name, state in draft.states.items():
            key = self.keys[name]
            key.head = replace(draft.heads[name], version=state.base.version + 1)
            key.front = (state.stored_front() or None) if self._runs(key.head) else None
            key.more = state.more
            key.contended = key.contended or bool(state.arrived)
            key.dead.clear()
            key.lost = 0
            if state.garbage:
                key.blobs.clear()
            if key.beside is not None:
                key.beside = state.entries()
            key.blobs |= {name: entry.blob if entry else None for name, entry in state.writes.items()}
            key.ran = key.ran and any(
                isinstance(effect, Arrived | Left | Wrote)
                and effect.member.key == name
                and effect.member.ref != key.head.owner
                for step in self.log
                for effect in step
            )
            key.live = None
            self.refresh(key)
            engine.seen(key.head)
            self._driver.grant(key)

    def _resolve(self, conflict: Conflict, changes: list[Change]) -> list[Member]:
        """Learn from a conflict; the commit is then made anew.

        Returns:
            The invocations whose attempts were to end, and to which notifications came in.

        Raises:
            Fenced, Rewind: If it is not to be made anew.
        """
        rewind, told = False, list[Member]()
        for place, found in conflict.found.items():
            change = changes[place]
            match change:
                case Create() if isinstance(found, Meta) and found.waiters and found.expired(self._engine.clock.now()):
                    self._engine.spawn(self._engine.sweeper.fan_out(found))  # then it makes way
                case Create(meta):
                    rewind = self._exists(meta, found) or rewind
                case WriteHead() | TakeKey():
                    rewind = self._moved(change, found) or rewind
                case Update(ref) if ref in self._blobs:
                    raise Fenced(f"what was put ahead of the commit was given up: {ref.id}")
                case Finish(ref):
                    for key in self.keys.values():
                        key.blobs = {name: None if blob == ref else blob for name, blob in key.blobs.items()}
                case Update() if change.epoch is not None:
                    if (member := self._overtaken(change, found)) is not None:
                        told.append(member)
                case Update():
                    self._bury(change)
                case Delete(InboxEntry(key)):
                    self._reread(self.keys[key])
                    rewind = rewind or self._entered(key)
                case Put(InboxEntry()):
                    pass
                case Put(Piece(id, generation)):
                    raise Fenced(f"another attempt has appended to the journal of {id}", Ref(id, generation))
                case _:
                    raise Fenced(f"{change} met {found}")
        if rewind:
            raise Rewind
        return told

    def _in_line(self, draft: Draft) -> Meta | None:
        """Somebody who is to be made, and waits for a key already: the commit would change one record twice."""
        waiting = {entry.ref.id for key in self.keys.values() for entry in key.front or ()}
        members = (sheet.member for sheet in draft.sheets.values())
        return next((m.meta for m in members if not m.stored and m.meta.id in waiting), None)

    async def _met(self, meta: Meta) -> None:
        """Somebody whom the log makes is there already, as the commit's conflict would say.

        Raises:
            Fenced, Rewind: If the commit is not to be made anew.
        """
        found = await self._engine.look(meta.id)
        if found is None:  # by now it is over, and forgotten
            self._reread(self.keys[meta.target.object])
            raise Rewind
        if self._exists(meta, found):
            raise Rewind

    def _exists(self, meta: Meta, found: Record | None) -> bool:
        """An invocation that was to be made is there already. Returns whether somebody acted as if it were not."""
        assert isinstance(found, Meta)
        if meta.id == self._root:
            raise Exists(found)
        self.known[meta.id] = found
        for step in self.log:
            for effect in step:
                if (
                    isinstance(effect, Born)
                    and effect.member.meta.id == meta.id
                    and effect.member.meta.generation == meta.generation
                ):
                    effect.member.dropped = True
                    if found.generation != meta.generation:
                        self._forget([effect.member])
                    if effect.member.meta.kind.exclusive:
                        key = self.key(effect.member.key)
                        key.live = None
                        if key.head is not None:
                            self.refresh(key)
                            self._driver.grant(key)
                    return effect.member.meta.parent is not None
        return True

    def _forget(self, members: Iterable[Member]) -> None:
        """Delete the large inputs of invocations that are not made after all, or under another generation."""
        for member in members:
            if member.apart and not member.stored and member.meta.id != self._root:
                member.apart = False
                self._engine.spawn(self._engine.sweeper.delete_dependents(member.ref))

    def _moved(self, change: WriteHead | TakeKey, found: Record | None) -> bool:
        """A key changed under us. Returns whether code ran on what it was."""
        name = change.head.key if isinstance(change, WriteHead) else change.key
        key = self.keys[name]
        head = found if isinstance(found, Head) else Head(name)
        if isinstance(change, WriteHead) and change.owner is not None and head.owner != change.owner:
            raise Fenced(f"{name} is owned by {head.owner}")
        ran = key.ran
        key.lost += 1
        if head.owner is None and not head.queued and key.lost < TRIES:
            self._engine.recent.share(name)
        else:
            self._engine.recent.meet(name)
            key.contended = True
        self._reread(key, head)
        return ran

    def _runs(self, head: Head | None) -> bool:
        """Return True if a key's owner runs here, or has run and the rest of that is not committed."""
        owner = head.owner if head is not None else None
        return owner is not None and any(member.ref == owner for member in self.members())

    def _competes(self, draft: Draft) -> bool:
        """Whether a commit takes a key that has no owner, which another process may take as well."""
        return any(state.base.owner is None and not self.keys[name].contended for name, state in draft.states.items())

    def _yield(self, draft: Draft) -> None:
        """Come to the keys by their inboxes from here on: another transaction is writing one of them.

        Raises:
            Rewind: If code ran on one.
        """
        ran = False
        for name, state in draft.states.items():
            key = self.keys[name]
            if state.base.owner is None and not key.contended:
                self._engine.recent.meet(name)
                key.contended = True
                ran = ran or key.ran
                self._reread(key)
        if ran:
            raise Rewind

    def _reread(self, key: Key, head: Head | None = None) -> None:
        key.head = head
        key.front = None
        key.next.clear()
        key.live = None
        key.blobs.clear()
        key.beside = None
        if head is not None:
            self.refresh(key)

    def _overtaken(self, change: Update, found: Record | None) -> Member | None:
        """An invocation's own record is not as expected. Returns it, if a notification came in."""
        member = next(m for m in self.members() if m.ref == change.ref)
        if change.status is Status.QUEUED:  # it does not wait any more, or not as it did when it was read
            self._reread(self.keys[member.key], self.keys[member.key].head)
            raise Rewind
        if (
            not isinstance(found, Meta)
            or found.generation != member.meta.generation
            or not found.live
            or found.epoch != change.epoch
        ):
            raise Fenced(f"{change.ref.id} was taken over", change.ref)
        member.meta = replace(member.meta, waiters=found.waiters, notifications=found.notifications)
        most = change.notifications if change.set.get("status") in WAITING else None
        return member if most is not None and found.notifications > most else None

    def _bury(self, change: Update) -> None:
        """Who was to be given a key is no more."""
        for key in self.keys.values():
            for entry in key.front or ():
                if entry.ref == change.ref:
                    key.dead.add(entry.ticket)


def _apply(key: Key, state: KeyState, effect: Arrived | Left | Wrote) -> None:
    match effect:
        case Arrived():
            effect.apply(state, key.contended)
        case Left():
            state.leave(effect.member.ref)
        case Wrote():
            effect.apply(state)


def _asks(entry: journal.Entry, n: int) -> bool:
    """Whether an entry says that command ``n`` reads state."""
    return isinstance(entry, Issued) and entry.n == n and entry.kind in ("get", "state-keys")


def _is_step(step: Step) -> bool:
    """Whether a log step is only that a step was issued."""
    return (
        len(step) == 1
        and isinstance(step[0], Log)
        and isinstance(step[0].entry, Issued)
        and step[0].entry.kind == "run"
    )
