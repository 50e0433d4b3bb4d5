"""Hashes histories, so that a refactoring that is to change no behaviour can be compared before and after.

A hash covers what happened: times, processes, ids, values, the items that requests wrote and read. It leaves out the
names of classes, fields and store methods, so that renaming one changes no hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from adapter.engine.ports import Conflict
from tests.simulation.process import METHODS
from tests.simulation.run import Result


def fingerprint(result: Result) -> str:
    """Return the hash of a simulation's history and of the violations that it ended with."""
    digest = hashlib.sha256()
    for at, process, *what in result.history:
        digest.update(repr((at, process, [_plain(_unnamed(part)) for part in what])).encode())
    digest.update(repr(result.violations).encode())
    return digest.hexdigest()[:16]


def _unnamed(part: Any) -> Any:
    """A text of a history without the names of the store's methods."""
    if type(part) is str and " " not in part:
        return "" if part in METHODS else part
    return " ".join(word for word in part.split() if word not in METHODS) if type(part) is str else part


def _plain(value: Any) -> Any:
    """A value as nested lists, which are the same in each process."""
    if isinstance(value, str):
        return str(value)  # not the name of an enumeration's member
    if isinstance(value, bytes | int | float | None):
        return value
    if isinstance(value, Conflict):
        return ["conflict", _plain(value.found)]
    if isinstance(value, BaseException):
        return str(value)
    if is_dataclass(value):
        return [_plain(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, Mapping):  # by the names of fields, or by keys that are values themselves
        return sorted(repr([[] if isinstance(name, str) else _plain(name), _plain(to)]) for name, to in value.items())
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(_plain(item)) for item in value)
    raise TypeError(f"{value!r} has no fingerprint")
