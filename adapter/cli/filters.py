"""Which invocations a command means: the options that lists and bulk actions share."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import typer

from adapter.cli.completion import complete_deployment, complete_invocation, complete_service
from adapter.cli.failures import Exit, Failure
from adapter.cli.options import Here
from adapter.cli.text import moment

STATUSES: Final = (
    "scheduled", "queued", "ready", "running", "suspended", "backing-off", "paused", "completed", "live",
)  # fmt: skip
OUTCOMES: Final = ("completed", "failed", "cancelled", "killed")

FILTER = "Filter"

Id = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The invocation's id, or its first characters.", autocompletion=complete_invocation
    ),
]

ID: Final = re.compile("inv_[a-z2-7]{32}")

CUT: Final = "\N{HORIZONTAL ELLIPSIS}"
"""What a shortened id ends with where it is shown."""


def whole_id(here: Here, given: str) -> str:
    """Return the id that its first characters stand for, such as ``inv_2nno``. Other texts are left to the server.

    Raises:
        Failure: If there is no invocation whose id begins so, or more than one.
    """
    start = given.removesuffix(CUT)
    if not start.startswith("inv_") or ID.fullmatch(start):
        return given
    found = list(here.api.pages("/invocations", "invocations", {"text": start}, limit=2))
    if not found:
        raise Failure(f"no invocation's id begins with {start}: see adapter inv list --all", Exit.MISSING)
    if len(found) > 1:
        some = " and ".join(f"{each['id']} ({each['target']})" for each in found)
        raise Failure(f"several ids begin with {start}, as {some}: give more of it", Exit.USAGE)
    return str(found[0]["id"])


def _deployment(*names: str) -> Any:
    return typer.Option(
        *names,
        help="The deployment that it runs on. Repeat it for more.",
        autocompletion=complete_deployment,
        metavar="FUNCTION:VERSION",
        rich_help_panel=FILTER,
    )


Deployment = Annotated[list[str] | None, _deployment("--on", "--deployment")]
On = Annotated[list[str] | None, _deployment("--on")]


class Filter(dict[str, Any]):
    """Which invocations are meant, as the admin takes it. It is empty if no option is given."""

    @classmethod
    def from_options(
        cls,
        status: Annotated[
            list[str] | None,
            typer.Option(
                "--status",
                "-s",
                help=f"{', '.join(STATUSES)} (all but completed). Repeat it for more.",
                autocompletion=lambda: list(STATUSES),
                metavar="STATUS",
                rich_help_panel=FILTER,
            ),
        ] = None,
        outcome: Annotated[
            list[str] | None,
            typer.Option(
                "--outcome",
                help=f"How it ended: {', '.join(OUTCOMES)}. Repeat it for more.",
                autocompletion=lambda: list(OUTCOMES),
                metavar="OUTCOME",
                rich_help_panel=FILTER,
            ),
        ] = None,
        service: Annotated[
            list[str] | None,
            typer.Option(
                help="The service. Repeat it for more.",
                autocompletion=complete_service,
                metavar="NAME",
                rich_help_panel=FILTER,
            ),
        ] = None,
        handler: Annotated[
            list[str] | None,
            typer.Option(help="The handler. Repeat it for more.", metavar="NAME", rich_help_panel=FILTER),
        ] = None,
        key: Annotated[
            list[str] | None,
            typer.Option("--key", help="The key. Repeat it for more.", metavar="KEY", rich_help_panel=FILTER),
        ] = None,
        text: Annotated[
            list[str] | None,
            typer.Option(
                "--text",
                help="What its id, target, status, outcome, deployment or error has in it. Repeat it to narrow down.",
                metavar="TEXT",
                rich_help_panel=FILTER,
            ),
        ] = None,
        since: Annotated[
            str | None,
            typer.Option(
                help="Created since a time, or within the last 30m, 2h, 1d.", metavar="TIME", rich_help_panel=FILTER
            ),
        ] = None,
        older_than: Annotated[
            str | None,
            typer.Option(
                help="Created before a time, or longer ago than 30m, 2h, 1d.", metavar="TIME", rich_help_panel=FILTER
            ),
        ] = None,
    ) -> Filter:
        """Return what the options say.

        Raises:
            Failure: If an option has no such value.
        """
        for name, given, known in (("status", status, STATUSES), ("outcome", outcome, OUTCOMES)):
            for each in given or ():
                if each not in known:
                    raise Failure(f"--{name} is one of {', '.join(known)}, not {each!r}", Exit.USAGE)
        found = {
            "status": status or None,
            "outcome": outcome or None,
            "service": service or None,
            "handler": handler or None,
            "key": key or None,
            "text": text or None,
            "since": moment(since) if since else None,
            "until": moment(older_than) if older_than else None,
        }
        return cls({name: value for name, value in found.items() if value is not None})

    def on(self, deployments: list[str] | None) -> Filter:
        """Return the filter, for some deployments if they are given."""
        return Filter({**self, "deployment": deployments} if deployments else self)

    def about(self, words: list[str] | None) -> Filter:
        """Return the filter, for invocations that words stand for."""
        return Filter({**self, "text": [*self.get("text", ()), *words]} if words else self)

    @property
    def names_status(self) -> bool:
        """True if a status or an outcome is given."""
        return "status" in self or "outcome" in self
