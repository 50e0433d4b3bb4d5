"""What an invocation waits for: a tree of awaited operations, stored as data on its record.

The tree says when a suspended invocation is woken, which invocations it waits for, and what the admin shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from adapter.frozen import frozen

TIMER: Final = "sleep"
"""The kind of an operation that ends by itself."""

INVOCATIONS: Final = ("call", "attach")
"""The kinds of operations that wait for other invocations."""


@frozen
class Leaf:
    """Operations of one kind. A node awaits all of them, or one of them."""

    kind: str
    """The kind of their commands, as the journal has it."""
    ranges: tuple[int, ...]
    """The numbers of their commands. Each range is given by its first and its last number."""
    id: str = ""
    """The awaited invocation, if its id does not derive from the number of the one command."""
    until: int | None = None
    """When the timers resolve the leaf, in milliseconds since the epoch: the last of all, or the first of several."""

    @property
    def commands(self) -> Iterator[int]:
        """The numbers of the commands, ascending."""
        for first, last in _pairs(self.ranges):
            yield from range(first, last + 1)

    @property
    def size(self) -> int:
        """The number of operations.

        >>> Leaf("call", (0, 2, 7, 7)).size
        4
        """
        return sum(last - first + 1 for first, last in _pairs(self.ranges))


@frozen
class Node:
    """Operations that are awaited together."""

    all: bool
    """True if the code continues when all parts are resolved, False if one is enough."""
    parts: tuple[Leaf | Node, ...]

    @property
    def leaves(self) -> Iterator[Leaf]:
        """The leaves of the tree."""
        for part in self.parts:
            if isinstance(part, Leaf):
                yield part
            else:
                yield from part.leaves


@frozen
class Awaiting:
    """What an invocation waits for."""

    counted: int
    """The number of notifications counted when the code was blocked. If more are counted now, it may have continued."""
    root: Node

    @property
    def wake_after(self) -> int:
        """The count of notifications above which the root may be resolved."""
        return self.counted + missing(self.root) - 1

    @property
    def timer(self) -> int | None:
        """When timers may resolve the root, in milliseconds since the epoch."""
        return ends_at(self.root)


def missing(node: Node) -> int:
    """Return the smallest number of notifications that may resolve a node.

    A timer that is awaited together with other operations counts as one, so that its end wakes the invocation, and not
    the notification before it. As an alternative it does not count.

    >>> calls = Leaf("call", (0, 4))
    >>> missing(Node(True, (calls,))), missing(Node(False, (calls,)))
    (5, 1)
    >>> missing(Node(False, (Leaf(TIMER, (5, 5)), Node(True, (calls,)))))
    5
    """
    if node.all:
        return sum(part.size if isinstance(part, Leaf) else missing(part) for part in node.parts)
    counts = [1 if isinstance(part, Leaf) else missing(part) for part in node.parts if not _is_timer(part)]
    return min(counts, default=1)


def ends_at(node: Node) -> int | None:
    """Return when timers may resolve a node, in milliseconds since the epoch. Return ``None`` if none does.

    >>> hour, day = Leaf(TIMER, (0, 0), until=3_600_000), Leaf(TIMER, (1, 1), until=86_400_000)
    >>> ends_at(Node(True, (hour, day))), ends_at(Node(False, (hour, Node(True, (day, Leaf("call", (2, 2)))))))
    (86400000, 3600000)
    """
    times = [part.until if isinstance(part, Leaf) else ends_at(part) for part in node.parts]
    known = [at for at in times if at is not None]
    return (max if node.all else min)(known, default=None)


def blockers(node: Node) -> Node | None:
    """Return the part of a tree that other invocations have to resolve. Return ``None`` if the code may continue
    without them.

    >>> calls, signal = Leaf("call", (0, 1)), Leaf("signal", (2, 2))
    >>> blockers(Node(True, (calls, signal))) == Node(True, (calls,)), blockers(Node(False, (calls, signal)))
    (True, None)
    """
    parts = (part if isinstance(part, Leaf) else blockers(part) for part in node.parts)
    kept = tuple(part for part in parts if part and (isinstance(part, Node) or part.kind in INVOCATIONS))
    return Node(node.all, kept) if kept and (node.all or len(kept) == len(node.parts)) else None


def needs_each(node: Node) -> bool:
    """Return True if the code does not continue before each operation of a node has its result.

    >>> calls = Leaf("call", (0, 1))
    >>> needs_each(Node(True, (calls,))), needs_each(Node(False, (calls,)))
    (True, False)
    """
    if not node.all and sum(leaf.size for leaf in node.leaves) > 1:
        return False
    return all(needs_each(part) for part in node.parts if isinstance(part, Node))


def ranges(commands: Iterable[int]) -> tuple[int, ...]:
    """Return ascending numbers as ranges, each by its first and its last number.

    >>> ranges([1, 2, 3, 7, 9, 10])
    (1, 3, 7, 7, 9, 10)
    """
    ends: list[int] = []
    for n in commands:
        if ends and ends[-1] == n - 1:
            ends[-1] = n
        else:
            ends += [n, n]
    return tuple(ends)


def _pairs(ends: tuple[int, ...]) -> Iterable[tuple[int, int]]:
    return zip(ends[::2], ends[1::2], strict=True)


def _is_timer(part: Leaf | Node) -> bool:
    return isinstance(part, Leaf) and part.kind == TIMER
