"""What requests to the admin ask for: parameters of the query, and bodies in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from adapter.engine.types import MAX_KEY, ObjectKey
from adapter.errors import TerminalError
from adapter.http.messages import number, read_body

if TYPE_CHECKING:
    from adapter.http.admin.routing import Call

T = TypeVar("T")

LIMIT: Final = 50
MAX_LIMIT: Final = 1000
"""How many entries a page has, if nothing is said, and at most."""

MAX_VERSION: Final = 10**18
"""More than a key's version ever is."""


def limit(call: Call, default: int = LIMIT, most: int = MAX_LIMIT) -> int:
    """Return how many entries the page is to have."""
    text = call.query("limit")
    return default if text is None else checked_limit(number(text, most), most)


def checked_limit(value: int | None, most: int) -> int:
    """Return a limit, if it is from 1 to ``most``."""
    if value is None or not 1 <= value <= most:
        raise TerminalError(f"limit must be a number from 1 to {most}", code=400)
    return value


def key(call: Call, service: str) -> ObjectKey:
    """Return the key that the query gives."""
    return ObjectKey(service, given(call, "key"))


def given(call: Call, name: str) -> str:
    """Return a parameter that has to be given, and is a key or the name of an entry."""
    value = call.query(name) or ""
    if not 0 < len(value.encode()) <= MAX_KEY:
        raise TerminalError(f"{name} must have 1 to {MAX_KEY} bytes in UTF-8", code=400)
    return value


def flag(call: Call, name: str) -> bool:
    """Return True if the query says ``true``."""
    text = call.query(name)
    if text not in (None, "true", "false"):
        raise TerminalError(f"{name} must be true or false", code=400)
    return text == "true"


def if_match(call: Call) -> int:
    """Return the key's version that the request requires."""
    text = call.request.headers.get("if-match", "").strip().strip('"')
    version = number(text, MAX_VERSION)
    if version is None:
        raise TerminalError(
            "the header If-Match is missing: send the key's version, which GET returns as etag", code=428
        )
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
