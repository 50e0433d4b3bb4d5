"""The history of each key: who had it in turn, and what each of them and operators made of its state."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pydantic_core import from_json

from adapter.engine.records import Head, Meta, StateEntry
from adapter.engine.types import Kind, ObjectKey
from tests.simulation.values import digest

if TYPE_CHECKING:
    from tests.simulation.aftermath import Aftermath


def keys(after: Aftermath) -> None:
    """Each key's history is serial, and leaves the state that a plain model has."""
    histories: dict[ObjectKey, list[Meta]] = defaultdict(list)
    killed = {
        end.meta.target.object
        for end in after.ends.values()
        if end.meta.kind.exclusive and (end.output == "killed" or end.output.startswith("gave up after"))
    }
    for end in after.ends.values():
        if after.seq(end.meta) is None or end.meta.target.object in killed:
            continue  # what a killed one has written is not known
        if end.meta.kind is Kind.WORKFLOW and after.world.forgets(end.meta.id):
            if after.seq(end.meta):
                after.fail(f"{end.meta.id} begins on what an earlier run of {end.meta.target.object} has left")
        elif end.meta.kind.exclusive:
            histories[end.meta.target.object].append(end.meta)
    heads = {head.key: head for head in after.store.all_heads()}
    for key, metas in histories.items():
        metas.sort(key=lambda meta: after.seq(meta) or 0)
        if [after.seq(meta) for meta in metas] != list(range(len(metas))):
            after.fail(f"{key}: {[(after.seq(meta), meta.id) for meta in metas]} is not serial")
            continue
        state: dict[str, str] = {}
        for place, meta in enumerate(metas):
            _edit(after, key, place, state)
            _model(after, meta, state)
        _edit(after, key, len(metas), state)
        cleared = metas[0].kind is Kind.WORKFLOW and not heads[key].state_generation  # it has expired
        if not cleared and _state(after, heads[key]) != state:
            after.fail(f"{key} is {_state(after, heads[key])}, not {state}")


def _edit(after: Aftermath, key: ObjectKey, place: int, state: dict[str, str]) -> None:
    """What an operator did to a key's state after so many invocations."""
    for name, value in after.world.edits.after(key, place):
        if value is None:
            state.pop(name, None)
        else:
            state[name] = digest(value)


def _state(after: Aftermath, head: Head) -> dict[str, str]:
    values = dict(head.state)
    for entry in after.store.items(head.key, StateEntry):
        if head.has_overflow and entry.generation == head.state_generation:
            values.setdefault(entry.name, after.store.value(entry))
    return {name: digest(from_json(after.world.decoded(value))) for name, value in values.items()}


def _model(after: Aftermath, meta: Meta, state: dict[str, str]) -> None:
    """What an invocation did to the state, and whether it saw what it should."""
    asked: dict[str, str] = {}
    keys: dict[str, list[str]] = {}
    for entry in after.outputs[meta.ref]["t"]:
        match entry:
            case [_, "seq", place]:
                state["seq"] = digest(place + 1)
            case [path, "asks"]:
                keys[path] = sorted(state)
            case [path, "asks", name]:
                asked[path] = state.get(name, "null")
            case [path, "got", name, seen]:
                if asked[path] != seen:
                    after.fail(f"{meta.id} read {name} = {seen} of {meta.target.object}, it was {asked[path]}")
            case [path, "keys", seen]:
                if keys[path] != seen:
                    after.fail(f"{meta.id} listed {seen} of {meta.target.object}, not {keys[path]}")
            case [_, "set", name, value]:
                state[name] = digest(value) if name in ("list", "seq", "total") else value
            case [_, "clear", name]:
                state.pop(name, None)
            case [_, "clear-all"]:
                state.clear()


def edits(after: Aftermath) -> None:
    """An edit that was accepted was made."""
    edits = after.world.edits
    for key, name, value in edits.accepted:
        made = [(at, what) for _, at, what in edits.applied[key]]
        if value is not None and (name, value) not in made:
            after.fail(f"{key} was to have {name} = {value!r}, and {edits.applied[key]} was done")


def arrivals(after: Aftermath) -> None:
    """What was accepted before something else was asked for came to its key before it, as far as clocks agree."""
    by_key: dict[ObjectKey, list[tuple[float, float, int, str]]] = defaultdict(list)
    for asked in after.world.clients.asked:
        node = after.plan.nodes[asked.root.node]
        if asked.id is None or not asked.accepted or asked.answered is None or node.kind is not Kind.EXCLUSIVE:
            continue
        if not asked.arrived:
            continue
        if len(after.by_id[asked.id]) != 1:
            continue
        meta = after.by_id[asked.id][0].meta
        place = after.seq(meta)
        if place is not None:
            by_key[meta.target.object].append((asked.began, asked.answered, place, meta.id))
    for key, entries in by_key.items():
        for one in entries:
            for two in entries:
                if one[1] + after.world.disagreement + 0.001 < two[0] and one[2] > two[2]:
                    after.fail(f"{key}: {one} was accepted before {two} was asked for, and came after it")
