"""Writes the made parts of docs/cli.md, from the commands: ``python -m tests.cli.reference``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapter.cli.app import tree
from adapter.cli.filters import FILTER
from adapter.cli.target import SERVER

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def page() -> str:
    """Return the page as it is, with its three made parts made anew."""
    root = tree()
    parameters = root.commands["invocations"].commands["list"].params
    made = {
        "server": _table([each for each in parameters if _panel(each) == SERVER]),
        "filter": _table([each for each in parameters if _panel(each) == FILTER]),
        "commands": "\n".join([_overview(root), *(_section(words, command) for words, command in _leaves(root))]),
    }
    text = PAGE.read_text()
    for name, part in made.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        text = f"{text.partition(begin)[0]}{begin}\n\n{part}\n\n{end}{text.partition(end)[2]}"
    return text


def _leaves(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, each in getattr(command, "commands", {}).items():
        if each.hidden:
            continue
        if hasattr(each, "commands"):
            yield from _leaves(each, *words, name)
        else:
            yield (*words, name), each


def _overview(root: Any) -> str:
    rows = [
        f"| [`adapter {' '.join(words)}`](#{'-'.join(('adapter', *words))}) | {_first(command)} |"
        for words, command in _leaves(root)
    ]
    return "\n".join(
        [
            "| command | what it does |",
            "| --- | --- |",
            *rows,
            "",
            "`adapter inv` is short for `adapter invocations`.",
            "",
        ]
    )


def _first(command: Any) -> str:
    return " ".join(command.help.partition("\n\n")[0].split())


def _section(words: tuple[str, ...], command: Any) -> str:
    own = [each for each in command.params if each.name != "help" and _panel(each) not in (SERVER, FILTER)]
    arguments = [_metavar(each) for each in own if each.param_type_name == "argument"]
    usage = " ".join(["adapter", *words, *arguments, "[OPTIONS]"])
    about = "\n\n".join(" ".join(part.split()) for part in command.help.split("\n\n"))
    parts = [f"## adapter {' '.join(words)}", "", f"    {usage}", "", about, ""]
    if any(_panel(each) == FILTER for each in command.params):
        parts += ["It also takes [the options that name invocations](#which-invocations).", ""]
    if own:
        parts += [_table(own), ""]
    return "\n".join(parts)


def _table(parameters: list[Any]) -> str:
    rows = [f"| {_named(each)} | {_default(each)} | {_cell(each.help or '')} |" for each in parameters]
    return "\n".join(["| option | default | meaning |", "| --- | --- | --- |", *rows])


def _named(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_cell(_metavar(parameter))}`"
    names = ", ".join(f"`{name}`" for name in sorted((*parameter.opts, *parameter.secondary_opts), key=len))
    return names if parameter.is_flag else f"{names} `{_cell(_metavar(parameter))}`"


def _metavar(parameter: Any) -> str:
    choices = getattr(parameter.type, "choices", None)
    if choices:
        return "|".join(getattr(each, "value", each) for each in choices)
    return str(parameter.metavar or getattr(parameter.type, "name", "TEXT").split(" ")[0].upper())


def _default(parameter: Any) -> str:
    default = getattr(parameter.default, "value", parameter.default)
    if default in (None, False, "") or default == []:
        return ""
    return f"`{default}`" if not isinstance(default, bool) else f"`{parameter.opts[0]}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _panel(parameter: Any) -> str | None:
    """Return the heading in help texts under which an option stands."""
    return getattr(parameter, "rich_help_panel", None)


if __name__ == "__main__":
    PAGE.write_text(page())
