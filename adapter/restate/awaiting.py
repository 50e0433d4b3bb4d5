"""What an endpoint awaits: a tree of futures, whose leaves are results of commands, and signals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from adapter.restate import messages as m

Leaf = int | str
"""A completion id is its number, a numbered signal ``#`` and its number, a named one ``:`` and its name."""


def leaves(future: m.Future) -> list[Leaf]:
    """Return the leaves of a tree, each once, in order.

    >>> leaves(m.Future([3], [17], ["go"], [m.Future([3, 4])]))
    [3, '#17', ':go', 4]
    """
    found: dict[Leaf, None] = dict.fromkeys(future.completions)
    found |= dict.fromkeys(f"#{index}" for index in future.signals)
    found |= dict.fromkeys(f":{name}" for name in future.named_signals)
    for nested in future.nested:
        found |= dict.fromkeys(leaves(nested))
    return list(found)


def is_unique(leaf: Leaf) -> bool:
    """Return True if a leaf has one result in the life of an invocation. Signals of one name may come again.

    >>> [is_unique(leaf) for leaf in (3, "#17", f"#{m.CANCEL}", ":go")]
    [True, True, False, False]
    """
    return isinstance(leaf, int) or (leaf[0] == "#" and leaf != f"#{m.CANCEL}")


def uncancelled(future: m.Future) -> m.Future:
    """Return a tree without the signal that cancels, which SDKs add to everything that they await.

    >>> call = m.Future([2], combinator=m.ALL_COMPLETED)
    >>> uncancelled(m.Future(signals=[m.CANCEL], nested=[call], combinator=m.FIRST_COMPLETED)) == call
    True
    """
    signals = [index for index in future.signals if index != m.CANCEL]
    nested = [uncancelled(each) for each in future.nested]
    if len(nested) == 1 and not (signals or future.completions or future.named_signals):
        return nested[0]
    return replace(future, signals=signals, nested=nested)


def wants_all(future: m.Future) -> bool:
    """Return True if only the last of the leaves resolves a tree, unless one fails."""
    return future.combinator in (m.ALL_COMPLETED, m.ALL_SUCCEEDED) and not future.nested


def resolved(future: m.Future, arrived: Mapping[Leaf, bool]) -> bool:
    """Return True if the results that have arrived may resolve a tree. The SDK tells, and waits again if they do not.

    Args:
        future: The tree.
        arrived: The leaves that have results, and whether those are failures.

    >>> both = m.Future(completions=[1, 2], combinator=m.ALL_SUCCEEDED)
    >>> resolved(both, {1: False}), resolved(both, {1: True}), resolved(both, {1: False, 2: False})
    (False, True, True)
    """
    mine = leaves(replace(future, nested=[]))
    nested = [resolved(each, arrived) for each in future.nested]
    done = [leaf in arrived for leaf in mine] + nested
    match future.combinator:
        case m.ALL_COMPLETED:
            return all(done)
        case m.ALL_SUCCEEDED:
            return all(done) or any(nested) or any(arrived.get(leaf, False) for leaf in mine)
        case m.FIRST_SUCCEEDED:
            return all(done) or any(nested) or any(not arrived.get(leaf, True) for leaf in mine)
        case _:
            return any(done)
