"""``adapter keys`` and ``adapter state``: the keys of virtual objects, and their state."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapter.cli.api import path
from adapter.cli.asking import confirm
from adapter.cli.completion import complete_service
from adapter.cli.failures import Exit, Failure
from adapter.cli.invocations import summaries
from adapter.cli.options import DryRun, Here, Limit, Watch, Yes, remote
from adapter.cli.output import Item, table
from adapter.cli.text import json_or_file, one_line, value, visible
from adapter.cli.watching import watching

if TYPE_CHECKING:
    import httpx
    from rich.console import RenderableType

keys = typer.Typer(
    no_args_is_help=True, help="Show which invocations own the keys of virtual objects, and which wait for them."
)
state = typer.Typer(no_args_is_help=True, help="See and change the state of virtual objects.")

Service = Annotated[str, typer.Argument(metavar="SERVICE", help="The virtual object.", autocompletion=complete_service)]
Key = Annotated[str, typer.Argument(metavar="KEY", help="Its key.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the state entry.")]
Version = Annotated[
    int | None,
    typer.Option(
        "--version", help="Change it only if the key has this version, which `state list` prints.", metavar="N"
    ),
]

EDITOR = "vi"


@keys.command("list")
@remote
def list_keys(
    here: Here,
    service: Annotated[
        str | None, typer.Option(help="Of one virtual object.", metavar="NAME", autocompletion=complete_service)
    ] = None,
    all: Annotated[bool, typer.Option("--all", "-a", help="Also keys with an owner and no queue.")] = False,
    limit: Limit = 50,
    watch: Watch = False,
) -> None:
    """List the keys that invocations wait for."""
    query = {"service": service, "queued": None if all else "true"}

    def incomplete() -> None:
        here.out.note("the stack keeps no history: only keys of invocations with a due time are listed")

    def show() -> None:
        found = here.api.pages("/keys", "keys", query, limit=limit, incomplete=incomplete, distinct=("service", "key"))
        here.out.items(found, _keys, "no key has a queue" if not all else "no key has an owner")

    watching(here, show, watch)


def _keys(items: Sequence[Item]) -> RenderableType:
    from rich.text import Text

    return table(
        "service",
        "key",
        ("waiting", {"justify": "right"}),
        "owner",
        rows=((each["service"], Text(each["key"]), str(each["waiting"]), each.get("owner")) for each in items),
    )


@keys.command("show")
@remote
def show_key(here: Here, service: Service, key: Key, watch: Watch = False) -> None:
    """Show a key: its owner, its queue in order, its state."""

    def show() -> None:
        shown = here.api.get(f"{path('services', service)}/key", {"key": key})
        here.out.item(shown, lambda: _key(shown, here.target.options, here.out.console.width))

    watching(here, show, watch)


def _key(shown: Item, options: str, width: int) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    owner = shown["owner"]
    parts: list[RenderableType] = [
        Text.assemble((f"{shown['service']}/{one_line(shown['key'])}", "bold"), f"   version {shown['version']}")
    ]
    if owner is None:
        parts.append(Text("no owner"))
    else:
        parts += [Text(), Text("owner", style="bold"), summaries([owner], width)]
        parts.append(Text(f"why it does not continue: adapter inv why {owner['id']}{options}", style="dim"))
    if shown["queue"]:
        parts += [
            Text(),
            Text(f"{shown['waiting']} waiting, in this order", style="bold"),
            summaries(shown["queue"], width),
        ]
    if shown["state"] or shown["large"]:
        parts += [Text(), _entries(shown)]
    return Group(*parts)


def _entries(shown: Item) -> RenderableType:
    from rich.text import Text

    rows = [(Text(name), _size(given), Text(value(given))) for name, given in shown["state"].items()]
    rows += [(Text(name), "", Text("(large: adapter state get)")) for name in shown["large"]]
    return table("state", ("bytes", {"justify": "right"}), "value", rows=rows)


def _size(given: Any) -> str:
    return str(given.get("size", "")) if isinstance(given, dict) else ""  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


# --- state -----------------------------------------------------------------------------------------------------------


@state.command("list")
@remote
def list_state(here: Here, service: Service, key: Key) -> None:
    """List the state entries of a key, with its version."""
    shown = here.api.get(f"{path('services', service)}/key", {"key": key})
    chosen = {name: shown[name] for name in ("service", "key", "version", "state", "large")}
    here.out.item(chosen, lambda: _entries(shown) if shown["state"] or shown["large"] else "no state")
    here.out.note(f"version {shown['version']}")


@state.command()
@remote
def get(here: Here, service: Service, key: Key, name: Name) -> None:
    """Print a state entry, as it is stored."""
    sys.stdout.buffer.write(_read(here, service, key, name).content)
    sys.stdout.buffer.flush()
    if sys.stdout.isatty():
        print()


@state.command("set")
@remote
def set_(
    here: Here,
    service: Service,
    key: Key,
    name: Name,
    given: Annotated[str, typer.Argument(metavar="JSON|@FILE|-", help="The new value.")],
    version: Version = None,
    dry_run: DryRun = False,
) -> None:
    """Set a state entry, while no invocation owns the key."""
    data = json_or_file(given)
    if dry_run:
        _would_set(here, service, key, name, data)
        return
    written = _write(here, service, key, name, data, _version(here, service, key, version))
    here.out.done(f"{service}/{key} is at version {written['version']}", written)


def _would_set(here: Here, service: str, key: str, name: str, data: bytes) -> None:
    """Print how an entry would change."""
    shown = here.api.get(f"{path('services', service)}/key", {"key": key})
    before, version, owner = shown["state"].get(name), shown["version"], shown["owner"]
    now = value(before) or ("(large)" if name in shown["large"] else "nothing")
    text = f"to be set: {name} from {now} to {data.decode(errors='replace')}, at version {version}"
    if owner is not None:
        text += f"; refused while {owner['id']} owns the key"
    told = {"name": name, "before": before, "version": version, "owner": owner and owner["id"], "dry_run": True}
    here.out.done(text, told)


@state.command()
@remote
def edit(here: Here, service: Service, key: Key, name: Name) -> None:
    """Edit a state entry in $EDITOR. It is written only if the key has not changed meanwhile."""
    version = _version(here, service, key, None)
    stored = here.api.ask("GET", _path(service), {"key": key, "name": name})
    before = _pretty(stored.content) if stored.is_success else "null\n"
    file = Path(tempfile.mkdtemp(prefix="adapter-")) / f"{name if name.isidentifier() else 'state'}.json"
    file.write_text(before)
    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or EDITOR)
    try:
        ended = subprocess.run([*command, str(file)], check=False).returncode
    except OSError as error:
        raise Failure(f"the editor {command[0]} cannot be started ({error.strerror}): set EDITOR") from None
    if ended != 0:
        raise Failure(f"the editor ended with {ended}: nothing was changed")
    text = file.read_text()
    if text == before:
        here.out.note("nothing was changed")
    else:
        try:
            data = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":")).encode()
            written = _write(here, service, key, name, data, version)
        except ValueError as error:
            raise Failure(f"this is not JSON ({error}); your text is in {file}", Exit.USAGE) from None
        except Failure as error:
            raise Failure(f"{error.message}; your text is in {file}", error.code, **error.details) from None
        here.out.done(f"{service}/{key} is at version {written['version']}", written)
    file.unlink()
    file.parent.rmdir()


@state.command()
@remote
def clear(
    here: Here,
    service: Service,
    key: Key,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One entry; all of them without it.")] = None,
    version: Version = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Clear a state entry, or all entries of a key, while no invocation owns the key."""
    shown = here.api.send("GET", _path(service), {"key": key}).json()  # with names as they are, to be sent back
    names = [name] if name is not None else sorted({*shown["state"], *shown["large"]})
    if dry_run or name is None:
        here.out.note(f"to be cleared: {visible(', '.join(names)) or 'nothing'}")
    if dry_run:
        if not here.out.is_table:
            here.out.write({"cleared": names, "dry_run": True})
        return
    if name is None and names:
        confirm(here, f"all state of {service}/{one_line(visible(key))} is cleared", yes=yes)
    now = shown["version"] if version is None else version
    for each in names:
        now = here.api.document("DELETE", _path(service), {"key": key, "name": each}, headers=_if(now))["version"]
    here.out.done(f"cleared {visible(', '.join(names)) or 'nothing'}", {"cleared": names, "version": now})


def _path(service: str) -> str:
    return f"/admin{path('services', service)}/state"


def _if(version: int) -> dict[str, str]:
    return {"if-match": f'"{version}"'}


def _read(here: Here, service: str, key: str, name: str) -> httpx.Response:
    return here.api.send("GET", _path(service), {"key": key, "name": name})


def _version(here: Here, service: str, key: str, given: int | None) -> int:
    if given is not None:
        return given
    return int(here.api.document("GET", _path(service), {"key": key})["version"])


def _write(here: Here, service: str, key: str, name: str, data: bytes, version: int) -> Any:
    return here.api.document("PUT", _path(service), {"key": key, "name": name}, content=data, headers=_if(version))


def _pretty(data: bytes) -> str:
    try:
        return json.dumps(json.loads(data), indent=2, ensure_ascii=False) + "\n"
    except ValueError:
        raise Failure("this entry is not JSON: use `state get` and `state set … @FILE`", Exit.USAGE) from None
