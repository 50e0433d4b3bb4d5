"""How often steps ran, and that each of them has ended before its invocation has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic_core import from_json

if TYPE_CHECKING:
    from tests.simulation.aftermath import Aftermath


def steps(after: Aftermath) -> None:
    """Without faults, each step ran as often as it takes, whatever else failed meanwhile. One that is to run at most
    once did."""
    for ref in () if "aborts" in after.world.reach else after.outputs:
        for path, what, *_ in after.trace(after.ends[ref]):
            if what == "lost":
                after.fail(f"{ref.id} has no result of its step at {path}, nothing having gone wrong")
    for (id, path), times in after.world.runs.stumbled.items():
        if len(after.by_id[id]) == 1:
            end = after.by_id[id][0]
            if not any(at == path and what == "step" for at, what, *_ in after.trace(end)):
                continue  # nobody waited for it
            op = after.op(end.meta, path)
            node = from_json(after.by_id[id][0].input)["n"]
            if node in after.shaken:
                continue
            by_sdk = after.plan.nodes[node].target.service in after.plan.hosted  # then a failure ends all of them
            if by_sdk and any(other.times for other in after.plan.reached(node)):
                continue
            # A deferred one runs again after a conflict, as its result was not committed.
            again = times > op.times + 1 and op.how != "defer"
            if op.kind == "step" and (again or times < op.times + 1):
                after.fail(f"{id} ran {op} at {path} {times} times, nothing having gone wrong")


def loose(after: Aftermath) -> None:
    """A step that is not awaited has ended before its invocation has."""
    for ref in after.outputs:
        for path, what, *_ in after.trace(after.ends[ref]):
            refs = [ref, *(copied.ref for copied in after.ends[ref].meta.copied)]
            if what == "loose" and not any((each, path) in after.world.runs.finished for each in refs):
                after.fail(f"{ref.id} completed before its step at {path} had")


def counts(after: Aftermath) -> None:
    """No step began again but in a new attempt, or after a failure."""
    for (ref, path), times in after.world.runs.begun.items():
        if ref in after.ends:
            failures = sum(count for (id, _), count in after.world.runs.stumbled.items() if id == ref.id)
            # One whose process stands still may take longer than its `abort_timeout`.
            aborted = after.world.stops if "aborts" in after.world.reach else 0
            if times > after.ends[ref].meta.epoch + failures + aborted:
                epochs = after.ends[ref].meta.epoch
                after.fail(f"{ref.id} began its step at {path} {times} times, in {epochs} epochs")
