"""``adapter invocations logs``: what an invocation's attempts have logged, wherever they ran."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from adapter.cli.api import path
from adapter.cli.failures import Exit, Failure
from adapter.cli.filters import Id
from adapter.cli.options import Here, remote
from adapter.cli.text import instant

INTERVAL: Final = 2.0
"""Seconds between looks."""

LATE: Final = 60_000
"""Milliseconds by which CloudWatch may deliver a line late. So far back each look begins."""


@remote
def logs(
    here: Here,
    id: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the invocation has ended.")] = False,
) -> None:
    """Print what an invocation has logged: on AWS, from CloudWatch Logs."""
    stack = here.target.deployed
    if stack is None:
        raise Failure(
            "`adapter dev` writes its log to the terminal that it runs in, with each invocation's id; `adapter inv "
            "show` has the errors of all attempts. For a deployed stack give --stack",
            Exit.USAGE,
        )
    shown = here.api.get(path("invocations", id))
    start = int(instant(shown["created"]).timestamp() * 1000)
    client, group = stack.client("logs"), stack.outputs["LogGroup"]
    seen: set[str] = set()
    printed = False
    while True:
        ended = shown["status"] == "completed"
        for event in _events(client, group, id, start):
            # An emulator gives lines no id.
            identity = event.get("eventId") or f"{event['timestamp']} {event['message']}"
            if identity not in seen:
                seen.add(identity)
                start = max(start, event["timestamp"] - LATE)
                printed = True
                _print(here, event)
        if not follow or ended:
            break
        time.sleep(INTERVAL)
        shown = here.api.get(path("invocations", id))
    if not printed:
        here.out.note(f"no line in {group} names it: CloudWatch is some seconds late, and keeps lines for a time only")


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


def _print(here: Here, event: Mapping[str, Any]) -> None:
    try:
        line: Any = json.loads(event["message"])
    except ValueError:
        line = event["message"].rstrip()
    if not here.out.is_table:
        here.out.write({"timestamp": event["timestamp"], "stream": event.get("logStreamName"), "line": line})
        return
    at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    here.out.console.print(f"{at} {_text(line)}", markup=False, highlight=False)


def _text(line: Any) -> str:
    if not isinstance(line, dict):
        return str(line)
    fields: dict[str, Any] = line  # pyright: ignore[reportUnknownVariableType]
    said = f"{fields.get('level', ''):<7} {fields.get('target', '')}: {fields.get('message', '')}"
    return "\n".join([said, *filter(None, [fields.get("exception")])])
