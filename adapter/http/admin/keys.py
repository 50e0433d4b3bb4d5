"""Keys: their owners, queues and state. The promises of workflows."""

from __future__ import annotations

import asyncio
from typing import Final, cast
from urllib.parse import urlencode

from starlette.responses import Response

from adapter.engine import editing
from adapter.engine.engine import Engine
from adapter.engine.ids import promise_id, workflow_id
from adapter.engine.keys import KeyState
from adapter.engine.ports import Indexed, NotIndexed, Place
from adapter.engine.records import Meta, Status
from adapter.engine.types import MAX_KEY, Kind, ObjectKey, Outcome
from adapter.errors import TerminalError
from adapter.http.admin import listing, parameters, story, views
from adapter.http.admin import models as m
from adapter.http.admin.filters import LIVE, read_filter
from adapter.http.admin.outside import rejection
from adapter.http.admin.routing import Call, ProblemError, Reply, operation
from adapter.http.results import read_value

MOST_QUEUED: Final = 50
"""How many of the invocations that wait for a key an answer has."""

MOST_PROMISES: Final = 1000
"""The most promises of one workflow id that are listed."""


@operation("GET", "/keys", query=("service", "queued", "limit", "cursor"))
async def keys(call: Call) -> m.Keys:
    """List the keys that have an owner or a queue, found through live invocations. With ``queued=true`` only those that
    have a queue."""
    engine = call.stack.engine
    only_queued = parameters.flag(call, "queued")
    statuses = [Status.QUEUED] if only_queued else [LIVE]
    filter = read_filter({"status": statuses, "service": call.query("service")})
    names = await call.stack.service_names(filter.services)
    page = await listing.page(engine, names, filter, parameters.limit(call), call.query("cursor"), _held)
    queued = {meta.target.object for meta in page.metas if meta.status is Status.QUEUED}
    named = list(dict.fromkeys(meta.target.object for meta in page.metas))
    found: list[m.KeyEntry] = []
    for start in range(0, len(named), listing.BATCH):
        heads = await engine.storage.heads(named[start : start + listing.BATCH])
        busy = [key for key, head in heads.items() if head.queued or key in queued]
        waiting = dict(zip(busy, await asyncio.gather(*(_waiting(engine, key) for key in busy)), strict=True))
        for key, head in heads.items():
            if head.owner is not None or waiting.get(key):
                owner = head.owner.id if head.owner else None
                shown = views.without_none(service=key.service, key=key.key, owner=owner, waiting=waiting.get(key, 0))
                found.append(cast("m.KeyEntry", shown))
    return {"keys": found, "cursor": page.cursor, "complete": page.complete}


def _held(meta: Meta) -> ObjectKey | None:
    """Return the key that an invocation may own or wait for."""
    return meta.target.object if meta.kind.exclusive else None


async def _waiting(engine: Engine, key: ObjectKey) -> int:
    return len(await engine.storage.read(lambda: engine.storage.store.inbox(key, editing.MOST_COUNTED)))


@operation("GET", "/services/{service}/key", query=("key",))
async def key(call: Call, service: str) -> m.Key:
    """Show a key: its owner, the first invocations of its queue, its state."""
    engine = call.stack.engine
    place = parameters.key(call, service)
    held = await editing.view(engine.runtime, place)
    if held.version == 0:
        await _require_keys(call, service)
    entries = await engine.storage.read(lambda: engine.storage.store.inbox(place, MOST_QUEUED))
    ids = [entry.ref.id for entry in entries]
    records = await listing.records_of(engine, [*ids, *([held.owner.id] if held.owner else [])])
    now = engine.process.now()
    owner = records.get(held.owner.id) if held.owner else None
    return {
        "service": service,
        "key": place.key,
        "version": held.version,
        "owner": views.summary(owner, now) if owner is not None else None,
        "queue": [views.summary(records[id], now) for id in ids if id in records],
        "waiting": max(held.waiting, len(entries)),
        "state": {name: views.value(value, state_path(place, name)) for name, value in sorted(held.entries.items())},
        "large": list(held.large),
    }


async def _require_keys(call: Call, service: str) -> None:
    """Refuse a service that does not exist, or that has no keys."""
    if all(each.kind is Kind.SERVICE for each in (await call.stack.service(service)).handlers.values()):
        raise TerminalError(
            f"{service!r} has no keys and no state: it is neither a virtual object nor a workflow", code=400
        )


def state_path(key: ObjectKey, name: str) -> str:
    """Return the path of a state entry."""
    return f"/admin/services/{key.service}/state?{urlencode({'key': key.key, 'name': name})}"


# --- state -----------------------------------------------------------------------------------------------------------


@operation("GET", "/services/{service}/state", query=("key", "name"))
async def state(call: Call, service: str) -> Reply[m.State] | Response:
    """Show a key's state. With ``name``, return the bytes of one entry."""
    engine, place, name = call.stack.engine, parameters.key(call, service), call.query("name")
    if name is not None:
        value = await editing.read(engine.runtime, place, name)
        if value is None:
            raise TerminalError(f"{place} has no state {name[:100]!r}", code=404)
        headers = {"content-type": "application/octet-stream", "x-content-type-options": "nosniff"}
        return Response(value, headers=headers)
    held = await editing.view(engine.runtime, place)
    if held.version == 0:  # nothing was ever stored for the key
        await _require_keys(call, service)
    shown: m.State = {
        "version": held.version,
        "owner": held.owner.id if held.owner else None,
        "waiting": held.waiting,
        "state": {name: views.plain(value) for name, value in held.entries.items()},
        "large": list(held.large),
    }
    return Reply(shown, headers=_etag(held.version))


@operation("PUT DELETE", "/services/{service}/state", query=("key", "name"), body=bytes, headers=("if-match",))
async def edit_state(call: Call, service: str) -> Reply[m.Version]:
    """Set or clear a state entry, if the key has the version that If-Match gives, and no owner."""
    engine, place = call.stack.engine, parameters.key(call, service)
    name = parameters.given(call, "name")
    if not any(each.kind is Kind.EXCLUSIVE for each in (await call.stack.service(service)).handlers.values()):
        raise TerminalError(f"{service!r} has no state to edit: it is not a virtual object", code=400)
    value = await read_value(call.request) if call.request.method == "PUT" else None
    try:
        version = await editing.edit(engine.runtime, place, name, value, parameters.if_match(call))
    except editing.ChangedError as error:
        owner = (await editing.view(engine.runtime, place)).owner
        held = f"{place} is held by {owner.id}: wait until that ends, or cancel it" if owner else f"{error}: look again"
        raise ProblemError(held, code=412, kind="key-changed") from None
    return Reply({"version": version}, headers=_etag(version))


def _etag(version: int) -> dict[str, str]:
    return {"etag": f'"{version}"'}


# --- promises --------------------------------------------------------------------------------------------------------


@operation("GET", "/services/{service}/promises", query=("key", "name"))
async def promises(call: Call, service: str) -> m.Promises:
    """List the promises of a workflow id. With ``name``, only that one."""
    engine, place, name = call.stack.engine, parameters.key(call, service), call.query("name")
    try:
        listed = await _indexed(engine, place)
        complete = True
    except NotIndexed:
        listed, complete = await _promises_of_journals(engine, place), False
    if name is not None:
        listed = [name]
    # An id derives from the generation of the workflow's run, so the promises of former runs are left out.
    generation = KeyState((await engine.storage.heads([place]))[place], engine.process.now()).generation
    ids = [promise_id(place, generation, each) for each in dict.fromkeys(listed)]
    records = await listing.records_of(engine, ids)
    found = [await _promise(engine, records[id]) for id in ids if id in records]
    return {"promises": found, "complete": complete}


async def _indexed(engine: Engine, key: ObjectKey) -> list[str]:
    """Return the names of the promises that the index has, also of former runs."""
    names: list[str] = []
    after: Place | None = None
    while len(names) < MOST_PROMISES:
        entries: list[Indexed]
        entries, after = await engine.storage.read(
            lambda after=after: engine.storage.store.index(str(key), MOST_PROMISES, after=after)  # type: ignore[misc]
        )
        names += [entry.target.handler for entry in entries]
        if after is None:
            break
    return names


async def _promises_of_journals(engine: Engine, key: ObjectKey) -> list[str]:
    """Return the names of the promises that the workflow's run has asked for."""
    run = await engine.storage.find(workflow_id(key.service, key.key))
    if run is None:
        return []
    told = await story.read(engine, run)
    return [each.name for each in told.commands.values() if each.kind.endswith("promise")]


async def _promise(engine: Engine, meta: Meta) -> m.Promise:
    shown: m.Promise = {"name": meta.target.handler, "status": "pending", "created": views.time(meta.created)}
    outcome = await engine.storage.result(meta)
    if outcome is None:
        return shown
    if outcome.failure is not None:
        return {**shown, "status": "rejected", "failure": views.failure(outcome.failure)}
    return {**shown, "status": "resolved", "value": views.value(outcome.value or b"")}


@operation("POST", "/services/{service}/promises/{name+}/resolve", query=("key",), body=bytes, accepts=True)
async def resolve_promise(call: Call, service: str, name: str) -> Reply[m.Completed]:
    """Resolve a promise with a value."""
    return await _complete(call, service, name, Outcome(await read_value(call.request)))


@operation("POST", "/services/{service}/promises/{name+}/reject", query=("key",), body=m.Refusal, accepts=True)
async def reject_promise(call: Call, service: str, name: str) -> Reply[m.Completed]:
    """Reject a promise with a failure."""
    return await _complete(call, service, name, Outcome(failure=await rejection(call)))


async def _complete(call: Call, service: str, name: str, outcome: Outcome) -> Reply[m.Completed]:
    handlers = (await call.stack.service(service)).handlers.values()
    if not any(each.kind is Kind.WORKFLOW for each in handlers):
        raise TerminalError(f"{service!r} has no promises: it is not a workflow", code=400)
    if len(name.encode()) > MAX_KEY:
        raise TerminalError(f"the name of a promise can have {MAX_KEY} bytes in UTF-8 at most", code=400)
    said = await call.stack.engine.promises.complete(parameters.key(call, service), name, outcome)
    if said == "not found":
        raise TerminalError(f"there is no promise {name!r}, or it has expired", code=404)
    return Reply({"status": said}, 202 if said == "accepted" else 200)
