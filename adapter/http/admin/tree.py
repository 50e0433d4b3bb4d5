"""Which invocations called each other, and which wait for each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from adapter.engine.awaiting import blockers, needs_each
from adapter.engine.deadlocks import awaited_ids, deadlock
from adapter.engine.engine import Engine
from adapter.engine.records import Meta, Status, Unreadable
from adapter.engine.types import ObjectKey
from adapter.http.admin import listing, parameters, story, views
from adapter.http.admin import models as m
from adapter.http.admin.filters import LIVE, read_filter
from adapter.http.admin.routing import Call, operation

MOST_NODES: Final = 500
"""The most invocations of a tree."""

DEEPEST: Final = 20
"""The most levels of a tree, up or down."""

MOST_LOOKED_AT: Final = 2000
"""The most live invocations that are read to find waits."""

HEADS: Final = 100
"""How many keys' heads one request reads."""


@operation("GET", "/invocations/{id}/tree")
async def tree(call: Call, id: str) -> m.Tree:
    """Show the tree of calls and sends below an invocation, and the chain of callers above it."""
    engine = call.stack.engine
    meta = await call.find(id)
    now = engine.process.now()
    ancestors = [views.summary(each, now) for each in await _ancestors(engine, meta)]
    grower = _Grower(engine, now, {meta.id})
    root = {**views.summary(meta, now), "ancestors": ancestors, "children": await grower.below(meta)}
    return cast("m.Tree", {**root, "truncated": grower.truncated})


async def _ancestors(engine: Engine, meta: Meta) -> list[Meta]:
    """Return the one that called or sent an invocation, then the one that called or sent that, and so on."""
    found: list[Meta] = []
    ref = meta.parent.ref if meta.parent is not None else meta.sender
    while ref is not None and len(found) < DEEPEST:
        above = await _readable(engine, ref.id)
        if above is None or above.ref != ref:
            break
        found.append(above)
        ref = above.parent.ref if above.parent is not None else above.sender
    return found


async def _readable(engine: Engine, id: str) -> Meta | None:
    try:
        return await engine.storage.find(id)
    except Unreadable:
        return None


class _Grower:
    """Reads a tree from its root down, level by level, within `MOST_NODES`.

    Attributes:
        truncated: True if there is more than it has read.
    """

    def __init__(self, engine: Engine, now: int, seen: set[str]) -> None:
        self._engine = engine
        self._now = now
        self._seen = seen
        self.truncated = False

    async def below(self, root: Meta) -> list[m.Child]:
        """Return an invocation's calls and sends, with theirs."""
        top: list[m.Child] = []
        level: list[tuple[Meta, list[m.Child]]] = [(root, top)]
        for _ in range(DEEPEST):
            following: list[tuple[Meta, list[m.Child]]] = []
            for meta, into in level:
                following += await self._grow(meta, into)
            level = following
        self.truncated = self.truncated or bool(level)
        return top

    async def _grow(self, meta: Meta, into: list[m.Child]) -> list[tuple[Meta, list[m.Child]]]:
        """Add an invocation's children. Return those whose own children are to be added."""
        try:
            told = await story.read(self._engine, meta)
        except Unreadable:
            self.truncated = True
            return []
        commands = [each for each in told.commands.values() if each.calls]
        room = MOST_NODES - len(self._seen)
        self.truncated = self.truncated or len(commands) > room
        commands = commands[: max(0, room)]
        further: list[tuple[Meta, list[m.Child]]] = []
        found = await story.children(self._engine, told, commands)
        for command in commands:
            id, child = found[command.n]
            below: list[m.Child] = []
            shown = views.summary(child, self._now) if child is not None else gone(id, command.name)
            node = {**shown, "command": command.n, "sent": command.kind == "send", "children": below}
            into.append(cast("m.Child", node))
            if child is not None and id not in self._seen:
                further.append((child, below))
            self._seen.add(id)
        return further


def gone(id: str, name: str) -> m.Summary:
    """Return an invocation that has expired, was purged, or was never stored."""
    target = story.read_target(name.partition("?")[0])
    shown = views.without_none(
        id=id,
        target=name,
        service=target.service if target else "",
        key=target.key if target else None,
        handler=target.handler if target else "",
        kind="unknown",
        status="gone",
        created="",
        attempts=0,
        failures=0,
    )
    return cast("m.Summary", shown)


# --- waits -----------------------------------------------------------------------------------------------------------


class Graph:
    """The waits among the live invocations that were read.

    Attributes:
        nodes: Those that wait for another one, or that another one waits for.
        edges: From the one that waits to the one that it waits for, with ``call`` or ``key``.
        complete: False if there are more live invocations.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, Meta] = {}
        self.edges: dict[tuple[str, str], str] = {}
        self.complete = True

    def cycles(self) -> list[list[Meta]]:
        """Return the cycles, each once. An invocation that waits for one of several results is part of none: another
        result may come."""
        following: dict[str, list[str]] = {}
        for waiting, awaited in self.edges:
            following.setdefault(waiting, []).append(awaited)
        for id in list(following):
            waits = self.nodes[id].awaits
            node = blockers(waits) if waits is not None else None
            if waits is not None and (node is None or not needs_each(node)):
                del following[id]
        found: list[list[Meta]] = []
        done: set[str] = set()
        for start in following:
            path: list[str] = []
            places: dict[str, int] = {}
            stack = [(start, iter(following.get(start, ())))] if start not in done else []
            if stack:
                places[start] = 0
                path.append(start)
            while stack:
                id, rest = stack[-1]
                next_id = next(rest, None)
                if next_id is None:
                    stack.pop()
                    path.pop()
                    del places[id]
                    done.add(id)
                elif next_id in places:
                    found.append([self.nodes[each] for each in path[places[next_id] :]])
                elif next_id not in done:
                    places[next_id] = len(path)
                    path.append(next_id)
                    stack.append((next_id, iter(following.get(next_id, ()))))
        return found


async def graph(call: Call) -> Graph:
    """Return the waits among the live invocations."""
    engine = call.stack.engine
    built = Graph()
    live = await live_invocations(call, MOST_LOOKED_AT)
    built.complete = live.complete and live.cursor is None
    records = {meta.id: meta for meta in live.metas}
    owners = await _owners(engine, [meta for meta in live.metas if meta.status is Status.QUEUED])
    for meta in live.metas:
        if meta.status is Status.QUEUED:
            owner = owners.get(meta.target.object)
            if owner is not None:
                built.edges[meta.id, owner] = "key"
        elif meta.awaits is not None:
            for id in awaited_ids(meta.ref, meta.awaits)[:HEADS]:
                built.edges[meta.id, id] = "call"
    ids = {id for edge in built.edges for id in edge}
    records |= await listing.records_of(engine, [id for id in ids if id not in records])
    built.edges = {
        (waiting, awaited): kind
        for (waiting, awaited), kind in built.edges.items()
        if waiting in records and awaited in records and records[awaited].live
    }
    built.nodes = {id: records[id] for edge in built.edges for id in edge}
    return built


async def live_invocations(call: Call, most: int) -> listing.Page:
    """Return the live invocations, latest first, up to a number."""
    engine = call.stack.engine
    filter = read_filter({"status": [LIVE]})
    names = await call.stack.service_names()
    found: list[Meta] = []
    cursor: str | None = None
    complete = True
    for _ in range(MOST_PAGES):
        page = await listing.page(engine, names, filter, min(parameters.MAX_LIMIT, most - len(found)), cursor)
        found += page.metas
        cursor, complete = page.cursor, complete and page.complete
        if cursor is None or len(found) >= most:
            break
    return listing.Page(found, cursor, complete)


MOST_PAGES: Final = 5
"""The most pages of the index that are read for live invocations."""


async def _owners(engine: Engine, queued: Sequence[Meta]) -> dict[ObjectKey, str]:
    """Return the owners of the keys that invocations wait for."""
    keys = list(dict.fromkeys(meta.target.object for meta in queued))
    found: dict[ObjectKey, str] = {}
    for start in range(0, len(keys), HEADS):
        heads = await engine.storage.heads(keys[start : start + HEADS])
        found |= {key: head.owner.id for key, head in heads.items() if head.owner is not None}
    return found


@operation("GET", "/deadlocks")
async def deadlocks(call: Call) -> m.Deadlocks:
    """List the deadlocks: invocations that wait for each other in a cycle."""
    now = call.stack.engine.process.now()
    built = await graph(call)
    found: list[m.Deadlock] = [
        {
            "cycle": [views.summary(meta, now) for meta in cycle],
            "text": deadlock(cycle).message.removeprefix("deadlock: "),
        }
        for cycle in built.cycles()
    ]
    return {"deadlocks": found, "complete": built.complete}


@operation("GET", "/waits")
async def waits(call: Call) -> m.Waits:
    """Show the waits: invocations, and edges to those that they wait for."""
    now = call.stack.engine.process.now()
    built = await graph(call)
    return {
        "nodes": [views.summary(meta, now) for meta in built.nodes.values()],
        "edges": [
            cast("m.Edge", {"from": waiting, "to": awaited, "kind": kind})
            for (waiting, awaited), kind in built.edges.items()
        ],
        "truncated": not built.complete,
    }
