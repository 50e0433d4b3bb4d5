"""What has to be there before the log of a session is committed.

The heads of the keys and the inboxes that name their next owners are read, and large payloads are put ahead.
"""

from __future__ import annotations

from collections.abc import Sequence

from adapter.engine.commit_log import CommitLog
from adapter.engine.conflicts import Drop, Interrupted
from adapter.engine.execution import KEY_EFFECTS, EffectGroup, KeyEffect, StateWritten
from adapter.engine.ids import new_commit_id
from adapter.engine.keys import UNKNOWN
from adapter.engine.known_key import Key
from adapter.engine.ports import Conflict, Put, TooLarge
from adapter.engine.records import JournalSegment, Part, Ref
from adapter.engine.runtime import Runtime
from adapter.engine.transaction import MAX_INLINE_PARTS, MAX_ITEMS, Transaction

INBOX_PAGE = 48
"""The number of inbox entries that one request reads. One commit can complete so many invocations."""


class Preparation:
    """Prepares the commits of one session.

    Args:
        runtime: What the session shares with others.
        log: The session's log.
    """

    def __init__(self, runtime: Runtime, log: CommitLog) -> None:
        self._runtime = runtime
        self._storage = runtime.storage
        self._log = log
        self._blobs: set[Ref] = set()
        """The records of large payloads that are stored and not committed yet."""

    async def prepare(self, groups: Sequence[EffectGroup]) -> list[Key]:
        """Read the heads of all keys that these groups touch, and put their large state entries ahead.

        Return the keys whose heads were not known before.
        """
        if self._log.kinds.isdisjoint(KEY_EFFECTS):
            return []
        effects = [effect for group in groups for effect in group if isinstance(effect, KeyEffect)]
        touched = dict.fromkeys(effect.execution.key for effect in effects)
        missing = [key for key in touched if self._log.key(key).head is None]
        for start in range(0, len(missing), 100):
            for found, head in (await self._storage.heads(missing[start : start + 100])).items():
                self._log.keys[found].head = head
        for effect in effects:
            if isinstance(effect, StateWritten):
                await self._prepare_entry(self._log.keys[effect.execution.key], effect)
        return [self._log.keys[key] for key in missing]

    async def read_next_owners(self, transaction: Transaction) -> bool:
        """Read the inboxes that name next owners. Return True if there are any: the commit is to be planned anew."""
        unknown = [self._log.keys[name] for name, state in transaction.states.items() if state.owner == UNKNOWN]
        for key in unknown:
            await self.read_front(key)
        return bool(unknown)

    async def read_front(self, key: Key) -> None:
        """Read more of a key's inbox, unless something else here has changed what is known of it.

        Entries that were read before stay where they are: their invocations may have run here. Those that were put
        among them since then come next. Their senders may have put further ones, which must not come before them.
        """
        before = key.front
        known = before or []
        tickets = {entry.ticket for entry in known}
        limit = len(known) + INBOX_PAGE
        while True:
            found = await self._storage.read(lambda limit=limit: self._storage.store.inbox(key.key, limit))  # type: ignore[misc]
            further = [entry for entry in found if entry.ticket not in tickets]
            if further or len(found) < limit:
                break
            limit += INBOX_PAGE
        if key.front is before:
            key.front = [*known, *further]
            key.more = len(found) == limit
        key.live = None
        self._log.refresh_key(key)

    async def _prepare_entry(self, key: Key, effect: StateWritten) -> None:
        """Store a large state entry, and find out whether the entry that it replaces is large."""
        blobs, head = self._runtime.blobs, key.head
        if effect.blob is not None and effect.blob not in self._blobs and effect.value is not None:
            await blobs.write(effect.blob, key.key, effect.value)
            self._blobs.add(effect.blob)
        if effect.name is not None and effect.name not in key.blobs and head is not None and head.large:
            key.blobs[effect.name] = await blobs.where(key.key, head.state_generation, effect.name)

    async def put_out_of_line(self, transaction: Transaction, out_of_line: list[Part | JournalSegment]) -> list[Put]:
        """Put the parts of large payloads that are too much for one commit. Return the changes that the commit still
        needs.

        If the commit does not happen, nothing reads the parts, and their time to live deletes them.
        """
        size = sum(len(part.data) for part in out_of_line)
        if size <= MAX_INLINE_PARTS and len(out_of_line) + transaction.items <= MAX_ITEMS:
            return [Put(part) for part in out_of_line]
        with_record = [part for part in out_of_line if isinstance(part, JournalSegment) or part.name != "input"]
        made = [part for part in with_record if transaction.makes(part.id)]
        if any(transaction.deltas[part.id].execution.spec is not None for part in made):
            raise TooLarge("what has no record yet can have no journal: it may turn out to have to wait for its key")
        inputs = {part.id for part in out_of_line if isinstance(part, Part) and part.name == "input"}
        there = {id for id in inputs if transaction.deltas[id].execution.input_is_put}
        await self._storage.put_parts(
            [part for part in out_of_line if isinstance(part, Part) and (part.name != "input" or part.id not in there)]
        )
        for id in inputs:
            transaction.deltas[id].execution.input_is_put = True
        segments = [part for part in out_of_line if isinstance(part, JournalSegment) and part not in made]
        for start in range(0, len(segments), 5):
            try:
                await self._storage.commit([Put(segment) for segment in segments[start : start + 5]], new_commit_id())
            except Conflict as conflict:
                met = segments[start + min(conflict.found)]
                ref = Ref(met.id, met.generation)
                raise Interrupted(Drop(ref, f"another attempt appends to the journal: {conflict}")) from conflict
        for segment in segments:
            execution = transaction.deltas[segment.id].execution
            execution.segments += 1
            execution.inline = None  # the first of them is the one that the record holds
            transaction.segments[segment.id] -= 1
        return [Put(part) for part in made]  # the journal that a restart begins with
