"""What happened in a unit of work and is not committed yet, and how that is committed.

Whenever something outside is about to depend on what handlers did, a stretch of the log from its beginning becomes
one commit. A conflict teaches what the store holds instead: the commit is made anew, or the unit is told to rewind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from adapter.engine import journal
from adapter.engine.draft import APART, MAX_ITEMS, Draft, Key, Step, plan
from adapter.engine.ids import new_nonce
from adapter.engine.journal import Done, Issued, Read
from adapter.engine.keys import KeyState
from adapter.engine.member import Arrived, Born, Ended, Left, Log, Member, Wait, Wrote
from adapter.engine.ports import Change, Conflict, Contended, Create, Delete, Finish, Put, TooLarge, Update, WriteHead
from adapter.engine.records import Head, InboxEntry, Meta, Notification, Part, Piece, Record, Ref, Status, Unreadable
from adapter.engine.types import CANCELLED, ObjectKey, Outcome
from adapter.engine.waking import Waking

if TYPE_CHECKING:
    from adapter.engine.engine import Engine


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
                        _apply(key.live, effect)
                case Born(member):
                    self.made.add(member.meta.id)
                    self.outbound = self.outbound or member.spec is None
                case Ended(member) if member.caller is None and member.meta.parent is not None:
                    self.outbound = True
                case _:
                    pass

    def rewind(self) -> None:
        """Forget what is not committed."""
        self._forget(self.members())
        self.log.clear()
        self.made &= self._created
        self.outbound = False
        for key in self.keys.values():
            key.ran = False
            key.live = None

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
                        _apply(key.live, effect)

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
            changes, apart = draft.changes(nonce)
            try:
                changes += await self._put_apart(draft, apart)
                await self._engine.commit(changes, nonce, divisible=taken > 1)
            except Conflict as conflict:
                await self._clear_up(conflict, changes)  # first, so that it is done again after a crash
                self._resolve(conflict, changes)
                tries += 1
                if tries > 1:
                    await self._engine.back_off(tries)
                nonce = new_nonce()
                continue
            except (TooLarge, Contended):  # text with much to escape is several times what was estimated
                if taken == 1:
                    raise
                nonce, most = new_nonce(), taken // 2
                continue
            tries = 0
            self._applied(draft, taken)
            if any(effect.member.meta.status is Status.QUEUED for step in self.log for effect in step):
                raise Rewind  # somebody ran here who by this commit is still in line
            end -= taken
            nonce = new_nonce()
        if not self.log:
            self.outbound = False

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
            leavers = {effect.member.ref for step in log for effect in step if isinstance(effect, Left)}
            while key.head.waiting > len(key.front) and all(entry.ticket in key.dead for entry in key.front):
                if key.head.owner is not None and key.head.owner not in leavers:
                    break
                known = len(key.front)
                front = await self._engine.read(lambda: self._engine.store.inbox(name, known + 10))  # noqa: B023
                # Who has come since the head was read is not among those whom that head counts.
                key.front = [entry for entry in front if entry.ticket <= key.head.ticket]
                if len(key.front) <= known:  # some have left the inbox since the head was read
                    former, key.head = key.head, (await self._engine.heads([name]))[name]
                    if key.head.version == former.version:
                        raise Unreadable(f"{name}: {former.waiting} wait by its head, but {known} by its inbox")
                key.live = None
                self.refresh(key)

        for effect in (effect for step in log for effect in step if isinstance(effect, Wrote)):
            await self._prepare_entry(self.keys[effect.member.key], effect)

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
            member.meta, member.stored = meta, True
            if sheet.ended is not None:
                engine.finished(meta, sheet.ended.outcome)
                for at in journal.unslept(member.journal) if meta.epoch > 1 else ():
                    engine.unschedule(replace(meta, status=Status.SUSPENDED, due=at))
            elif sheet.failed is not None:
                engine.later(meta)
                if meta.status is Status.PAUSED and not member.forewarned:
                    engine.spawn(engine.control.heed(meta))
            elif sheet.wait is not None:
                engine.later(meta)
                self._driver.retire(member)
                # Told, or to be resumed, while this process waited for the commit's answer.
                if len(member.notes) > meta.notifications or id in self._driver.poked:
                    engine.dispatch(meta.ref, meta.target.service, meta.deployment, fresh=False)
            elif meta.status is Status.QUEUED:
                self._driver.retire(member)
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

    async def _clear_up(self, conflict: Conflict, changes: list[Change]) -> None:
        """Parts of a result may lie beside a parent that turns out to be over: see to it that they are deleted."""
        notes = [change.item for change in changes if isinstance(change, Put) and isinstance(change.item, Notification)]
        told = {note.to for note in notes if note.parts}
        for place, found in conflict.found.items():
            change = changes[place]
            if isinstance(change, Update) and change.ref in told:
                await self._engine.sweeper.delete_later(change.ref, found)

    def _resolve(self, conflict: Conflict, changes: list[Change]) -> None:
        """Learn from a conflict; the commit is then made anew.

        Raises:
            Fenced, Rewind, News: If it is not to be made anew.
        """
        rewind = news = False
        for place, found in conflict.found.items():
            change = changes[place]
            match change:
                case Create() if isinstance(found, Meta) and found.waiters and found.expired(self._engine.clock.now()):
                    self._engine.spawn(self._engine.sweeper.fan_out(found))  # then it makes way
                case Create(meta):
                    rewind = self._exists(meta, found) or rewind
                case WriteHead():
                    rewind = self._moved(change, found) or rewind
                case Update(ref) if ref in self._blobs:
                    raise Fenced(f"what was put ahead of the commit was given up: {ref.id}")
                case Finish(ref):
                    for key in self.keys.values():
                        key.blobs = {name: None if blob == ref else blob for name, blob in key.blobs.items()}
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
                case Put(Piece(id, generation)):
                    raise Fenced(f"another attempt has appended to the journal of {id}", Ref(id, generation))
                case _:
                    raise Fenced(f"{change} met {found}")
        if rewind:
            raise Rewind
        if news:
            raise News

    def _in_line(self, draft: Draft) -> Meta | None:
        """Somebody who is to be made, and waits for a key already: the commit would change one record twice."""
        waiting = {entry.ref.id for key in self.keys.values() for entry in key.front}
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

    def _moved(self, change: WriteHead, found: Record | None) -> bool:
        """A key changed under us. Returns whether code ran on what it was."""
        key = self.keys[change.head.key]
        head = found if isinstance(found, Head) else Head(change.head.key)
        if change.owner is not None and head.owner != change.owner:
            raise Fenced(f"{key.key} is owned by {head.owner}")
        ran = key.ran
        self._engine.recent.doubt(key.key)
        self._reread(key, head)
        if ran:
            key.contended = True
        return ran

    def _reread(self, key: Key, head: Head | None = None) -> None:
        key.head = head
        key.front = []
        key.live = None
        key.blobs.clear()
        key.beside = None
        if head is not None:
            self.refresh(key)

    def _overtaken(self, change: Update, found: Record | None) -> bool:
        """An invocation's own record is not as expected. Returns whether a notification came in."""
        member = next(m for m in self.members() if m.ref == change.ref)
        if (
            not isinstance(found, Meta)
            or found.generation != member.meta.generation
            or not found.live
            or found.epoch != change.epoch
        ):
            raise Fenced(f"{change.ref.id} was taken over", change.ref)
        member.meta = replace(member.meta, waiters=found.waiters, notifications=found.notifications)
        suspends = change.set.get("status") is Status.SUSPENDED
        return suspends and change.notifications is not None and found.notifications != change.notifications

    def _unwoken(self, change: Update, found: Record | None) -> None:
        """The parent is not as guessed: gone, or waiting for something else."""
        for step in self.log:
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
