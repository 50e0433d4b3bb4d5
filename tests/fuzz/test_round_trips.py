"""Values of types made at random: what is written is read back equal, or refused at once and without quoting it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    SecretStr,
    computed_field,
    create_model,
)
from typing_extensions import TypedDict

from adapter import TerminalError, serde
from adapter.values import read, write, write_any
from tests.fuzz.bounds import bounded

T = TypeVar("T")

Case = tuple[Any, st.SearchStrategy[Any]]
"""A type, and its values."""


class Color(Enum):
    RED = "red"
    GREEN = "green"


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Mood(StrEnum):
    GOOD = "good"
    BAD = "bad"


ZONED: Case = (
    datetime,
    # Until 1893 the clocks of Berlin differed from UTC by seconds too, which no JSON says.
    st.datetimes(
        datetime(1900, 1, 1),
        timezones=st.sampled_from([UTC, timezone(timedelta(minutes=-570)), ZoneInfo("Europe/Berlin")]),
    ),
)
SCALARS: list[Case] = [
    (str, st.text()),
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (None, st.none()),
    (bytes, st.binary()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (UUID, st.uuids()),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas(timedelta(days=-100_000), timedelta(days=100_000))),
    ZONED,
    (datetime, st.datetimes()),
    (Color, st.sampled_from(Color)),
    (Size, st.sampled_from(Size)),
    (Mood, st.sampled_from(Mood)),
    (Literal["a", 1, None], st.sampled_from(["a", 1, None])),
    (Annotated[int, Field(ge=0, le=9)], st.integers(0, 9)),
]
# Nobody finds a time of an hour that a clock shows twice in a set that has read it.
HASHABLE = [case for case in SCALARS if case is not ZONED and case[0] not in (None, Literal["a", 1, None])]


class Holder(BaseModel, Generic[T]):
    value: T
    more: list[T] = []


@dataclasses.dataclass
class Boxed(Generic[T]):
    value: T


class Circle(BaseModel):
    kind: Literal["circle"] = "circle"
    radius: float


class Blob(BaseModel):
    kind: Literal["blob"] = "blob"
    data: bytes


Shape = Annotated[Circle | Blob, Field(discriminator="kind")]
SHAPES: Case = (
    Shape,
    st.builds(Circle, radius=st.integers(-9, 9)) | st.builds(Blob, data=st.binary()),
)

FIELDS: list[Callable[[], Any]] = [
    lambda: Field(),
    lambda: Field(alias="Both"),
    lambda: Field(serialization_alias="out"),
    lambda: Field(validation_alias="in"),
    lambda: Field(validation_alias="in", serialization_alias="out"),
    lambda: Field(validation_alias=AliasChoices("one", AliasPath("two", 0))),
    lambda: Field(validation_alias=AliasPath("three", 1), serialization_alias="4"),
]

CONFIGS = [
    ConfigDict(),
    ConfigDict(extra="forbid"),
    ConfigDict(extra="allow"),
    ConfigDict(populate_by_name=True, frozen=True),
    ConfigDict(validate_by_alias=False, validate_by_name=True),
    ConfigDict(ser_json_bytes="hex"),
    ConfigDict(strict=True),
]


def fields(inner: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    """Models with a field of each type, named in any way that pydantic has, and a computed field."""

    @st.composite
    def model(draw: st.DrawFn) -> Case:
        type, values = draw(inner)
        field, config = draw(st.sampled_from(FIELDS))(), draw(st.sampled_from(CONFIGS))

        class Base(BaseModel):
            model_config = config

            @computed_field  # type: ignore[prop-decorator]
            @property
            def twice(self) -> int:
                return 2

        made: Any = create_model("Made", __base__=Base, it=(type, field), also=(int, 7))
        return made, values.map(lambda value: made.model_construct(it=value, also=7))

    return model()


def holders(case: Case) -> list[Case]:
    type, values = case
    root: Any = RootModel[type]
    tagged: Any = TypedDict("tagged", {"value": type, "maybe": NotRequired[int]})  # type: ignore[misc]
    data: Any = dataclasses.make_dataclass(
        "Data", [("value", type), ("also", list[int], dataclasses.field(default_factory=list))]
    )
    return [
        (list[type], st.lists(values, max_size=3)),  # type: ignore[valid-type]
        (dict[str, type], st.dictionaries(st.text(), values, max_size=3)),  # type: ignore[valid-type]
        (tuple[type, int], st.tuples(values, st.integers())),  # type: ignore[valid-type]
        (tuple[type, ...], st.lists(values, max_size=3).map(tuple)),  # type: ignore[valid-type]
        (type | None if type is not None else None, values | st.none()),
        (Holder[type], values.map(lambda value: Holder[type](value=value))),  # type: ignore[valid-type]
        (Boxed[type], values.map(Boxed)),  # type: ignore[valid-type]
        (data, values.map(data)),
        (tagged, values.map(lambda value: {"value": value})),
        # A root model of None is None in JSON, which is read as None where there may be one.
        *([] if type is None else [(root, values.filter(lambda value: value is not None).map(root))]),
    ]


def keyed(case: Case) -> list[Case]:
    type, values = case
    return [
        (dict[type, int], st.dictionaries(values, st.integers(), max_size=3)),
        (set[type], st.sets(values, max_size=3)),
    ]  # type: ignore[valid-type]


def deeper(inner: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    return inner | inner.flatmap(lambda case: st.sampled_from(holders(case))) | fields(inner)


LEAVES = st.sampled_from([*SCALARS, SHAPES]) | st.sampled_from(HASHABLE).flatmap(
    lambda case: st.sampled_from(keyed(case))
)
CASES = deeper(deeper(deeper(LEAVES)))

ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters()),
        st.binary(),
        st.decimals(),
        st.datetimes(),
        st.timedeltas(),
        st.sampled_from([Color.RED, Size.LARGE, Mood.GOOD, object(), SecretStr("hunter2"), print, int]),
        st.builds(Blob, data=st.binary()),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text() | st.integers() | st.none(), inner, max_size=3),
        inner.map(lambda value: Holder[Any].model_construct(value=value)),
        inner.map(Boxed),
    ),
    max_leaves=6,
)


def same(back: Any, value: Any) -> bool:
    """NaN is equal to nothing, and neither is a time of an hour that a clock shows twice."""
    return back == value or repr(back) == repr(value) or "zoneinfo" in repr(value)


@given(CASES, st.data())
@bounded(400)
def test_values_of_a_type_come_back_equal(case: Case, data: st.DataObject) -> None:
    type, values = case
    value = data.draw(values)
    form = serde.of(type)
    written = write(form, value, "it")
    back = read(form, written, "it")
    assert same(back, value)
    assert form.deserialize(form.serialize(back)) == back


@given(CASES, st.data())
@bounded(200)
def test_values_without_a_type_are_read_as_their_own(case: Case, data: st.DataObject) -> None:
    value = data.draw(case[1])
    try:
        written = write_any(value, "it")
    except TerminalError:
        assert "Boxed" in repr(value)  # a generic dataclass, which does not know its parameter
        return
    if isinstance(value, BaseModel):
        assert same(read(serde.of(value.__class__), written, "it"), value)


@given(ANYTHING, st.sampled_from([Any, int, str, list[int], dict[str, Any], Blob, float, Decimal, None, Holder[int]]))
@bounded(600)
def test_whatever_is_given_comes_back_equal_or_is_refused(value: Any, type: Any) -> None:
    form = serde.of(type)
    for use in (lambda: write(form, value, "the output of A.b"), lambda: write_any(value, "the output of A.b")):
        try:
            written = use()
        except TerminalError as refused:
            said = str(refused)
            assert said.startswith("the output of A.b cannot be written and read back: ")
            assert "hunter2" not in said
        else:
            assert b"hunter2" not in written
    try:
        back = form.deserialize(write(form, value, "it"))
    except TerminalError:
        return
    assert same(back, value)
