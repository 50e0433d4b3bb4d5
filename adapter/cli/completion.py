"""What the shell offers: names and ids that the server knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import typer

from adapter.cli.api import Api
from adapter.cli.target import Target


def complete_service(context: typer.Context) -> list[str]:
    """Return the names of the services."""
    return _ask(context, lambda api: (each["name"] for each in api.get("/services")["services"]))


def complete_invocation(context: typer.Context) -> list[tuple[str, str]]:
    """Return the ids of the latest live invocations, with their targets."""
    return _ask(
        context,
        lambda api: (
            (each["id"], f"{each['target']} {each['status']}")
            for each in api.get("/invocations", {"status": "live", "limit": 50})["invocations"]
        ),
    )


def complete_deployment(context: typer.Context) -> list[str]:
    """Return the names of the deployments."""
    return _ask(context, lambda api: (each["deployment"] for each in api.get("/deployments")["deployments"]))


def _ask(context: typer.Context, look: Callable[[Api], Iterator[Any]]) -> list[Any]:
    """Ask the server that the command line names so far. Where it does not answer, nothing is offered."""
    names = ("url", "stack", "profile", "region")
    with suppress(Exception):
        api = Api(Target(**{name: context.params.get(name) for name in names}))
        return list(look(api))
    return []
