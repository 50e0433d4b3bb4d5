"""``adapter doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from adapter.cli.checks import server, template
from adapter.cli.checks.finding import Finding, Level, wrong
from adapter.cli.failures import Exit, Failure
from adapter.cli.options import Here, remote
from adapter.cli.output import table
from adapter.cli.target import HERE, samconfig

if TYPE_CHECKING:
    from rich.console import RenderableType

MARKS: Final = {
    Level.OK: "[green]ok[/]",
    Level.NOTE: "[yellow]note[/]",
    Level.WRONG: "[red]wrong[/]",
    Level.UNKNOWN: "[dim]unknown[/]",
}


@remote
def doctor(
    here: Here,
    file: Annotated[Path, typer.Option("--template", metavar="FILE", help="The SAM template to look at.")] = Path(
        "template.yaml"
    ),
) -> None:
    """Check a stack or a server, and say how to correct each problem. The exit code is 1 if there is a problem.

    Without --url and --stack it looks at the stack that samconfig.toml names, if there is one.
    """
    if here.target.url is None and here.target.stack is None and "stack_name" in samconfig():
        here = here.at(HERE)
    findings = list(_look(here, file))
    if here.out.is_table:
        here.out.console.print(_report(findings))
    else:
        here.out.items([each.document() for each in findings], lambda _: "", "")
    if any(each.level is Level.WRONG for each in findings):
        raise typer.Exit(Exit.FAILED)


def _look(here: Here, file: Path) -> Iterator[Finding]:
    yield from template.check(file)
    try:
        stack = here.target.deployed
    except Failure as failure:
        yield wrong("stack", failure.message, "give --stack, --region and --profile as you deploy with them")
        return
    if stack is not None:
        from adapter.cli.checks import account

        yield from account.check(stack)
    yield from server.check(here.api)


def _report(findings: Sequence[Finding]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    def says(each: Finding) -> RenderableType:
        return Group(*map(Text, [each.says, *([f"→ {each.advice}"] if each.advice else [])]))

    return table("check", "", "", rows=((Text(each.check), MARKS[each.level], says(each)) for each in findings))
