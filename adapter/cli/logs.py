"""``adapter invocations logs``: what an invocation's attempts have logged, wherever they ran."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from adapter.cli.api import path
from adapter.cli.failures import Failure
from adapter.cli.filters import Id, whole_id
from adapter.cli.options import Here, remote
from adapter.cli.text import instant, one_line

INTERVAL: Final = 2.0
"""Seconds between requests to CloudWatch."""

INTERVAL_DEV: Final = 0.5
"""Seconds between requests to the development server."""

LATE: Final = 60_000
"""Milliseconds by which CloudWatch may deliver a line late. So far back each look begins."""

Line = Mapping[str, Any]
"""A line: its ``timestamp`` in milliseconds, its ``stream`` if it has one, and the ``line`` itself."""


@remote
def logs(
    here: Here,
    id: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the invocation has ended.")] = False,
) -> None:
    """Print what an invocation has logged: from CloudWatch Logs, or from the memory of `adapter dev`."""
    id = whole_id(here, id)
    shown = here.api.get(path("invocations", id))
    look, interval, none = (_cloudwatch if here.target.deployed else _development)(here, shown)
    printed = False
    while True:
        for line in look():
            printed = True
            _print(here, line)
        if not follow:
            break
        time.sleep(interval)
        if shown["status"] == "completed":
            follow = False  # look once more: the last lines may be late
        else:
            shown = here.api.get(path("invocations", id))
    if not printed:
        here.out.note(none)


def _development(here: Here, shown: Any) -> tuple[Callable[[], Iterator[Line]], float, str]:
    """Return what gives the development server's new lines, how often to look, and what to say if there are none."""
    place = f"{path('invocations', shown['id'])}/logs"
    last = -1

    def look() -> Iterator[Line]:
        nonlocal last
        for line in here.api.get(place)["lines"]:
            if line["n"] > last:
                last = line["n"]
                at = instant(line["timestamp"]).timestamp()
                yield {"timestamp": round(at * 1000), "line": {**line, "invocation_id": shown["id"]}}

    none = "no line names it since `adapter dev` started: lines are kept in memory, the latest of all invocations"
    return look, INTERVAL_DEV, none


def _cloudwatch(here: Here, shown: Any) -> tuple[Callable[[], Iterator[Line]], float, str]:
    """Return what gives the stack's new lines, how often to look, and what to say if there are none."""
    stack = here.target.deployed
    assert stack is not None
    client, group = stack.client("logs"), stack.outputs["LogGroup"]
    start = int(instant(shown["created"]).timestamp() * 1000)
    seen: set[str] = set()

    def look() -> Iterator[Line]:
        nonlocal start
        for event in _events(client, group, shown["id"], start):
            # An emulator gives lines no id.
            identity = event.get("eventId") or f"{event['timestamp']} {event['message']}"
            if identity not in seen:
                seen.add(identity)
                start = max(start, event["timestamp"] - LATE)
                yield {
                    "timestamp": event["timestamp"],
                    "stream": event.get("logStreamName"),
                    "line": _parsed(event["message"]),
                }

    none = f"no line in {group} names it: CloudWatch is some seconds late, and keeps lines for a time only"
    return look, INTERVAL, none


def _events(client: Any, group: str, id: str, start: int) -> Iterator[Mapping[str, Any]]:
    from botocore.exceptions import BotoCoreError, ClientError

    pages = client.get_paginator("filter_log_events").paginate(
        logGroupName=group, filterPattern=f'"{id}"', startTime=start
    )
    try:
        for page in pages:
            yield from page["events"]
    except (BotoCoreError, ClientError) as error:
        raise Failure(f"cannot read the log group {group}: {error}. Allow logs:FilterLogEvents on it") from None


def _parsed(message: str) -> Any:
    try:
        return json.loads(message)
    except ValueError:
        return message.rstrip()


def _print(here: Here, event: Line) -> None:
    if not here.out.is_table:
        here.out.write(event)
        return
    at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    here.out.console.print(f"{at} {_text(event['line'])}", markup=False, highlight=False, soft_wrap=True)


def _text(line: Any) -> str:
    if not isinstance(line, dict):
        return str(line)
    fields: dict[str, Any] = line  # pyright: ignore[reportUnknownVariableType]
    about = f"{one_line(fields['target'])}: " if fields.get("target") else ""
    said = f"{fields.get('level', ''):<7} {about}{fields.get('message', '')}"
    return "\n".join([said, *filter(None, [fields.get("exception")])])
