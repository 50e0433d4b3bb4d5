"""What this process knows of keys that it wrote, or met others at, a moment ago.

A head that it wrote is most likely as it was: a request may begin on it without a read, as its commit requires the
version. Where others were met, a request goes to the inbox without a look at the head, until it finds itself alone.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

from adapter.engine.ports import Clock
from adapter.engine.records import Head
from adapter.engine.types import ObjectKey

T = TypeVar("T")

FRESH = 1_000
"""Milliseconds for which a head is taken to be as it was written."""

BUSY = 2_000
"""Milliseconds for which requests go to a key's inbox after others were met there."""

SHARED = 10_000
"""Milliseconds for which a key's head is read after others were met there."""

MOST = 1_000
"""How many keys are remembered."""


class Recent:
    """What is known of keys without asking."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[ObjectKey, tuple[int, Head]] = OrderedDict()
        """Until when, and the head: that of a busy key has nothing but ``queued``."""
        self._shared: OrderedDict[ObjectKey, int] = OrderedDict()
        """Until when."""

    def get(self, key: ObjectKey) -> Head | None:
        """Return a key's head as it most likely is; ``None`` if it has to be read."""
        until, head = self._known.get(key, (0, None))
        return head if until > self._clock.now() else None

    def busy(self, key: ObjectKey) -> bool:
        """Return True if a request is to go to the key's inbox at once."""
        head = self.get(key)
        return head is not None and head.queued

    def put(self, head: Head) -> None:
        """Note a head that this process has written."""
        if not self.busy(head.key):
            self._known.pop(head.key, None)
            free = head.owner is None and not head.queued
            if free and self._shared.get(head.key, 0) <= self._clock.now():
                _keep(self._known, head.key, (self._clock.now() + FRESH, head))

    def mark_busy(self, key: ObjectKey) -> None:
        """Note that others use the key at this moment."""
        _keep(self._known, key, (self._clock.now() + BUSY, Head(key, queued=True)))
        self.mark_shared(key)

    def mark_shared(self, key: ObjectKey) -> None:
        """Note that others write the key now and then."""
        _keep(self._shared, key, self._clock.now() + SHARED)

    def mark_free(self, key: ObjectKey) -> None:
        """Note that nobody else waits for the key."""
        self._known.pop(key, None)


def _keep(known: OrderedDict[ObjectKey, T], key: ObjectKey, value: T) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > MOST:
        known.popitem(last=False)
