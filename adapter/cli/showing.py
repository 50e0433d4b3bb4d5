"""How an invocation looks: what is the matter with it, its journal, its tree, the chain of what it waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapter.cli.api import Api
from adapter.cli.output import table
from adapter.cli.text import age, duration, instant, one_line, status, until, value

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.tree import Tree

Shown = Mapping[str, Any]


def fetch(api: Api, shown: dict[str, Any]) -> None:
    """Replace the values that the answer cuts short with the whole ones."""
    holders: list[tuple[dict[str, Any], str]] = [(shown, "input"), (shown, "output")]
    holders += [(entry, "value") for entry in shown["journal"]]
    for holder, name in holders:
        given = holder.get(name)
        if given and given.get("truncated"):
            whole = api.send("GET", given["href"])
            try:
                holder[name] = {"json": whole.json(), "size": len(whole.content)}
            except ValueError:
                holder[name] = {"text": whole.text, "size": len(whole.content)}


def invocation(shown: Shown, options: str, *, whole: bool) -> RenderableType:
    """Return one invocation with its journal, and its tree if it has been asked for.

    Args:
        shown: What the admin says, with ``journal`` and perhaps ``tree``.
        options: The options that lead to the server, for commands to copy.
        whole: Whether values are printed as a whole, with input and output.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_headline(shown), *map(_plain, _facts(shown, options))]
    if whole:
        parts += [Text(f"{name:<7}{value(shown[name], 0)}") for name in ("input", "output") if shown.get(name)]
    if shown["journal"]:
        parts += [Text(), _journal(shown, whole)]
    if "tree" in shown:
        parts += [Text(), tree(shown["tree"])]
    return Group(*parts)


def _plain(text: str) -> RenderableType:
    from rich.text import Text

    return Text(text, overflow="fold")


def _headline(shown: Shown) -> RenderableType:
    from rich.text import Text

    line = Text.assemble((one_line(shown["target"]), "bold"), "   ", Text.from_markup(status(shown)), _since(shown))
    if shown["attempts"]:
        line.append(f"   {_attempt(shown)}")
    if shown.get("deployment"):
        line.append(f"   deployment {shown['deployment']}")
    return line


def _attempt(shown: Shown) -> str:
    """Return the attempt as the retry policy counts them: those that failed in a row, and the one that is under way."""
    retry: Shown = shown.get("retry") or {}
    most = retry.get("max_attempts")
    if most is None:
        return f"attempt {shown['attempts']}"
    over = shown["status"] in ("backing-off", "paused")
    return f"attempt {max(1, shown['failures'] + (0 if over else 1))} of {most}"


def _since(shown: Shown) -> str:
    if shown["status"] == "completed":
        if not shown.get("completed"):
            return ""
        took = instant(shown["completed"]) - instant(shown["created"])
        return f" {age(shown['completed'])} ago, after {duration(took.total_seconds())}"
    last = shown.get("since") or max(
        (entry[name] for entry in shown["journal"] for name in ("at", "done") if name in entry),
        default=shown["created"],
    )
    return f" for {age(last)}"


def _facts(shown: Shown, options: str) -> Iterator[str]:
    """Yield a line for each thing that matters."""
    yield f"{shown['id']}   created {shown['created']}" + (
        f"   called by {shown['parent']}" if shown.get("parent") else ""
    )
    if key := shown.get("idempotency_key"):
        yield f"idempotency key {one_line(key)}"
    if failure := shown.get("failure"):
        yield f"failure {failure['code']}: {failure['message']}"
    waits = [_wait(wait, options) for wait in shown.get("waits", ())]
    if waits:
        yield f"waits for {', or '.join(waits)}"
    if shown["status"] == "paused":
        yield f"paused: adapter inv resume {shown['id']}{options}"
    for each in shown.get("errors", ()):
        when = f", {age(each['at'])} ago" if each.get("at") else ""
        yield f"attempt {each['attempt']} failed{when}: {each['error']}"
    if shown.get("error") and not shown.get("errors"):
        yield f"last error: {shown['error']}"


def _wait(wait: Shown, options: str) -> str:
    name = one_line(wait.get("name", ""))
    match wait["kind"]:
        case "awakeable":
            return f"awakeable {wait.get('id')}  (adapter awakeable resolve {wait.get('id')}{options})"
        case "timer":
            return f"a timeout in {until(wait.get('until'))}" if wait.get("until") else "a timeout"
        case "attempt":
            return f"its next attempt in {until(wait.get('until'))}"
        case "call" | "attach":
            said = f" ({wait['status']})" if wait.get("status") else ""
            return f"{wait['kind']} {name} {wait.get('id', '')}{said}".replace("  ", " ")
        case "key":
            return f"key {name}, owned by {wait['id']}" if wait.get("id") else f"key {name}"
        case "operator":
            return "an operator"
        case "endpoint":
            return "its code at the endpoint"
        case kind:
            return f"{kind} {name}".rstrip()


def _journal(shown: Shown, whole: bool) -> RenderableType:
    began = instant(shown["created"])

    def offset(entry: Shown) -> str:
        if not entry.get("at"):
            return ""
        return f"+{duration((instant(entry['at']) - began).total_seconds())}"

    return table(
        ("#", {"justify": "right"}),
        ("at", {"justify": "right", "no_wrap": True}),
        "command",
        "name",
        ("took", {"justify": "right", "no_wrap": True}),
        "value",
        rows=(_entry(entry, offset(entry), whole) for entry in shown["journal"]),
    )


def _entry(entry: Shown, offset: str, whole: bool) -> Sequence[RenderableType]:
    from rich.text import Text

    if "attempt" in entry:
        said = f"after {entry['error']}" if entry.get("error") else ""
        return ("", offset, Text("attempt", style="dim"), Text(str(entry["attempt"]), style="dim"), "", Text(said))
    took = duration(entry["duration_ms"] / 1000) if "duration_ms" in entry else ""
    links = [str(entry[name]) for name in ("child", "awakeable") if entry.get(name)]
    if "failure" in entry:
        result = f"failure {entry['failure']['code']}: {entry['failure']['message']}"
    elif entry.get("until") and not entry.get("done"):
        result = f"due in {until(entry['until'])}"
    else:
        result = value(entry.get("value"), 0 if whole else 60)
    if entry.get("tries"):
        result = f"{entry['tries']} tries {result}".rstrip()
    shown = Text("   ".join([*links, result]).strip(), style="red" if "failure" in entry else "")
    return (str(entry["n"]), offset, entry["command"], Text(entry.get("name") or ""), took, shown)


# --- trees and chains ------------------------------------------------------------------------------------------------


def tree(shown: Shown) -> RenderableType:
    """Return an invocation between its callers and what it called and sent."""
    from rich.tree import Tree

    chain = [*reversed(shown.get("ancestors", ())), shown]
    root = node = Tree(_leaf(chain[0], shown["id"]))
    for each in chain[1:]:
        node = node.add(_leaf(each, shown["id"]))
    _grow(node, shown.get("children", ()))
    if shown.get("truncated"):
        node.add("…")
    return root


def _grow(node: Tree, children: Sequence[Shown]) -> None:
    for child in children:
        _grow(node.add(_leaf(child, "")), child.get("children", ()))


def _leaf(item: Shown, current: str) -> RenderableType:
    from rich.text import Text

    sent = "  sent" if item.get("sent") else ""
    style = "bold" if item["id"] == current else ""
    return Text.assemble(
        (one_line(item["target"]), style), "  ", Text.from_markup(status(item)), f"{sent}  {item['id']}"
    )


def why(answer: Shown, options: str, width: int) -> RenderableType:
    """Return the chain from an invocation to the cause of its waiting, and what can be done about it."""
    from rich.console import Group
    from rich.text import Text

    chain: Sequence[Shown] = answer["chain"]
    indents = ["", *(f"{'  ' * depth}└ " for depth in range(len(chain) - 1))]
    names = [f"{indent}{each['id']} {one_line(each['target'])}" for indent, each in zip(indents, chain, strict=True)]
    longest = max(map(len, names))
    lines: list[str] = []
    for indent, name, each in zip(indents, names, chain, strict=True):
        text = one_line(each["text"])
        line = f"{name:<{longest}}   {text}"
        lines += [line] if len(line) <= width else [name, f"{' ' * len(indent)}    {text}"]
    if answer["cycle"]:
        lines.append(f"{'  ' * (len(chain) - 1)}↺ an invocation above: a deadlock")
    parts = [Text(line, overflow="fold") for line in lines]
    parts += [Text(), Text(one_line(answer["summary"]), style="bold")]
    steps = [(each, action) for each in chain for action in each["actions"] if _helps(answer, each, action)]
    if steps:
        parts.append(Text())
    for each, action in steps:
        parts.append(Text(f"{action['command']}{options}   # {action['text']}: {one_line(each['target'])}"))
    return Group(*parts)


def _helps(answer: Shown, link: Shown, action: Shown) -> bool:
    """Return True if an action removes the cause: it acts on the last link, or cancels an invocation of a cycle."""
    if answer["cycle"]:
        return str(action["path"]).endswith("/cancel")
    return bool(link["id"] == answer["root"]["id"])
