"""Requests to the server, and what its refusals mean for a command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from adapter.cli.failures import Exit, Failure
from adapter.cli.target import Target
from adapter.cli.text import visible

if TYPE_CHECKING:
    import httpx

TIMEOUT: Final = 60.0
"""Seconds until a request is given up, except for calls of handlers, which may wait for longer."""

PAGE: Final = 1000
"""The most items that a page has."""

CODES: Final = {
    400: Exit.USAGE,
    404: Exit.MISSING,
    405: Exit.USAGE,
    409: Exit.CONFLICT,
    412: Exit.CONFLICT,
    413: Exit.USAGE,
    415: Exit.USAGE,
    422: Exit.USAGE,
    428: Exit.USAGE,
}
"""The exit code for a refusal; for all others the command failed."""


class Unreachable(Failure):
    """The server does not answer."""


class Api:
    """A connection to a server.

    Args:
        target: The server.
        for_people: Whether the documents are shown in a terminal. Control characters in them are then escaped.
    """

    def __init__(self, target: Target, *, for_people: bool = False) -> None:
        self.target = target
        self._for_people = for_people

    @cached_property
    def _http(self) -> httpx.Client:
        import httpx

        base = self.target.base
        # Reading the certificates takes a while, and only TLS needs them.
        return httpx.Client(base_url=base, auth=self.target.auth, timeout=TIMEOUT, verify=base.startswith("https:"))

    def close(self) -> None:
        """End the connection."""
        if "_http" in self.__dict__:
            self._http.close()

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON document at a path below ``/admin``."""
        return self.document("GET", f"/admin{path}", query)

    def post(self, path: str, query: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Post to a path below ``/admin``, and return the JSON answer."""
        return self.document("POST", f"/admin{path}", query, **options)

    def document(self, method: str, path: str, query: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Send a request, and return the JSON document of the answer.

        Raises:
            Failure: If there is no answer, a refusal, or something else than JSON.
        """
        response = self.send(method, path, query, **options)
        try:
            document = response.json()
            return visible(document) if self._for_people else document
        except ValueError:
            raise Failure(f"{response.url} does not answer with JSON: check the URL") from None

    def send(self, method: str, path: str, query: Mapping[str, Any] | None = None, **options: Any) -> httpx.Response:
        """Send a request. ``None`` in the query is left out.

        Raises:
            Failure: If there is no answer, or a refusal.
        """
        response = self.ask(method, path, query, **options)
        if not response.is_success:
            raise refusal(response)
        return response

    def ask(self, method: str, path: str, query: Mapping[str, Any] | None = None, **options: Any) -> httpx.Response:
        """Send a request, and return the answer, which may be a refusal.

        Raises:
            Unreachable: If there is no answer.
            Failure: If the URL is invalid, or the request cannot be signed.
        """
        import httpx

        given = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            return self._http.request(method, path, params=given or None, **options)
        except httpx.InvalidURL as error:
            raise Failure(f"{self.target.base} is not a URL ({error})", Exit.USAGE) from None
        except httpx.TimeoutException:
            raise Unreachable(f"{self.target.base} does not answer within {TIMEOUT:.0f} s") from None
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"cannot reach {self.target.base} ({reason}): {self.target.advice}") from None
        except self._signing_errors() as error:
            raise Failure(f"cannot sign the request: {error}") from None

    def _signing_errors(self) -> tuple[type[Exception], ...]:
        if self.target.auth is None:
            return ()
        from botocore.exceptions import BotoCoreError

        return BotoCoreError, ValueError

    def pages(
        self,
        path: str,
        name: str,
        query: Mapping[str, Any],
        *,
        limit: int = 0,
        incomplete: Callable[[], None] = lambda: None,
        distinct: Sequence[str] = (),
    ) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, page by page.

        Args:
            path: Below ``/admin``.
            name: The member of the answer that holds the items.
            query: The filters.
            limit: The most items; 0 for all.
            incomplete: Called at the end if the server cannot list everything.
            distinct: Of the items that have the same in these members, only the first is yielded.
        """
        cursor: str | None = None
        seen: set[tuple[Any, ...]] = set()
        left = limit
        while True:
            size = min(left, PAGE) if limit else PAGE
            page = self.get(path, {**query, "limit": size, "cursor": cursor})
            items = [item for item in page[name] if not distinct or _is_new(item, distinct, seen)]
            if limit:
                items = items[:left]
            yield from items
            left -= len(items)
            cursor = page.get("cursor")
            if cursor is None or (limit and left <= 0):
                if not page.get("complete", True):
                    incomplete()
                return


def _is_new(item: Mapping[str, Any], members: Sequence[str], seen: set[tuple[Any, ...]]) -> bool:
    names = tuple(item[member] for member in members)
    new = names not in seen
    seen.add(names)
    return new


def refusal(response: httpx.Response) -> Failure:
    """Return what a refused request means for the command."""
    status = response.status_code
    try:
        told: Any = response.json()
    except ValueError:
        told = None
    body: dict[str, Any] = told if isinstance(told, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    message = body.get("message") or body.get("detail") or body.get("Message") or response.reason_phrase
    if body.get("source") == "invocation":
        return Failure(
            message, code=Exit.FAILED, status=status, source="invocation", id=response.headers.get("x-restate-id")
        )
    if status in (401, 403) and "source" not in body:
        message = (
            f"access is denied ({message}): the credentials need execute-api:Invoke on the API; "
            "`aws sts get-caller-identity` shows which are used"
        )
    elif status == 404 and "source" not in body:
        message = f"{response.request.url} is not served ({message}): check the URL"
    elif status >= 500 and status != 501:
        message = f"{message} ({status}): try again"
    return Failure(message, CODES.get(status, Exit.FAILED), status=status, source=body.get("source"))


def path(*segments: str) -> str:
    """Return a path of these segments, each quoted."""
    return "".join(f"/{quote(segment, safe='~')}" for segment in segments)
