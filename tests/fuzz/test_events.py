"""Events of any shape: what is of no known kind is refused, and the next event finds the process well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapter.aws.events import UnknownEventError
from adapter.engine.records import Status
from tests.fuzz.bounds import bounded
from tests.unit.test_entry import Function, http_event

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
HTTP = ["version", "rawPath", "rawQueryString", "headers", "requestContext", "isBase64Encoded", "body", "cookies"]


@pytest.fixture(scope="module")
def function() -> Iterator[Function]:
    function = Function()
    yield function
    if function.entry._loop is not None:
        function.entry._loop.close()


def _well(function: Function) -> None:
    assert function.http("/Shop/greet", "Mary")[:2] == (200, "Hello Mary")


class TestUnknown:
    @given(values)
    @example(None)
    @example([])
    @example({"requestContext": None, "version": "2.0"})
    @example({"requestContext": {"http": {}}, "version": "2.0", "rawPath": "/"})
    @bounded(100)
    def test_an_event_of_no_kind(self, function: Function, event: Any) -> None:
        with pytest.raises(UnknownEventError, match="neither a request by an HTTP API"):
            function(event)

    @given(st.sampled_from(["dispatch", "wake"]), values.filter(lambda value: not isinstance(value, str)))
    @bounded(50)
    def test_a_dispatch_of_nothing(self, function: Function, kind: str, id: Any) -> None:
        for event in (
            {"adapter": kind},
            {"adapter": kind, "id": id},
            {"adapter": "dispatch", "id": "x", "service": id},
        ):
            with pytest.raises(UnknownEventError):
                function(event)

    def test_it_says_what_it_got(self, function: Function) -> None:
        with pytest.raises(UnknownEventError, match=r'\{"Records": \[\]'):
            function({"Records": [], "more": "x" * 1000})
        _well(function)


def _is_refused_or_answered(status: int) -> bool:
    """Whether a request got its answer. What needs flow control is refused with 501."""
    return 200 <= status < 500 or status == 501


class TestRequests:
    @given(st.dictionaries(st.sampled_from(HTTP), values, min_size=1))
    @bounded(150)
    def test_one_with_other_fields_is_answered_or_refused(self, function: Function, fields: dict[str, Any]) -> None:
        try:
            answer = function({**http_event("/Shop/greet", "Mary"), **fields})
        except UnknownEventError:
            assert {"version", "rawPath", "requestContext"} & fields.keys()
        else:
            assert _is_refused_or_answered(answer["statusCode"])

    @given(st.sampled_from(HTTP))
    @bounded(20)
    def test_one_that_lacks_a_field(self, function: Function, field: str) -> None:
        event = http_event("/Shop/greet", "Mary")
        event.pop(field, None)
        try:
            assert _is_refused_or_answered(function(event)["statusCode"])
        except UnknownEventError:
            assert field in ("version", "rawPath", "requestContext")
        _well(function)


class TestDispatches:
    @given(st.text(), st.text() | st.just("Shop"), values, values)
    @example("inv_" + "a" * 32, "Shop", True, None)
    @bounded(100)
    def test_of_what_is_not_there(self, function: Function, id: str, service: str, fresh: Any, generation: Any) -> None:
        assert function({"adapter": "dispatch", "id": id, "service": service, "fresh": fresh}) is None
        assert function({"adapter": "wake", "id": id, "generation": generation}) is None

    def test_of_what_is_over(self, function: Function) -> None:
        _, _, headers = function.http("/Shop/greet", "Mary")
        id = headers["x-restate-id"]
        for fresh in (True, False):
            function({"adapter": "dispatch", "id": id, "service": "Shop", "fresh": fresh})
        assert function.records()[id].status is Status.COMPLETED


def test_the_process_is_well(function: Function) -> None:
    _well(function)
