"""Changes of JSON documents by chance: other values in some places of them, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

from hypothesis import strategies as st

Path = tuple[str | int, ...]

GONE: Final = object()

ODD: Final = st.one_of(
    st.sampled_from(
        [None, True, -1, 0, 1, 0.5, 1.0, 10**12, 2**53, 10**20, 10**400, 1e308, float("inf"), float("nan")]
    ),
    st.sampled_from(
        ["", "1", "a\r\nb: c", "ü", "text/plain", "WORKFLOW", "EXCLUSIVE", "second", "Cart", "#/$defs/Size"]
    ),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=4,
    ),
)


def changes(document: Any, odd: st.SearchStrategy[Any] = ODD) -> st.SearchStrategy[Any]:
    """Return a strategy of documents like this one, with one to three changes."""
    places = list(_paths(document))[1:]
    several = st.lists(st.tuples(st.sampled_from(places), odd | st.just(GONE)), min_size=1, max_size=3)
    return several.map(lambda drawn: _changed(document, drawn))


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield all places in a value."""
    yield path
    if isinstance(value, dict | list):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _paths(part, (*path, name))


def _changed(document: Any, drawn: list[tuple[Path, Any]]) -> Any:
    """Return the document with other values in some places, as far as they are still there."""
    copy = deepcopy(document)
    for (*way, last), value in drawn:
        at: Any = copy
        try:
            for part in way:
                at = at[part]
            if value is GONE:
                del at[last]
            else:
                at[last] = deepcopy(value)
        except (TypeError, LookupError):
            pass  # another change has taken the place away
    return copy
