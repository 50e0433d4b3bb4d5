"""What a stack has: its services, its deployments, its deadlocks, its dead letters, its console."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapter.cli.api import path
from adapter.cli.asking import confirm
from adapter.cli.completion import complete_deployment, complete_service
from adapter.cli.failures import Exit, Failure
from adapter.cli.options import DryRun, Here, Watch, Yes, remote
from adapter.cli.output import Item, table
from adapter.cli.target import Target
from adapter.cli.text import age, one_line, plural, value
from adapter.cli.watching import watching

if TYPE_CHECKING:
    from rich.console import RenderableType

services = typer.Typer(no_args_is_help=True, help="See the services and their handlers.")
deployments = typer.Typer(no_args_is_help=True, help="See what runs on each deployment, and remove old ones.")
dead_letters = typer.Typer(no_args_is_help=True, help="List and purge messages that could not be delivered.")

DeploymentName = Annotated[
    str, typer.Argument(metavar="FUNCTION:VERSION", help="The deployment.", autocompletion=complete_deployment)
]


# --- services --------------------------------------------------------------------------------------------------------


@services.command("list")
@remote
def list_services(here: Here) -> None:
    """List the services."""
    here.out.items(here.api.get("/services")["services"], _services, "there are no services")


def _services(items: Sequence[Item]) -> RenderableType:
    return table(
        "service",
        "kind",
        "deployment",
        "handlers",
        rows=(
            (each["name"], each.get("kind"), each["deployment"], ", ".join(sorted(each["handlers"]))) for each in items
        ),
    )


@services.command("show")
@remote
def show_service(
    here: Here,
    name: Annotated[str, typer.Argument(metavar="SERVICE", help="The service.", autocompletion=complete_service)],
) -> None:
    """Show a service: its handlers, what they take and give, and its metadata."""
    shown = here.api.get(path("services", name))
    here.out.item(shown, lambda: _service(shown))


def _service(shown: Item) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    head = f"   {shown.get('kind', '')}   {shown['deployment']}"
    rows = (
        (
            name,
            each["kind"],
            "private" if each["private"] else "",
            Text(_schema(each, "takes", "input")),
            Text(_schema(each, "gives", "output")),
        )
        for name, each in sorted(shown["handlers"].items())
    )
    more = [(f"{name}: ", each["metadata"]) for name, each in sorted(shown["handlers"].items()) if each.get("metadata")]
    if shown.get("metadata"):
        more.insert(0, ("", shown["metadata"]))
    return Group(
        Text.assemble((shown["name"], "bold"), head),
        table("handler", "kind", "", "takes", "gives", rows=rows),
        *(Text(place + ", ".join(f"{name}={value}" for name, value in given.items())) for place, given in more),
    )


def _schema(handler: Item, media: str, schema: str) -> str:
    """Return what a handler takes or gives, in a few words."""
    described: Any = handler.get(schema)
    if described is None:
        return handler.get(media) or "nothing"
    if not isinstance(described, Mapping):
        return "anything"
    name: Any = described.get("title") or described.get("type")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return str(name) if name else json.dumps(described)  # pyright: ignore[reportUnknownArgumentType]


# --- deployments -----------------------------------------------------------------------------------------------------


@deployments.command("list")
@remote
def list_deployments(here: Here, watch: Watch = False) -> None:
    """List the deployments. For each, show how many invocations are live on it, and whether it is safe to remove."""

    def show() -> None:
        answer = here.api.get("/deployments")
        here.out.items(answer["deployments"], _deployments, "there are no deployments")
        if not answer.get("complete", True):
            here.out.note(
                "not all live invocations were counted: there are too many, or the stack keeps no history "
                "(History=false). Whether a deployment can be removed is looked up when you remove it"
            )

    watching(here, show, watch)


def _deployments(items: Sequence[Item]) -> RenderableType:
    return table(
        "deployment",
        ("live", {"justify": "right"}),
        "statuses",
        "services",
        "age",
        "",
        rows=(
            (
                each["deployment"] or "(this process)",
                str(each["live"]),
                ", ".join(f"{count} {status}" for status, count in each["statuses"].items()),
                ", ".join(each["services"]),
                age(each.get("created")),
                "current" if each["current"] else "[green]safe to remove[/]" if each["safe_to_delete"] else "",
            )
            for each in items
        ),
    )


@deployments.command("show")
@remote
def show_deployment(here: Here, name: DeploymentName) -> None:
    """Show a deployment, and what is live on it."""
    shown = here.api.get(path("deployments", name))
    here.out.item(shown, lambda: _deployments([shown]))


@deployments.command("remove")
@remote
def remove_deployment(here: Here, name: DeploymentName, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Remove a deployment that nothing runs on: on AWS, the version of the Lambda function."""
    shown = here.api.get(path("deployments", name))
    if shown["current"] or shown["live"]:
        verb = "is" if shown["live"] == 1 else "are"
        live = f"{plural(shown['live'], 'invocation')} {verb} live on it: adapter inv list --on {name} lists them"
        why = "it is the current one" if shown["current"] else live
        raise Failure(f"{name} cannot be removed: {why}", Exit.CONFLICT, live=shown["live"], statuses=shown["statuses"])
    place = f"/admin{path('deployments', name)}"
    here.api.document("DELETE", place, {"dry_run": "true"})  # refused if something needs it, or if that is not known
    if dry_run:
        here.out.done(f"{name} would be removed", {"deployment": name, "dry_run": True})
        return
    confirm(here, f"{name} is removed for good", yes=yes)
    here.out.done(f"removed {name}", here.api.document("DELETE", place))


# --- what is wrong ---------------------------------------------------------------------------------------------------


@remote
def deadlocks(here: Here, watch: Watch = False) -> None:
    """Find invocations that wait for each other in a cycle."""

    def show() -> None:
        answer = here.api.get("/deadlocks")
        here.out.items(answer["deadlocks"], lambda items: _deadlocks(items, here.target.options), "no deadlock")
        if not answer.get("complete", True):
            here.out.note("not all live invocations were looked at")

    watching(here, show, watch)


def _deadlocks(items: Sequence[Item], options: str) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for each in items:
        parts.append(Text(one_line(each["text"]), style="bold"))
        parts += [
            Text(f"  adapter inv cancel {link['id']}{options}   # {one_line(link['target'])}, {link['status']}")
            for link in each["cycle"]
        ]
    parts.append(Text("Cancel one of each cycle; the others continue.", style="dim"))
    return Group(*parts)


@dead_letters.command("list")
@remote
def list_dead_letters(here: Here, watch: Watch = False) -> None:
    """List messages that could not be delivered. A queue shows a sample of them."""

    def show() -> None:
        answer = here.api.get("/dead-letters")
        here.out.items(answer["messages"], _dead_letters, "there are no dead letters")
        if answer["count"] > len(answer["messages"]):
            here.out.note(f"about {answer['count']} in all")

    watching(here, show, watch)


def _dead_letters(items: Sequence[Item]) -> RenderableType:
    from rich.text import Text

    return table(
        "message",
        "age",
        "function",
        "invocation",
        "reason",
        "body",
        rows=(
            (
                each["id"],
                age(each.get("sent")),
                each.get("function"),
                each.get("invocation_id"),
                Text(each.get("reason", "")),
                Text(value(each["body"])),
            )
            for each in items
        ),
    )


@dead_letters.command("purge")
@remote
def purge_dead_letters(here: Here, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Delete all dead letters. Their invocations are still due, so nothing is lost."""
    count = here.api.get("/dead-letters")["count"]
    here.out.note(f"about {count} dead letters")
    if dry_run:
        if not here.out.is_table:
            here.out.write({"count": count, "dry_run": True})
        return
    if count:
        confirm(here, f"about {count} dead letters are deleted for good", yes=yes)
    here.out.done(f"deleted about {count} dead letters", {"count": count, **here.api.post("/dead-letters/purge")})


# --- the console -----------------------------------------------------------------------------------------------------


@remote
def console(
    target: Target,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 for a free one.")] = 8090,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in the browser.")] = True,
) -> None:
    """Serve the web console on this machine. Requests to a deployed stack are signed."""
    from adapter.console.serve import serve

    stack = target.deployed.name if target.deployed else None
    try:
        code = serve(target.base, target.auth, options=target.options.strip(), stack=stack, port=port, browser=browser)
    except OSError as error:
        raise Failure(f"cannot listen on port {port}: {error.strerror}. Try --port 0") from None
    raise typer.Exit(code)
