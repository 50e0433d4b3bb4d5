"""A store that looks at every write: what must hold at any time is checked at any time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from adapter.aws.tables import HEAD_SK, META_SK, object_pk
from adapter.engine.journal import LAST, WHOLE, Entry, read
from adapter.engine.records import (
    Head,
    InboxEntry,
    JournalSegment,
    Meta,
    Notification,
    Part,
    Record,
    Ref,
    StateEntry,
    Status,
    Waiter,
)
from adapter.engine.types import KILLED, ObjectKey
from adapter.local.changes import Write, address
from adapter.local.conflicts import Conflicts
from adapter.local.memory import MemoryStore
from tests.simulation import cancellations, owners, storms
from tests.simulation.clock import EPOCH, SKEW
from tests.simulation.lives import Lives

if TYPE_CHECKING:
    from tests.simulation.world import World


BOTH = 0.25
"""How often two transactions that meet are both cancelled."""

BEGAN = re.compile(r'\d\.\[(\d+,)?\["b",')
"""How a segment begins that only says that an attempt does."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An invocation as it completed."""

    meta: Meta
    input: bytes
    output: str


def _is_renewal(old: JournalSegment | Notification, new: JournalSegment | Notification) -> bool:
    """Whether nothing but an item's time to live has changed, and that has not become shorter."""
    return replace(old, ttl=new.ttl) == new and (old.ttl or 0) <= (new.ttl or 0)


class WatchedStore(MemoryStore):
    """The store in memory, with the invariants that every write has to leave intact."""

    def __init__(self, world: World) -> None:
        both = partial(world.chance, BOTH)
        super().__init__(conflicts=Conflicts(self._span, both) if world.conflict else None)
        self.world = world
        self.archive: dict[Ref, Ended] = {}
        """Everything that has ever completed."""
        self.attached: set[tuple[Ref, int]] = set()
        """The commands that were stored as waiting for another invocation."""
        self._lives = Lives(world, self)
        self.recounted: set[Ref] = set()
        """The invocations of which a count of notifications may have been applied twice."""
        self._made: set[Ref] = set()
        """Everything that ever had a record."""
        self._inlined: dict[Ref, str] = {}
        """The last segment of each journal that lay in its record."""

    def metas(self) -> Iterator[Meta]:
        """All invocations' records."""
        return (
            cast("Meta", items.by_key[META_SK]) for items in list(self._partitions.values()) if META_SK in items.by_key
        )

    def all_heads(self) -> Iterator[Head]:
        """All keys' heads."""
        return (
            cast("Head", items.by_key[HEAD_SK]) for items in list(self._partitions.values()) if HEAD_SK in items.by_key
        )

    def items(self, partition: str | ObjectKey, kind: type[Any], generation: str | None = None) -> list[Any]:
        """All items of a kind in a partition, in order."""
        items = self._partitions.get(partition if isinstance(partition, str) else object_pk(partition))
        found = [items.by_key[key] for key in items.in_order] if items is not None else []
        return [
            item
            for item in found
            if isinstance(item, kind) and (generation is None or getattr(item, "generation", None) == generation)
        ]

    def journal(self, ref: Ref) -> list[Entry]:
        """What is committed of an invocation's journal."""
        meta = self._record(ref.id)
        inline = meta.inline_journal if meta is not None and meta.generation == ref.generation else None
        return read(ref.id, self.items(ref.id, JournalSegment, ref.generation), inline)

    # --- how it differs from the store in memory ---

    async def _span(self) -> None:
        """Let a transaction take its time, in which other processes write."""
        writer = self.world.network.writer
        await self.world.loop.pause(self.world.random.uniform(0, self.world.conflict))
        self.world.network.writer = writer

    def _query(
        self, pk: str, first: str, end: str, cursor: str | None, limit: int | None = None
    ) -> tuple[list[Record], str | None]:
        self._page = storms.page(self.world, limit)
        return super()._query(pk, first, end, cursor, limit)

    def _charge(self, sizes: Iterable[int]) -> None:
        if self.world.plan.alone:  # else nobody asks what it costs
            super()._charge(sizes)

    # --- at each write ---

    def _apply(self, writes: Sequence[Any]) -> None:
        super()._apply(writes)
        if "edits" in self.world.reach:
            self.world.edits.on_write(self, writes)
        keys: dict[ObjectKey, None] = {}
        journals: list[tuple[Ref, str]] = []
        for (_, sk), old, new, _ in writes:
            if sk == META_SK:
                self._on_record(old, new)
                if new is not None and new.inline_journal and (old is None or old.inline_journal != new.inline_journal):
                    journals.append((new.ref, new.inline_journal))
                    self._inlined[new.ref] = new.inline_journal
                    self._on_entries(new.ref, new.inline_journal, new)
                if new is not None and new.kind.exclusive:
                    keys[new.target.object] = None
            elif isinstance(new or old, Head | InboxEntry):
                keys[cast("Head | InboxEntry", new or old).key] = None
                if isinstance(new, Head):
                    self.world.waits.owns(new.key, new.owner)
                elif isinstance(new, InboxEntry):
                    self.world.waits.tickets[new.ref] = new.ticket
            elif isinstance(new, Waiter):
                self.attached.add((new.waiter, new.command))
            elif isinstance(new, Part):
                if new.name != "input" and Ref(new.id, new.generation) not in self._made:
                    self._fail(f"{new.name} of {new.id} is there before its record")
            elif isinstance(new, JournalSegment):
                if old is None or not _is_renewal(old, new):
                    journals.append((Ref(new.id, new.generation), new.data))
                    self._on_segment(old, new)
            elif isinstance(new, Notification) and old is None and new.id.startswith("x"):
                self._lives.cancels(new)
            elif isinstance(new, Notification) and old is not None and not _is_renewal(old, new):
                self._fail(f"{new} replaces {old}")
        for name in keys:
            owners.check(self, name)
        for ref, journal in journals:
            if cancellations.delivered(journal):
                created = {new.id for (_, sk), old, new, _ in writes if sk == META_SK and old is None}
                cancellations.check(self, ref, created)

    def _on_record(self, old: Meta | None, new: Meta | None) -> None:
        self._lives.change(old, new)
        if new is None:
            return
        self._made.add(new.ref)
        if old is not None and (old.status, new.status) == (Status.RUNNING, Status.PAUSED):
            self.world.runs.stopped.add(new.ref)
        if old is None or old.generation != new.generation:
            delay = max(0, (new.due or 0) - self.now()) if new.status is Status.SCHEDULED else 0
            self.world.waits.makes(new.ref, delay / 1000)
        if not new.live and new.outcome is not None and new.ref not in self.archive:
            self.archive[new.ref] = self._ended(new)
            self.world.waits.ends(new.ref)
            if new.outcome.failure == KILLED:
                self._lives.killed(new.ref)

    def _on_segment(self, old: JournalSegment | None, new: JournalSegment) -> None:
        ref = Ref(new.id, new.generation)
        if ref not in self._made:
            self._fail(f"segment {new.index} of the journal of {new.id} is there before its record")
        if old is not None:
            self._fail(f"{new} replaces {old}")
        found = self._record(new.id)
        own = found if found is not None and found.generation == new.generation else None
        if new.data != self._inlined.get(ref):  # else it moves out of the record
            self._on_entries(ref, new.data, own)
        read = own is not None and not own.expired(self.now() + SKEW)  # not one that comes after a purge
        if new.index and read and self._lookup(address(replace(new, index=new.index - 1))) is None:
            self._fail(f"{new} leaves a gap")

    def _on_entries(self, ref: Ref, text: str, own: Meta | None) -> None:
        """Take note of the deployment whose code wrote these entries of a journal."""
        writer = self.world.network.writer
        counts = text.startswith((WHOLE, LAST)) and not BEGAN.match(text)
        copies = own is not None and own.copied and own.copied[0].before and own.epoch == 1
        if counts and not copies and writer is not None:
            self.world.runs.authors[ref] = writer.deployment

    def _ended(self, meta: Meta) -> Ended:
        input = self.world.decoded(meta.input if meta.input is not None else self.payload(meta, "input"))
        assert meta.outcome is not None
        if meta.outcome.failure is not None:
            return Ended(meta, input, meta.outcome.failure.message)
        output = self.payload(meta, meta.output_name) if meta.output_parts else meta.outcome.value or b""
        return Ended(meta, input, self.world.decoded(output).decode())

    def payload(self, meta: Meta, name: str) -> bytes:
        """A value of a record that lies in parts."""
        return b"".join(part.data for part in self.parts(meta, name))

    def parts(self, meta: Meta, name: str) -> list[Part]:
        """The parts of a value of a record."""
        return [part for part in self.items(meta.id, Part, meta.generation) if part.name == name]

    def value(self, entry: StateEntry) -> bytes:
        """A state entry's value, wherever it lies, as it is stored."""
        if entry.blob is None:
            return entry.value
        return b"".join(part.data for part in self.items(entry.blob.id, Part, entry.blob.generation))

    def remove(self, meta: Meta) -> None:
        """Delete a record that has expired, as DynamoDB does when it comes to it."""
        if not self._busy(address(meta)):
            self._apply([Write(address(meta), meta, None)])

    def _fail(self, what: str) -> None:
        self.world.violation(what)

    def now(self) -> int:
        """The time on a clock that is right, in milliseconds."""
        return EPOCH + int(self.world.loop.time() * 1000)

    def is_cancelled(self, ref: Ref) -> bool:
        """Whether an invocation is cancelled, though it may not know yet. It goes on at once."""
        return any(note.id.startswith("x") and note.to == ref for note in self.items(ref.id, Notification))
