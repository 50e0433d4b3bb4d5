"""The stack: its services, its versions, what could not be delivered, and how it is altogether."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, cast

from adapter.engine.ids import DUE_SHARDS
from adapter.engine.records import Meta, Status
from adapter.engine.types import Kind
from adapter.errors import TerminalError
from adapter.http.admin import invocations, listing, parameters, tree, views
from adapter.http.admin import models as m
from adapter.http.admin.filters import LIVE, Filter, read_filter
from adapter.http.admin.ports import InUseError, Version
from adapter.http.admin.routing import Call, ProblemError, Reply, operation
from adapter.http.services import Deployed

MOST_LIVE: Final = 5000
"""The most live invocations that are counted by deployment."""

MOST_FAILING: Final = 10
"""How many failing invocations the overview shows."""

MOST_ROUNDS: Final = 100
"""The most pages that are searched for a live invocation of a version that is to be removed."""


# --- services --------------------------------------------------------------------------------------------------------


@operation("GET", "/services")
async def services(call: Call) -> m.Services:
    """List the services."""
    return {"services": [described(each, {}) for each in await call.stack.services.listed()]}


@operation("GET", "/services/{name}")
async def service(call: Call, name: str) -> m.Service:
    """Show a service: the schemas of what its handlers take and give, its docstrings, its metadata."""
    deployed = await call.stack.service(name)
    documents = await call.stack.services.documents()
    return described(deployed, documents.get(name, {}))


def described(deployed: Deployed, document: dict[str, Any]) -> m.Service:
    """Return what the admin says of a service. Its OpenAPI document adds the schemas, docstrings and metadata."""
    tags: list[dict[str, Any]] = document.get("tags", [])
    tag = tags[0] if tags else {}
    kinds = {each.kind for each in deployed.handlers.values()}
    kind = "workflow" if Kind.WORKFLOW in kinds else "service" if kinds <= {Kind.SERVICE} else "object"
    shown = {
        "name": deployed.name,
        "kind": kind,
        "function": deployed.function,
        "deployment": deployed.deployment,
        "handlers": {
            name: {
                "kind": str(each.kind),
                "private": each.private,
                "takes": each.takes,
                "gives": each.gives,
                **_described(document, name),
            }
            for name, each in deployed.handlers.items()
        },
        **views.without_none(doc=tag.get("description"), metadata=tag.get("x-adapter", {}).get("metadata")),
    }
    return cast("m.Service", shown)


def _described(document: dict[str, Any], handler: str) -> dict[str, Any]:
    """Return what a service's OpenAPI document says of a handler: its schemas, its docstring and its metadata."""
    operations = (methods.get("post", {}) for methods in document.get("paths", {}).values())
    found = next((each for each in operations if each.get("x-adapter", {}).get("handler") == handler), None)
    if found is None:
        return {}
    schemas = document["components"]["schemas"]
    return views.without_none(
        input=_schema(found.get("requestBody"), schemas),
        output=_schema(found["responses"]["200"], schemas),
        doc=found.get("description") or found.get("summary"),
        metadata=found["x-adapter"].get("metadata"),
    )


def _schema(part: dict[str, Any] | None, schemas: dict[str, Any]) -> dict[str, Any] | None:
    """Return a body's schema with the schemas that it refers to."""
    content = (part or {}).get("content", {}).get("application/json")
    if content is None:
        return None
    schema: dict[str, Any] = _local(content["schema"])
    needed: dict[str, Any] = {}
    more = _referred(schema)
    while more:
        name = more.pop()
        if name not in needed and name in schemas:
            needed[name] = _local(schemas[name])
            more |= _referred(needed[name])
    return {**schema, "$defs": needed} if needed else schema


_SHARED, _LOCAL = "#/components/schemas/", "#/$defs/"


def _local(value: Any) -> Any:
    match value:
        case dict():
            return {key: _local(item) for key, item in cast("dict[str, Any]", value).items()}
        case list():
            return [_local(item) for item in cast("list[Any]", value)]  # type: ignore[redundant-cast]
        case str() if value.startswith(_SHARED):
            return _LOCAL + value.removeprefix(_SHARED)
        case _:
            return value


def _referred(value: Any) -> set[str]:
    match value:
        case dict():
            items = list(cast("dict[str, Any]", value).values())
            return {name for item in items for name in _referred(item)}
        case list():
            items = cast("list[Any]", value)  # type: ignore[redundant-cast]
            return {name for item in items for name in _referred(item)}
        case str() if value.startswith(_LOCAL):
            return {value.removeprefix(_LOCAL)}
        case _:
            return set()


# --- deployments -----------------------------------------------------------------------------------------------------


@operation("GET", "/deployments")
async def deployments(call: Call) -> m.Deployments:
    """List the versions of the functions, with the number of live invocations on each."""
    live = await _live(call)
    listed = await call.stack.services.listed()
    complete = live.complete and live.cursor is None
    by_name: dict[str, list[Meta]] = {}
    for meta in live.metas:
        by_name.setdefault(meta.deployment, []).append(meta)
    versions = await _versions(call, listed, by_name)
    found = [_deployment(each, listed, by_name.get(each.deployment, []), complete) for each in versions]
    return {"deployments": found, "complete": complete}


@operation("GET", "/deployments/{name}")
async def deployment(call: Call, name: str) -> m.Deployment:
    """Show a version of a function."""
    for each in (await deployments(call))["deployments"]:
        if each["deployment"] == name:
            return each
    raise _no_deployment(name)


async def _live(call: Call) -> listing.Page:
    return await tree.live_invocations(call, MOST_LIVE)


async def _versions(call: Call, listed: Sequence[Deployed], by_name: dict[str, list[Meta]]) -> list[Version]:
    """Return all versions: those that exist, those that host services, those that live invocations need."""
    versions = call.stack.versions
    known = {each.deployment: each for each in (await versions.listed() if versions is not None else [])}
    for each in listed:
        known.setdefault(each.deployment, Version(each.deployment, each.function, current=True))
    for name in by_name:
        if name:  # those that have not begun run on the current version
            known.setdefault(name, Version(name, name.partition(":")[0]))
    return sorted(known.values(), key=lambda each: (each.function, not each.current, -(each.created or 0)))


def _deployment(version: Version, listed: Sequence[Deployed], live: list[Meta], complete: bool) -> m.Deployment:
    hosted = sorted(each.name for each in listed if each.deployment == version.deployment)
    statuses = Counter(str(meta.status) for meta in live)
    shown = views.without_none(
        function=version.function,
        deployment=version.deployment,
        services=hosted,
        current=version.current or bool(hosted),
        live=len(live),
        statuses={str(each): statuses[each] for each in Status if statuses[each]},
        safe_to_delete=complete and not live and not hosted and not version.current,
        created=views.optional_time(version.created),
    )
    return cast("m.Deployment", shown)


@operation("DELETE", "/deployments/{name}", query=("dry_run",))
async def remove(call: Call, name: str) -> Reply[m.Removed]:
    """Delete a version of a function, unless it is the current one or a live invocation needs it.

    With ``dry_run=true``, only tell whether it can be deleted."""
    versions = call.stack.versions
    dry_run = parameters.flag(call, "dry_run")
    if any(each.deployment == name for each in await call.stack.services.listed()):
        raise ProblemError(f"{name} hosts services: deploy another version first", code=409, kind="in-use")
    if versions is None:
        raise _no_deployment(name)
    needed = await _needed(call, name)
    if needed:
        one = needed[0]
        text = (
            f"{one.id} ({one.target}) and perhaps others continue on {name}: GET /admin/invocations?status=live&"
            f"deployment={name} lists them; resume them on another version, or wait until they end"
        )
        raise ProblemError(text, code=409, kind="in-use")
    if dry_run:
        found = {each.deployment: each for each in await versions.listed()}.get(name)
        if found is None:
            raise _no_deployment(name)
        if found.current:
            raise ProblemError(f"{name} is the current version of its function", code=409, kind="in-use")
        return Reply({"deployment": name, "status": "removable"})
    try:
        if not await versions.remove(name):
            raise _no_deployment(name)
    except InUseError as error:
        raise ProblemError(str(error), code=409, kind="in-use") from None
    return Reply({"deployment": name, "status": "removed"})


async def _needed(call: Call, name: str) -> list[Meta]:
    """Return a live invocation that continues on a version, if there is one.

    Raises:
        TerminalError: If that cannot be told.
    """
    engine = call.stack.engine
    filter = read_filter({"status": [LIVE], "deployment": name})
    names = await call.stack.service_names()
    cursor: str | None = None
    for _ in range(MOST_ROUNDS):
        page = await listing.page(engine, names, filter, 1, cursor)
        if page.metas:
            return page.metas
        if not page.complete:
            raise ProblemError(
                "without the index of invocations it cannot be told what runs on a version: deploy with the parameter "
                "History=true, or delete the version by hand",
                code=409,
                kind="not-indexed",
            )
        cursor = page.cursor
        if cursor is None:
            return []
    raise ProblemError("there are too many live invocations to look at: try again later", code=409, kind="too-many")


def _no_deployment(name: str) -> TerminalError:
    message = f"there is no deployment {name[:100]!r}: `adapter deployments list` lists them"
    return ProblemError(message, code=404, kind="no-such-deployment")


# --- what could not be delivered -------------------------------------------------------------------------------------


@operation("GET", "/dead-letters")
async def dead_letters(call: Call) -> m.DeadLetters:
    """Show some of the messages that could not be delivered, and how many there are, about."""
    queue = call.stack.dead_letters
    if queue is None:
        return {"messages": [], "count": 0}
    letters, count = await queue.sample()
    messages: list[m.DeadLetter] = []
    for each in letters:
        shown = views.without_none(
            id=each.id,
            sent=views.optional_time(each.sent),
            function=each.function,
            reason=each.reason,
            invocation_id=each.invocation,
            body=views.value(each.body),
        )
        messages.append(cast("m.DeadLetter", shown))
    return {"messages": messages, "count": max(count, len(messages))}


@operation("POST", "/dead-letters/purge", accepts=True)
async def purge_dead_letters(call: Call) -> Reply[m.Purged]:
    """Delete all dead letters. No invocation is lost by that: the sweeper continues what is due."""
    if call.stack.dead_letters is not None:
        await call.stack.dead_letters.purge()
    return Reply({"status": "accepted"}, 202)


# --- altogether ------------------------------------------------------------------------------------------------------


@operation("GET", "/overview")
async def overview(call: Call) -> m.Overview:
    """Show how the stack is: the statuses of the latest invocations, what fails, what is overdue."""
    engine, stack = call.stack.engine, call.stack
    names = await stack.service_names()
    now = engine.process.now()
    counted, live, due, listed = await asyncio.gather(
        invocations.counts(call, names, Filter(), None),
        tree.live_invocations(call, parameters.MAX_LIMIT),
        _oldest_due(call),
        stack.services.listed(),
    )
    failing = [meta for meta in live.metas if meta.failures and meta.error]
    paused = [meta for meta in live.metas if meta.status is Status.PAUSED]
    oldest = min(paused, key=lambda meta: meta.created, default=None)
    swept = engine.sweeper.swept if stack.last_sweep is None else await stack.last_sweep()
    return {
        "statuses": counted["statuses"],
        "outcomes": counted["outcomes"],
        "complete": counted["complete"] and counted["cursor"] is None and live.cursor is None,
        "failing": [views.summary(meta, now) for meta in failing[:MOST_FAILING]],
        "oldest_paused": views.summary(oldest, now) if oldest is not None else None,
        "oldest_due": views.optional_time(due),
        "sweeper": {
            "last": views.optional_time(swept),
            "age_seconds": None if swept is None else (now - swept) / 1000,
        },
        "requests": stack.requests() if stack.requests is not None else None,
        "services": len(listed),
        "deployments": len({each.deployment for each in listed}),
    }


async def _oldest_due(call: Call) -> int | None:
    """Return the due time of the invocation that is overdue for the longest time; ``None`` if none is due."""
    engine = call.stack.engine
    now = engine.process.now()
    entries = await asyncio.gather(
        *(engine.storage.read(lambda shard=shard: engine.storage.store.active(shard, 1)) for shard in range(DUE_SHARDS))  # type: ignore[misc]
    )
    dues = [entry.at for listed, _ in entries for entry in listed if entry.at <= now]
    return min(dues, default=None)
