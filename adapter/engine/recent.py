"""The heads of keys that this process wrote a moment ago.

They are most likely as they were: a request may begin on one without a read, as its commit requires the version. Where
that fails, others use the key as well, and it is read for a while.
"""

from __future__ import annotations

from collections import OrderedDict

from adapter.engine.ports import Clock
from adapter.engine.records import Head
from adapter.engine.types import ObjectKey

FRESH = 1_000
"""Milliseconds for which a head is taken to be as it was written."""

DOUBT = 10_000
"""Milliseconds for which a key is read after it turned out to be in others' hands too."""

MOST = 1_000
"""How many keys are remembered."""


class Recent:
    """What is known of keys without asking."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[ObjectKey, tuple[int, Head | None]] = OrderedDict()
        """Until when; no head: the key is in doubt."""

    def get(self, key: ObjectKey) -> Head | None:
        """A key's head, if it was nobody's a moment ago."""
        until, head = self._known.get(key, (0, None))
        return head if until > self._clock.now() else None

    def put(self, head: Head) -> None:
        """This process has written it."""
        until, known = self._known.pop(head.key, (0, None))
        if known is None and until > self._clock.now():
            self._known[head.key] = (until, None)
        elif head.owner is None and not head.queued:
            self._known[head.key] = (self._clock.now() + FRESH, head)
        self._bound()

    def doubt(self, key: ObjectKey) -> None:
        """Somebody else has written it."""
        self._known[key] = (self._clock.now() + DOUBT, None)
        self._known.move_to_end(key)
        self._bound()

    def _bound(self) -> None:
        if len(self._known) > MOST:
            self._known.popitem(last=False)
