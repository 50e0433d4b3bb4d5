"""Values are read back when they are written.

`write` and `write_any` serialize a value, read it back and compare. A value that does not come back equal is refused
there, once, with a `TerminalError` that names where it was written, the place in it and its type, never the value.
`read` and `receive` read what was written; their errors name the same.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from math import isfinite
from types import NoneType
from typing import Any, Final, Literal, NamedTuple, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from adapter.engine.types import ENCODED
from adapter.errors import DefinitionError, TerminalError, UnreadableError, explain, place
from adapter.operations import Operation
from adapter.serde import Json, Serde, json_of, type_name

T = TypeVar("T")

Path = tuple[Any, ...]

DEEPEST: Final = 100
"""How many levels of lists and objects a value has at most. The JSON parser reads about 200, an envelope included."""

_DATA_ERRORS: Final = (
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    RecursionError,
)
"""What serializing or reading a value raises because of the value. Other errors, such as of I/O, are retried."""


class _JsonError(ValueError):
    """JSON from outside that is not JSON, or cannot be kept. Its text says why without quoting it."""


class _Refusal(Exception):
    """A value does not come back equal: where, and why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason


def write(form: Serde[T], value: T, what: str, *, hint: str = "", convert: bool = False, code: int = 500) -> bytes:
    """Serialize a value that is read as ``form`` reads it.

    Args:
        form: The value's serde.
        value: The value.
        what: What the value is, for the error: ``"the output of Shop.order"``.
        hint: What to do if the value comes back as plain JSON.
        convert: Whether plain JSON may come back as what the type makes of it: text as a date, a dict as a model.
        code: The error's code.

    Raises:
        TerminalError: If the value cannot be written, or does not come back equal.
    """
    try:
        return _written(form, value, convert)
    except _Refusal as refusal:
        loose = isinstance(form, Json) and form.traits.loose
        raise _refused(what, refusal, hint if loose else "", code) from None
    except DefinitionError as error:
        raise TerminalError(f"{what} has no format: {error}", code=code) from None


def write_any(value: object, what: str, form: Serde[Any] | None = None) -> bytes:
    """Serialize a value whose reader's type is not known: bytes as they are, everything else as its own type.

    Args:
        value: The value.
        what: What the value is, for the error.
        form: The value's serde, if it has one.

    Raises:
        TerminalError: If the value cannot be written, or does not come back equal as its own type.
    """
    if form is not None:
        return write(form, value, what)
    if isinstance(value, bytes):
        return value
    try:
        return b"" if value is None else _limited(_spliced(value, ()))
    except _Refusal as refusal:
        raise _refused(what, refusal, "", 500) from None


def read(form: Serde[T], data: bytes | None, what: str) -> T:
    """Read what `write` or `write_any` wrote.

    Raises:
        UnreadableError: If it does not fit: it was written as another type.
    """
    try:
        return form.deserialize(data or b"")
    except _DATA_ERRORS as error:
        if data is not None and data.startswith(ENCODED):
            raise UnreadableError(f"{what} is encoded: pass the codec that encoded it, as codec=") from None
        raise UnreadableError(f"{what} cannot be read as {_named(form)}: {_explained(error)}") from None


def receive(form: Serde[T], data: bytes | None, what: str) -> T:
    """Read a value that may come from outside, and so may be anything.

    Raises:
        TerminalError: If it does not fit.
    """
    try:
        check(form, data or b"")
        return form.deserialize(data or b"")
    except _DATA_ERRORS as error:
        raise TerminalError(f"{what} cannot be read as {_named(form)}: {_explained(error)}") from None


# --- JSON from outside ---

_SUSPECT: Final = re.compile(rb"\d[eE]\+?\d{3}|\d{300}")
"""What a number has that may be too large for a float."""

_LONG: Final = re.compile(rb"[\d.]{16}")
"""What a number has that a float may round."""


def check(form: Serde[Any], data: bytes) -> None:
    """Refuse JSON from outside that cannot be kept as it is: ``NaN``, ``1e400``, too many levels, rounded decimals.

    Raises:
        ValueError: If there is something of that kind.
    """
    if not isinstance(form, Json):
        return
    if form.traits.nested:
        _check_depth(data)
    decimal = form.traits.decimal and _LONG.search(data)
    if decimal or b"NaN" in data or b"Infinity" in data or _SUSPECT.search(data):
        import json

        def constant(name: str) -> None:
            raise _JsonError(f"{name} is not JSON")

        try:
            json.loads(data, parse_constant=constant, parse_float=_exactly if decimal else _finite)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            return  # pydantic says what is wrong, and where


def _finite(literal: str) -> float:
    number = float(literal)
    if not isfinite(number):
        raise _JsonError("a number is too large")
    return number


def _exactly(literal: str) -> float:
    from decimal import Decimal

    number = _finite(literal)
    if Decimal(repr(number)) != Decimal(literal):
        raise _JsonError("a number has more digits than JSON readers keep: write decimals as strings")
    return number


_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_BORING: Final = bytes(set(range(256)) - set(b'[]{}"'))


def _limited(data: bytes) -> bytes:
    try:
        _check_depth(data)
    except _JsonError:
        raise _too_deep() from None
    return data


def _too_deep() -> _Refusal:
    return _Refusal((), f"it has more than {DEEPEST} levels of lists and objects")


def _check_depth(data: bytes) -> None:
    """Raise `_JsonError` if JSON is nested too deeply. As a rule, this takes one fast pass over the data."""
    if b"\\" in data:
        data = _STRING.sub(b"", data)
    brackets = data.translate(None, _BORING).replace(b'""', b"")
    if b'"' in brackets:
        brackets = _STRING.sub(b"", brackets)
    for _ in range(DEEPEST):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    if b"[" in brackets or b"{" in brackets:
        raise _JsonError(f"has more than {DEEPEST} levels of lists and objects")


# --- writing and reading back ---


def _written(form: Serde[Any], value: Any, convert: bool = False) -> bytes:
    if isinstance(form, Json) and form.exact and value is not None:
        try:
            data = form.serialize_exact(value)
            if _certain(data):
                return data
        except _DATA_ERRORS:
            pass  # what is wrong with it is found below
    try:
        data = form.serialize(value)
    except DefinitionError:
        raise
    except _DATA_ERRORS as error:
        raise _unwritable(form, value, error) from None
    if isinstance(form, Json) and form.traits.nested:
        _limited(data)
    try:
        back = form.deserialize(data)
    except _DATA_ERRORS as error:
        raise _unreadable(form, value, error) from None
    found = [*_differences(value, back, ())]
    if not found or _as_sequence(form, value, back):
        return data
    if convert and isinstance(form, Json) and all(each.plain and _plain(each.written) is not None for each in found):
        return data
    raise _Refusal(found[0].path, _lost(found[0]))


_LONGEST_NUMBER: Final = 4300
"""How many digits of an integer Python reads."""


def _certain(data: bytes) -> bool:
    """Return True if JSON of an exact type is read back equal, without reading it.

    There must be no ``None``, which pydantic writes for a value of any type, also as a key, and no endless number.
    """
    if data[:1] == b'"':
        return True
    return len(data) < _LONGEST_NUMBER and b"null" not in data and b'"None"' not in data


def _as_sequence(form: Serde[Any], value: Any, back: Any) -> bool:
    """Return True if only tuples came back as lists, and the type takes either, as ``Sequence`` does."""
    if not isinstance(form, Json) or form.traits.loose or any(_differences(value, back, (), sequences=True)):
        return False
    try:
        form.adapter.validate_python(value, strict=True)
    except _DATA_ERRORS:
        return False
    return True


def _plain(value: Any) -> bytes | None:
    """Return a value as JSON if it is plain JSON, which comes back equal."""
    try:
        data = to_json(value)
        return data if bool(from_json(data) == value) else None
    except Exception:  # a user's own `__eq__` may raise
        return None


def _spliced(value: Any, path: Path) -> bytes:
    """Return a value as JSON, each part that is not plain JSON as its own type."""
    kind = _kind(value)
    data = _plain(value) if _is(kind, dict, list, str, int, float, NoneType) else None
    if data is not None:
        return data
    if len(path) > DEEPEST:
        raise _too_deep()
    if kind is dict:
        parts = {_key(key, path): _spliced(item, (*path, key)) for key, item in value.items()}
        if len(parts) < len(value):
            raise _Refusal(path, "{} has two keys that are one in JSON")
        return b"{" + b",".join(key + b":" + item for key, item in parts.items()) + b"}"
    if kind in (list, tuple, set, frozenset):
        items = [_spliced(item, (*path, n)) for n, item in enumerate(value)]
        return b"[" + b",".join(items if kind in (list, tuple) else sorted(items)) + b"]"
    try:
        return _written(json_of(kind), value) or b"null"
    except DefinitionError:
        raise _unwritable(json_of(Any), value, None, path) from None
    except _Refusal as refusal:
        raise _Refusal((*path, *refusal.path), refusal.reason) from None


def _key(key: Any, path: Path) -> bytes:
    kind = _kind(key)
    if kind is str:
        return to_json(key)
    try:
        return _written(json_of(dict.__class_getitem__((kind, None))), {key: None})[1:-6]
    except (_Refusal, DefinitionError):
        raise _Refusal(path, f"{{}} has a key of type {type_name(kind)}, which JSON does not have") from None


class _Difference(NamedTuple):
    path: Path
    written: Any
    back: Any
    plain: bool
    """Whether it is in dicts and lists only, and not in an object that has lost something."""


def _differences(a: Any, b: Any, path: Path, sequences: bool = False, plain: bool = True) -> Iterator[_Difference]:
    """Yield where two values differ.

    Args:
        a: What was written.
        b: What came back.
        path: Where they are.
        sequences: Whether a list and a tuple of equal items are equal.
        plain: Whether they are in dicts and lists only.
    """
    try:
        if bool(a == b):
            return
    except Exception:  # as numpy's arrays do
        pass
    kind, other = _kind(a), _kind(b)
    if _is(kind, float) and _is(other, float) and a != a and b != b:
        return
    # Python takes two times of an hour that a clock shows twice for different ones.
    aware = _is(kind, datetime) and _is(other, datetime) and a.tzinfo and b.tzinfo
    if aware and a.astimezone(UTC) == b.astimezone(UTC):
        return
    parts = _parts(a, b, sequences)
    if parts is None or len(path) > DEEPEST:
        yield _Difference(path, a, b, plain)
        return
    for name, ours, theirs in parts:
        yield from _differences(ours, theirs, (*path, name), sequences, plain and _is(kind, dict, list))


def _parts(a: Any, b: Any, sequences: bool) -> list[tuple[Any, Any, Any]] | None:
    """Return the parts of two values that have the same parts, by name; ``None`` if they do not."""
    kind, other = _kind(a), _kind(b)
    if _is(kind, Mapping) and _is(other, Mapping):
        return [(key, a[key], b[key]) for key in a] if a.keys() == b.keys() else None
    if _is(kind, list, tuple, deque):
        same = kind is other or (sequences and _is(other, list, tuple))
        return [(n, a[n], b[n]) for n in range(len(a))] if same and len(a) == len(b) else None
    if kind is not other:
        return None
    if _is(kind, BaseModel):
        more: dict[str, Any] = a.model_extra or {}
        others: dict[str, Any] = b.model_extra or {}
        names = [*kind.model_fields, *more]
        return [(name, getattr(a, name, None), getattr(b, name, None)) for name in names] if more == others else None
    if _is_dataclass(kind):
        names = [field.name for field in fields(kind) if field.compare]
        return [(name, getattr(a, name, None), getattr(b, name, None)) for name in names]
    if kind.__eq__ is not _BY_IDENTITY:
        return None
    ours: dict[str, Any] = getattr(a, "__dict__", {})
    theirs: dict[str, Any] = getattr(b, "__dict__", {})
    return [(name, ours[name], theirs[name]) for name in ours] if ours and ours.keys() == theirs.keys() else None


_BY_IDENTITY: Final[Any] = object.__eq__


def _kind(value: Any) -> Any:
    return type(cast("object", value))


def _is_dataclass(kind: Any) -> bool:
    return is_dataclass(kind)


def _is(kind: Any, *types: type[Any]) -> bool:
    return issubclass(kind, types)  # which leaves ``kind`` as it is to type checkers


# --- what is said ---


def _refused(what: str, refusal: _Refusal, hint: str, code: int) -> TerminalError:
    reason = refusal.reason.replace("{}", place(refusal.path) or "it", 1)
    if hint and "comes back as" in reason:
        reason = f"{reason}; {hint}"
    return TerminalError(f"{what} cannot be written and read back: {reason}", code=code)


def _lost(found: _Difference) -> str:
    name, back = type_name(_kind(found.written)), type_name(_kind(found.back))
    comes = "with another value" if name == back else f"as {back}"
    return _never_kept(found.written) or f"{{}} is of type {name} and comes back {comes}"


def _never_kept(value: Any) -> str:
    """Return why a value of its type is never kept, if that is so."""
    from pydantic import Secret, SecretBytes, SecretStr

    if isinstance(value, SecretStr | SecretBytes | Secret):
        name = type_name(_kind(value))
        return f"{{}} is a {name}, which is written as asterisks: keep the secret elsewhere, or give it a serializer"
    return (
        "{} is not a finite number, and JSON has no other" if _is(_kind(value), float) and not isfinite(value) else ""
    )


def _unwritable(form: Serde[Any], value: Any, error: Exception | None, path: Path = ()) -> _Refusal:
    if not isinstance(form, Json):
        return _Refusal(path, f"its serde, {type_name(type(form))}, raised {type(error).__name__}")
    parts = [*_walk(value, path)]
    # Bytes may have been written as base64 or, where no type says so, as text.
    for mode in _MODES:
        for found, part in parts:
            if not _writable(part, mode):
                return _unwritable_part(found, part)
    return _unwritable_part(path, value)


_MODES: Final[tuple[Literal["base64", "utf8"], ...]] = ("base64", "utf8")


def _writable(value: Any, mode: Literal["base64", "utf8"]) -> bool:
    try:
        to_json(value, bytes_mode=mode)
    except _DATA_ERRORS:
        return False
    return True


def _unwritable_part(path: Path, part: Any) -> _Refusal:
    name = type_name(type(part))
    if len(path) > DEEPEST:
        return _too_deep()
    if reason := _never_kept(part):
        return _Refusal(path, reason)
    if isinstance(part, Awaitable):
        named = repr(cast("object", part)) if isinstance(part, Operation) else f"a {name}"
        return _Refusal(path, f"{{}} is {named}, which was not awaited")
    if isinstance(part, str):
        return _Refusal(path, "{} is text that is not Unicode: it has half of a surrogate pair")
    return _Refusal(path, f"{{}} is of type {name}, which cannot be turned into JSON")


def _unreadable(form: Serde[Any], value: Any, error: Exception) -> _Refusal:
    for path, part in _walk(value, ()):
        if reason := _never_kept(part):
            return _Refusal(path, reason)
    return _Refusal(
        (), f"{{}} is of type {type_name(type(value))} and does not fit {_named(form)}: {_explained(error)}"
    )


def _walk(value: Any, path: Path, around: frozenset[int] = frozenset()) -> Iterator[tuple[Path, Any]]:
    """Yield the parts of a value that have no parts of their own, with their places.

    Raises:
        _Refusal: If the value contains itself.
    """
    if id(value) in around:
        raise _Refusal(path, "{} contains itself")
    kind, inner = _kind(value), list[tuple[Any, Any]]()
    if _is(kind, Mapping):
        inner = [*value.items()]
    elif _is(kind, list, tuple, set, frozenset, deque):
        inner = [*enumerate(value)]
    elif _is(kind, BaseModel):
        inner = [(name, getattr(value, name, None)) for name in kind.model_fields]
    elif _is_dataclass(kind):
        inner = [(field.name, getattr(value, field.name, None)) for field in fields(kind)]
    if not inner or len(path) > DEEPEST:
        yield path, value
        return
    for name, part in inner:
        yield from _walk(part, (*path, name), around | {id(value)})


def _explained(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return explain(error)
    # The text of any other error may quote the value.
    ours = isinstance(error, _JsonError | DefinitionError)
    return str(error) if ours else f"its serde raised {type(error).__name__}"


def _named(form: Serde[Any]) -> str:
    return type_name(form.type if isinstance(form, Json) else type(form))
