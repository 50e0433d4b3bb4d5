"""The table of transitions is complete, true, and the only place that sets a record's status."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapter.engine import transitions
from adapter.engine.ports import Conflict, Create
from adapter.engine.records import Meta, Status
from adapter.engine.transitions import TRANSITIONS, Transition, render
from adapter.engine.types import Kind, Target
from adapter.local.memory import MemoryStore

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "adapter" / "engine"

BY_STORE = {"count"}
"""The transitions that have a request of their own: the contract tests try their conditions."""

CREATES = {name for name, each in TRANSITIONS.items() if not each.sources}
CREATED_BY = {
    "created": "accept",
    "created_once": "accept",
    "opened": "open",
    "stored_ahead": "store",
    "garbage": "discard",
}
"""The functions that create a record, with their transitions."""

FINISHES = {name for name, each in TRANSITIONS.items() if each.sources == (Status.COMPLETED,)}
UNREAD = {name for name, each in TRANSITIONS.items() if name in ("grant", "attach", "point")}

OTHER: dict[str, Any] = {"epoch": 8, "due": 999, "waiters": 3}
"""Another value of each field that a transition may require."""


def test_the_page_shows_the_table() -> None:
    page = (ROOT / "docs" / "internals.md").read_text()
    shown = re.search(r"<!-- transitions -->\n(.*)\n<!-- end of transitions -->", page, re.DOTALL)

    assert shown is not None
    assert shown[1] == render(), "paste what `python -m adapter.engine.transitions` prints"


def _statuses(path: Path) -> Iterator[str]:
    """The places at which a module gives a record a status, or makes a change of a record."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Dict(keys=keys):
                if any(isinstance(key, ast.Constant) and key.value == "status" for key in keys):
                    yield f"{path.name}:{node.lineno}"
            case ast.Call(func=ast.Name(id="Update" | "Finish" | "Create" | "Meta"), args=[_, *_]):
                yield f"{path.name}:{node.lineno}"
            case ast.Call(func=ast.Name(id="replace"), keywords=keywords):
                if any(keyword.arg == "status" for keyword in keywords):
                    yield f"{path.name}:{node.lineno}"
            case _:
                pass


def test_no_other_module_sets_a_status() -> None:
    homes = {ENGINE / "lifecycle.py", ENGINE / "passive.py", ENGINE / "transitions.py"}
    others = set(ENGINE.glob("*.py")) - homes

    assert [place for path in sorted(others) for place in _statuses(path)] == []
    assert [*_statuses(ENGINE / "lifecycle.py")]


def test_every_transition_is_used() -> None:
    text = (ENGINE / "lifecycle.py").read_text() + (ENGINE / "passive.py").read_text()
    used = {name.lower().replace("_", " ") for name in re.findall(r"\bt\.([A-Z_]+)", text)}

    assert used == TRANSITIONS.keys() - BY_STORE - CREATES


def test_the_table_names_the_modules_that_make_a_change() -> None:
    makers = {name: set(transition.by.split(", ")) for name, transition in TRANSITIONS.items()}
    found: dict[str, set[str]] = {name: set() for name in TRANSITIONS if name not in BY_STORE}
    made = {**_made("lifecycle"), **_made("passive")}
    for path in ENGINE.glob("*.py"):
        for function in re.findall(r"\b(?:lifecycle|passive)\.(\w+)\(", path.read_text()):
            for name in made.get(function, ()):
                found[name].add(path.stem)

    assert found == {name: makers[name] for name in found}


def _made(module: str) -> dict[str, set[str]]:
    """Return the transitions of each function of a module."""
    made: dict[str, set[str]] = {}
    table: set[str] = set()
    """The transitions of `lifecycle.committed`."""
    for node in ast.parse((ENGINE / f"{module}.py").read_text()).body:
        rows = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute) and each.attr.isupper()}
        names = {row.lower().replace("_", " ") for row in rows} & TRANSITIONS.keys()
        match node:
            case ast.AnnAssign(target=ast.Name(id="_COMMITS")):
                table = names
            case ast.FunctionDef(name="committed"):
                made[node.name] = table
            case ast.FunctionDef(returns=ast.Name(id="Create")):
                made[node.name] = {CREATED_BY[node.name]}
            case ast.FunctionDef():
                made[node.name] = names
            case _:
                pass
    return made


def _record(status: Status) -> Meta:
    target = Target("Counter", "add", "Mary")
    meta = Meta("inv_a", "g", target, Kind.EXCLUSIVE, status, created=1)
    return replace(meta, epoch=7, due=500, waiters=2, notifications=4, ticket="t" if status is Status.QUEUED else None)


def _cases() -> Iterator[Any]:
    for name, each in TRANSITIONS.items():
        if name not in BY_STORE | CREATES | FINISHES | UNREAD:
            for source in each.sources:
                yield pytest.param(each, source, id=f"{name} from {source}")


def _values(transition: Transition, source: Status) -> dict[str, Any]:
    return {"status": next(to for to in transition.to)} if transition.to else {}


@pytest.mark.parametrize(("transition", "source"), list(_cases()))
async def test_the_store_refuses_what_a_transition_does_not_allow(transition: Transition, source: Status) -> None:
    meta = _record(source)
    most = meta.notifications if "notifications" in transition.requires else None
    change = transition.update(meta, _values(transition, source), most=most)
    wrong: dict[str, Meta] = {
        name: replace(meta, **{name: OTHER[name]}) for name in transition.requires if name in OTHER
    }
    wrong["generation"] = replace(meta, generation="h")
    wrong["completed"] = replace(meta, status=Status.COMPLETED)
    if "notifications" in transition.requires:
        wrong["notifications"] = replace(meta, notifications=5)
    if "status" in transition.requires or ("queued" in transition.requires and source is Status.QUEUED):
        wrong["status"] = replace(meta, status=next(each for each in Status if each is not source))

    store = MemoryStore()
    await store.commit([Create(meta, 0)], "c0")
    await store.commit([change], "c1")
    for what, found in wrong.items():
        store = MemoryStore()
        await store.commit([Create(found, 0)], "c0")
        with pytest.raises(Conflict):  # noqa: PT012
            await store.commit([change], "c1")
            pytest.fail(f"applied to a record with another {what}")


def test_a_transition_refuses_another_state() -> None:
    with pytest.raises(AssertionError, match="does not lead from"):
        transitions.RESUME.update(_record(Status.RUNNING), {"status": Status.READY})
    with pytest.raises(AssertionError, match="does not lead from"):
        transitions.RESUME.update(_record(Status.PAUSED), {"status": Status.COMPLETED})
