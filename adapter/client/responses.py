"""What a response says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import httpx

from adapter.engine.types import Failure
from adapter.errors import AdapterError

PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses with which a gateway or a proxy says that it could not reach the function, or not now."""

PASSING_OF_OURS: Final = frozenset({429, 502, 503, 504})
"""Statuses with which the ingress says that the request can be repeated: it is overloaded, its store did not answer, or
the result is not ready in the time that one request may take."""

EXCERPT: Final = 200
"""How much of a foreign response a message quotes, in characters."""


class UnexpectedResponseError(AdapterError):
    """The response does not come from the adapter. The URL is wrong, or something in front refused the request.

    A gateway that wants signed or authenticated requests is the usual case of the second kind: see `SigV4`.

    Attributes:
        status: The response's HTTP status.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to a request, and whether an earlier try of it may have arrived."""

    response: httpx.Response
    repeated: bool

    def refused(self, *codes: int) -> bool:
        """Return True if the ingress refused the request with one of these codes. A handler's error is no refusal."""
        error = our_error(self.response)
        return error is not None and self.response.status_code in codes and not _of_invocation(self.response)

    @property
    def left(self) -> bool:
        """True if the invocation is suspended, and the server did not wait for its result."""
        response = self.response
        return response.status_code == 202 and "x-restate-id" in response.headers and "invocationId" in _json(response)

    def result(self) -> httpx.Response:
        """Return the response, which has a result.

        Raises:
            TerminalError: If it is an error of the adapter or of the handler.
            UnexpectedResponseError: If it is neither.
        """
        return self._expect("x-restate-id" in self.response.headers)

    def acceptance(self) -> httpx.Response:
        """Return the response, which has no result: the request was accepted.

        Raises:
            TerminalError: If it is an error of the adapter.
            UnexpectedResponseError: If it is neither.
        """
        empty = self.response.status_code == 202 and not self.response.content
        return self._expect(empty or "invocationId" in _json(self.response))

    def _expect(self, ours: bool) -> httpx.Response:
        response = self.response
        if response.is_success and ours:
            return response
        error = None if response.is_success else our_error(response)
        if error is not None:
            raise error.error()
        raise UnexpectedResponseError(_foreign(response), status=response.status_code)


def is_passing(response: httpx.Response) -> bool:
    """Return True if the same request can have another response soon.

    An error of the handler is final, whatever its code, and so is all that the adapter refuses.
    """
    if _of_invocation(response):
        return False
    if our_error(response) is None:
        return response.status_code in PASSING
    return response.status_code in PASSING_OF_OURS


def our_error(response: httpx.Response) -> Failure | None:
    """Return the failure in an error response of the adapter; ``None`` for any other response."""
    if not response.is_error:
        return None
    match _json(response):
        case {"message": str(message), "code": int(code), **others} if code == response.status_code:
            metadata, reason = others.get("metadata"), others.get("reason")
            texts = cast("dict[str, object]", metadata if isinstance(metadata, dict) else {})
            return Failure(code, message, {name: str(text) for name, text in texts.items()}, str(reason or ""))
        case _:
            return None


def _of_invocation(response: httpx.Response) -> bool:
    source: str | None = response.headers.get("x-restate-error-source")
    return source == "invocation"


def _json(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return cast("dict[str, Any]", body) if isinstance(body, dict) else {}


def _foreign(response: httpx.Response) -> str:
    request, status = response.request, response.status_code
    said = _json(response).get("message") or response.text
    what = response.headers.get("content-type", "").partition(";")[0] or "no content type"
    excerpt = " ".join(str(said).split())[:EXCERPT]
    text = f"{request.method} {request.url}: {status} {response.reason_phrase} ({what}) does not come from the adapter."
    if status in (401, 403):
        text += " Something in front of it refused the request: if it wants signed requests, give auth=SigV4()."
    elif response.is_redirect:
        text += f" It redirects to {response.headers['location']}: give the URL that the services are at."
    else:
        text += " Check the URL: services are at URL/SERVICE/HANDLER."
    return f"{text} It says: {excerpt}" if excerpt else text
