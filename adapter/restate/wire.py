"""Frames and messages as bytes: the framing of Restate's service protocol, and as much of protobuf as it uses.

A frame is a header of 64 bits (type, flags, length) and a protobuf message. Messages are dataclasses whose fields are
declared by `number`, `data`, `text`, `flag`, `one` and `many`. A field that is ``None`` is absent, which tells a value
that is empty from one that is not given.

Sources: the `framing <https://github.com/restatedev/service-protocol>`_ and `protobuf's encoding
<https://protobuf.dev/programming-guides/encoding/>`_.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

HEADER = struct.Struct(">HHI")

ACK = 0x8000
"""The flag of a frame whose sender asks for an acknowledgement."""

MAX_FRAME = 32 * 1024 * 1024
"""The longest message, in bytes. A larger length is taken for garbage."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

M = TypeVar("M", bound="Message")


class ProtocolError(Exception):
    """An endpoint's answer is not what the service protocol allows. The message says what was found."""


# --- declarations ----------------------------------------------------------------------------------------------------


class Field(NamedTuple):
    """The declaration of a message's field."""

    number: int
    kind: str
    message: Callable[[], type[Message]] | None = None


def number(n: int) -> Any:
    """Declare a uint32, a uint64 or an enum."""
    return field(default=None, metadata={"wire": Field(n, "number")})


def flag(n: int) -> Any:
    """Declare a bool."""
    return field(default=None, metadata={"wire": Field(n, "flag")})


def data(n: int) -> Any:
    """Declare bytes."""
    return field(default=None, metadata={"wire": Field(n, "data")})


def text(n: int) -> Any:
    """Declare a string."""
    return field(default=None, metadata={"wire": Field(n, "text")})


def one(n: int, message: Callable[[], type[Message]]) -> Any:
    """Declare a message."""
    return field(default=None, metadata={"wire": Field(n, "one", message)})


def many(n: int, kind: str, message: Callable[[], type[Message]] | None = None) -> Any:
    """Declare a repeated field: a list of numbers, texts, data or messages."""
    return field(default_factory=list[Any], metadata={"wire": Field(n, f"many {kind}", message)})


@dataclass(slots=True)
class Message:
    """A protobuf message. Derive from it, and declare the fields.

    >>> @dataclass(slots=True)
    ... class Value(Message):
    ...     content: bytes | None = data(1)
    >>> Value(b"hi").encode(), Value.decode(b"\\x0a\\x02hi")
    (b'\\n\\x02hi', Value(content=b'hi'))
    """

    def encode(self) -> bytes:
        """Return the message as bytes."""
        out = bytearray()
        for name, declared in _fields(type(self)).items():
            value = getattr(self, name)
            if value is None:
                continue
            if declared.kind == "many number":
                if value:
                    packed = b"".join(map(_varint, value))
                    out += _tag(declared.number, BYTES) + _varint(len(packed)) + packed
            elif declared.kind.startswith("many"):
                for each in value:
                    out += _tag(declared.number, BYTES) + _sized(each)
            elif declared.kind in ("number", "flag"):
                out += _tag(declared.number, VARINT) + _varint(int(value))
            else:
                out += _tag(declared.number, BYTES) + _sized(value)
        return bytes(out)

    @classmethod
    def decode(cls: type[M], payload: bytes | memoryview) -> M:
        """Return the message that bytes hold. Fields that are not declared are skipped.

        Raises:
            ProtocolError: If the bytes are not a message of this type.
        """
        declared = {each.number: (name, each) for name, each in _fields(cls).items()}
        message = cls()
        try:
            for n, wire, value in _read(memoryview(payload)):
                if n in declared:
                    name, each = declared[n]
                    _set(message, name, each, wire, value)
        except (IndexError, ValueError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"a {cls.__name__} message is damaged: {error}") from None
        return message


_FIELDS: dict[type[Message], dict[str, Field]] = {}


def _fields(cls: type[Message]) -> dict[str, Field]:
    if cls not in _FIELDS:
        _FIELDS[cls] = {each.name: each.metadata["wire"] for each in dataclasses.fields(cls)}
    return _FIELDS[cls]


def _set(message: Message, name: str, declared: Field, wire: int, value: int | memoryview) -> None:
    kind = declared.kind.removeprefix("many ")
    if kind in ("number", "flag"):
        if isinstance(value, int):
            values: list[Any] = [value]
        elif declared.kind == "many number":
            values = list(_varints(value))
        else:
            raise ValueError(f"field {declared.number} has wire type {wire}")
        if kind == "flag":
            values = [bool(each) for each in values]
    elif isinstance(value, int):
        raise ValueError(f"field {declared.number} has wire type {wire}")
    elif kind == "text":
        values = [str(value, "utf-8")]
    elif kind == "data":
        values = [bytes(value)]
    else:
        assert declared.message is not None
        values = [declared.message().decode(value)]
    if declared.kind.startswith("many"):
        getattr(message, name).extend(values)
    else:
        setattr(message, name, values[-1])


# --- protobuf's encoding ---------------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _tag(n: int, wire: int) -> bytes:
    return _varint(n << 3 | wire)


def _sized(value: Any) -> bytes:
    raw = value.encode() if isinstance(value, str | Message) else value
    return _varint(len(raw)) + raw


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")


def _varints(view: memoryview) -> Iterator[int]:
    at = 0
    while at < len(view):
        value, at = _read_varint(view, at)
        yield value


def _read(view: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    at = 0
    while at < len(view):
        tag, at = _read_varint(view, at)
        n, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _read_varint(view, at)
            yield n, wire, value
            continue
        if wire == BYTES:
            length, at = _read_varint(view, at)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} is unknown")
        if at + length > len(view):
            raise ValueError(f"field {n} has {length} bytes, and {len(view) - at} are left")
        if wire == BYTES:
            yield n, wire, view[at : at + length]
        at += length


# --- frames ----------------------------------------------------------------------------------------------------------


class Frame(NamedTuple):
    """A message on the wire."""

    type: int
    payload: bytes
    flags: int = 0


def write_frame(frame: Frame) -> bytes:
    """Return a frame as bytes.

    >>> write_frame(Frame(0x0003, b"")).hex()
    '0003000000000000'
    """
    return HEADER.pack(frame.type, frame.flags, len(frame.payload)) + frame.payload


def read_frames(body: bytes) -> list[Frame]:
    """Return the frames of a whole body.

    Raises:
        ProtocolError: If the body ends within a frame, or a length is beyond `MAX_FRAME`.
    """
    reader = FrameReader()
    frames = list(reader.feed(body))
    reader.close()
    return frames


class FrameReader:
    """Collects the frames of a body that arrives in pieces."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> Iterable[Frame]:
        """Yield the frames that are complete with this piece.

        Raises:
            ProtocolError: If a length is beyond `MAX_FRAME`.
        """
        self._rest += piece
        at = 0
        try:
            while len(self._rest) - at >= HEADER.size:
                type, flags, length = HEADER.unpack_from(self._rest, at)
                if length > MAX_FRAME:
                    raise ProtocolError(f"a frame of type {type:#06x} has {length} bytes; {MAX_FRAME} are allowed")
                end = at + HEADER.size + length
                if end > len(self._rest):
                    break
                yield Frame(type, bytes(self._rest[at + HEADER.size : end]), flags)
                at = end
        finally:
            del self._rest[:at]

    def close(self) -> None:
        """Check that the body has ended with a frame.

        Raises:
            ProtocolError: If it ended within one.
        """
        if self._rest:
            raise ProtocolError(f"the body ends within a frame: {len(self._rest)} bytes are left over")
