"""No task runs without an owner: it is kept and awaited, or a stored due time repeats what it does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ADAPTER = Path(__file__).parents[2] / "adapter"

MAKES_TASKS = {"create_task", "ensure_future"}

MAKERS = {
    "engine/attempt.py": "the handler's code, on a loop of its own that drops it with the attempt",
    "engine/loop.py": "what handler code begins, on the same loop",
    "engine/process.py": "`spawn` and `persist`; waits, which end with their caller",
    "engine/session.py": "cancellations of calls, which the session awaits before it commits",
    "engine/steps.py": "a step with a time limit, which its caller awaits or cancels",
    "engine/work.py": "what the table holds; the session cancels it when it ends",
    "batches.py": "a handler's own, on its loop",
    "client/client.py": "the calls of a client, which awaits them",
    "combinators.py": "a handler's own, on its loop",
    "local/ports.py": "timers, which `close` cancels",
    "local/server.py": "the server's own, which its exit cancels",
    "restate/apps.py": "the apps of streams, which their conversations cancel and the endpoint keeps till then",
    "restate/http2.py": "what reads a connection, which `close` cancels and awaits",
    "testing/environment.py": "calls of a test, which awaits them",
}
"""The modules that may create tasks, with the owner of these."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ADAPTER.rglob("*.py")):
        yield str(path.relative_to(ADAPTER)), ast.parse(path.read_text())


def called(node: ast.AST) -> str:
    """Return the name of the function that a call calls."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def lost_tasks(module: ast.Module) -> list[int]:
    """Return the lines that create a task and keep no reference to it."""
    statements = (node.value for node in ast.walk(module) if isinstance(node, ast.Expr))
    return [value.lineno for value in statements if called(value) in MAKES_TASKS]


def test_tasks_are_created_by_their_owners_alone() -> None:
    makers = {name for name, module in sources() for node in ast.walk(module) if called(node) in MAKES_TASKS}
    assert makers == MAKERS.keys()


def test_every_task_is_kept() -> None:
    lost = {name: lines for name, module in sources() if (lines := lost_tasks(module))}
    [line] = lost.pop("engine/loop.py")  # its `create_task` keeps the task itself
    assert "self.create_task(generator.aclose())" in (ADAPTER / "engine/loop.py").read_text().splitlines()[line - 1]
    assert lost == {}


@pytest.mark.parametrize("line", ["create_task(work())", "asyncio.ensure_future(work())", "loop.create_task(work())"])
def test_a_task_that_is_not_kept_is_found(line: str) -> None:
    assert lost_tasks(ast.parse(line)) == [1]
    assert lost_tasks(ast.parse(f"task = {line}")) == []


def test_what_runs_in_the_background_says_what_repeats_it() -> None:
    spawns = [
        (f"{name}:{node.lineno}", {keyword.arg for keyword in node.keywords})
        for name, module in sources()
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and called(node) in ("spawn", "persist")
    ]
    assert len(spawns) > 15
    assert [place for place, keywords in spawns if "repeated_by" not in keywords] == []
