"""Which invocations a list, a count or a bulk action means."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from adapter.engine.ports import EVERYTHING, Indexed, Wanted
from adapter.engine.records import Ended, Meta, Status
from adapter.engine.types import MAX_KEY, NAME, Target
from adapter.errors import TerminalError

if TYPE_CHECKING:
    from adapter.http.admin.routing import Call

T = TypeVar("T")

LIVE: Final = "live"
"""As a status, it stands for every status but ``completed``."""

LIVE_STATUSES: Final = frozenset(Status) - {Status.COMPLETED}

ALTERNATIVES: Final = ("status", "outcome", "service", "handler", "key", "deployment")
"""The parameters that may be repeated: one of their values has to hold."""

FILTERS: Final = (*ALTERNATIVES, "text", "since", "until")
"""The parameters that say which invocations are meant. Every ``text`` has to occur."""

MAX_DEPLOYMENT: Final = 256
"""More characters than a deployment's name ever has."""

MAX_TEXT: Final = 500
"""The most characters of a text that is looked for."""

MOST_VALUES: Final = 100
"""The most values of one parameter."""

OF_AN_ID: Final = "inv_"
"""A text that begins so is looked for at the beginning of ids only."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which invocations are meant.

    Attributes:
        services: Those of these services; empty: of all.
        handlers: They run one of these handlers; empty: any.
        keys: They have one of these keys; empty: any or none.
        deployments: They run on one of these deployments; empty: any.
        statuses: They have one of these statuses; empty: any.
        texts: Each of these occurs in what a list shows of them, in any case: id, target, status or outcome, and
            while they are live also deployment and error.
        wanted: What the index can tell.
    """

    services: frozenset[str] = frozenset()
    handlers: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    deployments: frozenset[str] = frozenset()
    statuses: frozenset[Status] = frozenset()
    texts: tuple[str, ...] = ()
    wanted: Wanted = EVERYTHING

    @property
    def leaves_out(self) -> bool:
        """True if an entry that the index gives may not be meant."""
        live = self.statuses & LIVE_STATUSES
        few = len(self.handlers) > 1 or len(self.keys) > 1
        return few or bool(self.deployments or self.texts) or (bool(live) and live != LIVE_STATUSES)

    def may_match(self, entry: Indexed) -> bool:
        """Return True if the invocation of an entry of the index may be meant. Its record tells for certain."""
        live = entry.ended is None
        return self._means(entry.target) and all(
            _occurs(text, entry.id, _told(entry.target, entry.ended)) or (live and not text.startswith(OF_AN_ID))
            for text in self.texts
        )

    def matches(self, meta: Meta) -> bool:
        """Return True if an invocation is meant."""
        wanted = self.wanted
        return (
            (not self.services or meta.target.service in self.services)
            and self._means(meta.target)
            and (wanted.since is None or meta.created >= wanted.since)
            and (wanted.until is None or meta.created < wanted.until)
            and (not wanted.ended or meta.ended in wanted.ended)
            and (not self.statuses or meta.status in self.statuses)
            and (not self.deployments or meta.deployment in self.deployments)
            and (not self.texts or self._says(meta))
        )

    def _says(self, meta: Meta) -> bool:
        told = _told(meta.target, meta.ended)
        if meta.live:
            told += f" {meta.status} {meta.deployment} {meta.error or ''}".lower()
        return all(_occurs(text, meta.id, told) for text in self.texts)

    def _means(self, target: Target) -> bool:
        return (not self.handlers or target.handler in self.handlers) and (not self.keys or target.key in self.keys)


def _told(target: Target, ended: Ended | None) -> str:
    """Return what the index tells of an invocation, in small letters."""
    return f"{target} {'' if ended is None else f'{Status.COMPLETED} {ended}'}".lower()


def _occurs(text: str, id: str, told: str) -> bool:
    return id.startswith(text) if text.startswith(OF_AN_ID) else text in told or text in id


def queried_filter(call: Call) -> Filter:
    """Return the filter that the query gives."""
    several = {name: call.queries(name) for name in (*ALTERNATIVES, "text")}
    return read_filter({**several, **{name: call.query(name) for name in FILTERS if name not in several}})


def read_filter(values: Mapping[str, Any]) -> Filter:
    """Return the filter that values by the names of `FILTERS` give.

    Raises:
        TerminalError: If one of them is none.
    """
    outcomes = {_one(Ended, text, "outcome") for text in _several(values, "outcome")}
    texts = _several(values, "status")
    statuses = {_one(Status, text, "status", LIVE) for text in texts if text != LIVE}
    if LIVE in texts:
        statuses |= LIVE_STATUSES
    live = statuses - {Status.COMPLETED}
    ended: set[Ended | None] = set(outcomes)
    if outcomes and statuses and Status.COMPLETED not in statuses:
        raise TerminalError(
            "only completed invocations have an outcome: leave out status, or add status=completed", code=400
        )
    if statuses and not outcomes:
        ended |= set(Ended) if Status.COMPLETED in statuses else set()
        ended |= {None} if live else set()
    handlers = frozenset(_checked(each, "handler") for each in _several(values, "handler"))
    keys = frozenset(map(_checked_key, _several(values, "key")))
    return Filter(
        services=frozenset(_checked(each, "service") for each in _several(values, "service")),
        handlers=handlers,
        keys=keys,
        deployments=frozenset(map(_checked_deployment, _several(values, "deployment"))),
        statuses=frozenset(statuses),
        texts=tuple(_checked_text(each) for each in _several(values, "text") if each),
        wanted=Wanted(
            since=_time(values.get("since"), "since"),
            until=_time(values.get("until"), "until"),
            handler=_only(handlers),
            key=_only(keys),
            ended=frozenset(ended),
        ),
    )


def _several(values: Mapping[str, Any], name: str) -> Sequence[str]:
    found = values.get(name) or ()
    several = cast("Sequence[str]", (found,) if isinstance(found, str) else found)
    if len(several) > MOST_VALUES:
        raise TerminalError(f"{name} can be given {MOST_VALUES} times at most", code=400)
    return several


def _only(values: Collection[str]) -> str | None:
    """Return the value, if there is just one: the index then leaves out the others."""
    return next(iter(values)) if len(values) == 1 else None


def _one(type: Callable[[str], T], text: str, name: str, *more: str) -> T:
    try:
        return type(text)
    except ValueError:
        known = ", ".join([*cast("Sequence[str]", list(cast("Any", type))), *more])
        raise TerminalError(f"{name} must be one of {known}, not {text[:100]!r}", code=400) from None


def _checked(value: str, name: str) -> str:
    if not NAME.fullmatch(value):
        raise TerminalError(
            f"{value[:100]!r} cannot be the name of a {name}: `adapter services list` lists them", code=400
        )
    return value


def _checked_key(value: str) -> str:
    if not 0 < len(value.encode()) <= MAX_KEY:
        raise TerminalError(f"key must have 1 to {MAX_KEY} bytes in UTF-8", code=400)
    return value


def _checked_deployment(value: str) -> str:
    if len(value) > MAX_DEPLOYMENT:
        raise TerminalError(f"deployment can have {MAX_DEPLOYMENT} characters at most", code=400)
    return value


def _checked_text(value: str) -> str:
    if len(value) > MAX_TEXT:
        raise TerminalError(f"text can have {MAX_TEXT} characters at most", code=400)
    return value.lower()


def _time(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    try:
        # A plus in a query arrives as a space, if it was not encoded.
        time = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise TerminalError(f"{name} must be a time in ISO 8601, such as 2026-01-31T12:00:00Z", code=400) from None
