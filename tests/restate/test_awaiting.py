"""When the results that have come resolve a tree that an endpoint awaits."""

from __future__ import annotations

import pytest

from adapter.restate import messages as m
from adapter.restate.awaiting import Leaf, resolved

FAILED, SUCCEEDED = True, False


@pytest.mark.parametrize(
    ("combinator", "arrived", "expected"),
    [
        (m.FIRST_COMPLETED, {}, False),
        (m.FIRST_COMPLETED, {1: FAILED}, True),
        (m.ALL_COMPLETED, {1: FAILED}, False),
        (m.ALL_COMPLETED, {1: FAILED, 2: SUCCEEDED}, True),
        (m.FIRST_SUCCEEDED, {1: FAILED}, False),
        (m.FIRST_SUCCEEDED, {1: SUCCEEDED}, True),
        (m.FIRST_SUCCEEDED, {1: FAILED, 2: FAILED}, True),
        (m.ALL_SUCCEEDED, {1: SUCCEEDED}, False),
        (m.ALL_SUCCEEDED, {1: FAILED}, True),
        (m.ALL_SUCCEEDED, {1: SUCCEEDED, 2: SUCCEEDED}, True),
    ],
)
def test_a_combinator_says_which_results_resolve_it(combinator: int, arrived: dict[Leaf, bool], expected: bool) -> None:
    assert resolved(m.Future([1, 2], combinator=combinator), arrived) is expected


@pytest.mark.parametrize("combinator", [m.FIRST_SUCCEEDED, m.ALL_SUCCEEDED])
def test_the_endpoint_is_told_when_a_part_of_a_tree_is_resolved(combinator: int) -> None:
    tree = m.Future([1], nested=[m.Future([2], [17], combinator=m.ALL_COMPLETED)], combinator=combinator)
    pending: Leaf = 2
    assert not resolved(tree, {pending: FAILED})
    assert resolved(tree, {pending: FAILED, "#17": FAILED})
