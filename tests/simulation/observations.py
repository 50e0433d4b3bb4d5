"""What invocations observed: of their own past, of others, and of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from adapter.engine.records import Meta
from adapter.engine.types import Kind, ObjectKey
from tests.simulation.values import digest

if TYPE_CHECKING:
    from tests.simulation.aftermath import Aftermath


def observed(after: Aftermath, meta: Meta) -> None:
    """What attempts had observed when they did something is what the last one observed."""
    trace = after.outputs[meta.ref]["t"]
    for length, seen in after.world.runs.snapshots.get(meta.ref, ()):
        if to_json(trace[:length]) != seen:
            after.fail(f"{meta.id} had observed {seen!r}, and then {to_json(trace[:length])!r}")
            return
    last = -1
    for path, what, *values in trace:
        again = what == "told" and values[0] != "signal" and values[1] and values[2] == "accepted"
        if again and not (values[0] == "promise" and after.world.expiring):  # perhaps to the workflow's next run
            after.fail(f"{meta.id} has given a {values[0]} its result number {values[1]}, it is said")
        given = what in ("awakeable", "promise") and not after.world.forgets(meta.id)
        if given and (teller := after.op(meta, path).node) in after.by_node:
            said = [
                entry[4]
                for end in after.by_node[teller]
                for entry in after.trace(end)
                if entry[1:4] == ["told", what, 0]
            ]
            if not {"accepted", "perhaps"} & set(said):
                after.fail(f"{meta.id} was given its {what} at {path}, and who gave it was told {said}")
        if what == "error" and values[1] == digest("cancelled") and values[0] in after.shaken | _shaken_by(after, meta):
            continue
        if what == "found" and values[0] != values[1]:
            after.fail(f"{meta.id} was given {values[0]!r} at {path}, not {values[1]!r}")
        if what == "id" and values[1] != after.made(meta, values[0]):
            after.fail(f"{meta.id} was told that node {values[0]} runs as {values[1]}")
        if what == "deadlock":
            names = values[1].removeprefix("deadlock: ").split(" → ")
            keys = all(name.count("/") == 1 and name[0] in "OW" for name in names)
            if not after.plan.tangled or (keys and not after.plan.ring(names)):
                after.fail(f"{meta.id} was told of a {values[1]}, which cannot be")
        if what in ("value", "error"):
            right = after.results_of(values[0]).get(values[1]) is (what == "error")
            if not right and not (what == "error" and _expired(after, values)):
                texts = [end.output for end in after.by_node[values[0]]]
                after.fail(f"{meta.id} was told {what} {values[1]} of node {values[0]}, which ended with {texts}")
        if what == "peek" and "/" not in path:
            cleared = values[0] == 0 and after.plan.clears(str(meta.target.object))  # and then written again
            if values[0] < last and not cleared:
                after.fail(f"{meta.id} saw {meta.target.object} go back from {last} to {values[0]}")
            last = values[0]


def _expired(after: Aftermath, values: list[Any]) -> bool:
    """Whether an error of a node says that its record expired: its receiver attached to it only after a crash, and
    nobody swept up before."""
    gone = (f"there is no invocation {end.meta.id}, or it has expired" for end in after.by_node[values[0]])
    return after.world.expiring and values[1] in map(digest, gone)


def _shaken_by(after: Aftermath, meta: Meta) -> set[int]:
    """What an invocation that may be cancelled waits for: then that may surface in its place."""
    node = after.outputs[meta.ref]["n"]
    return {op.node for op in after.plan.reached(node) if op.kind == "invoke"} if node in after.shaken else set()


def children(after: Aftermath, meta: Meta) -> None:
    """What it called and sent is there, made when it had observed as much as it did in the end."""
    trace = after.outputs[meta.ref]["t"]
    order: dict[ObjectKey, int] = {}
    for place, (path, what, *values) in enumerate(trace):
        if what not in ("call", "caught", "send", "join", "forget", "cancelled", "glance", "withdrawn"):
            continue
        node = after.plan.nodes[values[0]]
        if node.idempotency is not None:
            continue
        ends = after.by_id[after.child(meta, values)]
        if (after.world.expiring and node.kind is Kind.WORKFLOW) or (after.plan.tangled and not ends):
            continue
        if len(ends) != 1 or ends[0] not in after.by_node[node.id]:
            called = after.child(meta, values)
            after.fail(f"{meta.id} called {called} to run node {node.id}, which {after.by_node[node.id]} did")
            continue
        child = ends[0].meta
        length, seen = from_json(ends[0].input)["t"]
        if "fan" not in [op.kind for op in after.plan.nodes[after.outputs[meta.ref]["n"]].ops] and length != place:
            after.fail(f"{meta.id} made {child.id} at {length}, and says at {place}")
        if digest(trace[:length]) != seen:
            after.fail(f"{meta.id} made {child.id} when it had observed something else than {trace[:length]}")
        if child.kind is Kind.EXCLUSIVE and after.seq(child) is not None:
            seq = after.seq(child)
            key = child.target.object
            assert seq is not None
            delayed = what in ("send", "withdrawn") and after.op(meta, path).n > 0
            if not delayed:
                if order.get(key, -1) >= seq:
                    after.fail(f"{meta.id}: {child.id} came to {key} as number {seq}, after number {order[key]}")
                order[key] = seq
