"""Random programs, what a handler of Restate's Python SDK makes of them, and what it should.

A program is a tree of nodes. A node is one invocation: its id, its target, and its operations. An object's node calls
only keys after its own, so that no two wait for each other.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from random import Random
from typing import Any

import restate
from restate.exceptions import TerminalError

KEYS = 4

Node = dict[str, Any]
Op = list[Any]

ran: Counter[str] = Counter()
"""How often each step ran, by its node and place."""

services = restate.Service("S")
objects = restate.VirtualObject("O")


# --- making them -----------------------------------------------------------------------------------------------------


class Maker:
    """Makes a program."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.nodes: list[Node] = []

    def node(self, depth: int, after: int = -1, key: int | None = None) -> Node:
        """Return a node, and what it calls and sends. Objects below it have keys after a number."""
        node: Node = {"id": f"{len(self.nodes)}", "key": key, "ops": []}
        self.nodes.append(node)
        after = after if key is None else key
        for _ in range(self.random.randint(1, 5)):
            node["ops"].append(self.op(depth, after, key is not None))
        if depth < 2 and self.random.random() < 0.15:
            node["ops"].append(["fail"])
        return node

    def op(self, depth: int, after: int, has_state: bool) -> Op:
        kinds = ["step", "step", "flaky", "sleep", "awakeable", "signal", "draw"]
        kinds += ["add", "add", "clear"] if has_state else []
        kinds += ["call", "call", "send", "all", "any"] if depth else []
        kind = self.random.choice(kinds)
        match kind:
            case "sleep":
                return [kind, self.random.choice([1, 1000, 600_000])]
            case "add":
                return [kind, self.random.randint(1, 9)]
            case "call":
                return [kind, self.target(depth, after)]
            case "send":
                key = self.random.randrange(KEYS) if self.random.random() < 0.7 else None
                return [kind, self.node(0, KEYS, key), self.random.choice([0, 0, 1000])]
            case "all" | "any":
                return [kind, [self.branch(depth, after) for _ in range(self.random.randint(2, 4))]]
            case _:
                return [kind]

    def branch(self, depth: int, after: int) -> Op:
        kind = self.random.choice(["step", "sleep", "call", "awakeable"])
        return (
            ["sleep", self.random.choice([1, 1000])]
            if kind == "sleep"
            else (["call", self.target(depth, after)] if kind == "call" else [kind])
        )

    def target(self, depth: int, after: int) -> Node:
        keys = range(after + 1, KEYS)
        key = self.random.choice(keys) if keys and self.random.random() < 0.7 else None
        return self.node(depth - 1, after, key)


def make(seed: int) -> tuple[Node, list[Node]]:
    """Return a program, and its nodes."""
    maker = Maker(seed)
    return maker.node(2), maker.nodes


# --- running them ----------------------------------------------------------------------------------------------------


async def run_node(ctx: Any, node: Node) -> list[Any]:
    if node["key"] is not None:
        ctx.set("ran", [*(await ctx.get("ran") or []), node["id"]])
    return [await run_op(ctx, node, op, f"{node['id']}.{place}") for place, op in enumerate(node["ops"])]


@services.handler(name="run")
async def run_service(ctx: restate.Context, node: Node) -> list[Any]:
    return await run_node(ctx, node)


@objects.handler(name="run")
async def run_object(ctx: restate.ObjectContext, node: Node) -> list[Any]:
    return await run_node(ctx, node)


@objects.handler(kind="shared")
async def state(ctx: restate.ObjectSharedContext) -> dict[str, Any]:
    return {"ran": await ctx.get("ran") or [], "total": await ctx.get("total") or 0}


@services.handler()
async def resolve(ctx: restate.Context, request: dict[str, str]) -> None:
    if "name" in request:
        ctx.resolve_signal(request["id"], request["name"], request["value"])
    else:
        ctx.resolve_awakeable(request["id"], request["value"])


async def run_op(ctx: Any, node: Node, op: Op, path: str) -> Any:
    match op:
        case ["add", n]:
            before = await ctx.get("total") or 0
            await ctx.sleep(timedelta(milliseconds=1))
            ctx.set("total", before + n)
            return path
        case ["clear"]:
            ctx.clear("unknown")
            return path
        case ["draw"]:
            drawn = ctx.random().random()
            kept = await ctx.run_typed(path, step(path, drawn))
            return path if kept == drawn else "another number was drawn in a replay"
        case ["signal"]:
            ctx.service_send(resolve, {"id": ctx.request().id, "name": path, "value": path})
            return await ctx.signal(path)
        case ["send", child, delay]:
            send_delay = timedelta(milliseconds=delay) if delay else None
            if child["key"] is None:
                ctx.service_send(run_service, child, send_delay=send_delay)
            else:
                ctx.object_send(run_object, str(child["key"]), child, send_delay=send_delay)
            return path
        case ["fail"]:
            raise TerminalError(path)
        case ["all", branches]:
            pending = [start(ctx, branch, f"{path}.{place}") for place, branch in enumerate(branches)]
            await restate.wait_completed(*pending)
            return [
                await result(branch, each, f"{path}.{n}")
                for n, (branch, each) in enumerate(zip(branches, pending, strict=True))
            ]
        case ["any", branches]:
            pending = {f"b{place}": start(ctx, branch, f"{path}.{place}") for place, branch in enumerate(branches)}
            try:
                first, _ = await restate.select(**pending)
            except TerminalError:
                return path
            return path if first in pending else first
        case _:
            return await result(op, start(ctx, op, path), path)


def start(ctx: Any, op: Op, path: str) -> Any:
    """Start an operation that can be waited for with others."""
    match op:
        case ["step"]:
            return ctx.run_typed(path, step(path, path))
        case ["flaky"]:
            options = restate.RunOptions(initial_retry_interval=timedelta(milliseconds=1), max_attempts=50)
            return ctx.run_typed(path, step(path, path, fails=2), options)
        case ["sleep", milliseconds]:
            return ctx.sleep(timedelta(milliseconds=milliseconds))
        case ["awakeable"]:
            id, promise = ctx.awakeable()
            ctx.service_send(resolve, {"id": id, "value": path})
            return promise
        case ["call", child]:
            if child["key"] is None:
                return ctx.service_call(run_service, child)
            return ctx.object_call(run_object, str(child["key"]), child)
        case _:
            raise AssertionError(op)


async def result(op: Op, pending: Any, path: str) -> Any:
    try:
        value = await pending
    except TerminalError as error:
        return ["failed", error.message]
    return path if op[0] == "sleep" else value


def step(path: str, value: Any, fails: int = 0) -> Any:
    async def run() -> Any:
        ran[path] += 1
        if ran[path] <= fails:
            raise ConnectionError(path)
        return value

    return run


# --- what they should do ---------------------------------------------------------------------------------------------


def expected(node: Node) -> Any:
    """Return the output of a node, or ``["failed", …]``."""
    outputs: list[Any] = []
    for place, op in enumerate(node["ops"]):
        path = f"{node['id']}.{place}"
        match op:
            case ["fail"]:
                return ["failed", path]
            case ["call", child]:
                outputs.append(expected(child))
            case ["all", branches]:
                outputs.append([expected(op[1]) if op[0] == "call" else f"{path}.{n}" for n, op in enumerate(branches)])
            case _:
                outputs.append(path)
    return outputs


def adds(node: Node) -> int:
    """Return what a node adds to its key."""
    return sum(op[1] for op in node["ops"] if op[0] == "add")
