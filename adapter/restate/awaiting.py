"""Whether what an endpoint awaits has come."""

from __future__ import annotations

from collections.abc import Collection

from adapter.restate import messages as m


def resolved(future: m.Future, arrived: Collection[int | str], failed: Collection[int | str] = ()) -> bool:
    """Return True if a tree of futures is resolved by the results that have arrived.

    >>> both = m.Future(completions=[1, 2], combinator=m.ALL_COMPLETED)
    >>> resolved(both, {1}), resolved(both, {1, 2})
    (False, True)
    >>> resolved(m.Future(signals=[1], nested=[both], combinator=m.FIRST_COMPLETED), {1: None})
    True
    """
    leaves: list[int | str] = [*future.completions, *future.signals, *future.named_signals]
    done = [leaf in arrived for leaf in leaves] + [resolved(each, arrived, failed) for each in future.nested]
    if future.combinator == m.ALL_COMPLETED:
        return all(done)
    # A first success, or a first failure, may be any of them: the SDK tells, and waits again if it is not.
    return any(done)
