"""Answer state reads: from what the session knows of a key, or from the store."""

from __future__ import annotations

import json
from collections.abc import Iterable

from adapter.engine import commands as c
from adapter.engine.commit_log import CommitLog
from adapter.engine.execution import Execution
from adapter.engine.keys import KeyState
from adapter.engine.known_key import Key
from adapter.engine.records import Head
from adapter.engine.runtime import Runtime
from adapter.engine.types import Failure, ObjectKey, Outcome
from adapter.frozen import replace


class StateReads:
    """Reads the state of keys for a session's executions."""

    def __init__(self, runtime: Runtime, log: CommitLog) -> None:
        self._runtime = runtime
        self._storage = runtime.storage
        self._log = log

    def known(self, execution: Execution, command: c.GetState | c.StateKeys) -> Outcome | None:
        """Return the result of a state read if all that it needs is known here."""
        if execution.meta.target.key is None:
            return Outcome(failure=Failure(500, f"{execution.meta.target} has no state"))
        state = execution.snapshot or self.state(execution)
        return None if state is None else _answer(state, command)

    def state(self, execution: Execution) -> KeyState | None:
        """Return the state of the execution's key. Return ``None`` if a later state was read, or others may have
        written since."""
        key = self._log.keys.get(execution.key)
        if key is None or key.head is None or key.head.version < execution.version:
            return None
        ours = key.ran_uncommitted or any(each.ref == key.head.owner for each in self._log.executions())
        return key.live if ours or execution.exclusive else None

    def snapshot(self, execution: Execution) -> KeyState | None:
        """Return the state of the execution's key as it is now; ``None`` if it has to be read."""
        state = self.state(execution)
        return state.snapshot() if state is not None else None

    async def stored(self, execution: Execution, command: c.GetState | c.StateKeys, state: KeyState | None) -> Outcome:
        """Read state from the store: the overflow entries, or, for a shared handler, all of it."""
        if state is not None:
            return await self._read(execution, command, state, shared=False)
        head = await self._head(execution.key)
        while True:
            state = KeyState(head, self._runtime.process.now())
            outcome = await self._read(execution, command, state, shared=True)
            # Others write meanwhile: an entry that the head has by now is no longer among the overflow entries.
            found = isinstance(command, c.GetState) and outcome.value is not None and execution.snapshot is None
            now = await self._head(execution.key) if state.has_overflow and not found else head
            if now.version == head.version:
                execution.version = max(execution.version, head.version)
                return outcome
            head, execution.snapshot = now, None

    async def _head(self, key: ObjectKey) -> Head:
        return (await self._storage.heads([key]))[key]

    async def _read(
        self, execution: Execution, command: c.GetState | c.StateKeys, state: KeyState, *, shared: bool
    ) -> Outcome:
        generation = state.state_generation
        if execution.spec is not None and not execution.spec.options.lazy_state:
            if state.has_overflow and state.overflow is None:
                state.overflow = await self._storage.entries(execution.key, generation, values=True)
            if shared:
                execution.snapshot = state
            else:
                self._keep_overflow(self._log.keys[execution.key], state)
        outcome = _answer(state, command)
        if outcome is None and isinstance(command, c.GetState):
            outcome = Outcome(await self._runtime.blobs.read(execution.key, generation, command.name))
        elif outcome is None:
            overflow = (await self._storage.entries(execution.key, generation)).keys() - state.writes.keys()
            outcome = _names({*overflow, *state.state, *state.entries()})
        return outcome

    def seen_by(self, execution: Execution, command: c.Run) -> c.Run:
        """Return a step to which the state of the key is shown, if it asks for it."""
        seen = command.state
        if seen is None:
            return command

        async def closure() -> bytes:
            seen.entries, seen.complete = await self._whole(execution)
            return await command.closure()

        return replace(command, closure=closure)

    async def _whole(self, execution: Execution) -> tuple[dict[str, bytes], bool]:
        """Return all entries but those that are stored in parts, and True if there are no others."""
        live = self.state(execution)
        if live is not None:
            state = live.snapshot()
        else:
            head = await self._head(execution.key)
            state = KeyState(head, self._runtime.process.now())
        while state.has_overflow and state.overflow is None:
            state.overflow = await self._storage.entries(execution.key, state.state_generation, values=True)
            if live is None and (now := await self._head(execution.key)).version != state.base.version:
                state = KeyState(now, self._runtime.process.now())
                continue
            if live is not None:
                self._keep_overflow(self._log.keys[execution.key], state)
        names = state.names() or ()
        found = {name: outcome for name in sorted(names) if (outcome := state.read(name)) is not None}
        return {name: value for name, each in found.items() if (value := each.value) is not None}, len(found) == len(
            names
        )

    def _keep_overflow(self, key: Key, state: KeyState) -> None:
        """Keep the overflow entries that were read, if they belong to the stored state."""
        if key.overflow is None and key.head is not None and key.head.state_generation == state.state_generation:
            key.overflow, key.live = state.overflow, None
            self._log.refresh_key(key)


def _answer(state: KeyState, command: c.GetState | c.StateKeys) -> Outcome | None:
    """Return the result of a state read, if it is known."""
    if isinstance(command, c.GetState):
        return state.read(command.name)
    names = state.names()
    return None if names is None else _names(names)


def _names(names: Iterable[str]) -> Outcome:
    return Outcome(json.dumps(sorted(names)).encode())
