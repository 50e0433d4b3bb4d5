"""What requests to the admin ask for: parameters of the query, filters, bodies in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from adapter.engine.ports import EVERYTHING, Wanted
from adapter.engine.records import Ended, Meta, Status
from adapter.engine.types import MAX_KEY, NAME, ObjectKey
from adapter.errors import TerminalError
from adapter.http.messages import number, read_body

if TYPE_CHECKING:
    from adapter.http.admin.routing import Call

T = TypeVar("T")

LIVE_STATUSES: Final = frozenset(Status) - {Status.COMPLETED}

LIMIT: Final = 50
MAX_LIMIT: Final = 1000
"""How many entries a page has, if nothing is said, and at most."""

MAX_VERSION: Final = 10**18
"""More than a key's version ever is."""

MAX_DEPLOYMENT: Final = 256
"""More characters than a deployment's name ever has."""

FILTERS: Final = ("status", "outcome", "service", "handler", "key", "deployment", "since", "until")
"""The parameters that say which invocations are meant."""

LIVE: Final = "live"
"""As a status, it stands for every status but ``completed``."""


def limit(call: Call, default: int = LIMIT, most: int = MAX_LIMIT) -> int:
    """Return how many entries the page is to have."""
    text = call.query("limit")
    return default if text is None else checked_limit(number(text, most), most)


def checked_limit(value: int | None, most: int) -> int:
    """Return a limit, if it is from 1 to ``most``."""
    if value is None or not 1 <= value <= most:
        raise TerminalError(f"limit is a number from 1 to {most}", code=400)
    return value


def key(call: Call, service: str) -> ObjectKey:
    """Return the key that the query gives."""
    return ObjectKey(service, given(call, "key"))


def given(call: Call, name: str) -> str:
    """Return a parameter that has to be given, and is a key or the name of an entry."""
    value = call.query(name) or ""
    if not 0 < len(value.encode()) <= MAX_KEY:
        raise TerminalError(f"{name} has 1 to {MAX_KEY} bytes in UTF-8", code=400)
    return value


def flag(call: Call, name: str) -> bool:
    """Return True if the query says ``true``."""
    text = call.query(name)
    if text not in (None, "true", "false"):
        raise TerminalError(f"{name} is true or false", code=400)
    return text == "true"


def if_match(call: Call) -> int:
    """Return the key's version that the request requires."""
    text = call.request.headers.get("if-match", "").strip().strip('"')
    version = number(text, MAX_VERSION)
    if version is None:
        raise TerminalError("If-Match gives the key's version, as GET tells it", code=428)
    return version


async def json_body(call: Call, type: type[T]) -> T:
    """Return the body of a request, read as a type.

    Raises:
        TerminalError: If it does not fit.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        # `strict` would refuse nothing more: JSON has the types that the bodies have.
        return TypeAdapter(type).validate_json(await read_body(call.request), extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise TerminalError(f"invalid body: {place}: {first['msg']}", code=400) from None


# --- filters ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filter:
    """Which invocations are meant.

    Attributes:
        service: Those of this service; ``None``: of all.
        wanted: What the index can tell.
        statuses: They have one of these statuses; empty: any.
        deployment: They run on this deployment.
    """

    service: str | None = None
    wanted: Wanted = EVERYTHING
    statuses: frozenset[Status] = frozenset()
    deployment: str | None = None

    @property
    def needs_records(self) -> bool:
        """True if the index cannot tell all that the filter asks for."""
        live = self.statuses & LIVE_STATUSES
        return self.deployment is not None or (bool(live) and live != LIVE_STATUSES)

    def matches(self, meta: Meta) -> bool:
        """Return True if an invocation is meant."""
        wanted, target = self.wanted, meta.target
        return (
            (self.service is None or self.service == target.service)
            and (wanted.handler is None or wanted.handler == target.handler)
            and (wanted.key is None or wanted.key == target.key)
            and (wanted.since is None or meta.created >= wanted.since)
            and (wanted.until is None or meta.created < wanted.until)
            and (not wanted.ended or meta.ended in wanted.ended)
            and (not self.statuses or meta.status in self.statuses)
            and (self.deployment is None or self.deployment == meta.deployment)
        )


def queried_filter(call: Call) -> Filter:
    """Return the filter that the query gives."""
    lists = {name: call.queries(name) for name in ("status", "outcome")}
    return read_filter({**lists, **{name: call.query(name) for name in FILTERS if name not in lists}})


def read_filter(values: Mapping[str, Any]) -> Filter:
    """Return the filter that values by the names of `FILTERS` give.

    Raises:
        TerminalError: If one of them is none.
    """
    outcomes = {_one(Ended, text, "outcome") for text in cast("Sequence[str]", values.get("outcome") or ())}
    texts = cast("Sequence[str]", values.get("status") or ())
    statuses = {_one(Status, text, "status", LIVE) for text in texts if text != LIVE}
    if LIVE in texts:
        statuses |= LIVE_STATUSES
    live = statuses - {Status.COMPLETED}
    ended: set[Ended | None] = set(outcomes)
    if outcomes and statuses and Status.COMPLETED not in statuses:
        raise TerminalError("only completed invocations have an outcome: leave out status", code=400)
    if statuses and not outcomes:
        ended |= set(Ended) if Status.COMPLETED in statuses else set()
        ended |= {None} if live else set()
    return Filter(
        service=_checked(values.get("service"), "service"),
        wanted=Wanted(
            since=_time(values.get("since"), "since"),
            until=_time(values.get("until"), "until"),
            handler=_checked(values.get("handler"), "handler"),
            key=_checked_key(values.get("key")),
            ended=frozenset(ended),
        ),
        statuses=frozenset(statuses),
        deployment=_checked_deployment(values.get("deployment")),
    )


def _one(type: type[T], text: str, name: str, *more: str) -> T:
    try:
        return type(text)  # type: ignore[call-arg]
    except ValueError:
        known = ", ".join([*cast("Sequence[str]", list(type)), *more])  # type: ignore[call-overload]
        raise TerminalError(f"{name} is one of {known}, not {text[:100]!r}", code=400) from None


def _checked(value: str | None, name: str) -> str | None:
    if value is not None and not NAME.fullmatch(value):
        raise TerminalError(f"{value[:100]!r} is no {name}'s name", code=400)
    return value


def _checked_key(value: str | None) -> str | None:
    if value is not None and not 0 < len(value.encode()) <= MAX_KEY:
        raise TerminalError(f"key has 1 to {MAX_KEY} bytes in UTF-8", code=400)
    return value


def _checked_deployment(value: str | None) -> str | None:
    if value is not None and len(value) > MAX_DEPLOYMENT:
        raise TerminalError(f"a deployment's name has up to {MAX_DEPLOYMENT} characters", code=400)
    return value


def _time(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    try:
        # A plus in a query arrives as a space, if it was not encoded.
        time = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise TerminalError(f"{name} is a time in ISO 8601, such as 2026-01-31T12:00:00Z", code=400) from None
