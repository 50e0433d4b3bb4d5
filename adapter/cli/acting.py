"""``adapter invocations cancel``, ``kill``, ``pause``, ``resume``, ``restart`` and ``purge``, by ids or by a filter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast
from uuid import uuid4

import typer

from adapter.cli.api import path
from adapter.cli.asking import confirm
from adapter.cli.completion import complete_deployment, complete_invocation
from adapter.cli.failures import Exit, Failure
from adapter.cli.filters import Deployment, Filter, On, whole_id
from adapter.cli.invocations import summaries
from adapter.cli.options import DryRun, Here, Yes, remote
from adapter.cli.text import one_line, plural

PAGE: Final = 100
"""How many invocations one request changes."""

LOOK: Final = 1000
"""How many invocations one request reads, where it changes nothing."""

SHOWN: Final = 20
"""How many are printed before the question."""

WORDS: Final = {
    "cancel": "cancelled",
    "kill": "killed",
    "pause": "paused",
    "resume": "resumed",
    "restart-as-new": "restarted",
    "purge": "purged",
}

All = Annotated[bool, typer.Option("--all", "-a", help="All invocations that the action applies to.")]
Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID]...",
        help="Ids of invocations, or their first characters.",
        autocompletion=complete_invocation,
    ),
]


@dataclass(frozen=True)
class Selection:
    """The invocations that an action is for, by their ids or by a filter, and whether to ask."""

    ids: list[str]
    filter: Filter
    dry_run: bool
    yes: bool

    @classmethod
    def from_options(
        cls,
        filter: Filter,
        deployment: Deployment = None,
        ids: Ids = None,
        all: All = False,
        dry_run: DryRun = False,
        yes: Yes = False,
    ) -> Selection:
        """Return what the options say.

        Raises:
            Failure: If they say nothing, or too much.
        """
        filter = filter.on(deployment)
        if ids and (filter or all):
            raise Failure("give ids or a filter, not both", Exit.USAGE)
        if not (ids or filter or all):
            raise Failure("say which: give ids, or a filter such as --service NAME, or --all", Exit.USAGE)
        return cls(ids or [], filter, dry_run, yes)


class Moving:
    """The same for an action that has an option ``--deployment`` of its own."""

    @classmethod
    def from_options(
        cls,
        filter: Filter,
        on: On = None,
        ids: Ids = None,
        all: All = False,
        dry_run: DryRun = False,
        yes: Yes = False,
    ) -> Selection:
        """Return what the options say."""
        return Selection.from_options(filter, on, ids, all, dry_run, yes)


@remote
def cancel(here: Here, chosen: Selection) -> None:
    """Cancel: raise a terminal error where the handler waits, first in the calls that it waits for."""
    _act(here, "cancel", chosen)


@remote
def kill(here: Here, chosen: Selection) -> None:
    """Kill: end at once, together with its calls. Keys are released, and no handler cleans up."""
    _act(here, "kill", chosen)


@remote
def pause(here: Here, chosen: Selection) -> None:
    """Pause: do nothing until it is resumed. A running attempt ends at its next commit.

    An invocation that is queued waits for its key, and cannot be paused: cancel it, or pause the owner of the key.
    """
    _act(here, "pause", chosen)


@remote
def resume(
    here: Here,
    chosen: Moving,
    deployment: Annotated[
        str | None,
        typer.Option(
            "--deployment",
            help="Continue on this deployment; latest for the one that hosts the service now.",
            autocompletion=complete_deployment,
            metavar="FUNCTION:VERSION",
        ),
    ] = None,
) -> None:
    """Resume now what is paused or waits for its next attempt, on its deployment or on another."""
    _act(here, "resume", cast("Selection", chosen), {"deployment": deployment})


@remote
def restart(
    here: Here,
    chosen: Selection,
    entry: Annotated[
        int | None,
        typer.Option("--from", min=0, help="Keep the results of the entries before this one.", metavar="N"),
    ] = None,
) -> None:
    """Restart: run the request again as a new invocation, from the start or from an entry of the journal.

    The original one stays as it is. If it is live, it continues beside the new one: cancel it first.
    """
    _act(here, "restart-as-new", chosen, {"from": entry})


@remote
def purge(here: Here, chosen: Selection) -> None:
    """Purge: delete a completed invocation with its result, its journal and its idempotency key."""
    _act(here, "purge", chosen)


# --- how ---


APPLIES: Final = {
    "cancel": {"status": ["live"]},
    "kill": {"status": ["live"]},
    "pause": {"status": ["live"]},
    "resume": {"status": ["paused", "backing-off"]},
    "restart-as-new": {"status": ["completed"]},
    "purge": {"status": ["completed"]},
}
"""What an action applies to, where a filter names neither a status nor an outcome."""


def _act(here: Here, action: str, chosen: Selection, options: dict[str, Any] | None = None) -> None:
    given = {name: value for name, value in (options or {}).items() if value is not None}
    ids = [whole_id(here, id) for id in chosen.ids]
    if len(ids) == 1 and not chosen.dry_run:
        _act_on_one(here, action, ids[0], given)
        return
    filter = chosen.filter if chosen.filter.names_status else chosen.filter | APPLIES[action]
    which = {"ids": ids} if ids else {"filter": filter}
    _act_on_many(here, {"action": action, **which, **given}, dry_run=chosen.dry_run, yes=chosen.yes)


def _act_on_one(here: Here, action: str, id: str, options: dict[str, Any]) -> None:
    original = here.api.get(path("invocations", id)) if action == "restart-as-new" and here.out.is_table else None
    answer = here.api.post(path("invocations", id, action), options)
    if original is not None and original["status"] != "completed":
        here.out.note(f"{id} is {original['status']} and continues beside the new one: adapter inv cancel {id} ends it")
    if "restarted" in answer:
        text = f"restarted {id} as {answer['invocationId']}"
    elif answer["status"] == "already":
        text = f"{id} was {WORDS[action]} already"
    else:
        text = f"{WORDS[action]} {id}"
    here.out.done(text, answer)


def _act_on_many(here: Here, body: dict[str, Any], *, dry_run: bool, yes: bool) -> None:
    word = WORDS[body["action"]]
    count: int | None = None
    if dry_run or not yes:
        meant, refused = _look(here, body)
        if dry_run or here.out.is_table:
            _preview(here, meant, refused, word)
        if dry_run:
            return
        count = len(meant) + len(refused)
        if meant:
            verb = "is" if len(meant) == 1 else "are"
            confirm(here, f"{plural(len(meant), 'invocation')} {verb} {word}", yes=yes)
    done = 0
    skipped: list[dict[str, Any]] = []
    with here.out.progress(word, count) as advance:
        for page in _pages(here, body | {"dry_run": False}):
            done += page["done"]
            skipped += page["skipped"]
            advance(page["matched"])
    _report(here, word, done, skipped)


def _look(here: Here, body: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the invocations that the action would change, and those that it would skip, with the reasons."""
    found: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    with here.out.progress("looking", None) as advance:
        for page in _pages(here, body | {"dry_run": True}):
            found += page["invocations"]
            refused += page["skipped"]
            advance(page["matched"])
    unfit = {each["id"] for each in refused}
    return [each for each in found if each["id"] not in unfit], refused


def _pages(here: Here, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Request page after page. A page that is repeated does nothing more; the next command acts again."""
    headers = {"idempotency-key": uuid4().hex}
    ids: list[str] | None = body.get("ids")
    if ids is not None:
        for start in range(0, len(ids), PAGE):
            yield here.api.post("/invocations/bulk", json=body | {"ids": ids[start : start + PAGE]}, headers=headers)
        return
    cursor: str | None = None
    limit = LOOK if body["dry_run"] else PAGE
    while True:
        page = here.api.post("/invocations/bulk", json=body | {"limit": limit, "cursor": cursor}, headers=headers)
        yield page
        cursor = page["cursor"]
        if cursor is None:
            return


def _preview(here: Here, meant: list[dict[str, Any]], refused: list[dict[str, Any]], word: str) -> None:
    if not here.out.is_table:
        here.out.write({"matched": len(meant), "invocations": meant, "skipped": refused, "dry_run": True})
        return
    if meant:
        here.out.console.print(summaries(meant[:SHOWN], here.out.console.width))
    more = f" ({len(meant) - SHOWN} more than are shown)" if len(meant) > SHOWN else ""
    here.out.note(f"{len(meant)} to be {word}{more}")
    for each in refused[:SHOWN]:
        here.out.note(f"not {each['id']}: {one_line(each['reason'])}")


def _report(here: Here, word: str, done: int, skipped: list[dict[str, Any]]) -> None:
    here.out.done(f"{word} {done}", {"done": done, "skipped": skipped})
    for each in skipped[:SHOWN]:
        here.out.note(f"not {each['id']}: {one_line(each['reason'])}")
    if skipped and not done:
        raise typer.Exit(Exit.CONFLICT)
