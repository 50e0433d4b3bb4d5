"""What an invocation has done, read from its journal and its notifications: commands, results, attempts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from adapter.engine.engine import Engine
from adapter.engine.ids import awakeable_id, child_id, idempotent_id, sdk_awakeable, workflow_id
from adapter.engine.journal import (
    CANCEL,
    AttemptStarted,
    CommandIssued,
    NotificationDelivered,
    ResultDelivered,
    StateRead,
    StepRetried,
    Timed,
)
from adapter.engine.records import Meta, Notification, Unreadable
from adapter.engine.types import NAME, Kind, Outcome, Target
from adapter.http.admin.listing import records_of

RESULTS_FROM_ELSEWHERE: Final = ("call", "attach", "awakeable", "signal", "promise")
"""The kinds of commands whose results are notifications."""

EXCHANGE: Final = "exchange"
"""The kind of the command that calls the endpoint of a Restate SDK, whose handler the invocation runs."""

NO_RESULT: Final = ("sleep", "send", "set", "clear", "clear-all")
"""The kinds of commands that have no value, or give it to another invocation."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command with what became of it.

    Attributes:
        n: Its number.
        kind: What it asks for, such as ``call``.
        name: What it asks it of: a step's name, a target, an id.
        at: When it was issued; ``None`` if the journal does not tell.
        until: For a sleep: when it ends.
        result: Its result, once there is one.
        done: When the result was there.
        delivered: True if the handler has the result.
        tries: For a step: how often it has failed so far.
        awakeable: The id of an awakeable.
        part: For what an SDK's handler did within an exchange with its endpoint: its place there. ``n`` is the
            exchange's.
    """

    n: int
    kind: str
    name: str
    at: int | None = None
    until: int | None = None
    result: Outcome | None = None
    done: int | None = None
    delivered: bool = False
    tries: int = 0
    awakeable: str | None = None
    part: int | None = None

    @property
    def waits(self) -> bool:
        """True if the handler can wait for its result, and has not got it."""
        return self.result is None and self.kind in (*RESULTS_FROM_ELSEWHERE, "sleep", "run", EXCHANGE)

    @property
    def calls(self) -> bool:
        """True if it creates an invocation."""
        return self.kind in ("call", "send")


Attempt = tuple[AttemptStarted, int | None]
"""The start of a further attempt, and when that was."""


@dataclass(slots=True)
class Story:
    """What an invocation has done.

    Attributes:
        commands: By number.
        parts: What an SDK's handler did within its exchanges, by the exchange's number.
        order: What happened, in order: the numbers of commands as they were issued, and attempts.
        cancelled: True if the handler knows of its cancellation.
        latest: When the last entry was recorded.
    """

    meta: Meta
    commands: dict[int, Command] = field(default_factory=dict[int, Command])
    parts: dict[int, list[Command]] = field(default_factory=dict[int, list[Command]])
    order: list[int | Attempt] = field(default_factory=list["int | Attempt"])
    cancelled: bool = False
    latest: int | None = None

    def entries(self) -> list[Command | Attempt]:
        """Return what happened, in order. What an SDK's handler did stands in the place of its exchanges."""
        found: list[Command | Attempt] = []
        for each in self.order:
            if isinstance(each, int):
                found += self.parts.get(each, [self.commands[each]])
            else:
                found.append(each)
        return found


async def read(engine: Engine, meta: Meta) -> Story:
    """Return what an invocation has done.

    Raises:
        Unreadable: If its journal cannot be read.
    """
    entries, notifications = await engine.storage.timed_journal(meta)
    return tell(meta, entries, [await engine.storage.with_value(each) for each in notifications])


async def read_if_possible(engine: Engine, meta: Meta) -> tuple[Story, str | None]:
    """Return what an invocation has done, as far as that can be read, and why it cannot be read."""
    try:
        return await read(engine, meta), None
    except Unreadable as error:
        return Story(meta), str(error)


def tell(meta: Meta, entries: list[Timed], notifications: list[Notification]) -> Story:
    """Return what the entries of a journal say."""
    story = Story(meta)
    commands = story.commands
    arrived = {each.id: each for each in notifications}
    for entry, at in entries:
        story.latest = at if at is not None else story.latest
        match entry:
            case CommandIssued(n):
                commands[n] = _issued(meta, entry, at)
                story.order.append(n)
            case AttemptStarted():
                story.order.append((entry, at))
            case ResultDelivered(n, outcome) | StateRead(n, outcome) if n in commands:
                delivered = isinstance(entry, ResultDelivered)
                commands[n] = replace(commands[n], result=outcome, done=at, delivered=delivered)
            case NotificationDelivered(n, id) if n in commands:
                note = arrived.get(id)
                outcome = note.outcome if note is not None else Outcome()
                commands[n] = replace(commands[n], result=outcome, done=note.created if note else at, delivered=True)
            case StepRetried(n, tries) if n in commands:
                commands[n] = replace(commands[n], tries=tries)
            case _:
                story.cancelled = story.cancelled or entry.n == CANCEL
    for note in notifications:  # those that the handler has not got yet
        number = int(note.id[1:]) if note.id[0] in "acw" else -1
        if number in commands and commands[number].result is None:
            commands[number] = replace(commands[number], result=note.outcome, done=note.created)
    story.parts = _parts(commands)
    return story


def _issued(meta: Meta, entry: CommandIssued, at: int | None) -> Command:
    n, kind, name, result = entry.n, entry.kind, entry.name, entry.value
    awakeable = None
    if kind == "awakeable":
        awakeable = awakeable_id(meta.issuer(n), n)
    elif kind == "signal" and (awakeable := sdk_awakeable(meta.issuer(n), name)) is not None:
        kind, name = "awakeable", ""
    until = entry.at if kind == "sleep" else None
    return Command(n, kind, name, at, until, result, at if result else None, bool(result), awakeable=awakeable)


def _parts(commands: dict[int, Command]) -> dict[int, list[Command]]:
    """Return what an SDK's handler did within its exchanges. A step may get its result in a later one."""
    parts: dict[int, list[Command]] = {}
    open: dict[int, tuple[list[Command], int]] = {}
    for command in commands.values():
        if command.kind != EXCHANGE or command.result is None:
            continue
        from adapter.restate.entries import told_by  # only where there are such handlers

        told = told_by(command.result.value or b"")
        if told is None:
            continue
        mine = parts[command.n] = list[Command]()
        for entry in told.entries:
            done = told.at if entry.result is not None else None
            if entry.completion is not None:
                open[entry.completion] = mine, len(mine)
            mine.append(
                Command(command.n, entry.kind, entry.name, command.at, None, entry.result, done, part=len(mine))
            )
        for completion, result in told.results.items():
            if completion in open:
                steps, place = open.pop(completion)
                steps[place] = replace(steps[place], result=result, done=told.at, delivered=True)
    return parts


# --- what its commands have created ----------------------------------------------------------------------------------


def ids_of(engine: Engine, story: Story, command: Command) -> list[str]:
    """Return the ids that the invocation of a call or a send may have: one of them is its id.

    The journal has the target, and an idempotency key after a question mark. A key may have a question mark as well.
    """
    meta, name = story.meta, command.name
    ids: list[str] = []
    for place in (place for place, mark in enumerate(name) if mark == "?"):
        target = read_target(name[:place])
        if target is not None and place + 1 < len(name):
            ids.append(idempotent_id(target, name[place + 1 :]))
    target = read_target(name)
    if target is not None and target.key is not None and engine.deployment.kind_of(target) is Kind.WORKFLOW:
        return [workflow_id(target.service, target.key), *ids]
    return [child_id(*meta.issuer(command.n), command.n), *ids]


async def children(engine: Engine, story: Story, commands: list[Command]) -> dict[int, tuple[str, Meta | None]]:
    """Return the id and the record of each call's or send's invocation, by the command's number. The record is ``None``
    if it does not exist any more, or not yet."""
    candidates = {command.n: ids_of(engine, story, command) for command in commands}
    ids = [id for each in candidates.values() for id in each]
    records = await records_of(engine, list(dict.fromkeys(ids)))
    found: dict[int, tuple[str, Meta | None]] = {}
    for command in commands:
        mine = candidates[command.n]
        id = next((id for id in mine if id in records), mine[0])
        found[command.n] = id, records.get(id)
    return found


def read_target(name: str) -> Target | None:
    """Return the target that a command's name gives.

    >>> read_target("Counter/a/b/add"), read_target("Greeter/greet")
    (Target(service='Counter', handler='add', key='a/b'), Target(service='Greeter', handler='greet', key=None))
    """
    service, *rest = name.split("/")
    if not rest or not NAME.fullmatch(service) or not NAME.fullmatch(rest[-1]):
        return None
    return Target(service, rest[-1], "/".join(rest[:-1]) if len(rest) > 1 else None)
