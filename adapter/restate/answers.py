"""An endpoint's answer to an exchange: read, checked, and stored with the time at which it came."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from adapter.errors import MAX_RETRY_AFTER, RetryableError
from adapter.restate import messages as m
from adapter.restate.wire import Frame, ProtocolError, read_frames

STAMP: Final = 8
"""The bytes before a stored answer: when it came, in milliseconds since the epoch."""

MAX_ANSWER: Final = 32 * 1024 * 1024
"""The largest answer that is read, in bytes."""

SAYS: Final = 300
"""Bytes that are quoted of an endpoint's error page."""


class EndpointError(RetryableError):
    """An endpoint cannot be reached, answers what the protocol does not allow, or reports an error. It is retried."""


End = m.Suspension | m.Error | m.AwaitingOn | m.ProposeRun | None


@dataclass(slots=True)
class Answer:
    """What an endpoint answered.

    Attributes:
        at: When it came, in milliseconds since the epoch.
        entries: The commands, with the frames that the journal keeps.
        runs: The results of steps, in the order in which they ended.
        end: A suspension or an error; ``None`` if the invocation has ended. On a stream also what the endpoint
            awaits, or the last of the steps' results, which it goes on with once it is stored.
    """

    at: int = 0
    entries: list[tuple[Frame, m.Command | None]] = field(default_factory=list[tuple[Frame, m.Command | None]])
    runs: list[m.ProposeRun] = field(default_factory=list[m.ProposeRun])
    end: End = None

    @property
    def whole(self) -> bool:
        """True if the endpoint has ended with it."""
        return not isinstance(self.end, m.AwaitingOn | m.ProposeRun)

    @property
    def commands(self) -> list[m.Command]:
        """The commands that are interpreted."""
        return [command for _, command in self.entries if command is not None]


def read_answer(body: bytes, *, stamped: bool = False) -> Answer:
    """Read an answer. If it is ``stamped``, it is a stored one.

    Raises:
        EndpointError: If it is not an answer of the protocol.
    """
    answer = Answer(int.from_bytes(body[:STAMP], "big")) if stamped else Answer()
    try:
        frames = read_frames(body[STAMP:] if stamped else body)
        if not frames:
            raise ProtocolError("it is empty")
        for frame in frames:
            if frame is frames[-1]:
                answer.end = _end(frame)
            if m.is_command(frame.type):
                answer.entries.append((frame, m.read_command(frame)))
            elif frame.type == m.PROPOSE_RUN:
                answer.runs.append(m.ProposeRun.decode(frame.payload))
            elif frame.type != m.AWAITING_ON and frame is not frames[-1]:
                raise ProtocolError(f"a frame of type {frame.type:#06x} is not expected")
    except ProtocolError as error:
        raise unreadable(str(error)) from None
    return answer


def _end(last: Frame) -> End:
    match last.type:
        case m.END:
            return None
        case m.SUSPENSION:
            return m.Suspension.decode(last.payload)
        case m.ERROR:
            return m.Error.decode(last.payload)
        case m.AWAITING_ON:
            return m.AwaitingOn.decode(last.payload)
        case m.PROPOSE_RUN:
            return m.ProposeRun.decode(last.payload)
        case _:
            raise ProtocolError(f"it ends with a frame of type {last.type:#06x}: the endpoint ended too soon")


def unreadable(why: str) -> EndpointError:
    """Return the exception for an answer that is not one of the protocol."""
    return EndpointError(f"the endpoint's answer cannot be read: {why}")


def refusal(place: str, status: int, page: bytes) -> EndpointError:
    """Return the exception for an answer with another status than 200."""
    return EndpointError(f"{place} answers {status} {quoted(page)}{_HINTS.get(status, '')}")


def quoted(page: bytes) -> str:
    """Return the beginning of an endpoint's error page."""
    return repr(page[:SAYS].decode(errors="replace"))


_HINTS: Final[Mapping[int, str]] = {
    401: ": it accepts requests of another identity key only",
    404: ": it has no such handler any more",
    415: ": it does not speak this version of the service protocol",
}


def recorded(answer: Answer, body: bytes) -> bytes:
    """Return what is stored of an answer.

    An error is stored after commands or results, which are progress, or if it ends the invocation. Otherwise the
    exchange has failed.

    Raises:
        EndpointError: If it has.
    """
    error = answer.end
    if isinstance(error, m.Error) and error.behavior != m.FAIL and not answer.entries and not answer.runs:
        raise failed(error)
    return now().to_bytes(STAMP, "big") + body


def now() -> int:
    """Return the time, in milliseconds since the epoch."""
    return round(time.time() * 1000)


def failed(error: m.Error) -> EndpointError:
    """Return the exception for an error that the endpoint reports. It is tried again as the error says."""
    delay = error.next_retry_delay
    longest = MAX_RETRY_AFTER // timedelta(milliseconds=1)
    return EndpointError(
        f"{error.message or 'the endpoint reports an error'} (code {error.code or 500})",
        retry_after=None if delay is None else timedelta(milliseconds=min(delay, longest)),
        pause=error.behavior == m.PAUSE,
    )
