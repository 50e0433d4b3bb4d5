"""Results in HTTP: those that a client sends, for an awakeable or a signal, and those that it gets."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, cast

from pydantic_core import from_json
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from adapter.codec import Coder
from adapter.engine.records import Meta
from adapter.engine.requests import Answer
from adapter.engine.types import Failure, Outcome
from adapter.errors import TerminalError
from adapter.http.headers import media_type
from adapter.http.messages import ID, HTTPError, answer, failed, read_body
from adapter.http.services import JSON, Endpoint, read_json

FORM: Final = "application/x-www-form-urlencoded"

REJECTED: Final = 500
"""The code of the terminal error that a rejected awakeable raises."""


async def read_value(request: HTTPRequest) -> bytes:
    """Return a body that may be of any media type.

    Raises:
        TerminalError: With code 400, if the request calls it JSON and it is not. With code 415, if the request calls it
            a form, as ``curl -d`` does by default, and it is not JSON.
    """
    body = await read_body(request)
    if body and media_type(request) == JSON:
        read_json(body)
    elif body and media_type(request) == FORM:
        try:
            read_json(body)
        except TerminalError:
            raise TerminalError(
                f"the value is sent as a form, and is not JSON: send JSON with the header content-type: {JSON}, or "
                "bytes with application/octet-stream",
                code=415,
            ) from None
    return body


async def read_failure(request: HTTPRequest) -> Failure:
    """Return the failure in a body: its message as text, or a JSON object of message, code and metadata.

    Raises:
        TerminalError: With code 400, if the object has something else.
    """
    body = await read_body(request)
    if media_type(request) == JSON:
        said: Any = None
        with suppress(ValueError):  # some clients call any text JSON
            said = from_json(body)
        match said:
            case {"message": str(message), **others}:
                try:
                    return Failure.of(TerminalError(message, **cast("dict[str, Any]", others)))
                except (TypeError, ValueError, AttributeError):
                    raise TerminalError(
                        'a failure is {"message": …, "code": from 400 to 599, "metadata": text by name}', code=400
                    ) from None
            case _:
                pass
    return Failure(REJECTED, body.decode(errors="replace") or "rejected")


def accepted(sent: Answer, due: int | None = None) -> Response:
    """Return the response to a request whose result is still to come.

    Args:
        sent: The engine's answer.
        due: When a delayed message is handled, in milliseconds since the epoch.
    """
    content = {"invocationId": sent.id, "status": "Accepted" if sent.accepted else "PreviouslyAccepted"}
    if due is not None:
        time = datetime.fromtimestamp(due / 1000, UTC).isoformat(timespec="milliseconds")
        content["executionTime"] = time.replace("+00:00", "Z")
    return answer(content, 202, {ID: sent.id})


def paused(meta: Meta) -> Failure:
    """Return the failure that tells a waiting client that an invocation is paused. The invocation itself has not
    ended."""
    after = f" after {meta.failures} failed attempts: {meta.error}" if meta.failures else ""
    return Failure(
        500,
        f"{meta.id} is paused{after}. Resume it with `adapter invocations resume {meta.id}`, then attach with "
        f"GET /restate/invocation/{meta.id}/attach",
        metadata={"status": "paused", "attempts": str(meta.failures)},
    )


def result(id: str, outcome: Outcome | None, endpoint: Endpoint, coder: Coder) -> Response:
    headers = {ID: id}
    if outcome is None:
        raise HTTPError(
            f"{id} continues, but has no result yet: attach with GET /restate/invocation/{id}/attach",
            code=504,
            headers=headers,
        )
    if outcome.failure is not None:
        return failed(outcome.failure, headers)
    value = coder.decode(outcome.value or b"")
    if not value and endpoint.gives == JSON:
        value = b"null"  # an empty body is not JSON
    content_type = endpoint.gives or (JSON if value else None)
    return Response(value, headers=headers | ({"content-type": content_type} if content_type else {}))
