"""What requests are made of, by itself: delays, ids, and bytes that are values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel
from typing_extensions import TypedDict

from adapter import serde
from adapter.engine.ids import (
    AWAKEABLE_ID,
    INVOCATION_ID,
    awakeable_id,
    child_id,
    idempotent_id,
    new_generation,
    parse_awakeable,
    promise_id,
    random_id,
    workflow_id,
)
from adapter.engine.records import Ref
from adapter.engine.types import ObjectKey, Target
from adapter.http.delays import LONGEST, parse_delay
from tests.fuzz.bounds import bounded

UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}

text = st.text(max_size=60)
names = st.text(min_size=1, max_size=20)


class TestDelays:
    @given(st.integers(0, LONGEST))
    @bounded(200)
    def test_what_says_milliseconds(self, milliseconds: int) -> None:
        seconds, rest = divmod(milliseconds, 1000)
        for written in (f"{milliseconds}ms", f"{seconds}s {rest}ms", f"{milliseconds}", f"PT{seconds}.{rest:03}S"):
            assert parse_delay(written) == milliseconds

    @given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(sorted(UNITS))), min_size=1, max_size=6))
    @bounded(200)
    def test_sums(self, spans: list[tuple[int, str]]) -> None:
        total = sum(number * UNITS[unit] for number, unit in spans)
        written = " ".join(f"{number}{unit}" for number, unit in spans)
        if total <= LONGEST:
            assert parse_delay(written) == total
        else:
            with pytest.raises(ValueError, match="at most 100 years"):
                parse_delay(written)

    @given(
        st.one_of(
            text,
            st.from_regex(r"[0-9PpTt.,+\-\s smhdwYMWDHS]{1,40}", fullmatch=True),
            st.from_regex(r"-?[0-9]{1,4000}(e[0-9]+)?[a-z]{0,9}", fullmatch=True),
        )
    )
    @example("9" * 5000)
    @example("P" + "9" * 5000 + "W")
    @example("1s" * 3000)
    @bounded(500)
    def test_whatever_it_is_it_is_a_delay_or_refused(self, written: str) -> None:
        try:
            assert 0 <= parse_delay(written) <= LONGEST
        except ValueError:
            with pytest.raises(ValueError, match=r"delay is (a duration|at most)"):
                parse_delay(written)


class TestIds:
    @given(st.integers(0, 10**9 - 1))
    @bounded(100)
    def test_awakeables_name_their_command(self, n: int) -> None:
        ref = Ref(random_id(), new_generation())
        assert parse_awakeable(awakeable_id(ref, n)) == (ref, f"w{n}")

    @given(st.integers(0, 10**9 - 1), st.data())
    @bounded(300)
    def test_one_that_is_changed_is_refused_or_another(self, n: int, data: st.DataObject) -> None:
        ref = Ref(random_id(), new_generation())
        id = awakeable_id(ref, n)
        place = data.draw(st.integers(0, len(id) - 1))
        changed = id[:place] + data.draw(st.one_of(st.just(""), st.characters())) + id[place + 1 :]
        if changed != id:
            parsed = parse_awakeable(changed)
            assert parsed is None or awakeable_id(parsed[0], int(parsed[1][1:])) == changed != id

    @given(st.one_of(text, st.from_regex(r"awk_[a-z2-7]{40,60}[0-9]{0,12}"), st.from_regex(AWAKEABLE_ID)))
    @example("awk_" + "a" * 48 + "0\n")
    @example("awk_" + "a" * 48 + "01")
    @example("awk_" + "a" * 48 + "\u0663")
    @bounded(300)
    def test_there_is_one_way_to_write_one(self, written: str) -> None:
        parsed = parse_awakeable(written)
        if parsed is not None:
            assert awakeable_id(parsed[0], int(parsed[1][1:])) == written
            assert INVOCATION_ID.fullmatch(parsed[0].id)

    def test_they_are_not_to_be_guessed(self) -> None:
        """80 bits of chance for each invocation, of which its id, which others see, says nothing."""
        generations = {new_generation() for _ in range(1000)}
        assert len(generations) == 1000
        assert all(re.fullmatch("[a-z2-7]{16}", generation) for generation in generations)

    @given(names, names, names, names, names, names)
    @bounded(300)
    def test_what_differs_has_another_id(self, a: str, b: str, c: str, d: str, e: str, f: str) -> None:
        """However the parts are cut: no key ends where the next part begins."""
        made = {
            ("idempotency", service, key, handler, idempotency_key): idempotent_id(
                Target(service, handler, key), idempotency_key
            )
            for service, handler, key, idempotency_key in (
                (a, b, c, d), (a + b, c, d, e), (a, b + c, d, e), (a, b, c + d, e), (a, b, None, c), (a, b, "", c)
            )
        }  # fmt: skip
        made |= {("workflow", s, k): workflow_id(s, k) for s, k in ((a, b), (a + b, c), (a, b + c))}
        made |= {
            ("child", p, g, n): child_id(p, g, n) for p, g, n in ((a, b, 1), (a + b, c, 1), (a, b, 11), (a, b + c, 1))
        }
        assert len(set(made.values())) == len(made)
        assert all(INVOCATION_ID.fullmatch(id) for id in made.values())
        promises = {(s, k, g, n): promise_id(ObjectKey(s, k), g, n) for s, k, g, n in ((a, b, c, d), (a + b, c, d, e))}
        assert len(set(promises.values())) == len(promises)


class Point(BaseModel):
    x: float
    y: int | None = None


class Tag(TypedDict):
    name: str


@dataclass
class Pair:
    left: str
    right: bytes


# Text as JSON can say it: bytes in JSON are UTF-8, and no lone surrogate is.
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=10,
)
KINDS: dict[Any, st.SearchStrategy[Any]] = {
    bytes: st.binary(),
    str: st.text(),
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    None: st.none(),
    datetime: st.datetimes(timezones=st.integers(-720, 720).map(lambda m: timezone(timedelta(minutes=m))) | st.none()),
    date: st.dates(),
    timedelta: st.timedeltas(timedelta(days=-10000), timedelta(days=10000)),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    UUID: st.uuids(),
    Literal["a", "b"]: st.sampled_from(["a", "b"]),
    Point: st.builds(Point, x=st.floats(allow_nan=False, allow_infinity=False), y=st.integers() | st.none()),
    Tag: st.fixed_dictionaries({"name": st.text()}),
    Pair: st.builds(Pair, st.text(), st.text().map(str.encode)),
    list[Point] | None: st.lists(st.builds(Point, x=st.integers(-1000, 1000)), max_size=3) | st.none(),
    dict[str, list[int]]: st.dictionaries(st.text(), st.lists(st.integers(), max_size=3), max_size=3),
    tuple[int, str]: st.tuples(st.integers(), st.text()),
    Any: anything,
}


class TestSerde:
    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_round_trip(self, kind: Any) -> None:
        form = serde.of(kind)

        @given(KINDS[kind])
        @bounded(50)
        def check(value: Any) -> None:
            data = form.serialize(value)
            read = form.deserialize(data)
            assert read == value
            assert form.serialize(read) == data

        check()

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_other_bytes_are_refused_as_values(self, kind: Any) -> None:
        form = serde.of(kind)

        @given(st.one_of(st.binary(), st.text().map(str.encode), anything.map(serde.json.serialize)))
        @example(b"[" * 100_000)
        @example(b'{"a":' * 100_000)
        @example(b"9" * 100_000)
        @example(b"1e999999999")
        @example(b"NaN")
        @example(b"-Infinity")
        @example(b'"\\ud800"')
        @example(b'"\xff"')
        @example(b"\x00")
        @example(b'{"x":1,"x":2}')
        @bounded(50)
        def check(data: bytes) -> None:
            try:
                value = form.deserialize(data)
            except ValueError:
                return
            if b"NaN" not in data and b"Infinity" not in data and b"e999" not in data:  # which JSON cannot say
                assert form.deserialize(form.serialize(value)) == value

        check()
