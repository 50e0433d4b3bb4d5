"""The journal of an invocation: what its attempts did, in order, as text.

A journal is a list of entries, stored in segments. A segment is a format version and a JSON array of entries. A number
between entries is the time of those after it, in milliseconds: the first one since the epoch, the others since the one
before. Times are for operators; replay does not read them. A segment that is too large for an item is cut, and its
pieces are put one after the other. Only the last piece makes it count: a reader skips a cut segment that was never
finished.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, cast

from adapter.engine.records import PART, JournalSegment, Meta, Unreadable
from adapter.engine.types import Failure, Outcome, truncate
from adapter.frozen import frozen

FORMAT = 2
"""The version of the format that this code writes."""

READ = ("1", "2")
"""The versions that this code reads. Version 1 has no times."""

WHOLE, FIRST, MIDDLE, LAST = (f"{FORMAT}{mark}" for mark in ".<->")
"""The marks that a segment begins with."""


CANCEL = -1
"""The number that stands for the invocation's cancellation where an entry names a command."""


class JournalFormatError(Unreadable):
    """A stored journal cannot be read: it is damaged, or a newer version of this library wrote it."""


@frozen
class CommandIssued:
    """Command ``n`` was issued. Replay compares its kind and its name."""

    n: int
    kind: str
    name: str
    at: int | None = None
    """For a sleep: its end, in milliseconds. For a call or a message to a key: when it requested the key, in
    microseconds."""
    value: Outcome | None = None
    """The result, if the command had it at once."""


@frozen
class ResultDelivered:
    """The result of command ``n`` was delivered to the handler."""

    n: int
    outcome: Outcome


@frozen
class NotificationDelivered:
    """The result of command ``n`` was delivered to the handler. The notification with this id holds it."""

    n: int
    id: str


@frozen
class AttemptStarted:
    """A further attempt started. Entries that earlier attempts append after this one are refused."""

    epoch: int
    lost: bool = False
    """True if the attempt before may have done something that it did not record."""
    failed: int | None = None
    """When the attempt before failed, in milliseconds."""
    error: str = ""
    """What that attempt raised, cut after `MAX_KEPT_ERROR` bytes."""
    stops: bool = False
    """True if an operator stopped the invocation after that failure, and no attempt started."""


@frozen
class StepRetried:
    """Step ``n`` has failed so many times, and is to be tried again. Its first try began at a time in milliseconds.

    With no tries: it runs at most once, and had not begun when its attempt failed.
    """

    n: int
    tries: int
    began: int


@frozen
class StateRead:
    """Command ``n`` had this result, but the attempt failed before its delivery, or another invocation had it."""

    n: int
    outcome: Outcome


Entry = CommandIssued | ResultDelivered | NotificationDelivered | AttemptStarted | StepRetried | StateRead

Timed = tuple[Entry, int | None]
"""An entry, and when it was recorded, in milliseconds. ``None``: the journal does not tell."""

MAX_KEPT_ERROR = 300
"""The most bytes of an attempt's error that the journal keeps."""


def started(meta: Meta, *, stops: bool = False) -> AttemptStarted:
    """Return the entry for the attempt that follows on what a record has, or for an operator who stops it."""
    error = truncate(meta.error or "", MAX_KEPT_ERROR) if meta.failed is not None else ""
    stops = stops and meta.failed is not None
    return AttemptStarted(meta.epoch + 1, lost=meta.may_run, failed=meta.failed, error=error, stops=stops)


def pending_sleeps(entries: Iterable[Entry]) -> list[int]:
    """Return the end times of the sleeps whose end was not delivered to the handler.

    >>> sleeps = [CommandIssued(0, "sleep", "", at=5), CommandIssued(1, "sleep", "", at=7)]
    >>> pending_sleeps([*sleeps, ResultDelivered(0, Outcome())])
    [7]
    """
    ends: dict[int, int] = {}
    for entry in entries:
        if isinstance(entry, CommandIssued) and entry.kind == "sleep" and entry.at is not None:
            ends[entry.n] = entry.at
        elif isinstance(entry, ResultDelivered):
            ends.pop(entry.n, None)
    return list(ends.values())


def unanswered_calls(entries: Iterable[Entry]) -> list[int]:
    """Return the numbers of the calls whose result was not delivered to the handler.

    >>> calls = [CommandIssued(0, "call", "Greeter/greet"), CommandIssued(1, "call", "Greeter/greet")]
    >>> unanswered_calls([*calls, ResultDelivered(0, Outcome())])
    [1]
    """
    calls: dict[int, None] = {}
    for entry in entries:
        if isinstance(entry, CommandIssued) and entry.kind == "call" and entry.value is None:
            calls[entry.n] = None
        elif isinstance(entry, ResultDelivered | NotificationDelivered):
            calls.pop(entry.n, None)
    return list(calls)


def key_requests(entries: Iterable[Entry]) -> tuple[int, frozenset[str]]:
    """Return when the invocation last requested a key for another one, and all the keys that it requested for others.

    A name does not tell where a key with slashes ends, so the result may contain a few keys that were not requested.

    >>> key_requests([CommandIssued(0, "call", "Counter/Mary/add", at=5), CommandIssued(1, "call", "Greeter/greet")])
    (5, frozenset({'Counter/Mary'}))
    """
    latest, keys = 0, set[str]()
    for entry in entries:
        if isinstance(entry, CommandIssued) and entry.kind in ("call", "send") and entry.at is not None:
            latest = max(latest, entry.at)
            parts = entry.name.split("/")
            keys.update("/".join(parts[:end]) for end in range(2, len(parts)))
    return latest, frozenset(keys)


def pack(value: bytes | None) -> Any:
    """Return bytes as JSON: a string if they are UTF-8, otherwise base64 in a list."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return [base64.b64encode(value).decode()]


def unpack(value: Any) -> bytes | None:
    """Return the bytes that `pack` packed.

    >>> unpack(pack(b"\\xff")), unpack(pack(b"x")), unpack(pack(None))
    (b'\\xff', b'x', None)
    """
    match value:
        case None:
            return None
        case str():
            return value.encode()
        case [str(encoded)]:
            return base64.b64decode(encoded, validate=True)
        case _:
            raise ValueError(f"no value: {json.dumps(value)[:80]}")


def pack_outcome(outcome: Outcome) -> list[Any]:
    """Return an outcome as JSON: ``[value]``, or ``[code, message]``, followed by metadata and reason if it has them.

    >>> pack_outcome(Outcome(failure=Failure(404, "no such account", {"account": "7"})))
    [404, 'no such account', {'account': '7'}]
    """
    failure = outcome.failure
    if failure is not None:
        more = [dict(failure.metadata), failure.reason] if failure.reason else [dict(failure.metadata)]
        return [failure.code, failure.message, *(more if failure.reason or failure.metadata else ())]
    return [pack(outcome.value)]


def unpack_outcome(data: Sequence[Any]) -> Outcome:
    """Return the outcome that `pack_outcome` packed."""
    match data:
        case [int(code), str(message), *more] if len(more) <= 2:
            return Outcome(failure=Failure(code, message, *more))
        case [value]:
            return Outcome(unpack(value))
        case _:
            raise ValueError(f"no outcome: {json.dumps(data)[:80]}")


def _pack_entry(entry: Entry) -> list[Any]:
    match entry:
        case CommandIssued():
            packed: list[Any] = ["i", entry.n, entry.kind, entry.name]
            if entry.at is not None:
                packed.append(entry.at)
            elif entry.value is not None:
                packed.append(pack_outcome(entry.value))
            return packed
        case ResultDelivered(n, outcome):
            return ["d", n, *pack_outcome(outcome)]
        case NotificationDelivered(n, id):
            return ["n", n, id]
        case AttemptStarted(epoch, lost, failed, error, stops):
            if failed is not None:
                return ["b", epoch, lost + 2 * stops, failed, error]
            return ["b", epoch, 1] if lost else ["b", epoch]
        case StepRetried(n, tries, began):
            return ["t", n, tries, began]
        case StateRead(n, outcome):
            return ["r", n, *pack_outcome(outcome)]


def _unpack_entry(data: list[Any]) -> Entry:
    match data:
        case ["i", int(n), "sleep" | "call" | "send" as kind, str(name), int(at)]:
            return CommandIssued(n, kind, name, at=at)
        case ["i", int(n), str(kind), str(name)] if kind != "sleep":
            return CommandIssued(n, kind, name)
        case ["i", int(n), str(kind), str(name), [*value]]:
            return CommandIssued(n, kind, name, value=unpack_outcome(value))
        case ["d", int(n), *outcome]:
            return ResultDelivered(n, unpack_outcome(outcome))
        case ["n", int(n), str(id)]:
            return NotificationDelivered(n, id)
        case ["b", int(epoch)]:
            return AttemptStarted(epoch)
        case ["b", int(epoch), 1]:
            return AttemptStarted(epoch, lost=True)
        case ["b", int(epoch), int(marks), int(failed), str(error)]:
            return AttemptStarted(epoch, bool(marks & 1), failed, error, bool(marks & 2))
        case ["t", int(n), int(tries), int(began)]:
            return StepRetried(n, tries, began)
        case ["r", int(n), *outcome]:
            return StateRead(n, unpack_outcome(outcome))
        case _:
            raise ValueError(f"unknown entry {json.dumps(data)[:80]}")


_COMPACT = json.JSONEncoder(separators=(",", ":"))


def encode(entries: Iterable[Entry], times: Iterable[int | None] = (), *, after: str | None = None) -> list[str]:
    """Return the entries as segments, in order. There is more than one only if the text exceeds the size of an item.

    Args:
        entries: The entries.
        times: When they were recorded. An entry without a time has that of the one before.
        after: A whole segment that the first one is to repeat before these entries.

    >>> encode([CommandIssued(0, "run", "charge"), ResultDelivered(0, Outcome(b"1"))], [5000, 5012])
    ['2.[5000,["i",0,"run","charge"],12,["d",0,"1"]]']
    """
    packed: list[Any] = []
    latest = 0
    if after is not None:
        packed = json.loads(after[2:])
        latest = sum(each for each in packed if type(each) is int)
    for entry, at in zip_longest(entries, times):
        if at is not None and at != latest:
            packed.append(at - latest)
            latest = at
        packed.append(_pack_entry(entry))
    text = _COMPACT.encode(packed)
    if len(text) <= PART:
        return [WHOLE + text]
    cuts = [text[i : i + PART] for i in range(0, len(text), PART)]
    return [FIRST + cuts[0], *(MIDDLE + cut for cut in cuts[1:-1]), LAST + cuts[-1]]


def decode(segments: Iterable[str]) -> list[Timed]:
    """Return the entries of segments that are given in order, with their times.

    Raises:
        JournalFormatError: If a segment is damaged, or of another format version.
    """
    entries: list[Timed] = []
    cut: list[str] | None = None
    for place, segment in enumerate(segments):
        mark, text = segment[:2], segment[2:]
        if mark[:1] in READ:
            mark = f"{FORMAT}{mark[1:]}"
        if mark == FIRST:
            cut = [text]
        elif mark == WHOLE:
            cut = None
            entries += _read(text, place)
        elif mark in (MIDDLE, LAST) and cut is not None:
            cut.append(text)
            if mark == LAST:
                entries += _read("".join(cut), place)
                cut = None
        else:
            raise JournalFormatError(
                f"segment {place} of the journal begins with {mark!r}: it is damaged, or of a newer format than "
                f"version {FORMAT}, which this code reads"
            )
    issued = [entry.n for entry, _ in entries if isinstance(entry, CommandIssued)]
    if issued != list(range(len(issued))):
        raise JournalFormatError("the journal is damaged: its commands are not numbered in order")
    return entries


def _read(text: str, place: int) -> list[Timed]:
    try:
        data = json.loads(text)
        if not isinstance(data, list):
            raise ValueError(f"no list of entries, but {text[:80]}")
        entries: list[Timed] = []
        at: int | None = None
        for each in cast("list[list[Any] | int]", data):
            if type(each) is int:
                at = (at or 0) + each
            else:
                entries.append((_unpack_entry(cast("list[Any]", each)), at))
        return entries
    except (ValueError, TypeError, IndexError, RecursionError) as error:
        raise JournalFormatError(f"segment {place} of the journal is damaged: {error}") from error


def inline(segments: Sequence[JournalSegment], text: str | None) -> str | None:
    """Return the segment that a record holds; ``None`` if it holds none, or a stored segment repeats it.

    The next segment of a running attempt begins with the entries of the one in the record, so that the commit need not
    write the record. Earlier code put an operator's marker without them: then the segment in the record counts as the
    last one.

    >>> text = encode([CommandIssued(0, "run", "pay")], [5])[0]
    >>> next = encode([CommandIssued(0, "run", "pay"), ResultDelivered(0, Outcome(b"1"))], [5, 7])[0]
    >>> inline([], text) == text, inline([JournalSegment("inv", "g", 0, next)], text)
    (True, None)
    """
    if text is None or any(segment.data[2:].startswith(text[2:-1]) for segment in segments):
        return None
    return text


def read(
    id: str, segments: Sequence[JournalSegment], inline_journal: str | None = None, *, count: int = 0
) -> list[Entry]:
    """Return the journal of an invocation. See `read_timed`."""
    return [entry for entry, _ in read_timed(id, segments, inline_journal, count=count)]


def read_timed(
    id: str, segments: Sequence[JournalSegment], inline_journal: str | None = None, *, count: int = 0
) -> list[Timed]:
    """Return the journal of an invocation, with the times of its entries.

    Args:
        id: The invocation's id, for error messages.
        segments: All stored segments, in order.
        inline_journal: The segment that the record itself holds.
        count: The number of stored segments that the record knows of. There may be more.

    Raises:
        JournalFormatError: If the journal cannot be read, or a segment is missing.
    """
    missing = next((place for place, segment in enumerate(segments) if segment.index != place), None)
    if missing is not None:
        raise JournalFormatError(f"{id}: segment {missing} of the journal is missing, and later ones are there")
    if len(segments) < count:
        raise JournalFormatError(f"{id}: the journal has {count} segments by its record, and {len(segments)} are there")
    try:
        last = inline(segments, inline_journal)
        return decode([*(segment.data for segment in segments), *([last] if last else [])])
    except JournalFormatError as error:
        raise JournalFormatError(f"{id}: {error}") from error
