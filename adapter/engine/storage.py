"""The store with retries, and values that are spread over several of its items."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from adapter.engine import journal as journals
from adapter.engine.ids import new_commit_id
from adapter.engine.journal import Entry, Timed
from adapter.engine.ports import Change, Conflict, Contended, Store, Unavailable
from adapter.engine.process import Process
from adapter.engine.records import (
    NOTIFICATION_ID,
    PART,
    Head,
    JournalSegment,
    Meta,
    Notification,
    Part,
    Ref,
    StateEntry,
    Unreadable,
)
from adapter.engine.types import Failure, ObjectKey, Outcome
from adapter.frozen import replace

T = TypeVar("T")

MAX_PARTS = 12
"""The number of parts of payloads in one request. The largest payload has so many."""

MAX_FORMER = 100
"""The number of items of expired records in a load from which on they are deleted before their time to live ends."""

CONTENDED = 3
"""How often other transactions may be in the way of a commit of several groups before a smaller commit is tried."""


class Storage:
    """The engine's access to the store.

    Args:
        store: The store.
        process: The process: the waits between tries take its time.
    """

    def __init__(self, store: Store, process: Process) -> None:
        self.store = store
        self._process = process
        self.on_former_items: Callable[[Ref], object] = lambda ref: None
        """Called when a load met many items of expired records under an invocation's id."""
        self._random = random.Random()

    async def read(self, request: Callable[[], Awaitable[T]], *, patient: bool = True) -> T:
        """Send a request to the store. Send it again while the store is unavailable.

        Args:
            request: Sends the request.
            patient: While invocations run in this process, go on until the process ends. An error would end the
                attempt that reads, and lose the results of its steps. False if no attempt depends on the request.

        Raises:
            Unavailable: If the store stays unavailable.
        """
        tries = 0
        while True:
            try:
                return await request()
            except Unavailable:
                tries += 1
                if tries > 8 and not (patient and self._process.active and self._process.remaining() > 0):
                    raise
                await self.back_off(tries)

    async def heads(self, keys: Sequence[ObjectKey]) -> dict[ObjectKey, Head]:
        """Read the heads of all these keys."""
        heads = await self.read(lambda: self.store.heads(keys))
        tries = 0
        while missing := [key for key in keys if key not in heads]:
            tries += 1
            await self.back_off(tries)
            heads |= await self.read(lambda missing=missing: self.store.heads(missing))  # type: ignore[misc]
        return heads

    async def peek_all(self, ids: Sequence[str]) -> dict[str, Meta]:
        """Read up to 100 records. The answer lacks those that do not exist or could not be read at once."""
        return await self.read(lambda: self.store.peek_all(ids))

    async def find(self, id: str, *, patient: bool = True) -> Meta | None:
        """Return an invocation's record; ``None`` if it does not exist or has expired. See `read`."""
        if not id:
            return None  # DynamoDB refuses to look for it; an SDK's handler may have asked
        meta = await self.read(lambda: self.store.peek(id), patient=patient)
        return None if meta is None or meta.expired(self._process.now()) else meta

    async def load(self, id: str) -> tuple[list[Part], list[JournalSegment], Meta | None, list[Notification]]:
        """Read an invocation: input parts, journal, record, notifications. All of them are of the record's
        generation."""
        parts, segments, meta, notifications = await self.items(id)
        if meta is None or _is_complete(notifications):
            return parts, segments, meta, _in_order(notifications)
        return parts, segments, meta, await self.notification_items(meta.ref)

    async def items(self, id: str) -> tuple[list[Part], list[JournalSegment], Meta | None, list[Notification]]:
        """Read an invocation as `load` does, but notifications in no order. One that was just put may be missing."""
        parts, segments, meta, notifications = await self._load(id)
        if (
            meta is not None
            and sum(segment.generation == meta.generation for segment in segments) < meta.stored_segments
        ):
            # A query is no snapshot: the last segments may have been put between the pages of journal and record.
            parts, segments, meta, notifications = await self._load(id)
        generation = meta.generation if meta is not None else ""
        generations = [part.generation for part in parts] + [segment.generation for segment in segments]
        generations += [each.to.generation for each in notifications]
        former = len(generations) - generations.count(generation)
        if meta is not None and former >= MAX_FORMER:
            self.on_former_items(meta.ref)
        notifications = [each for each in notifications if each.to.generation == generation]
        parts = [part for part in parts if part.generation == generation]
        return parts, [segment for segment in segments if segment.generation == generation], meta, notifications

    async def _load(self, id: str) -> tuple[list[Part], list[JournalSegment], Meta | None, list[Notification]]:
        page = await self.read(lambda: self.store.load(id))
        parts, segments, meta, notifications = page.parts, page.segments, page.meta, page.notifications
        while page.cursor is not None:
            page = await self.read(lambda page=page: self.store.load(id, page.cursor))  # type: ignore[misc]
            parts, segments = parts + page.parts, segments + page.segments
            meta, notifications = page.meta or meta, notifications + page.notifications
        return parts, segments, meta, notifications

    async def journal(self, meta: Meta) -> list[Entry]:
        """Read an invocation's journal."""
        entries, _ = await self.timed_journal(meta)
        return [entry for entry, _ in entries]

    async def timed_journal(self, meta: Meta) -> tuple[list[Timed], list[Notification]]:
        """Read an invocation's journal with the times of its entries, and the notifications to it, without the values
        that are stored in parts."""
        _, segments, found, notifications = await self.load(meta.id)
        if found is None or found.generation != meta.generation:
            return [], []
        if found.journal_expires is not None and found.journal_expires <= self._process.now():
            return [], []
        return journals.read_timed(meta.id, segments, found.inline_journal, count=found.stored_segments), notifications

    async def next_segment(self, meta: Meta) -> int:
        """Return the place of the next segment of an invocation's journal, even if the journal cannot be read."""
        place, cursor = 0, None
        while True:
            found, cursor = await self.read(lambda: self.store.dependents(meta.id, cursor))  # noqa: B023
            places = [key.segment for key in found if key.generation == meta.generation and key.segment is not None]
            place = max([place, *(each + 1 for each in places)])
            if cursor is None:
                return place

    async def notifications(self, ref: Ref) -> list[Notification]:
        """Read the notifications to an invocation, with their values."""
        return [await self.with_value(item) for item in await self.notification_items(ref)]

    async def notification_items(self, ref: Ref) -> list[Notification]:
        """Read the notifications to an invocation, without the values that are stored in parts."""
        notifications = await self._notification_items(ref)
        return _in_order(notifications if _is_complete(notifications) else await self._notification_items(ref))

    async def is_notified(self, ref: Ref, id: str) -> bool:
        """Return True if an invocation has a notification with this id."""
        return any(each.id == id for each in await self._notification_items(ref))

    async def _notification_items(self, ref: Ref) -> list[Notification]:
        notifications, cursor = await self.read(lambda: self.store.read_notifications(ref))
        while cursor is not None:
            more, cursor = await self.read(lambda cursor=cursor: self.store.read_notifications(ref, cursor))  # type: ignore[misc]
            notifications = notifications + more
        return notifications

    async def with_value(self, notification: Notification) -> Notification:
        """Return a notification with its value. Read the value's parts if there are any."""
        if not notification.parts:
            return notification
        parts = await self._parts(notification.to, notification.parts)
        if not parts or [part.index for part in parts] != list(range(len(parts))):
            raise Unreadable(
                f"{notification.to.id}: parts of the value of its notification {notification.id!r} are missing"
            )
        return replace(notification, outcome=Outcome(b"".join(part.data for part in parts)))

    async def input(self, meta: Meta, parts: Sequence[Part] | None = None) -> bytes:
        """Return an invocation's input. ``parts`` are its parts, if they were read already."""
        if meta.input is not None:
            return meta.input
        if parts is None:
            parts = await self._parts(meta.ref, "input")
        if len(parts) != meta.input_parts:
            raise Unreadable(f"{meta.id}: its input has {meta.input_parts} parts, and {len(parts)} are there")
        return b"".join(part.data for part in parts)

    async def entries(self, key: ObjectKey, generation: str, *, values: bool = False) -> dict[str, StateEntry]:
        """Return the overflow entries of a key's state by their names, with or without their values."""
        entries, cursor = await self.read(lambda: self.store.entries(key, generation, values=values))
        while cursor is not None:
            more, cursor = await self.read(
                lambda cursor=cursor: self.store.entries(key, generation, cursor, values=values)  # type: ignore[misc]
            )
            entries = entries + more
        return {entry.name: entry for entry in entries}

    async def _parts(self, ref: Ref, name: str) -> list[Part]:
        parts, cursor = await self.read(lambda: self.store.output(ref, name))
        while cursor is not None:
            more, cursor = await self.read(lambda cursor=cursor: self.store.output(ref, name, cursor))  # type: ignore[misc]
            parts = parts + more
        return parts

    async def payload(self, ref: Ref, name: str) -> bytes:
        """Read a payload that is stored in parts."""
        return b"".join(part.data for part in await self._parts(ref, name))

    async def result(self, meta: Meta) -> Outcome | None:
        """Return the outcome of a record; ``None`` if it is not completed."""
        if meta.live or meta.outcome is None:
            return None
        if meta.output_parts:
            value = await self.payload(meta.ref, meta.output_name)
            if -(-len(value) // PART) != meta.output_parts:
                return Outcome(failure=Failure(404, f"invocation {meta.id} has expired"))
            return Outcome(value)
        return meta.outcome

    async def apply(self, *changes: Change) -> bool:
        """Commit changes on the condition that the records are as expected. Return False if one of them is not."""
        try:
            await self.commit(changes, new_commit_id())
        except Conflict:
            return False
        return True

    async def commit(self, changes: Sequence[Change], commit_id: str, *, give_up_after: int | None = None) -> None:
        """Commit. After a lost answer, send the same changes again until the answer is certain.

        Args:
            changes: The changes, which apply all or not at all.
            commit_id: Tells this commit from others.
            give_up_after: After so many tries that met other transactions, raise `Contended`.

        Raises:
            Conflict: If a condition does not hold. It is not raised if the same commit had applied before.
            Contended: If every try met other transactions. Nothing was applied.
        """
        tries, certain = 0, True
        while True:
            try:
                await self.store.commit(changes, commit_id)
                return
            except Unavailable as error:
                tries += 1
                certain = certain and isinstance(error, Contended)
                if self._process.remaining() < 0 or (certain and give_up_after is not None and tries >= give_up_after):
                    raise
                await self.back_off(tries)
            except Conflict as conflict:
                if tries and any(getattr(found, "commit_id", None) == commit_id for found in conflict.found.values()):
                    return
                raise

    async def put_parts(self, parts: Sequence[Part]) -> None:
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
        """Wait before the next try, with jitter, for up to two seconds."""
        await self._process.clock.sleep(self._random.uniform(0, min(2.0, 0.005 * 2 ** min(tries, 10))))


def _in_order(notifications: Iterable[Notification]) -> list[Notification]:
    """Return notifications in the order in which they arrived.

    Raises:
        Unreadable: If the id of one is of an unknown form.
    """
    ordered = sorted(notifications, key=lambda each: each.created)
    for notification in ordered:
        if not NOTIFICATION_ID.fullmatch(notification.id):
            raise Unreadable(
                f"{notification.to.id}: its notification {notification.id!r} is damaged, or of a newer format"
            )
    from_outside = iter(sorted(filter(_is_from_outside, ordered), key=lambda each: (each.after, each.created)))
    return [next(from_outside) if _is_from_outside(each) else each for each in ordered]


def _is_from_outside(notification: Notification) -> bool:
    """Return True for a signal, an awakeable's result or a cancellation."""
    return notification.id[0] in "swx"


def _is_complete(notifications: Sequence[Notification]) -> bool:
    """Return True if none is missing. One may be missing if it was put while the others were read."""
    return all(each.after < len(notifications) for each in notifications)
