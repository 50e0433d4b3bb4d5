"""Results from outside: awakeables and signals."""

from __future__ import annotations

from adapter.engine.ids import parse_awakeable
from adapter.engine.types import MAX_KEY, Failure, Outcome
from adapter.errors import TerminalError
from adapter.http.admin import models as m
from adapter.http.admin import parameters
from adapter.http.admin.routing import Call, Reply, checked_id, operation, unknown
from adapter.http.results import read_value


@operation("POST", "/awakeables/{id}/resolve", body=bytes, accepts=True)
async def resolve(call: Call, id: str) -> Reply[m.Completed]:
    """Resolve an awakeable with a value."""
    return await _complete(call, id, Outcome(await read_value(call.request)))


@operation("POST", "/awakeables/{id}/reject", body=m.Refusal, accepts=True)
async def reject(call: Call, id: str) -> Reply[m.Completed]:
    """Reject an awakeable with a failure."""
    return await _complete(call, id, Outcome(failure=await rejection(call)))


async def _complete(call: Call, id: str, outcome: Outcome) -> Reply[m.Completed]:
    parsed = parse_awakeable(id)
    if parsed is None:
        raise TerminalError(
            f"{id[:100]!r} is not an awakeable id: copy it from the handler, or from `adapter inv show`", code=400
        )
    engine = call.stack.engine
    ref, _ = parsed
    meta = await engine.storage.find(ref.id)
    if meta is None or meta.ref != ref:
        raise TerminalError(f"no invocation waits for {id}: it does not exist, or it has expired", code=404)
    said = await engine.outbound.complete(id, outcome)
    if said == "not found":
        raise TerminalError(f"{ref.id} has completed: {id} is not waited for", code=409)
    return Reply({"status": said}, 202 if said == "accepted" else 200)


@operation("POST", "/invocations/{id}/signals/{name+}/reject", body=m.Refusal, accepts=True)
async def reject_signal(call: Call, id: str, name: str) -> Reply[m.Acknowledged]:
    """Send a signal that fails the await of it."""
    return await _signal(call, id, name, Outcome(failure=await rejection(call)))


@operation("POST", "/invocations/{id}/signals/{name+}", body=bytes, accepts=True)
async def signal(call: Call, id: str, name: str) -> Reply[m.Acknowledged]:
    """Send a signal with a value."""
    return await _signal(call, id, name, Outcome(await read_value(call.request)))


async def _signal(call: Call, id: str, name: str, outcome: Outcome) -> Reply[m.Acknowledged]:
    if len(name.encode()) > MAX_KEY:
        raise TerminalError(f"a signal's name has up to {MAX_KEY} bytes in UTF-8", code=400)
    meta = await call.find(checked_id(id))
    if not meta.live:
        raise TerminalError(f"{id} has completed", code=409)
    said = await call.stack.engine.outbound.signal(id, name, outcome)
    if said == "not found":
        raise unknown(id)
    return Reply({"invocationId": id, "status": said}, 202)


async def rejection(call: Call) -> Failure:
    """Return the failure that a body gives: JSON with a message, and perhaps a code."""
    body = await parameters.json_body(call, m.Refusal)
    code = body.get("code", 500)
    if not 400 <= code <= 599:
        raise TerminalError("code is from 400 to 599", code=400)
    return Failure(code, body["message"])
