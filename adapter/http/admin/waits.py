"""What an invocation waits for: for an operation, a key, a time, an attempt, an operator."""

from __future__ import annotations

from typing import Final, cast

from adapter.engine.engine import Engine
from adapter.engine.ids import INVOCATION_ID
from adapter.engine.records import Meta, Status, Unreadable
from adapter.http.admin import models as m
from adapter.http.admin import views
from adapter.http.admin.listing import records_of
from adapter.http.admin.story import Command, Story, children

MOST_WAITS: Final = 100
"""The most waits that are shown of one invocation."""


async def waits_of(engine: Engine, story: Story) -> list[m.Wait]:
    """Return what an invocation waits for now."""
    meta = story.meta
    match meta.status:
        case Status.SCHEDULED:
            return [_wait("timer", until=meta.due)]
        case Status.QUEUED:
            return [_wait("key", name=str(meta.target.object), id=await _owner(engine, meta))]
        case Status.READY:
            return [_wait("attempt")]
        case Status.BACKING_OFF:
            return [_wait("attempt", until=meta.due), *_failed_steps(story)]
        case Status.PAUSED:
            return [_wait("operator")]
        case Status.RUNNING | Status.SUSPENDED:
            return await _pending(engine, story)
        case Status.COMPLETED:
            return []


async def _owner(engine: Engine, meta: Meta) -> str | None:
    """Return the invocation that owns an invocation's key; ``None`` if none does, or that cannot be read."""
    key = meta.target.object
    try:
        head = (await engine.storage.heads([key]))[key]
    except Unreadable:
        return None
    return head.owner.id if head.owner is not None else None


async def _pending(engine: Engine, story: Story) -> list[m.Wait]:
    """Return the commands that the handler awaits. If its record does not tell, return all that have no result."""
    commands = [each for each in story.entries() if isinstance(each, Command) and each.waits]
    if story.meta.awaits is not None and story.meta.status is Status.SUSPENDED:
        awaited = {n for leaf in story.meta.awaits.leaves for n in leaf.commands}
        commands = [each for each in commands if each.n in awaited]
    commands = commands[:MOST_WAITS]
    created = await children(engine, story, [each for each in commands if each.kind == "call"])
    attached = [each.name for each in commands if each.kind == "attach" and INVOCATION_ID.fullmatch(each.name)]
    others = await records_of(engine, attached)
    found: list[m.Wait] = []
    for command in commands:
        n = command.n
        match command.kind:
            case "sleep":
                found.append(_wait("timer", n, command.name, until=command.until))
            case "run":
                found.append(_step(command))
            case "exchange":
                found.append(_wait("endpoint", n))
            case "call":
                id, child = created[n]
                found.append(_wait("call", n, command.name, id, status=_status(child)))
            case "attach":
                found.append(_wait("attach", n, id=command.name, status=_status(others.get(command.name))))
            case "awakeable":
                found.append(_wait("awakeable", n, id=command.awakeable))
            case kind:
                found.append(_wait(kind, n, command.name))
    if story.meta.timer is not None and not any("until" in each for each in found):
        found.append(_wait("timer", until=story.meta.timer))
    return found


def _failed_steps(story: Story) -> list[m.Wait]:
    return [_step(each) for each in story.entries() if isinstance(each, Command) and each.kind == "run" and each.waits]


def _step(command: Command) -> m.Wait:
    return _wait("step", command.n, command.name)


def _status(meta: Meta | None) -> str | None:
    return None if meta is None else str(meta.status)


def _wait(
    kind: str,
    command: int | None = None,
    name: str | None = None,
    id: str | None = None,
    *,
    until: int | None = None,
    status: str | None = None,
) -> m.Wait:
    shown = views.without_none(
        kind=kind, command=command, name=name or None, id=id, until=views.optional_time(until), status=status
    )
    return cast("m.Wait", shown)
