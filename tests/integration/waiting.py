"""Waiting for what happens later: with a deadline, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
import restate

T = TypeVar("T")


def until(what: str, happened: Callable[[], T], seconds: float = 150, interval: float = 0.3) -> T:
    """What ``happened`` returns first that is not false."""
    deadline = time.monotonic() + seconds
    while not (result := happened()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(interval)
    return result


def awaits_promise(shown: dict[str, Any]) -> bool:
    """Whether an invocation is suspended until a promise is resolved, and not only until a call has ended."""
    return shown["status"] == "suspended" and "promise" in [wait["kind"] for wait in shown["waits"]]


def called(http: httpx.Client, path: str, body: object = None, **headers: str) -> httpx.Response:
    """The response to a call, which is attached to if it takes longer than the gateway waits."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = http.post(path, json=body, headers=named) if body is not None else http.post(path, headers=named)
    id = response.headers.get("x-restate-id")
    return result(http, f"/restate/attach/{id}") if response.status_code == 504 and id else response


def answer(http: httpx.Client, path: str, body: object = None) -> Any:
    """The JSON that a call answers with."""
    response = called(http, path, body)
    assert response.is_success, f"{path}: {response.status_code} {response.text}"
    return response.json() if response.content else None


def accepted(http: httpx.Client, path: str, body: object = None) -> str:
    """Leave a message, again until it is accepted. Returns the invocation's id."""

    def send() -> str:
        try:
            response = http.post(path, json=body)
        except httpx.TransportError:
            return ""
        assert response.status_code < 500 or response.status_code in (500, 502, 503, 504), response.text
        return str(response.json()["invocationId"]) if response.status_code == 202 else ""

    return until(f"{path} is accepted", send)


def result(http: httpx.Client, path: str, seconds: float = 200) -> httpx.Response:
    """What attaching gives in the end: the result of the invocation, which may be an error of any status."""

    def attach() -> httpx.Response | None:
        try:
            response = http.get(path)
        except httpx.TransportError:
            return None
        pending = response.status_code in (404, 500, 502, 503, 504) and not is_of_invocation(response)
        return None if pending else response

    found = until(f"{path} has a result", attach, seconds)
    assert found is not None
    return found


def is_of_invocation(response: httpx.Response) -> bool:
    """Whether an error is what the invocation ended with, and not what the ingress or the gateway answers."""
    try:
        error = response.json()
    except ValueError:
        return False
    return isinstance(error, dict) and error.get("source") == "invocation"


@asynccontextmanager
async def restates_client(url: str) -> AsyncIterator[Any]:
    """Restate's client. By default it gives up after five seconds, and a process may have to start."""
    async with restate.create_client(url) as client:
        client.client.timeout = httpx.Timeout(60)  # type: ignore[attr-defined]
        yield client
