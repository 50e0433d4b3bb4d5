"""What is stored, as tests see it: journals and states."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from adapter.codec import Coder
from adapter.engine.engine import Engine
from adapter.engine.journal import CommandIssued, NotificationDelivered, ResultDelivered, read
from adapter.engine.keys import KeyState
from adapter.engine.types import ObjectKey, Outcome


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A command in an invocation's journal.

    Attributes:
        command: What was asked for: ``"run"``, ``"sleep"``, ``"call"``, ``"set"`` …
        name: The step's, the state entry's, the handler's …
        outcome: What it gave; ``None`` where that is still to come, or is of no interest to the handler.
    """

    command: str
    name: str
    outcome: Outcome | None = None

    def __str__(self) -> str:
        return f"{self.command} {self.name}".rstrip()


async def read_journal(engine: Engine, id: str) -> list[JournalEntry]:
    """Return the commands of an invocation; none if its journal has expired."""
    _, segments, meta, notifications = await engine.storage.load(id)
    now = engine.process.now()
    if meta is None or (meta.journal_expires or meta.expires or now + 1) <= now:
        return []
    delivered = {each.id: each.outcome for each in notifications}
    entries = read(id, segments, meta.inline_journal)
    outcomes: dict[int, Outcome | None] = {}
    for entry in entries:
        if isinstance(entry, ResultDelivered):
            outcomes[entry.n] = entry.outcome
        elif isinstance(entry, NotificationDelivered):
            outcomes[entry.n] = delivered.get(entry.id)
    return [
        JournalEntry(entry.kind, entry.name, entry.value or outcomes.get(entry.n))
        for entry in entries
        if isinstance(entry, CommandIssued)
    ]


async def read_state(engine: Engine, key: ObjectKey, coder: Coder) -> dict[str, Any]:
    """Return a key's state by the names of its entries, as plain JSON; bytes if a value is not JSON."""
    head = (await engine.storage.heads([key]))[key]
    state = KeyState(head, engine.process.now())
    values: dict[str, bytes | None] = dict(state.state)
    if state.has_overflow:
        for name in await engine.storage.entries(key, state.state_generation):
            values[name] = await engine.runtime.blobs.read(key, state.state_generation, name)
    return {name: _plain(coder.decode(value)) for name, value in sorted(values.items()) if value is not None}


def _plain(value: bytes) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value or None
