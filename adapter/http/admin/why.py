"""Why an invocation does not continue: the chain of waits to its root, and what can be done at each link."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import quote

from adapter.engine.engine import Engine
from adapter.engine.records import Meta, Status, Unreadable
from adapter.engine.types import span
from adapter.http.admin import models as m
from adapter.http.admin import story, views
from adapter.http.admin.routing import Call, operation
from adapter.http.admin.waits import waits_of

LONGEST: Final = 50
"""The most links of a chain."""

STUCK: Final = ("paused", "backing-off", "queued", "suspended", "scheduled", "running", "ready")
"""The statuses of live invocations, by how much such a one needs an operator."""

MOST_BEFORE: Final = 1000
"""The most waiting invocations of a key that are counted."""


@dataclass(slots=True)
class _Link:
    """An invocation of the chain, and the one that it waits for."""

    meta: Meta
    relation: str
    text: str
    next: tuple[str, str] | None = None
    """The id of the next one, and what it is to this one."""
    since: int | None = None
    waits: list[m.Wait] = field(default_factory=list[m.Wait])


@operation("GET", "/invocations/{id}/why")
async def why(call: Call, id: str) -> m.Why:
    """Tell why an invocation does not continue.

    The chain goes from it to the root: what it waits for, and what that waits for.
    """
    meta: Meta | None = await call.find(id)
    engine = call.stack.engine
    links: list[_Link] = []
    seen: dict[str, int] = {}
    relation = "start"
    cycle = False
    while meta is not None and len(links) < LONGEST:
        if meta.id in seen:
            cycle = True
            break
        seen[meta.id] = len(links)
        link = await _link(engine, meta, relation)
        links.append(link)
        if link.next is None:
            break
        next_id, relation = link.next
        meta = await _found(engine, next_id)
        if meta is None:
            link.text += f" {next_id}, of which there is no record"
    deadlocked = [each.meta for each in links[seen[meta.id] :]] if cycle and meta is not None else []
    chain = [_shown(engine, link, deadlocked) for link in links]
    return {"chain": chain, "cycle": cycle, "root": chain[-1], "summary": _summary(links, deadlocked)}


async def _found(engine: Engine, id: str) -> Meta | None:
    try:
        return await engine.storage.find(id)
    except Unreadable:
        return None


async def _link(engine: Engine, meta: Meta, relation: str) -> _Link:
    now = engine.process.now()
    told, _ = await story.read_if_possible(engine, meta)  # without it the record says enough for a chain
    waits = await waits_of(engine, told)
    link = _Link(meta, relation, "", waits=waits, since=_since(told))
    since = f" for {span(max(0, now - link.since))}" if link.since is not None else ""
    match meta.status:
        case Status.SCHEDULED:
            link.text = f"is delayed, and begins{_in(meta.due, now)}"
        case Status.QUEUED:
            before = await _before(engine, meta)
            link.text = f"queued{since} for the key {meta.target.object}{before}"
            owner = waits[0].get("id")
            if owner is None:
                link.text += ", which has no owner now: it is being handed over"
            else:
                link.text += ", behind"
                link.next = owner, f"owner of {meta.target.object}"
        case Status.READY:
            link.text = "is ready: its attempt is about to begin; if the dispatch was lost, the sweeper repeats it"
            link.text += _in(meta.due, now)
        case Status.RUNNING | Status.SUSPENDED:
            _follow(link, since, now)
        case Status.BACKING_OFF:
            steps = [wait.get("name", "") for wait in waits if wait["kind"] == "step"]
            step = f" in step {steps[0]!r}" if steps else ""
            link.text = f"backing off{step}, attempt {_attempt(engine, meta)}: {meta.error}, next{_in(meta.due, now)}"
        case Status.PAUSED:
            reason = f": {meta.error}" if meta.error else ""
            link.text = f"paused{since} until it is resumed{reason}"
        case Status.COMPLETED:
            link.text = f"ended as {meta.ended or 'completed'}{since.removeprefix(' for')}{' ago' if since else ''}"
    return link


def _follow(link: _Link, since: str, now: int) -> None:
    """Tell what an attempt, or a suspended invocation, waits for, and follow the invocation that needs an operator
    most."""
    status = "runs" if link.meta.status is Status.RUNNING else f"suspended{since}"
    waits = link.waits
    calls = [each for each in waits if each["kind"] in ("call", "attach")]
    live = [each for status in STUCK for each in calls if each.get("status") == status]
    steps = [each for each in waits if each["kind"] == "step"]
    if live:
        link.text = f"{status}, waits for"
        more = len(live) - 1
        link.text += f" {more} other{'s' if more > 1 else ''} and" if more else ""
        link.next = live[0].get("id", ""), "called by it" if live[0]["kind"] == "call" else "attached to"
    elif steps:
        names = ", ".join(repr(each.get("name", "")) for each in steps[:3])
        link.text = f"{status}: step {names} is under way"
    elif any(each["kind"] == "endpoint" for each in waits):
        link.text = f"{status}: its code is under way at its endpoint"
    elif waits:
        link.text = f"{status}, waits for " + " or ".join(map(_named, waits[:5]))
    elif link.meta.status is Status.RUNNING:
        lease = (
            "" if link.meta.due is None else f"; if its process is gone, it is taken up again{_in(link.meta.due, now)}"
        )
        link.text = f"runs{since}{lease}"
    else:
        link.text = f"{status}, and is woken when a result arrives"


def _named(wait: m.Wait) -> str:
    match wait["kind"]:
        case "timer":
            return f"its timer at {wait.get('until', 'a time')}"
        case "signal" | "promise" as kind:
            return f"the {kind} {wait.get('name', '')!r}"
        case "awakeable":
            return f"the awakeable {wait.get('id', '')}"
        case kind:
            return f"a {kind}, whose result is on its way"


def _since(told: story.Story) -> int | None:
    """Return since when an invocation is what it is, if that is known."""
    meta = told.meta
    match meta.status:
        case Status.QUEUED:
            return int(meta.ticket[:16]) // 1000 if meta.ticket else None
        case Status.BACKING_OFF | Status.PAUSED:
            return meta.failed
        case Status.COMPLETED:
            return meta.completed
        case Status.RUNNING | Status.SUSPENDED:
            return told.latest or meta.created
        case _:
            return meta.created


async def _before(engine: Engine, meta: Meta) -> str:
    entries = await engine.storage.read(lambda: engine.storage.store.inbox(meta.target.object, MOST_BEFORE))
    place = next((place for place, entry in enumerate(entries) if entry.ref == meta.ref), 0)
    return f", after {place} other{'s' if place > 1 else ''}" if place else ""


def _attempt(engine: Engine, meta: Meta) -> str:
    spec = engine.deployment.handler(meta.target)
    most = spec.options.retry.attempts if spec is not None else None
    return f"{meta.failures}" + (f" of {most}" if most is not None else "")


def _in(at: int | None, now: int) -> str:
    if at is None:
        return ""
    return f" in {span(at - now)}" if at > now else " now"


# --- what is shown ---------------------------------------------------------------------------------------------------


def _shown(engine: Engine, link: _Link, deadlocked: list[Meta]) -> m.Link:
    meta = link.meta
    spec = engine.deployment.handler(meta.target)
    backing_off = meta.status is Status.BACKING_OFF
    awakeable = next((each.get("id") for each in link.waits if each["kind"] == "awakeable"), None)
    shown: dict[str, Any] = views.without_none(
        id=meta.id,
        target=str(meta.target),
        status=str(meta.status),
        relation=link.relation,
        text=link.text,
        since=views.optional_time(link.since),
        attempt=meta.failures if backing_off else None,
        max_attempts=spec.options.retry.attempts if spec is not None and backing_off else None,
        error=meta.error if meta.live else None,
        next=views.optional_time(meta.due) if backing_off else None,
        awakeable=awakeable,
    )
    shown["actions"] = actions(meta, link.waits, in_cycle=meta in deadlocked)
    return cast("m.Link", shown)


def _summary(links: list[_Link], deadlocked: list[Meta]) -> str:
    first, root = links[0].meta, links[-1]
    if deadlocked:
        names = " → ".join(str(each.target) for each in [*deadlocked, deadlocked[0]])
        return f"{first.target} is part of a deadlock, or waits for one: {names}. Cancel or kill one of them."
    if root.meta.id == first.id:
        return f"{first.target} {_sentence(root.text)}."
    return f"{first.target} waits for {root.meta.target}, which {_sentence(root.text)}."


def _sentence(text: str) -> str:
    """Return a link's text with a verb."""
    verbs = ("is ", "runs", "waits ", "ended ")
    return text if text.startswith(verbs) else f"is {text}"


def actions(meta: Meta, waits: list[m.Wait], *, in_cycle: bool = False) -> list[m.Action]:
    """Return what an operator can do about an invocation, the most fitting first."""
    found: list[m.Action] = []
    id = meta.id
    for wait in waits:
        match wait["kind"]:
            case "awakeable":
                awk = wait.get("id", "")
                found += [
                    _action(
                        "resolve the awakeable", f"/admin/awakeables/{awk}/resolve", f"awakeable resolve {awk} JSON"
                    ),
                    _action(
                        "reject the awakeable", f"/admin/awakeables/{awk}/reject", f"awakeable reject {awk} REASON"
                    ),
                ]
            case "signal":
                name = wait.get("name", "")
                path = f"/admin/invocations/{id}/signals/{quote(name, safe='')}"
                found.append(_action("send the signal", path, f"signal {id} {name} JSON"))
            case "promise" if meta.target.key is not None:
                name, target = wait.get("name", ""), meta.target
                path = f"/admin/services/{target.service}/promises/{quote(name, safe='')}"
                query = f"?key={quote(target.key or '', safe='')}"
                command = f"promise resolve {target.service} {target.key} {name} JSON"
                found.append(_action("resolve the promise", f"{path}/resolve{query}", command))
            case _:
                pass
    base = f"/admin/invocations/{id}"
    if meta.status in (Status.BACKING_OFF, Status.PAUSED):
        found.append(_action("resume it now", f"{base}/resume", f"inv resume {id}"))
        latest = _action("resume it on the latest version", f"{base}/resume?deployment=latest", "")
        found.append({**latest, "command": f"adapter inv resume {id} --deployment latest"})
    if meta.live:
        found.append(_action("cancel it", f"{base}/cancel", f"inv cancel {id}"))
        found.append(_action("kill it", f"{base}/kill", f"inv kill {id}"))
    if in_cycle:
        found.sort(key=lambda action: not action["path"].endswith(("/cancel", "/kill")))
    return found


def _action(text: str, path: str, command: str) -> m.Action:
    return {"text": text, "method": "POST", "path": path, "command": f"adapter {command}"}
