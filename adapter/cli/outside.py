"""``adapter awakeable``, ``promise`` and ``signal``: results that come from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapter.cli.api import path
from adapter.cli.calls import Input, value_body
from adapter.cli.completion import complete_service
from adapter.cli.failures import Exit, Failure
from adapter.cli.filters import Id, whole_id
from adapter.cli.options import Here, remote
from adapter.cli.output import Item, table
from adapter.cli.text import value

if TYPE_CHECKING:
    from rich.console import RenderableType

awakeable = typer.Typer(no_args_is_help=True, help="Complete awakeables.")
promise = typer.Typer(no_args_is_help=True, help="See and complete the durable promises of workflows.")

AwakeableId = Annotated[str, typer.Argument(metavar="ID", help="The awakeable's id, awk_….")]
Workflow = Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow.", autocompletion=complete_service)]
WorkflowId = Annotated[str, typer.Argument(metavar="KEY", help="Its id.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The promise's name.")]
Reason = Annotated[str, typer.Argument(metavar="MESSAGE", help="The reason, which the handler gets as an error.")]
Code = Annotated[int | None, typer.Option("--code", help="The error's code.", metavar="CODE")]


@awakeable.command("resolve")
@remote
def resolve_awakeable(here: Here, id: AwakeableId, given: Input = None) -> None:
    """Complete an awakeable with a value."""
    _complete(here, f"{path('awakeables', id)}/resolve", f"resolved {id}", {}, value_body(given))


@awakeable.command("reject")
@remote
def reject_awakeable(here: Here, id: AwakeableId, message: Reason, code: Code = None) -> None:
    """Complete an awakeable with a terminal error."""
    _complete(here, f"{path('awakeables', id)}/reject", f"rejected {id}", {}, _reason(message, code))


@promise.command("list")
@remote
def list_promises(here: Here, workflow: Workflow, key: WorkflowId) -> None:
    """List the promises of a workflow id."""
    found = here.api.get(f"{path('services', workflow)}/promises", {"key": key})["promises"]
    here.out.items(found, _promises, "there are no promises")


@promise.command("resolve")
@remote
def resolve_promise(here: Here, workflow: Workflow, key: WorkflowId, name: Name, given: Input = None) -> None:
    """Complete a promise with a value."""
    place = path("services", workflow, "promises", name, "resolve")
    _complete(here, place, f"resolved {name}", {"key": key}, value_body(given))


@promise.command("reject")
@remote
def reject_promise(
    here: Here, workflow: Workflow, key: WorkflowId, name: Name, message: Reason, code: Code = None
) -> None:
    """Complete a promise with a terminal error."""
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
) -> None:
    """Send a signal to an invocation."""
    if reject is not None and given is not None:
        raise Failure("give a value or --reject, not both", Exit.USAGE)
    id = whole_id(here, id)
    place = path("invocations", id, "signals", name)
    if reject is None:
        _complete(here, place, f"sent {name} to {id}", {}, value_body(given))
    else:
        _complete(here, f"{place}/reject", f"sent {name} to {id}", {}, _reason(reject, code))


def _complete(here: Here, place: str, done: str, query: dict[str, Any], options: dict[str, Any]) -> None:
    answer = here.api.document("POST", f"/admin{place}", query, **options)
    already = "nothing to do: it had a result before, which stays"
    here.out.done(already if answer.get("status") == "already" else done, answer)


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
