"""Lists of invocations, and one invocation: its record, its journal, its values."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, cast

from starlette.responses import Response

from adapter.engine.journal import AttemptStarted
from adapter.engine.ports import NotIndexed
from adapter.engine.records import Ended, Meta, Status, Unreadable
from adapter.engine.types import Outcome
from adapter.errors import TerminalError
from adapter.http.admin import listing, parameters, story, views
from adapter.http.admin import models as m
from adapter.http.admin.filters import FILTERS, Filter, queried_filter
from adapter.http.admin.routing import Call, ProblemError, Reply, operation
from adapter.http.admin.waits import waits_of
from adapter.http.messages import ID

MOST_COUNTED: Final = 5000
"""How many entries of the index one answer counts."""


@operation("GET", "/invocations", query=(*FILTERS, "limit", "cursor"))
async def list_invocations(call: Call) -> m.Invocations:
    """List invocations, latest first: all that are live or kept, or those that the filters match."""
    filter, limit = queried_filter(call), parameters.limit(call)
    cursor = call.query("cursor")
    engine = call.stack.engine
    page = await listing.page(engine, await call.stack.service_names(filter.services), filter, limit, cursor)
    if cursor is None and not page.metas:
        for each in filter.services:
            await call.stack.service(each)  # an unknown one is an error, not an empty list
    now = engine.process.now()
    found = [views.summary(meta, now) for meta in page.metas]
    return {"invocations": found, "cursor": page.cursor, "complete": page.complete}


@operation("GET", "/invocations/counts", query=(*FILTERS, "cursor"))
async def count(call: Call) -> m.Counts:
    """Count invocations by status and outcome. Follow the cursor, and add the answers up."""
    filter = queried_filter(call)
    names = await call.stack.service_names(filter.services)
    return await counts(call, names, filter, call.query("cursor"))


async def counts(call: Call, names: list[str], filter: Filter, cursor: str | None) -> m.Counts:
    """Count a page of the index. The records of live invocations are read for their statuses."""
    engine = call.stack.engine
    statuses: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    start = listing.read_cursor(cursor)
    if start is None or isinstance(start, tuple):
        index = listing.open_index(engine, names, filter.wanted, start, MOST_COUNTED)
        try:
            entries = [entry for entry in await index.next(MOST_COUNTED) if filter.may_match(entry)]
        except NotIndexed:
            return await _count_records(call, names, filter, cursor)
        ask = [each for each in entries if each.ended is None or filter.deployments]
        records = await listing.records_of(engine, [each.id for each in ask])
        asked = {each.id for each in ask}
        for entry in entries:
            meta = records.get(entry.id)
            if entry.id in asked and (meta is None or meta.created != entry.at or not filter.matches(meta)):
                continue
            ended = meta.ended if meta is not None else entry.ended
            statuses[str(meta.status if meta is not None else Status.COMPLETED)] += 1
            if ended is not None:
                outcomes[str(ended)] += 1
        left = None if index.exhausted else listing.write_cursor(index.place)
        return _counts(statuses, outcomes, left, complete=True)
    return await _count_records(call, names, filter, cursor)


async def _count_records(call: Call, names: list[str], filter: Filter, cursor: str | None) -> m.Counts:
    """Count without the index: the live invocations that have a due time."""
    page = await listing.page(call.stack.engine, names, filter, parameters.MAX_LIMIT, cursor)
    statuses = Counter(str(meta.status) for meta in page.metas)
    outcomes = Counter(str(meta.ended) for meta in page.metas if meta.ended is not None)
    return _counts(statuses, outcomes, page.cursor, complete=page.complete)


def _counts(statuses: Counter[str], outcomes: Counter[str], cursor: str | None, *, complete: bool) -> m.Counts:
    return {
        "total": statuses.total(),
        "statuses": {str(each): statuses[each] for each in Status if statuses[each]},
        "outcomes": {str(each): outcomes[each] for each in Ended if outcomes[each]},
        "cursor": cursor,
        "complete": complete,
    }


# --- one -------------------------------------------------------------------------------------------------------------


@operation("GET", "/invocations/{id}")
async def show(call: Call, id: str) -> Reply[m.Invocation]:
    """Show an invocation: its record, input and output, what it waits for, and the errors of its attempts."""
    meta = await call.find(id)
    engine = call.stack.engine
    told, unreadable = await story.read_if_possible(engine, meta)
    try:
        input = views.value(await engine.storage.input(meta), f"/admin/invocations/{meta.id}/input")
    except Unreadable as error:
        input, unreadable = None, str(error)
    shown: dict[str, Any] = {
        **views.summary(meta, engine.process.now()),
        **views.without_none(
            input=input,
            unreadable=unreadable,
            output=await _output(call, meta),
            failure=views.failure(meta.outcome.failure) if meta.outcome and meta.outcome.failure else None,
            expires=views.optional_time(meta.expires),
            journal_expires=views.optional_time(meta.journal_expires),
            ticket=meta.ticket,
            idempotency_key=meta.idempotency_key,
        ),
        "headers": dict(meta.headers),
        "waiters": meta.waiters,
        "idempotent": meta.idempotent,
        "waits": await waits_of(engine, told),
        "errors": _errors(told),
    }
    spec = engine.deployment.handler(meta.target)
    if spec is not None:
        shown["retry"] = views.retry(spec.options.retry)
    return Reply(cast("m.Invocation", shown), headers={ID: meta.id})


def _errors(told: story.Story) -> list[m.AttemptError]:
    """Return what the attempts raised: each attempt's start has the error of the one before."""
    meta = told.meta
    found: list[m.AttemptError] = []
    for each in told.order:
        entry = None if isinstance(each, int) else each[0]
        if entry is not None and entry.failed is not None:
            found.append({"attempt": entry.epoch - 1, "at": views.time(entry.failed), "error": entry.error})
    if meta.live and meta.error is not None and (meta.failed is not None or not found):
        last = views.without_none(attempt=meta.epoch, at=views.optional_time(meta.failed), error=meta.error)
        found.append(cast("m.AttemptError", last))
    return found


async def _output(call: Call, meta: Meta) -> m.Value | None:
    outcome = await call.stack.engine.storage.result(meta)
    if outcome is None or outcome.value is None:
        return None
    return views.value(outcome.value, f"/admin/invocations/{meta.id}/output")


@operation("GET", "/invocations/{id}/input")
async def whole_input(call: Call, id: str) -> Response:
    """Return the whole input, as it was sent."""
    return _bytes(await call.stack.engine.storage.input(await call.find(id)))


@operation("GET", "/invocations/{id}/output")
async def whole_output(call: Call, id: str) -> Response:
    """Return the whole output."""
    meta = await call.find(id)
    outcome = await call.stack.engine.storage.result(meta)
    if outcome is None or outcome.value is None:
        raise TerminalError(f"{id} has no output: it is {meta.ended or meta.status}", code=404)
    return _bytes(outcome.value)


@operation("GET", "/invocations/{id}/entries/{n}/value", query=("part",))
async def whole_value(call: Call, id: str, n: str) -> Response:
    """Return the whole result of a command, or of a part of one."""
    told = await story.read(call.stack.engine, await call.find(id))
    command, part = None, call.query("part")
    if n.isdecimal() and len(n) < 10:
        parts = told.parts.get(int(n), [])
        command = told.commands.get(int(n)) if part is None else next((p for p in parts if str(p.part) == part), None)
    if command is None or command.result is None or command.result.value is None:
        raise TerminalError(f"entry {n[:20]} of {id} has no value", code=404)
    return _bytes(command.result.value)


def _bytes(data: bytes) -> Response:
    # Never as a page: the bytes are a user's.
    headers = {"content-type": "application/octet-stream", "x-content-type-options": "nosniff"}
    return Response(data, headers=headers)


# --- the journal -----------------------------------------------------------------------------------------------------


@operation("GET", "/invocations/{id}/journal", query=("limit", "cursor"))
async def journal(call: Call, id: str) -> m.Journal:
    """Show the journal: commands with their results, and the attempts."""
    limit, cursor = parameters.limit(call), call.query("cursor")
    meta = await call.find(id)
    engine = call.stack.engine
    told = await story.read(engine, meta)
    start = 0 if cursor is None else _position(cursor)
    all = told.entries()
    shown = all[start : start + limit]
    commands = [each for each in shown if isinstance(each, story.Command)]
    children = await story.children(engine, told, [each for each in commands if each.calls])
    entries = [_command(told, each, children) if isinstance(each, story.Command) else _attempt(*each) for each in shown]
    more = start + limit < len(all)
    return {"entries": entries, "cursor": str(start + limit) if more else None}


def _position(cursor: str) -> int:
    if not cursor.isdecimal() or len(cursor) > 9:
        raise TerminalError("the cursor is invalid: send the cursor of the page before, unchanged", code=400)
    return int(cursor)


def _attempt(entry: AttemptStarted, at: int | None) -> m.JournalEntry:
    shown = views.without_none(
        attempt=entry.epoch,
        at=views.optional_time(at),
        error=entry.error or None,
        failed=views.optional_time(entry.failed),
        lost=True if entry.lost else None,
    )
    return cast("m.JournalEntry", shown)


def _command(told: story.Story, command: story.Command, children: dict[int, tuple[str, Meta | None]]) -> m.JournalEntry:
    at, done = command.at, command.done
    shown = views.without_none(
        n=command.n,
        part=command.part,
        command=command.kind,
        name=command.name or None,
        at=views.optional_time(at),
        done=views.optional_time(done),
        duration_ms=done - at if done is not None and at is not None else None,
        child=children[command.n][0] if command.n in children else None,
        awakeable=command.awakeable,
        promise=command.name if command.kind.endswith("promise") else None,
        until=views.optional_time(command.until),
        tries=command.tries or None,
    )
    if command.result is not None and command.kind not in story.NO_RESULT:
        shown |= _result(told.meta, command, command.result)
    return cast("m.JournalEntry", shown)


def _result(meta: Meta, command: story.Command, result: Outcome) -> dict[str, Any]:
    if result.failure is not None:
        return {"failure": views.failure(result.failure)}
    if result.value is None:
        return {}
    part = "" if command.part is None else f"?part={command.part}"
    return {
        "size": len(result.value),
        "value": views.value(result.value, f"/admin/invocations/{meta.id}/entries/{command.n}/value{part}"),
    }


@operation("GET", "/invocations/{id}/logs")
async def logs(call: Call, id: str) -> m.Logs:
    """Show the latest log lines of an invocation. Only the development server keeps them."""
    meta = await call.find(id)
    if call.stack.logs is None:
        raise ProblemError(
            f"a deployed stack logs to CloudWatch: run `adapter inv logs {meta.id} --stack NAME`",
            code=501,
            kind="not-kept",
            id=meta.id,
        )
    return {"lines": call.stack.logs(meta.id)}
