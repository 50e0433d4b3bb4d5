"""What this process knows of keys from its requests of the last seconds.

If it wrote a head a moment ago, the head has most likely not changed. A request may then begin with that head, without
a read: its commit requires the version. If other processes use a key, a request goes to the inbox without reading the
head, until nothing else waits for the key.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

from adapter.engine.ports import Clock
from adapter.engine.records import Head
from adapter.engine.types import ObjectKey

T = TypeVar("T")

FRESH = 1_000
"""Milliseconds for which a written head is assumed to be unchanged."""

BUSY = 2_000
"""Milliseconds for which requests go to a key's inbox after other processes used the key."""

SHARED = 10_000
"""Milliseconds for which a key's head is read after other processes wrote it."""

MOST = 1_000
"""The most keys that are remembered."""


class Recent:
    """Remembers keys for a short time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[ObjectKey, tuple[int, Head]] = OrderedDict()
        """For each key an end time and the head. For a busy key only ``queued`` of the head is set."""
        self._shared: OrderedDict[ObjectKey, int] = OrderedDict()
        """For each key an end time."""

    def get(self, key: ObjectKey) -> Head | None:
        """Return a key's head if it is most likely unchanged; ``None`` if it has to be read."""
        until, head = self._known.get(key, (0, None))
        return head if until > self._clock.now() else None

    def busy(self, key: ObjectKey) -> bool:
        """Return True if a request should go to the key's inbox at once."""
        head = self.get(key)
        return head is not None and head.queued

    def put(self, head: Head) -> None:
        """Remember a head that this process has written."""
        if not self.busy(head.key):
            self._known.pop(head.key, None)
            free = head.owner is None and not head.queued
            if free and self._shared.get(head.key, 0) <= self._clock.now():
                _keep(self._known, head.key, (self._clock.now() + FRESH, head))

    def mark_busy(self, key: ObjectKey) -> None:
        """Remember that other processes use the key at this moment."""
        _keep(self._known, key, (self._clock.now() + BUSY, Head(key, queued=True)))
        self.mark_shared(key)

    def mark_shared(self, key: ObjectKey) -> None:
        """Remember that other processes write the key from time to time."""
        _keep(self._shared, key, self._clock.now() + SHARED)

    def mark_free(self, key: ObjectKey) -> None:
        """Remember that nothing else waits for the key."""
        self._known.pop(key, None)


def _keep(known: OrderedDict[ObjectKey, T], key: ObjectKey, value: T) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > MOST:
        known.popitem(last=False)
