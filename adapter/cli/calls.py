"""``adapter call`` and ``adapter send``: requests to handlers."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli.api import Unreachable, path, refusal
from adapter.cli.failures import Exit, Failure
from adapter.cli.options import Here, remote
from adapter.cli.text import is_json, json_or_file
from adapter.leaving import LONGEST_UNTOLD, RESPOND_SUSPENDED, pause

if TYPE_CHECKING:
    import httpx

PASSING: Final = frozenset({429, 502, 503, 504})
"""Statuses of the server after which the command repeats its request for a result."""

LONGEST_OUTAGE: Final = 60.0
"""Seconds for which the command repeats a request for a result that gets no answer."""

HandlerPath = Annotated[
    str,
    typer.Argument(
        metavar="SERVICE[/KEY]/HANDLER",
        help="The handler, as in Greeter/greet or Counter/Mary/add.",
        show_default=False,
    ),
]
Input = Annotated[
    str | None,
    typer.Argument(metavar="[JSON|@FILE|-]", help="The input: JSON, a file, or standard input.", show_default=False),
]
IdempotencyKey = Annotated[
    str | None, typer.Option("--idempotency-key", help="Requests with one key are one invocation.", metavar="KEY")
]
Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header", "-H", help="A header for the handler, as name: value. Repeat it for more.", metavar="TEXT"
    ),
]


@remote
def call(
    here: Here,
    handler: HandlerPath,
    input: Input = None,
    idempotency_key: IdempotencyKey = None,
    header: Headers = None,
) -> None:
    """Call a handler, wait for its result, and print it."""
    answer = _result(here, _request(here, "call", handler, input, idempotency_key, header, {}))
    id = answer.headers.get("x-restate-id")
    if answer.status_code == 202:
        here.out.note(f"{id} continues: adapter inv show {id}{here.target.options}")
        here.out.done(str(id), answer.json())
    elif not is_json(answer.content):
        sys.stdout.buffer.write(answer.content)
        sys.stdout.flush()
    elif here.out.is_table and here.out.console.is_terminal:
        here.out.console.print_json(answer.text)
    else:
        here.out.write(answer.json())


@remote
def send(
    here: Here,
    handler: HandlerPath,
    input: Input = None,
    delay: Annotated[
        str | None, typer.Option(help="Run it later: 10s, 5m, 1h 30m, 2 days.", metavar="DURATION")
    ] = None,
    idempotency_key: IdempotencyKey = None,
    header: Headers = None,
) -> None:
    """Send a message to a handler, and print the invocation's id."""
    answer = _request(here, "send", handler, input, idempotency_key, header, {"delay": delay}).json()
    here.out.done(answer["invocationId"], answer)


def _result(here: Here, answer: httpx.Response) -> httpx.Response:
    """Ask for the result of a call again and again while its invocation is suspended. Return the last answer."""
    if not _is_left(answer):
        return answer
    id = answer.headers["x-restate-id"]
    here.out.note(
        f"{id} has no result yet, and this command waits for it. Why: adapter inv why {id}{here.target.options}"
    )
    continues = f"{id} continues: adapter inv show {id}{here.target.options}"
    try:
        asked = 0
        while _is_left(answer):
            time.sleep(pause(asked, answer.headers))
            answer = _attached(here, id)
            asked += 1
    except KeyboardInterrupt:
        here.out.note(continues)
        raise
    except Unreachable as failure:
        raise Failure(f"{failure.message}. {continues}", failure.code, id=id) from None
    return answer


def _attached(here: Here, id: str) -> httpx.Response:
    """Ask for a result. While the server does not answer, repeat the request for up to `LONGEST_OUTAGE`."""
    until = time.monotonic() + LONGEST_OUTAGE
    while True:
        is_last = time.monotonic() >= until
        try:
            url = path("restate", "invocation", id, "attach")
            answer = here.api.ask("GET", url, headers={"prefer": RESPOND_SUSPENDED}, timeout=None)
        except Unreachable:
            if is_last:
                raise
        else:
            if is_last or not _passes(answer):
                return _answered(here, answer)
        time.sleep(LONGEST_UNTOLD)


def _is_left(answer: httpx.Response) -> bool:
    """Return True if the server did not wait for a suspended invocation."""
    return answer.status_code == 202 and answer.headers.get("preference-applied") == RESPOND_SUSPENDED


def _passes(answer: httpx.Response) -> bool:
    """Return True if the same request can have another answer soon. An error of the handler is final."""
    return answer.status_code in PASSING and answer.headers.get("x-restate-error-source") != "invocation"


def _request(
    here: Here,
    verb: str,
    handler: str,
    input: str | None,
    idempotency_key: str | None,
    header: list[str] | None,
    query: dict[str, Any],
) -> Any:
    service, key, name = _parts(handler)
    body = None if input is None else json_or_file(input)
    headers = ({"prefer": RESPOND_SUSPENDED} if verb == "call" else {}) | dict(map(_header, header or ()))
    if idempotency_key is not None:
        headers["idempotency-key"] = idempotency_key
    if body is not None and "content-type" not in headers:
        headers["content-type"] = "application/json" if is_json(body) else "application/octet-stream"
    answer = here.api.ask(
        "POST",
        path("restate", verb, service, name),
        {"key": key, **query},
        content=body,
        headers=headers,
        timeout=None,  # the server says how long it waits
    )
    return _answered(here, answer)


def _answered(here: Here, answer: httpx.Response) -> httpx.Response:
    if answer.status_code == 504 and (id := answer.headers.get("x-restate-id")):
        raise Failure(f"no result yet: adapter inv show {id}{here.target.options}", Exit.FAILED, id=id, status=504)
    if not answer.is_success:
        raise refusal(answer)
    return answer


def _parts(handler: str) -> tuple[str, str | None, str]:
    """Return the service, the key if there is one, and the handler. A key may have slashes in it."""
    service, _, rest = handler.strip("/").partition("/")
    key, slash, name = rest.rpartition("/")
    if not (service and name):
        raise Failure(f"{handler!r} names no handler: write SERVICE/HANDLER or SERVICE/KEY/HANDLER", Exit.USAGE)
    return service, key if slash else None, name


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise Failure(f"{text!r} is not a header: write 'name: value'", Exit.USAGE)
    return name.strip().lower(), value.strip()


def value_body(input: str | None) -> dict[str, Any]:
    """Return the options of a request whose body is a value for an invocation: nothing, JSON, or other bytes."""
    if input is None:
        return {}
    body = json_or_file(input)
    kind = "application/json" if is_json(body) else "application/octet-stream"
    return {"content": body, "headers": {"content-type": kind}}


def text_of(value: Any) -> str:
    """Return a value as JSON, in one line."""
    return json.dumps(value, ensure_ascii=False)
