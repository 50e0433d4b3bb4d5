"""Checks of a server through its admin: what waits for an operator, and whether it is swept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from adapter.cli.api import Api, Unreachable
from adapter.cli.checks.finding import Finding, note, ok, unknown, wrong
from adapter.cli.failures import Failure
from adapter.cli.text import age, duration, plural

MOST_SHOWN: Final = 10
"""The most failing invocations that the overview has."""

OLD: Final = 300
"""Seconds after which a sweep should have run again: there is one each minute."""


def check(api: Api) -> Iterator[Finding]:
    """Yield what the admin says of the server."""
    options = api.target.options
    try:
        services = api.get("/services")["services"]
    except Unreachable as failure:
        yield wrong("server", failure.message, "start the server, or give --url or --stack")
        return
    except Failure as failure:
        yield wrong("admin", failure.message, f"see that requests reach {api.target.base}/admin, and are allowed to")
        return
    if api.target.deployed is None:
        yield ok("server", api.target.base)
    if services:
        yield ok("admin", f"{plural(len(services), 'service')} at {api.target.base}")
    else:
        yield wrong(
            "services", "no service is registered", "name the functions in the resource Custom::AdapterDeployment"
        )
    for look in (_overview, _deadlocks, _dead_letters, _deployments):
        try:
            yield from look(api, options)
        except Failure as failure:
            yield unknown(look.__name__.strip("_").replace("_", " "), failure.message, "try again")


def _overview(api: Api, options: str) -> Iterator[Finding]:
    overview = api.get("/overview")
    seconds: float | None = overview["sweeper"]["age_seconds"]
    if seconds is not None and seconds > OLD:
        yield wrong(
            "sweeper",
            f"the last sweep was {duration(seconds)} ago",
            "what crashed is not recovered: see that the sweeper's schedule is enabled, and what its function logs",
        )
    elif seconds is not None:  # else another process sweeps
        yield ok("sweeper", f"the last sweep was {duration(seconds)} ago")
    paused = overview["statuses"].get("paused", 0)
    if paused:
        oldest: dict[str, Any] | None = overview.get("oldest_paused")
        since = f", the oldest for {age(oldest['created'])}" if oldest else ""
        yield note("paused", f"{plural(paused, 'invocation')} paused{since}", f"adapter inv list -s paused{options}")
    failing = overview.get("failing", ())
    if failing:
        more = " or more" if len(failing) == MOST_SHOWN else ""
        says = f"{plural(len(failing), 'live invocation')}{more} with a failed attempt"
        yield note("failing", says, f"adapter inv list -s backing-off -s paused{options}")


def _deadlocks(api: Api, options: str) -> Iterator[Finding]:
    for each in api.get("/deadlocks")["deadlocks"]:
        yield wrong("deadlock", each["text"], f"cancel one of the cycle: adapter deadlocks{options}")


def _dead_letters(api: Api, options: str) -> Iterator[Finding]:
    count = api.get("/dead-letters")["count"]
    if count:
        yield wrong(
            "dead letters",
            f"about {plural(count, 'message')} not delivered",
            f"see why with adapter dead-letters list{options}, then adapter dead-letters purge{options}",
        )
    else:
        yield ok("dead letters", "none")


def _deployments(api: Api, options: str) -> Iterator[Finding]:
    answer = api.get("/deployments")
    idle = [each["deployment"] for each in answer["deployments"] if each["safe_to_delete"] and not each["current"]]
    if idle:
        yield note(
            "deployments",
            f"nothing runs on {', '.join(idle)}",
            f"adapter deployments remove {idle[0]}{options}" + (", and the others" if len(idle) > 1 else ""),
        )
    else:
        yield ok("deployments", f"{len(answer['deployments'])}, each of them needed")
