"""The rows of the tables that Restate's tools query, from the records of this admin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from adapter.engine import editing
from adapter.engine.records import Ended, Meta, Status
from adapter.engine.types import ObjectKey
from adapter.errors import TerminalError
from adapter.http.admin import listing, stack, views
from adapter.http.admin.filters import LIVE, read_filter
from adapter.http.admin.models import Service
from adapter.http.admin.query import TABLES, Query, Row
from adapter.http.admin.routing import Call

MOST: Final = 5000
"""The most invocations that a query reads."""

TYPES: Final = {"service": "service", "object": "virtual_object", "workflow": "workflow"}

STATUSES: Final = {Status.QUEUED: "pending"}
"""The statuses that ``sys_invocation`` names otherwise."""

INTERNAL: Final = {
    Status.QUEUED: "inboxed", Status.READY: "invoked", Status.RUNNING: "invoked", Status.BACKING_OFF: "invoked",
}  # fmt: skip
"""The statuses that ``sys_invocation_status`` names otherwise."""

DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def deployment_id(name: str) -> str:
    """Return the id by which Restate's tools know a deployment. The name of what this process serves is empty.

    >>> deployment_id("shop:3")
    'dp_100Xu03wYqghKhuegpVv8dN'
    """
    number = int.from_bytes(sha256(name.encode()).digest()[:15])
    digits = ""
    for _ in range(22):
        number, digit = divmod(number, 62)
        digits = DIGITS[digit] + digits
    return f"dp_1{digits}"


async def rows_for(call: Call, query: Query) -> dict[str, list[Row]]:
    """Return the rows that a query needs.

    Raises:
        TerminalError: With code 501 if these are too many, or cannot be found.
    """
    found: dict[str, list[Row]] = {}
    invocations = query.tables & {"sys_invocation", "sys_invocation_status", "sys_inbox"}
    metas = await _metas(call, query) if invocations else []
    for table in query.tables:
        match table:
            case "sys_invocation" | "sys_invocation_status":
                found[table] = await _invocations(
                    call, query, metas, STATUSES if table == "sys_invocation" else INTERNAL
                )
            case "sys_inbox":
                found[table] = [_waiting(meta) for meta in metas if meta.status is Status.QUEUED]
            case "state":
                found[table] = await _state(call, query)
            case "sys_deployment":
                found[table] = [_deployment(each) for each in (await stack.deployments(call))["deployments"]]
            case "sys_service":
                found[table] = [_service(each) for each in (await stack.services(call))["services"]]
            case _:
                found[table] = [
                    {"table_name": name, "column_name": column} for name in TABLES for column in TABLES[name]
                ]
    return found


# --- invocations -----------------------------------------------------------------------------------------------------


async def _metas(call: Call, query: Query) -> list[Meta]:
    engine = call.stack.engine
    if query.ids is not None:
        return list((await listing.records_of(engine, query.ids)).values())
    known = set(await call.stack.service_names())
    services = sorted(query.services & known) if query.services else sorted(known)
    if not services:
        return []
    live = query.live or query.tables == frozenset({"sys_inbox"})
    filter = read_filter({"status": [LIVE] if live else [], "service": services if query.services else []})
    found: list[Meta] = []
    cursor: str | None = None
    while True:
        page = await listing.page(engine, services, filter, 1000, cursor)
        found += page.metas
        cursor = page.cursor
        if not page.complete:
            raise TerminalError("the list of invocations is switched off, so a query needs ids", code=501)
        if len(found) > MOST:
            raise TerminalError(
                f"a query reads at most {MOST:,} invocations: name services or ids, leave completed ones out, "
                "or use adapter inv list",
                code=501,
            )
        if cursor is None:
            return found


async def _invocations(call: Call, query: Query, metas: Sequence[Meta], statuses: Mapping[Status, str]) -> list[Row]:
    kinds = {each["name"]: TYPES[each["kind"]] for each in (await stack.services(call))["services"]}
    callers: Mapping[str, Meta] = {}
    if query.names("invoked_by_target"):
        ids = {id for meta in metas if (id := _caller(meta)) is not None}
        callers = await listing.records_of(call.stack.engine, sorted(ids))
    return [_invocation(meta, statuses, kinds, callers) for meta in metas]


def _caller(meta: Meta) -> str | None:
    if meta.parent is not None:
        return meta.parent.ref.id
    return meta.sender.id if meta.sender is not None else None


def _invocation(
    meta: Meta, statuses: Mapping[Status, str], kinds: Mapping[str, str], callers: Mapping[str, Meta]
) -> Row:
    target, caller = meta.target, _caller(meta)
    deployment = deployment_id(meta.deployment) if meta.epoch > 0 else None
    failure = meta.outcome.failure if meta.outcome is not None and not meta.live else None
    return {
        "id": meta.id,
        "target": str(target),
        "target_service_name": target.service,
        "target_service_key": target.key,
        "target_handler_name": target.handler,
        "target_service_ty": kinds.get(target.service, "service" if target.key is None else "virtual_object"),
        "idempotency_key": meta.idempotency_key,
        "status": statuses.get(meta.status, str(meta.status)),
        "created_at": _time(meta.created),
        "modified_at": _time(meta.completed or meta.failed or meta.created),
        "scheduled_start_at": _time(meta.due) if meta.status is Status.SCHEDULED else None,
        "next_retry_at": _time(meta.due) if meta.status is Status.BACKING_OFF else None,
        "completed_at": _time(meta.completed),
        "pinned_deployment_id": deployment,
        "last_attempt_deployment_id": deployment,
        "retry_count": meta.failures if meta.live else None,
        "last_failure": meta.error if meta.live else None,
        "invoked_by": "service" if caller else "ingress",
        "invoked_by_id": caller,
        "invoked_by_target": str(callers[caller].target) if caller is not None and caller in callers else None,
        "completion_result": None if meta.live else "success" if meta.ended is Ended.COMPLETED else "failure",
        "completion_failure": f"[{failure.code}] {failure.message}" if failure is not None else None,
    }


def _waiting(meta: Meta) -> Row:
    created = _time(meta.created)
    target = meta.target
    return {"service_name": target.service, "service_key": target.key, "id": meta.id, "created_at": created}


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else views.time(milliseconds).replace("+00:00", "Z")


# --- state -----------------------------------------------------------------------------------------------------------


async def _state(call: Call, query: Query) -> list[Row]:
    if len(query.services) != 1 or len(query.keys) != 1:
        asked = "WHERE service_name = '…' AND service_key = '…'"
        raise TerminalError(f"a query of state names one service and one key: {asked}", code=501)
    runtime = call.stack.engine.runtime
    key = ObjectKey(*query.services, *query.keys)
    held = await editing.view(runtime, key)
    entries: dict[str, Any] = dict(held.entries)
    for name in held.large:
        entries[name] = await editing.read(runtime, key, name)
    names = {"service_name": key.service, "service_key": key.key}
    return [
        {**names, "key": name, "value": value, "value_utf8": value.decode(errors="replace")}
        for name, value in sorted(entries.items())
    ]


# --- the stack -------------------------------------------------------------------------------------------------------


def _deployment(of: Any) -> Row:
    id = deployment_id(of["deployment"])
    return {"id": id, "ty": "http", "endpoint": of["function"], "created_at": of.get("created")}


def _service(of: Service) -> Row:
    deployment, public = deployment_id(of["deployment"]), is_public(of)
    return {"name": of["name"], "ty": TYPES[of["kind"]], "revision": 1, "public": public, "deployment_id": deployment}


def is_public(service: Service) -> bool:
    """Return True if clients may call a handler of the service."""
    return not all(each["private"] for each in service["handlers"].values())
