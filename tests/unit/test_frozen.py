"""Data classes that are made quickly."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import pytest

from adapter.frozen import frozen
from adapter.frozen import replace as frozen_replace


@frozen
class Quick:
    name: str
    numbers: tuple[int, ...] = ()
    note: str = field(default="", compare=False, repr=False)

    @property
    def size(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True, slots=True)
class Usual:
    name: str
    numbers: tuple[int, ...] = ()
    note: str = field(default="", compare=False, repr=False)


@frozen
class Nothing: ...


@frozen
class Single:
    name: str


@frozen
class Further(Quick):
    more: int = 0


def test_they_are_as_data_classes_are() -> None:
    quick, usual = Quick("a", (1, 2), note="n"), Usual("a", (1, 2), note="n")
    assert repr(quick) == repr(usual).replace("Usual", "Quick")
    assert [each.name for each in fields(quick)] == [each.name for each in fields(usual)]
    assert quick == Quick("a", (1, 2), note="other")
    assert hash(quick) == hash(Quick("a", (1, 2))) == hash(usual)
    assert quick != Quick("b", (1, 2))
    assert quick != usual
    assert not hasattr(quick, "__dict__")
    assert quick.size == 2


def test_they_are_replaced_and_matched() -> None:
    match replace(Quick("a"), numbers=(1,)):
        case Quick(name, (number,)):
            assert (name, number) == ("a", 1)
        case _:
            raise AssertionError


def test_a_quick_replacement() -> None:
    quick = Quick("a", (1, 2), note="n")
    assert frozen_replace(quick, name="b") == Quick("b", (1, 2))
    assert frozen_replace(quick, name="b").note == "n"
    assert frozen_replace(Further("a", more=1), numbers=(3,)) == Further("a", (3,), more=1)
    assert frozen_replace(Single("a"), name="b") == Single("b")
    assert frozen_replace(Usual("a"), name="b") == Usual("b")
    assert frozen_replace(Nothing()) == Nothing()
    with pytest.raises(TypeError, match="Quick has no field 'nome'"):
        frozen_replace(quick, nome="b")  # type: ignore[call-arg]


def test_without_fields() -> None:
    assert Nothing() == Nothing()
    assert len({Nothing(), Nothing()}) == 1
    assert repr(Nothing()) == "Nothing()"


def test_derived_ones_differ_from_their_bases() -> None:
    assert Further("a") != Quick("a")
    assert Further("a", more=1) != Further("a")
    assert repr(Further("a", more=1)) == "Further(name='a', numbers=(), more=1)"


def test_a_method_of_its_own_is_kept() -> None:
    @frozen
    class Shown:
        secret: str

        def __repr__(self) -> str:
            return "Shown(…)"

    assert repr(Shown("s")) == "Shown(…)"
    assert Shown("s") == Shown("s")
