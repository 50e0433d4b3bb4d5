"""Operations of the admin: what a request may be, which function answers it, and errors as problem details."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from starlette.requests import Request
from starlette.responses import Response

from adapter.engine.ids import INVOCATION_ID
from adapter.engine.records import Meta
from adapter.errors import TerminalError
from adapter.http.messages import ID, SOURCE, HTTPError, answer, queried, require

if TYPE_CHECKING:
    from adapter.http.admin.context import Stack
    from adapter.http.admin.models import Action, Problem

A = TypeVar("A")
H = TypeVar("H", bound=Callable[..., Awaitable[Any]])


@dataclass(frozen=True, slots=True)
class Reply(Generic[A]):
    """An answer with a status and headers of its own."""

    content: A
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Call:
    """A request to an operation."""

    stack: Stack
    request: Request

    def query(self, name: str) -> str | None:
        """Return a parameter of the query.

        Raises:
            TerminalError: If it is given more than once.
        """
        values = self.queries(name)
        if len(values) > 1:
            raise TerminalError(f"{name} is given once, not {len(values)} times", code=400)
        return values[0] if values else None

    def queries(self, name: str) -> list[str]:
        """Return all values of a parameter of the query."""
        return queried(self.request, name)

    async def find(self, id: str) -> Meta:
        """Return an invocation's record.

        Raises:
            TerminalError: If the id is none, or there is no such invocation.
        """
        meta = await self.stack.engine.storage.find(checked_id(id))
        if meta is None:
            raise unknown(id)
        return meta


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation: a method, a path, and the function that answers.

    Attributes:
        methods: The first is the documented one.
        path: The path below ``/admin``. ``{name}`` stands for a segment, ``{name+}`` for one or more.
        run: Gets the call, and the path's parts by their names.
        query: The names of the parameters of the query.
        body: The type of a body in JSON; ``bytes`` for any body; ``None`` for no body.
        headers: The names of the request headers that it reads.
        accepts: True if it answers with 202 what it has carried out, and with 200 what was done before.
    """

    methods: tuple[str, ...]
    path: str
    run: Callable[..., Awaitable[Any]]
    query: tuple[str, ...]
    body: Any
    headers: tuple[str, ...]
    accepts: bool
    pattern: re.Pattern[str]


OPERATIONS: Final[list[Operation]] = []
"""All operations, in the order in which their paths are tried."""


def operation(
    methods: str,
    path: str,
    *,
    query: Sequence[str] = (),
    body: Any = None,
    headers: Sequence[str] = (),
    accepts: bool = False,
) -> Callable[[H], H]:
    """Make a function an operation. See `Operation` for the arguments; ``methods`` are separated by spaces."""
    parts = re.sub(r"\\\{(\w+)\\\+\\\}", r"(?P<\1>.+)", re.escape(path))
    pattern = re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", parts))

    def register(run: H) -> H:
        made = Operation(tuple(methods.split()), path, run, tuple(query), body, tuple(headers), accepts, pattern)
        OPERATIONS.append(made)
        return run

    return register


async def route(stack: Stack, request: Request) -> Response:
    """Answer a request by the operation that it names.

    Raises:
        TerminalError: If there is none, or the query has a parameter that it does not have.
    """
    path = "/" + request.scope["path"].strip("/").removeprefix("admin").strip("/")
    matching = [(each, match) for each in OPERATIONS if (match := each.pattern.fullmatch(path))]
    if not matching:
        raise TerminalError("no such path: GET /admin/openapi.json lists the admin's paths", code=404)
    # /invocations/bulk is no invocation: the path with the fewest parts that vary is meant.
    meant = min(matching, key=lambda each: len(each[1].groups()))[0].path
    found = [(each, match) for each, match in matching if each.path == meant]
    fitting = [(each, match) for each, match in found if request.method in each.methods]
    if not fitting:
        require(request, *dict.fromkeys(method for each, _ in found for method in each.methods))
    chosen, match = fitting[0]
    superfluous = sorted(request.query_params.keys() - set(chosen.query))
    if superfluous:
        known = f"it has {', '.join(chosen.query)}" if chosen.query else "it has none"
        raise TerminalError(f"this path has no parameter {superfluous[0]!r}; {known}", code=400)
    answered: Any = await chosen.run(Call(stack, request), **match.groupdict())
    if isinstance(answered, Response):
        return answered
    if isinstance(answered, Reply):
        reply = cast("Reply[Any]", answered)  # type: ignore[redundant-cast]
        return answer(reply.content, reply.status, reply.headers)
    return answer(answered)


# --- errors ---


class ProblemError(HTTPError):
    """An error whose answer says what to do.

    Args:
        kind: Tells this error from others with the same status.
        actions: What can be done.
    """

    def __init__(
        self, message: str, *, code: int, kind: str, id: str | None = None, actions: Sequence[Action] = ()
    ) -> None:
        super().__init__(message, code=code, headers={ID: id} if id else {})
        self.kind = kind
        self.actions = list(actions)


TYPE: Final = "urn:serverless-adapter:problem:"
"""What the types of problems begin with."""


def refuse(error: TerminalError) -> Response:
    """Return an error as problem details (RFC 9457), with the keys of the ingress's errors as well."""
    status = HTTPStatus(error.code)
    kind = error.kind if isinstance(error, ProblemError) else re.sub("[^a-z]+", "-", status.phrase.lower())
    problem: Problem = {
        "type": TYPE + kind,
        "title": status.phrase,
        "status": error.code,
        "detail": error.message,
        "code": error.code,
        "message": error.message,
        "source": "ingress",
    }
    if isinstance(error, ProblemError) and error.actions:
        problem["actions"] = error.actions
    headers = dict(error.headers) if isinstance(error, HTTPError) else dict[str, str]()
    response = answer(problem, error.code, headers | {SOURCE: "ingress"})
    response.headers["content-type"] = "application/problem+json"
    return response


def checked_id(id: str) -> str:
    """Return an invocation's id.

    Raises:
        TerminalError: If it is none.
    """
    if not INVOCATION_ID.fullmatch(id):
        raise TerminalError(f"{id[:100]!r} is not an invocation id: an id is inv_ and 32 letters and digits", code=400)
    return id


def unknown(id: str) -> ProblemError:
    """Return the error for an invocation that does not exist."""
    return ProblemError(f"there is no invocation {id}, or it has expired", code=404, kind="no-such-invocation", id=id)
