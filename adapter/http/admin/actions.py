"""What is done about invocations, one by one and many at once: cancel, kill, pause, resume, restart, purge."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

from adapter.engine.ids import derived_commit_id
from adapter.engine.notifier import Acknowledgement
from adapter.engine.ports import Unavailable
from adapter.engine.records import Meta, Status, Unreadable
from adapter.errors import TerminalError
from adapter.http.admin import listing, parameters, views
from adapter.http.admin import models as m
from adapter.http.admin.filters import read_filter
from adapter.http.admin.routing import Call, ProblemError, Reply, checked_id, operation, unknown
from adapter.http.admin.why import actions
from adapter.http.messages import ID, idempotency_key, number

LATEST: Final = "latest"
"""Stands for the deployment that hosts an invocation's service now."""

MOST_AT_ONCE: Final = 100
"""How many invocations one bulk request changes at most. A dry run looks at as many as a list has."""

PARALLEL: Final = 8
"""How many of them at the same time."""

MAX_COMMAND: Final = 10**9
"""More than a command's number ever is."""


@operation("POST PATCH", "/invocations/{id}/cancel", headers=("idempotency-key",), accepts=True)
async def cancel(call: Call, id: str) -> Reply[m.Acknowledged]:
    """Cancel an invocation: its next await raises a terminal error, and so do those of its calls, leaves first.

    A second cancellation interrupts the clean-up after the first, unless both have the same idempotency key.
    """
    return await _act(call, id, "cancel")


@operation("POST PATCH", "/invocations/{id}/kill", accepts=True)
async def kill(call: Call, id: str) -> Reply[m.Acknowledged]:
    """End an invocation and its calls at once, and release their keys. A step that runs may still finish."""
    return await _act(call, id, "kill")


@operation("POST PATCH", "/invocations/{id}/pause", accepts=True)
async def pause(call: Call, id: str) -> Reply[m.Acknowledged]:
    """Keep an invocation from continuing until it is resumed."""
    return await _act(call, id, "pause")


@operation("POST PATCH", "/invocations/{id}/resume", query=("deployment",), accepts=True)
async def resume(call: Call, id: str) -> Reply[m.Acknowledged]:
    """Continue a paused invocation, or one that waits for its next attempt, now. With ``deployment``, continue on that
    version; ``latest`` is the one that hosts the service now."""
    return await _act(call, id, "resume", deployment=call.query("deployment"))


@operation("POST PATCH DELETE", "/invocations/{id}/purge", accepts=True)
async def purge(call: Call, id: str) -> Reply[m.Acknowledged]:
    """Forget a completed invocation, as if it had expired."""
    return await _act(call, id, "purge")


@operation(
    "POST PATCH", "/invocations/{id}/restart-as-new", query=("from",), headers=("idempotency-key",), accepts=True
)
async def restart(call: Call, id: str) -> Reply[m.Acknowledged]:
    """Run an invocation's request again as a new invocation.

    With ``from=N``, the new one begins with the results of the commands before N."""
    text = call.query("from")
    first = 0 if text is None else number(text, MAX_COMMAND)
    if first is None:
        raise TerminalError("from must be the number of a command in the journal, such as 4", code=400)
    new = await _restart(call, checked_id(id), first, idempotency_key(call.request))
    return Reply({"invocationId": new, "status": "accepted", "restarted": id}, 202, {ID: new})


async def _restart(call: Call, id: str, first: int, key: str | None) -> str:
    restarted = await call.stack.engine.control.restart(id, idempotency_key=key, first=first)
    if restarted is None:
        raise unknown(id)
    return restarted.id


async def _act(call: Call, id: str, action: str, deployment: str | None = None) -> Reply[m.Acknowledged]:
    checked_id(id)
    if deployment is not None:
        service = (await call.find(id)).target.service if deployment == LATEST else None
        deployment = await deployment_for(call, deployment, service)
    said = await _do(call, id, action, deployment, idempotency_key(call.request))
    return Reply({"invocationId": id, "status": said}, 202 if said == "accepted" else 200, {ID: id})


async def _do(
    call: Call, id: str, action: str, deployment: str | None, key: str | None
) -> Literal["accepted", "already"]:
    """Carry an action out. Return ``accepted``, or ``already`` if nothing is left to do.

    Raises:
        TerminalError: If it cannot be done.
    """
    control = call.stack.engine.control
    said: Acknowledgement
    match action:
        case "cancel":
            said = await control.cancel(id, commit_id=None if key is None else derived_commit_id(id, key))
        case "kill":
            said = await control.kill(id)
        case "pause":
            said = await control.pause(id)
        case "resume":
            said = await control.resume(id, deployment=deployment)
        case _:
            said = await control.purge(id)
    if said == "not found":
        raise unknown(id)
    if said == "already":
        meta = await call.find(id)
        reason = refusal(meta, action)
        if reason is not None:
            raise ProblemError(
                reason[1], code=409, kind=reason[0], id=id, actions=actions(meta, []) if action == "purge" else ()
            )
    return said


def refusal(meta: Meta, action: str) -> tuple[str, str] | None:
    """Return the kind of problem, and the reason, if an action cannot be done about an invocation."""
    if action == "purge":
        if meta.live:
            text = f"{meta.id} is {meta.status}: only what has completed is purged; cancel or kill it first"
            return "still-live", text
    elif action == "restart-as-new":
        return None
    elif not meta.live:
        return "completed", f"{meta.id} has completed"
    elif action == "pause" and meta.status is Status.QUEUED:
        return "queued", f"{meta.id} waits for its key: there is nothing to pause"
    elif action == "pause" and meta.outcome is not None and meta.status is not Status.PAUSED:
        return "ending", f"{meta.id} is being ended: it is too late to pause it"
    return None


async def deployment_for(call: Call, given: str, service: str | None) -> str:
    """Return the deployment that a name stands for. ``latest`` needs a service.

    Raises:
        TerminalError: If there is no such deployment.
    """
    if given == LATEST and service is not None:
        return (await call.stack.service(service)).deployment
    if given != LATEST and await call.stack.has_deployment(given):
        return given
    raise ProblemError(
        f"there is no deployment {given[:100]!r}: `adapter deployments list` lists them, and {LATEST} is the current "
        "one of the invocation's service",
        code=404,
        kind="no-such-deployment",
    )


# --- many ------------------------------------------------------------------------------------------------------------


@operation("POST", "/invocations/bulk", body=m.Bulk, headers=("idempotency-key",))
async def bulk(call: Call) -> m.BulkDone:
    """Act on many invocations: on those with these ids, or on a page of those that the filter matches.

    Repeat the request with the cursor of the answer until that is null. A page that was done before does nothing; to
    restart or cancel the same invocations once more, give another idempotency key.
    """
    body = await parameters.json_body(call, m.Bulk)
    _check(body)
    metas, cursor, missing = await _chosen(call, body)
    now = call.stack.engine.process.now()
    skipped: list[m.Skipped] = [
        {"id": id, "reason": "there is no such invocation, or it has expired"} for id in missing
    ]
    done = 0
    gate = asyncio.Semaphore(PARALLEL)

    async def each(meta: Meta) -> str | None:
        async with gate:
            return await _try(call, meta, body)

    for meta, reason in zip(metas, await asyncio.gather(*map(each, metas)), strict=True):
        if reason is None:
            done += 1
        else:
            skipped.append({"id": meta.id, "reason": reason})
    return {
        "matched": len(metas) + len(missing),
        "done": done,
        "skipped": skipped,
        "invocations": [views.summary(meta, now) for meta in metas],
        "cursor": cursor,
    }


def _check(body: m.Bulk) -> None:
    if ("filter" in body) == ("ids" in body):
        raise TerminalError("send either a filter or ids; an empty filter stands for all", code=400)
    if "deployment" in body and body["action"] != "resume":
        raise TerminalError("only the action resume has a deployment: leave it out", code=400)
    if "from" in body and (body["action"] != "restart-as-new" or not 0 <= body["from"] <= MAX_COMMAND):
        raise TerminalError("only the action restart-as-new has from, the number of a command", code=400)
    if len(body.get("ids", ())) > MOST_AT_ONCE:
        raise TerminalError(f"ids can have {MOST_AT_ONCE} ids at most: send several requests", code=400)


async def _chosen(call: Call, body: m.Bulk) -> tuple[list[Meta], str | None, list[str]]:
    """Return the invocations of this page, the cursor of the next, and the ids that do not exist."""
    engine = call.stack.engine
    if "ids" in body:
        ids = [checked_id(id) for id in dict.fromkeys(body["ids"])]
        records = await listing.records_of(engine, ids)
        return [records[id] for id in ids if id in records], None, [id for id in ids if id not in records]
    filter = read_filter(body.get("filter", {}))
    most = parameters.MAX_LIMIT if body.get("dry_run") else MOST_AT_ONCE
    limit = parameters.checked_limit(body.get("limit", MOST_AT_ONCE), most)
    names = await call.stack.service_names(filter.services)
    page = await listing.page(engine, names, filter, limit, body.get("cursor"))
    if body.get("cursor") is None and not page.metas:
        for each in filter.services:
            await call.stack.service(each)  # an unknown one is an error, not an empty list
    return page.metas, page.cursor, []


async def _try(call: Call, meta: Meta, body: m.Bulk) -> str | None:
    """Do the action to one invocation. Return the reason if it was not done."""
    action = body["action"]
    refused = refusal(meta, action) or _pointless(meta, action, moves="deployment" in body)
    if refused is not None:
        return refused[1]
    try:
        deployment = None
        if "deployment" in body:
            deployment = await deployment_for(call, body["deployment"], meta.target.service)
        if body.get("dry_run"):
            return None
        if action == "restart-as-new":
            first = body.get("from", 0)
            # The same restart of the same invocation is done once, however often a page is repeated.
            key = derived_commit_id(f"{meta.generation} {first}", _once(call))
            await _restart(call, meta.id, first, key)
            return None
        said = await _do(call, meta.id, action, deployment, _once(call))
    except TerminalError as error:
        return error.message
    except (Unavailable, Unreadable) as error:
        return f"try again: {error}"
    return None if said == "accepted" else "nothing was left to do"


def _once(call: Call) -> str:
    """Return the key under which a bulk action cancels an invocation once, however often its page is repeated."""
    return idempotency_key(call.request) or "bulk"


def _pointless(meta: Meta, action: str, *, moves: bool) -> tuple[str, str] | None:
    """Return why an action would change nothing."""
    waits = meta.status in (Status.PAUSED, Status.BACKING_OFF)
    if action == "resume" and not waits and not moves:
        return "not-paused", f"it is {meta.status}: there is nothing to resume"
    if action == "pause" and meta.status is Status.PAUSED:
        return "paused", "it is paused"
    return None
