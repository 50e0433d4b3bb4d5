"""An operator edits the state of keys. Each edit is part of the key's history, at the place that it has in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from adapter.engine import editing
from adapter.engine.records import Head, StateEntry
from adapter.engine.types import Kind, ObjectKey
from tests.simulation.plan import Act, Plan

if TYPE_CHECKING:
    from adapter.engine.engine import Engine
    from tests.simulation.watch import WatchedStore
    from tests.simulation.world import World

TRIES = 5
"""How often an operator tries an edit of a key that changes, or has an owner."""

Edit = tuple[int, str, bytes | None]
"""After how many invocations of a key, of which entry, and its value."""


def draw(random: Random, plan: Plan, until: float) -> tuple[Act, ...]:
    """Draw some edits of keys that a plan's programs use."""
    nodes = [node.id for node in plan.nodes.values() if node.kind is Kind.EXCLUSIVE]
    count = random.choice((1, 3, 10)) if nodes else 0
    return tuple(Act("edit", random.choice(nodes), random.uniform(0, until)) for _ in range(count))


class Edits:
    """The edits of a simulation."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.applied: dict[ObjectKey, list[Edit]] = defaultdict(list)
        """The edits of each key, in the order in which the store applied them."""
        self.accepted: list[tuple[ObjectKey, str, bytes | None]] = []
        """The edits of which the operator was told that they were made."""

    async def edit(self, act: Act, number: int) -> None:
        """Try to edit an entry of the key that a program uses."""
        random = Random(f"{self._world.seed}/edit/{number}")
        name, size = random.choice("abc"), random.choice((0, 0, 10, 2000))
        value = self._world.coder.encode(to_json(f"edit {number}" + "v" * size)) if random.random() < 0.8 else None
        key = self._world.plan.nodes[act.node].target.object

        async def edit(engine: Engine) -> bool:
            held = await editing.view(engine.runtime, key)
            try:
                await editing.edit(engine.runtime, key, name, value, held.version)
            except editing.ChangedError:
                return False
            return True

        for _ in range(TRIES):
            if await self._world.clients.insist(edit):
                self._world.note(None, "operator has edited", key, name, value)
                self.accepted.append((key, name, value))
                return
            await self._world.loop.pause(random.uniform(0, 2.0))

    def on_write(self, store: WatchedStore, writes: Sequence[Any]) -> None:
        """Take note of the edits among the writes of a request: those of the state of a key without an owner."""
        for _, old, head, _ in writes:
            free = isinstance(head, Head) and head.owner is None and (old is None or old.owner is None)
            if free and head.key.service.startswith("O"):
                before = dict(old.state) if old is not None else {}
                changed = {name: value for name, value in head.state.items() if before.get(name) != value}
                changed |= dict.fromkeys(before.keys() - head.state.keys())
                for _, was, entry, _ in writes:
                    if isinstance(entry, StateEntry) and entry.key == head.key:
                        changed[entry.name] = store.value(entry)
                    elif isinstance(was, StateEntry) and was.key == head.key:
                        changed.setdefault(was.name, None)
                place = self._place(store, head)
                self.applied[head.key] += [(place, name, value) for name, value in changed.items()]

    def _place(self, store: WatchedStore, head: Head) -> int:
        """How many invocations have had the key."""
        entries: list[StateEntry] = store.items(head.key, StateEntry, head.state_generation)
        value = head.state.get("seq") or next((entry.value for entry in entries if entry.name == "seq"), b"")
        return int(from_json(self._world.decoded(value))) if value else 0

    def after(self, key: ObjectKey, place: int) -> Iterator[tuple[str, Any]]:
        """The edits of a key after so many invocations, and what the entry is then; ``None`` if it is no more."""
        for at, name, value in self.applied.get(key, ()):
            if at == place:
                yield name, None if value is None else from_json(self._world.decoded(value))
