"""``adapter invocations list``, ``show`` and ``why``: to find invocations, and what is the matter with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli.api import path
from adapter.cli.filters import Deployment, Filter, Id, whole_id
from adapter.cli.options import Here, Limit, Watch, remote
from adapter.cli.output import Item, table
from adapter.cli.text import age, one_line, status, until
from adapter.cli.watching import watching

if TYPE_CHECKING:
    from rich.console import RenderableType

TABLE_WIDTH: Final = 130
"""The least width of a terminal in which a table of invocations fits."""

STATUS_WIDTH: Final = 11
"""The length of the longest status."""

app = typer.Typer(no_args_is_help=True, help="Find invocations, and act on them. Short: adapter inv.")


@app.command("list")
@remote
def list_(
    here: Here,
    filter: Filter,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help="What to look for; the same as --text.", show_default=False),
    ] = None,
    deployment: Deployment = None,
    all: Annotated[bool, typer.Option("--all", "-a", help="Also list completed ones.")] = False,
    limit: Limit = 50,
    watch: Watch = False,
) -> None:
    """List invocations, latest first: those that are live, unless a status or an outcome is given."""
    query = dict(filter.on(deployment).about(words))
    if not (all or filter.names_status):
        query["status"] = ["live"]

    def incomplete() -> None:
        here.out.note("the stack keeps no history: only invocations with a due time are listed")

    def show() -> None:
        here.out.items(
            here.api.pages("/invocations", "invocations", query, limit=limit, incomplete=incomplete),
            lambda items: summaries(items, here.out.console.width),
            "no invocation matches" + ("" if all or filter.names_status else "; --all lists completed ones as well"),
        )

    watching(here, show, watch)


@app.command()
@remote
def show(
    here: Here,
    id: Id,
    tree: Annotated[bool, typer.Option("--tree", help="Also show its callers, and what it called and sent.")] = False,
    payloads: Annotated[
        bool, typer.Option("--payloads", help="Also show input and output, and do not cut values.")
    ] = False,
    watch: Watch = False,
) -> None:
    """Show an invocation: its status, what it waits for, its errors, its journal."""
    from adapter.cli import showing

    id = whole_id(here, id)

    def look() -> bool:
        shown = here.api.get(path("invocations", id))
        shown["journal"] = list(here.api.pages(f"{path('invocations', id)}/journal", "entries", {}))
        if payloads:
            showing.fetch(here.api, shown)
        if tree:
            shown["tree"] = here.api.get(f"{path('invocations', id)}/tree")
        here.out.item(shown, lambda: showing.invocation(shown, here.target.options, whole=payloads))
        return bool(shown["status"] == "completed")

    watching(here, look, watch)


@app.command()
@remote
def why(here: Here, id: Id, watch: Watch = False) -> None:
    """Explain why an invocation does not continue: what it waits for, who owns the key, and so on to the cause."""
    from adapter.cli import showing

    id = whole_id(here, id)

    def look() -> None:
        answer = here.api.get(f"{path('invocations', id)}/why")
        here.out.item(answer, lambda: showing.why(answer, here.target.options, here.out.console.width))

    watching(here, look, watch)


def summaries(items: Sequence[Item], width: int) -> RenderableType:
    """Return a table of invocations, or two lines for each where a table would not fit."""
    from rich.console import Group
    from rich.text import Text

    if width < TABLE_WIDTH:
        return Group(*(line for each in items for line in _lines(each)))
    return table(
        ("id", {"no_wrap": True}),
        "target",
        ("status", {"no_wrap": True}),
        ("age", {"no_wrap": True, "justify": "right"}),
        ("attempts", {"justify": "right"}),
        "deployment",
        ("waits for, or error", {"ratio": 1}),
        rows=(
            (
                each["id"],
                Text(each["target"]),
                status(each),
                age(each["created"]),
                str(each["attempts"]),
                each.get("deployment", ""),
                Text(_remark(each)),
            )
            for each in items
        ),
    )


def _lines(item: Item) -> Iterator[RenderableType]:
    from rich.text import Text

    head = Text(f"{item['id']}  ")
    head.append_text(Text.from_markup(status(item)))
    head.pad_right(max(0, STATUS_WIDTH - len(item.get("outcome") or item["status"])))
    head.append(f"  {age(item['created']):>6}  {one_line(item['target'])}")
    yield head
    if remark := _remark(item):
        waits = "waits for " if remark == item.get("waits_for") else ""
        yield Text(f"    {waits}{one_line(remark)}", style="dim", overflow="ellipsis", no_wrap=True)


def _remark(item: Any) -> str:
    """Return what an invocation waits for, or its last error."""
    error = item.get("error", "")
    if item["status"] == "backing-off" and item.get("due"):
        return f"next in {until(item['due'])}: {error}"
    if error or item.get("waits_for"):
        return error or str(item["waits_for"])
    # What runs is due when its lease ends: it does not wait for that.
    return f"due in {until(item['due'])}" if item.get("due") and item["status"] not in ("ready", "running") else ""
