"""Options that many commands have, and the decorator that gives them the ones that all have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from operator import itemgetter
from typing import Annotated, Any, get_type_hints

import typer

from adapter.cli.api import Api
from adapter.cli.output import Format, Output
from adapter.cli.target import SERVER, Target

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would change, and stop.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=0, help="The most items to print; 0 for all.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Print again every two seconds, until interrupted.")]


class Here:
    """What a command works with: the server, and where to print.

    Args:
        target: The server.
        format: How to print.
    """

    def __init__(self, target: Target, format: Format) -> None:
        self.target = target
        self.out = Output(format)

    @classmethod
    def from_options(
        cls,
        target: Target,
        output: Annotated[
            Format, typer.Option("--output", "-o", help="How to print.", rich_help_panel=SERVER)
        ] = Format.TABLE,
    ) -> Here:
        """Return what the options say."""
        return cls(target, output)

    def at(self, stack: str) -> Here:
        """Return the same for a deployed stack."""
        return Here(replace(self.target, stack=stack), self.out.format)

    @cached_property
    def api(self) -> Api:
        """The connection to the server."""
        return Api(self.target, for_people=self.out.is_table)

    def close(self) -> None:
        """End the connection."""
        if "api" in self.__dict__:
            self.api.close()


def remote(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of its bundles.

    A bundle is a parameter whose class has a ``from_options``. The command line gets that method's parameters in the
    bundle's place, and the command gets what the method returns. Bundles may be made of bundles.
    """
    parameters, arguments = _expanded(command)
    signature = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]

    def run(**values: Any) -> None:
        given = arguments(values)
        try:
            command(**given)
        finally:
            for each in given.values():
                if isinstance(each, Here):
                    each.close()

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {each.name: each.annotation for each in signature}
    run.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    return run


def _expanded(
    function: Callable[..., Any],
) -> tuple[list[inspect.Parameter], Callable[[Mapping[str, Any]], dict[str, Any]]]:
    """Return a function's parameters, with those of its bundles in their places; and what makes its arguments of them.

    The options that name the server come last, so that help texts begin with the command's own.
    """
    hints = get_type_hints(function, include_extras=True)
    own: list[inspect.Parameter] = []
    server: list[inspect.Parameter] = []
    makers: dict[str, Callable[[Mapping[str, Any]], Any]] = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        build = getattr(hint, "from_options", None)
        if build is None:
            own.append(parameter.replace(annotation=hint))
            makers[parameter.name] = itemgetter(parameter.name)
        else:
            inner, arguments = _expanded(build)
            (server if hint in (Here, Target) else own).extend(inner)
            makers[parameter.name] = partial(_build, build, arguments)
    return [*own, *server], lambda values: {name: make(values) for name, make in makers.items()}


def _build(
    build: Callable[..., Any], arguments: Callable[[Mapping[str, Any]], dict[str, Any]], values: Mapping[str, Any]
) -> Any:
    return build(**arguments(values))
