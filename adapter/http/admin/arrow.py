"""Rows as a stream of Apache Arrow, which the command line of Restate asks for: numbers and text, in one batch.

Sources: the `IPC format <https://arrow.apache.org/docs/format/Columnar.html>`_, `FlatBuffers' encoding
<https://flatbuffers.dev/internals/>`_.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

MEDIA_TYPE: Final = "application/vnd.apache.arrow.stream"

_VERSION_5: Final = 4
_SCHEMA, _RECORD_BATCH = 1, 3
_INT, _UTF8 = 2, 5
"""Members of the format's unions."""

_CONTINUATION: Final = 0xFFFFFFFF

Write = Callable[[bytearray], int]
"""Appends an object of FlatBuffers, and returns its place."""


def encode(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """Return rows as a stream. A column of whole numbers is ``Int64``, every other is ``Utf8``."""
    columns = [[row[place] for row in rows] for place in range(len(names))]
    numeric = [_is_numeric(column) for column in columns]
    nodes: list[tuple[int, int]] = []
    buffers: list[tuple[int, int]] = []
    body = bytearray()
    for column, number in zip(columns, numeric, strict=True):
        nodes.append((len(column), sum(value is None for value in column)))
        for part in (_validity(column), *(_numbers(column) if number else _texts(column))):
            buffers.append((len(body), len(part)))
            body += part + bytes(-len(part) % 8)
    fields = [_field(name, number) for name, number in zip(names, numeric, strict=True)]
    schema = _table(("h", 0), _vector(fields))
    batch = _table(("q", len(rows)), _structs(nodes), _structs(buffers))
    end = struct.pack("<II", _CONTINUATION, 0)
    return _message(_SCHEMA, schema, b"") + _message(_RECORD_BATCH, batch, bytes(body)) + end


def _is_numeric(column: Sequence[Any]) -> bool:
    return all(value is None or (isinstance(value, int) and not isinstance(value, bool)) for value in column)


# --- the columns -----------------------------------------------------------------------------------------------------


def _validity(column: Sequence[Any]) -> bytes:
    bits = sum((value is not None) << place for place, value in enumerate(column))
    return bits.to_bytes((len(column) + 7) // 8, "little")


def _numbers(column: Sequence[int | None]) -> list[bytes]:
    return [struct.pack(f"<{len(column)}q", *(value or 0 for value in column))]


def _texts(column: Sequence[Any]) -> list[bytes]:
    texts = [b"" if value is None else _text(value).encode() for value in column]
    offsets = [0]
    for text in texts:
        offsets.append(offsets[-1] + len(text))
    return [struct.pack(f"<{len(offsets)}i", *offsets), b"".join(texts)]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# --- the messages ----------------------------------------------------------------------------------------------------


def _message(kind: int, header: Write, body: bytes) -> bytes:
    out = bytearray(4)
    root = _table(("h", _VERSION_5), ("B", kind), header, ("q", len(body)))(out)
    struct.pack_into("<I", out, 0, root)
    out += bytes(-len(out) % 8)
    return struct.pack("<II", _CONTINUATION, len(out)) + bytes(out) + body


def _field(name: str, number: bool) -> Write:
    type = _table(("i", 64), ("?", True)) if number else _table()
    return _table(_string(name), ("?", True), ("B", _INT if number else _UTF8), type, None, _vector([]))


# --- FlatBuffers -----------------------------------------------------------------------------------------------------


Number = tuple[str, int]
"""A number with its format."""


def _width(field: Number | Write | None) -> int:
    if field is None or callable(field):
        return 0 if field is None else 4
    return struct.calcsize(field[0])


def _table(*fields: Number | Write | None) -> Write:
    """Return a table: each field is a number with its format, another object, or absent."""

    def write(out: bytearray) -> int:
        places: list[int] = []
        size = 4  # the offset of the table's description
        for field in fields:
            width = _width(field)
            size += -size % width if width else 0
            places.append(size if width else 0)
            size += width
        described = len(out) + len(out) % 2
        out += bytes(described - len(out)) + struct.pack(f"<{len(fields) + 2}H", 2 * len(fields) + 4, size, *places)
        out += bytes(-len(out) % 8)
        start = len(out)
        out += bytes(size)
        struct.pack_into("<i", out, start, start - described)
        for field, place in zip(fields, places, strict=True):
            if isinstance(field, tuple):
                struct.pack_into(f"<{field[0]}", out, start + place, field[1])
            elif field is not None:
                _refer(out, start + place, field)
        return start

    return write


def _refer(out: bytearray, place: int, to: Write) -> None:
    struct.pack_into("<I", out, place, to(out) - place)


def _string(text: str) -> Write:
    def write(out: bytearray) -> int:
        out += bytes(-len(out) % 4)
        start, data = len(out), text.encode()
        out += struct.pack("<I", len(data)) + data + b"\0"
        return start

    return write


def _vector(objects: Sequence[Write]) -> Write:
    def write(out: bytearray) -> int:
        out += bytes(-len(out) % 4)
        start = len(out)
        out += struct.pack("<I", len(objects)) + bytes(4 * len(objects))
        for place, each in enumerate(objects, 1):
            _refer(out, start + 4 * place, each)
        return start

    return write


def _structs(pairs: Sequence[tuple[int, int]]) -> Write:
    def write(out: bytearray) -> int:
        out += bytes((4 - len(out)) % 8)  # the first number is aligned to 8
        start = len(out)
        out += struct.pack("<I", len(pairs)) + b"".join(struct.pack("<qq", *pair) for pair in pairs)
        return start

    return write
