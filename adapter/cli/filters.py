"""Which invocations a command means: the options that lists and bulk actions share."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from adapter.cli.completion import complete_deployment, complete_invocation, complete_service
from adapter.cli.failures import Exit, Failure
from adapter.cli.text import moment

STATUSES: Final = (
    "scheduled", "queued", "ready", "running", "suspended", "backing-off", "paused", "completed", "live",
)  # fmt: skip
OUTCOMES: Final = ("completed", "failed", "cancelled", "killed")

FILTER = "Filter"

Id = Annotated[str, typer.Argument(metavar="ID", help="The invocation's id.", autocompletion=complete_invocation)]


Deployment = Annotated[
    str | None,
    typer.Option(
        "--on",
        "--deployment",
        help="The deployment that it runs on.",
        autocompletion=complete_deployment,
        metavar="FUNCTION:VERSION",
        rich_help_panel=FILTER,
    ),
]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        help="The deployment that it runs on.",
        autocompletion=complete_deployment,
        metavar="FUNCTION:VERSION",
        rich_help_panel=FILTER,
    ),
]


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
            str | None,
            typer.Option(help="The service.", autocompletion=complete_service, metavar="NAME", rich_help_panel=FILTER),
        ] = None,
        handler: Annotated[
            str | None, typer.Option(help="The handler.", metavar="NAME", rich_help_panel=FILTER)
        ] = None,
        key: Annotated[
            str | None, typer.Option("--key", help="The key.", metavar="KEY", rich_help_panel=FILTER)
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
            "service": service,
            "handler": handler,
            "key": key,
            "since": moment(since) if since else None,
            "until": moment(older_than) if older_than else None,
        }
        return cls({name: value for name, value in found.items() if value is not None})

    def on(self, deployment: str | None) -> Filter:
        """Return the filter, for one deployment if that is given."""
        return Filter(self if deployment is None else {**self, "deployment": deployment})

    @property
    def names_status(self) -> bool:
        """True if a status or an outcome is given."""
        return "status" in self or "outcome" in self
