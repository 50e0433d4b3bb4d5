"""``adapter awakeable``, ``promise`` and ``signal``: results that come from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli.api import path
from adapter.cli.calls import Input, value_body
from adapter.cli.completion import complete_service
from adapter.cli.failures import Exit, Failure
from adapter.cli.filters import Id, whole_id
from adapter.cli.options import DryRun, Here, remote
from adapter.cli.output import Item, table
from adapter.cli.text import one_line, value

if TYPE_CHECKING:
    from rich.console import RenderableType

awakeable = typer.Typer(no_args_is_help=True, help="Complete awakeables.")
promise = typer.Typer(no_args_is_help=True, help="See and complete the durable promises of workflows.")

AwakeableId = Annotated[str, typer.Argument(metavar="ID", help="The awakeable's id, awk_….")]
Workflow = Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow.", autocompletion=complete_service)]
WorkflowId = Annotated[str, typer.Argument(metavar="KEY", help="Its id.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The promise's name.")]
Reason = Annotated[str, typer.Argument(metavar="MESSAGE", help="The reason, which the handler gets as an error.")]

ID_LENGTH: Final = 32
"""How many characters an invocation's id has after its prefix."""

Code = Annotated[int | None, typer.Option("--code", help="The error's code.", metavar="CODE")]


@awakeable.command("resolve")
@remote
def resolve_awakeable(here: Here, id: AwakeableId, given: Input = None, dry_run: DryRun = False) -> None:
    """Complete an awakeable with a value."""
    body = value_body(given)
    if dry_run:
        _tell(here, f"to be resolved: {id}", _owner(id))
    else:
        _complete(here, f"{path('awakeables', id)}/resolve", f"resolved {id}", {}, body)


@awakeable.command("reject")
@remote
def reject_awakeable(here: Here, id: AwakeableId, message: Reason, code: Code = None, dry_run: DryRun = False) -> None:
    """Complete an awakeable with a terminal error."""
    if dry_run:
        _tell(here, f"to be rejected: {id}", _owner(id))
    else:
        _complete(here, f"{path('awakeables', id)}/reject", f"rejected {id}", {}, _reason(message, code))


@promise.command("list")
@remote
def list_promises(here: Here, workflow: Workflow, key: WorkflowId) -> None:
    """List the promises of a workflow id."""
    found = here.api.get(f"{path('services', workflow)}/promises", {"key": key})["promises"]
    here.out.items(found, _promises, "there are no promises")


@promise.command("resolve")
@remote
def resolve_promise(
    here: Here, workflow: Workflow, key: WorkflowId, name: Name, given: Input = None, dry_run: DryRun = False
) -> None:
    """Complete a promise with a value."""
    body = value_body(given)
    if dry_run:
        _tell_promise(here, f"to be resolved: {name}", workflow, key, name)
    else:
        place = path("services", workflow, "promises", name, "resolve")
        _complete(here, place, f"resolved {name}", {"key": key}, body)


@promise.command("reject")
@remote
def reject_promise(
    here: Here,
    workflow: Workflow,
    key: WorkflowId,
    name: Name,
    message: Reason,
    code: Code = None,
    dry_run: DryRun = False,
) -> None:
    """Complete a promise with a terminal error."""
    if dry_run:
        _tell_promise(here, f"to be rejected: {name}", workflow, key, name)
    else:
        place = path("services", workflow, "promises", name, "reject")
        _complete(here, place, f"rejected {name}", {"key": key}, _reason(message, code))


@remote
def signal(
    here: Here,
    id: Id,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")],
    given: Input = None,
    reject: Annotated[
        str | None, typer.Option(help="Send a terminal error in place of a value.", metavar="MESSAGE")
    ] = None,
    code: Code = None,
    dry_run: DryRun = False,
) -> None:
    """Send a signal to an invocation."""
    if reject is not None and given is not None:
        raise Failure("give a value or --reject, not both", Exit.USAGE)
    body = value_body(given) if reject is None else _reason(reject, code)
    id = whole_id(here, id)
    if dry_run:
        _tell(here, f"to be sent: {name}", id)
    else:
        place = path("invocations", id, "signals", name)
        _complete(here, place if reject is None else f"{place}/reject", f"sent {name} to {id}", {}, body)


def _complete(here: Here, place: str, done: str, query: dict[str, Any], options: dict[str, Any]) -> None:
    answer = here.api.document("POST", f"/admin{place}", query, **options)
    already = "nothing to do: it had a result before, which stays"
    here.out.done(already if answer.get("status") == "already" else done, answer)


def _tell(here: Here, what: str, id: str) -> None:
    """Print what would be done to an invocation, and how that is now."""
    shown = here.api.get(path("invocations", id))
    state = shown.get("outcome") or shown["status"]
    invocation = {name: shown[name] for name in ("id", "target", "status")}
    here.out.done(
        f"{what}, for {one_line(shown['target'])} ({state}), {id}", {"invocation": invocation, "dry_run": True}
    )


def _tell_promise(here: Here, what: str, workflow: str, key: str, name: str) -> None:
    found = here.api.get(f"{path('services', workflow)}/promises", {"key": key, "name": name})["promises"]
    status = found[0]["status"] if found else "not asked for yet"
    here.out.done(f"{what}, of {workflow}/{key} ({status})", {"name": name, "status": status, "dry_run": True})


def _owner(awakeable: str) -> str:
    """Return the id of the invocation that an awakeable's id begins with."""
    return f"inv_{awakeable.removeprefix('awk_')[:ID_LENGTH]}"


def _reason(message: str, code: int | None) -> dict[str, Any]:
    return {"json": {"message": message, **({} if code is None else {"code": code})}}


def _promises(items: Sequence[Item]) -> RenderableType:
    from rich.text import Text

    def result(each: Item) -> str:
        failure = each.get("failure")
        return f"{failure['code']}: {failure['message']}" if failure else value(each.get("value"))

    return table(
        "promise", "status", "value", rows=((Text(each["name"]), each["status"], Text(result(each))) for each in items)
    )
